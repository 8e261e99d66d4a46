"""The deployment of SCENARIO: supervisord and its programs, rotated by an ordinary user."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import users
from tests.support.deployment import Deployment, counted, fingerprint, listing, outcomes
from tests.support.oracle import lines
from tests.support.supervisor import Supervisord, running, wait_for

# Writes numbered lines to its standard output until a file "stop" appears; then says in "NAME.count" how many.
PROGRAM = """\
import os, signal, sys, time
sys.path.insert(0, sys.argv[3])
from tests.support.oracle import line
name, pause, number = sys.argv[1], float(sys.argv[2]), 0
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while not os.path.exists("stop"):
    number += 1
    data = line(name, number)
    while data:
        data = data[os.write(1, data):]
    time.sleep(pause)
with open(name + ".count.part", "w") as file:
    file.write(str(number))
os.rename(name + ".count.part", name + ".count")
while True:
    signal.pause()
"""

WORKERS = ("default-queue", "payments-queue", "router-checks-queue")
LARGE = ("default-queue.log", "payments-queue.log", "laravel.log")
SMALL = ("router-checks-queue.log", "hotspot-sms-queue.log", "dashboard-queue.log", "scheduler.log")
MISSING = ("mpesa_raw.log", "mpesa_raw_callback.log", "router-checks-queue-error.log")

HISTORY = lines("history", 1, 10_600, width=1000)  # a little over 10 MB

RULES = """
[defaults]
max_size     = "10MB"
backup_count = 7
compress     = "zstd"
create_mode  = "0664"
reopen       = "workers"

[reopen.workers]
manager = "supervisord"
pidfile = "supervisord.pid"

[[log]]
name  = "queue-workers"
paths = ["storage/logs/*-queue.log", "storage/logs/router-checks-queue-error.log"]

[[log]]
name   = "application"
paths  = ["storage/logs/laravel.log", "storage/logs/scheduler.log", "storage/logs/mpesa_raw.log",
          "storage/logs/mpesa_raw_callback.log"]
