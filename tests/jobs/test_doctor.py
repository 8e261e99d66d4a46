"""``doctor --only queue``: each fault is planted with real processes, found, and mended where it can be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from logrotor.jobs.checks import managers
from logrotor.jobs.progress import progress
from logrotor.model import Ending
from tests.jobs.bench import Host, attempted, worker_pids
from tests.support import command
from tests.support.command import Result

pytestmark = [pytest.mark.parametrize("engine", ["huey"]), pytest.mark.timeout(120)]


def doctor(host: Host, *options: str, only: str = "queue", code: int | None = None) -> Result:
    args = ("doctor", "-c", host.config, "--only", only, *options)
    return command.logrotor(*args, env=host.variables, check=code)


def findings(host: Host, check: str) -> list[dict[str, object]]:
    """What this check finds, as JSON."""
    (found,) = [c for c in doctor(host, "--json").json["checks"] if c["id"] == check]
    return list(found["findings"])


@contextmanager
def started(argv: list[str], host: Host, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody who did not ask logrotor for the command."""
    environ = command.environment({**host.environ, **variables})
    process = subprocess.Popen(
        argv, env=environ, cwd=host.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        host.kill(process)


def consumer(*options: str) -> list[str]:
    return [sys.executable, "-m", "huey.bin.huey_consumer", "logrotor.jobs.engines.huey.app", *options]


def test_nobody_works(host: Host) -> None:
    """No worker and no schedule: jobs would pile up unseen."""
    problems = [str(f["problem"]) for f in findings(host, "queue.single")]
    assert len(problems) == 2 and "no worker" in problems[0] and "no schedule" in problems[1]
    doctor(host, code=1)


@pytest.mark.servers
def test_a_worker_that_reads_from_elsewhere(host: Host) -> None:
    """The application queued to Redis while the worker read from the database."""
    argv = command.arguments("queue", "worker", "-c", host.config)
    with started(argv, host, LOGROTOR_TEST_URL=str(host.folder / "elsewhere.sqlite")):
        host.wait_for(lambda: findings(host, "queue.agreement"))
        (found,) = findings(host, "queue.agreement")
        assert "elsewhere.sqlite" in str(found["problem"]) and "queue.sqlite" in str(found["problem"])


@pytest.mark.servers
def test_a_worker_with_arguments_of_its_own(host: Host) -> None:
    """The job said 1 try, the worker 3: a worker that nobody generated is compared word by word.

    It would have the same ones after a restart, and nobody knows who would start it again: it is left alone.
    """
    argv = consumer("-w", "4", "-k", "thread", "-g", "TERM")
    with started(argv, host, LOGROTOR_CONFIG=str(host.config)) as worker:
        host.wait_for(lambda: findings(host, "queue.arguments"))
        (found,) = findings(host, "queue.arguments")
        assert "thread" in str(found["problem"]) and "process" in str(found["problem"])
        doctor(host, "--fix", "--yes", only="queue", code=1)
        assert host.queue("restart", check=1).stdout.strip() == ""
        assert worker.poll() is None


@pytest.mark.servers
@pytest.mark.parametrize("what", ["worker", "schedule"])
def test_two_of_a_kind(host: Host, what: str) -> None:
    """A second worker on a host's queue is one too many; a second schedule queues each tick twice."""
    argv = command.arguments("queue", what, "-c", host.config)
    with started(argv, host), started(argv, host):
        host.wait_for(lambda: any(f"several {what}s" in str(f["problem"]) for f in findings(host, "queue.single")))


@pytest.mark.servers
def test_before_the_first_tick_nothing_is_wrong(host: Host) -> None:
    """Nothing was done yet since nothing had to be; without a worker, or once an attempt has failed, something is."""
    host.grow()
    host.config.write_text(host.config.read_text().replace('host = "', 'schedule = "0 0 1 1 *"\nhost = "'))
    host.queue("status", "--check", check=1)
    asked = ("-c", host.config, "--json")
    with host.working("--schedule"):
        host.wait_for(lambda: worker_pids(host) and host.site.signed)
        host.queue("status", "--check", check=0)
        assert findings(host, "queue.progress") == []
        (runs,) = command.logrotor("doctor", *asked, "--only", "schedule.runs", env=host.variables).json["checks"]
        assert runs["findings"] == []
        seen = command.logrotor("status", *asked, "--check", env=host.variables).json["attention"]
        assert not any("no run is known" in each for each in seen)
        site, now = host.site, datetime.now(UTC)
        found = progress(site, now)
        assert found.deadline is not None and found.deadline > now.timestamp() and found.last_attempt is None
        assert found.why_not(found.deadline - 1) is None and found.why_not(found.deadline) is not None
        attempted(host, Ending.FAILED)
        host.queue("status", "--check", check=1)
        assert len(findings(host, "queue.progress")) == 1


def test_a_job_that_nobody_takes(host: Host) -> None:
    """Something was done a moment ago, and yet a job waits for longer than it may: as by status --check."""
    host.config.write_text(host.config.read_text() + '[queue.monitor]\nmax_age = "1s"\n')
    attempted(host, Ending.DONE, ago=3)
    assert findings(host, "queue.progress") == []
    host.dispatch()
    host.wait_for(lambda: findings(host, "queue.progress"))
    host.queue("status", "--check", check=1)


@pytest.mark.servers
def test_a_worker_that_was_stopped_by_a_signal(host: Host) -> None:
    """It is there for whoever looks for a process: each of its processes is named with what helps, and goes on."""
    attempted(host, Ending.DONE, ago=1000)
    with host.working() as head:
        host.wait_for(lambda: len(worker_pids(host)) > 1)
        assert findings(host, "queue.awake") == []
        pids = [head.pid, *worker_pids(host)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        assert [each["state"] for each in host.queue("status", "--json").json["workers"]] == ["stopped"]
        found = findings(host, "queue.awake")
        assert sorted(str(f["advice"]).rpartition(" ")[2] for f in found) == sorted(map(str, pids))
        assert all("kill -CONT " in str(f["advice"]) and f["mendable"] for f in found)
        (undone,) = findings(host, "queue.progress")
        assert all(str(pid) in str(undone["advice"]) for pid in pids)
        doctor(host, "--fix", "--yes", only="queue.awake", code=0)
        host.grow()
        host.dispatch()
        host.wait_for_endings("done", "done")


@pytest.mark.parametrize(
    ("check", "old", "new", "told"),
    [
        # Behind a worker that was away for the night, hundreds of old jobs would be carried out.
        ("queue.expiry", "[queue.job]", '[queue.job]\nexpires = "2h"', "7200 s"),
        # It would be stopped each time, for ever.
        ("queue.limits", 'missing = "error"', 'on_archive = ["/bin/true"]\non_archive_timeout = "5m"', "300 s"),
        # Every attempt would put it off: raise the timeout.
        ("queue.limits", '"1K"', '"100GB"', "time limit"),
    ],
    ids=["jobs that outlive their period", "a command that needs longer", "an archive that takes longer"],
)
def test_times_that_do_not_fit(host: Host, check: str, old: str, new: str, told: str) -> None:
    """What needs longer than an attempt has, or than the period."""
    assert findings(host, check) == []
    host.config.write_text(host.config.read_text().replace(old, new))
    (found,) = findings(host, check)
    assert told in str(found["problem"])


def test_jobs_in_a_foreign_format(host: Host) -> None:
    """Both sides must write the same: what cannot be read is told, and removed if asked."""
    host.engine.dispatch("no payload")
    host.dispatch()
    (found,) = findings(host, "queue.format")
    assert "1 of 2" in str(found["problem"])
    doctor(host, "--fix", "--yes", only="queue.format", code=0)
    assert findings(host, "queue.format") == []
    assert len(host.engine.pending(host.site.queue)) == 1


def test_a_queue_out_of_reach(host: Host) -> None:
    """The server is away, or the folder of the file is: said once, and the other checks go on."""
    host.url = str(host.folder / "gone" / "queue.sqlite")
    (found,) = findings(host, "queue.reachable")
    assert "gone" in str(found["subject"])
    assert findings(host, "queue.format") == []


def test_a_variable_that_is_not_set(host: Host) -> None:
    """url = "env:NAME" without NAME: the check says which one, and where it has to be set."""
    args = ("doctor", "-c", host.config, "--only", "queue", "--json")
    (check,) = command.logrotor(*args, check=1).json["checks"]
    assert check["id"] == "queue.configuration"
    assert "LOGROTOR_TEST_URL" in check["findings"][0]["problem"]


PROGRAM = """\
[supervisord]
[program:rotation]
command = /opt/logrotor/bin/logrotor queue worker --schedule -c {config}
{keys}
[program:other]
command = /bin/cat
stopwaitsecs = 1
"""


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ("stopwaitsecs = 29", "stopwaitsecs is 29, and an attempt may take 30 s"),
        ("", "stopwaitsecs is 10, and an attempt may take 30 s"),
        ("stopwaitsecs = 31", ""),
        ("stopwaitsecs = 31\nautorestart = unexpected", "exits with 0"),
        ("stopwaitsecs = 31\nautorestart = unexpected\nexitcodes = 2", ""),
        ("stopwaitsecs = 60\nstopsignal = QUIT", "stopsignal is QUIT"),
        ("stopwaitsecs = 60\nstopasgroup = true", "TERM twice"),
        ("stopwaitsecs = 60\nautorestart = false", "stays away"),
    ],
)
def test_a_supervisor_program_that_does_not_wait(host: Host, tmp_path: Path, keys: str, word: str) -> None:
    """stopwaitsecs below timeout and grace kills the worker in mid-job at each restart."""
    path = tmp_path / "supervisord.conf"
    keys = keys if "autorestart" in keys else f"{keys}\nautorestart = true"
    path.write_text(PROGRAM.format(config=host.config, keys=keys))
    target = f'\n[reopen.workers]\nmanager = "supervisord"\npidfile = "x.pid"\nsupervisor_config = "{path}"\n'
    host.config.write_text(host.config.read_text() + target)
    problems = [str(f["problem"]) for f in findings(host, "queue.stopping")]
    assert problems == [] if not word else len(problems) == 1 and word in problems[0]


UNIT = "[Service]\nExecStart=/opt/logrotor/bin/logrotor queue worker --schedule -c {config}\n{keys}\n"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("KillMode=mixed", []),
        ("KillMode=mixed\nRestart=on-failure", ["Restart is on-failure"]),
        ("KillMode=mixed\nTimeoutStopSec=1min 30s", []),
        ("KillMode=mixed\nTimeoutStopSec=29", ["TimeoutStopSec is 29"]),
        ("TimeoutStopSec=infinity", ["SIGTERM twice"]),
        ("KillMode=mixed\nKillSignal=SIGINT", ["KillSignal is SIGINT"]),
    ],
)
def test_a_systemd_unit_that_does_not_wait(host: Host, tmp_path: Path, keys: str, words: list[str]) -> None:
    """TimeoutStopSec, KillMode and KillSignal of the unit that runs the worker."""
    unit = tmp_path / "rotation.service"
    keys = keys if "Restart" in keys else f"{keys}\nRestart=always"
    unit.write_text(UNIT.format(config=host.config, keys=keys))
    found = list(managers.stopping(host.site, [str(unit)], booted=f"{tmp_path}/none"))
    assert len(found) == len(words)
    assert all(word in finding.problem for word, finding in zip(words, found, strict=True))
