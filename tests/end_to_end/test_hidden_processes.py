"""/proc that hides processes, or is not there: what cannot be seen is unknown, never nobody."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from logrotor.disk.history import History
from logrotor.model import Attempt, Ending
from tests.support import command, users
from tests.support.deployment import Deployment, counted, listing, outcomes
from tests.support.writers import Kind, Writer

# Instances of their own: a remount would change the /proc of the whole machine.
HIDING = "mount -t proc -o hidepid=2 proc /proc"
SUBSET = "mount -t proc -o subset=pid proc /proc"
COVERED = "mount -t tmpfs tmpfs /proc"
# A root directory of its own, with all that is in / but /proc.
MISSING = """mount -t tmpfs -o mode=0755 tmpfs /mnt
for each in /*; do
    case $each in /proc|/mnt) continue;; esac
    if [ -L "$each" ]; then cp -P "$each" /mnt
    elif [ -d "$each" ]; then mkdir "/mnt$each"; mount --rbind "$each" "/mnt$each"
    fi
done
set -- chroot /mnt "$@"
"""
RULE = '[[log]]\nname = "app"\npaths = ["logs/*.log"]\nmax_size = "10MB"\n'


def logrotor(site: Deployment, mount: str, *args: str | Path, user: str = "www-data") -> command.Result:
    """``logrotor ARGS`` in a mount namespace with that /proc."""
    argv = command.arguments("-c", site.config, *args)
    return command.run(users.as_argv(user, argv, mount=mount))


@pytest.mark.parametrize("mount", [HIDING, SUBSET, COVERED, MISSING], ids=["hidepid", "subset", "covered", "missing"])
def test_a_writer_that_proc_hides_loses_nothing(site: Deployment, mount: str) -> None:
    """root's writer, www-data's logrotor, no reopen target: neither lease nor /proc shows it: the archive waits."""
    logs = site.folder("logs")
    log = site.file("logs/app.log", mode=0o664)
    os.chown(log, 0, users.user("www-data").gid)
    site.configure(RULE)
    with Writer(log, Kind.HOLD, on_order=True) as writer:
        writer.write(163)
        done = logrotor(site, mount, "run", "--force", "--json")
        assert done.code == 0, done
        writer.write(437)
        assert listing(logs) == ["app.log", "app.log.1"]
        assert outcomes(done.json, "compress", status="deferred")
    assert counted(logs, "app.log", **writer.expected).total == 600


# By the exit codes that are right: nothing is wrong but that no worker runs.
COMMANDS = {
    "run --force": {0}, "plan": {0}, "check": {0}, "status": {0}, "status --json": {0}, "doctor": {1},
    "history": {0}, "verify": {0}, "queue status": {0},
}  # fmt: skip


@pytest.mark.parametrize("mount", [COVERED, MISSING], ids=["covered", "missing"])
def test_every_command_goes_on_without_proc(site: Deployment, mount: str) -> None:
    """None of them takes the missing /proc for a bug of logrotor, or stops for it."""
    site.folder("logs")
    for name in ("app.log", "app.log.1"):  # of root: there is no lease for www-data, so /proc is asked
        os.chown(site.file(f"logs/{name}", b"one line\n", mode=0o664), 0, users.user("www-data").gid)
    site.configure(RULE + '\n[queue]\nengine = "huey"\nhost = "web-1"\n')
    for args, codes in COMMANDS.items():
        done = logrotor(site, mount, *args.split())
        assert done.code in codes, done
        assert "this is a bug" not in done.stdout + done.stderr, done


def test_a_daemon_that_proc_hides_is_not_called_dead(site: Deployment) -> None:
    """Its pidfile names a process that runs, and somebody writes the log: it is not taken, for what cannot be seen."""
    site.folder("logs")
    log = site.file("logs/app.log", b"one line\n")
    (site.root / "daemon.pid").write_text(f"{os.getpid()}\n")
    target = '[reopen.daemon]\nmanager = "pidfile"\npidfile = "daemon.pid"\nsignal = "USR1"\n'
    site.configure(target + RULE + 'reopen = "daemon"\n')
    with log.open("ab"):
        done = logrotor(site, HIDING, "run", "--force", "--json")
    assert done.code == 1, done
    (failed,) = outcomes(done.json, "plan", status="failed")
    assert f"process {os.getpid()} runs, but /proc does not show what it is" in failed["reason"]


def test_a_daemon_that_is_dead_is_not_called_hidden(site: Deployment) -> None:
    """A pid that nobody has, on a /proc that hides others: the kernel knows that there is none."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    site.folder("logs")
    log = site.file("logs/app.log", b"one line\n")
    (site.root / "daemon.pid").write_text(f"{ended.pid}\n")
    target = '[reopen.daemon]\nmanager = "pidfile"\npidfile = "daemon.pid"\nsignal = "USR1"\n'
    site.configure(target + RULE + 'reopen = "daemon"\n')
    with log.open("ab"):
        report = logrotor(site, HIDING, "run", "--force", "--json").json
    (failed,) = outcomes(report, "reopen", status="failed")
    assert f"there is no process {ended.pid}" in failed["reason"]
    assert "/proc" not in failed["reason"]


def test_a_job_whose_worker_proc_hides_is_still_at_work(site: Deployment) -> None:
    """``queue status`` counts a running attempt of another user's worker as reserved, not as gone."""
    site.configure(RULE + '[queue]\nengine = "huey"\nhost = "web-1"\n')
    site.folder("state", 0o700)

    def begin() -> None:
        attempt = Attempt(
            id=0, job="job", number=1, engine="huey", queue="log-rotation-web-1", host="web-1", started=time.time(),
            ended=None, ending=Ending.RUNNING, final=False, detail="", pid=worker, payload="{}",
        )  # fmt: skip
        History(str(site.state)).begin_attempt(attempt, overdue=3600.0)

    worker = os.getpid()
    users.as_user("www-data", begin)
    (queue,) = logrotor(site, HIDING, "queue", "status", "--json").json["queues"]
    assert queue["reserved"] == 1


def test_no_worker_is_missed_where_none_could_be_seen(site: Deployment) -> None:
    """The doctor says that it cannot see, not that no worker runs."""
    site.configure(RULE + '[queue]\nengine = "huey"\nhost = "web-1"\n')
    for mount, seen in ((HIDING, False), ("true", True)):
        found = logrotor(site, mount, "doctor", "--only", "queue.single", "--json").json
        problems = [finding["problem"] for check in found["checks"] for finding in check["findings"]]
        assert problems
        assert ("no worker of this queue runs on this host" in problems) is seen, problems
