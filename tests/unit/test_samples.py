"""The samples: what is kept of the sizes of logs, for how long, and what a wrong clock or a damaged file costs."""

from __future__ import annotations

import math
import os
import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.disk import database, sampled, samples
from logrotor.model import LogPoint, LogSize, QueuePoint, Report, Samples, Space, SpacePoint
from tests.support import mounts

DAY = 86400.0
BEGIN = 1_700_000_100.0  # a multiple of five minutes


def add(folder: Path, now: float, *logs: tuple[str, int | None, int], whole: bool = True) -> None:
    samples.keep(str(folder), now, ([LogSize(*log) for log in logs], [Space("/", 500, 7)]), {}, whole=whole)


def test_what_changed_has_a_point_and_a_line_through_the_points_is_true(tmp_path: Path) -> None:
    """Flat until the sample before it grew, and flat since."""
    for minutes, size in ((0, 100), (5, 100), (10, 100), (15, 160), (20, 160)):
        add(tmp_path, BEGIN + 60 * minutes, ("/logs/app.log", size, 9), ("/logs/still.log", 5, 0))
    found = sampled.read(str(tmp_path))
    assert found.problem is None and found.times == tuple(BEGIN + 60 * m for m in (0, 5, 10, 15, 20))
    assert found.logs["/logs/app.log"] == (
        LogPoint(BEGIN, 100, 9, None), LogPoint(BEGIN + 600, 100, 9, 0), LogPoint(BEGIN + 900, 160, 9, 60),
        LogPoint(BEGIN + 1200, 160, 9, 0),
    )  # fmt: skip
    assert found.logs["/logs/still.log"] == (LogPoint(BEGIN, 5, 0, None), LogPoint(BEGIN + 1200, 5, 0, 0))
    assert found.systems["/"] == (SpacePoint(BEGIN, 500, 7), SpacePoint(BEGIN + 1200, 500, 7))


def test_two_runs_at_once_take_one_sample(tmp_path: Path) -> None:
    """At most every five minutes, whoever comes second."""
    for second in (0, 1, 60, 294, 296, 300):
        add(tmp_path, BEGIN + second, ("/logs/app.log", second, 0))
    assert sampled.read(str(tmp_path)).times == (BEGIN, BEGIN + 296)


def test_a_rotation_is_no_shrinking(tmp_path: Path) -> None:
    """What was taken counts as written; what was truncated by hand does not."""
    add(tmp_path, BEGIN, ("/logs/app.log", 100, 0))
    samples.keep(str(tmp_path), BEGIN + 60, None, {"/logs/app.log": 130}, whole=False)
    add(tmp_path, BEGIN + 300, ("/logs/app.log", 20, 130))
    add(tmp_path, BEGIN + 600, ("/logs/app.log", 5, 130))
    add(tmp_path, BEGIN + 900)
    add(tmp_path, BEGIN + 1200, ("/logs/app.log", 8, 0))
    points = sampled.read(str(tmp_path)).logs["/logs/app.log"]
    assert [(point.size, point.grown) for point in points] == [(100, None), (20, 50), (5, 5), (None, 0), (8, 8)]


def test_counts_of_queues(tmp_path: Path) -> None:
    """At most every five minutes, like the others."""
    for second in (0, 10, 300):
        samples.keep_queues(str(tmp_path), BEGIN + second, {"logrotor": (second, 1, 2, 3, 4)})
    found = sampled.read(str(tmp_path)).queues
    assert found == {"logrotor": (QueuePoint(BEGIN, 0, 1, 2, 3, 4), QueuePoint(BEGIN + 300, 300, 1, 2, 3, 4))}


# ---------------------------------------------------------------- for how long


def tables() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    samples.make_tables(connection)
    return connection


def test_two_days_are_fine_and_the_rest_is_hourly() -> None:
    """And what was written in an hour is what its samples say together."""
    connection, step = tables(), 300
    for n in range(5 * 288):
        log = LogSize("/logs/app.log", 10 * n % 5000, n)
        samples.add_sample(connection, BEGIN + n * step, [log, LogSize("/logs/still.log", 7, 7)], [], whole=True)
    now = BEGIN + 5 * DAY - step
    found = sampled.Reading(connection, 0.0, now).all()
    old = [late - early for early, late in pairwise(found.times) if now - late > samples.FINE + 3600]
    new = [late - early for early, late in pairwise(found.times) if now - early < samples.FINE - 3600]
    assert set(old) == {3600.0} and set(new) == {300.0}
    assert 576 + 70 <= len(found.times) <= 576 + 86
    points = found.logs["/logs/app.log"]
    whole = sum(point.grown or 0 for point in points)
    assert whole == pytest.approx(10 * 5 * 288, rel=0.02)  # but for the first hour, and what is lost where it was cut
    assert found.logs["/logs/still.log"][0].size == 7 and len(found.logs["/logs/still.log"]) <= 3


