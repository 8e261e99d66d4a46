"""When a schedule makes a log due: slots, clock changes, clocks set wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from logrotor.config.values import NAMES
from logrotor.decide.schedule import is_due_by_schedule, latest_slot, next_slot

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [UTC, BERLIN, *map(ZoneInfo, ("America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago"))]
EXPRESSIONS = [*NAMES.values(), "30 2 * * *", "*/15 * * * *", "15,45 1-3 * * *", "*/30 2 * * *", "0 3 29 2 *"]

zones = st.sampled_from(ZONES)
expressions = st.sampled_from(EXPRESSIONS)
instants = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))


def berlin(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


def seconds(moment: datetime | None) -> float:
    assert moment is not None
    return moment.timestamp()


def slots_between(expression: str, start: datetime, end: datetime) -> list[str]:
    """The slots after ``start`` up to ``end``, by stepping forward."""
    found = []
    slot = next_slot(expression, start)
    while slot is not None and slot.timestamp() <= end.timestamp():
        found.append(slot.isoformat())
        slot = next_slot(expression, slot)
    return found


def rotations(expression: str, start: datetime, end: datetime, every: timedelta = timedelta(minutes=1)) -> list[str]:
    """When a run every minute (by elapsed time) would rotate; it has rotated at ``start``."""
    found, last, now = [], start.timestamp(), start
    while now.timestamp() < end.timestamp():
        now = (now.astimezone(UTC) + every).astimezone(start.tzinfo)
        if is_due_by_schedule(expression, last, now):
            last = now.timestamp()
            found.append(now.isoformat())
    return found


# ---------------------------------------------------------------- slots


@pytest.mark.parametrize(
    ("now", "latest"),
    [
        ("2026-05-05 00:00:00", "2026-05-05"),
        ("2026-05-05 00:00:00.000001", "2026-05-05"),
        ("2026-05-05 00:00:00.999999", "2026-05-05"),
        ("2026-05-04 23:59:59.999999", "2026-05-04"),
    ],
)
def test_a_slot_comes_at_its_very_second(now, latest):
    """At midnight sharp and a moment later a daily log is due, a moment earlier it is not; the next one is another."""
    assert latest_slot("0 0 * * *", berlin(now)) == berlin(latest)
    assert next_slot("0 0 * * *", berlin(now)) == berlin(latest) + timedelta(days=1)


@pytest.mark.parametrize(
    ("name", "latest", "following"),
    [
        ("hourly", "2026-11-21 07:00", "2026-11-21 08:00"),
        ("daily", "2026-11-21 00:00", "2026-11-22 00:00"),
        ("weekly", "2026-11-15 00:00", "2026-11-22 00:00"),
        ("monthly", "2026-11-01 00:00", "2026-12-01 00:00"),
        ("yearly", "2026-01-01 00:00", "2027-01-01 00:00"),
    ],
)
def test_named_schedules_begin_with_their_period(name, latest, following):
    """hourly, daily, weekly (Sunday), monthly and yearly rotate at the first moment of theirs."""
    now = berlin("2026-11-21 07:30")
    assert (latest_slot(NAMES[name], now), next_slot(NAMES[name], now)) == (berlin(latest), berlin(following))


def test_slots_are_those_of_the_zone_of_now():
    """Midnight is the operator's midnight, not that of UTC."""
    now = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    assert latest_slot("0 0 * * *", now) == datetime(2026, 7, 1, tzinfo=UTC)
    assert latest_slot("0 0 * * *", now.astimezone(BERLIN)) == berlin("2026-07-02 00:00")


def test_a_schedule_without_slots_has_none():
    """A day that never comes makes nothing due, and does not hang."""
    now = berlin("2026-05-05 00:00")
    never = "0 0 */30 2 MON#5"
    assert latest_slot(never, now) is None
    assert next_slot(never, now) is None
    assert not is_due_by_schedule(never, None, now)


def test_the_end_of_the_calendar_is_no_crash():
    """A clock that is absurdly wrong gives no next slot, not a traceback."""
    assert next_slot("0 0 1 1 *", datetime(9999, 6, 1, tzinfo=UTC)) is None
    assert latest_slot("0 0 1 6 *", datetime(1, 2, 1, tzinfo=UTC)) is None


# ---------------------------------------------------------------- the clock changes of Berlin


def test_a_fixed_time_in_the_skipped_hour_comes_when_the_gap_ends():
    """On 29 March 2026 there is no 02:30; the rotation comes at 03:00."""
    assert slots_between("30 2 * * *", berlin("2026-03-28 12:00"), berlin("2026-03-30 12:00")) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


@pytest.mark.parametrize("now", ["2026-03-29 03:00", "2026-03-29 03:10", "2026-03-29 23:00"])
def test_the_slot_of_the_skipped_hour_is_found_afterwards(now):
    """Whoever looks after the gap sees the slot that it swallowed."""
    assert latest_slot("30 2 * * *", berlin(now)) == berlin("2026-03-29 03:00")


@pytest.mark.parametrize(
    ("expression", "start", "moments"),
    [
        ("15,45 2 * * *", "2026-03-29 01:00", ["2026-03-29T03:00:00+02:00"]),
        ("30 2 * * *", "2026-10-25 01:00", ["2026-10-25T02:30:00+02:00"]),
    ],
)
def test_a_fixed_time_in_an_odd_hour_rotates_once(expression, start, moments):
    """02:15 and 02:45 of a day without them are one rotation at 03:00; of two 02:30 the first is the one."""
    assert rotations(expression, berlin(start), berlin(start) + timedelta(hours=5)) == moments