reopen = "off"
"""


@pytest.fixture
def logs(site: Deployment) -> Path:
    """storage/logs with some logs over 10 MB, some below, some missing, and the rules of the deployment."""
    folder = site.folder("storage/logs", 0o2775)
    for name in LARGE:
        site.file(folder / name, HISTORY)
    for name in SMALL:
        site.file(folder / name, lines("history", 1, 10))
    site.configure(RULES)
    return folder


@contextmanager
def supervised(
    site: Deployment, logs: Path, user: str | None, *, last: str = "stdout_logfile_maxbytes = 0"
) -> Iterator[Supervisord]:
    """supervisord with its programs, each writing to its log; ``last``: the setting of the last of them."""
    (site.root / "program.py").write_text(PROGRAM)
    checkout = Path(__file__).resolve().parents[2]
    sections = [
        f"[program:{name}]\ncommand = {sys.executable} -S -E %(here)s/program.py {name} 0.002 {checkout}\n"
        f"directory = %(here)s\nredirect_stderr = true\nstdout_logfile = {logs}/{name}.log\n"
        f"{last if name == WORKERS[-1] else 'stdout_logfile_maxbytes = 0'}\n"
        for name in WORKERS
    ]
    with running("\n".join(sections), site.root, user) as handle:
        for name in WORKERS:
            wait_for(lambda name=name: grew(logs / f"{name}.log", name))
        yield handle


def grew(log: Path, worker: str, lines: int = 20) -> bool:
    """Has the program written its first lines, or further ones since a rotation?"""
    if not log.exists():
        return False
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        return file.read().count(f"\n{worker} ".encode()) >= lines


def finish(site: Deployment, logs: Path) -> dict[str, int]:
    """Have the programs stop writing; how many lines each has written, once the last of them is in a file."""
    (site.root / "stop").touch()
    counts = {}
    for name in WORKERS:
        wait_for((site.root / f"{name}.count").exists)
        counts[name] = int((site.root / f"{name}.count").read_text())
        wait_for(lambda name=name: any(ends_with(path, counts[name]) for path in logs.glob(f"{name}.log*")))
    return counts


def ends_with(path: Path, number: int) -> bool:
    return path.suffix != ".zst" and path.read_bytes().endswith(f"#{number}\n".encode())


def test_one_run_rotates_what_is_over_10_mb(site: Deployment, logs: Path) -> None:
    """One run as www-data rotates the logs over 10 MB under running programs, and no line is lost or doubled."""
    owners = {name: logs.joinpath(name).stat() for name in (*LARGE, *SMALL)}
    with supervised(site, logs, "www-data") as supervisord:
        programs = supervisord.children()
        result = site.run()
        assert (result.stdout, result.stderr) == ("", "")

        for name in LARGE:
            now = (logs / name).stat()
            assert now.st_ino != owners[name].st_ino
            assert stat.filemode(now.st_mode) == "-rw-rw-r--"
            assert (now.st_uid, now.st_gid) == (owners[name].st_uid, owners[name].st_gid)
            site.settle(logs / f"{name}.1.zst")
        for name in SMALL:
            assert (logs / name).stat().st_ino == owners[name].st_ino
        assert not set(MISSING) & set(listing(logs))

        for worker in WORKERS:
            wait_for(lambda worker=worker: grew(logs / f"{worker}.log", worker))
        assert supervisord.children() == programs, "no program was restarted"
        counts = finish(site, logs)
        for worker in WORKERS:
            history = 10 if f"{worker}.log" in SMALL else 10_600
            counted(logs, f"{worker}.log", history=history, **{worker: counts[worker]})
        counted(logs, "laravel.log", history=10_600)
        counted(logs, "scheduler.log", history=10)


def test_a_second_run_changes_nothing(site: Deployment, logs: Path) -> None:
    """The next run has nothing to do: it changes no file, and says nothing."""
    with supervised(site, logs, "www-data"):
        site.run()
        site.settle(*(logs / f"{name}.1.zst" for name in LARGE))
        finish(site, logs)
        before, history = fingerprint(logs), (site.state / "history.sqlite").read_bytes()
        result = site.run()
        assert (result.stdout, result.stderr) == ("", "")
        assert fingerprint(logs) == before
        assert (site.state / "history.sqlite").read_bytes() == history


def test_missing_logs_show_only_at_debug(site: Deployment, logs: Path) -> None:
    """A missing log is told with -vv, and with nothing less; the order of the events is that of the deployment."""
    with supervised(site, logs, "www-data"):
        events = site.events()
    names = [event["event"] for event in events]
    missing = [event for event in events if event["event"] == "log.missing"]
    assert sorted(os.path.basename(event["log"]) for event in missing) == sorted(MISSING)
    assert {event["level"] for event in missing} == {"debug"}
    told = [e["event"] for e in events if e["level"] != "debug" or e["event"] == "log.missing"]
    assert told == ["run.started", *["log.missing"] * 3, "reopen.signalled", "run.completed"], names
    for flags in ((), ("-v",)):
        assert "missing" not in site.run(*flags).stderr
    assert not set(MISSING) & set(listing(logs))


def test_an_ordinary_rotator_under_a_root_supervisord(site: Deployment, logs: Path) -> None:
    """Root's supervisord can never be asked: its logs are not taken, since they would only grow elsewhere; exit 1."""
    for worker in WORKERS:
        (logs / f"{worker}.log").unlink()
    with supervised(site, logs, None) as supervisord:
        for _ in range(2):
            report = site.report("--force", "--only", "queue-workers", check=1)
            refused = outcomes(report, "plan", status="failed")
            assert {o["log"] for o in refused} == {str(logs / f"{worker}.log") for worker in WORKERS}
            assert all(str(supervisord.process.pid) in o["reason"] and o["problem"]["advice"] for o in refused)
        counts = finish(site, logs)
        for worker in WORKERS:
            counted(logs, f"{worker}.log", **{worker: counts[worker]})
            assert [name for name in listing(logs) if name.startswith(worker)] == [f"{worker}.log"]


