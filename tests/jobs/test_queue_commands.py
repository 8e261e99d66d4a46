"""The commands of ``logrotor queue`` as a user sees them, on the embedded queue."""

from __future__ import annotations

import getpass
import json
import os
import pty
import shlex
import sqlite3
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from logrotor.disk import sampled
from logrotor.jobs import backlog, payload, units
from logrotor.jobs.checks import managers
from logrotor.jobs.dispatch import by_schedule, dispatch_by, lifetime, new_job, period
from logrotor.jobs.engine import QueueCount, QueueUnreachable, Site, open_site
from logrotor.jobs.units import Runner
from logrotor.model import Ending
from logrotor.notify import systemd
from tests.jobs.bench import NOBODY, Host, attempt_pids, attempted, worker_pids
from tests.support import command

pytestmark = pytest.mark.parametrize("engine", ["huey"])


def test_status_is_one_look(host: Host) -> None:
    """Pending from the queue; reserved, failed, stuck and times from the history."""
    host.dispatch()
    attempted(host, Ending.DONE, job="a")
    attempted(host, Ending.FAILED, job="b", seconds=4)
    attempted(host, Ending.RUNNING, job="c", ago=500, pid=NOBODY)
    found = host.queue("status", "--json").json
    (queue,) = found["queues"]
    assert {key: queue[key] for key in ("pending", "reserved", "scheduled", "failed", "stuck", "is_ours")} == {
        "pending": 1, "reserved": 0, "scheduled": 0, "failed": 1, "stuck": 1, "is_ours": True,
    }  # fmt: skip
    assert found["processing"]["mean"] == pytest.approx(3, abs=0.1)
    assert found["processing"]["endings"] == {"done": 1, "failed": 1}
    shown = host.queue("status").stdout
    assert "pending" in shown and "2 attempts (1 done, 1 failed)" in shown


def test_status_for_monitoring(host: Host) -> None:
    """Exit 1 and one line for each thing that is wrong; 0 and one line when nothing is."""
    attempted(host, Ending.DONE, ago=3)
    for _ in range(3):
        host.dispatch()
    host.queue("status", "--check", check=0)
    assert len(host.queue("status", "--check", "--max-pending", "2", check=1).stdout.splitlines()) == 1
    time.sleep(1.1)
    assert len(host.queue("status", "--check", "--max-age", "1s", check=1).stdout.splitlines()) == 1
    attempted(host, Ending.TIMEOUT)
    assert len(host.queue("status", "--check", check=1).stdout.splitlines()) == 1


def test_failed_jobs_are_seen_by_the_status_of_everything(host: Host) -> None:
    """``logrotor status --check`` tells of failed and stuck jobs too: one check for a monitoring system is enough."""
    host.grow()
    host.dispatch()  # there is a queue to look at
    attempted(host, Ending.FAILED)
    attempted(host, Ending.RUNNING, job="c", ago=500)
    args = ("status", "-c", host.config, "--check", "--json", "--no-run", "1d", "--overdue", "1d")
    found = command.logrotor(*args, env=host.variables, check=1)
    assert "1 failed" in found.stdout and "1 stuck" in found.stdout


def test_a_job_for_nothing_is_not_queued(host: Host) -> None:
    """--only with a name that is none: told at once, as by ``logrotor run --only``; another one is in the payload."""
    assert "nope: neither a rule nor a log" in host.queue("dispatch", "--only", "nope", check=2).stderr
    assert not host.engine.pending(host.site.queue)
    host.queue("dispatch", "--only", "app")
    (entry,) = host.engine.pending(host.site.queue)
    assert json.loads(entry.payload)["logs"] == ["app"]


def test_a_failed_job_is_told_once(host: Host) -> None:
    """As an event; huey has no line of its own for it among the JSON."""
    now = datetime.now(UTC)
    host.engine.dispatch(
        payload.encode(replace(new_job(host.site, now), host="elsewhere", expires=now.timestamp() + 60))
    )
    with host.working():
        host.wait_for_endings("refused")
    told = [json.loads(line)["event"] for line in host.said().splitlines()]
    assert told == ["worker.started", "job.failed"]


