"""Read one configuration file, or take a dict for one: its values and their lines.

Knows TOML and the file's owner, not what the keys mean.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from msgspec import Struct

from logrotor.config.paths import Place
from logrotor.disk.files import read
from logrotor.disk.mounts import refuse_silent
from logrotor.disk.trust import read_as_root
from logrotor.errors import ConfigError, InsecureDirectory
from logrotor.model import ConfigProblem

FROM_DICT = "<dict>"

# Patterns stay text: an idle run, which asks for no line, compiles none of them.
_STRING = r'"""(?:\\.|[^\\])*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'"
_TOKEN = rf"(?s)(?P<opaque>{_STRING}|#[^\n]*)|(?P<open>[\[{{])|(?P<close>[\]}}])|(?P<newline>\n)"
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = rf"[ \t]*(\[\[?)[ \t]*({_KEY})[ \t]*\]\]?"
_ASSIGNMENT = rf"[ \t]*({_KEY})[ \t]*="
_LAST_PART = r"\.[^.]*$|\[[0-9]+\]$"


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
        return lines_of(self.text)

    def line(self, key: str) -> int | None:
        """The line of a key path, else of the innermost table around it that has one."""
        while key not in self._lines:
            shorter = re.sub(_LAST_PART, "", key)
            if shorter == key:
                return None
            key = shorter
        return self._lines[key]


def read_document(file: str, home: str | None, euid: int) -> Document:
    """Read a TOML file; root reads none that others could change. Raises :class:`ConfigError` with one problem."""
    try:
        refuse_silent(file)
        content, status = read(file) if euid else read_as_root(file)
    except InsecureDirectory as error:
        found = error.problem.under(file)
        raise ConfigError((ConfigProblem(file, "file", found.problem, advice=found.advice),)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        who = f" by uid {os.geteuid()}" if isinstance(error, PermissionError) else ""
        raise ConfigError((ConfigProblem(file, "file", f"cannot be read{who}: {reason}"),)) from None
    text = _decoded(file, content)
    return Document(file, _parsed(file, text), Place(os.path.dirname(file), home, euid == 0), text, status)


def _decoded(file: str, content: bytes) -> str:
    try:
        # Some editors write a byte order mark.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError((ConfigProblem(file, "syntax", "is not UTF-8", line),)) from None


def _parsed(file: str, text: str) -> Mapping[str, Any]:
    import tomllib

    try:
        found: Mapping[str, Any] = _native(tomllib.loads(text))
        return found
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of more than 4300 digits
        message = str(error) if isinstance(error, ValueError) else "nested too deeply"
        line = _syntax_line(message, text)
        repeated, advice = _explained(message, text, line) if line else ("", "")
        problem = ConfigProblem(file, "syntax", f"is not valid TOML: {message}{repeated}", line, advice=advice)
        raise ConfigError((problem,)) from None


def _native(value: Any) -> Any:
    """With every text as Python names files here: TOML is UTF-8, and so are the names, whatever the locale says."""
    if sys.getfilesystemencoding() == "utf-8":
        return value
    if isinstance(value, str):
        return os.fsdecode(value.encode())
    if isinstance(value, dict):
        return {_native(key): _native(each) for key, each in value.items()}
    return [_native(each) for each in value] if isinstance(value, list) else value


def _syntax_line(message: str, text: str) -> int | None:
    place = re.search(r"\(at line (\d+),", message)
    if place:
        return int(place[1])
    return text.rstrip().count("\n") + 1 if "at end of document" in message else None


def _explained(message: str, text: str, line: int) -> tuple[str, str]:
    """What tomllib does not say: which key is repeated, and how a number with a leading 0 is written."""
    key = _key_at(text, line)
    if key and "Cannot overwrite" in message:
        return f": {key} is already set", ""
    octal = re.search(r"=\s*(0[0-7]+)\b", text.split("\n")[line - 1])
    return "", f'a number may not begin with 0; write {key} = "{octal[1]}"' if key and octal else ""


# ---------------------------------------------------------------- lines: tomllib reads values but keeps no places


def lines_of(text: str) -> Mapping[str, int]:
    """The line (from 1) of each table and key of a TOML text, by key path, at best effort.

    ``log[2].max_size`` is of the second ``[[log]]``, ``log`` itself the first one.
    """
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    prefix = ""
    for line, statement in _statements(text):
        header, assignment = re.match(_HEADER, statement), re.match(_ASSIGNMENT, statement)
        if header:
            prefix = _opened(_parts(header[2]), is_array=header[1] == "[[", counts=counts)
            found.setdefault(prefix, line)
            found.setdefault(".".join(_parts(header[2])), line)
        elif assignment:
            key = ".".join(_parts(assignment[1]))
            found.setdefault(f"{prefix}.{key}" if prefix else key, line)
    return found


def _key_at(text: str, line: int) -> str | None:
    """The key, or the name of the table, of the statement that ``line`` is part of."""
    at = [statement for first, statement in _statements(text) if first <= line][-1]
    header, assignment = re.match(_HEADER, at), re.match(_ASSIGNMENT, at)
    return header[2] if header else assignment[1] if assignment else None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement with the line that it begins on; a list or string of several lines is one statement."""
    start, depth = 0, 0
    line = first = 1
    for token in re.finditer(_TOKEN, text):
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        line += token[0].count("\n")
        if token.lastgroup == "newline" and depth <= 0:
            yield first, text[start : token.start()]
            start, depth, first = token.end(), 0, line
    yield first, text[start:]


def _opened(parts: list[str], *, is_array: bool, counts: dict[str, int]) -> str:
    """The key path of a header; ``counts`` has the tables seen so far of each array of tables."""
    path = ".".join(parts)
    if is_array:
        counts[path] = counts.get(path, 0) + 1
        return f"{path}[{counts[path]}]"
    head = parts[0]
    return ".".join([f"{head}[{counts[head]}]" if head in counts else head, *parts[1:]])


def _parts(key: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_PART, key)]
