"""Daemons of the real world that are stopped: their logs are rotated all the same, and no run fails for it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment, listing, outcomes
from tests.support.need import need
from tests.support.supervisor import wait_for


@contextmanager
def running(*argv: str | Path, ready: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*map(str, argv)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: ready() or process.poll() is not None)
        assert process.poll() is None, argv
        yield process
    finally:
        process.terminate()
        process.wait(30)


# ---------------------------------------------------------------- nginx


@pytest.fixture
def web(own: Deployment) -> Deployment:
    """logs/access.log and logs/error.log of an nginx that is asked by its pidfile."""
    need(shutil.which("nginx"), "nginx")
    logs = own.folder("logs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (own.root / "nginx.conf").write_text(
        f"user root root; daemon off; pid {own.root}/nginx.pid; error_log {logs}/error.log info; events {{}}\n"
        f"http {{ access_log {logs}/access.log; server {{ listen 127.0.0.1:{port}; return 200 here; }} }}\n"
    )
    (own.root / "port").write_text(str(port))
    own.configure(
        '[reopen.nginx]\nmanager = "pidfile"\npidfile = "nginx.pid"\nsignal = "USR1"\n',
        {"name": "web", "paths": ["logs/*.log"], "max_size": "1MB", "reopen": "nginx"},
    )
    return own


def nginx(site: Deployment) -> Any:
    return running("nginx", "-p", site.root, "-c", site.root / "nginx.conf", ready=lambda: visit(site))


def visit(site: Deployment) -> bool:
    """One line in access.log."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{(site.root / 'port').read_text()}/") as answer:
            return answer.read() == b"here"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL], ids=["pidfile gone", "pidfile stale"])
def test_a_stopped_nginx(web: Deployment, how: signal.Signals) -> None:
    """It runs, and is asked; it is stopped, and its logs are compressed without it, exit 0, run after run."""
    logs = web.root / "logs"
    with nginx(web) as process:
        assert outcomes(web.report("--force"), "reopen", status="done")
        wait_for(lambda: visit(web) and (logs / "access.log").stat().st_size > 0)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(how)
        process.wait(30)
        wait_for(lambda: not any(is_alive(int(child), process) for child in children))
    assert (web.root / "nginx.pid").exists() == (how is signal.SIGKILL)
    web.run()  # what a worker still had open at the first run
    report = web.report("--force")
    (unneeded,) = outcomes(report, "reopen")
    assert unneeded["status"] == "skipped"
    assert not [name for name in listing(logs) if name[-1].isdigit()], "nothing waits for a daemon that is not there"
    for _ in range(2):
        done = web.run()
        assert (done.stdout, done.stderr) == ("", "")
    (access, error) = web.json("status")["logs"]
    assert not (access["pending"] or error["pending"] or access["request_failed"] or error["request_failed"])


def is_alive(pid: int, parent: subprocess.Popen[bytes]) -> bool:
    """A worker whose master was killed goes on: it is ended here, as an operator would."""
    if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1]:
        return False
    subprocess.run(["kill", "-TERM", str(pid)], check=False)
    return True


def test_a_worker_of_a_killed_nginx_still_writes(web: Deployment) -> None:
    """Its master is gone, and nobody can be asked: that is a failure, exit 1, until the worker has ended."""
    logs = web.root / "logs"
    with nginx(web) as process:
        wait_for(lambda: visit(web))
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.wait(30)
    try:
        (failed,) = outcomes(web.report("--force", check=1), "reopen", status="failed")
        assert sorted(failed["details"]["logs"]) == [f"{logs}/access.log", f"{logs}/error.log"]
        assert {"access.log.1", "error.log.1"} <= set(listing(logs))
    finally:
        subprocess.run(["kill", "-TERM", child], check=True)
        wait_for(lambda: not Path(f"/proc/{child}").exists())
    web.run()
    assert {"access.log.1.zst", "error.log.1.zst"} <= set(listing(logs))


# ---------------------------------------------------------------- rsyslog


def test_a_stopped_rsyslog(own: Deployment) -> None:
    """It is asked by a command, which fails when it is not there: the log is compressed all the same."""
    need(shutil.which("rsyslogd"), "rsyslogd")
    logs, root = own.folder("logs"), own.root
    (root / "rsyslog.conf").write_text(
        f'global(workDirectory="{root}")\nmodule(load="imuxsock" SysSock.Use="off")\n'
        f'input(type="imuxsock" Socket="{root}/socket")\n*.* action(type="omfile" file="{logs}/syslog")\n'
    )
    own.configure(
        f'[reopen.rsyslog]\nmanager = "command"\ncommand = ["/bin/sh", "-c", "kill -HUP $(cat {root}/pid)"]\n',
        {"name": "sys", "paths": ["logs/syslog"], "max_size": "1MB", "reopen": "rsyslog"},
    )

    def say(text: str) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.connect(f"{root}/socket")
            to.send(b"<13>Nov 30 03:00:00 host app: " + text.encode())
        wait_for(lambda: (logs / "syslog").exists() and text in (logs / "syslog").read_text())
        return True

    argv = ("rsyslogd", "-n", "-f", root / "rsyslog.conf", "-i", root / "pid")
    with running(*argv, ready=lambda: (root / "socket").exists() and (root / "pid").exists()):
        say("first")
        assert outcomes(own.report("--force"), "reopen", status="done")
        say("second")
    events = own.events("--force")
    assert [e["target"] for e in events if e["event"] == "reopen.unneeded"] == ["rsyslog"]
    assert listing(logs) == ["syslog", "syslog.1.zst", "syslog.2.zst"]
