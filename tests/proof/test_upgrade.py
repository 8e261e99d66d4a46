"""An upgrade in place: what the previous version left, at whatever point it was killed, the one under test finishes.

Both are used by their command line alone, see versions.py; the previous one comes from its wheel in previous/.
"""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import os
import re
import shutil
import sqlite3
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.proof import interfere
from tests.proof.places import Places, places
from tests.proof.sampling import is_chosen
from tests.proof.scenarios import HOLDER, LOSSY, NOBODY, SCENARIOS, WRITER, Company, Lacks, Scenario
from tests.proof.versions import Killed, Version, current, previous
from tests.support import command, oracle
from tests.support.command import Result
from tests.support.deployment import OneLog, rule, toml
from tests.support.supervisor import wait_for
from tests.support.waiting import readable
from tests.support.writers import Kind, Writer

__all__ = ["places"]

WIDTH, WIDE = 24, 200  # bytes of a line, more or less: what is written meanwhile, and what is there before
WRITTEN = 1_100_000_000_000_000_000  # when a log was last written, in nanoseconds


def _acl(own_group: int) -> bytes:
    """Somebody else is let in by it, whatever the owning group may do."""
    entries = (1, 6, 2**32 - 1), (2, 6, 12345), (4, own_group, 2**32 - 1), (16, 6, 2**32 - 1), (32, 4, 2**32 - 1)
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


_ACL, _OPENED = _acl(4), _acl(6)  # the previous version kept it; this one makes a log of 0644 one of 0664
_STAMP = re.compile(r"-\d{8}T\d{6}Z(-\d+)?")
_WORK = ("recover", "take", "retire", "compress", "hooks")


@pytest.fixture(scope="module")
def versions() -> Iterator[tuple[Version, Version]]:
    """The previous version, and the one under test."""
    with ExitStack() as stack:
        old, new = previous(), current()
        stack.callback(old.close)
        stack.callback(new.close)
        yield old, new


