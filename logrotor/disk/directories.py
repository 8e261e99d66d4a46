"""Log directories that stay open for a run: each is walked to once, and never more than a few dozen at a time."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager

from logrotor.disk import walk
from logrotor.disk.logdir import LogDir
from logrotor.disk.turns import Turn
from logrotor.errors import LogrotorError, Stale
from logrotor.model import FileId

_MOST = 64  # open at once; a run may meet thousands, and 1024 descriptors are a common limit
_FILES = 16  # that must be allowed to be open for each of them; it takes two, the archives under way take most


class Directories:
    """Open log directories by path, safe to use from several threads. Close it, or use it as a context manager.

    ``known``: which directories the paths were when the plan was made; another one in such a place is not used.
    """

    def __init__(self, known: Mapping[str, FileId]) -> None:
        self.leftovers: list[OSError] = []  # of all directories
        self._known = known
        self._open: OrderedDict[str, LogDir] = OrderedDict()
        self._users: dict[str, int] = {}
        self._lock = threading.Lock()
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = _MOST if soft == resource.RLIM_INFINITY else max(1, min(_MOST, soft // _FILES))

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, *_: object) -> None:
        for logdir in self._open.values():
            logdir.close()
        self._open.clear()

    def begin_anew(self) -> None:
        """After a fork: what is open belongs to the other process, and so do the turns at logs that it has begun.

        Our copies are closed: a lock lasts as long as anybody has its file open.
        """
        self.leftovers.clear()
        for logdir in self._open.values():
            logdir.abandon()
        self._open, self._users = OrderedDict(), {}

    def use(self, path: str) -> AbstractContextManager[LogDir]:
        """The directory ``path``, open at least until the end of the block."""
        return _Use(self, path)

    def begin(self, path: str) -> LogDir:
        with self._lock:
            logdir = self._open.get(path)
            if logdir is None:
                self._close_idle()
                logdir = self._open[path] = self._opened(path)
            self._open.move_to_end(path)
            self._users[path] = self._users.get(path, 0) + 1
        return logdir

    def end(self, path: str) -> None:
        with self._lock:
            self._users[path] -= 1

    def turn(self, log: str) -> AbstractContextManager[None]:
        """A block in which other runs are kept away from the log of this path. Raises Busy, Refused or OSError.

        Whoever renames or removes a file of a log's family has its turn (:mod:`logrotor.disk.turns`). So between a look
        at a name and its renaming or removal, no other run can have given the name to another file, also where two
        configurations with different state directories name the log.
        """
        return _Turn(self, log)

    def remove_locks(self, locked: Iterable[str]) -> None:
        """Remove the locks that killed runs left there. One that is in use, or cannot go, hurts nobody."""
        for directory in locked:
            with contextlib.suppress(LogrotorError, OSError), self.use(directory) as logdir:
                logdir.turns.adopt()

    def make(self, path: str) -> None:
        """Create a directory that was missing when the plan was made. Raises Stale, InsecureDirectory or OSError."""
        if path not in self._known:
            walk.make_directories(path, known=self._known)

    def _opened(self, path: str) -> LogDir:
        logdir = LogDir(path)
        if self._known.get(path, logdir.id) != logdir.id:
            logdir.close()
            raise Stale(f"{path}: another directory has its place by now")
        logdir.leftovers = self.leftovers
        return logdir

    def _close_idle(self) -> None:
        for path in [p for p in self._open if not self._users.get(p)]:
            if len(self._open) < self._most:
                return
            self._open.pop(path).close()


class _Use:
    """One block that uses a directory; a dozen a log, so no generator makes it."""

    __slots__ = ("_dirs", "_path")

    def __init__(self, dirs: Directories, path: str) -> None:
        self._dirs, self._path = dirs, path

    def __enter__(self) -> LogDir:
        return self._dirs.begin(self._path)

    def __exit__(self, *_: object) -> None:
        self._dirs.end(self._path)


class _Turn:
    """One block that has a log's turn."""

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
