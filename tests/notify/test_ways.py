"""The other ways to ask: a command, a systemd unit, a function. systemctl is a stand-in: no systemd runs here."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from logrotor import notify
from logrotor.disk import proc
from logrotor.disk.programs import STOP_GRACE
from logrotor.model import Manager, ReopenTarget
from logrotor.notify import systemd
from tests.notify.conftest import Daemon, refusal
from tests.support.supervisor import wait_for
from tests.support.users import in_fork

PATHS = ("/var/log/app.log", "/var/log/odd\nname.log", os.fsdecode(b"/var/log/\xff.log"))


def shell(script: str, *, timeout: float = 60) -> ReopenTarget:
    return ReopenTarget(name="web", manager=Manager.COMMAND, command=("/bin/sh", "-c", script), timeout=timeout)


def alive(pid: int) -> bool:
    try:
        return not proc.look(pid).dead
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---------------------------------------------------------------- command


def test_a_command_learns_its_target_and_logs(tmp_path: Path) -> None:
    """LOGROTOR_TARGET and LOGROTOR_LOGS tell what it is about; the rest of the environment is passed on."""
    out = tmp_path / "out"
    target = shell(f'printf "%s\\n" "$LOGROTOR_TARGET" "$LOGROTOR_LOGS" "$PATH" > {out}')
    delivered = notify.request(target, PATHS)
    name, logs, path = out.read_text().splitlines()
    assert (name, tuple(json.loads(logs)), path) == ("web", PATHS, os.environ["PATH"])
    assert (delivered.pids, delivered.detail) == ((), "/bin/sh ended with 0")


def test_ten_thousand_logs_do_not_break_a_command(tmp_path: Path) -> None:
    """Linux takes no variable of over 128 kB: a longer list is left out."""
    paths = tuple(f"/var/log/applications/service-{number:08d}.log" for number in range(10_000))
    notify.request(shell(f"echo ${{LOGROTOR_LOGS-unset}} > {tmp_path}/out"), paths)
    assert (tmp_path / "out").read_text() == "unset\n"


def test_a_command_gets_nothing_else(tmp_path: Path) -> None:
    """The arguments arrive without a shell, standard input is empty, and locks of the run stay with the run."""
    code = "import os, sys; a, fd = sys.argv[1:]; assert a == '$HOME; `id`' and not sys.stdin.read(); os.fstat(int(fd))"
    with (tmp_path / "held").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        argv = (sys.executable, "-c", code, "$HOME; `id`", str(held.fileno()))
        found = refusal(ReopenTarget(name="web", manager=Manager.COMMAND, command=argv, timeout=60))
    assert found.problem.endswith("Bad file descriptor")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (
            shell("head -c 100000 /dev/zero | tr '\\0' x; echo the reason >&2; exit 3"),
            r"status 3.*x{1990,2040}the reason$",
        ),
        (shell("kill -9 $$"), "signal 9"),
        (shell("yes", timeout=0.5), r"did not end within 0\.5 s"),
        (ReopenTarget(name="web", manager=Manager.COMMAND, command=("/no/such/program",)), "/no/such/program"),
        (ReopenTarget(name="web", manager=Manager.COMMAND), "no command is set"),
    ],
)
def test_a_command_that_fails_is_quoted(target: ReopenTarget, says: str) -> None:
    """How it ended, and the last 2 kB of both outputs, of however much there is."""
    assert re.search(says, refusal(target).problem, re.DOTALL)


def test_a_timeout_ends_the_whole_process_group(tmp_path: Path) -> None:
    """What the command started ends with it, also what ignores TERM."""
    script = f"trap '' TERM; (trap '' TERM; echo $$ > {tmp_path}/x; sleep 600) & echo $! > {tmp_path}/a; sleep 600 & \
        echo $! > {tmp_path}/b; echo begun; wait"
    found = refusal(shell(script, timeout=1)).problem
    assert "did not end within 1 s" in found
    assert found.endswith("begun")
    for name in ("a", "b", "x"):
        wait_for(lambda name=name: not alive(int((tmp_path / name).read_text())))  # type: ignore[misc]


def test_a_command_that_leaves_a_daemon_behind_is_not_waited_for(tmp_path: Path) -> None:
    """A child that keeps the output open does not hold the run; it lives on."""
    notify.request(shell(f"sleep 600 & echo $! > {tmp_path}/pid"), ())
    pid = int((tmp_path / "pid").read_text())
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_stop_gives_a_command_a_moment_more(daemon: Daemon) -> None:
    """A run that is asked to stop still makes its requests, but does not wait for a timeout of minutes."""
    notify.request(shell("sleep 0.1"), (), stop=lambda: True)
    target = ReopenTarget(name="web", manager=Manager.PIDFILE, pidfile=str(daemon.pidfile), signal="USR1")
    notify.request(target, (), stop=lambda: True)
    wait_for(daemon.signals)
    found = refusal(shell("sleep 600", timeout=600), stop=lambda: True)
    assert f"still ran {STOP_GRACE:g} s after the run was asked to stop" in found.problem


def test_an_interrupted_wait_leaves_no_command_running(tmp_path: Path) -> None:
    """Ctrl-C in the caller ends the command too."""

    def interrupt() -> bool:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"):
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        notify.request(shell(f"echo $$ > {tmp_path}/pid; sleep 600"), (), stop=interrupt)
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_host_that_ignores_sigchld_gets_no_false_success() -> None:
    """Where the exit status is lost the request counts as failed, not as delivered."""

    def ignoring() -> str:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return refusal(shell("exit 3")).problem

    assert "cannot be known" in in_fork(ignoring)


def test_a_command_in_a_thread() -> None:
    """The library may be used in a thread."""
    done: list[notify.Delivered] = []
    thread = threading.Thread(target=lambda: done.append(notify.request(shell("true"), ())))
    thread.start()
    thread.join()
    assert len(done) == 1


# ---------------------------------------------------------------- systemd


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A stand-in that notes its arguments and prints what the file ``answer`` holds."""
    fake = tmp_path / "bin" / "systemctl"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n. {tmp_path}/answer\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    yield tmp_path


