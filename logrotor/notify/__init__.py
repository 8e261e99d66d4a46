"""Ask a process to reopen its logs. Knows how to ask; whether it has happened is proved elsewhere.

Each way to ask is a module, imported when it is used: this one stays light. A request is either delivered or it
raises :class:`~logrotor.errors.ReopenFailed`; nothing is retried here, since the next run asks again.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from logrotor.decide.facts import LogFacts
from logrotor.errors import ReopenFailed
from logrotor.model import Manager, Nobody, Problem, ReopenTarget
from logrotor.notify.common import ABSENT, FORBIDDEN, STALE, Delivered, SelfRotation, Stop

__all__ = [
    "ABSENT",
    "FORBIDDEN",
    "STALE",
    "Asked",
    "Delivered",
    "SelfRotation",
    "Stop",
    "answer",
    "asked",
    "held_back",
    "probe",
    "request",
    "self_rotation",
    "why_forbidden",
]

# Those that signal a process have held(target, stop), the others request and probe.
_WAYS: Mapping[Manager, str] = {
    Manager.SUPERVISORD: "logrotor.notify.supervisord",
    Manager.SYSTEMD: "logrotor.notify.systemd",
    Manager.PIDFILE: "logrotor.notify.process",
    Manager.COMMAND: "logrotor.notify.command",
    Manager.CALLABLE: "logrotor.notify.command",
}


def request(target: ReopenTarget, paths: tuple[str, ...], *, stop: Stop = lambda: False) -> Delivered:
    """Ask ``target`` once to reopen all of ``paths``. Raises ReopenFailed with what to do.

    A request is always made; once ``stop`` says so, a command that still runs gets half a second more.
    """
    delivered: Delivered
    way = importlib.import_module(_WAYS[target.manager])
    if target.manager in (Manager.COMMAND, Manager.CALLABLE):
        delivered = way.request(target, paths, stop=stop)
    else:
        with way.held(target, stop, paths) as found:
            delivered = found.send()
    return delivered


def probe(target: ReopenTarget, paths: tuple[str, ...] = ()) -> None:
    """Could ``target`` be asked: its process is there, the right one, and ours to signal? Asks nothing of it.

    Raises ReopenFailed with what to do. A function cannot be probed.
    """
    way = importlib.import_module(_WAYS[target.manager])
    if target.manager is Manager.COMMAND:
        way.probe(target)
    elif target.manager is not Manager.CALLABLE:
        with way.held(target, lambda: False, paths) as found:
            found.check_permitted()


def why_forbidden(target: ReopenTarget, paths: tuple[str, ...] = ()) -> Problem | None:
    """Why a request to ``target`` is bound to fail, now and in every later run: its process is not ours to signal."""
    if target.manager in (Manager.COMMAND, Manager.CALLABLE):
        return None
    try:
        probe(target, paths)
    except ReopenFailed as error:
        return error.problem if error.problem.kind == FORBIDDEN else None
    return None


class Asked(Struct, frozen=True):
    """Whose process a request signals, and how others may be allowed to make it."""

    user: int
    permit: str


def asked(target: ReopenTarget) -> Asked | None:
    """The user of the process that a request to ``target`` signals; None: it signals none, or none can be seen."""
    if target.manager in (Manager.COMMAND, Manager.CALLABLE):
        return None
    way = importlib.import_module(_WAYS[target.manager])
    try:
        with way.held(target, lambda: False) as found:
            return Asked(found.process.uid, found.sought.permit)
    except ReopenFailed:
        return None


def answer(problem: Problem, directory: str, whom: Asked | None) -> Problem:
    """A problem of who we are, with what helps where a process of another user is to be asked as well."""
    from logrotor.disk.identity import one_for_both

    way = one_for_both(directory, whom.user) if whom is not None else None
    if whom is None or way is None:
        return problem
    return replace(problem, advice=f"{way}, or {whom.permit}" if problem.kind == FORBIDDEN else way)


def self_rotation(target: ReopenTarget, paths: tuple[str, ...] = ()) -> SelfRotation:
    """The logs that the target's supervisord rotates itself. Empty for other managers. Never raises."""
    if target.manager is not Manager.SUPERVISORD:
        return SelfRotation()
    from logrotor.notify import supervisord

    return supervisord.self_rotation(target, paths)


def held_back(forbidden: Problem, target: ReopenTarget, logs: Iterable[LogFacts]) -> Iterator[tuple[str, Problem]]:
    """Those that somebody writes, or may write: taken, they would grow on as archives, where nobody looks."""
    why = replace(forbidden, problem=f"its writer could not be asked to reopen it: {forbidden.problem}")
    whom = asked(target)
    for facts in logs:
        if not isinstance(facts.live_writers(), Nobody):
            told = answer(why, facts.directory.resolved, whom)
            yield os.path.realpath(facts.path), replace(told, subject=facts.path)
