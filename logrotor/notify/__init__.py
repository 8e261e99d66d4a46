"""Ask a process to reopen its logs. Knows how to ask; whether it has happened is proved elsewhere.

One module per way to ask, each with ``request(target, paths, stop=...)``, imported when it is used: this module
stays light. A request is either delivered or it raises :class:`~logrotor.errors.ReopenFailed`; nothing is
retried here, since the next run asks again.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from logrotor.errors import ReopenFailed
from logrotor.model import Manager, Problem, ReopenTarget

Stop = Callable[[], bool]

_WAYS: Mapping[Manager, str] = {
    Manager.SUPERVISORD: "logrotor.notify.supervisord",
    Manager.SYSTEMD: "logrotor.notify.systemd",
    Manager.PIDFILE: "logrotor.notify.pidfile",
    Manager.COMMAND: "logrotor.notify.command",
    Manager.CALLABLE: "logrotor.notify.function",
}


class Delivered(Struct, frozen=True):
    """A request that was delivered: to which processes (none for a command or a function), and how, in words."""

    target: ReopenTarget
    pids: tuple[int, ...]
    detail: str


class SelfRotation(Struct, frozen=True):
    """Files that their manager rotates itself (real path -> what to change), and what could not be checked."""

    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def request(target: ReopenTarget, paths: tuple[str, ...], *, stop: Stop = lambda: False) -> Delivered:
    """Ask ``target`` once to reopen all of ``paths``. Raises ReopenFailed with what to do.

    A request is always made; once ``stop`` says so, a command that still runs is given 2 more seconds only.
    """
    way = importlib.import_module(_WAYS[target.manager])
    delivered: Delivered = way.request(target, paths, stop=stop)
    return delivered


def probe(target: ReopenTarget) -> None:
    """Could ``target`` be asked: its process is there, the right one, and ours to signal? Asks nothing of it.

    Raises ReopenFailed with what to do. A function cannot be probed.
    """
    if target.manager is not Manager.CALLABLE:
        importlib.import_module(_WAYS[target.manager]).probe(target)


def self_rotated(target: ReopenTarget) -> Mapping[str, str]:
    """Real paths of the logs which the manager rotates itself, each with the exact lines to change.

    Empty for all but supervisord, and where supervisord or its configuration is not found: then nothing is
    claimed, and :func:`self_rotation` has a note that says why.
    """
    return self_rotation(target).files


def self_rotation(target: ReopenTarget) -> SelfRotation:
    """:func:`self_rotated` with notes, "could not be checked: ...". Changes nothing and never raises."""
    if target.manager is not Manager.SUPERVISORD:
        return SelfRotation()
    from logrotor.notify import supervisord

    return supervisord.self_rotation(target)


def failure(target: ReopenTarget, what: str, *, do: str) -> ReopenFailed:
    """The one shape of a refusal: which target, what is wrong and why, what to do."""
    return ReopenFailed(Problem(subject=f"reopen target {target.name!r} ({target.manager})", problem=what, advice=do))