def test_a_hundred_hosts_are_shown_by_what_matters(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """This host first, then those with something to see to; the others are a number."""
    site, engine = host.site, host.engine
    prefix = site.settings.name
    known = [
        QueueCount(queue=f"{prefix}-h{n}", pending=n % 3 // 2 * n, reserved=0, scheduled=0, failed=0) for n in range(9)
    ]
    monkeypatch.setattr(engine, "counts", lambda prefix: known)
    attempted(host, Ending.DONE, ago=3)
    now = datetime.now(UTC)
    found = backlog.status(site, engine, now)
    assert [queue.host for queue in found.queues][:4] == [host.name, "h8", "h5", "h2"]
    troubles = backlog.troubles(site, found, now, max_pending=4, max_age=60)
    assert [trouble.subject for trouble in troubles] == [f"{prefix}-h8", f"{prefix}-h5"]
    host.config.write_text(host.config.read_text() + f'[queue.monitor]\nmax_pending = 7\nqueues = ["{prefix}-h5:4"]\n')
    troubles = backlog.troubles(host.site, found, now)
    assert [trouble.subject for trouble in troubles] == [f"{prefix}-h8", f"{prefix}-h5"]


def test_failed_jobs_are_listed_retried_and_cleared(host: Host) -> None:
    """The first letters of an id are enough; what was retried or cleared is gone from the list."""
    attempted(host, Ending.FAILED, job="abc1")
    attempted(host, Ending.TIMEOUT, job="abd2", ago=3600)
    assert "it broke" in host.queue("failed").stdout
    assert "ab:" in host.queue("retry", "ab", check=1).stderr
    for unknown in ("zzz", ""):  # as from a variable of a script that is not set
        assert "no failed job has this id" in host.queue("retry", unknown, check=1).stderr
    told = host.queue("retry", "abc").stdout.split()
    (entry,) = host.engine.pending(host.site.queue)
    assert json.loads(entry.payload)["id"] == told[-1], "for history --job"
    assert [f["job"] for f in host.queue("failed", "--json").json["failed"]] == ["abd2"]
    assert host.queue("clear", "--older-than", "2h", "--json").json["removed"]["failed"] == 0
    assert host.queue("clear", "--older-than", "30m", "--json").json["removed"]["failed"] == 1
    assert host.queue("failed").stdout == "No failed job.\n"


@pytest.mark.parametrize(
    ("ago", "name", "alive", "word"),
    [(1, "", True, "is at work"), (10**9, "", False, "is gone"), (1, "beta", None, "cannot be seen")],
    ids=["at work", "another process has its number", "of another host"],
)
def test_a_job_without_an_end(host: Host, ago: float, name: str, alive: bool | None, word: str) -> None:
    """Whether its process is there is seen by its number and its start; a job at work is not called unknown."""
    attempted(host, Ending.RUNNING, job="abc1", ago=ago, by=name)
    asked = ("history", "-c", host.config, "--job", "abc")
    (attempt,) = command.logrotor(*asked, "--json", env=host.variables, check=0).json["attempts"]
    assert attempt["alive"] is alive
    assert ("is gone" in command.logrotor(*asked, env=host.variables, check=0).stdout) == (alive is False)
    assert word in host.queue("clear", "abc", check=1).stderr
    assert (host.queue("status", "--json").json["queues"][0]["reserved"] == 0) == (alive is False)


def test_a_job_that_has_ended_cannot_be_cleared(host: Host) -> None:
    attempted(host, Ending.DONE, job="abc1")
    assert "done" in host.queue("clear", "abc", check=1).stderr


def test_stale_jobs_are_cleared_and_others_stay(host: Host) -> None:
    """Jobs that would be dropped at their first attempt anyway."""
    host.config.write_text(host.config.read_text() + 'expires = "1s"\n')
    host.dispatch()
    time.sleep(1.2)
    host.config.write_text(host.config.read_text().replace('expires = "1s"', 'expires = "1h"'))
    fresh = host.dispatch()
    assert host.queue("clear", "--stale", "--json").json["removed"]["stale"] == 1
    assert [json.loads(entry.payload)["id"] for entry in host.engine.pending(host.site.queue)] == [fresh]


def test_an_engine_that_is_not_there(host: Host) -> None:
    """Unknown: no unit either, whose worker could not start. Not installed: the very command."""
    text = host.config.read_text()
    host.config.write_text(text.replace('"huey"', '"hueey"'))
    for words in (("dispatch",), ("unit", "--supervisor"), ("unit", "--systemd")):
        host.queue(*words, check=2)
    host.config.write_text(text)
    hidden = host.folder / "hidden" / "huey"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('no huey here')")
    environ = {**host.environ, "PYTHONPATH": f"{hidden.parent}:{host.environ['PYTHONPATH']}"}
    result = command.logrotor("queue", "dispatch", "-c", host.config, env=environ, check=2)
    assert f"{sys.executable} -m pip install 'logrotor[huey]'" in result.stderr


@pytest.mark.parametrize("url", ["", 'url = "redis://localhost/0"'])
def test_an_engine_that_is_misspelt(host: Host, tmp_path: Path, url: str) -> None:
    """Told of the engine, with or without a URL; what is listed can be used: no engine whose package is missing."""
    ghost = tmp_path / "plugins" / "ghost-1.dist-info"
    ghost.mkdir(parents=True)
    (ghost / "METADATA").write_text("Name: ghost\nVersion: 1\n")
    (ghost / "entry_points.txt").write_text("[logrotor.queue_engines]\nghost = no_such_module_as_ghost:Ghost\n")
    line = next(line for line in host.config.read_text().splitlines() if line.startswith("url"))
    host.config.write_text(host.config.read_text().replace('"huey"', '"hueyy"').replace(line, url))
    environ = {**host.environ, "PYTHONPATH": f"{ghost.parent}:{host.environ['PYTHONPATH']}"}
    asked = ("-c", host.config)
    told = command.logrotor("queue", "dispatch", *asked, env=environ, check=2).stderr
    assert "queue.engine: 'hueyy' is not known" in told and "'huey'?" in told and "queue.url" not in told
    assert "huey" in told.rpartition("installed:")[2] and "ghost" not in told
    found = command.logrotor("doctor", *asked, "--only", "queue", "--json", env=environ, check=1).json["checks"]
    (problem,) = [f["problem"] for check in found for f in check["findings"]]
    assert "hueyy" in problem and "queue.url" not in problem
    checks = command.logrotor("doctor", *asked, "--only", "config.rules", "--json", env=environ).json["checks"]
    assert checks[0]["findings"] == []


def test_rows_that_are_no_jobs(host: Host) -> None:
    """Whoever may write to the file: every command says what it can, and the doctor removes them."""
    host.dispatch()
    hostile = [b"\x80\x04junk", b"[]", b"[" * 100_000, b"{}", b"7", "text", 7, b'["a", "b", "c", 1, 1, 1, {"a": 1}, 1]']
    with sqlite3.connect(host.url) as queue:
        for data in hostile:
            queue.execute("INSERT INTO task (queue, data, priority) VALUES (?, ?, 9)", (host.site.queue, data))
        other = f"{host.site.settings.name}-\x1b[2J"
        queue.execute("INSERT INTO task (queue, data) VALUES (?, ?)", (other, b"x"))
    assert "\x1b" not in host.queue("status").stdout
    assert {queue["pending"] for queue in host.queue("status", "--json").json["queues"]} == {len(hostile) + 1, 1}
    assert host.queue("clear", "--stale", "--json").json["removed"]["stale"] == 0
    result = command.logrotor(
        "doctor", "-c", host.config, "--only", "queue.format", "--fix", "--yes", env=host.variables
    )
    assert f"{len(hostile)} removed" in result.stdout
    assert len(host.engine.pending(host.site.queue)) == 1


@pytest.mark.long
def test_ctrl_c_on_a_terminal_lets_the_job_end(host: Host) -> None:
    """It reaches the whole group, and engines end their job at once: here it is what SIGTERM is."""
    host.grow()
    host.slow.write_text("3")
    argv = command.arguments("queue", "worker", "-c", host.config, "--schedule")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, command.environment(host.environ))
    try:
        host.wait_for(lambda: worker_pids(host))
        host.dispatch()
        host.wait_for(lambda: attempt_pids(host))
        os.write(terminal, b"\x03")
        with suppress(OSError):  # what a terminal gives when nobody holds its other end any more
            while os.read(terminal, 4096):
                pass
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(terminal)
    host.wait_for_endings("done")
    assert host.rotations() == 1


class Clock:
    """Half past noon and half a minute, and a loop's wait that takes no time. ``jump``: how it is set after 15 s."""

    def __init__(self, jump: timedelta = timedelta()) -> None:
        self.now, self.passed, self.jump = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC), 0.0, jump

    def wait(self, seconds: float) -> bool:
        before, self.passed = self.passed, self.passed + seconds
        self.now += timedelta(seconds=seconds) + (self.jump if before < 15 <= self.passed else timedelta())
        return self.passed > 215

    def ticks(self, site: Site, gone: Collection[int] = ()) -> list[float]:
        """When a job was queued, in seconds; the queue is ``gone`` at some of these moments."""
        ticked: list[float] = []

        class Queue:
            def dispatch(_, text: str) -> None:  # noqa: N805
                ticked.append(self.passed)
                if self.passed in gone:
                    raise QueueUnreachable("gone")

        dispatch_by(site, Queue, ticks=by_schedule(site), now=lambda: self.now, wait=self.wait)  # type: ignore[arg-type]
        return ticked


