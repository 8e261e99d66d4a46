"""Helpers of the command line: processes that do a share of a run, whatever becomes of them or of us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from logrotor.cli import helper
from logrotor.cli.helper import Helper
from tests.support import command, oracle

LOGS = 600
LINES = 20
MOST = 1 << 24  # bytes


def never() -> bool:
    return False


def _die() -> bool:
    signal.raise_signal(signal.SIGKILL)
    return True


def wait_until(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def test_what_a_helper_tells_arrives() -> None:
    """Its lines, in their order, and that it came to its end."""

    def work(stop: Any, tell: Any) -> None:
        for line in (b"one", b"x" * 1_000_000, str(os.getpid()).encode()):
            tell(line)

    lines, failure = Helper(work).finish(never, MOST)
    assert failure is None
    assert lines[:2] == [b"one", b"x" * 1_000_000]
    assert int(lines[2]) != os.getpid()


def test_a_helper_that_tells_too_much_is_heard_no_further() -> None:
    """Whatever it does, we read no more than its steps can need."""
    lines, failure = Helper(lambda stop, tell: [tell(b"x" * 1000) for _ in range(1000)]).finish(never, 10_000)
    assert sum(map(len, lines)) < 20_000 and failure is not None


def test_a_helper_that_fails_says_why() -> None:
    """What it told before counts."""

    def work(stop: Any, tell: Any) -> None:
        tell(b"before")
        raise RuntimeError("no idea")

    assert Helper(work).finish(never, MOST) == ([b"before"], "failed: RuntimeError: no idea")


def test_a_helper_that_is_killed_is_noticed() -> None:
    """By the out-of-memory killer, say: what it told whole counts."""

    def work(stop: Any, tell: Any) -> None:
        tell(b"before")
        os.kill(os.getpid(), signal.SIGKILL)

    assert Helper(work).finish(never, MOST) == ([b"before"], "ended early (signal 9)")


def test_a_stop_is_passed_on() -> None:
    """It gets the chance to finish what it has begun."""

    def work(stop: Callable[[], bool], tell: Any) -> None:
        wait_until(stop, "not told to stop")
        tell(b"finished")

    assert Helper(work).finish(lambda: True, MOST) == ([b"finished"], None)


def test_a_helper_can_be_ended() -> None:
    """At once, and no zombie stays."""
    started = Helper(lambda stop, tell: time.sleep(600))
    pid = started._pid
    started.kill()
    started.kill()
    assert pid is not None and not os.path.exists(f"/proc/{pid}")


def test_children_that_somebody_else_collects() -> None:
    """A caller that ignores SIGCHLD has no exit codes; what the helper told is enough."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert Helper(lambda stop, tell: tell(b"1")).finish(never, MOST) == ([b"1"], None)
        assert Helper(lambda stop, tell: os._exit(0)).finish(never, MOST) == ([], "ended early")
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_helper_dies_with_its_parent() -> None:
    """It never works on alone, while the next run begins."""
    life, end_of_life = os.pipe()
    parent = os.fork()
    if parent == 0:
        Helper(lambda stop, tell: time.sleep(600)).finish(_die, MOST)
    os.close(end_of_life)
    assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == -signal.SIGKILL
    assert os.read(life, 1) == b""  # the helper has let go of the pipe, too
    os.close(life)


def test_threads_are_not_forked() -> None:
    """A process with several threads gets no helper: a lock that one of them holds would never be released there."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert helper.fork(lambda stop, tell: None) is None
    finally:
        over.set()
        thread.join()


def test_a_system_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more processes: no helper, nothing left open, and no error."""

    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    monkeypatch.setattr(os, "listdir", lambda _: ["1"])
    before = {fd for fd in range(256) if os.path.exists(f"/proc/self/fd/{fd}")}
    assert helper.fork(lambda stop, tell: None) is None
    assert {fd for fd in range(256) if os.path.exists(f"/proc/self/fd/{fd}")} == before


