"""Who serves a queue: each worker and schedule signs in, in the state directory, and is asked there to renew itself.

``worker-PID.json`` is what the process has loaded; ``worker-PID.request`` the wish of somebody else, who may have no
other way to reach it: the state directory belongs to the user of the deployment, the socket of the manager to root.
In a container the name has its pid namespace too: two of them on one volume have the same numbers. Of a process
beyond our own namespace nobody can see whether it lives; but each renews its entry as long as it does.
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

NAME = re.compile(r"\.?worker-\d+(-\d+)?\.(json|request)(\.tmp)?")
KEPT = 30.0  # seconds after which a process that lives renews its entry
_FRESH = 4 * KEPT
_GONE = 86400.0  # seconds after which an entry of another namespace is removed
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
    publish(_path(state_dir, entry.pid, "json"), msgspec.json.encode(entry), 0o600)


def renewed(state_dir: str, pid: int) -> float | None:
    """When the entry of this process of ours was made or renewed (epoch seconds); None: there is none."""
    try:
        return os.stat(_path(state_dir, pid, "json"), follow_symlinks=False).st_mtime
    except OSError:
        return None


def renew(state_dir: str, pid: int) -> None:
    """Say that this process still lives. What cannot be written is seen as of one that does not."""
    with contextlib.suppress(OSError):
        change("utime", os.utime, _path(state_dir, pid, "json"), follow_symlinks=False)


def sign_out(state_dir: str, pid: int) -> None:
    """Take away what this process has left. What cannot be removed is seen to be of nobody."""
    for kind in ("request", "json"):
        _remove(_path(state_dir, pid, kind))


def clear_away(state_dir: str, now: float) -> None:
    """Remove what processes have left that were killed."""
    here = proc.pid_namespace()
    for path, entry, kept in _entries(state_dir):
        if not _lives(entry) if entry.space == here else now - kept > _GONE:
            _remove(path)
            _remove(path.removesuffix("json") + "request")


def signed(state_dir: str) -> list[Signed]:
    """Those that live, as far as this pid namespace shows them; none where the directory may not be read."""
    here = proc.pid_namespace()
    return [entry for _, entry, _ in _entries(state_dir) if entry.space == here and _lives(entry)]


def elsewhere(state_dir: str, now: float) -> list[tuple[Signed, float]]:
    """Those of other pid namespaces that have renewed their entries lately, and when (epoch seconds)."""
    here = proc.pid_namespace()
    return [(e, kept) for _, e, kept in _entries(state_dir) if e.space != here and now - kept < _FRESH]


def serving_since(state_dir: str, config: str, now: float) -> float | None:
    """When the youngest process that serves this configuration was started; None: none of them works.

    Started, not renewed: one that renews itself again and again is no younger for that.
    """
    file = os.path.realpath(config)
    found = [entry for entry in signed(state_dir) if entry.config == file]
    others = [entry for entry, _ in elsewhere(state_dir, now) if entry.config == file]
    with contextlib.suppress(OSError):  # it has just ended
        if any(entry.works for entry in (*found, *others)):
            return max(*(proc.look(entry.pid).started for entry in found), *(entry.since for entry in others), 0.0)
    return None


def is_shared(state_dir: str) -> bool:
    """Has somebody signed in from another pid namespace, whose numbers mean nothing here?"""
    here = proc.pid_namespace()
    return any(entry.space != here for _, entry, _ in _entries(state_dir))


def request(state_dir: str, pid: int, word: str) -> None:
    """Ask the process to renew itself; it answers by ``word``. Raises LogrotorError, OSError."""
    publish(_path(state_dir, pid, "request"), word.encode(), 0o600)


def requested(state_dir: str, pid: int) -> str:
    """The request to this process; empty: there is none."""
    try:
        return files.read(_path(state_dir, pid, "request"), _MOST, flags=os.O_NOFOLLOW)[0].decode(errors="replace")
    except OSError:
        return ""


def withdraw(state_dir: str, pid: int) -> None:
    """Take the request back, or off the table."""
    _remove(_path(state_dir, pid, "request"))


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        change("unlink", os.unlink, path)


def _lives(entry: Signed) -> bool:
    try:
        return proc.born(entry.pid) == entry.born
    except OSError:
        return False


def _entries(state_dir: str) -> Iterator[tuple[str, Signed, float]]:
    """Each entry with its path, and when it was renewed; by its path."""
    try:
        names = sorted(os.listdir(state_dir))
    except OSError:
        return
    for name in names:
        path = os.path.join(state_dir, name)
        if NAME.fullmatch(name) and name.endswith(".json") and name[0] != ".":
            with contextlib.suppress(OSError, msgspec.DecodeError):  # of a newer or older logrotor, say
                data, status = files.read(path, _MOST, flags=os.O_NOFOLLOW)
                yield path, msgspec.json.decode(data, type=Signed), status.st_mtime


def _path(state_dir: str, pid: int, kind: str) -> str:
    """Of a process of our own namespace."""
    space = proc.pid_namespace()
    more = "" if space == proc.INITIAL_PIDS else f"-{''.join(filter(str.isdigit, space))}"
    return os.path.join(state_dir, f"worker-{pid}{more}.{kind}")
