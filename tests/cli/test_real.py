"""The command line with the real rotator, each command a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from logrotor.disk import state
from tests.support.command import arguments, environment, logrotor, start
from tests.support.need import need

# sqlite3 (1.4 ms) is not among them: the history says which reopen requests were delivered.
HEAVY = {"structlog", "filelock", "zstandard", "zlib", "difflib", "concurrent.futures", "cronsim"}
LINES = b"".join(b"line %07d of the log\n" % number for number in range(3000))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two logs over 10 KB, one below, and one that is missing."""
    (tmp_path / "logs").mkdir()
    for name in ("a.log", "b.log"):
        (tmp_path / "logs" / name).write_bytes(LINES)
    (tmp_path / "logs" / "small.log").write_bytes(b"x\n")
    (tmp_path / "logrotor.toml").write_text(f"""
state_dir = "{tmp_path}/state"
[[log]]
name = "app"
paths = ["logs/a.log", "logs/b.log", "logs/small.log", "logs/gone.log"]
max_size = "10K"
backup_count = 2
""")
    return tmp_path


def names(site: Path) -> list[str]:
    return sorted(os.listdir(site / "logs"))


def unpacked(archive: Path) -> bytes:
    return subprocess.run(["zstd", "-dc", archive], capture_output=True, check=True).stdout


def test_cron(site):
    """From cron, a run rotates what is due and prints nothing; the next run has nothing to do and prints nothing."""
    for _ in range(2):
        result = logrotor("run", "-c", site / "logrotor.toml", check=0)
        assert (result.stdout, result.stderr) == ("", "")
        assert names(site) == ["a.log", "a.log.1.zst", "b.log", "b.log.1.zst", "small.log"]
    assert unpacked(site / "logs/a.log.1.zst") == LINES


@pytest.mark.parametrize("args", [("run", "-c", ""), ("-c", "", "run"), ("run", "--config="), ("check", "-c", "")])
def test_an_empty_name_of_a_configuration(site, args):
    """-c "$FILE" with FILE unset says so, and does not rotate what ./logrotor.toml names."""
    result = logrotor(*args, cwd=site, check=2)
    assert "is a variable unset" in result.stderr and names(site) == ["a.log", "b.log", "small.log"]


def test_plan_is_what_run_does(site):
    """plan changes nothing, and tells what the run then does."""
    before = {name: (site / "logs" / name).stat() for name in names(site)}
    made = logrotor("plan", "--json", "-c", site / "logrotor.toml", check=0).json
    assert {name: (site / "logs" / name).stat() for name in names(site)} == before and not (site / "state").exists()
    due = [log["path"] for log in made["logs"] if log["due"]["type"] == "due"]
    report = logrotor("run", "--json", "-c", site / "logrotor.toml", check=0).json
    taken = [o["log"] for o in report["outcomes"] if (o["action"], o["status"]) == ("take", "done")]
    assert sorted(taken) == sorted(due) == [f"{site}/logs/a.log", f"{site}/logs/b.log"]


def test_a_log_that_may_come(site):
    """plan PATH of a log that does not exist names the rule that would have it; what is excluded none has."""
    with open(site / "logrotor.toml", "a") as file:
        file.write('[[log]]\nname = "new"\npaths = ["logs/*.new"]\nexclude = ["not.new"]\nmax_size = "10K"\n')
    result = logrotor("plan", "logs/a.new", cwd=site, check=0)
    assert result.stdout == "logs/a.new does not exist; rule new would have it\n"
    assert logrotor("plan", "logs/a.new", "--json", cwd=site, check=0).json["missing"] == [f"{site}/logs/a.new"]
    for name in ("not.new", "a.new.1.zst", "a.old"):
        assert "no rule names it" in logrotor("plan", f"logs/{name}", cwd=site, check=1).stdout


def test_a_bare_name(site):
    """The name of a log will do wherever a log is asked for, as long as only one has it."""
    for command in (["plan", "a.log"], ["plan", "gone.log"], ["run", "--only", "a.log"], ["plan", "a.log.1.zst"],
                    ["history", "a.log"], ["cat", "a.log"], ["grep", "l", "a.log"], ["verify", "a.log"]):  # fmt: skip
        said = logrotor(*command, cwd=site, check=0).stdout
        assert said or command[0] == "run", command
        assert "b.log" not in said and "no rule" not in said, said
    assert names(site) == ["a.log", "a.log.1.zst", "b.log", "small.log"]
    (site / "more").mkdir()
    (site / "more" / "a.log").write_bytes(LINES)
    with open(site / "logrotor.toml", "a") as file:
        file.write('[[log]]\nname = "more"\npaths = ["more/*.log"]\nmax_size = "10K"\n')
    logrotor("run", "--only", "more", cwd=site, check=0)
    for command in (["plan", "a.log"], ["run", "--only", "a.log"], ["history", "a.log"], ["cat", "a.log"],
                    ["grep", "line", "a.log"], ["verify", "a.log"]):  # fmt: skip
        told = logrotor(*command, cwd=site, check=2).stderr
        assert f"a.log: may be any of {site}/logs/a.log, {site}/more/a.log; give the whole path" in told, command


def test_force_again_and_again(site):
    """Forced again on a log that is empty by now, no archive is pushed out by an empty one."""
    for _ in range(4):  # backup_count is 2
        logrotor("run", "--force", "--only", "logs/a.log", cwd=site, check=0)
    assert names(site) == ["a.log", "a.log.1.zst", "b.log", "small.log"]
    assert unpacked(site / "logs/a.log.1.zst") == LINES
    told = logrotor("plan", "--force", "logs/a.log", cwd=site, check=0).stdout
    assert "no: empty; rotate_empty = true would rotate it" in told


