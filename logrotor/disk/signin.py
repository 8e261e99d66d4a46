"""Who serves a queue: each worker and schedule signs in, in the state directory, and is asked there to renew itself.

``worker-PID.json`` is what the process has loaded; ``worker-PID.request`` the wish of somebody else, who may have no
other way to reach it: the state directory belongs to the user of the deployment, the socket of the manager to root.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from logrotor.disk import files, proc
from logrotor.disk.calls import change
from logrotor.disk.publish import publish

NAME = re.compile(r"\.?worker-(\d+)\.(json|request)(\.tmp)?")
_MOST = 1 << 16  # bytes


class Signed(Struct, frozen=True, kw_only=True):
    """A process that lives for long, and what it has loaded."""

    pid: int
    born: int  # clock ticks after boot: the same through each renewal, another one for whoever gets the number next
    space: str  # its pid namespace: beyond it the number means nothing
    since: float  # epoch seconds: when it was started, or renewed last
    config: str  # the real path of its configuration
    loaded: str  # a digest of the configuration and the URL of the queue
    program: str  # a digest of logrotor's code and the version of the engine
    engine: str
    queue: str
    host: str
    works: bool  # it has a worker of the engine beside it
    ticks: bool  # it queues a job at each tick
    answered: str = ""  # the last request that it has dealt with
    refused: str = ""  # why it goes on as it was


def itself() -> tuple[int, int, str]:
    """Our own pid, when we were born, and our pid namespace."""
    return os.getpid(), proc.born(os.getpid()), proc.pid_namespace()


def sign_in(state_dir: str, entry: Signed) -> None:
    """Leave it there, in place of an earlier one of this process. Raises LogrotorError, OSError."""
    publish(_entry(state_dir, entry.pid), msgspec.json.encode(entry), 0o600)


def is_signed_in(state_dir: str, pid: int) -> bool:
    """Whether there is an entry of this number."""
    return os.path.lexists(_entry(state_dir, pid))


def sign_out(state_dir: str, pid: int) -> None:
    """Take away what this process has left. What cannot be removed is seen to be of nobody."""
    for path in (_request(state_dir, pid), _entry(state_dir, pid)):
        with contextlib.suppress(OSError):
            change("unlink", os.unlink, path)


def clear_away(state_dir: str) -> None:
    """Remove what processes have left that were killed."""
    for pid in _pids(state_dir):
        entry = _read(state_dir, pid)
        if entry is not None and entry.space == proc.pid_namespace() and not _lives(entry):
            sign_out(state_dir, pid)


def signed(state_dir: str) -> list[Signed]:
    """Those that live, as far as this pid namespace shows them; none where the directory may not be read."""
    found = [entry for pid in sorted(_pids(state_dir)) if (entry := _read(state_dir, pid)) is not None]
    here = proc.pid_namespace() if found else ""
    return [entry for entry in found if entry.space == here and _lives(entry)]


def serving_since(state_dir: str, config: str) -> float | None:
    """When the youngest process that serves this configuration was started; None: none of them works.

    Started, not renewed: one that renews itself again and again is no younger for that.
    """
    found = [entry for entry in signed(state_dir) if entry.config == os.path.realpath(config)]
    with contextlib.suppress(OSError):  # it has just ended
        return max(proc.look(entry.pid).started for entry in found) if any(e.works for e in found) else None
    return None


def is_shared(state_dir: str) -> bool:
    """Has somebody signed in from another pid namespace, whose numbers mean nothing here?"""
    here = proc.pid_namespace()
    return any(entry.space != here for pid in _pids(state_dir) if (entry := _read(state_dir, pid)) is not None)


def request(state_dir: str, pid: int, word: str) -> None:
    """Ask the process to renew itself; it answers by ``word``. Raises LogrotorError, OSError."""
    publish(_request(state_dir, pid), word.encode(), 0o600)


def requested(state_dir: str, pid: int) -> str:
    """The request to this process; empty: there is none."""
    try:
        return files.read(_request(state_dir, pid), _MOST, flags=os.O_NOFOLLOW)[0].decode(errors="replace")
    except OSError:
        return ""


def withdraw(state_dir: str, pid: int) -> None:
    """Take the request back, or off the table."""
    with contextlib.suppress(OSError):
        change("unlink", os.unlink, _request(state_dir, pid))


def _lives(entry: Signed) -> bool:
    try:
        return proc.born(entry.pid) == entry.born
    except OSError:
        return False


def _read(state_dir: str, pid: int) -> Signed | None:
    try:
        return msgspec.json.decode(files.read(_entry(state_dir, pid), _MOST, flags=os.O_NOFOLLOW)[0], type=Signed)
    except (OSError, msgspec.DecodeError):  # of a newer or older logrotor, say
        return None


def _pids(state_dir: str) -> Iterator[int]:
    try:
        names = os.listdir(state_dir)
    except OSError:
        return
    for name in names:
        found = NAME.fullmatch(name)
        if found is not None and found[2] == "json":
            yield int(found[1])


def _entry(state_dir: str, pid: int) -> str:
    return os.path.join(state_dir, f"worker-{pid}.json")


def _request(state_dir: str, pid: int) -> str:
    return os.path.join(state_dir, f"worker-{pid}.request")
