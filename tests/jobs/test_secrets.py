"""The password of a queue's server is in the environment, and nowhere else that anybody could look."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.bench import Host
from tests.jobs.servers import PASSWORD

pytestmark = [
    pytest.mark.parametrize("engine", ["procrastinate", "rq", "celery"]),
    pytest.mark.servers,
    pytest.mark.timeout(180),
]


def command_lines() -> Iterator[tuple[str, bytes]]:
    """Of all processes of this machine."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            yield pid, Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue


def files_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def test_the_password_is_shown_nowhere(host: Host) -> None:
    """Output of every command, units, logs, history, state and /proc/PID/cmdline, in success and in failure."""
    assert PASSWORD in host.url
    host.grow()
    said = []
    with host.working("--schedule", "-v"):
        host.dispatch()
        host.wait_for(lambda: "done" in host.endings())
        host.log.unlink()
        host.dispatch()
        host.wait_for(lambda: host.endings().count("failed") >= 3)
        assert not [pid for pid, line in command_lines() if PASSWORD.encode() in line]
        for args in (
            ("status",), ("status", "--json"), ("failed",), ("failed", "--json"), ("unit", "--systemd"),
            ("unit", "--supervisor"), ("dispatch", "--json"), ("clear", "--stale"), ("retry", "all", "--json"),
        ):  # fmt: skip
            said.append(host.queue(*args))
        said.append(_doctor(host))
    host.url = host.url.replace("127.0.0.1", "127.0.0.254").replace(PASSWORD, f"{PASSWORD}-wrong")
    for args in (("dispatch",), ("status",), ("failed",)):
        # celery keeps no failed jobs: the history tells of them, whatever became of the server.
        said.append(host.queue(*args, check=0 if (host.engine_name, *args) == ("celery", "failed") else 1))
    said.append(_doctor(host))
    leaks = [f"{result.argv}\n{result}" for result in said if PASSWORD in result.stdout + result.stderr]
    assert leaks == []
    assert [path for path, data in files_below(host.folder) if PASSWORD.encode() in data] == []
    assert any("***" in result.stdout + result.stderr for result in said)


def _doctor(host: Host):  # type: ignore[no-untyped-def]
    from tests.support import command

    return command.logrotor("doctor", "-c", host.config, "--only", "queue", "--json", env=host.environ, check=(0, 1))


def test_a_worker_that_cannot_reach_its_server_says_so_without_the_password(host: Host) -> None:
    """It ends or tries again; what it says holds no password."""
    host.url = host.url.replace(PASSWORD, f"{PASSWORD}-wrong")
    worker = host.start()
    host.wait_for(host.said)
    host.kill(worker)
    assert PASSWORD not in host.said()
