"""Several rotators at once: with one state directory they take turns, with two they do each other no harm."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import zstandard

from logrotor.cli import call
from logrotor.disk import state
from logrotor.errors import Locked
from logrotor.model import Report
from logrotor.rotator import Rotator
from tests.proof import interfere
from tests.support import command, oracle, users
from tests.support.fixtures import world_tree

# ---------------------------------------------------------------- two configurations on one log


@dataclass(frozen=True, slots=True)
class Scene:
    """How the log is rotated by both; ``kept``: the first line that retention keeps."""

    rule: dict[str, Any] = field(default_factory=dict)
    protocol: str = "exchange"
    kept: int = 1
    holds: bool = False  # the writer keeps the log open, else it opens it for each line


SCENES = {
    "exchange": Scene(),
    "link": Scene(protocol="link"),
    "rename": Scene(protocol="rename"),
    "exchange, held": Scene(holds=True),
    "rename, held": Scene(protocol="rename", holds=True),
    "plain": Scene({"compress": "none"}),
    "plain, link": Scene({"compress": "none"}, protocol="link"),
    "dated": Scene({"naming": "dated"}),
    "archive_dir": Scene({"archive_dir": "old"}),
    "retention": Scene({"backup_count": 2}, kept=51),
    "retention, link": Scene({"backup_count": 2}, protocol="link", kept=51),
    "retention, plain": Scene({"backup_count": 2, "compress": "none"}, kept=51),
    "copytruncate": Scene({"method": "copytruncate", "compress": "none"}),
    "copytruncate, zstd": Scene({"method": "copytruncate"}),
    "copytruncate, lossy": Scene({"method": "copytruncate", "accept_loss": True}),
}


class Site:
    """A log with two archives, its writer, and two configurations that know nothing of each other."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.folder, self.scene = folder, scene
        self.logs = folder / "logs"
        (self.logs / "old").mkdir(parents=True)
        self.log = self.logs / "app.log"
        self.written = 0
        self._held = -1
        zipped = zstandard.compress(self._lines(50))
        self._old("app.log.2.zst", zipped, 2000)
        self._old("app.log.1", self._lines(50), 1000)
        self.log.write_bytes(self._lines(200))
        if scene.holds:
            self._held = os.open(self.log, os.O_WRONLY | os.O_APPEND)

    def rotator(self, which: str) -> Rotator:
        rule = {"name": "app", "paths": [str(self.log)], "max_size": 10_000, **self.scene.rule}
        return interfere.rotator(self.folder / f"state-{which}", rule)

    def write(self, count: int = 1) -> None:
        """The writer writes, as it does: through what it holds open, or by name."""
        for _ in range(count):
            fd = self._held if self._held >= 0 else os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(fd, self._lines(1))
            if fd != self._held:
                os.close(fd)

    def end_writer(self) -> None:
        if self._held >= 0:
            os.close(self._held)
        self._held = -1

    def harm(self, *reports: Report) -> Iterator[str]:
        """What is wrong after one more run of each: lost, doubled or hidden lines, strays, failures."""
        after = [self.rotator(which).run() for which in "ab"]
        for report in (*reports, *after):
            yield from (f"{o.action} {o.name}: {o.reason}" for o in report.failed)
        tally = oracle.count_joined([self.logs, self.logs / "old"], "app.log", expected={"w1": self.written})
        gone = tuple(line for line in tally.lost if line.number >= self.scene.kept)
        if not replace(tally, lost=gone).clean or not self.log.exists():
            yield f"{sorted(os.listdir(self.logs))} {sorted(os.listdir(self.logs / 'old'))} {tally}"

    def _lines(self, count: int) -> bytes:
        self.written += count
        return oracle.lines("w1", self.written - count + 1, self.written)

    def _old(self, name: str, data: bytes, age: int) -> None:
        path = self.logs / name
        path.write_bytes(data)
        then = path.stat().st_mtime - age
        os.utime(path, (then, then))


QUICK = ("exchange", "rename", "retention, link", "copytruncate, zstd")
ALL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in SCENES]


