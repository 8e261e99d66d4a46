"""What a run refuses, plan, status and doctor say before; and what they do not refuse, a run does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import mounts
from tests.support.deployment import Deployment
from tests.support.fixtures import world_tree
from tests.support.need import need
from tests.support.oracle import lines
from tests.support.writers import Kind, Writer


@pytest.fixture
def site() -> Iterator[Deployment]:
    with world_tree() as root:
        yield Deployment(root)


def refused_by(site: Deployment) -> dict[str, list[str]]:
    """The problem with the log, from each that looks and from the run: plan, status, doctor, run."""
    plan = [log["refused"]["problem"] for log in site.json("plan", check=1)["logs"] if log["refused"]]
    status = [log["refused"]["problem"] for log in site.json("status")["logs"] if log["refused"]]
    found = site.json("doctor", "--only", "logs.refused", "--only", "writers.append", check=1)
    doctor = [finding["problem"] for check in found["checks"] for finding in check["findings"]]
    return {"plan": plan, "status": status, "doctor": doctor, "run": [each["problem"] for each in site.problems()]}


def test_a_writer_that_does_not_append_under_copytruncate(site: Deployment) -> None:
    """Each of them says that it is not rotated, the log stays whole, and with the advice it is rotated."""
    logs = site.folder("logs")
    need(mounts.collapses(logs), "a file system that can collapse a range")
    log, rule = logs / "app.log", {"name": "app", "paths": ["logs/app.log"], "max_size": "1K", "method": "copytruncate"}
    log.write_bytes(lines("w0", 1, 200))
    site.configure(rule)
    with Writer(log, Kind.NO_APPEND, on_order=True) as writer:
        writer.write(20)
        before = log.read_bytes()
        site.run("--force", check=1)
        found = refused_by(site)
        assert {who: len(problems) for who, problems in found.items()} == dict.fromkeys(found, 1)
        assert found["plan"] == found["status"] == found["run"] and str(writer.pid) in found["run"][0]
        assert str(writer.pid) in found["doctor"][0] and log.read_bytes() == before
        site.configure({**rule, "accept_loss": True})
        assert site.json("plan")["logs"][0]["refused"] is None
        site.run("--force")


@contextmanager
def of_root(log: Path, pidfile: Path) -> Iterator[int]:
    """A daemon of root that has the log open."""
    script = 'trap "" USR1; exec 3>>"$1"; echo $$ > "$2"; echo ready; read line'
    with subprocess.Popen(["sh", "-c", script, "sh", log, pidfile], stdin=-1, stdout=-1) as daemon:
        assert daemon.stdout is not None and daemon.stdout.readline() == b"ready\n"
        yield daemon.pid
        daemon.kill()


def test_a_writer_that_we_may_not_signal(site: Deployment) -> None:
    """The reopen is known to be impossible, and the writer holds the log: all of them refuse it; without him none."""
    need(os.geteuid() == 0, "root, to become another user")
    site.user = "www-data"
    site.own(site.folder("logs"), site.folder("state", mode=0o700))
    log = site.file("logs/app.log", lines("w0", 1, 200))
    site.configure(
        '[reopen.daemon]\nmanager = "pidfile"\npidfile = "daemon.pid"\nsignal = "USR1"\n',
        {"name": "app", "paths": ["logs/app.log"], "max_size": "1K", "reopen": "daemon"},
    )
    with of_root(log, site.root / "daemon.pid"):
        found: dict[str, Any] = refused_by(site)
        assert found["plan"] == found["status"] == found["doctor"] == found["run"] and len(found["run"]) == 1
        assert log.read_bytes() and site.command("status", "--check", check=1)
    assert site.json("plan")["logs"][0]["refused"] is None and site.json("status")["logs"][0]["refused"] is None
    site.run()
    assert not log.read_bytes()
