"""What one run of a watch is: which logs, and what it leaves to others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from logrotor.act.context import Deadline
from logrotor.model import LogPlan


class Turn(Struct, frozen=True, kw_only=True):
    """Without arguments: a run as any other.

    ``takes_only``: the archives are left to another run. ``resting``: logs that are not taken, and why. ``stop``: as
    for a rotator. ``pressed``: whether another run waits for the lock.
    """

    only: tuple[str, ...] = ()
    takes_only: bool = False
    resting: Mapping[str, str] = {}
    stop: Callable[[], bool] | None = None
    pressed: Callable[[], bool] | None = None

    def deadline(self, time_limit: float | None) -> Deadline:
        deadline = Deadline.after(time_limit)
        return deadline if self.pressed is None else Deadline(deadline.at, self.pressed)

    def of(self, logs: tuple[LogPlan, ...]) -> tuple[LogPlan, ...]:
        """What of the plan is carried out."""
        if not self.takes_only:
            return logs
        return tuple(replace(log, retire=(), compress=(), hooks=(), deferred=()) for log in logs)
