"""The sign of life of a watch: one file of the state directory, locked for as long as the watch lives.

``watch.json`` | its lock | what it means
absent         |          | no watch, or one that was asked to stop
unreadable     |          | nobody knows, so nothing is well
there          | held     | a watch, as of its last beat
there          | free     | a watch that was killed, and that nobody has started again
"""

from __future__ import annotations

import contextlib
import fcntl
import os

import msgspec
from msgspec import Struct

from logrotor.disk import files, proc
from logrotor.disk.calls import change
from logrotor.errors import Locked, StateError
from logrotor.model import Problem
from logrotor.text import typed

NAME = "watch.json"
_ROOM = 4096  # bytes; rewritten in place, so that a full disk does not stop a heart
_SILENT = 60.0  # seconds
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Beat(Struct, frozen=True, kw_only=True):
    """A watch at one moment, in epoch seconds."""

    pid: int
    born: int  # clock ticks after boot
    space: str  # its pid namespace: beyond it the number means nothing
    since: float  # when it was started, or has read its configuration last
    at: float
    logs: int


class Heart:
    """Held by a watch from its start to its end. Raises Locked where another one has it, StateError."""

    def __init__(self, state_dir: str) -> None:
        self._path = os.path.join(state_dir, NAME)
        self._fd = _locked(self._path)

    def beat(self, beat: Beat) -> None:
        """What cannot be written is not worth an error: others then see how old the last beat is."""
        with contextlib.suppress(OSError):
            files.overwrite(self._fd, msgspec.json.encode(beat).ljust(_ROOM - 1)[: _ROOM - 1] + b"\n")

    def stop(self) -> None:
        """It was asked to stop, so nobody misses it."""
        with contextlib.suppress(OSError):
            change("unlink", os.unlink, self._path)
        self.let_go()

    def let_go(self) -> None:
        """For the program that this process becomes."""
        os.close(self._fd)


def _locked(path: str) -> int:
    while True:
        try:
            fd = change("open", os.open, path, _FLAGS, 0o600)
        except OSError as error:
            raise StateError(Problem(subject=path, problem=f"cannot be opened: {error.strerror}")) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):  # it was removed just now, by the one before us
                if os.path.samestat(os.fstat(fd), os.lstat(path)):
                    return fd
        except BlockingIOError:
            os.close(fd)
            raise Locked(_second(path)) from None
        except OSError as error:  # a file system without locks, say: to try again would be for ever
            os.close(fd)
            raise StateError(Problem(subject=path, problem=f"cannot be locked: {error.strerror}")) from error
        os.close(fd)


def _second(path: str) -> Problem:
    beat = _read(path)
    who = "another watch" if beat is None else f"the watch of process {beat.pid}"
    what = f"{who} has this state directory, and one is enough"
    advice = "stop that one first, or give this configuration a state_dir of its own"
    return Problem(subject=os.path.dirname(path), problem=what, advice=advice)


def _read(path: str) -> Beat | None:
    try:
        return msgspec.json.decode(files.read(path, _ROOM, flags=os.O_NOFOLLOW)[0], type=Beat)
    except (OSError, msgspec.DecodeError):  # none, or of another version
        return None


def last(state_dir: str) -> Beat | None:
    """The last beat of the watch of this state directory; None: there is none, or it was asked to stop."""
    return _read(os.path.join(state_dir, NAME))


def trouble(state_dir: str, now: float) -> Problem | None:
    """What is wrong with a watch that signed in and was not asked to stop; None: nothing, or there is none."""
    beat, path = last(state_dir), os.path.join(state_dir, NAME)
    if beat is None and files.is_gone(path):
        return None
    if beat is None:
        what = "a watch has left a sign of life that cannot be read, so nobody knows whether it lives"
        advice = f"start it again; if it is not to run any more: rm {typed(path)}"
        return Problem(subject=path, problem=what, advice=advice, kind="watch")
    if _has_died(beat):
        what = f"the watch (process {beat.pid}) has died, and nothing has started it again"
        advice = f"start it again; if it is not to run any more: rm {typed(path)}"
        return Problem(subject=path, problem=what, advice=advice, kind="watch")
    if now - beat.at > _SILENT:
        what = f"the watch (process {beat.pid}) has given no sign of life for {now - beat.at:.0f} s"
        advice = "restart it; it hangs, or is stopped by a signal"
        return Problem(subject=path, problem=what, advice=advice, kind="watch")
    return None


def _has_died(beat: Beat) -> bool:
    """As far as this pid namespace shows it."""
    if beat.space != proc.pid_namespace():
        return False
    try:
        return proc.born(beat.pid) != beat.born
    except OSError:
        return True
