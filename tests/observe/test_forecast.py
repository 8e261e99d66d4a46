"""When a log is due and a file system full, from what is known; pure values."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from logrotor.observe.forecast import Growth, due_by_size, full_on, growth
from logrotor.observe.status import status
from tests.support.facts import spec

DAY = 86400.0
MB = float(1 << 20)


def test_odd_paces_do_not_break_it():
    """A log that is not written, or so slowly that no calendar has the day: no forecast, no error."""
    assert due_by_size(5, 10, 0.0, 10.0) is None and due_by_size(5, 10, 1e-12, 10.0) is None
    assert due_by_size(5, 10, None, 10.0) is None


def test_a_moment_says_nothing_of_next_year(here):
    """Three samples within minutes: full in some minutes is a forecast, full in years is none."""
    here.configure('compress = "none"')
    here.file.write_text(here.file.read_text().replace("backup_count = 7\n", ""))
    now = time.time()
    for minutes in (15, 10, 5):
        here.log(size=32_000)
        here.run(now - 60 * minutes)
    here.log(size=32_000)
    found = status(here.seen(datetime.fromtimestamp(now, UTC)))
    (log,), system = found.logs, found.file_systems[0]
    assert log.pace is not None and log.paced == 600
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
