"""What status makes of the samples: rates, ranges, what fills a file system, and a log that grows as it never does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from logrotor.disk import database, samples
from logrotor.model import LogSize, Space
from logrotor.observe.attention import Thresholds, attention
from logrotor.observe.status import status
from tests.observe.conftest import Deployment

HOUR, DAY = 3600.0, 86400.0


def past(here: Deployment, rate: Callable[[float], float], days: float, *, name: str = "app.log") -> None:
    """Samples of the last days every five minutes: bytes a second by the seconds until now. The log is as they say."""
    here.state.mkdir(mode=0o700, exist_ok=True)
    now, size = time.time(), 0.0
    path = here.logs / name
    times = [now - days * DAY + n * 300 for n in range(int(days * 288) + 1)]
    with samples_in(here) as add:
        for moment in times:
            size += 300 * rate(now - moment)
            add(moment, [LogSize(str(path), int(size), 0)])
    path.touch()
    with path.open("r+b") as file:
        file.truncate(int(size))
    here.state.joinpath("last-run").touch()


@contextmanager
def samples_in(here: Deployment) -> Iterator[Callable[[float, list[LogSize]], None]]:
    """Add samples, in one commit."""
    with closing(database.to_write(str(here.state / "samples.sqlite"))) as connection:
        samples.make_tables(connection)
        with database.transaction(connection, 0.0):
            yield lambda now, logs: samples.add_sample(connection, now, logs, [Space("/", 1, 1)], whole=True)


def codes(here: Deployment, **limits: float) -> set[str]:
    return {each.code for each in attention(status(here.seen()), Thresholds(**limits))} - {"full"}  # of this machine


def test_a_log_that_grows_ten_times_as_usual(here, logrotor):
    """In the last hour, at this time of the day; a switch says how many times is too much."""
    here.configure(size="100GB")
    past(here, lambda ago: (100 if ago < HOUR else 1) * 20 * 1024, days=2.2)
    (log,) = status(here.seen()).logs
    assert log.usual_pace == pytest.approx(20 * 1024, rel=0.1)
    assert log.recent_pace == pytest.approx(2000 * 1024, rel=0.2)
    assert codes(here) == {"rate"} and codes(here, rate=200.0) == set()
    assert logrotor("status", "--check", code=1).out.startswith("ATTENTION")
    logrotor("status", "--check", "--rate", "200", code=0)
    logrotor("status", "--check", "--rate", "1", code=2)


@pytest.mark.parametrize(
    ("rate", "days"),
    [
        (lambda ago: 1024.0 if ago < HOUR else 0.0, 2.2),  # from nothing, but little: 3.5 MiB in an hour
        (lambda ago: 1e6 if ago < HOUR else 1.0, 0.8),  # nobody knows yet what is usual
        (lambda ago: 1e6 if ago % DAY < 2 * HOUR else 10.0, 4.0),  # a batch at this time of each day
        (lambda ago: 1e6, 3.0),
    ],
)
def test_what_is_no_alarm(here, rate, days):
    """A log that begins to grow, one that is new, one that does so each day, one that always does."""
    here.configure(size="1000GB")
    past(here, rate, days)
    assert codes(here) == set()


def test_a_log_that_begins_to_grow_much(here):
    """From nothing to 3.5 GiB an hour."""
    here.configure(size="1000GB")
    past(here, lambda ago: 1e6 if ago < HOUR else 0.0, days=2.2)
    assert codes(here) == {"rate"}


def test_days_that_differ_are_a_range(here, logrotor):
    """One moment where all days are alike, two where they are not; in JSON always both, and the likely one."""
    here.configure(size="1000MB")
    past(here, lambda ago: 200.0 if int(ago // DAY) % 2 else 3000.0, days=6.0)
    (log,) = logrotor("status", "--json").json["logs"]
    assert log["next_due_by"] == "size"
    assert log["next_due_first"] < log["next_due"] < log["next_due_last"]
    assert log["pace"] > 0 and log["paced"] == pytest.approx(6 * DAY, abs=3600)  # the first hour is one sample by now
    assert " to " in next(line for line in logrotor("status").out.splitlines() if "app.log" in line)


def test_by_schedule_if_that_comes_first(here):
    """And a range by size ends with the slot."""
    here.configure('schedule = "daily"', size="1000GB")
    past(here, lambda ago: 1000.0, days=2.0)
    (log,) = status(here.seen()).logs
    assert log.next_due_by == "schedule" and log.next_due_first is None


def test_what_fills_the_file_system(here):
    """The largest growers on it, the largest first, with bytes a second on the disk."""
    here.configure('compress = "none"', size="1000GB")
    here.file.write_text(here.file.read_text().replace("backup_count = 7\n", ""))
    now, paths = time.time(), [here.logs / f"{n}.log" for n in range(8)]
    here.state.mkdir(mode=0o700)
    with samples_in(here) as add:
        for step in range(10):
            logs = [LogSize(str(path), n * 1000 * step, 0) for n, path in enumerate(paths)]
            add(now - 3000 + 300 * step, logs)
    for path in paths:
        path.touch()
    system = status(here.seen()).file_systems[0]
    assert [each.path for each in system.growers] == [str(path) for path in paths[:2:-1]]
    assert system.growers[0].pace == pytest.approx(7000 / 300)


def test_samples_that_cannot_be_read_are_said(here, logrotor):
    """How fast logs grow is unknown then, which must not look as if they did not."""
    here.log(size=320)
    here.run()
    (here.state / "samples.sqlite").write_bytes(b"no database " * 1000)
    found = status(here.seen())
    assert found.logs[0].pace is None
    assert [each.subject for each in found.problems] == [str(here.state / "samples.sqlite")]
    logrotor("status", "--check", code=1)


def test_a_file_system_that_fills_on_some_days(here):
    """A range as well: as on the fastest of the last days, and as on the slowest."""
    here.configure('compress = "none"', size="100GB")
    here.file.write_text(here.file.read_text().replace("backup_count = 7\n", ""))
    past(here, lambda ago: 3e6 if int(ago // DAY) % 2 else 9e6, days=4.0)
    system = status(here.seen()).file_systems[0]
    assert system.full_on is not None and system.full_first is not None and system.full_last is not None
    assert system.full_first < system.full_on < system.full_last
