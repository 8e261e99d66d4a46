"""``logrotor watch`` as a real process, with real writers, signals, sockets and file systems."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from logrotor.cli.supervision import Bell
from logrotor.disk import heartbeat
from logrotor.errors import StateError
from tests.support import command, mounts, oracle
from tests.support.writers import Kind, Writer

PATIENCE = 60.0
RULE = {"name": "all", "paths": ["logs/*.log"], "max_size": "20KB", "min_interval": "0s"}


class Deployment:
    """A folder with a configuration, and the watches of it."""

    def __init__(self, folder: Path, **rule: Any) -> None:
        self.folder, self.logs, self.config = folder, folder / "logs", folder / "logrotor.toml"
        self.logs.mkdir(exist_ok=True)
        self.configure(**rule)
        self.said = folder / "said"

    def configure(self, **rule: Any) -> None:
        keys = {**RULE, **rule}
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        self.config.write_text(f'state_dir = "state"\n[[log]]\n{text}')

    @contextmanager
    def watch(self, env: dict[str, str] | None = None, argv: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """One that runs; ended by TERM if it still does, with exit 0 then."""
        with self.said.open("ab") as said:
            process = subprocess.Popen(
                [*argv, *command.arguments("watch", "-c", self.config)],
                env=command.environment(env), stderr=said, stdout=said, cwd="/", start_new_session=True,
            )  # fmt: skip
        try:
            self.until(lambda: self.events("watch.started", process.pid) or process.poll() is not None)
            yield process
            if process.poll() is None:
                process.terminate()
                assert process.wait(PATIENCE) == 0, self.said.read_text()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def events(self, name: str, pid: int | None = None) -> list[dict[str, Any]]:
        lines = self.said.read_text().splitlines() if self.said.exists() else []
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [each for each in found if each["event"] == name and pid in (None, each.get("process"))]

    def until(self, holds: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, (self.said.read_text(), sorted(os.listdir(self.logs)))
            time.sleep(0.02)

    def runs(self) -> float:
        """When the last one ended."""
        mark = self.folder / "state/last-run"
        return mark.stat().st_mtime if mark.exists() else 0.0

    def archives(self, base: str) -> int:
        return len(oracle.archives(self.logs, base))

    def settled(self, base: str) -> bool:
        """Whether every archive has its final form."""
        packed = all(path.endswith(".zst") for path in oracle.archives(self.logs, base))
        return packed and not any(name.startswith(".") for name in os.listdir(self.logs))

    def fill(self, name: str, size: int = 30_000) -> None:
        with (self.logs / name).open("ab") as file:
            file.write(b"=" * (size - 1) + b"\n")


@pytest.fixture
def here(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


# ---------------------------------------------------------------- its life


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_ends_cleanly_and_nobody_misses_it(here: Deployment, signum: int) -> None:
    """Exit 0, no sign of life left, and status has nothing to say of a watch."""
    with here.watch() as process:
        here.until(lambda: heartbeat.last(str(here.folder / "state")))
        process.send_signal(signum)
        assert process.wait(PATIENCE) == 0
    assert heartbeat.last(str(here.folder / "state")) is None
    assert here.events("watch.ended") and not here.events("run.failed")


def test_a_second_watch_says_so_and_ends(here: Deployment) -> None:
    """Exit 3; the first one goes on, and after it there may be another."""
    with here.watch() as first:
        found = command.logrotor("watch", "-c", here.config, check=3)
        assert str(first.pid) in found.stderr
        here.fill("a.log")
        here.until(lambda: here.archives("a.log") == 1)
    with here.watch():
        here.fill("a.log")
        here.until(lambda: here.archives("a.log") == 2)


def test_a_watch_that_was_killed_is_missed_until_it_runs_again(here: Deployment) -> None:
    """status --check is red from then on, and green as soon as the next one has signed in."""
    state = str(here.folder / "state")
    with here.watch() as process:
        here.until(lambda: heartbeat.last(state))
        here.until(lambda: (here.folder / "state/last-run").exists())
        command.logrotor("status", "--check", "-c", here.config, check=0)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    found = command.logrotor("status", "--check", "--json", "-c", here.config, check=1).json
    assert [each["subject"] for each in found["problems"]] == [f"{state}/watch.json"]
    with here.watch() as process:
        here.until(lambda: (beat := heartbeat.last(state)) and beat.pid == process.pid)
        command.logrotor("status", "--check", "-c", here.config, check=0)
        beat = heartbeat.last(state)
        assert beat is not None and heartbeat.trouble(state, beat.at + 59) is None
        assert heartbeat.trouble(state, beat.at + 61) is not None  # it hangs


def test_a_file_system_without_locks_is_an_error_and_no_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To try again would be for ever."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StateError, match="No locks available"):
        heartbeat.Heart(str(tmp_path))


@pytest.mark.parametrize("content", ["", "{", "null", "[]", '{"pid": "x"}'])
def test_a_sign_of_life_that_cannot_be_read_is_no_watch_that_ended(here: Deployment, content: str) -> None:
    """A watch that starts on a full disk leaves an empty one; nobody knows whether it lives."""
    command.logrotor("run", "-c", here.config, check=0)
    command.logrotor("status", "--check", "-c", here.config, check=0)
    (here.folder / "state/watch.json").write_text(content)
    found = command.logrotor("status", "--check", "--json", "-c", here.config, check=1).json
    assert [each["subject"] for each in found["problems"]] == [f"{here.folder}/state/watch.json"]


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_while_it_begins_anew_waits(here: Deployment, signum: int) -> None:
    """Between one program and the next the signal is held, and not lost to the default, which is to die."""
    Bell.hold()
    try:
        process = subprocess.Popen([*command.arguments("watch", "-c", here.config)], env=command.environment())
    finally:
        Bell.release()
    try:
        process.send_signal(signum)
        here.until(lambda: (beat := heartbeat.last(str(here.folder / "state"))) and beat.pid == process.pid)
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait() == 0


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told(here: Deployment, abstract: bool) -> None:
    """READY when it begins, RELOADING and READY at HUP, WATCHDOG in between, STOPPING at its end: sd_notify(3)."""
    name = f"@logrotor-{os.getpid()}" if abstract else str(here.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(PATIENCE)
        told: list[str] = []

        def await_word(word: str) -> None:
            while not any(line.startswith(word) for line in told):
                told.extend(manager.recv(4096).decode().splitlines())

        with here.watch({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"}) as process:
            for word in ("READY=1", "STATUS=", "WATCHDOG=1"):
                await_word(word)
            assert "RELOADING=1" not in told
            process.send_signal(signal.SIGHUP)
            for word in ("RELOADING=1", "MONOTONIC_USEC="):
                await_word(word)
            told.clear()
            await_word("READY=1")
            process.terminate()
            await_word("STOPPING=1")
            assert process.wait(PATIENCE) == 0


# ---------------------------------------------------------------- its configuration, and its program


@pytest.mark.long
def test_a_configuration_is_read_again_and_a_wrong_one_is_not_obeyed(here: Deployment) -> None:
    """A wrong one is reported, and the old one stays in force; a right one holds from then on."""
    with here.watch() as process:
        here.config.write_text(here.config.read_text().replace("max_size", "max_sise"))
        process.send_signal(signal.SIGHUP)
        here.until(lambda: here.events("watch.refused"))
        here.fill("a.log")
        here.until(lambda: here.archives("a.log") == 1)
        here.configure(paths=["other/*.log"])
        (here.folder / "other").mkdir()
        process.send_signal(signal.SIGHUP)
        here.until(lambda: len(here.events("watch.started", process.pid)) == 2)
        here.fill("a.log")
        here.fill("../other/b.log")
        here.until(lambda: oracle.archives(here.folder / "other", "b.log"))
        assert here.archives("a.log") == 1


@pytest.mark.long
def test_a_new_program_is_begun_and_one_that_would_not_start_is_not(here: Deployment) -> None:
    """It executes itself under the same pid once the files on the disk are others; broken ones are reported."""
    package = here.folder / "installed/logrotor"
    shutil.copytree(command.CHECKOUT / "logrotor", package, ignore=shutil.ignore_patterns("__pycache__"))
    env = {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}

    def look(process: subprocess.Popen[bytes]) -> None:
        for _ in range(2):  # the second look finds that nobody is at it any more
            process.send_signal(signal.SIGUSR1)
            time.sleep(1.1)

    with here.watch(env) as process:
        whole = (package / "rotator.py").read_text()
        (package / "rotator.py").write_text(whole + "\nraise SystemExit(9)\n")
        (package / "cli/watching.py").write_text((package / "cli/watching.py").read_text() + "\nsyntax error\n")
        look(process)
        here.until(lambda: here.events("watch.refused"))
        shutil.copy(command.CHECKOUT / "logrotor/cli/watching.py", package / "cli/watching.py")
        (package / "rotator.py").write_text(whole)
        look(process)
        here.until(lambda: len(here.events("watch.started", process.pid)) == 2)
        here.fill("a.log")
        here.until(lambda: here.archives("a.log") == 1)


# ---------------------------------------------------------------- what it survives


@pytest.mark.long
def test_killed_again_and_again_it_loses_no_line(here: Deployment) -> None:
    """Killed at any moment, the next one goes on; real writers meanwhile."""
    here.configure(max_size="100KB")
    with (
        Writer(here.logs / "a.log", Kind.FOLLOW, name="w1", rate=4000) as one,
        Writer(here.logs / "b.log", Kind.PER_LINE, name="w2", rate=2000) as two,
    ):
        for number in range(5):
            with here.watch() as process:
                before = here.archives("a.log")
                here.until(lambda: here.archives("a.log") > before)  # noqa: B023
                time.sleep(0.03 * number)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        with here.watch():
            before = here.archives("b.log")
            here.until(lambda: here.archives("b.log") > before)
            expected = {"w1": one.stop(), "w2": two.stop()}
            here.until(lambda: here.settled("a.log") and here.settled("b.log"))
    oracle.count(here.logs, "a.log", "b.log", expected=expected).check()


@pytest.mark.long
def test_a_disk_that_is_full_is_survived(tmp_path: Path) -> None:
    """What cannot be done is reported once, and done when there is room again; the heart goes on beating."""
    with mounts.tmpfs(tmp_path, "4m") as folder:
        here = Deployment(folder)
        here.said = tmp_path / "said"
        with here.watch() as process:
            here.until(lambda: heartbeat.last(str(folder / "state")))
            here.fill("a.log")
            here.until(lambda: here.archives("a.log") == 1)
            with pytest.raises(OSError), (folder / "ballast").open("wb") as ballast:
                for _ in range(5000):
                    ballast.write(b"x" * 1000)
                    ballast.flush()
            since = heartbeat.last(str(folder / "state"))
            here.until(lambda: (beat := heartbeat.last(str(folder / "state"))) and since and beat.at > since.at)
            assert process.poll() is None
            (folder / "ballast").unlink()
            here.fill("b.log")
            here.until(lambda: (here.logs / "b.log.1.zst").exists())


@pytest.mark.long
def test_a_run_beside_it_does_no_harm(here: Deployment) -> None:
    """Cron's run and a watch wait for one another; neither fails, and every line is there."""
    here.configure(max_size="50KB")
    with here.watch(), Writer(here.logs / "a.log", Kind.FOLLOW, name="w1", rate=5000) as writer:
        for _ in range(15):
            command.logrotor("run", "-c", here.config, check=0)
        before = here.archives("a.log")
        here.until(lambda: here.archives("a.log") > before)
        expected = {"w1": writer.stop()}
        here.until(lambda: here.settled("a.log"))
    assert not here.events("run.failed") and not here.events("rotation.failed")
    oracle.count(here.logs, "a.log", expected=expected).check()