def test_ticks(host: Host) -> None:
    """One job per tick; a queue out of reach is told, and the next tick tries again; the end is prompt."""
    assert Clock().ticks(host.site, gone=[90]) == [30, 90, 150, 210]


@pytest.mark.parametrize("jump", [timedelta(days=-1), timedelta(minutes=-1), timedelta(days=1)])
def test_a_clock_that_is_set_delays_no_tick(host: Host, jump: timedelta) -> None:
    """Set back by a day, the next tick comes at the next minute, not after a day; forward, one job comes at once."""
    ticked = Clock(jump).ticks(host.site)
    assert len(ticked) >= 3
    assert max(b - a for a, b in zip([0.0, *ticked], ticked, strict=False)) < 75, ticked


@pytest.mark.parametrize(("schedule", "gap"), [("* * * * *", 60), ("0 * * * *", 3600), ("30 2 * * 1", 7 * 86400)])
def test_a_job_lives_for_less_than_a_period(host: Host, schedule: str, gap: float) -> None:
    """Behind a worker that was away there is never more than one job worth its attempt."""
    now = datetime(2026, 1, 7, 12, 0, 30, tzinfo=UTC)
    assert period(schedule, now) == gap
    host.config.write_text(host.config.read_text().replace("[queue.job]", f'schedule = "{schedule}"\n[queue.job]'))
    assert lifetime(host.site, now) == pytest.approx(0.9 * gap)


