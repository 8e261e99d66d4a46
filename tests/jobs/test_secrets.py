"""The password of a queue's server is in the environment, and nowhere else that anybody could look."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.bench import Host
from tests.jobs.servers import PASSWORD, free_port

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
    if host.engine_name != "procrastinate":
        from tests.jobs.redis_server import server, values

        assert not any(PASSWORD.encode() in value for value in values(server(host)))
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

    return command.logrotor("doctor", "-c", host.config, "--only", "queue", "--json", env=host.variables, check=(0, 1))


def out_of_reach(url: str, change: str) -> str:
    """A URL that does not work, with a password in it."""
    if change == "down":
        return re.sub(r":\d+/", f":{free_port()}/", url)
    word = {
        "wrong": f"{PASSWORD}-wrong",
        "slash": f"tuna/{PASSWORD}",
        "at": f"tuna@{PASSWORD}",
        "percent": f"tuna%zz{PASSWORD}",
    }[change]
    return url.replace(PASSWORD, word)


@pytest.mark.parametrize("change", ["down", "wrong", "slash", "at", "percent"])
def test_a_server_out_of_reach_is_named_without_its_password(host: Host, change: str) -> None:
    """Commands fail in one line, the worker waits or tries again; neither shows the password, however it is written."""
    host.url = out_of_reach(host.url, change)
    done = host.queue("dispatch", check=None)
    assert done.code in (1, 2) and len(done.stderr.splitlines()) == 1, done
    assert PASSWORD not in str(done) and "tuna" not in str(done), done
    assert ":***@127.0.0.1" in done.stderr or change in ("slash", "at", "percent"), done
    worker = host.start()
    host.wait_for(lambda: len(host.said().splitlines()) > 1 or "worker.waiting" in host.said())
    assert worker.poll() is None
    host.kill(worker)
    assert host.said() and PASSWORD not in host.said() and "tuna" not in host.said()
