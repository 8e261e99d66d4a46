"""One rotator at a time at one log: the lock file in the log's directory, with real processes."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from logrotor import Rotator, load_config
from logrotor.decide.naming import LOCK
from logrotor.disk import calls
from logrotor.disk import turns as turns_module
from logrotor.disk.directories import Directories
from logrotor.disk.turns import Turns
from logrotor.errors import Busy, Refused
from logrotor.events import Event, Level
from logrotor.model import Report, Status
from logrotor.observe.checks import storage
from logrotor.observe.deployment import Deployment
from logrotor.observe.status import status
from tests.proof.door import Door
from tests.support import mounts, oracle, users
from tests.support.fixtures import world_tree
from tests.support.need import need

LINES = 50


@contextmanager
def at_work(directory: Path) -> Iterator[Turns]:
    """What a run has open as long as it works in a directory."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with closing(Turns(fd, str(directory))) as turns:
            yield turns
    finally:
        os.close(fd)


def in_processes(count: int, work: Callable[[int], None]) -> None:
    """Do it in so many processes at once; AssertionError if one fails."""
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                work(number)
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * count


def run(directory: Path, **keys: object) -> Report:
    rule = {"name": "app", "paths": [str(directory / "*.log")], "max_size": 1000, "compress": "none", **keys}
    return Rotator(load_config({"state_dir": str(directory.parent / "state"), "log": [rule]})).run()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def write(logs: Path, name: str = "app.log") -> None:
    (logs / name).write_bytes(oracle.lines(name, 1, LINES))


@pytest.mark.long
def test_one_at_a_time(logs: Path) -> None:
    """Of eight processes that read, think and write, each in its turn, none overwrites what another one wrote."""
    counter = logs.parent / "counter"
    counter.write_text("0")

    def work(_: int) -> None:
        done = 0
        while done < 200:
            with at_work(logs) as turns:
                try:
                    turn = turns.begin("app.log")
                except Busy:
                    continue
                found = int(counter.read_text())
                counter.write_text(str(found + 1))
                turns.end(turn)
                done += 1

    in_processes(8, work)
    assert counter.read_text() == "1600"
    assert os.listdir(logs) == []


def test_those_at_other_logs_are_never_in_the_way(logs: Path) -> None:
    """Not even in the instants in which the file is made and removed."""

    def work(number: int) -> None:
        for _ in range(1000):
            with at_work(logs) as turns:
                turns.end(turns.begin(f"app{number}.log"))

    in_processes(4, work)
    assert os.listdir(logs) == []