class Holding:
    """Somebody in this process who holds the log open, and knows what he wrote."""

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number, self.fd = path, number, -1
        self.reopen()

    def write(self, lines: int = 1) -> None:
        os.write(self.fd, oracle.lines(_writer(self.path.name), self.number + 1, self.number + lines, WIDTH))
        self.number += lines
        # A date that is out by the time of the rename is planned anew: all in one second, each run has the same calls.
        os.utime(self.fd, ns=(WRITTEN + self.number, WRITTEN + self.number))

    def reopen(self) -> None:
        """By name, and never creating it: a log that is not there when we are asked to reopen it is a fault."""
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self.close()
        self.fd = fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class Upgrade:
    """A scenario in a folder: the previous version begins it, and is killed; the one under test finishes it."""

    def __init__(self, scenario: Scenario, company: Company, places: Places, versions: tuple[Version, Version]) -> None:
        self.scenario, self.company = scenario, company
        self.old, self.new = versions
        place = places.of_logs(scenario)
        self.root = place / "upgrade"
        self.logs = self.root / "logs"
        self.archive = (places.other_than(place) if scenario.archive_dir == "other" else self.root) / "archives"
        self.state = places.fast / "state-of-upgrade"
        self.holders: list[Holding] = []
        self.lines: dict[str, int] = {}
        self.acls: dict[str, bytes] = {}
        self.asked = -1

    def __enter__(self) -> Upgrade:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    # ------------------------------------------------------------ setting up

    def reset(self) -> None:
        """As if nothing had happened yet."""
        self._clear()
        for folder in (self.logs, self.archive):
            folder.mkdir(parents=True)
        self.config.write_text(self._toml())
        for name in ("ask", "answer"):
            os.mkfifo(self.root / name)
        self.asked = os.open(self.root / "ask", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        for log in self.scenario.logs:
            self._make(log)
        if self.scenario.archives:
            self.state.mkdir(mode=0o700)
            self.old.python(f"from logrotor.disk.memory import Memory; Memory({str(self.state)!r}).close()")
        if self.company.writes:
            self.holders = [Holding(self.logs / log, self.lines[log]) for log in self.scenario.logs]

    @property
    def config(self) -> Path:
        return self.root / "logrotor.toml"

    def _make(self, log: str) -> None:
        home = self.archive if self.scenario.archives_there else self.logs
        newest = len(self.scenario.archives)
        for age, suffix in enumerate(self.scenario.archives):
            path = home / (log + suffix)
            path.write_bytes(_packed(suffix, f"{_writer(log)}-{newest - age}"))
            os.utime(path, (1e9 - age, 1e9 - age))
        live = self.logs / log
        self.lines[log] = 75 if self.scenario.copytruncate else 42
        live.write_bytes(oracle.lines(_writer(log), 1, self.lines[log], WIDE))
        if self.scenario.acl:
            os.setxattr(live, "system.posix_acl_access", _ACL)
            self.acls[log] = _OPENED
        os.utime(live, ns=(WRITTEN, WRITTEN))

    def _toml(self) -> str:
        scenario = self.scenario
        keys: dict[str, Any] = {
            "name": "rule",
            "paths": [self.logs / log for log in scenario.logs],
            "max_size": 9000 if scenario.copytruncate else 8000,
            "compress": scenario.compress,
        }
        keys |= {"method": "copytruncate"} if scenario.copytruncate else {"reopen": "workers"}
        if scenario.archive_dir is not None:
            keys["archive_dir"] = self.archive
        if scenario.hook:
            keys["on_archive"] = ["/bin/sh", "-c", f"echo {{archive}} >> {self.root}/hooked"]
        ask = ["/bin/sh", "-c", f"echo r > {self.root}/ask && read answer < {self.root}/answer"]
        top = [f"state_dir = {toml(self.state)}", "compress_jobs = 1", "[reopen.workers]", 'manager = "command"']
        return "\n".join([*top, f"command = {toml(ask)}", rule(keys), scenario.rest, ""])

    def _clear(self) -> None:
        self._let_go()
        if self.asked >= 0:
            os.close(self.asked)
            self.asked = -1
        for folder in (self.root, self.archive, self.state):
            shutil.rmtree(folder, ignore_errors=True)

    def _let_go(self) -> None:
        for holder in self.holders:
            holder.close()
        self.holders = []

    # ------------------------------------------------------------ running

    def kill(self, nth: int) -> Killed:
        """A run of the previous version, killed before its ``nth`` changing call, while the company writes."""
        lacks, announce = self.scenario.lacks, self.company.busy
        originals = {log: (self.logs / log).stat().st_ino for log in self.acls}
        self.old.begin_gated("run", "-c", self.config, nth=nth, lacks=lacks, announce=announce)
        while (killed := self._serve(self.old, lambda: self.old.hear(self.write))) is None:
            pass
        self.acls |= {log: _ACL for log, inode in originals.items() if _is_whole_new(self.logs / log, inode)}
        return killed

    def run(self, version: Version, *args: str) -> Result:
        version.begin("run", "--json", "-c", self.config, *args)
        return self._serve(version, lambda: version.ended(check=None))

    def _serve(self, version: Version, heard: Callable[[], Any]) -> Any:
        """What the version says next; meanwhile the company reopens its logs as often as it is asked to."""
        while version.channel not in (ready := readable([version.channel, self.asked])):
            assert ready == [self.asked]
            self._reopen()
        return heard()

    def _reopen(self) -> None:
        os.read(self.asked, 100)
        for holder in self.holders if self.company.obeys else ():
            holder.reopen()
        (self.root / "answer").write_text("done\n")

    def write(self, lines: int = 1) -> None:
        for holder in self.holders:
            holder.write(lines)
            self.lines[holder.path.name] = holder.number

    # ------------------------------------------------------------ judging

    def finish(self, stage: str, expected: object = None) -> list[str]:
        """One ordinary run of the version under test, lines before and after it; what is not as it has to be then."""
        self.write(2)
        found = [*self._wrong_run()]
        self.write()
        found += self._wrong_files()
        if self.company.writes and not self.company.obeys:
            self._let_go()
            found += [*self._wrong_run(), *self._wrong_files()]
        if expected is not None and self.generations() != expected:
            found.append(f"generations {self.generations()}, expected {expected}")
        plan = self.new.run("plan", "--json", "-c", self.config, check=None)
        work = [(kind, log["path"]) for log in plan.json["logs"] for kind in _WORK if log[kind]]
        if plan.code or work:
            found.append(f"the next run is not idle: exit {plan.code}, {work}")
        return [f"{stage}: {what}" for what in found]

    def _wrong_run(self) -> Iterator[str]:
        result = self.run(self.new)
        if result.code or result.stderr:
            yield str(result)

    def _wrong_files(self) -> Iterator[str]:
        ends = {_writer(log): last for log, last in self.lines.items()}
        ends |= dict.fromkeys(self._kept, 5)
        tally = oracle.count(self.folders, *self.scenario.logs, expected=ends)
        if self.scenario.copytruncate:  # cuts where a block ends: a line goes on in the next archive
            tally = dataclasses.replace(oracle.count_joined(self.folders, "app.log", ends), strays=tally.strays)
        if not tally.clean:
            yield str(tally)
        for log in self.scenario.logs:
            live = self.logs / log
            if not live.exists():
                yield f"no {log}"
            elif self.scenario.acl and os.getxattr(live, "system.posix_acl_access") != self.acls[log]:
                yield f"{log} has lost its ACL"
            if oracle.count_joined(self.folders, log).disorder:
                yield f"{log} is out of order"
        if self.scenario.hook:
            hooked = (self.root / "hooked").read_text().split() if (self.root / "hooked").exists() else []
            missing = set(oracle.archives(self.folders, "app.log")) - set(hooked)
            if missing:
                yield f"hooks ran for {hooked}, not for {missing}"

    @property
    def folders(self) -> list[Path]:
        return [self.logs, self.archive]

    @property
    def _kept(self) -> list[str]:
        """The marks of the archives of before that retention keeps: all but the oldest, where it counts."""
        total = len(self.scenario.archives)
        limit = re.search(r"backup_count = (\d+)", self.scenario.rest)
        kept = min(total, int(limit[1]) - 1) if limit else total
        return [
            f"{_writer(log)}-{number}" for log in self.scenario.logs for number in range(total - kept + 1, total + 1)
        ]

    def generations(self) -> object:
        """The archives of each log from the oldest, and which generations are in each; a stamp is only a stamp."""
        return {log: [self._generation(path) for path in oracle.archives(self.folders, log)] for log in self.lines}

    def _generation(self, path: str) -> tuple[str, ...]:
        data, _ = oracle.read(path)
        marks = sorted(set(re.findall(rb"^([a-z]+-\d+) ", data, re.MULTILINE)))
        return (os.path.relpath(_STAMP.sub("-STAMP", path), self.root), *(mark.decode() for mark in marks))


def _is_whole_new(log: Path, original: int) -> bool:
    """Has a run put a log in the place of the original, and given it its mode?"""
    return log.exists() and log.stat().st_ino != original and not log.stat().st_mode & stat.S_ISVTX


def _writer(log: str) -> str:
    return log.removesuffix(".log")


def _packed(suffix: str, mark: str) -> bytes:
    """An archive of five lines."""
    data = oracle.lines(mark, 1, 5, WIDTH)
    if suffix.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    return zstandard.ZstdCompressor().compress(data) if suffix.endswith(".zst") else data


QUICK = {"numbered-nth-zstd-full", "collapse-nth-zstd-full", "archive-other-zstd-full", "dated-full-gzip"}
HELD = {"numbered-nth-zstd-full", "archive-other-zstd-full", "rename-dated-none"}
CASES = [(scenario, NOBODY if number % 3 == 0 else WRITER) for number, scenario in enumerate(SCENARIOS)]
CASES += [(scenario, HOLDER) for scenario in SCENARIOS if scenario.name in HELD] + [(LOSSY, NOBODY)]


@pytest.mark.parametrize("scenario", [scenario for scenario in SCENARIOS if scenario.name in QUICK], ids=str)
def test_what_the_previous_version_left_is_finished(scenario, places, versions):
    """Killed before one in nine of its changing calls, the previous version's run is finished by this one."""
    _swept(Upgrade(scenario, WRITER, places, versions), every=9)


@pytest.mark.long
@pytest.mark.parametrize(("scenario", "company"), CASES, ids=str)
def test_killed_before_each_change_by_the_previous_version(scenario, company, places, versions):
    """Every scenario, one in four points of it. Each run waits two seconds for a writer that holds on: fewer then."""
    _swept(Upgrade(scenario, company, places, versions), every=4 if company.obeys else 8)


def _swept(upgrade: Upgrade, every: int) -> None:
    with upgrade:
        upgrade.reset()
        found = upgrade.finish("not killed at all")
        expected = upgrade.generations()
        upgrade.reset()
        undisturbed = upgrade.kill(0)
        assert undisturbed.result.code == 0, str(undisturbed.result)
        points = range(1, len(undisturbed.operations) + 1)
        chosen = [nth for nth in points if is_chosen(nth, every, len(upgrade.scenario.name))]
        for nth in chosen:
            upgrade.reset()
            killed = upgrade.kill(nth)
            assert killed.point, str(killed.result)
            found += upgrade.finish(f"killed before {nth} ({killed.point})", expected)
    print(f"{len(chosen)} of {len(points)} points")
    assert chosen
    assert not found, f"{len(found)} faults:\n" + "\n".join(found[:6])


# ---------------------------------------------------------------- a deployment that has run for a while


class Site(OneLog):
    """A log of numbered lines that both versions rotate."""

    def __init__(self, root: Path, *tables: str, **keys: Any) -> None:
        super().__init__(root, **({"max_size": 1000} if "schedule" not in keys else {"max_size": None}), **keys)
        self.tables = ['lock_timeout = "10s"', *tables]
        self.change()

    def ask(self, version: Version, *args: str) -> Any:
        """What a command answers in JSON."""
        return version.run(*args, "--json", "-c", self.config).json

    def rotated_by(self, version: Version, times: int) -> None:
        for _ in range(times):
            self.write(50)
            assert self.ask(version, "run")["exit_code"] == 0
        assert len(self.archives()) == times


def _as_version_1(history: Path) -> None:
    """The history as the first version made it: it lacked two columns."""
    with sqlite3.connect(history) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        for column in ("archive_mtime_ns", "head"):
            connection.execute(f"ALTER TABLE in_flight DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def _with_fields_of(old: Any, new: Any) -> Any:
    """What the new answer has of the fields of the old one; it may have more."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: _with_fields_of(old[key], new.get(key)) for key in old}
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [_with_fields_of(*pair) for pair in zip(old, new, strict=True)]
    return new


@pytest.mark.parametrize("number", [1, 2])
def test_the_history_is_taken_over(tmp_path, versions, number):
    """What the previous version remembers (in either form of its history) is known: rotations, runs, sizes."""
    old, new = versions
    site = Site(tmp_path)
    site.rotated_by(old, 3)
    before = site.ask(old, "history"), site.ask(old, "status")
    if number == 1:
        _as_version_1(site.state / "history.sqlite")
    assert _with_fields_of(before[0], site.ask(new, "history")) == before[0]
    (was,), (now,) = (status["logs"] for status in (before[1], site.ask(new, "status")))
    for key in ("path", "archives", "last_rotation"):
        assert now[key] == was[key]
    site.write(50)
    assert site.ask(new, "run")["plan"]["notes"] == []
    assert site.archives() == [f"app.log.{slot}.zst" for slot in (4, 3, 2, 1)]
    assert len(site.ask(new, "history")["runs"]) == len(before[0]["runs"]) + 1
    site.check()


def test_a_period_that_the_previous_version_has_served_is_not_served_again(tmp_path, versions):
    """A daily log that it has rotated today waits until tomorrow."""
    old, new = versions
    site = Site(tmp_path, schedule="daily")
    site.write(50)
    site.ask(old, "run", "--force")
    site.write(50)
    assert site.ask(new, "run")["outcomes"] == []
    assert site.archives() == ["app.log.1.zst"]
    site.check()


def test_archives_are_known_by_their_mark(tmp_path, versions):
    """Where ``paths`` match the archives too and the history is gone: by the mark they are archives, not logs."""
    old, new = versions
    site = Site(tmp_path, paths=["logs/*"])
    site.rotated_by(old, 3)
    assert all(os.getxattr(site.logs / name, "user.logrotor.source") for name in site.archives())
    shutil.rmtree(site.state)
    site.change(backup_count=2)
    site.ask(new, "run")
    assert sorted(os.listdir(site.logs)) == ["app.log", "app.log.1.zst", "app.log.2.zst"]


def test_a_copytruncate_in_flight_in_the_first_form_of_the_history(places, versions):
    """Killed while its record is there, as the first version wrote it. (The sweep above has the second form.)"""
    scenario = next(each for each in SCENARIOS if each.name == "collapse-first-none")
    found, records = [], 0
    with Upgrade(scenario, WRITER, places, versions) as upgrade:
        for nth in itertools.count(2):
            upgrade.reset()
            if upgrade.kill(nth).point is None:
                break
            if _in_flight(upgrade.state / "history.sqlite"):
                _as_version_1(upgrade.state / "history.sqlite")
                found += upgrade.finish(f"killed before {nth}")
                records += 1
    assert records > 4
    assert not found, "\n".join(found)


def _in_flight(history: Path) -> bool:
    if not history.exists():
        return False
    connection = sqlite3.connect(history)
    try:
        return bool(connection.execute("SELECT count(*) FROM in_flight").fetchone()[0])
    except sqlite3.OperationalError:  # killed before the first commit
        return False
    finally:
        connection.close()


# ---------------------------------------------------------------- both at once


def test_a_job_that_the_previous_version_queued(tmp_path, versions):
    """Its payload waits in the embedded queue; this version's worker carries it out, and both are in one history."""
    old, new = versions
    site = Site(tmp_path, "[queue]")
    site.write(50)
    job = site.ask(old, "queue", "dispatch")["job"]["id"]
    worker = command.start(command.arguments("queue", "worker", "-c", site.config), cwd=tmp_path)
    try:
        wait_for(lambda: site.ask(new, "queue", "status")["processing"]["endings"] == {"done": 1})
    finally:
        worker.terminate()
        worker.communicate(timeout=60)
    assert site.archives() == ["app.log.1.zst"]
    assert job
    assert site.ask(old, "queue", "status")["processing"]["endings"] == {"done": 1}
    site.check()


@pytest.mark.parametrize("followed", [True, False])
def test_a_copytruncate_that_the_previous_version_has_to_finish(places, versions, followed):
    """Downgraded after a kill at any point of this version's run: each line stands once, and no byte is a NUL."""
    old, _ = versions
    folder, found = places.collapsing / "downgraded", []
    for nth in itertools.count(1):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "logs").mkdir(parents=True)
        log = folder / "logs" / "app.log"
        log.write_bytes(oracle.lines("w1", 1, 500))
        keys = {"name": "app", "paths": [str(log)], "max_size": 8000, "method": "copytruncate", "compress": "none"}
        (folder / "logrotor.toml").write_text(f"state_dir = {toml(folder / 'state')}\n{rule(keys)}\n")
        with log.open("rb") if followed else ExitStack():
            killed = interfere.killed(nth, interfere.rotator(folder / "state", keys).run)
            for _ in range(2):
                old.run("run", "-c", folder / "logrotor.toml")
        tally = oracle.count_joined(folder / "logs", "app.log", {"w1": 500})
        if not tally.clean or b"\0" in oracle.joined(folder / "logs", "app.log"):
            found.append(f"killed before {nth}: {os.listdir(folder / 'logs')} {tally}")
        if not killed:
            break
    shutil.rmtree(folder)
    assert nth > 15
    assert not found, "\n".join(found[:6])


@pytest.mark.parametrize(
    ("kind", "keys"),
    [(Kind.FOLLOW, {}), (Kind.PER_LINE, {"naming": "dated"}), (Kind.FOLLOW, {"method": "copytruncate"})],
    ids=str,
)
def test_an_old_cron_line_and_a_new_worker(places, versions, kind, keys):
    """Both rotate the same logs with one state directory, by turns and at the same time, while somebody writes."""
    _together(places, versions, kind, keys, rounds=8, rate=2000)


@pytest.mark.long
@pytest.mark.parametrize(
    "keys", [{}, {"keep_uncompressed": 1}, {"archive_dir": "../archives"}, {"method": "copytruncate"}], ids=str
)
def test_an_old_cron_line_and_a_new_worker_for_long(places, versions, keys):
    """At a speed at which the writer is in the midst of everything (so a copytruncate that doubled lines was found)."""
    _together(places, versions, Kind.FOLLOW, keys, rounds=40, rate=20_000)


def _together(
    places: Places, versions: tuple[Version, Version], kind: Kind, keys: dict[str, Any], *, rounds: int, rate: float
) -> None:
    folder = places.collapsing / "together"
    folder.mkdir()
    try:
        site = Site(folder, **keys)
        site.log.touch()
        with Writer(site.log, kind, name="w1", rate=rate) as writer:
            for number in range(rounds):
                writer.wait_for_more(50)
                _one_round(site, versions, number)
        versions[1].run("run", "-c", site.config)
        site.written = writer.lines_written()
        assert len(site.check()) >= rounds
    finally:
        shutil.rmtree(folder)


def _one_round(site: Site, versions: tuple[Version, Version], number: int) -> None:
    """One after the other, or at once; then the old one is killed in every other round."""
    old, new = versions if number % 2 else versions[::-1]
    if number % 4 < 2:
        for version in (old, new):
            version.run("run", "-c", site.config)
        return
    killed = number % 8 > 5
    versions[0].begin_gated("run", "-c", site.config, nth=number % 40 if killed else 0, lacks=Lacks.NOTHING)
    versions[1].run("run", "-c", site.config)
    ended = versions[0].hear(lambda: None)
    assert ended is not None and ended.result.code in ((0, -9) if killed else (0,)), str(ended)
