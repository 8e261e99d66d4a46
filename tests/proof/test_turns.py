"""One rotator at a time at one log: the lock file in the log's directory, with real processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from logrotor import Rotator, load_config
from logrotor.decide.naming import LOCK
from logrotor.disk.turns import Turns
from logrotor.errors import Busy, Refused
from logrotor.model import Report, Status
from tests.support import oracle, users
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

        assert "another user's" in users.as_user("nobody", begin)