@pytest.mark.parametrize("kind", ["supervisor", "systemd"])
def test_a_unit_names_its_variable_and_no_secret(host: Host, kind: str) -> None:
    """url = "env:NAME": the unit says which variable is needed, not what is in it; as JSON it is the same text."""
    text = host.queue("unit", f"--{kind}", "--user", "me").stdout
    assert "LOGROTOR_TEST_URL" in text and host.url not in text
    assert host.queue("unit", f"--{kind}", "--user", "me", "--json").json == {
        "manager": kind, "queue": host.site.queue, "user": "me", "text": text,
    }  # fmt: skip


ODD = ["plain", "a b", "100%", "it's", 'a "b"', "a ;b", "a #b", "$HOME", "back\\slash", "%(here)s", "a  ; # b"]


@pytest.mark.parametrize("name", ODD)
def test_supervisord_starts_what_the_unit_says(host: Host, tmp_path: Path, name: str) -> None:
    """Its own reader makes the very argument list of it, whatever stands in the path; and the doctor has nothing to say
    of it, until it no longer fits."""
    from supervisor.options import ServerOptions

    site = moved(host, tmp_path / name)
    file = tmp_path / "supervisord.conf"
    file.write_text(
        "[supervisord]\n" + units.supervisor_program(site, Runner(getpass.getuser(), "/root", "/var/lib/state of 50%"))
    )
    options = ServerOptions()
    options.realize(["-c", str(file), "-n"])
    (group,) = options.process_group_configs
    assert shlex.split(group.process_configs[0].command) == units.command(site)
    assert list(managers.supervisor(site, str(file))) == []
    file.write_text(file.read_text().replace("stopwaitsecs = 60", "stopwaitsecs = 7"))
    assert ["stopwaitsecs is 7" in finding.problem for finding in managers.supervisor(site, str(file))] == [True]


