"""Due by size or by schedule, and the reason that the operator is told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logrotor.decide.schedule import is_due, last_rotation
from logrotor.model import Due, LogSpec, NotDue
from tests.support.facts import DAY, NOW, entry, spec


def due(rule: LogSpec, size: int | None = 100, *, last: float | None = None, force: bool = False) -> Due | NotDue:
    live = None if size is None else entry("app.log", size)
    return is_due(rule, live, NOW, last=lambda: last, force=force)


def daily(**more: object) -> LogSpec:
    return spec(max_size=None, schedule="0 0 * * *", schedule_name="daily", **more)


YESTERDAY = NOW.timestamp() - DAY


@pytest.mark.parametrize(("size", "is_now"), [(0, False), (999, False), (1000, False), (1001, True)])
def test_size(size: int, is_now: bool) -> None:
    """Larger than max_size is due, as large is not; the reason has both numbers."""
    found = due(spec(max_size=1000), size)
    assert isinstance(found, Due) == is_now
    if size:
        assert str(size) in found.reason and "1000" in found.reason


@pytest.mark.parametrize(
    ("rule", "size", "last", "reason"),
    [
        (spec(), None, None, "missing"),
        (spec(), 0, None, "empty"),
        (spec(rotate_empty=True), 0, None, "within max_size: 0 <= 1000 bytes"),
        (daily(), 0, YESTERDAY, "empty"),
        (daily(min_size=101), 100, YESTERDAY, "smaller than min_size: 100 < 101 bytes"),
        (daily(), 100, NOW.timestamp(), "schedule daily: not yet"),
    ],
)
def test_not_due(rule: LogSpec, size: int | None, last: float | None, reason: str) -> None:
    """Each reason to leave a log alone, in words."""
    found = due(rule, size, last=last)
    assert isinstance(found, NotDue) and found.reason == reason


@pytest.mark.parametrize(
    ("rule", "size", "last", "reason"),
    [
        (daily(), 100, YESTERDAY, "schedule daily: last rotation 2026-11-20 12:00:00+00:00"),
        (daily(), 100, None, "schedule daily: last rotation never"),
        (daily(rotate_empty=True), 0, YESTERDAY, "schedule daily: last rotation 2026-11-20 12:00:00+00:00"),
        (daily(min_size=100), 100, YESTERDAY, "schedule daily: last rotation 2026-11-20 12:00:00+00:00"),
    ],
)
def test_due(rule: LogSpec, size: int, last: float | None, reason: str) -> None:
    """Each reason to rotate, in words."""
    assert due(rule, size, last=last) == Due(reason)


def test_either_makes_it_due() -> None:
    """Size or schedule: one is enough."""
    both = spec(max_size=1000, schedule="0 0 * * *", schedule_name="daily")
    assert isinstance(due(both, 2000, last=NOW.timestamp()), Due)
    assert isinstance(due(both, 10, last=YESTERDAY), Due)
    assert isinstance(due(both, 10, last=NOW.timestamp()), NotDue)


def test_force() -> None:
    """--force rotates whatever has a line in it; a missing log it cannot rotate."""
    assert due(spec(min_size=1000), 1, force=True) == Due("forced")
    assert due(daily(), 1, last=NOW.timestamp(), force=True) == Due("forced")
    assert due(spec(), None, force=True) == NotDue("missing")


def test_an_empty_log_is_not_forced() -> None:
    """Forced again and again, empty archives would push out every real one; who wants that sets rotate_empty."""
    assert due(spec(), 0, force=True) == NotDue("empty; rotate_empty = true would rotate it")
    assert due(spec(rotate_empty=True), 0, force=True) == Due("forced")


def test_not_due_says_when() -> None:
    """A schedule tells its next slot, in the zone of now."""
    found = due(daily(), 100, last=NOW.timestamp())
    assert isinstance(found, NotDue) and found.next_slot == datetime(2026, 11, 22, tzinfo=UTC)


def test_the_history_is_asked_only_if_a_schedule_needs_it() -> None:
    """A rule by size reads no birth time of any file."""

    def ask() -> float | None:
        raise AssertionError("asked")

    for size in (None, 0, 10, 2000):
        is_due(spec(), None if size is None else entry("app.log", size), NOW, last=ask)


@given(st.lists(st.one_of(st.none(), st.floats(-1e12, 1e12)), max_size=6))
def test_the_last_rotation_is_the_latest_past_guess(known: list[float | None]) -> None:
    """Guesses from the future count as none: the clock was set back."""
    found = last_rotation(known, NOW)
    past = [moment for moment in known if moment is not None and moment <= NOW.timestamp()]
    assert found == (max(past) if past else None)


@given(st.floats(-1e18, NOW.timestamp()))
def test_any_time_of_a_file_can_be_said(last: float) -> None:
    """A file from before the calendar is a last rotation like any other: it stops nothing."""
    assert isinstance(due(daily(), 100, last=last), (Due, NotDue))
