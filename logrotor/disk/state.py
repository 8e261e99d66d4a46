"""The state directory: ours alone (0700), with the lock, the history and the mark of the last run."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

from logrotor.disk import files
from logrotor.disk.calls import change
from logrotor.errors import Interrupted, Locked, StateError

LOCK = "lock"
HISTORY = "history.sqlite"
LAST_RUN = "last-run"


def prepare(path: str, origin: str) -> None:
    """Create the state directory if need be (0700), and refuse one that others could tamper with."""
    if not os.path.isdir(path):
        _create(path, origin)
    status = os.stat(path)
    if status.st_mode & 0o022:
        raise StateError(f"state_dir {path}: others may write there; chmod 700 {path}")
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        raise StateError(_unwritable(path, origin, "permission denied"))
    for name in (LOCK, HISTORY, LAST_RUN):
        _refuse_odd(os.path.join(path, name))


@contextlib.contextmanager
def locked(path: str, timeout: float, stop: Callable[[], bool]) -> Iterator[None]:
    """Hold the one lock of the state directory (mode 0600: a stranger cannot take it). Raises Locked, Interrupted."""
    from filelock import FileLock, Timeout

    lock = FileLock(os.path.join(path, LOCK), mode=0o600, fallback_to_soft=False, thread_local=False)
    try:
        lock.acquire(timeout=timeout, cancel_check=stop)
    except Timeout:
        if stop():
            raise Interrupted(f"{path}: asked to stop while another run held the lock") from None
        raise Locked(
            f"{path}: another run holds the lock (waited {timeout:g} s); it is free as soon as that run ends"
        ) from None
    except OSError as error:
        raise StateError(f"{os.path.join(path, LOCK)}: cannot be locked: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def touch_last_run(path: str) -> None:
    """Mark that a run took place, also an idle one. What cannot be written is not worth an error."""
    with contextlib.suppress(OSError):
        files.touch(os.path.join(path, LAST_RUN))


def _create(path: str, origin: str) -> None:
    try:
        change("mkdir", os.makedirs, path, 0o700, exist_ok=True)
    except OSError as error:
        raise StateError(_unwritable(path, origin, error.strerror or str(error))) from None


def _unwritable(path: str, origin: str, why: str) -> str:
    user = os.geteuid()
    return (
        f"state_dir {path} ({origin}): cannot be written by uid {user}: {why}; "
        f'set the key state_dir = "/path/of/yours" in the configuration, or the variable STATE_DIRECTORY, '
        f"or as root: install -d -m 0700 -o {user} {path}"
    )


def _refuse_odd(path: str) -> None:
    """A lock or history that is no regular file of one name was planted: leave it, and say so."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise StateError(f"{path}: not a regular file with one name only; look at it, then remove it")