def sites(folder: Path, scene: Scene) -> Iterator[Site]:
    """A fresh site for each point; as many as the caller wants."""
    for number in range(1, 1000):
        place = folder / str(number)
        yield Site(place, scene)
        shutil.rmtree(place)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that holds on is not waited for: what it writes is what counts here."""
    monkeypatch.setattr("logrotor.act.run._PATIENCE", 0)
    monkeypatch.setattr("logrotor.act.run._BRIEF", 0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[[Scene], Path]]:
    """Where a scene is played: in memory, unless it needs a file system that collapses ranges."""
    with interfere.memory_folder(lambda: tmp_path) as folder:
        yield lambda scene: tmp_path if scene.rule.get("method") == "copytruncate" else folder


@pytest.mark.parametrize("name", ALL)
def test_two_configurations_one_inside_the_other(place, name):
    """Two runs from two state directories, one within the other at any point, lose, double and hide nothing."""
    scene, wrong = SCENES[name], []
    with interfere.protocol(scene.protocol):
        for number, site in enumerate(sites(place(scene), scene), 1):
            reached, harm = one_inside_the_other(site, number)
            wrong += harm
            if not reached:
                break
    assert number > 5
    assert not wrong, f"{len(wrong)} of {number} points: " + "\n".join(wrong)


def one_inside_the_other(site: Site, number: int) -> tuple[bool, list[str]]:
    """Run B inside A's ``number``-th change; whether A had so many, and the harm done."""
    reached = False

    def meanwhile() -> None:
        nonlocal reached
        reached = True
        site.write()
        site.rotator("b").run()
        site.write()

    with interfere.before(number, meanwhile) as seen:
        report = site.rotator("a").run()
    site.write()
    site.end_writer()
    where = f"B ran before A's change {number}, {seen[number - 1 :][:1]}, of {seen}: "
    return reached, [where + harm for harm in site.harm(report)]


@pytest.mark.parametrize("name", ALL)
def test_two_configurations_interleaved(place, name):
    """Run B may stop at any of its changes while A goes on, and then go on itself: no harm either."""
    scene, wrong, both = SCENES[name], [], 0
    with interfere.protocol(scene.protocol):
        most = len(interfere.operations(Site(place(scene) / "measured", scene).rotator("a").run))
        dice = random.Random(name)
        pairs = [(dice.randint(1, most), dice.randint(1, most)) for _ in range(15 if name in QUICK else 80)]
        for (first, second), site in zip(pairs, sites(place(scene), scene), strict=False):
            reached, harm = interleaved(site, first, second)
            both += reached
            wrong += harm
    assert both
    assert not wrong, f"{len(wrong)} of {len(pairs)} pairs: " + "\n".join(wrong)


def interleaved(site: Site, first: int, second: int) -> tuple[bool, list[str]]:
    """B goes up to its ``second`` change within A's ``first``, then A to its end, then B; whether B got so far."""
    b = Note(site.rotator("b"), second)

    def meanwhile() -> None:
        site.write()
        b.start()
        site.write()

    with interfere.before(first, meanwhile) as seen:
        report = site.rotator("a").run()
    site.write()
    code = b.finish()
    site.end_writer()
    where = f"B up to its change {second} before A's change {first}, {seen[first - 1 :][:1]}: "
    failed = [f"B ended with exit code {code}"] if code else []
    return b.paused, [where + harm for harm in [*failed, *site.harm(report)]]


class Note:
    """A run in a fork that waits before it starts, and stops before its ``number``-th change.

    It is forked before the other run begins: a fork would share that run's locks, and keep them for it.
    """

    def __init__(self, rotator: Rotator, number: int) -> None:
        self._news, news = os.pipe()
        go, self._go = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._go)
            self._run(rotator, number, news, go)
        os.close(news)
        os.close(go)
        self.paused = False

    @staticmethod
    def _run(rotator: Rotator, number: int, news: int, go: int) -> None:
        def pause() -> None:
            os.write(news, b"p")
            os.read(go, 1)

        code = 70
        try:
            os.read(go, 1)
            with interfere.before(number, pause):
                code = rotator.run().exit_code
        finally:
            os._exit(code)

    def start(self) -> None:
        """Let it go on until it stops, or to its end."""
        os.write(self._go, b"s")
        self.paused = os.read(self._news, 1) == b"p"

    def kill(self) -> None:
        """End it where it stands."""
        os.kill(self._pid, signal.SIGKILL)
        self.finish()

    def finish(self) -> int:
        """Let it go on to its end; its exit code."""
        os.close(self._go)
        status = os.waitpid(self._pid, 0)[1]
        os.close(self._news)
        return os.waitstatus_to_exitcode(status)


