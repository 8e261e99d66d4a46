"""One rotator at a time at one log: a lock file in the log's directory, in which each log has a byte of its own.

All locks are open file description locks (fcntl(2), F_OFD_SETLK): the kernel frees those of a dead process, threads do
not share them, and nobody who may only read the directory can take one, as the file has mode 0600.

killed before ... | directory shows | next run
remove            | .logrotor.lock  | uses it, and removes it
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import threading
import time

from logrotor.decide.naming import LOCK
from logrotor.disk.calls import change
from logrotor.errors import Busy, Refused

_FLOCK = struct.Struct("@hhqqi0q")  # struct flock: type, whence, start, length, pid; a length of 0 is the whole file
_NO_LOCKS = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL})
_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_FOUND = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BYTES = 2**61 - 1  # a prime: names are spread over all of them
_PATIENCE, _PAUSE = 1.0, 0.001  # seconds, while another run removes the file
Turn = tuple[threading.Lock, int, int]  # among our own threads, the byte, the open file


class Turns:
    """The lock file of one open directory, made when it is first needed. Safe to use from several threads."""

    def __init__(self, directory: int, path: str) -> None:
        self._directory, self._path = directory, os.path.join(path, LOCK)
        self._files: list[int] = []  # the last one is in use; those before it were removed by somebody
        self._opening = threading.Lock()
        self._own: dict[int, threading.Lock] = {}  # our own threads wait: they share the kernel's lock

    def begin(self, base: str) -> Turn:
        """Keep other runs away from the log of this name until :meth:`end`. Raises Busy, Refused or OSError."""
        where = int.from_bytes(os.fsencode(base), "little") % _BYTES
        own = self._own.get(where) or self._own.setdefault(where, threading.Lock())
        own.acquire()
        try:
            return own, where, self._locked(where)
        except BaseException:
            own.release()
            raise

    def end(self, turn: Turn) -> None:
        own, where, fd = turn
        try:
            with contextlib.suppress(OSError):  # it knows no locks; else the file is closed soon
                _set(fd, fcntl.F_UNLCK, where, 1)
        finally:
            own.release()

    def adopt(self) -> None:
        """Have :meth:`close` remove what a killed run left. Raises FileNotFoundError, Busy, Refused or OSError."""
        if not self._files:
            self._files.append(self._found())

    def close(self) -> None:
        """Remove the file, unless another run uses it. Raises OSError if that fails; all is closed then, too."""
        with contextlib.ExitStack() as closing:
            for fd in self._files:
                closing.callback(os.close, fd)
            last, self._files = self._files[-1:], []
            for fd in last:
                if _is_free(fd):
                    self._remove(fd)

    def _locked(self, where: int) -> int:
        until = time.monotonic() + _PATIENCE
        while True:
            fd = self._file()
            try:
                _set(fd, fcntl.F_WRLCK, where, 1)
            except (BlockingIOError, PermissionError):
                if _is_held(fd, where) or time.monotonic() > until:
                    raise Busy(f"{self._path}: locked; another run works on this log") from None
                time.sleep(_PAUSE)
                continue
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            if os.fstat(fd).st_nlink:
                return fd
            self._forget(fd)

    def _file(self) -> int:
        with self._opening:
            if not self._files:
                self._files.append(self._opened())
            return self._files[-1]

    def _forget(self, removed: int) -> None:
        """Another run has ended and removed it in the instant before we locked it."""
        with self._opening:
            if self._files[-1] == removed:
                self._files.append(self._opened())

    def _opened(self) -> int:
        while True:
            with contextlib.suppress(FileExistsError):
                return change("create", os.open, LOCK, _NEW, 0o600, dir_fd=self._directory)
            with contextlib.suppress(FileNotFoundError):
                return self._found()

    def _found(self) -> int:
        try:
            fd = os.open(LOCK, _FOUND, dir_fd=self._directory)
        except PermissionError:
            raise Busy(f"{self._path}: another user's; if no run of his is at work there, remove it") from None
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Refused(f"{self._path}: cannot be opened: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Refused(f"{self._path}: not a regular file")
        return fd

    def _remove(self, fd: int) -> None:
        own = os.fstat(fd)
        with contextlib.suppress(FileNotFoundError):
            there = os.stat(LOCK, dir_fd=self._directory, follow_symlinks=False)
            if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino):
                change("unlink", os.unlink, LOCK, dir_fd=self._directory)


def _is_free(fd: int) -> bool:
    """Does no other run use it? Then it is ours alone from here on."""
    try:
        _set(fd, fcntl.F_WRLCK, 0, 0)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_held(fd: int, where: int) -> bool:
    """Does another run work on this log? Not if it has ended meanwhile, or holds the whole file to remove it."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, where, 1, 0)
    kind, _, _, length, _ = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK and length)


def _set(fd: int, kind: int, start: int, length: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
