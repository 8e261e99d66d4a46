"""Keep archives out of the state directory, whose files are logrotor's own."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from functools import cached_property

from msgspec import Struct

from logrotor.config.document import Document

_ESCAPED = re.compile(r"\[([*?[])\]")  # as glob.escape writes a character that stands for itself


class StateDir(Struct, frozen=True, dict=True):
    """The state directory, and where it was set; an empty path where it is not known."""

    path: str
    origin: str
    document: Document | None = None  # that sets it

    def holds(self, directory: str) -> bool:
        """Is it the same directory, by whatever path?"""
        return bool(self.path) and _identity(directory) == self._identity

    @property
    def shown(self) -> str:
        line = self.document.line("state_dir") if self.document else None
        return f"{self.path} ({self.origin}{f', line {line}' if line else ''})"

    @cached_property
    def _identity(self) -> object:
        return _identity(self.path)


def shared_places(paths: Iterable[str], archive_dir: str | None, state: StateDir) -> Iterator[tuple[str, str]]:
    """The key of a rule that would have its archives in the state directory, and the message.

    ``paths``: absolute globs. Logs may lie there, as in systemd's StateDirectory; the plan leaves out what is ours.
    """
    directories = {directory for head in {os.path.dirname(path) for path in paths} if (directory := _literal(head))}
    if archive_dir is not None and any(state.holds(os.path.join(d, archive_dir)) for d in directories):
        yield "archive_dir", _message(f"{archive_dir!r} is", state)


def _message(what: str, state: StateDir) -> str:
    return f"{what} the state directory {state.shown}; accepted: a place of its own for one of the two"


def _literal(directory: str) -> str | None:
    """A directory without wildcards, as a path."""
    return None if glob.has_magic(_ESCAPED.sub("", directory)) else _ESCAPED.sub(r"\1", directory)


def _identity(path: str) -> object:
    try:
        status = os.stat(path)
    except OSError:  # not there yet
        return os.path.realpath(path)
    except ValueError:  # no name that the system takes
        return path
    return status.st_dev, status.st_ino