# ---------------------------------------------------------------- many rotators with one state directory


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.long)])
def test_eight_at_once(tmp_path, rounds):
    """Eight rotators at once, commands, threads and forks: the log is rotated once, the others wait or exit 3."""
    log, file = tmp_path / "app.log", tmp_path / "logrotor.toml"
    rule = {"name": "app", "paths": [str(log)], "max_size": 1000}
    state, timeout = tmp_path / "state", 0.3
    file.write_text(
        f'state_dir = "{state}"\nlock_timeout = "{timeout}s"\n'
        f'[[log]]\nname = "app"\npaths = ["{log}"]\nmax_size = 1000\n'
    )
    rotator = interfere.rotator(state, rule, lock_timeout=timeout)
    for number in range(1, rounds + 1):
        with open(log, "ab") as live:
            live.write(oracle.lines("w1", 20 * number - 19, 20 * number))
        codes = eight(rotator, file)
        assert set(codes) <= {0, 3} and 0 in codes, codes
        assert log.stat().st_size == 0
        assert len(oracle.archives(tmp_path, "app.log")) == number
    oracle.count_joined(tmp_path, "app.log", {"w1": 20 * rounds}).check()


def eight(rotator: Rotator, file: Path) -> list[int]:
    """The exit codes of two commands, two forks of the command, two forks and two threads of the library."""
    wait, begin = os.pipe()
    commands = [command.start(command.arguments("run", "-q", "-c", file)) for _ in range(2)]
    forks = [forked(wait, begin, lambda: call(["run", "-q", "-c", str(file)])) for _ in range(2)]
    forks += [forked(wait, begin, lambda: exit_code(rotator)) for _ in range(2)]
    os.close(wait)
    with ThreadPoolExecutor(2) as pool:
        threads = [pool.submit(exit_code, rotator) for _ in range(2)]
        os.close(begin)
        codes = [thread.result() for thread in threads]
    codes += [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in forks]
    for process in commands:
        process.communicate(timeout=60)
        codes.append(process.returncode)
    return codes


def forked(wait: int, begin: int, run: Callable[[], int]) -> int:
    """A fork that runs as soon as everybody has closed ``begin``; its exit code is what ``run`` gives."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.close(begin)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.read(wait, 1)
            code = run()
        finally:
            os._exit(code)
    return pid


def exit_code(rotator: Rotator) -> int:
    try:
        return rotator.run().exit_code
    except Locked:
        return 3


def test_once_in_each_period(tmp_path, monkeypatch):
    """A log with a schedule is rotated once in a period, whoever comes first."""
    monkeypatch.setattr("logrotor.disk.files.birth", lambda path: time.time() - 3 * 86_400)
    log = tmp_path / "app.log"
    log.write_bytes(oracle.lines("w1", 1, 20))
    rotator = interfere.rotator(tmp_path / "state", {"name": "app", "paths": [str(log)], "schedule": "daily"})
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda _: rotator.run(), range(8)))
    assert sum(report.rotated for report in reports) == 1
    assert [report.exit_code for report in reports] == [0] * 8
    log.write_bytes(oracle.lines("w1", 21, 40))
    assert rotator.run().rotated == 0
    oracle.count_joined(tmp_path, "app.log", {"w1": 40}).check()


def test_who_waited_for_the_lock_does_not_rotate_again(tmp_path, monkeypatch):
    """A run that began before another one, and got the lock after it, takes that rotation for this period's."""
    monkeypatch.setattr("logrotor.disk.files.birth", lambda path: time.time() - 3 * 86_400)
    log = tmp_path / "app.log"
    log.write_bytes(oracle.lines("w1", 1, 20))
    rotator = interfere.rotator(tmp_path / "state", {"name": "app", "paths": [str(log)], "schedule": "daily"})
    locked, others = state.locked, []

    @contextmanager
    def after_another(*arguments: Any) -> Iterator[None]:
        monkeypatch.setattr(state, "locked", locked)
        others.append(rotator.run())
        log.write_bytes(oracle.lines("w1", 21, 40))
        with locked(*arguments):
            yield

    monkeypatch.setattr(state, "locked", after_another)
    assert rotator.run().rotated == 0
    assert [report.rotated for report in others] == [1]
    oracle.count_joined(tmp_path, "app.log", {"w1": 40}).check()


