"""Put a file that others read in place at once: readers find the old one whole or the new one whole."""

from __future__ import annotations

import fcntl
import os
import stat

from logrotor.disk.calls import change
from logrotor.disk.files import write_all
from logrotor.disk.identity import why_closed
from logrotor.errors import Busy, Refused
from logrotor.model import Problem

_FLAGS = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def publish(path: str, data: bytes, mode: int) -> None:
    """Write ``data`` to ``path``, with ``mode`` whatever the umask is. Raises Busy, Refused or OSError.

    killed before ... | directory shows             | next time
    rename            | .NAME.tmp beside the old one | overwritten
    """
    directory, name = os.path.split(path)
    temp = os.path.join(directory, f".{name}.tmp")
    fd = _create(temp, path)
    try:
        _refuse_odd(fd, temp)
        change("truncate", os.ftruncate, fd, 0)
        write_all(fd, data)
        change("chmod", os.fchmod, fd, mode)
        change("rename", os.rename, temp, path)
    finally:
        os.close(fd)


def _create(temp: str, path: str) -> int:
    directory = os.path.dirname(path)
    try:
        return int(change("create", os.open, temp, _FLAGS, 0o600))
    except FileNotFoundError:
        what, advice = f"cannot be written: {directory} does not exist", "create it, or name another"
        raise Refused(Problem(subject=path, problem=what, advice=advice)) from None
    except PermissionError:
        if os.access(directory, os.W_OK | os.X_OK, effective_ids=True):  # the temp of another user
            raise
        closed = why_closed(directory)
        what = f"cannot be written: {directory}: {closed.problem}"
        raise Refused(Problem(subject=path, problem=what, advice=closed.advice)) from None


def _refuse_odd(fd: int, temp: str) -> None:
    """Only what we made ourselves, and nobody else works on."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(f"{temp}: another run writes it right now") from None
    own, there = os.fstat(fd), os.lstat(temp)
    if (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino):
        raise Busy(f"{temp}: another run has just written it")
    if not stat.S_ISREG(own.st_mode) or own.st_nlink > 1 or own.st_uid != os.geteuid():
        what = "not a file of ours with one name only"
        raise Refused(Problem(subject=temp, problem=what, advice="look at it, then remove it"))
