"""When a log is due and a file system full, from what is known; pure values."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logrotor.observe.forecast import Growth, Point, due_by_size, full_on, growth, rate
from logrotor.observe.status import status
from tests.support.facts import spec

DAY = 86400.0
MB = float(1 << 20)


@given(
    pace=st.floats(0.5, 1e6),
    period=st.floats(60, 7 * DAY),
    late=st.floats(0, 0.1),
    rotations=st.integers(2, 12),
    part=st.floats(0.05, 0.95),
)
def test_constant_growth_is_forecast_within_ten_percent(pace, period, late, rotations, part):
    """A log that grows steadily, seen by runs that come a little late: its next due time is off by less than 10 %."""
    times = [1e9 + n * period + (n % 2) * late * period for n in range(rotations + 1)]
    points = [Point(b, int(pace * (b - a))) for a, b in itertools.pairwise(times)]
    now = times[-1] + part * period
    size = int(pace * (now - times[-1]))
    limit = int(pace * period)
    found = due_by_size(size, limit, rate(points, size, now), now)
    assert found is not None
    assert abs(found - (times[-1] + period)) <= 0.1 * period + 4 / pace


@pytest.mark.parametrize(
    ("points", "size"), [([], 5), ([Point(1, 5)], 5), ([Point(1, 5), Point(2, 5)], None), ([], None)]
)
def test_fewer_than_three_points_tell_nothing(points, size):
    """A rotation is a point, and so is the log as it is now."""
    assert rate(points, size, 10.0) is None
    assert rate([*points, Point(3, 5), Point(4, 5), Point(5, 5)], size, 10.0) is not None


def test_odd_histories_do_not_break_it():
    """A clock that was set back, all rotations in one instant, a log that is not written: no forecast, no error."""
    assert rate([Point(20, 5), Point(30, 5)], 5, 10.0) is None
    assert rate([Point(10, 5), Point(10, 5)], 5, 10.0) is None
    assert due_by_size(5, 10, 0.0, 10.0) is None and due_by_size(5, 10, 1e-12, 10.0) is None
    assert due_by_size(5, 10, None, 10.0) is None


def test_a_moment_says_nothing_of_next_year(here):
    """Three points within seconds: full in some seconds is a forecast, full in years is none."""
    here.configure('compress = "none"')
    here.file.write_text(here.file.read_text().replace("backup_count = 7\n", ""))
    now = time.time()
    for before in (3, 2, 1):
        here.log(size=32_000)
        here.run(now - before)
    here.log(size=32_000)
    found = status(here.seen(datetime.fromtimestamp(now, UTC)))
    (log,), system = found.logs, found.file_systems[0]
    assert log.pace is not None and log.paced == pytest.approx(3, abs=0.1)
    assert (system.full_on, system.forecast) == (None, "unknown")


def test_of_one_log_nothing_is_known(here):
    """Retention holds the one that is known; that says nothing of the other."""
    now = time.time()
    here.configure("max_total_size = '1MB'")
    for hours in (3, 2, 1):
        here.log(size=32_000)
        here.run(now - hours * 3600)
    here.log(size=32_000)
    assert [each.forecast for each in status(here.seen()).file_systems][:1] == ["never"]
    here.log("new.log", size=32)
    assert [each.forecast for each in status(here.seen()).file_systems][:1] == ["unknown"]


def test_recent_rotations_count():
    """A pace of last year is no forecast."""
    old = [Point(n * DAY, 1) for n in range(50)]
    new = [Point((50 + n) * DAY, 1_000_000) for n in range(9)]
    assert rate([*old, *new], 0, 58 * DAY) == pytest.approx(1_000_000 / DAY)


def test_a_disk_fills_at_the_sum_of_all_paces():
    """Without limits it is full when the free bytes are written."""
    assert full_on(1000, [Growth(2.0, None), Growth(3.0, None)], 50.0) == 250.0
    assert full_on(1000, [], 50.0) is None


def test_retention_stops_a_log_before_the_disk_is_full():
    """A log that has all its archives grows no more; the others go on at their own pace."""
    assert full_on(1000, [Growth(10.0, 500.0)], 0.0) is None
    assert full_on(1000, [Growth(10.0, 500.0), Growth(1.0, None)], 0.0) == 500.0
    assert full_on(1000, [Growth(10.0, 0.0), Growth(1.0, 2000.0)], 0.0) == 1000.0


@pytest.mark.parametrize(
    ("limits", "room"),
    [
        ({"backup_count": 5}, 3 * 100),
        ({"max_total_size": 250}, 50),
        ({"max_age": 100.0}, 0),
        ({"max_age": 1000.0, "backup_count": 5}, 300),
        ({}, None),
    ],
)
def test_the_tightest_limit_wins(limits, room):
    """Two archives of 100 bytes, one byte a second on the disk, the log empty and no larger than it may get."""
    found = growth(spec(max_size=None, **limits), pace=10.0, ratio=0.1, archives=[100, 100], size=0)
    assert found == Growth(1.0, room)