def test_once_for_each_period_of_a_given_now(tmp_path):
    """Whoever gives a ``now`` far from the clock gets one rotation for it, as for any other."""
    log = tmp_path / "app.log"
    rotator = interfere.rotator(tmp_path / "state", {"name": "app", "paths": [str(log)], "schedule": "daily"})
    start = datetime(2037, 5, 1, 12, tzinfo=UTC)
    for day in range(3):
        for hour, rotated in ((0, 1), (3, 0)):
            with open(log, "ab") as live:
                live.write(oracle.lines("w1", 1, 20))
            assert rotator.run(start + timedelta(days=day, hours=hour)).rotated == rotated
    assert len(oracle.archives(tmp_path, "app.log")) == 3


def test_lock_of_a_killed_process(tmp_path):
    """A run that holds the lock keeps the others away; killed, its lock is free at once."""
    site = Site(tmp_path, Scene())
    holder = Note(site.rotator("a"), 5)
    holder.start()
    assert holder.paused
    rule = {"name": "app", "paths": [str(site.log)], "max_size": 10_000}
    other = interfere.rotator(tmp_path / "state-a", rule, lock_timeout=0)
    with pytest.raises(Locked, match="another run holds the lock"):
        other.run()
    holder.kill()
    report = other.run()
    assert (report.exit_code, report.rotated) == (0, 1)
    assert list(site.harm()) == []


@pytest.fixture
def open_world() -> Iterator[Path]:
    """A folder that every user can reach."""
    with world_tree() as folder:
        yield folder


@pytest.mark.parametrize("found", [None, 0o644, 0o666])
def test_stranger_cannot_block(open_world, found):
    """Who can read the state directory, the logs and the archives can lock what he likes: rotation goes on."""
    state, logs = open_world / "state", open_world / "logs"
    for folder in (state, logs):
        folder.mkdir(mode=0o755)
    if found is not None:
        (state / "lock").touch()
        (state / "lock").chmod(found)
    log = logs / "app.log"
    rotator = interfere.rotator(state, {"name": "app", "paths": [str(log)], "max_size": 100}, lock_timeout=0)
    rotator.run()  # from then on the lock is hidden
    for number in range(1, 4):
        with open(log, "ab") as live:
            live.write(oracle.lines("w1", number * 10 - 9, number * 10))
        with stranger_with_locks([state, logs]):
            report = rotator.run()
        assert (report.exit_code, report.rotated) == (0, 1), report.failed
    oracle.count_joined(logs, "app.log", {"w1": 30}).check()


@contextmanager
def stranger_with_locks(folders: list[Path]) -> Iterator[None]:
    """Meanwhile a stranger holds a lock of every file and folder there that he can open."""
    ready, tell = os.pipe()
    wait, end = os.pipe()

    def hold() -> None:
        os.close(end)
        held = [fd for folder in folders for path in (folder, *folder.iterdir()) if (fd := locked(path)) >= 0]
        os.write(tell, b"%d" % len(held))
        os.read(wait, 1)

    thread = Thread(target=lambda: users.as_user("nobody", hold))
    thread.start()
    try:
        assert int(os.read(ready, 9)) >= len(folders)
        yield
    finally:
        os.close(end)
        thread.join()
        for fd in (ready, tell, wait):
            os.close(fd)


def locked(path: Path) -> int:
    for flags in (os.O_RDWR, os.O_RDONLY):
        with suppress(OSError):
            fd = os.open(path, flags)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
    return -1
