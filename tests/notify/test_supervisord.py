"""supervisord itself, with three programs: SIGUSR2 reopens, nothing restarts, and only supervisord is taken for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from logrotor import notify
from logrotor.disk import proc
from logrotor.model import Manager, ReopenTarget
from logrotor.notify import supervisord
from tests.notify.conftest import Daemon, refusal
from tests.support.need import need
from tests.support.supervisor import Supervisord, executable, program, running, start, wait_for
from tests.support.users import as_user

PROGRAMS = ("default-queue", "payments-queue", "router-checks-queue")


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Supervisord]:
    """supervisord and three programs that write."""
    with running("\n".join(program(name, tmp_path / f"{name}.log") for name in PROGRAMS), tmp_path) as handle:
        wait_for(lambda: all(written(tmp_path / f"{name}.log") for name in PROGRAMS))
        yield handle


def written(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def target(pidfile: Path) -> ReopenTarget:
    return ReopenTarget(name="workers", manager=Manager.SUPERVISORD, pidfile=str(pidfile))


def test_programs_write_on_in_the_new_files(three: Supervisord) -> None:
    """After a rename and one request each program's lines go on in the new file, and none is lost or doubled."""
    logs = [three.cwd / f"{name}.log" for name in PROGRAMS]
    for log in logs:
        log.rename(f"{log}.1")
    delivered = notify.request(target(three.pidfile), tuple(map(str, logs)))
    wait_for(lambda: all(len(written(log)) > 3 for log in logs))
    assert delivered.pids == (three.pid,)
    for name, log in zip(PROGRAMS, logs, strict=True):
        lines = [*written(Path(f"{log}.1")), *written(log)]
        assert lines[:-1] == [f"{name} {number:08d}" for number in range(len(lines) - 1)], (
            "the last may be half written"
        )


def test_no_program_is_restarted(three: Supervisord) -> None:
    """HUP would restart every program; a request leaves each of them the process that it was."""
    before = three.children()
    assert len(before) == 3
    notify.request(target(three.pidfile), ())
    wait_for(lambda: "SIGUSR2 indicating log reopen request" in three.log)
    assert three.children() == before
    assert "SIGHUP" not in three.log


def test_a_target_cannot_turn_usr2_into_hup(three: Supervisord) -> None:
    """Whatever else a target says, supervisord gets SIGUSR2."""
    odd = ReopenTarget(name="workers", manager=Manager.SUPERVISORD, pidfile=str(three.pidfile), signal="HUP")
    before = three.children()
    assert "SIGUSR2" in notify.request(odd, ()).detail
    wait_for(lambda: "SIGUSR2" in three.log)
    assert "SIGHUP" not in three.log
    assert three.children() == before


def test_another_program_behind_the_pidfile(daemon: Daemon) -> None:
    """A pidfile that names some other process than supervisord: nothing is sent."""
    found = refusal(target(daemon.pidfile))
    assert f"process {daemon.pid} is not supervisord but '{sys.executable} -S -E -c" in found.problem
    assert "pidfile = ... in [supervisord]" in found.advice
    assert daemon.signals() == []


def test_a_child_of_supervisord_is_not_supervisord(three: Supervisord, tmp_path: Path) -> None:
    """The number of one of its programs is refused."""
    pid = min(three.children())
    (tmp_path / "pid").write_text(str(pid))
    assert f"process {pid} is not supervisord" in refusal(target(tmp_path / "pid")).problem


def test_not_running(tmp_path: Path) -> None:
    """supervisord removes its pidfile when it ends: says so."""
    found = refusal(target(tmp_path / "supervisord.pid"))
    assert found.problem == f"{tmp_path}/supervisord.pid: no such pidfile"
    assert "is supervisord running?" in found.advice


