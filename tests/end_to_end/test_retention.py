"""How old an archive is, and which of its names goes: on real folders, with the clock of the run as an argument."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.decide.retention import next_run
from logrotor.events import Event, Level
from logrotor.model import LastRun, Report
from tests.support import mounts, oracle

DAY = 86400.0
NOW = datetime.now().astimezone()


class Host:
    """A log of its own, and runs at any time."""

    def __init__(self, root: Path) -> None:
        self.root, self.logs, self.events, self.written = root, root / "logs", list[Event](), 0
        self.logs.mkdir()

    def write(self, *, days: float = 0) -> None:
        """A hundred lines, the last of them written so many days ago."""
        with (self.logs / "app.log").open("ab") as file:
            file.write(oracle.lines("w1", self.written + 1, self.written + 100))
        self.written += 100
        moment = NOW.timestamp() - days * DAY
        os.utime(self.logs / "app.log", (moment, moment))

    def rotator(self, **rule: Any) -> Rotator:
        rules = [{"name": "app", "paths": [str(self.logs / "*.log")], "schedule": "monthly", **rule}]
        config = load_config({"state_dir": str(self.root / "state"), "log": rules}, environ={})
        return Rotator(config, on_event=self.events.append)

    def run(self, days: float = 0, *, force: bool = False, **rule: Any) -> Report:
        return self.rotator(**rule).run(NOW + timedelta(days=days), force=force)

    def archives(self) -> list[str]:
        return sorted(path.name for path in self.logs.iterdir() if path.name != "app.log")

    def keeps(self) -> None:
        oracle.count_joined(self.logs, "app.log", {"w1": self.written}).check()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("compress", ["none", "zstd"])
@pytest.mark.parametrize("naming", ["numbered", "dated"])
@pytest.mark.parametrize("quiet", [40, 3000], ids=["a quiet log", "a clock that was behind"])
def test_an_archive_is_as_old_as_its_rotation(host: Host, compress: str, naming: str, quiet: int) -> None:
    """Its last line was written long ago, and it was rotated just now: it is not removed for that."""
    rule = {"max_age": "7d", "compress": compress, "naming": naming}
    host.write(days=quiet)
    host.run(force=True, **rule)
    for day in range(8):
        assert host.run(day, **rule).count("remove") == 0
    host.keeps()
    assert host.run(8, **rule).count("remove") == 1 and host.archives() == []


def test_one_run_a_year_ahead_removes_nothing(host: Host) -> None:
    """Nor does one after the clock was set back; and an archive that is really too old still goes."""
    for day in range(5):
        host.write()
        host.run(day, force=True, max_age="30d")
    assert host.run(370, max_age="30d").count("remove") == 0
    assert host.run(5, max_age="30d").count("remove") == 0
    assert host.run(370, max_age="30d").count("remove") == 0
    host.keeps()
    for day in range(371, 400):
        assert host.run(day, max_age="30d").count("remove") == 0
    assert host.run(401, max_age="30d").count("remove") == 5


def test_a_plan_for_later_says_what_no_run_with_that_clock_would_remove(host: Host) -> None:
    """`plan --at` is of a logrotor that runs until then; the same moment after a pause removes nothing for its age."""
    for day in range(3):
        host.write()
        host.run(day, force=True, max_age="30d")
    soon, later = (host.rotator(max_age="30d").plan(NOW + timedelta(days=days)) for days in (3, 370))
    assert not soon.notes and len(later.logs[0].retire) == 3 and len(later.notes) == 1
    counted = host.rotator(backup_count=1).plan(NOW + timedelta(days=370))
    assert counted.logs[0].retire and not counted.notes
    assert host.run(370, max_age="30d").count("remove") == 0


def test_without_a_history_an_archive_is_as_old_as_the_first_run(host: Host) -> None:
    """Those of another rotator, written long ago, are not removed by the first run that sees them."""
    (host.logs / "app.log").touch()
    for slot in (1, 2):
        (host.logs / f"app.log.{slot}").write_bytes(oracle.lines(f"w{slot}", 1, 10))
        os.utime(host.logs / f"app.log.{slot}", (10**9, 10**9))
    for day in range(31):
        assert host.run(day, max_age="30d").count("remove") == 0
    assert host.run(31, max_age="30d").count("remove") == 2


@pytest.mark.parametrize(
    ("pauses", "leaps"),
    [
        ([60] * 5 + [365 * DAY], [5]),  # a run a minute, then a year ahead
        ([7 * DAY] * 5, [0]),  # a weekly cron line: usual from the second week on
        ([31 * DAY, 300, 28 * DAY, 31 * DAY], [0]),  # monthly, and by hand
        ([60, 2.7 * DAY, 60, 2.7 * DAY, 60, 2.7 * DAY], [1]),  # a machine that is off at weekends
        ([60, 300 * DAY, -300 * DAY, 60, 300 * DAY], [1, 2, 4]),  # there and back, and again
        ([60, 20 * 3600, 60], []),  # off for a night
    ],
)
def test_what_a_leap_is(pauses: list[float], leaps: list[int]) -> None:
    """A pause that neither the schedules nor earlier pauses explain."""
    last, found = LastRun(0.0), []
    for number, pause in enumerate(pauses):
        run = next_run(last, last.at + pause, lambda: 0.0)
        found += [number] if run.since == run.at else []
        last = run
    assert found == leaps
    assert next_run(LastRun(0.0), 13 * DAY, lambda: 7 * DAY).since == 0.0, "explained by the schedule"
    assert next_run(None, 5.0, lambda: 0.0) == LastRun(5.0, 0.0, 5.0)


def test_a_removal_is_told(host: Host) -> None:
    """At info level, with the archive, its size and the reason."""
    for _ in range(3):
        host.write()
        host.run(force=True, backup_count=1, compress="none")
    removed = [event for event in host.events if event.name == "archive.removed"]
    assert [event.level for event in removed] == [Level.INFO] * 2
    fields = removed[0].fields
    assert (fields["name"], fields["bytes"]) == ("app.log.2", 8000) and "backup_count" in fields["reason"]


@pytest.mark.parametrize("naming", ["numbered", "dated"])
def test_an_archive_with_a_second_name(host: Host, naming: str) -> None:
    """As cp -al makes for a backup: it is compressed and removed under its own name, and the other one stays."""
    backup = host.root / "backup"
    backup.mkdir()
    for number in range(4):
        host.write()
        assert host.run(force=True, compress="none", naming=naming).exit_code == 0
        for name in host.archives():
            os.link(host.logs / name, backup / f"{number}.{name}")
    plain = {path.name: path.read_bytes() for path in backup.iterdir()}
    report = host.run(compress="gzip", naming=naming, backup_count=3)
    assert (report.exit_code, report.count("compress"), report.count("remove")) == (0, 3, 1)
    assert host.run(compress="gzip", naming=naming, backup_count=3).plan.is_idle
    assert all(name.endswith(".gz") for name in host.archives()) and len(host.archives()) == 3
    assert {path.name: path.read_bytes() for path in backup.iterdir()} == plain


@pytest.mark.parametrize("mode", [0o755, 0o775])
@pytest.mark.parametrize("marked", [False, True])
def test_a_link_in_a_directory_of_others(host: Host, mode: int, marked: bool) -> None:
    """Who may write there could link a file that he may not read: without our mark it is refused."""
    host.logs.chmod(mode)
    (host.logs / "app.log").write_bytes(b"x" * 2000)
    secret = host.root / "secret"
    secret.write_bytes(b"secret\n")
    if marked:
        os.setxattr(secret, "user.logrotor.source", b"1 2 3.000 app.log")
    os.link(secret, host.logs / "app.log.1")
    report = host.run(force=True, compress="gzip")
    assert report.exit_code == (1 if mode & 0o020 and not marked else 0)
    assert ("app.log.2.gz" in host.archives()) == (report.exit_code == 0) and secret.read_bytes() == b"secret\n"


def test_on_archive_may_link_it(host: Host) -> None:
    """`ln` in on_archive: the next rotations shift, and retention removes, what it has linked."""
    (host.root / "kept").mkdir()
    hook = ["ln", "{archive}", f"{host.root}/kept"]
    for number in range(3):
        host.write(days=3 - number)
        report = host.run(force=True, naming="dated", backup_count=1, on_archive=hook)
        assert (report.exit_code, report.count("hook")) == (0, 1)
    assert len(host.archives()) == 1 and len(list((host.root / "kept").iterdir())) == 3


def test_a_log_with_a_second_name_is_refused(host: Host) -> None:
    host.write()
    os.link(host.logs / "app.log", host.root / "other")
    report = host.run(force=True)
    assert report.exit_code == 1 and report.plan.logs[0].refused is not None and host.archives() == []


@pytest.mark.parametrize("suffix", ["", ".zst"])
@pytest.mark.parametrize("marked", [False, True])
def test_many_archives_of_one_time(host: Host, monkeypatch: pytest.MonkeyPatch, suffix: str, marked: bool) -> None:
    """600 of one log, all of one second, as after a restore: an idle run opens none of them."""
    (host.logs / "app.log").touch()
    for slot in range(1, 601):
        archive = host.logs / f"app.log.{slot}{suffix}"
        archive.write_bytes(b"%d\n" % slot)
        os.utime(archive, (10**9, 10**9))
        if marked:
            os.setxattr(archive, "user.logrotor.source", b"%d 1000000000000000000 1.000 app.log" % (slot // 2))
    compared: list[object] = []
    monkeypatch.setattr("logrotor.survey.forms.longer", lambda *args, **more: compared.append(args))
    assert host.run(keep_free="1B", compress="none").plan.is_idle
    assert len(compared) <= 300


def test_keep_free_waits_for_readers_of_what_is_gone(tmp_path: Path) -> None:
    """A removed archive that somebody reads takes its room until he lets go: later runs do not remove more for it."""
    with mounts.tmpfs(tmp_path, size="8m") as disk:
        logs = disk / "logs"
        logs.mkdir()
        (logs / "app.log").touch()
        for slot in range(1, 8):
            (logs / f"app.log.{slot}.gz").write_bytes(bytes(1 << 20))
            os.utime(logs / f"app.log.{slot}.gz", (10**9 - slot,) * 2)
        rule = {"name": "app", "paths": [str(logs / "app.log")], "max_size": "1G", "keep_free": "1900K"}
        config = load_config({"state_dir": str(tmp_path / "state"), "log": [rule]}, environ={})
        with (logs / "app.log.7.gz").open("rb") as reader:
            assert Rotator(config).run().count("remove") == 1
            assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize < 1900 << 10
            assert [Rotator(config).run().count("remove") for _ in range(3)] == [0, 0, 0]
            assert len(reader.read()) == 1 << 20
        assert Rotator(config).run().count("remove") == 0
        (logs / "other").write_bytes(bytes(1 << 20))
        assert Rotator(config).run().count("remove") == 1


def test_the_recipe_for_logs_with_the_date_in_their_names(host: Host) -> None:
    """Instead of find -mtime +30 -delete: each is compressed once, nothing comes in its place, and it goes in time."""
    rule = {"schedule": "daily", "create": False, "max_age": "30d"}
    for day in ("2025-10-08", "2025-10-09"):
        (host.logs / f"laravel-{day}.log").write_bytes(b"a line of that day\n")
    packed = [f"laravel-2025-10-{day}.log.1.zst" for day in ("08", "09")]
    found = {}
    for days in range(35):
        host.run(days, **rule)
        found[days] = host.archives()
    assert found[1] == packed and not found[34], found
    assert all(each in (packed, []) for day, each in found.items() if day), found
