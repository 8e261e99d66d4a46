"""One attempt as a real process: what its ends become, and that nothing of it survives its worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from logrotor.jobs import task
from logrotor.jobs.engine import Site, open_site
from logrotor.jobs.task import VERBOSITY
from logrotor.model import Ending
from tests.support import command, supervisor, users
from tests.support.command import CHECKOUT
from tests.support.fixtures import world_tree
from tests.support.need import need

CONFIG = """\
state_dir = "state"
lock_timeout = "0s"
[[log]]
name = "app"
paths = ["app.log"]
max_size = "1K"
missing = "error"
[[log]]
name = "other"
paths = ["other.log"]
max_size = "1K"
[queue]
[queue.job]
timeout = "{timeout}"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests" / "jobs" / "slow")]))
    monkeypatch.setenv("LOGROTOR_TEST_SLOW", str(tmp_path / "slow"))
    for name in ("app.log", "other.log"):
        (tmp_path / name).write_text("x" * 5000)
    return tmp_path


def site(folder: Path, timeout: str = "30s") -> Site:
    (folder / "logrotor.toml").write_text(CONFIG.format(timeout=timeout))
    return open_site(str(folder / "logrotor.toml"), {"HOME": str(folder)})


def rotated(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.log.1*"))


def test_done(folder: Path) -> None:
    """Exit 0: the logs are rotated."""
    assert task.carry_out(site(folder), ("*",)) == task.Result(Ending.DONE)
    assert rotated(folder) == ["app.log.1.zst", "other.log.1.zst"]


def test_what_a_job_tells(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In this order: starting at info, one debug line per missing file, "reopen signalled", "completed" at info."""
    where = site(folder)
    text = (
        CONFIG.format(timeout="30s")
        .replace('missing = "error"', 'reopen = "workers"')
        .replace('paths = ["other.log"]', 'paths = ["other.log", "mpesa_raw.log", "mpesa_raw_callback.log"]')
    )
    text += '[reopen.workers]\nmanager = "command"\ncommand = ["/bin/true"]\n'
    (folder / "logrotor.toml").write_text(text)
    assert task.carry_out(replace(where, environ={VERBOSITY: "2"}), ("*",)).ending is Ending.DONE
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [event["event"] for event in told if event["level"] == "info"] == [
        "run.started", "reopen.signalled", "run.completed",
    ]  # fmt: skip
    missing = [event["log"] for event in told if event["event"] == "log.missing"]
    assert [os.path.basename(path) for path in missing] == ["mpesa_raw.log", "mpesa_raw_callback.log"]
    assert [event["event"] for event in told][:3] == ["run.started", "log.missing", "log.missing"]
    assert {event["level"] for event in told} == {"info", "debug"}


def test_a_selection(folder: Path) -> None:
    """A job for one rule leaves the others alone."""
    assert task.carry_out(site(folder), ("other",)).ending is Ending.DONE
    assert rotated(folder) == ["other.log.1.zst"]


def test_a_failure_says_which_log_and_why(folder: Path) -> None:
    """Exit 1: some log failed, and the others were done."""
    (folder / "app.log").unlink()
    result = task.carry_out(site(folder), ("*",))
    assert result.ending is Ending.FAILED and "app.log" in result.detail
    assert rotated(folder) == ["other.log.1.zst"]


def test_busy(folder: Path) -> None:
    """Exit 3: another run holds the lock."""
    from filelock import FileLock

    (folder / "state").mkdir(mode=0o700)
    with FileLock(str(folder / "state" / "lock")):
        assert task.carry_out(site(folder), ("*",)).ending is Ending.BUSY
    assert rotated(folder) == []


def test_a_selection_that_names_nothing_is_refused(folder: Path) -> None:
    """Exit 2: no further attempt makes it right; the reason is that of the run."""
    result = task.carry_out(site(folder), ("nothing",))
    assert result.ending is Ending.REFUSED and "nothing: neither a rule nor a log" in result.detail


@pytest.mark.parametrize("how", ["600", "ignore"])
def test_an_attempt_that_takes_too_long_is_ended(folder: Path, how: str) -> None:
    """TERM, and KILL for what ignores it; nothing runs on, and the lock is free."""
    (folder / "slow").write_text(how)
    result = task.carry_out(site(folder, "1s"), ("*",))
    assert result.ending is Ending.TIMEOUT and "1 s" in result.detail
    (folder / "slow").unlink()
    assert task.carry_out(site(folder), ("*",)).ending is Ending.DONE


def test_an_attempt_dies_with_its_worker(folder: Path) -> None:
    """kill -9 of the worker ends the attempt at once: a crash like any other, and no orphan holds the lock."""
    where = site(folder)
    (folder / "slow").write_text("600")
    code = (
        "import os, sys; from logrotor.jobs import task; from logrotor.jobs.engine import open_site;"
        "task.carry_out(open_site(sys.argv[1], os.environ), ('*',))"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, where.file], env=dict(os.environ), cwd=CHECKOUT)
    try:
        supervisor.wait_for(lambda: _child(worker.pid))
        pid = _child(worker.pid) or 0
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        supervisor.wait_for(lambda: _is_gone(pid))
    finally:
        worker.kill()
        worker.wait()
    (folder / "slow").unlink()
    assert task.carry_out(where, ("*",)).ending is Ending.DONE


def test_the_engine_may_interrupt_the_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the engine that raises in the job's thread leaves no attempt running."""
    (folder / "slow").write_text("600")
    pids: list[int] = []

    def interrupted(process: subprocess.Popen[bytes], patience: float) -> bool:
        pids.append(process.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(task, "_ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        task.carry_out(site(folder), ("*",))
    supervisor.wait_for(lambda: _is_gone(pids[0]))
    assert rotated(folder) == []


def test_a_folder_named_logrotor_is_not_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies in the worker's directory is not run."""
    (folder / "logrotor").mkdir()
    (folder / "logrotor" / "__init__.py").write_text("raise SystemExit(77)")
    monkeypatch.chdir(folder)
    assert task.carry_out(site(folder), ("*",)).ending is Ending.DONE


def test_the_run_itself_sums_up(folder: Path) -> None:
    """The hidden option of the child: a short JSON on stdout, and the exit codes of every run."""
    where = site(folder)
    code = "import os, subprocess, sys; sys.exit(subprocess.call([*sys.argv[1:], '--attempt', str(os.getpid())]))"
    result = command.run([sys.executable, "-c", code, *command.arguments("run", "-c", where.file)])
    assert result.code == 0 and result.json == {"errors": [], "more": 0, "lasting": True, "cause": ""}
    assert len(rotated(folder)) == 2


@pytest.mark.parametrize(("fault", "lasting"), [("nr_inodes=3", False), ("ro", True)], ids=["full", "read-only"])
def test_what_a_retry_can_change_is_retried(folder: Path, fault: str, lasting: bool) -> None:
    """A full file system may have room a minute later; one that is read-only fails again at once."""
    need(os.geteuid() == 0, "root, to mount a file system")
    logs, where = folder / "logs", site(folder)
    logs.mkdir()
    (folder / "logrotor.toml").write_text(CONFIG.format(timeout="30s").replace('["app.log"]', '["logs/app.log"]'))
    done = subprocess.run(["mount", "-t", "tmpfs", "none", logs], capture_output=True, check=False)
    need(done.returncode == 0, "a tmpfs that may be mounted")
    try:
        (logs / "app.log").write_text("x" * 5000)
        (logs / "more").touch()
        subprocess.run(["mount", "-o", f"remount,{fault}", logs], check=True)
        result = task.carry_out(where, ("app",))
        assert (result.ending, result.lasting) == (Ending.FAILED, lasting), result
        assert sorted(os.listdir(logs)) == ["app.log", "more"]
    finally:
        subprocess.run(["umount", "-l", logs], check=True)


def test_a_closed_directory_is_lasting() -> None:
    """Permission is not given by trying again."""
    need(os.geteuid() == 0, "root, to become another user")
    with world_tree() as root:
        (root / "state").mkdir(mode=0o700)
        shutil.chown(root / "state", "www-data")
        (root / "app.log").write_text("x" * 5000)
        (root / "other.log").touch()
        result = users.as_user("www-data", task.carry_out, site(root), ("app",))
        assert (result.ending, result.lasting) == (Ending.FAILED, True), result
        assert (root / "app.log").stat().st_size == 5000


def _child(pid: int) -> int | None:
    """The attempt that this process has begun."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children and b"--attempt" in Path(f"/proc/{children[0]}/cmdline").read_bytes() else None


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
