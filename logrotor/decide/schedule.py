"""Decide whether a log is due: by its size, or by its schedule. Reads no clock: the moment is an argument.

The slots of a schedule are those of Debian's cron in the zone of ``now``. At a clock change that means: a fixed time
("30 2 * * *") inside a skipped hour comes at the end of the gap, inside a doubled hour it comes once, the first time;
an expression whose minutes or hours begin with a star goes by elapsed time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from logrotor.decide.facts import LogFacts
from logrotor.model import Archive, Due, Entry, LogSpec, Method, NotDue

FIRST = 10.0  # seconds for a first job to be taken and done, after its slot


def due_or_not(facts: LogFacts, archives: Sequence[Archive], now: datetime, force: bool) -> Due | NotDue:
    live = facts.family.live

    def last() -> float | None:
        remembered = facts.history.last_rotation
        guesses = [remembered, facts.birth()]
        if remembered is None and archives:
            from logrotor.decide.slots import time_of

            guesses += [time_of(archive) for archive in archives]
        return last_rotation(guesses, now)

    found = is_due(facts.spec, live, now, last=last, force=force)
    if isinstance(found, Due) and facts.spec.method is Method.COPYTRUNCATE and not _can_cut(facts):
        return NotDue("within one block of the file system, and somebody has it open or may: nothing to cut off")
    return NotDue(facts.resting) if isinstance(found, Due) and facts.resting and not force else found


def _can_cut(facts: LogFacts) -> bool:
    live, system = facts.family.live, facts.directory.file_system
    if live is None or system is None or not system.collapse:
        return live is not None and live.size > 0
    return live.size > system.block or (live.size > 0 and facts.is_alone())


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
    if spec.max_size is not None and live.size > spec.max_size:
        return Due(f"larger than max_size: {live.size} > {spec.max_size} bytes")
    if spec.min_size is not None and live.size < spec.min_size:
        return NotDue(f"smaller than min_size: {live.size} < {spec.min_size} bytes", _next(spec, now))
    if spec.schedule is not None:
        return _by_schedule(spec, now, last())
    return NotDue(f"within max_size: {live.size} <= {spec.max_size} bytes")


def last_rotation(known: Iterable[float | None], now: datetime) -> float | None:
    """The latest of several guesses; one in the future counts as none."""
    return max((moment for moment in known if moment is not None and moment <= now.timestamp()), default=None)


def _by_schedule(spec: LogSpec, now: datetime, last: float | None) -> Due | NotDue:
    assert spec.schedule is not None
    named = spec.schedule_name or spec.schedule
    if is_due_by_schedule(spec.schedule, last, now):
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
    return next_slot(spec.schedule, now)


# ---------------------------------------------------------------- the slots of a schedule


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


def slot_after(expression: str, moment: float, number: int, zone: tzinfo | None) -> float | None:
    """When so many slots have come after ``moment`` (epoch seconds, both); None: there are not so many."""
    from itertools import islice

    start = datetime.fromtimestamp(moment, zone)
    later = (slot for slot in _slots(expression, start, reverse=False) if _is_after(slot, start))
    found = next(islice(later, number - 1, None), None)
    return None if found is None else found.timestamp()


def first_due(expression: str, since: float, zone: tzinfo | None) -> float | None:
    """By when something must have come of the first slot after ``since``, when it was set up (epoch seconds)."""
    slot = slot_after(expression, since, 1, zone)
    return None if slot is None else slot + FIRST


def longest_period(expressions: Iterable[str], now: datetime) -> float:
    """Seconds between the slots around ``now``, of the schedule in which they are farthest apart; 0: there is none."""
    pairs = [(latest_slot(each, now), next_slot(each, now)) for each in dict.fromkeys(expressions)]
    return max(((after - before).total_seconds() for before, after in pairs if before and after), default=0.0)


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
