"""What every way to ask has in common: what it answers, and the one shape of its refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from logrotor.errors import ReopenFailed
from logrotor.model import Problem, ReopenTarget

Stop = Callable[[], bool]


class Delivered(Struct, frozen=True):
    """A request that was delivered: to which processes (none for a command or a function), and how, in words."""

    target: ReopenTarget
    pids: tuple[int, ...]
    detail: str
    children: tuple[int, ...] = ()  # of the process of a function: it does not reopen for them


class SelfRotation(Struct, frozen=True):
    """The logs that supervisord rotates itself, by real path, and why some may be missing here."""

    files: Mapping[str, Problem] = field(default_factory=dict)
    unknown: tuple[Problem, ...] = ()


ABSENT, STALE = "absent", "stale"  # the kinds of a request to a process that is not there
FORBIDDEN = "forbidden"  # the kind of a request to a process of another user, which we may not signal


def failure(target: ReopenTarget, what: str, *, do: str, kind: str = "") -> ReopenFailed:
    """A request that cannot be made: what is wrong, and what to do."""
    subject = f"reopen target {target.name!r} ({target.manager})"
    return ReopenFailed(Problem(subject=subject, problem=what, advice=do, kind=kind))
