"""The state directory: ours alone (0700), with the lock, the history and the mark of the last run."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

from logrotor.disk import files, walk
from logrotor.disk.calls import change
from logrotor.errors import Interrupted, Locked, LogrotorError, StateError

LOCK = "lock"
HISTORY = "history.sqlite"
LAST_RUN = "last-run"
QUEUE = "queue.sqlite"  # of the engine huey, where its url does not say otherwise


def is_own(name: str) -> bool:
    """Is it a file that logrotor itself keeps in the state directory? SQLite has files beside each of its own."""
    return name in (LOCK, LAST_RUN) or name.startswith((HISTORY, QUEUE))


def prepare(path: str, origin: str) -> None:
    """Create the state directory if need be (0700), and refuse one that others could tamper with."""
    try:
        _refuse_insecure(path, origin)
    except FileNotFoundError:
        _create(path, origin)
        _refuse_insecure(path, origin)
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        raise StateError(_unwritable(path, origin, "permission denied"))
    for name in (LOCK, HISTORY, LAST_RUN):
        refuse_odd(os.path.join(path, name))
    _hide_lock(os.path.join(path, LOCK))


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


def holder(path: str) -> int | None:
    """The process whose run holds the lock just now, as far as /proc/locks tells (proc(5)).

    Nothing is taken: a run that began at this moment would find the lock held by whoever only looks.
    """
    try:
        status = os.stat(os.path.join(path, LOCK))
        with open("/proc/locks", encoding="ascii") as table:
            locks = [line.split() for line in table]
    except OSError:
        return None
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    held = (int(fields[4]) for fields in locks if fields[1] == "FLOCK" and fields[5] == file)
    return next((pid for pid in held if pid > 0), None)


def touch_last_run(path: str) -> None:
    """Mark that a run took place, also an idle one. What cannot be written is not worth an error."""
    with contextlib.suppress(OSError):
        files.touch(os.path.join(path, LAST_RUN))


def refuse_unusable(path: str, origin: str) -> None:
    """As :func:`prepare`, but nothing is created or changed. Raises FileNotFoundError, StateError."""
    _refuse_insecure(path, origin)
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        raise StateError(_unwritable(path, origin, "permission denied"))


def refuse_uncreatable(path: str, origin: str) -> None:
    """Could a missing state directory be created? Raises StateError."""
    above = walk.barrier_to(path)
    if above is not None:
        raise StateError(_unwritable(path, origin, f"{above} may not be written"))


def _refuse_insecure(path: str, origin: str) -> None:
    """What lies in the state directory is trusted. Raises FileNotFoundError, StateError."""
    try:
        resolved = walk.resolve_private(path)
    except FileNotFoundError:
        raise
    except LogrotorError as error:
        raise StateError(f"state_dir {path} ({origin}): {error}") from None
    except OSError as error:
        raise StateError(_unwritable(path, origin, error.strerror or str(error))) from None
    if os.stat(resolved).st_mode & 0o022:
        raise StateError(f"state_dir {path}: others may write there; chmod 700 {path}")


def _create(path: str, origin: str) -> None:
    try:
        walk.make_directories(walk.resolve_missing(path), 0o700)
    except LogrotorError as error:
        raise StateError(f"state_dir {path} ({origin}): {error}") from None
    except OSError as error:
        raise StateError(_unwritable(path, origin, error.strerror or str(error))) from None


def _unwritable(path: str, origin: str, why: str) -> str:
    user = os.geteuid()
    return (
        f"state_dir {path} ({origin}): cannot be written by uid {user}: {why}; "
        f'set the key state_dir = "/path/of/yours" in the configuration, or the variable STATE_DIRECTORY, '
        f"or as root: install -d -m 0700 -o {user} {path}"
    )


def _hide_lock(path: str) -> None:
    """A lock that others may open (a restored backup?) could be taken by them (CVE-2022-1348)."""
    with contextlib.suppress(OSError):
        if os.lstat(path).st_mode & 0o077:
            change("chmod", os.chmod, path, 0o600)


def refuse_odd(path: str) -> None:
    """A lock or history that is no regular file of one name was planted: leave it, and say so."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise StateError(f"{path}: not a regular file with one name only; look at it, then remove it")
