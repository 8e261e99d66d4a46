"""Due by size or by schedule, and the reason that the operator is told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from logrotor.decide.schedule import is_due, last_rotation
from logrotor.model import Due, LogSpec, NotDue
from tests.support.facts import DAY, NOW, entry, spec


def due(rule: LogSpec, size: int | None = 100, *, last: float | None = None, force: bool = False) -> Due | NotDue:
    live = None if size is None else entry("app.log", size)
    return is_due(rule, live, NOW, last=lambda: last, force=force)


def daily(**more: object) -> LogSpec:
    return spec(max_size=None, schedule="0 0 * * *", schedule_name="daily", **more)


YESTERDAY, MIDNIGHT = NOW.timestamp() - DAY, datetime(2026, 11, 22, tzinfo=UTC)
LATELY, BOTH = NOW.timestamp(), spec(schedule="0 0 * * *", schedule_name="daily")
SINCE_YESTERDAY = Due("schedule daily: last rotation 2026-11-20 12:00:00+00:00")


@pytest.mark.parametrize(
    ("rule", "size", "last", "expected"),
    [
        (spec(), None, None, NotDue("missing")),
        (spec(), 0, None, NotDue("empty")),
        (spec(rotate_empty=True), 0, None, NotDue("within max_size: 0 <= 1000 bytes")),
        (spec(), 1000, None, NotDue("within max_size: 1000 <= 1000 bytes")),
        (spec(), 1001, None, Due("larger than max_size: 1001 > 1000 bytes")),
        (daily(), 0, YESTERDAY, NotDue("empty", MIDNIGHT)),
        (daily(min_size=101), 100, YESTERDAY, NotDue("smaller than min_size: 100 < 101 bytes", MIDNIGHT)),
        (daily(), 100, LATELY, NotDue("schedule daily: not yet", MIDNIGHT)),
        (daily(), 100, YESTERDAY, SINCE_YESTERDAY),
        (daily(), 100, None, Due("schedule daily: last rotation never")),
        (daily(rotate_empty=True), 0, YESTERDAY, SINCE_YESTERDAY),
        (daily(min_size=100), 100, YESTERDAY, SINCE_YESTERDAY),
        (BOTH, 2000, LATELY, Due("larger than max_size: 2000 > 1000 bytes")),
        (replace(BOTH, min_size=5000), 2000, LATELY, Due("larger than max_size: 2000 > 1000 bytes")),
        (replace(BOTH, min_size=11), 10, YESTERDAY, NotDue("smaller than min_size: 10 < 11 bytes", MIDNIGHT)),
        (BOTH, 10, YESTERDAY, SINCE_YESTERDAY),
        (BOTH, 10, LATELY, NotDue("schedule daily: not yet", MIDNIGHT)),
    ],
)
def test_due_or_not(rule: LogSpec, size: int | None, last: float | None, expected: Due | NotDue) -> None:
    """By size or by schedule, one is enough; with the reason, and the next slot in the zone of now."""
    assert due(rule, size, last=last) == expected


@pytest.mark.parametrize(
    ("rule", "size", "expected"),
    [
        (spec(min_size=1000), 1, Due("forced")),
        (daily(), 1, Due("forced")),
        (spec(), None, NotDue("missing")),
        (spec(), 0, NotDue("empty; rotate_empty = true would rotate it")),
        (spec(rotate_empty=True), 0, Due("forced")),
    ],
)
def test_force(rule: LogSpec, size: int | None, expected: Due | NotDue) -> None:
    """--force rotates whatever has a line in it; empty archives would push out every real one."""
    assert due(rule, size, last=LATELY, force=True) == expected


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
