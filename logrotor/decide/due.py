"""Decide whether a log is due: its size, or its schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from logrotor.model import Due, Entry, LogSpec, NotDue


def is_due(
    spec: LogSpec,
    live: Entry | None,
    now: datetime,
    *,
    last: Callable[[], float | None],
    force: bool = False,
) -> Due | NotDue:
    """Due or not, with the reason. ``last`` is asked only if a schedule needs it."""
    if live is None:
        return NotDue("missing")
    if live.size == 0 and not spec.rotate_empty:  # before --force: seven of them would remove seven real archives
        return NotDue("empty; rotate_empty = true would rotate it" if force else "empty", _next(spec, now))
    if force:
        return Due("forced")
    if spec.min_size is not None and live.size < spec.min_size:
        return NotDue(f"smaller than min_size: {live.size} < {spec.min_size} bytes", _next(spec, now))
    if spec.max_size is not None and live.size > spec.max_size:
        return Due(f"larger than max_size: {live.size} > {spec.max_size} bytes")
    if spec.schedule is not None:
        return _by_schedule(spec, now, last())
    return NotDue(f"within max_size: {live.size} <= {spec.max_size} bytes")


def last_rotation(known: Iterable[float | None], now: datetime) -> float | None:
    """The latest of several guesses; one in the future counts as none."""
    return max((moment for moment in known if moment is not None and moment <= now.timestamp()), default=None)


def _by_schedule(spec: LogSpec, now: datetime, last: float | None) -> Due | NotDue:
    from logrotor.decide import schedule

    assert spec.schedule is not None
    named = spec.schedule_name or spec.schedule
    if schedule.is_due_by_schedule(spec.schedule, last, now):
        return Due(f"schedule {named}: last rotation {_shown(last, now)}")
    return NotDue(f"schedule {named}: not yet", _next(spec, now))


def _shown(last: float | None, now: datetime) -> str:
    if last is None:
        return "never"
    try:
        return datetime.fromtimestamp(last, now.tzinfo).isoformat(" ", "seconds")
    except (OverflowError, ValueError, OSError):  # a file may have any time, of any year
        return "long ago"


def _next(spec: LogSpec, now: datetime) -> datetime | None:
    if spec.schedule is None:
        return None
    from logrotor.decide import schedule

    return schedule.next_slot(spec.schedule, now)
