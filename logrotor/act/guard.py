"""One rotator at a time at one log, also if two configurations with different state directories name it.

Whoever renames or removes a file of a log's family has its turn (:mod:`logrotor.disk.turns`). So between looking at a
name and renaming or removing it, no other run can have given the name to another file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.disk.turns import Turn
from logrotor.errors import LogrotorError


class Guard:
    """A block in which other runs are kept away from the log of this path. Raises Busy, Refused or OSError."""

    __slots__ = ("_base", "_directory", "_dirs", "_logdir", "_turn")

    def __init__(self, dirs: Directories, log: str) -> None:
        self._dirs = dirs
        self._directory, self._base = os.path.split(log)
        self._logdir: LogDir | None = None
        self._turn: Turn | None = None

    def __enter__(self) -> None:
        try:
            self._logdir = self._dirs.begin(self._directory)
            self._turn = self._logdir.turns.begin(self._base)
        except FileNotFoundError:  # the directory is gone; archives elsewhere may have stayed
            pass
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self._logdir is not None:
            if self._turn is not None:
                self._logdir.turns.end(self._turn)
            self._dirs.end(self._directory)
            self._logdir = None


def remove_left(dirs: Directories, locked: Iterable[str]) -> None:
    """Remove the locks that killed runs left in these directories. One that is in use, or cannot go, hurts nobody."""
    for directory in locked:
        with contextlib.suppress(LogrotorError, OSError), dirs.use(directory) as logdir:
            logdir.turns.adopt()
