"""The loop, with real files and a runner that the test holds in its hand: what it has run, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from logrotor import Rotator, load_config
from logrotor.errors import Locked, StateError, UnknownSelection
from logrotor.model import Config, Outcome, Plan, Report, Status
from logrotor.watch.loop import Outside, Standing, Watch, Wish
from logrotor.watch.turn import Turn

PATIENCE = 30.0


class Desk(Outside):
    """Who started the watch, as a test: what it was told, and what it wants."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.wish = Wish.GO_ON
        self.told: list[Exception] = []
        self.beats = 0
        self.reports: list[tuple[Report, bool]] = []

    def beat(self, standing: Standing) -> Wish:
        self.beats += 1
        wish, self.wish = self.wish, Wish.GO_ON if self.wish is Wish.LOOK else self.wish
        return wish

    def ended(self, report: Report, *, whole: bool) -> None:
        self.reports.append((report, whole))

    def failed(self, error: Exception) -> None:
        self.told.append(error)


class Runner:
    """Real plans and runs, of which each can be made to fail."""

    def __init__(self, config: Config) -> None:
        self._rotator = Rotator(config)
        self.turns: list[tuple[float, Turn]] = []
        self.before: Callable[[Turn], Any] = lambda turn: None

    def plan(self, stop: Callable[[], bool]) -> Plan:
        return self._rotator.plan()

    def run(self, turn: Turn) -> Report:
        self.turns.append((time.monotonic(), turn))
        answer = self.before(turn)
        if isinstance(answer, Report):
            return answer
        made = Rotator(self._rotator._config, stop=turn.stop)
        made._turn = turn
        return made.run(only=turn.only)

    def takes(self, path: Path | None = None) -> list[float]:
        """When runs were begun to take logs (that log)."""
        return [at for at, turn in self.turns if turn.takes_only and (path is None or str(path) in turn.only)]