# ---------------------------------------------------------------- the whole command


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    for number in range(LOGS):
        (tmp_path / "logs" / f"app{number}.log").write_bytes(oracle.lines(f"w{number}", 1, LINES))
    (tmp_path / "logrotor.toml").write_text(
        'state_dir = "state"\n[[log]]\nname = "all"\npaths = ["logs/*.log"]\nmax_size = "1K"\nbackup_count = 2\n'
    )
    return tmp_path


def judge(site: Path) -> None:
    """Every archive is compressed, and every line is there once."""
    names = [f"app{number}.log" for number in range(LOGS)]
    assert set(os.listdir(site / "logs")) == {*names, *(f"{name}.1.zst" for name in names)}
    expected = {f"w{number}": LINES for number in range(LOGS)}
    oracle.count(site / "logs", *names, expected=expected).check()


def helpers_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@pytest.fixture(params=["compress", "take"])
def phase(request: pytest.FixtureRequest) -> str:
    """What is shared."""
    return str(request.param)


def start(site: Path, phase: str) -> subprocess.Popen[str]:
    """The command, at two processors whatever the machine has; only this phase has enough to share."""
    shares = {"compress": 10_000, "take": 10_000, phase: 100}
    code = (
        "from logrotor.act import pool, run\nfrom logrotor.cli import main\n"
        "pool.processors = lambda: 2\n"
        f"pool._SHARE, run._SHARE = {shares['compress']}, {shares['take']}\nmain()"
    )
    argv = [command.arguments()[0], "-c", code, "run", "-c", str(site / "logrotor.toml"), "--json"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=command.environment())


def helper_of(run: subprocess.Popen[str]) -> Iterator[int]:
    wait_until(lambda: helpers_of(run.pid) or run.poll() is not None, "no helper")
    yield from helpers_of(run.pid)


def test_very_many_logs_are_shared(site: Path, phase: str) -> None:
    """All are told of, as if one process had done it."""
    run = start(site, phase)
    assert len(list(helper_of(run))) == 1
    report = json.loads(run.communicate()[0])
    assert run.returncode == 0
    for action in ("take", "compress"):
        done = [o["log"] for o in report["outcomes"] if o["action"] == action and o["status"] == "done"]
        assert len(done) == len(set(done)) == LOGS
    judge(site)


def test_a_killed_helper_is_told_and_repaired(site: Path, phase: str) -> None:
    """The run ends with 1 and names the logs; the next one finishes the work."""
    run = start(site, phase)
    for pid in helper_of(run):
        os.kill(pid, signal.SIGKILL)
    out, _ = run.communicate()
    failed = [o["reason"] for o in json.loads(out)["outcomes"] if o["status"] == "failed"]
    assert run.returncode == 1
    does = {"compress": "compresses", "take": "takes"}[phase]
    assert set(failed) == {f"the helper process that {does} it ended early (signal 9); the next run goes on"}
    command.logrotor("run", "-c", site / "logrotor.toml", check=0)
    judge(site)


def test_killed_with_its_helper(site: Path, phase: str) -> None:
    """kill -9 of the command: the helper goes too, and the next run finishes the work."""
    run = start(site, phase)
    pids = list(helper_of(run))
    run.kill()
    run.communicate()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}/fd") and _lives(pid) for pid in pids), "the helper lives")
    command.logrotor("run", "-c", site / "logrotor.toml", check=0)
    judge(site)


def _lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_stopped_with_its_helper(site: Path, phase: str) -> None:
    """SIGTERM to the command alone: both end cleanly, no temp stays, and the next run finishes the work."""
    run = start(site, phase)
    assert list(helper_of(run))
    run.terminate()
    run.communicate()
    assert run.returncode in (0, 143)
    assert not [name for name in os.listdir(site / "logs") if name.startswith(".")]
    command.logrotor("run", "-c", site / "logrotor.toml", check=0)
    judge(site)


def test_few_files_may_be_open(site: Path) -> None:
    """Under "ulimit -n 200" the batches are smaller, and everything is done."""
    argv = ["sh", "-c", 'ulimit -n 200; exec "$@"', "sh", *command.arguments("run", "-c", site / "logrotor.toml")]
    done = subprocess.run(argv, capture_output=True, text=True, env=command.environment(), check=False)
    assert done.returncode == 0, done.stderr
    judge(site)