def unit(name: str = "web.service", *, user: bool = False) -> ReopenTarget:
    return ReopenTarget(
        name="web", manager=Manager.SYSTEMD, unit=name, user_unit=user, signal="USR1", timeout=60
    )  # fmt: skip


@pytest.mark.parametrize("user", [False, True])
def test_the_main_process_of_a_unit_is_signalled(systemctl: Path, daemon: Daemon, user: bool) -> None:
    """MainPID is asked for, twice: before and after the pidfd is opened; then the signal is ours."""
    (systemctl / "answer").write_text(f"echo MainPID={daemon.pid}")
    assert notify.request(unit(user=user), ()).pids == (daemon.pid,)
    wait_for(daemon.signals)
    line = ("--user " if user else "") + "show -p MainPID -- web.service"
    assert (systemctl / "asked").read_text().splitlines() == [line, line]


def test_a_unit_that_restarts_meanwhile_is_not_signalled(systemctl: Path, daemon: Daemon) -> None:
    """The number may have been recycled: another MainPID at the second answer stops the request."""
    script = f"test -e {systemctl}/once && echo MainPID=4 || {{ touch {systemctl}/once; echo MainPID={daemon.pid}; }}"
    (systemctl / "answer").write_text(script)
    assert "is being restarted" in refusal(unit()).problem
    assert daemon.signals() == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("echo MainPID=0", "web.service has no main process"),
        ("true", "systemctl said ''"),
        ("echo what", "systemctl said 'what'"),
        ("echo Failed to connect to bus >&2; exit 1", "Failed to connect to bus"),
        ("echo MainPID=4194304", "there is no process 4194304"),
    ],
)
def test_a_unit_that_cannot_be_asked(systemctl: Path, answer: str, says: str) -> None:
    """Not running, unknown, no systemd: each with its own message."""
    (systemctl / "answer").write_text(answer)
    assert says in refusal(unit()).problem