def test_ninety_days_are_kept() -> None:
    """And a log that is gone is forgotten with its last sample."""
    connection = tables()
    for n in range(100 * 4):
        logs = [LogSize("/logs/app.log", n, 0), *([LogSize("/logs/gone.log", 1, 0)] if n < 4 else [])]
        samples.add_sample(connection, BEGIN + n * 21600, logs, [Space("/", 10**9 - n, None)], whole=True)
    now = BEGIN + 99.75 * DAY
    found = sampled.Reading(connection, 0.0, now).all()
    assert 89 * DAY <= now - found.times[0] <= 97 * DAY and found.times[-1] == now
    assert found.logs.keys() == {"/logs/app.log"} and len(found.systems["/"]) == len(found.times)


def test_the_file_never_grows_beyond_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many logs grow: the oldest samples make room, a few at a time, and the newest are all there."""
    monkeypatch.setattr(samples, "_TIGHT", 150 << 10)
    monkeypatch.setattr(samples, "_FULL", 200 << 10)
    for n in range(120):
        logs = [LogSize(f"/logs/{log}.log", n * 1000 + log, n) for log in range(150)]
        samples.keep(str(tmp_path), BEGIN + n * 300, (logs, []), {}, whole=True)
        assert os.path.getsize(tmp_path / "samples.sqlite") < 300 << 10
    found = sampled.read(str(tmp_path))
    assert found.times[-1] == BEGIN + 119 * 300 and len(found.times) > 20


@pytest.mark.parametrize("leap", [-1.6e9, -86400.0, -600.0, 86400.0, 3e7, 1e9])
def test_a_wrong_clock_costs_little(leap: float) -> None:
    """For an hour it is somewhere else: what was sampled before and since is there, and in order."""
    connection = tables()
    for n in range(3 * 288):
        wrong = leap if 400 <= n < 412 else 0.0
        samples.add_sample(connection, BEGIN + n * 300 + wrong, [LogSize("/logs/app.log", n, 0)], [], whole=True)
    found = sampled.Reading(connection, 0.0, BEGIN + 3 * DAY).all()
    assert list(found.times) == sorted(set(found.times)) and found.times[-1] == BEGIN + (3 * 288 - 1) * 300
    assert found.times[0] <= BEGIN + DAY and len(found.times) > 500
    assert found.logs["/logs/app.log"][-1].size == 3 * 288 - 1


# ---------------------------------------------------------------- runs


class Shop:
    def __init__(self, folder: Path) -> None:
        (folder / "logs").mkdir()
        self.log, self.state = folder / "logs" / "app.log", folder / "state"
        self.log.write_text("a line\n")
        rule = {"name": "app", "paths": [str(folder / "logs" / "*.log")], "max_size": "1KB", "backup_count": 3}
        self.config = load_config({"state_dir": str(self.state), "log": [rule]})

    def run(self, at: float, **more: Any) -> Report:
        return Rotator(self.config, clock=lambda: at).run(now=datetime.fromtimestamp(at, UTC), **more)

    def read(self, until: float = math.inf) -> Samples:
        return sampled.read(str(self.state), until=until)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_an_idle_run_between_samples_writes_nothing_but_its_mark(shop: Shop) -> None:
    """Not even a look at the samples is needed to know that none is due."""
    now = time.time()
    shop.run(now)

    def seen() -> dict[str, tuple[int, int]]:
        return {e.name: (e.stat().st_mtime_ns, e.stat().st_ino) for e in os.scandir(shop.state) if e.name != "last-run"}

    before = seen()
    assert set(before) == {"samples.sqlite"}
    shop.state.joinpath("samples.sqlite").chmod(0)
    shop.run(now + 60), shop.run(now + 290)
    shop.state.joinpath("samples.sqlite").chmod(0o600)
    assert seen() == before and shop.read().times == (int(now),)
    shop.run(now + 300)
    assert seen() != before and len(shop.read().times) == 2


def test_a_run_samples_what_it_finds_and_counts_what_it_takes(shop: Shop) -> None:
    """The sample shows how large the log was; the next one does not take the rotation for a shrinking."""
    now = time.time()
    for n in range(3):
        shop.log.write_bytes(b"x" * 2000)
        shop.run(now + n * 600)
    points = shop.read().logs[str(shop.log)]
    assert [(p.size, p.grown) for p in points] == [(2000, None), (2000, 2000), (2000, 2000)]
    assert shop.read().systems and points[-1].archives > points[0].archives == 0


def test_a_selection_samples_its_logs_alone(shop: Shop) -> None:
    """Of the others nothing is known, so they are not gone."""
    other = shop.log.with_name("other.log")
    other.write_text("a line\n")
    now = time.time()
    shop.run(now), shop.run(now + 300, only=[str(shop.log)]), shop.run(now + 600)
    found = shop.read()
    assert len(found.times) == 3 and {p.size for p in found.logs[str(other)]} == {7}


def test_a_full_disk_hurts_nothing(shop: Shop, tmp_path: Path) -> None:
    """The run ends as it would, and says nothing of it; once there is room, there is a sample."""
    with mounts.tmpfs(tmp_path, size="200k") as mount:
        config = load_config({"state_dir": str(mount / "state"), "log": [{"name": "app", "paths": [str(shop.log)],
                                                                           "max_size": "1KB"}]})  # fmt: skip
        (mount / "state").mkdir(mode=0o700)
        with suppress(OSError), open(mount / "other", "wb", buffering=0) as other:
            while True:
                other.write(b"x" * 4096)
        events: list[str] = []
        report = Rotator(config, on_event=lambda event: events.append(event.name)).run()
        assert (report.exit_code, report.problems) == (0, ()) and events == ["run.started", "run.completed"]
        (mount / "other").unlink()
        assert Rotator(config).run().exit_code == 0
        assert len(sampled.read(str(mount / "state")).times) == 1


def test_somebody_who_has_it_locked_costs_a_sample(shop: Shop) -> None:
    """A backup, or a reader that was stopped: the run waits for nobody."""
    now = time.time()
    shop.run(now)
    with closing(sqlite3.connect(shop.state / "samples.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert shop.run(now + 300).exit_code == 0
        other.execute("ROLLBACK")
    assert len(shop.read().times) == 1
    shop.run(now + 600)
    assert len(shop.read().times) == 2


def test_many_at_once(shop: Shop) -> None:
    """Two runs, a cron line beside a watch: one sample, and both end well."""
    now = time.time()
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: shop.run(now), range(8)))
    assert {report.exit_code for report in reports} == {0} and len(shop.read().times) == 1


def test_an_older_state_directory_gets_its_samples(shop: Shop) -> None:
    """A history without them, and a mark that knows nothing of them."""
    now = time.time()
    shop.log.write_bytes(b"x" * 2000)
    shop.run(now)
    (shop.state / "samples.sqlite").unlink()
    mark = shop.state / "last-run"
    mark.write_bytes(re.sub(rb'"sampled":[0-9.]+', b'"other":0', mark.read_bytes()))
    shop.run(now + 60)
    assert len(shop.read().times) == 1


def test_those_of_a_newer_logrotor_are_left_alone(shop: Shop) -> None:
    """They are not read, and nothing is lost of them."""
    now = time.time()
    shop.run(now)
    file = shop.state / "samples.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        mark = connection.execute("PRAGMA application_id").fetchone()[0]
        connection.execute(f"PRAGMA application_id = {mark + 1}")
        connection.execute("PRAGMA user_version = 2")
    before = file.read_bytes()
    assert shop.run(now + 300).exit_code == 0 and file.read_bytes() == before
    found = shop.read()
    assert found.times == () and found.problem is not None and found.problem.subject == str(file)


@pytest.mark.long
def test_ninety_days_of_a_thousand_logs(tmp_path: Path) -> None:
    """A tenth of them growing, each sample a transaction of its own: 50 MiB at most, at any time.

    Every five minutes for the last week alone, and hourly before: that is what is left of the others.
    """
    rows = [LogSize(f"/var/log/app/service-{n}.log", 0, 0) for n in range(1000)]
    hourly, fine = 83 * 24, 7 * 288
    times = [*(BEGIN + n * 3600 for n in range(hourly)), *(BEGIN + hourly * 3600 + n * 300 for n in range(fine))]
    most = 0
    with closing(database.to_write(str(tmp_path / "samples.sqlite"))) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        samples.make_tables(connection)
        for n, moment in enumerate(times):
            for log in range(100):
                rows[log] = LogSize(rows[log].path, 1000 * n * log % 10_000_000, 1_000_000 * (n // 100))
            with database.transaction(connection, 0.0):
                samples.add_sample(connection, moment, rows, [Space("/", 10**11 - n, 10**6)], whole=True)
            most = max(most, os.path.getsize(tmp_path / "samples.sqlite"))
    assert most <= 50 << 20, f"{most / 2**20:.1f} MiB"
    found = sampled.read(str(tmp_path))
    assert 2600 <= len(found.times) <= 2800 and found.times[0] <= BEGIN + 2 * 3600