def test_a_fixed_time_in_the_doubled_hour_comes_once():
    """On 25 October 2026 there are two 02:30; the slot is the first one only."""
    assert slots_between("30 2 * * *", berlin("2026-10-24 12:00"), berlin("2026-10-26 12:00")) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


@pytest.mark.parametrize("clock", ["02:00", "02:10", "02:30", "02:59"])
def test_in_the_second_pass_the_slot_of_the_first_is_seen(clock):
    """A run that starts in the second 02:xx still catches up with 02:30 of the first."""
    now = berlin(f"2026-10-25 {clock}", fold=1)
    assert seconds(latest_slot("30 2 * * *", now)) == berlin("2026-10-25 02:30").timestamp()
    assert next_slot("30 2 * * *", now) == berlin("2026-10-26 02:30")


def test_hourly_follows_elapsed_time_through_both_changes():
    """hourly means every 60 minutes, also where the wall clock jumps."""
    for day in ("2026-03-29", "2026-10-25"):
        start = berlin(f"{day} 00:00")
        end = (start.astimezone(UTC) + timedelta(hours=6)).astimezone(BERLIN)
        assert len(slots_between("0 * * * *", start, end)) == 6
        assert len(rotations("0 * * * *", start, end)) == 6


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_daily_rotates_once_on_days_of_other_length(day, hours):
    """A day of 23 or 25 hours is one day."""
    start = berlin(f"{day} 00:00")
    end = (start.astimezone(UTC) + timedelta(hours=hours)).astimezone(BERLIN)
    assert rotations("0 0 * * *", start, end) == [end.isoformat()]


def test_midnight_itself_may_be_skipped():
    """In Santiago the clock jumps at midnight: daily comes at 01:00 that day."""
    santiago = ZoneInfo("America/Santiago")
    noon = datetime(2026, 9, 6, 12, tzinfo=santiago)
    assert latest_slot("0 0 * * *", noon) == datetime(2026, 9, 6, 1, tzinfo=santiago)


# ---------------------------------------------------------------- due or not


@pytest.mark.parametrize(
    ("last", "now", "is_due"),
    [
        (None, "2026-11-21 07:00", True),
        ("2026-11-21 00:00:01", "2026-11-21 23:59:59", False),
        ("2026-11-14 00:00:05", "2026-11-21 07:12", True),
        ("2026-11-21 07:12", "2026-11-21 07:13", False),
    ],
    ids=["never rotated", "twice in one slot", "off for a week", "caught up"],
)
def test_missed_slots_are_caught_up_once(last, now, is_due):
    """A log that was never rotated is due at once; a machine that was off for a week rotates once, not seven times."""
    assert is_due_by_schedule("0 0 * * *", last and berlin(last).timestamp(), berlin(now)) == is_due


@pytest.mark.parametrize(
    ("last", "now"),
    [("2026-11-21 00:00:05", "2026-11-20 12:00"), ("2026-11-21 12:00", "2026-11-20 12:01")],
    ids=["set back", "was ahead"],
)
def test_a_clock_that_was_wrong_rotates_once_more_and_goes_on(last, now):
    """A last rotation in the future counts as none: one rotation, then the usual rhythm."""
    assert is_due_by_schedule("0 0 * * *", berlin(last).timestamp(), berlin(now))
    assert rotations("0 0 * * *", berlin(now), berlin("2026-11-21 12:00")) == ["2026-11-21T00:00:00+01:00"]


# ---------------------------------------------------------------- properties


@given(expressions, instants, zones)
@example("30 2 * * *", datetime(2026, 10, 25, 1, 10, tzinfo=UTC), BERLIN)
@example("30 2 * * *", datetime(2026, 3, 29, 1, 0, tzinfo=UTC), BERLIN)
def test_now_lies_between_its_latest_and_its_next_slot(expression, instant, zone):
    """The latest slot is never ahead of now, the next one always is."""
    now = instant.astimezone(zone)
    assert seconds(latest_slot(expression, now)) <= now.timestamp() < seconds(next_slot(expression, now))


@given(expressions, instants, zones)
def test_there_is_no_slot_between_the_latest_and_the_next(expression, instant, zone):
    """Looking back and looking ahead agree on the slots."""
    now = instant.astimezone(zone)
    latest = latest_slot(expression, now)
    assert latest is not None
    assert seconds(next_slot(expression, latest)) == seconds(next_slot(expression, now))


@given(expressions, instants, zones)
def test_the_next_slot_is_the_latest_when_it_has_come(expression, instant, zone):
    """What plan announces as the next slot is when the log becomes due."""
    slot = next_slot(expression, instant.astimezone(zone))
    assert slot is not None
    assert seconds(latest_slot(expression, slot)) == slot.timestamp()
    assert is_due_by_schedule(expression, instant.timestamp(), slot)


@given(expressions, instants, zones)
def test_rotated_now_is_not_due_now(expression, instant, zone):
    """A second run right after a rotation does nothing."""
    now = instant.astimezone(zone)
    assert not is_due_by_schedule(expression, now.timestamp(), now)


@given(expressions, instants, zones, st.timedeltas(timedelta(0), timedelta(days=40)))
def test_time_passing_never_takes_a_slot_back(expression, instant, zone, later):
    """Due stays due until it is rotated, whatever the wall clock shows meanwhile."""
    now, then = instant.astimezone(zone), (instant + later).astimezone(zone)
    assert seconds(latest_slot(expression, now)) <= seconds(latest_slot(expression, then))
