"""Decide when a schedule makes a log due. Knows cron expressions and the moment it is given; reads no clock.

Slots are those of Debian's cron in the zone of ``now``. At a clock change that means: a fixed time ("30 2 * * *")
inside a skipped hour comes at the end of the gap, inside a doubled hour it comes once, the first time; an
expression whose minutes or hours begin with a star goes by elapsed time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta


def is_due_by_schedule(expression: str, last: float | None, now: datetime) -> bool:
    """Whether a slot has come since the ``last`` rotation (epoch seconds). Any number of missed slots count once.

    No last rotation, or one in the future (the clock was set back), makes it due.
    """
    slot = latest_slot(expression, now)
    if slot is None:
        return False
    return last is None or last > now.timestamp() or slot.timestamp() > last


def latest_slot(expression: str, now: datetime) -> datetime | None:
    """The latest slot at or before ``now`` (aware); None if there was none in 50 years."""
    # cronsim floors to the second and then does not step if there are microseconds: so a slot at now is seen.
    start = _latest_wall_time(now).replace(microsecond=0) + timedelta(microseconds=1)
    return next((slot for slot in _slots(expression, start, reverse=True) if _is_after(slot, now) is False), None)


def next_slot(expression: str, now: datetime) -> datetime | None:
    """The first slot after ``now`` (aware); None if there is none in 50 years."""
    return next((slot for slot in _slots(expression, now, reverse=False) if _is_after(slot, now)), None)


def _slots(expression: str, start: datetime, *, reverse: bool) -> Iterator[datetime]:
    from cronsim import CronSim

    try:
        yield from CronSim(expression, start, reverse=reverse)
    except OverflowError:  # the calendar ends with the year 9999
        return


def _latest_wall_time(now: datetime) -> datetime:
    """``now``, or in the second pass of a doubled hour the highest time that the wall clock showed before it.

    cronsim walks fixed times by the wall clock: begun at 02:10 of the second pass it would not see 02:30 of the first.
    """
    real = now.astimezone(UTC).astimezone(now.tzinfo)
    if not real.fold:
        return real
    first, second = real.replace(fold=0).utcoffset(), real.utcoffset()
    assert first is not None and second is not None
    return real.replace(fold=0) + (first - second)


def _is_after(slot: datetime, now: datetime) -> bool:
    # Two datetimes of one zone are compared by wall clock, which goes back in autumn: compare instants.
    return slot.astimezone(UTC) > now.astimezone(UTC)