class Bench:
    """A folder of logs, and a watch of them that can be begun."""

    def __init__(self, folder: Path, **rule: Any) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir()
        told = {"name": "all", "paths": [f"{self.logs}/*.log"], "max_size": "1KB", "min_interval": 0, **rule}
        self.config = load_config({"state_dir": f"{folder}/state", "log": [told]})
        self.desk, self.runner = Desk(), Runner(self.config)
        self.moment = 1_796_000_000.0  # what the clock shows

    def fill(self, name: str, size: int = 2000) -> Path:
        path = self.logs / name
        with path.open("ab") as file:
            file.write(b"x" * size)
        return path

    @contextmanager
    def watching(self) -> Iterator[None]:
        watch = Watch(
            self.config, self.runner, self.desk,
            clock=lambda: self.moment + time.monotonic(),
            now=lambda: datetime.fromtimestamp(self.moment + time.monotonic(), UTC),
        )  # fmt: skip
        thread = threading.Thread(target=watch.serve, args=(self.desk.stop,))
        thread.start()
        try:
            yield
        finally:
            self.desk.stop.set()
            thread.join(PATIENCE)
        assert not thread.is_alive()

    def until(self, holds: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, (self.runner.turns, self.desk.told)
            time.sleep(0.01)

    def archives(self) -> list[str]:
        return sorted(path.name for path in self.logs.iterdir() if not path.name.endswith(".log"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_what_is_due_is_taken_and_its_archive_finished_without_a_whole_run(bench: Bench) -> None:
    """Two runs: one for the take alone, and one for the archives of that log."""
    with bench.watching():
        bench.until(lambda: bench.desk.reports)
        bench.fill("a.log")
        bench.until(lambda: bench.archives() == ["a.log.1.zst"])
    wholes = [turn for _, turn in bench.runner.turns if not turn.only]
    assert len(wholes) == 1 and bench.runner.takes()


@pytest.mark.long
def test_a_directory_that_comes_later_is_found(tmp_path: Path) -> None:
    """One that a rule names, and one that a glob comes to, each in a missing one."""
    later = tmp_path / "later"
    bench = Bench(tmp_path, paths=[f"{later}/named/app.log", f"{later}/*/deep/*.log"])
    with bench.watching():
        bench.until(lambda: bench.desk.reports)
        for place, name in ((later / "named", "app.log"), (later / "x/deep", "b.log")):
            place.mkdir(parents=True)
            (place / name).write_bytes(b"x" * 2000)
            bench.until(lambda: (place / f"{name}.1.zst").exists())  # noqa: B023
    assert bench.desk.told == []


@pytest.mark.long
def test_takes_of_one_log_are_apart(tmp_path: Path) -> None:
    """By min_interval, whoever runs; another log is taken meanwhile."""
    bench = Bench(tmp_path, min_interval="1m")
    with bench.watching():
        bench.until(lambda: bench.desk.reports)
        bench.fill("a.log")
        bench.until(lambda: "a.log.1.zst" in bench.archives())
        path = bench.fill("a.log")
        bench.desk.wish = Wish.LOOK
        bench.until(lambda: len([turn for _, turn in bench.runner.turns if not turn.only]) > 1)
        bench.fill("b.log")
        bench.until(lambda: "b.log.1.zst" in bench.archives())
    assert "a.log.2.zst" not in bench.archives() and path.stat().st_size == 2000
    assert len(bench.runner.takes(path)) == 1


@pytest.mark.long
def test_an_error_of_one_log_slows_down_that_log_alone(bench: Bench) -> None:
    """Its tries come ever later; the other one is taken at once, each time."""
    bad = bench.logs / "bad.log"

    def fail(turn: Turn) -> Report | None:
        if turn.takes_only and turn.only == (str(bad),):
            failed = Outcome(log=str(bad), action="take", status=Status.FAILED, reason="no")
            now = datetime.now(UTC)
            return Report(started=now, duration=0.0, outcomes=(failed,), plan=Plan(now=now, logs=()))
        if not turn.takes_only:
            now = datetime.now(UTC)
            return Report(started=now, duration=0.0, outcomes=(), plan=bench.runner.plan(lambda: False))
        return None

    bench.runner.before = fail
    bench.fill("bad.log")
    with bench.watching():
        bench.until(lambda: len(bench.runner.takes(bad)) >= 3)
        good = bench.fill("good.log")
        bench.until(lambda: bench.runner.takes(good))
        bench.until((bench.logs / "good.log.1").exists)
    first, second, third = bench.runner.takes(bad)[:3]
    assert second - first >= 0.9 and third - second >= 1.9


@pytest.mark.parametrize("error", [StateError("full"), Locked("another run"), ZeroDivisionError("a bug")])
def test_what_fails_is_told_and_tried_again(bench: Bench, error: Exception) -> None:
    """Whatever a run raises, the watch goes on; a lock that another run holds is no failure of the log."""
    failing = [error, error]
    bench.fill("a.log")

    def fail(turn: Turn) -> None:
        if failing:
            raise failing.pop()

    bench.runner.before = fail
    with bench.watching():
        bench.until(lambda: bench.archives() == ["a.log.1.zst"])
    assert bench.desk.told == [error, error]


def test_a_log_that_has_gone_is_nobodys_mistake(bench: Bench) -> None:
    """It is forgotten, and the other one that was due with it is taken all the same."""
    gone, stays = bench.fill("a.log"), bench.fill("b.log")

    def remove(turn: Turn) -> None:
        if turn.takes_only and gone.exists():
            gone.unlink()
            raise UnknownSelection("a.log: neither a rule nor a log")

    bench.runner.before = remove
    with bench.watching():
        bench.until(lambda: (bench.logs / f"{stays.name}.1.zst").exists())
    assert bench.desk.told == []


@pytest.mark.long
def test_a_take_has_compression_let_go_of_the_lock(bench: Bench) -> None:
    """While the first thread wants the lock, the second is asked to hurry, and not before; then it goes on."""
    at_work, asked = threading.Event(), []

    def hold(turn: Turn) -> None:
        if not turn.takes_only and turn.only and not at_work.is_set():
            assert turn.pressed is not None
            asked.append(turn.pressed())
            at_work.set()
            bench.until(turn.pressed)
            asked.append(True)
        elif turn.takes_only and at_work.is_set():
            bench.until(lambda: len(asked) == 2)

    bench.runner.before = hold
    with bench.watching():
        bench.until(lambda: bench.desk.reports)
        bench.fill("a.log")
        bench.until(at_work.is_set)
        bench.fill("b.log")
        bench.until(lambda: bench.archives() == ["a.log.1.zst", "b.log.1.zst"])
    assert asked == [False, True]


@pytest.mark.long
def test_a_slot_makes_a_whole_run_due(tmp_path: Path) -> None:
    """As the clock reaches it, and as it is set to before it and reaches it again."""
    bench = Bench(tmp_path, schedule="daily", max_size="off")
    midnight = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    bench.moment = midnight - 3600 - time.monotonic()

    def wholes() -> int:
        return sum(not turn.only for _, turn in bench.runner.turns)

    with bench.watching():
        bench.until(lambda: len(bench.desk.reports) == 1)
        bench.moment += 3600  # past midnight
        bench.until(lambda: wholes() == 2)
        bench.moment -= 7200
        bench.until(lambda: wholes() == 3)
        bench.moment += 7200
        bench.until(lambda: wholes() == 4)


@pytest.mark.long
def test_an_archive_that_waits_is_tried_again_without_a_new_take(bench: Bench) -> None:
    """With pauses that grow; not only when the next log is due."""
    writer = bench.fill("a.log").open("ab")  # holds it open, and so its archive waits
    with bench.watching():
        bench.until(lambda: bench.archives() == ["a.log.1"])
        retries = [turn for _, turn in bench.runner.turns if turn.only and not turn.takes_only]
        bench.until(lambda: len([t for _, t in bench.runner.turns if t.only and not t.takes_only]) > len(retries) + 1)
        writer.close()
        bench.until(lambda: bench.archives() == ["a.log.1.zst"])
    assert len(bench.runner.takes()) == 1


def test_it_beats_while_a_long_run_is_at_work_and_leaves_between_two(bench: Bench) -> None:
    """The first thread beats from within its run; told to leave, it waits for the second one's run."""
    at_work, done = threading.Event(), threading.Event()

    def long(turn: Turn) -> None:
        if turn.takes_only:
            before = bench.desk.beats
            assert turn.stop is not None
            while bench.desk.beats < before + 3:
                assert not turn.stop()
        elif turn.only:
            bench.desk.wish = Wish.LEAVE
            at_work.set()
            bench.until(turn.pressed or (lambda: True))
            done.set()

    bench.runner.before = long
    with bench.watching():
        bench.until(lambda: bench.desk.reports)
        bench.fill("a.log")
        bench.until(at_work.is_set)
        bench.until(done.is_set)
    assert bench.desk.told == [] and done.is_set()


def test_the_report_of_a_take_leaves_the_archives_out(bench: Bench) -> None:
    """Its plan is that of any run, without what another run does meanwhile."""
    path = bench.fill("a.log")
    plan = bench.runner.plan(lambda: False)
    part = Turn(only=(str(path),), takes_only=True)
    assert [log.compress for log in part.of(plan.logs)] == [()]
    assert [replace(log, compress=()) for log in plan.logs] == list(part.of(plan.logs))


@pytest.mark.long
def test_an_archive_is_not_put_off_for_ever(bench: Bench) -> None:
    """After three times in a row the others wait until it is done."""
    big, asked = bench.logs / "big.log", list[bool]()
    at_work, may_take = threading.Event(), threading.Event()

    def slow(turn: Turn) -> Report | None:
        if turn.takes_only and at_work.is_set():
            bench.until(may_take.is_set)
        if turn.takes_only or not turn.only or not turn.pressed or len(asked) == 4:
            return None
        if str(big) not in turn.only:
            return None
        may_take.clear()
        at_work.set()
        begun = len(bench.runner.takes())
        bench.fill("other.log")
        bench.until(lambda: len(bench.runner.takes()) > begun)
        asked.append(turn.pressed())
        at_work.clear()
        may_take.set()
        if not asked[-1]:
            return None
        plan = Rotator(bench.config).plan(only=[str(big)])
        late = Outcome(log=str(big), action="compress", status=Status.DEFERRED, reason="stopped while compressing")
        return Report(started=plan.now, duration=0.0, outcomes=(late,), plan=plan)

    bench.runner.before = slow
    with bench.watching():
        bench.until(lambda: bench.desk.reports)
        bench.fill("big.log")
        bench.until(lambda: "big.log.1.zst" in bench.archives())
    assert asked == [True, True, True, False]


def test_the_library_watches_until_its_event_is_set(tmp_path: Path) -> None:
    """With nothing but an Event, in a thread of the host; no signal handler is touched, and what is done is told."""
    bench, stop, told = Bench(tmp_path), threading.Event(), list[str]()
    rotator = Rotator(bench.config, on_event=lambda event: told.append(event.name))
    thread = threading.Thread(target=rotator.watch, args=(stop,))
    thread.start()
    try:
        bench.fill("a.log")
        bench.until(lambda: bench.archives() == ["a.log.1.zst"])
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert not thread.is_alive() and {"rotation.completed", "archive.compressed"} <= {*told}
