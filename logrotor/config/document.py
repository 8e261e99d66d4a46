"""Read one configuration file, or take a dict for one. Knows TOML and the file's owner, not what the keys mean."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from msgspec import Struct

from logrotor.config.place import Place
from logrotor.model import ConfigProblem

FROM_DICT = "<dict>"


class Document(Struct, frozen=True, dict=True):
    """A configuration as read. ``status`` is that of the file; None for a dict."""

    file: str
    table: Mapping[str, Any]
    place: Place
    text: str = ""
    status: os.stat_result | None = None

    @property
    def is_dict(self) -> bool:
        return self.status is None

    @cached_property
    def _lines(self) -> Mapping[str, int]:
        from logrotor.config.lines import lines_of

        return lines_of(self.text)

    def line(self, key: str) -> int | None:
        """The line of a key path, where it can be had."""
        from logrotor.config.lines import nearest_line

        return nearest_line(self._lines, key)


class Unreadable(Exception):
    """A file that is no configuration at all; ``problem`` says why."""

    def __init__(self, problem: ConfigProblem) -> None:
        super().__init__(problem)
        self.problem = problem


def read_document(file: str, home: str | None) -> Document:
    """Read a TOML file. Raises :class:`Unreadable`."""
    try:
        with open(file, "rb") as opened:
            status, content = os.fstat(opened.fileno()), opened.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        who = f" by uid {os.geteuid()}" if isinstance(error, PermissionError) else ""
        raise Unreadable(ConfigProblem(file, "file", f"cannot be read{who}: {reason}")) from None
    text = _decoded(file, content)
    return Document(file, _parsed(file, text), Place(os.path.dirname(file), home), text, status)


def _decoded(file: str, content: bytes) -> str:
    try:
        # An editor's byte order mark is no reason to refuse.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(ConfigProblem(file, "syntax", "is not UTF-8", line)) from None


def _parsed(file: str, text: str) -> Mapping[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of more than 4300 digits
        message = str(error) if isinstance(error, ValueError) else "nested too deeply"
        line = _syntax_line(message, text)
        raise Unreadable(
            ConfigProblem(file, "syntax", f"is no TOML: {message}{_hint(message, text, line)}", line)
        ) from None


def _syntax_line(message: str, text: str) -> int | None:
    place = re.search(r"\(at line (\d+),", message)
    if place:
        return int(place[1])
    return text.rstrip().count("\n") + 1 if "at end of document" in message else None


def _hint(message: str, text: str, line: int | None) -> str:
    """What tomllib does not say: which key stands twice, and how a number with a leading 0 is written."""
    from logrotor.config.lines import key_at

    key = key_at(text, line) if line else None
    if key and "Cannot overwrite" in message:
        return f": {key} is set already"
    octal = re.search(r"=\s*(0[0-7]+)\b", text.split("\n")[line - 1]) if line else None
    return f'; a number may not begin with 0; write {key} = "{octal[1]}"' if key and octal else ""
