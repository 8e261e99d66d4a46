"""Workers of two containers on one state volume: who is beyond our pid namespace is neither dead nor ours."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from logrotor.disk import proc
from logrotor.jobs import progress
from logrotor.model import Ending
from tests.jobs.bench import Host, attempt_pids, attempted
from tests.support import command
from tests.support.command import Result
from tests.support.need import need

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240), pytest.mark.parametrize("engine", ["huey"])]


APART = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@contextmanager
def contained(host: Host, *options: str) -> Iterator[None]:
    """A worker in a pid namespace of its own, with a /proc of its own; its number there is 1."""
    need(os.geteuid() == 0 and shutil.which("unshare"), "root, and unshare")
    known = len(entries(host))
    with (host.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [*APART, *command.arguments("queue", "worker", *options, "-c", host.config)], cwd="/",
            env=command.environment(host.environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        host.wait_for(lambda: len(entries(host)) > known)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def entries(host: Host) -> list[Path]:
    return list((host.folder / "state").glob("worker-1-*.json"))


def beside(host: Host, *words: str, check: int | None = 0) -> Result:
    """A command in a container of its own."""
    return command.run([*APART, *command.arguments(*words, "-c", host.config)], env=host.variables, check=check)


def workers(host: Host) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = beside(host, "queue", "status", "--json").json["workers"]
    return found


def age(host: Host) -> None:
    """They have given no sign of life for an hour."""
    for entry in entries(host):
        os.utime(entry, (time.time() - 3600,) * 2)


def found_alone(host: Host, check: int) -> list[Any]:
    asked = beside(host, "doctor", "--only", "queue.single", "--json", check=check).json["checks"]
    return [finding for each in asked for finding in each["findings"]]


def test_a_worker_beyond_is_told(host: Host) -> None:
    """It is listed with its last sign of life, and nobody says that none runs; without such a sign it is gone."""
    host.config.write_text(host.config.read_text().replace("[queue.job]", 'schedule = "0 0 1 1 *"\n[queue.job]'))
    with contained(host, "--schedule"):
        found = workers(host)
        assert {each["role"] for each in found} == {"worker", "schedule"}
        assert all(each["pid"] == 1 and each["space"] != proc.pid_namespace() and each["seen"] for each in found)
        assert all(each["memory"] is None and each["state"] == "unknown" for each in found)
        assert "another pid namespace" in beside(host, "queue", "status").stdout
        beside(host, "queue", "status", "--check")
        assert found_alone(host, 0) == []
        assert f'logrotor_worker_up{{queue="{host.site.queue}"}} 1\n' in beside(host, "metrics", "-o", "-").stdout
        assert "pid namespace" in beside(host, "queue", "restart", check=1).stderr
        here = host.queue("status", "--json").json["workers"]  # from the machine all of it can be seen
        assert {each["role"] for each in here} == {"worker", "schedule"} and not any(each["seen"] for each in here)
    age(host)
    assert workers(host) == [] and len(found_alone(host, 1)) == 2


def test_two_with_one_number(host: Host) -> None:
    """Each has its own entry, and each is there."""
    with contained(host), contained(host):
        found = workers(host)
        assert [each["pid"] for each in found] == [1, 1] and len({each["space"] for each in found}) == 2


def test_a_job_beyond_is_neither_lost_nor_ours(host: Host) -> None:
    """Its number is that of another process here, or of none: unknown either way, and not called gone."""
    host.grow()
    host.slow.write_text("60")

    def alive(job: str) -> bool | None:
        (found,) = beside(host, "history", "--job", job, "--json").json["attempts"]
        lives: bool | None = found["alive"]
        return lives

    with contained(host):
        job = host.dispatch()
        host.wait_for(lambda: attempt_pids(host))
        assert [a.ending for a in host.attempts()] == [Ending.RUNNING]
        assert progress.lives(host.site, host.attempts()[0]) is True  # from the machine its run can be seen
        assert alive(job) is None
        for other, ago in (("young", 1.0), ("old", -5.0)):  # process 1 here has begun after it, or before
            attempted(host, Ending.RUNNING, job=other, ago=ago, pid=1)
            assert alive(other) is None
    age(host)
    assert alive("young") is False


def test_an_entry_is_renewed(host: Host) -> None:
    """As long as its process lives, whatever the clock did."""
    with contained(host):
        (entry,) = entries(host)
        for moment in (time.time() - 3600, time.time() + 3600):
            os.utime(entry, (moment, moment))
            host.wait_for(lambda: abs(time.time() - entry.stat().st_mtime) < 60)