def test_what_to_do_where_systemd_cannot_be_asked(
    systemctl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under cron a variable is missing; a container has no systemctl."""
    (systemctl / "answer").write_text("exit 1")
    assert "XDG_RUNTIME_DIR=/run/user/UID" in refusal(unit(user=True)).advice
    monkeypatch.setenv("PATH", str(tmp_path))
    assert 'manager = "pidfile"' in refusal(unit()).advice
    assert "no unit is set" in refusal(ReopenTarget(name="web", manager=Manager.SYSTEMD, signal="USR1")).problem


LOADED = """\
TimeoutStopUSec=1min 35s
ExecStart={ path=/bin/a ; argv[]=/bin/a queue worker -c /etc/x.toml ; ignore_errors=no ; start_time=[n/a] ; pid=0 }
KillMode=mixed
KillSignal=15
Id=a.service

TimeoutStopUSec=infinity
KillMode=control-group
KillSignal=2
Id=b.service
"""


def test_systemd_is_asked_what_holds_of_its_services(systemctl: Path) -> None:
    """One call for all of them; what the drop-ins changed is in the answer."""
    (systemctl / "loaded").write_text(LOADED)
    (systemctl / "answer").write_text(f'test "$1" = --user && exit 1; cat {systemctl}/loaded')
    assert list(systemd.services((), booted=str(systemctl))) == [
        systemd.Service("a.service", "/bin/a queue worker -c /etc/x.toml", 95.0, "mixed", "TERM"),
        systemd.Service("b.service", "", math.inf, "control-group", "INT"),
    ]
    assert len((systemctl / "asked").read_text().splitlines()) == 2


def test_a_systemd_that_does_not_answer_is_no_systemd_without_services(systemctl: Path) -> None:
    """What it has loaded is unknown then."""
    (systemctl / "answer").write_text("exit 1")
    with pytest.raises(OSError):
        list(systemd.services((), booted=str(systemctl)))


def test_without_systemd_its_files_are_read_with_their_drop_ins(tmp_path: Path) -> None:
    """The last file that sets a key wins, as under systemd."""
    (tmp_path / "a.service.d").mkdir()
    (tmp_path / "a.service").write_text("[Service]\nExecStart=/bin/a 50%%\nTimeoutStopSec=2min\nKillSignal=SIGINT\n")
    (tmp_path / "a.service.d" / "x.conf").write_text("[Service]\nTimeoutStopSec = 1h 3s\n")
    found = systemd.services((f"{tmp_path}/*.service",), booted=f"{tmp_path}/none")
    assert list(found) == [systemd.Service(f"{tmp_path}/a.service", "/bin/a 50%", 3603.0, "control-group", "INT")]


# ---------------------------------------------------------------- function


def function(called: object) -> ReopenTarget:
    return ReopenTarget(name="web", manager=Manager.CALLABLE, function=called)  # type: ignore[arg-type]


def test_a_function_is_called_once_with_all_paths() -> None:
    """The library's own program reopens its logs itself."""
    seen: list[tuple[str, ...]] = []
    delivered = notify.request(function(seen.append), PATHS)
    assert seen == [PATHS]
    assert delivered.pids == ()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("bad"), InterruptedError(4, "x")])
def test_an_exception_in_a_function_is_a_failed_request(error: Exception) -> None:
    """Its text stands in the error, and it is the cause; the function is not called again."""
    calls = []

    def reopen(paths: tuple[str, ...]) -> None:
        calls.append(paths)
        raise error

    assert refusal(function(reopen)).problem.endswith(f"reopen() raised {type(error).__name__}: {error}")
    assert len(calls) == 1


def test_a_function_may_end_the_program() -> None:
    """KeyboardInterrupt and SystemExit are no failed request; they travel."""
    with pytest.raises(SystemExit):
        notify.request(function(lambda paths: sys.exit(3)), ())


def test_an_async_function_is_refused() -> None:
    """It would never have run."""

    async def reopen(paths: tuple[str, ...]) -> None: ...

    assert "is asynchronous" in refusal(function(reopen)).problem
    assert "no function is given" in refusal(function(None)).problem


def test_every_manager_has_its_way() -> None:
    """The dispatch table misses none."""
    assert set(notify._WAYS) == set(Manager)