@pytest.mark.parametrize("name", ODD)
def test_systemd_starts_what_the_unit_says(host: Host, tmp_path: Path, name: str) -> None:
    """It finds nothing to say, nor does the doctor, until the unit no longer fits."""
    site = moved(host, tmp_path / name)
    file = tmp_path / "rotation.service"
    file.write_text(units.systemd_unit(site, Runner("root", "/root", "/var/lib/state of 50%")))
    if os.path.exists("/usr/bin/systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert list(managers.stopping(site, [str(file)], booted=f"{tmp_path}/none")) == []
    file.write_text(file.read_text().replace("TimeoutStopSec=60", "TimeoutStopSec=7"))
    found = managers.stopping(site, [str(file)], booted=f"{tmp_path}/none")
    assert ["TimeoutStopSec is 7" in finding.problem for finding in found] == [True]


def test_a_unit_says_who_rotates_its_log(host: Host) -> None:
    """supervisord, as long as no rule has the file; stderr says so."""
    for name, owner in (("worker.log", "supervisord"), ("logs/worker.log", "logrotor")):
        with host.config.open("a") as config:
            config.write(
                '[[log]]\nname = "worker"\npaths = ["logs/worker.log"]\nmax_size = "1MB"\n' * (owner == "logrotor")
            )
        told = host.queue("unit", "--supervisor", "--log", host.folder / name)
        sizes = [line.partition(" = ")[2] for line in told.stdout.splitlines() if line.startswith("stdout_logfile_max")]
        assert sizes == ["0" if owner == "logrotor" else "50MB"]
        assert (str(host.folder / name) in told.stderr) == (owner == "supervisord")


def test_a_name_that_no_unit_can_hold(host: Host, tmp_path: Path) -> None:
    """A line break would begin a key of its own: it is refused, in one line."""
    for kind in ("--supervisor", "--systemd"):
        assert "cannot stand in a unit" in host.queue("unit", kind, "--user", "me\nnumprocs=9", check=1).stderr
    assert "cannot stand in a unit" in host.queue("unit", "--supervisor", "--log", "a ;b", check=1).stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1min 30s", 90), ("5m", 300), ("2 hours", 7200), ("1d", 86400), ("500ms", 0.5)]
)
def test_a_time_of_systemd(host: Host, tmp_path: Path, text: str, seconds: float) -> None:
    """As systemd.time(7) has them."""
    file = tmp_path / "rotation.service"
    file.write_text(f"[Service]\nExecStart=/bin/cat\nTimeoutStopSec={text}\n")
    (service,) = systemd.services([str(file)], f"{tmp_path}/none")
    assert service.stop_after == seconds


def moved(host: Host, folder: Path) -> Site:
    """The same configuration in another folder."""
    folder.mkdir()
    (folder / "logrotor.toml").write_text(host.config.read_text())
    return open_site(str(folder / "logrotor.toml"), {**command.environment(), **host.environ})


def test_a_unit_names_home_and_state(host: Host) -> None:
    """supervisord's `user =` keeps root's HOME, and with it another state directory: the unit names both."""
    text = host.config.read_text()
    state = str(host.folder / "state")
    program = host.queue("unit", "--supervisor", "--user", "www-data").stdout
    assert f'environment = HOME="/var/www",STATE_DIRECTORY="{state}"' in program and "autorestart = true" in program
    service = host.queue("unit", "--systemd", "--user", "www-data").stdout
    assert 'Environment="HOME=/var/www"' in service and f'Environment="STATE_DIRECTORY={state}"' in service
    host.config.write_text(text.replace('state_dir = "state"', ""))
    assert "/var/www/.local/state/logrotor" in host.queue("unit", "--supervisor", "--user", "www-data").stdout


def test_a_template_for_many_configurations(host: Host, tmp_path: Path) -> None:
    """logrotor-worker@NAME.service runs NAME.toml; systemd has nothing to say of it."""
    text = host.queue("unit", "--systemd", "--template", "--user", "root").stdout
    assert f"-c {host.folder}/%i.toml\n" in text and "MemoryMax=" in text and "STATE_DIRECTORY" not in text
    host.queue("unit", "--supervisor", "--template", check=2)
    file = tmp_path / "logrotor-worker@.service"
    file.write_text(text)
    if os.path.exists("/usr/bin/systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_run_samples_what_waits(host: Host) -> None:
    """The counts of this host's queue, at most every five minutes; without an engine that answers there are none."""
    host.dispatch()
    for _ in range(2):
        command.logrotor("run", "-c", host.config, env=host.variables)
    (points,) = sampled.read(str(host.folder / "state")).queues.values()
    assert [(point.pending, point.reserved, point.scheduled) for point in points] == [(1, 0, 0)]