def test_one_wrong_rule(site):
    """A wrong rule is told, the others run, exit 1."""
    with open(site / "logrotor.toml", "a") as file:
        file.write('[[log]]\nname = "bad"\npaths = ["x.log"]\nmax_size = "10 potatoes"\n')
    told = logrotor("run", cwd=site, check=1).stderr.splitlines()
    assert len(told) == 1 and "10 potatoes" in told[0]
    assert "a.log.1.zst" in names(site)
    assert "10 potatoes" in logrotor("plan", cwd=site, check=1).stdout
    logrotor("check", cwd=site, check=1)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_get_into_a_log(site, closed):
    """Started with closed descriptors, no message ends up in a log or an archive."""
    command = f"exec {sys.executable} -m logrotor run -vv --json {closed}"
    assert subprocess.run(["bash", "-c", command], cwd=site, env=environment(), capture_output=True).returncode == 0
    assert (site / "logs/a.log").read_bytes() == b"" and unpacked(site / "logs/a.log.1.zst") == LINES


def test_sigterm_in_a_long_run(site):
    """SIGTERM during a compression ends with 143 and nothing half done; the next run finishes it."""
    block = os.urandom(1 << 20)
    with open(site / "logs/a.log", "wb") as file:
        for _ in range(256):
            file.write(block)
    process = start(arguments("run", "--json"), cwd=site)
    _wait_for(site / "logs/.a.log.1.zst.tmp")
    process.send_signal(signal.SIGTERM)
    report = json.loads(process.communicate(timeout=30)[0])
    assert process.returncode == report["exit_code"] == 143 and report["interrupted"]
    assert not [name for name in names(site) if name.startswith(".")]
    logrotor("run", cwd=site, check=0)
    assert unpacked(site / "logs/a.log.1.zst") == block * 256


def _wait_for(path: Path) -> None:
    for _ in range(2000):
        if path.exists():
            return
        time.sleep(0.005)
    raise AssertionError(f"{path} never came")


def test_locked(site):
    """While another run holds the lock, a run waits for lock_timeout and ends with 3; -v says so, in one line."""
    config = site / "logrotor.toml"
    config.write_text('lock_timeout = "1s"\n' + config.read_text())
    with state.locked(f"{site}/state", 1.0, lambda: False):
        assert logrotor("run", "--log-format", "console", cwd=site, check=3).stderr == ""
        result = logrotor("run", "-v", "--log-format", "console", cwd=site, check=3)
        assert result.stderr.count("\n") == 1 and result.stderr.startswith("logrotor: ")
        assert names(site) == ["a.log", "b.log", "small.log"]


def test_a_signal_while_it_waits_for_the_lock(site):
    """SIGTERM while another run holds the lock is an interruption, not a failure to get it."""
    with state.locked(f"{site}/state", 1.0, lambda: False):
        process = start(arguments("run"), cwd=site)
        while not _catches(process.pid, signal.SIGTERM):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        out, told = process.communicate(timeout=30)
        assert (out, process.returncode) == (b"", 143)
        assert not told or json.loads(told)["event"] == "run.interrupted"  # it came while it still looked


def _catches(pid: int, signum: int) -> bool:
    """Has it a handler for that signal (proc(5))?"""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signum - 1) & 1)


def test_a_run_under_way(site):
    """plan and status say so, and do not keep it waiting; afterwards they say nothing of it."""
    with state.locked(f"{site}/state", 1.0, lambda: False):
        need(state.holder(f"{site}/state"), "a file system that /proc/locks knows by the number that stat gives it")
        said = f"a run is under way (process {os.getpid()})"
        assert f"note: {said}: " in logrotor("plan", cwd=site, check=0).stdout
        told = " ".join(logrotor("status", cwd=site, check=0).stdout.split())
        assert f"last run never; {said}." in told and "no run is known" not in told
        assert logrotor("status", "--json", cwd=site, check=0).json["under_way"] == os.getpid()
        assert logrotor("status", "--check", cwd=site, check=1).stdout.startswith("ATTENTION: no run has ended yet")
    for command in ("plan", "status"):
        assert "under way" not in logrotor(command, cwd=site, check=0).stdout
    assert state.holder(f"{site}/none") is None


def test_bar_on_a_terminal(site):
    """On a real terminal with NO_COLOR a run sends no escape code at all."""
    argv = ["script", "-qec", f"NO_COLOR=1 {sys.executable} -m logrotor run -vv", "/dev/null"]
    shown = subprocess.run(argv, cwd=site, env=environment(), capture_output=True, stdin=subprocess.DEVNULL).stdout
    assert b"run.completed" in shown and b"\x1b" not in shown


def test_heavy_modules_stay_out_of_an_idle_run(site):
    """A run with nothing to do does not pay for logging, locking or compression."""
    logrotor("run", cwd=site, check=0)
    argv = [sys.executable, "-X", "importtime", "-m", "logrotor", "run"]
    told = subprocess.run(argv, cwd=site, env=environment(), capture_output=True, text=True, check=True).stderr
    loaded = {line.rsplit("|", 1)[1].strip() for line in told.splitlines() if "|" in line}
    assert not loaded & HEAVY
