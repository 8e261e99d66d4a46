"""What a run refuses, plan, status and doctor say before; and what they do not refuse, a run does."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support import mounts
from tests.support.command import arguments, environment, logrotor
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


def test_an_advised_command_works_as_it_stands(site: Deployment) -> None:
    """It names the configuration that was given with -c, quoted, and only that; from any directory."""
    site.config = site.root / "the shop's.toml"
    logs = site.folder("logs")
    (logs / "app.log").write_bytes(lines("w0", 1, 200))
    os.link(logs / "app.log", site.root / "second")
    site.configure({"name": "app", "paths": ["logs/app.log"], "max_size": "1K"})
    for _ in range(3):
        site.run("--force", check=1)
    (site.root / "second").unlink()
    (logs / ".app.log.1.zst.tmp").touch()
    (finding,) = site.json("doctor", "--only", "logs.leftovers", check=1)["checks"][0]["findings"]
    command, _, _ = finding["advice"].partition(" finishes")
    assert command.startswith("logrotor run -c ")
    ours = shlex.join(arguments())
    subprocess.run(f"{ours} {command.removeprefix('logrotor ')}", shell=True, cwd="/", env=environment(), check=True)
    assert site.json("doctor", "--only", "logs.leftovers")["exit_code"] == 0
    (logs / ".app.log.1.zst.tmp").touch()
    done = logrotor("doctor", "--only", "logs.leftovers", "--json", env={"LOGROTOR_CONFIG": str(site.config)})
    assert "-c" not in done.json["checks"][0]["findings"][0]["advice"]


def closed(site: Deployment) -> None:
    (site.root / "logs").chmod(0o555)
    os.chown(site.root / "logs", 0, 0)


FAULTS: dict[str, tuple[dict[str, Any], Callable[[Deployment], object], str]] = {
    "log directory": ({}, closed, "logs"),
    "log": ({}, lambda site: os.link(site.root / "logs/a.log", site.root / "second"), "a.log"),
    "archive_dir": ({"archive_dir": "/proc/here"}, lambda site: None, "/proc/here"),
    "anyone": ({}, lambda site: (site.root / "logs").chmod(0o777), "logs"),
    "metrics": ({}, lambda site: site.configure('[metrics]\ntextfile = "nowhere/x.prom"', RULE), "nowhere"),
    "page": ({}, lambda site: site.configure('[page]\nfile = "nowhere/x.html"', RULE), "nowhere"),
    "nothing": ({}, lambda site: None, ""),
}
RULE: dict[str, Any] = {"name": "app", "paths": ["logs/*.log"], "max_size": "1GB"}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_says_what_makes_runs_fail(site: Deployment, fault: str) -> None:
    """Also of logs that are not due yet: each cause once, however many logs have it."""
    need(os.geteuid() == 0, "root, to become another user")
    more, plant, named = FAULTS[fault]
    site.user = "www-data"
    site.own(site.folder("logs"), site.folder("state", mode=0o700))
    for name in "abcde":
        site.file(f"logs/{name}.log", lines("w0", 1, 20))
    site.configure({**RULE, **more})
    plant(site)
    code = int(bool(named))
    checked = site.json("check", check=code)
    assert len(checked["hindered"]) == code and all(named in each["subject"] for each in checked["hindered"])
    text = site.command("check", check=code).stdout
    assert ("No problem." in text) != bool(code) and named in text
    site.run("--force", check=code)


def test_check_as_somebody_else(site: Deployment) -> None:
    """What the user of run_as may do is not known to another one, who says so instead of well."""
    need(os.geteuid() == 0, "root, to become another user")
    site.file(site.folder("logs") / "a.log", lines("w0", 1, 20))
    site.configure('run_as = "games"', RULE)
    site.user = "www-data"
    assert site.json("check", check=0)["another"] == "games"


def test_one_cause_of_five_logs_is_said_once(site: Deployment) -> None:
    """By the run, the plan, status and check, with three names and a number; the report has each log."""
    need(os.geteuid() == 0, "root, to become another user")
    site.user = "www-data"
    site.own(site.folder("state", mode=0o700))
    for name in "abcde":
        site.file(site.folder("logs") / f"{name}.log", lines("w0", 1, 200))
    os.chown(site.root / "logs", 0, 0)
    site.configure({**RULE, "max_size": "1K"})
    (event,) = [each for each in site.events(check=1) if each["event"] == "log.refused"]
    assert event["logs"] == 5 and str(site.root / "logs") in event["error"]
    assert len(site.problems()) == 5
    assert len(site.json("status")["attention"]) == 1
    for command in ("plan", "status", "check"):
        text = site.command(command, check=None).stdout
        assert text.count("may not create and rename") == 1 and "and 2 more" in text, command


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_weekly_begins_on_sunday_in_the_zone_of_the_machine(site: Deployment, zone: str) -> None:
    """As the README says: midnight of Sunday, by $TZ."""
    site.file(site.folder("logs") / "a.log", lines("w0", 1, 20))
    site.configure({"name": "app", "paths": ["logs/*.log"], "schedule": "weekly"})
    (log,) = site.command("status", "--json", env={"TZ": zone}).json["logs"]
    due = datetime.fromisoformat(log["next_due"])
    assert (due.strftime("%A %H:%M"), due.utcoffset()) == ("Sunday 00:00", due.astimezone(ZoneInfo(zone)).utcoffset())
