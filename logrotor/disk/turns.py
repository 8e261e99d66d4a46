"""One rotator at a time at one log: a lock file in the log's directory, in which each log has a byte of its own.

Of all locks there are three kinds, each kept by the kernel and freed with its process:

kept by | on                                   | keeps out                  | from
a run   | ``lock`` in the state directory      | a run with the same state  | planning and acting (disk/state)
a step  | the log's byte in ``.logrotor.lock`` | a run with another state   | the names of this log (here)
a maker | its temp: an archive, a page         | who drops debris, or makes | what is being written (logdir, publish)

A step has its log's turn while it renames or removes; a maker locks its temp while it writes that, without a turn, for
as long as it takes. The locks here are open file description locks (fcntl(2), F_OFD_SETLK): threads do not share them,
and nobody who may only read the directory can take one, as the file has mode 0600.

Where the disk is so full that the file cannot be made, the directory itself is locked (flock(2)), all logs in it
together. Anybody who may read it can do that, so whoever makes the file waits for such a run, but only for a moment.

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
from logrotor.disk.walk import user_name
from logrotor.errors import HELD, Busy, Refused
from logrotor.model.problem import Problem
from logrotor.text import typed

_FLOCK = struct.Struct("@hhqqi0q")  # struct flock: type, whence, start, length, pid; a length of 0 is the whole file
_NO_LOCKS = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_FOUND = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BYTES = 2**63 - 25  # a prime modulo which no power of 256 is 1: where two characters change places, the byte changes
_WHOLE = -1  # in place of a byte: the directory itself
_PATIENCE, _PAUSE = 1.0, 0.001  # seconds, while another run removes the file
_MOMENT = 0.1  # seconds, for a run on a full disk
Place = tuple[int, int]  # an open file, a byte of it
Turn = tuple[str, Place]


class Turns:
    """The lock file of one open directory, made when it is first needed. Safe to use from several threads."""

    def __init__(self, directory: int, path: str) -> None:
        self._directory, self._path = directory, os.path.join(path, LOCK)
        self._files: list[int] = []  # all that are open
        self._file: int | None = None  # the one in use; the others were removed by somebody
        self._changing = threading.Lock()
        self._held: dict[Place, int] = {}  # by how many names: two may have the same byte
        self._own: dict[str, threading.Lock] = {}  # our own threads wait: they share the kernel's lock
        self._threads: dict[str, int] = {}

    def begin(self, base: str) -> Turn:
        """Keep other runs away from the log of this name until :meth:`end`. Raises Busy, Refused or OSError."""
        own = self._own.get(base) or self._own.setdefault(base, threading.Lock())
        if self._threads.get(base) == threading.get_ident():
            raise Busy(f"{self._path}: this very thread works on {base}, and would wait for itself")
        own.acquire()
        try:
            place = self._locked(int.from_bytes(os.fsencode(base), "little") % _BYTES)
        except BaseException:
            own.release()
            raise
        self._threads[base] = threading.get_ident()
        return base, place

    def end(self, turn: Turn) -> None:
        base, place = turn
        try:
            with self._changing:
                self._held[place] -= 1
                if not self._held[place]:
                    del self._held[place]
                    _unlock(*place)
        finally:
            self._threads.pop(base, None)
            self._own[base].release()

    def look(self) -> None:
        """Could there be turns? Raises FileNotFoundError, and Busy or Refused if what is there cannot be used."""
        os.close(self._found())

    def adopt(self) -> None:
        """Have :meth:`close` remove what a killed run left. Raises FileNotFoundError, Busy, Refused or OSError."""
        if self._file is None:
            self._use(self._found())

    def close(self) -> None:
        """Remove the file, unless another run uses it. Raises OSError if that fails; all is closed then, too."""
        try:
            if self._file is not None and _is_free(self._file):
                self._remove(self._file)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close what is open, and no more: after a fork, it is the other process that works."""
        files, self._files, self._file = self._files, [], None
        for fd in files:
            os.close(fd)

    def _locked(self, byte: int) -> Place:
        until = time.monotonic() + _PATIENCE
        while True:
            with self._changing:
                place = self._place(byte)
                if place is not None:
                    self._held[place] = self._held.get(place, 0) + 1
                    return place
            if time.monotonic() > until:
                raise self._busy()
            time.sleep(_PAUSE)

    def _place(self, byte: int) -> Place | None:
        """What is locked now; None: in a moment it may be another one."""
        if (self._directory, _WHOLE) in self._held:
            return self._directory, _WHOLE
        try:
            fd = self._file if self._file is not None else self._use(self._opened())
        except FileExistsError:  # another run has just made it
            return None
        except OSError as error:
            if error.errno not in _FULL:  # retention must be able to make room
                raise
            return self._whole()
        if not _try_lock(fd, byte):
            if _is_held(fd, byte):
                raise self._busy()
            return None
        if not os.fstat(fd).st_nlink:  # another run has removed it in the instant before we locked it
            self._file = None
            return None
        return fd, byte

    def _whole(self) -> Place | None:
        """The directory, unless somebody was faster; from here on nobody makes the file."""
        if not _try_flock(self._directory, fcntl.LOCK_EX):
            return None
        with contextlib.suppress(FileNotFoundError):
            os.stat(LOCK, dir_fd=self._directory, follow_symlinks=False)
            _unlock(self._directory, _WHOLE)
            return None
        return self._directory, _WHOLE

    def _use(self, fd: int) -> int:
        self._files.append(fd)
        self._file = fd
        return fd

    def _opened(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self._found()
        until = time.monotonic() + _MOMENT
        while not _try_flock(self._directory, fcntl.LOCK_SH) and time.monotonic() < until:
            time.sleep(_PAUSE)
        try:
            return change("create", os.open, LOCK, _NEW, 0o600, dir_fd=self._directory)
        finally:
            _unlock(self._directory, _WHOLE)

    def _found(self) -> int:
        try:
            fd = os.open(LOCK, _FOUND, dir_fd=self._directory)
        except PermissionError:
            owner = user_name(os.stat(LOCK, dir_fd=self._directory, follow_symlinks=False).st_uid)
            what = f"belongs to {owner}, whose run may be at work there, so every log there waits"
            advice = f"if no run of {owner} is at work, remove it: rm {typed(self._path)}"
            raise Busy(Problem(subject=self._path, problem=what, advice=advice, kind=HELD)) from None
        except FileNotFoundError:
            raise
        except OSError as error:
            what, advice = f"cannot be opened: {error.strerror}", "if it is no file of ours, remove it"
            raise Refused(Problem(subject=self._path, problem=what, advice=advice)) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            what = "not a regular file, so it cannot be our lock"
            raise Refused(Problem(subject=self._path, problem=what, advice="remove it"))
        return fd

    def _remove(self, fd: int) -> None:
        own = os.fstat(fd)
        with contextlib.suppress(FileNotFoundError):
            there = os.stat(LOCK, dir_fd=self._directory, follow_symlinks=False)
            if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino):
                change("unlink", os.unlink, LOCK, dir_fd=self._directory)

    def _busy(self) -> Busy:
        return Busy(Problem(subject=self._path, problem="locked; another run works on this log", kind=HELD))


def _is_free(fd: int) -> bool:
    """Does no other run use it? Then it is ours alone from here on."""
    return _try_lock(fd, 0, 0)


def _try_lock(fd: int, start: int, length: int = 1) -> bool:
    """Lock it, unless another run has it; True also where the file system knows no locks."""
    try:
        _set(fd, fcntl.F_WRLCK, start, length)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _try_flock(directory: int, kind: int) -> bool:
    """The same with flock(2); NFS says EBADF of a directory, as it would have to be writable."""
    try:
        fcntl.flock(directory, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS and error.errno != errno.EBADF:
            raise
    return True


def _unlock(fd: int, where: int) -> None:
    with contextlib.suppress(OSError):  # it knows no locks; else the file is closed soon
        if where == _WHOLE:
            fcntl.flock(fd, fcntl.LOCK_UN)
        else:
            _set(fd, fcntl.F_UNLCK, where, 1)


def _is_held(fd: int, where: int) -> bool:
    """Does another run work on this log? Not if it has ended meanwhile, or holds the whole file to remove it."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, where, 1, 0)
    kind, _, _, length, _ = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK and length)


def _set(fd: int, kind: int, start: int, length: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