def test_archives_that_a_root_supervisord_still_writes(site: Deployment, logs: Path) -> None:
    """Of another state directory's runs: nothing that it still writes is compressed or removed; exit 1 says why."""
    for worker in WORKERS:
        (logs / f"{worker}.log").unlink()
    site.configure(RULES.replace("backup_count = 7", "backup_count = 1\nrotate_empty = true"))
    with supervised(site, logs, None) as supervisord:
        for worker in WORKERS:
            (logs / f"{worker}.log").rename(logs / f"{worker}.log.1")
            os.setxattr(logs / f"{worker}.log.1", "user.logrotor.source", f"1 2 3.000 {worker}.log".encode())
            site.file(logs / f"{worker}.log")
        report = site.report("--force", "--only", "queue-workers", check=1)
        (failed,) = outcomes(report, "reopen", status="failed")
        assert str(supervisord.process.pid) in failed["reason"] and failed["problem"]["advice"]
        counts = finish(site, logs)
        for worker in WORKERS:
            counted(logs, f"{worker}.log", **{worker: counts[worker]})
            assert f"{worker}.log.2" in listing(logs), "the oldest is the one that is written"
            assert f"{worker}.log.2.zst" not in listing(logs)
        report = site.report(check=1)
    waiting = {o["name"] for o in outcomes(report, status="deferred")}
    assert {f"{worker}.log.2" for worker in WORKERS} <= waiting


def test_the_operator_follows_the_advice(site: Deployment, logs: Path) -> None:
    """Once supervisord runs as the rotator's user, the next run takes the logs, asks it, and compresses them."""
    for worker in WORKERS:
        (logs / f"{worker}.log").unlink()
    with supervised(site, logs, None):
        site.run("--force", "--only", "queue-workers", check=1)
        counts = finish(site, logs)
    for path in logs.iterdir():
        site.own(path)  # what the operator does; logrotor never does
    for path in site.root.glob("supervisord.*"):
        path.unlink()
    with running("", site.root, "www-data"):
        site.run("--force", "--only", "queue-workers")
    for worker in WORKERS:
        assert listing(logs).count(f"{worker}.log.1.zst") == 1
        counted(logs, f"{worker}.log", **{worker: counts[worker]})


@pytest.mark.parametrize("setting", ["stdout_logfile_maxbytes = 10MB", ""], ids=["10MB", "the default"])
def test_supervisords_own_rotation_is_refused(site: Deployment, logs: Path, setting: str) -> None:
    """A file that supervisord rotates itself is left alone, with the line to change; the others are rotated."""
    own = logs / "router-checks-queue.log"
    with supervised(site, logs, "www-data", last=setting):
        problems = site.problems("--force", "--only", "queue-workers")
        inode = own.stat().st_ino
        counts = finish(site, logs)
        assert "default-queue.log.1" in " ".join(listing(logs))
    (advice,) = [each["advice"] for each in problems if each["subject"] == str(own)]
    assert f"{site.root}/supervisord.conf" in advice and "[program:router-checks-queue]" in advice
    assert ("`stdout_logfile_maxbytes = 10MB`" in advice) == bool(setting)
    assert "`stdout_logfile_maxbytes = 0`" in advice and "restart supervisord" in advice, "it has no socket"
    assert own.stat().st_ino == inode
    assert [name for name in listing(logs) if name.startswith(own.name)] == [own.name]
    for worker in WORKERS:
        history = 10 if f"{worker}.log" in SMALL else 10_600
        counted(logs, f"{worker}.log", history=history, **{worker: counts[worker]})


def test_no_file_belongs_to_root(site: Deployment, logs: Path) -> None:
    """Whatever a run of www-data makes belongs to www-data."""
    site.run("--only", "application")
    uid = users.user("www-data").uid
    made = [path for path in (*logs.iterdir(), *site.state.iterdir()) if path.lstat().st_uid != uid]
    assert made == []
    assert stat.S_IMODE(site.state.stat().st_mode) == 0o700