@pytest.mark.long
def test_a_hook_that_hangs_holds_up_its_own_log_alone(here: Deployment) -> None:
    """Other logs are taken while it runs."""
    here.configure(on_archive=["/bin/sh", "-c", "case $LOGROTOR_LOG in *slow.log) exec sleep 600;; esac"])
    with here.watch() as process:
        here.fill("slow.log")
        here.until(lambda: _children(process.pid))
        here.fill("quick.log")
        here.until(lambda: here.archives("quick.log") == 1)
        assert _children(process.pid)
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.long
def test_a_file_system_that_does_not_answer_holds_up_no_other_log(here: Deployment) -> None:
    """Its logs wait, and are reported; those that lie elsewhere are taken."""
    with mounts.silent(here.folder) as place:
        here.configure(paths=["logs/*.log", f"{place}/*.log"])
        with here.watch():
            here.fill("a.log")
            here.until(lambda: here.archives("a.log") == 1)
            here.until(lambda: here.events("problem.found"))


@pytest.mark.long
def test_a_problem_that_lasts_is_printed_once(here: Deployment) -> None:
    """Not by each of the runs that find it; and its end is printed."""
    here.configure(paths=["logs/app.log"])
    (here.logs / "app.log").symlink_to("elsewhere")
    with here.watch() as process:
        here.until(lambda: here.events("log.refused"))
        runs = here.runs()
        for _ in range(2):
            process.send_signal(signal.SIGUSR1)
            here.until(lambda: here.runs() > runs)  # noqa: B023
            runs = here.runs()
        assert len(here.events("log.refused")) == 1
        (here.logs / "app.log").unlink()
        process.send_signal(signal.SIGUSR1)
        here.until(lambda: here.events("problem.ended"))


def _children(pid: int) -> list[int]:
    found = [Path(f"/proc/{pid}/task/{task}/children").read_text() for task in os.listdir(f"/proc/{pid}/task")]
    return [int(child) for children in found for child in children.split()]


# ---------------------------------------------------------------- what it costs


@pytest.mark.long
def test_at_rest_it_looks_once_a_second_and_no_more(here: Deployment) -> None:
    """One lstat a second for each log, and few other calls: counted by strace, so that no clock judges."""
    for number in range(200):
        (here.logs / f"a{number}.log").write_bytes(b"x" * 100)
    trace = here.folder / "trace"
    with here.watch() as process:
        here.until(lambda: (here.folder / "state/last-run").exists())
        time.sleep(2.5)
        argv = ["strace", "-f", "-qq", "-o", str(trace), "-p", str(process.pid)]
        tracer = subprocess.Popen(argv)
        time.sleep(6)
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
    calls = trace.read_text().splitlines()
    of_logs = [line for line in calls if "/logs/a" in line]
    rounds = sum("/logs/a7.log" in line for line in calls)
    assert 4 <= rounds <= 8 and len(of_logs) <= 200 * (rounds + 1)
    assert len(calls) - len(of_logs) <= 40 * (rounds + 1)
