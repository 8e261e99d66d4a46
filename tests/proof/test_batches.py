"""Archives that are compressed together, synced in another thread: a kill, an error or a power cut at any point.

The other sweeps compress one at a time, in one thread, so that the n-th operation is always the same. Here it is not,
and each sweep is made once more with a helper, a process that has a share of the archives: what is judged is that each
line is there once, whenever it strikes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.act import pool
from logrotor.act import run as act
from logrotor.act.context import Fork
from logrotor.act.form import Form
from logrotor.cli.helper import Helper
from logrotor.disk import calls
from logrotor.model import Report
from tests.support import mounts, oracle
from tests.support.need import need

LOGS = 7
POINTS = 7 * LOGS  # at least: a run that has a helper counts the operations of its own share only
LINES = 40
BATCH = 2  # so that several are under way
FORK: dict[str, Fork | None] = {"helper": None}  # who starts helpers


def names(path: Path) -> list[Path]:
    return [path / f"app{number}.log" for number in range(LOGS)]


def build(path: Path) -> None:
    path.mkdir()
    for number, log in enumerate(names(path)):
        log.write_bytes(oracle.lines(f"w{number}", 1, LINES))


def run(logs: Path, state: Path, codec: str = "zstd") -> Report:
    rule = {"name": "app", "paths": [f"{logs}/*.log"], "max_size": 1000, "compress": codec, "backup_count": 5}
    config = load_config({"state_dir": str(state), "compress_jobs": 4, "log": [rule]})
    return Rotator(config, fork=FORK["helper"]).run()


def judge(logs: Path, state: Path) -> None:
    """One ordinary run later each line is there once, each archive compressed, and nothing else."""
    report = run(logs, state)
    assert report.exit_code == 0, (report.failed, report.problems)
    bases = [log.name for log in names(logs)]
    oracle.count(logs, *bases, expected={f"w{number}": LINES for number in range(LOGS)}).check()
    wanted = {*bases, *(f"{base}.1.zst" for base in bases)}
    assert set(os.listdir(logs)) == wanted


def in_a_child(work: Callable[[], object]) -> int:
    """Run it in a process of its own; its exit code, or minus the signal that ended it.

    A helper whose parent was killed dies a moment later, and its locks with it: it is waited for as well.
    """
    told, telling = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(telling, str(_outlived(work)).encode())
        finally:
            os._exit(0)
    os.close(telling)
    os.waitpid(pid, 0)
    with os.fdopen(told) as file:
        return int(file.read())


def _outlived(work: Callable[[], object]) -> int:
    """The same, in a process that inherits the children of the one that it starts (PR_SET_CHILD_SUBREAPER)."""
    pr_set_child_subreaper = 36
    assert ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0) == 0
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(99)
    codes = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, status = os.wait()
            codes[ended] = os.waitstatus_to_exitcode(status)
    return codes[pid]


def run_until(logs: Path, state: Path, last: int) -> bool:
    """A run that is killed after ``last`` operations, in whatever thread; False: it was over before.

    So is its helper, after ``last`` of those that it has seen; when only that is killed, the run ends with 1.
    """

    def work() -> None:
        done, turn = 0, threading.Lock()

        def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal done
            result = function(*args, **kwargs)
            with turn:
                done += 1
                if done == last:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        calls.invoke = invoke
        os._exit(run(logs, state).exit_code)

    code = in_a_child(work)
    assert code in ((0, -signal.SIGKILL) if FORK["helper"] is None else (0, 1, -signal.SIGKILL))
    return code != 0


@pytest.fixture(autouse=True, params=["alone", "helped"])
def small_batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_BATCH", BATCH)
    monkeypatch.setattr(pool, "_SHARE", 2)
    monkeypatch.setattr(act, "_SHARE", 2)
    monkeypatch.setattr(pool, "processors", lambda: 2)
    monkeypatch.setitem(FORK, "helper", Helper if request.param == "helped" else None)


def sweep(root: Path, points: range, after: Callable[[], None] = lambda: None) -> int:
    """Kill after each of ``points`` operations, each time on fresh logs; how many points there were."""
    struck = 0
    for last in points:
        logs, state = root / f"logs-{last}", root / f"state-{last}"
        build(logs)
        subprocess.run(["sync", "--file-system", root], check=True)
        if not run_until(logs, state, last):
            return struck
        after()
        judge(logs, state)
        struck += 1
    return struck


def test_killed_here_and_there(tmp_path: Path) -> None:
    """A sample of the sweep."""
    assert sweep(tmp_path, range(5, 200, 9)) >= 6


@pytest.mark.long
def test_killed_after_each_operation(tmp_path: Path) -> None:
    """Whatever is half done of however many archives is finished by the next run."""
    assert sweep(tmp_path, range(1, 1000)) > POINTS


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_power_cut_here_and_there(tmp_path: Path, fstype: str) -> None:
    """A sample of the sweep."""
    with mounts.loop_mount(tmp_path, fstype) as mount:
        assert sweep(mount.path, range(30, 170, 7), mount.power_cut) >= 4


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_power_cut_after_each_operation(tmp_path: Path, fstype: str) -> None:
    """One fsync of the directory is enough for all names that were published in it before."""
    with mounts.loop_mount(tmp_path, fstype) as mount:
        assert sweep(mount.path, range(1, 1000), mount.power_cut) > POINTS


@pytest.mark.parametrize("operation", ["sync", "rename", "create", "write", "unlink", "close", "utime"])
@pytest.mark.parametrize("seed", range(4))
def test_an_error_here_and_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, seed: int) -> None:
    """Some of the archives fail, in whatever thread: the others are done, everything is closed, no line is missing."""
    need(os.path.isdir("/proc/self/fd"), "/proc")
    logs, state = tmp_path / "logs", tmp_path / "state"
    build(logs)
    chance = random.Random(f"{operation} {seed}")
    struck: list[str] = []
    real = pool.compress

    def invoke(each: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if each == operation and chance.random() < 0.4:
            struck.append(each)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return function(*args, **kwargs)

    def compress(context: Any, jobs: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(calls, "invoke", invoke)
            yield from real(context, jobs)

    with monkeypatch.context() as patch:
        patch.setattr(pool, "compress", compress)
        gc.collect()
        before = set(os.listdir("/proc/self/fd"))
        report = run(logs, state)
        assert operation == "close" or set(os.listdir("/proc/self/fd")) == before
    assert report.exit_code == (1 if struck else 0)
    assert report.count("compress") + len({o.log for o in report.failed}) >= LOGS
    judge(logs, state)


def test_many_large_ones_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have a thread each let go of their originals, each of its own, and of each once."""
    logs, state = tmp_path / "logs", tmp_path / "state"
    build(logs)
    closed: list[Form] = []
    real = Form.let_go

    def let_go(self: Form) -> None:
        if self._fd >= 0:
            closed.append(self)
        real(self)

    monkeypatch.setattr(pool, "_SMALL", 0)
    monkeypatch.setattr(Form, "let_go", let_go)
    before, interval = set(os.listdir("/proc/self/fd")), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        report = run(logs, state)
    finally:
        sys.setswitchinterval(interval)
    assert report.exit_code == 0 and report.count("compress") == LOGS
    assert len(closed) == len({id(each) for each in closed}) == LOGS
    assert set(os.listdir("/proc/self/fd")) == before
    judge(logs, state)


def test_several_archives_of_each_log(tmp_path: Path) -> None:
    """Those of one log are never worked on together, where one would lock out the other; all are done in one run."""
    logs, state = tmp_path / "logs", tmp_path / "state"
    logs.mkdir()
    for number, log in enumerate(names(logs)):
        for slot in range(4):  # 0: the log itself, written last
            first = (3 - slot) * LINES + 1
            data = oracle.lines(f"w{number}", first, first + LINES - 1)
            (log if slot == 0 else log.with_name(f"{log.name}.{slot}")).write_bytes(data)
    report = run(logs, state)
    assert report.exit_code == 0 and report.count("compress") == 4 * LOGS
    bases = [log.name for log in names(logs)]
    assert set(os.listdir(logs)) == {*bases, *(f"{base}.{slot}.zst" for base in bases for slot in range(1, 5))}
    oracle.count(logs, *bases, expected={f"w{number}": 4 * LINES for number in range(LOGS)}).check()