def test_our_own_threads_wait(logs: Path) -> None:
    """Threads of one run share its locks, so they take turns among themselves."""
    inside, most = 0, 0

    def work(turns: Turns) -> None:
        nonlocal inside, most
        for _ in range(200):
            turn = turns.begin("app.log")
            inside += 1
            most = max(most, inside)
            os.sched_yield()
            inside -= 1
            turns.end(turn)

    with at_work(logs) as turns:
        threads = [threading.Thread(target=work, args=(turns,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == 1


def test_a_log_that_another_run_works_on_waits(logs: Path) -> None:
    """The others are rotated."""
    write(logs, "app.log")
    write(logs, "other.log")
    with at_work(logs) as turns:
        turn = turns.begin("app.log")
        report = run(logs)
        assert [(os.path.basename(o.log), o.status) for o in report.outcomes if o.action == "take"] == [
            ("app.log", Status.DEFERRED),
            ("other.log", Status.DONE),
        ]
        turns.end(turn)
        assert run(logs).rotated == 1
    assert sorted(os.listdir(logs)) == ["app.log", "app.log.1", "other.log", "other.log.1"]


def test_the_dead_hold_nothing(logs: Path) -> None:
    """The locks of a killed run are gone with it; its file is used by the next one, and removed."""
    write(logs)
    pid = os.fork()
    if pid == 0:
        fd = os.open(logs, os.O_RDONLY)
        turns = Turns(fd, str(logs))
        turns.begin("app.log")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert LOCK in os.listdir(logs)
    assert run(logs).rotated == 1
    assert sorted(os.listdir(logs)) == ["app.log", "app.log.1"]


def test_what_a_killed_run_left_goes_even_if_nothing_is_due(logs: Path) -> None:
    """And is taken for no log by a glob that would match it."""
    (logs / LOCK).touch(0o600)
    report = run(logs, paths=[str(logs / "*"), str(logs / ".*")])
    assert report.exit_code == 0 and report.outcomes == () and report.plan.logs == ()
    assert os.listdir(logs) == []


def test_a_file_in_use_is_not_removed(logs: Path) -> None:
    """An idle run leaves the lock of another one alone."""
    with at_work(logs) as turns:
        turn = turns.begin("app.log")
        assert run(logs).exit_code == 0
        assert os.listdir(logs) == [LOCK]
        turns.end(turn)
    assert os.listdir(logs) == []


def test_a_file_that_somebody_removed_is_made_anew(logs: Path) -> None:
    """Who holds a lock of the old one goes on with it; who comes later uses the new one."""
    with at_work(logs) as turns:
        first = turns.begin("app.log")
        (logs / LOCK).unlink()
        second = turns.begin("other.log")
        with at_work(logs) as others, pytest.raises(Busy, match="another run works"):
            others.begin("other.log")
        turns.end(first)
        turns.end(second)
    assert os.listdir(logs) == []


@pytest.mark.parametrize("odd", ["symlink", "fifo", "directory"])
def test_something_else_of_that_name_is_refused(logs: Path, odd: str) -> None:
    """Nothing behind it is touched, the log stays whole, and the report says what is in the way."""
    target = logs.parent / "target"
    target.write_text("not ours")
    {
        "symlink": lambda: (logs / LOCK).symlink_to(target),
        "fifo": lambda: os.mkfifo(logs / LOCK),
        "directory": lambda: (logs / LOCK).mkdir(),
    }[odd]()
    with at_work(logs) as turns, pytest.raises(Refused, match=LOCK):
        turns.begin("app.log")
    write(logs)
    report = run(logs)
    assert report.exit_code == 1 and LOCK in report.failed[0].reason
    assert sorted(os.listdir(logs)) == [LOCK, "app.log"] and target.read_text() == "not ours"
    oracle.count(logs, "app.log", expected={"app.log": LINES}).check(strays=True)


def test_another_users_file_is_not_opened() -> None:
    """His run may be at work: the log waits, and the reason says what to do if it is not."""
    need(os.geteuid() == 0, "root, to be two users")
    with world_tree() as folder:
        (folder / LOCK).touch(0o600)

        def begin() -> str:
            with at_work(folder) as turns, pytest.raises(Busy) as caught:
                turns.begin("app.log")
            return str(caught.value)

        told = users.as_user("nobody", begin)
        assert str(folder / LOCK) in told and "belongs to root" in told and f"rm {folder / LOCK}" in told


def test_another_users_file_is_told() -> None:
    """A run says so at -v, the doctor at once, and the status after an hour, when it is hardly of a run."""
    need(os.geteuid() == 0, "root, to be two users")
    with world_tree("nobody") as folder:
        users.as_user("nobody", (folder / "logs").mkdir)
        lock = folder / "logs" / LOCK

        def look() -> tuple[list[Event], list[str], list[tuple[str, ...]]]:
            write(folder / "logs")
            rule = {"name": "app", "paths": [str(folder / "logs" / "*.log")], "max_size": 1000}
            config = load_config({"state_dir": str(folder / "state"), "log": [rule]})
            events: list[Event] = []
            assert Rotator(config, on_event=events.append).run().exit_code == 0
            now = datetime.now(UTC)
            found = [(f.subject, f.problem, f.advice) for f in storage.locks(Deployment(config, now))]
            told = [status(Deployment(config, now + timedelta(hours=hours))).problems for hours in (0, 2)]
            return [e for e in events if e.name == "log.deferred"], found, told

        assert users.as_user("nobody", look) == ([], [], [(), ()])
        lock.touch(0o600)
        (event,), ((subject, problem, advice),), (now, later) = users.as_user("nobody", look)
        assert event.level is Level.INFO and event.fields["log"] == str(folder / "logs" / "app.log")
        assert str(lock) in event.fields["reason"] and f"rm {lock}" in event.fields["reason"]
        assert subject == str(lock) and "belongs to root" in problem and advice.endswith(f"rm {lock}")
        assert now == () and tuple(map(str, later)) == (event.fields["reason"],)


# ---------------------------------------------------------------- names that share a byte


def test_names_that_share_a_byte(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread has both, as a batch does; another run has neither before the last one ends."""
    monkeypatch.setattr("logrotor.disk.turns._BYTES", 1)

    def begin_and_end() -> None:
        with at_work(logs) as turns, at_work(logs) as others:
            first, second = turns.begin("app.log"), turns.begin("other.log")
            for turn, name in ((first, "app.log"), (second, "other.log")):
                with pytest.raises(Busy, match="another run works"):
                    others.begin(name)
                turns.end(turn)
            others.end(others.begin("app.log"))

    users.in_fork(begin_and_end, timeout=60)
    assert os.listdir(logs) == []


def test_logs_that_share_a_byte_are_rotated_together(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their archives are published in one batch."""
    monkeypatch.setattr("logrotor.disk.turns._BYTES", 1)
    for name in ("app.log", "other.log"):
        write(logs, name)
    assert users.in_fork(lambda: run(logs, compress="zstd").rotated, timeout=60) == 2
    assert sorted(os.listdir(logs)) == ["app.log", "app.log.1.zst", "other.log", "other.log.1.zst"]


@pytest.mark.parametrize("apart", range(1, 200, 3))
def test_characters_that_change_places_change_the_byte(logs: Path, apart: int) -> None:
    """However far they are apart."""
    with at_work(logs) as turns, at_work(logs) as others:
        between = "x" * (apart - 1)
        turn = turns.begin(f"A{between}B.log")
        others.end(others.begin(f"B{between}A.log"))
        turns.end(turn)


def test_a_thread_does_not_wait_for_itself(logs: Path) -> None:
    """It would wait for ever."""

    def begin_twice() -> None:
        with at_work(logs) as turns:
            turn = turns.begin("app.log")
            with pytest.raises(Busy, match="this very thread"):
                turns.begin("app.log")
            turns.end(turn)
            turns.end(turns.begin("app.log"))

    users.in_fork(begin_twice, timeout=60)


# ---------------------------------------------------------------- a full disk


class Full(Door):
    """A disk without room for a file; ``made``: what another run makes in the instant after we found that."""

    def __init__(self, made: Path | None = None) -> None:
        super().__init__(fault=self._fail)
        self.is_full, self.made = True, made

    def _fail(self, number: int, operation: str) -> Exception | None:
        if operation != "create" or not self.is_full:
            return None
        if self.made is not None:
            self.made.touch(0o600)
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Full:
    door = Full()
    monkeypatch.setattr(calls, "invoke", door)
    monkeypatch.setattr("logrotor.disk.turns._PATIENCE", 0)
    return door


def test_one_at_a_time_on_a_full_disk(logs: Path, full: Full) -> None:
    """Where no lock file can be made, the logs of a directory have one turn together."""
    with at_work(logs) as turns, at_work(logs) as others:
        first, second = turns.begin("app.log"), turns.begin("other.log")
        for turn in (first, second):
            with pytest.raises(Busy, match="another run works"):
                others.begin("app.log")
            turns.end(turn)
        others.end(others.begin("app.log"))
    assert os.listdir(logs) == []


def test_a_file_that_is_there_is_used_on_a_full_disk(logs: Path, full: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs no room, even if it came in the last instant: then each log has a turn of its own."""
    full.made = logs / LOCK
    monkeypatch.setattr(turns_module, "_PATIENCE", 60)
    with at_work(logs) as turns, at_work(logs) as others:
        first, second = turns.begin("app.log"), others.begin("other.log")
        turns.end(first)
        others.end(second)
    assert os.listdir(logs) == []


def test_who_makes_the_file_waits_for_a_run_on_a_full_disk(
    logs: Path, full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room came while that run was at work, and it would not see a lock of the new file."""
    monkeypatch.setattr(turns_module, "_MOMENT", 60)
    waiting, told = threading.Event(), []
    try_flock = turns_module._try_flock

    def seen(directory: int, kind: int) -> bool:
        got = try_flock(directory, kind)
        if not got:
            waiting.set()
        return got

    monkeypatch.setattr(turns_module, "_try_flock", seen)

    def work() -> None:
        with at_work(logs) as others:
            turn = others.begin("other.log")
            told.append("the other run")
            others.end(turn)

    with at_work(logs) as turns:
        turn = turns.begin("app.log")
        full.is_full = False
        thread = threading.Thread(target=work)
        thread.start()
        assert waiting.wait(30)
        told.append("the run on a full disk")
        turns.end(turn)
        thread.join()
    assert told == ["the run on a full disk", "the other run"]
    assert os.listdir(logs) == []


@pytest.mark.parametrize("comes_and_goes", [False, True])
def test_one_at_a_time_while_room_comes_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_and_goes: bool
) -> None:
    """Real processes on a real disk: some find no room for the lock file, and others make it meanwhile."""
    monkeypatch.setattr(turns_module, "_MOMENT", 60)
    with mounts.tmpfs(tmp_path, "1m", inodes=4) as disk:
        (logs := disk / "logs").mkdir()
        counter, filler = logs / "counter", disk / "filler"
        counter.write_bytes(b"0000")
        filler.touch()

        def work(number: int) -> None:
            done = 0
            while done < 100:
                if number == 0 and comes_and_goes:
                    with suppress(OSError):
                        filler.touch() if done % 2 else filler.unlink(missing_ok=True)
                with at_work(logs) as turns:
                    try:
                        turn = turns.begin("app.log")
                    except Busy:
                        continue
                    found = int(counter.read_bytes())
                    os.sched_yield()
                    with open(counter, "r+b") as file:
                        file.write(b"%04d" % (found + 1))
                    turns.end(turn)
                    done += 1

        in_processes(4, work)
        assert counter.read_bytes() == b"0400"
        assert os.listdir(logs) == ["counter"]


def test_whoever_may_read_the_directory_stops_nobody(logs: Path) -> None:
    """A lock of the directory itself is waited for only for a moment."""
    fd = os.open(logs, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with at_work(logs) as turns:
            turns.end(turns.begin("app.log"))
    finally:
        os.close(fd)
    assert os.listdir(logs) == []


# ---------------------------------------------------------------- helpers


def test_a_helper_holds_no_lock_of_its_parent(logs: Path) -> None:
    """The parent closes the directory, as more than 64 are in use; the helper goes on there."""
    with Directories({}) as dirs:
        turns = dirs.begin(str(logs)).turns
        turns.end(turns.begin("app.log"))
        ready, tell = os.pipe()
        wait, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                dirs.begin_anew()
                own = dirs.begin(str(logs)).turns
                own.end(own.begin("other.log"))
                os.write(tell, b".")
                os.read(wait, 1)
                own.end(own.begin("other.log"))
                os._exit(0)
            finally:
                os._exit(1)
        os.read(ready, 1)
        turns.close()
        os.write(go, b".")
        assert os.waitpid(pid, 0)[1] == 0
        for end in (ready, tell, wait, go):
            os.close(end)