def test_started_as_a_module(tmp_path: Path) -> None:
    """``python -m supervisor.supervisord`` is supervisord too."""
    executable()
    conf = f"[supervisord]\npidfile = {tmp_path}/supervisord.pid\nlogfile = {tmp_path}/supervisord.log\n"
    (tmp_path / "supervisord.conf").write_text(conf)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-n", "-c", "supervisord.conf"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: written(tmp_path / "supervisord.pid"))
        assert notify.request(target(tmp_path / "supervisord.pid"), ()).pids == (process.pid,)
        wait_for(lambda: "SIGUSR2" in (tmp_path / "supervisord.log").read_text())
    finally:
        process.terminate()
        process.wait()


def test_daemonized(tmp_path: Path) -> None:
    """A supervisord that went to the background is found by its pidfile; its log stands where it was started."""
    conf = "[supervisord]\npidfile = supervisord.pid\nlogfile = supervisord.log\ndirectory = /\n"
    (tmp_path / "supervisord.conf").write_text(conf)
    starter = [sys.executable, str(executable()), "-c", "supervisord.conf"]
    subprocess.run(starter, cwd=tmp_path, env={**os.environ, "PWD": str(tmp_path)}, check=True)
    pidfile = tmp_path / "supervisord.pid"
    wait_for(lambda: written(pidfile))
    pid = int(pidfile.read_text())
    try:
        assert notify.request(target(pidfile), ()).pids == (pid,)
        assert list(notify.self_rotation(target(pidfile)).files) == [os.path.realpath(tmp_path / "supervisord.log")]
    finally:
        os.kill(pid, 15)
        wait_for(lambda: not os.path.exists(f"/proc/{pid}") or proc.look(pid).dead)


def test_supervisord_of_an_ordinary_user(world: Path) -> None:
    """Root may ask it, and so may that user; a third one may not."""
    need(os.geteuid() == 0, "root, to become other users")
    os.chown(world, 33, 33)
    handle = start(program("default-queue", world / "default-queue.log"), world, user=33)
    try:
        assert proc.look(handle.pid).uid == 33
        notify.request(target(handle.pidfile), ())
        wait_for(lambda: "SIGUSR2" in handle.log)  # two at once would be taken for one
        as_user(33, notify.request, target(handle.pidfile), ())
        assert "nobody may not send SIGUSR2" in as_user("nobody", refusal, target(handle.pidfile)).problem
        wait_for(lambda: handle.log.count("SIGUSR2") == 2)
    finally:
        handle.stop()


def test_root_supervisord_and_an_ordinary_rotator(world: Path) -> None:
    """EPERM: says which user would have to run, and what may be done instead."""
    need(os.geteuid() == 0, "root, to start supervisord as root")
    with running(program("default-queue", world / "default-queue.log"), world) as handle:
        found = as_user("nobody", refusal, target(handle.pidfile))
        assert f"nobody may not send SIGUSR2 to process {handle.pid}" in found.problem
        assert "user = ... in [supervisord]" in found.advice
        assert "SIGUSR2" not in handle.log


@pytest.mark.parametrize(
    ("line", "is_it"),
    [
        ("/usr/bin/python3 /usr/bin/supervisord -n", True),
        ("/usr/bin/python3 -u -W ignore /usr/bin/supervisord", True),
        ("/usr/bin/python /usr/lib/python3/dist-packages/supervisor/supervisord.py -c x", True),
        ("python3.11 -m supervisor.supervisord", True), ("python3 -Wignore -msupervisor.supervisord", True),
        ("/usr/local/bin/supervisord -c /etc/supervisord.conf", True),
        ("", False), ("tail -f supervisord", False), ("vim supervisord.conf", False), ("python3", False),
        ("python3 worker.py supervisord", False), ("python3 -c supervisord", False), ("grep supervisord", False),
        ("python3 -m http.server supervisord", False), ("python3 -m", False),
        ("/usr/bin/python3 /usr/bin/supervisorctl tail supervisord", False),
    ],
)  # fmt: skip
def test_command_lines_of_supervisord(line: str, is_it: bool) -> None:
    """Its script, whoever runs it, or its module; to mention supervisord is not to be it."""
    assert supervisord.is_supervisord(tuple(line.split())) is is_it
