"""A lasting fault, from its first tick to the doctor that clears it away; a stuck job and what helps; the monitors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from logrotor.jobs import payload
from logrotor.jobs.dispatch import new_job
from logrotor.model import Ending
from tests.jobs.bench import Host, attempt_pids, attempted
from tests.proof.sampling import EXHAUSTIVE
from tests.support import command
from tests.support.command import Result

ENGINES = ["huey", "procrastinate", "rq", "celery"]


def doctor(host: Host, *options: str, only: str) -> list[dict[str, Any]]:
    """What this check finds."""
    found = command.logrotor("doctor", "-c", host.config, "--only", only, "--json", *options, env=host.variables).json
    return [finding for check in found["checks"] for finding in check["findings"]]


def status(host: Host) -> Result:
    return host.queue("status", "--check", check=None)


@pytest.mark.servers
@pytest.mark.timeout(180)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_lasting_fault_is_one_failed_job(host: Host) -> None:
    """A log that is refused at each tick: one attempt a job, one entry here and in the engine. A success settles it,
    then the monitor is content, and the doctor clears the rest."""
    host.grow()
    os.link(host.log, host.folder / "second")
    with host.working():
        for number in range(1, 4):
            host.dispatch()
            host.wait_for_endings(*["failed"] * number)
        (failure,) = host.queue("failed", "--json").json["failed"]
        assert (failure["count"], failure["attempts"], failure["settled"]) == (3, 1, None)
        host.wait_for(lambda: counts(host)["failed"] in (None, 1) and not counts(host)["pending"])
        assert status(host).code == 1
        (found,) = doctor(host, only="queue.failed")
        assert failure["detail"] in found["problem"] and not found["mendable"]
        os.unlink(host.folder / "second")
        host.dispatch()
        host.wait_for(lambda: host.endings()[-1] == "done")
        assert status(host).code == 0, status(host).stdout
    (settled,) = doctor(host, "--fix", "--yes", only="queue.failed")
    assert settled["mended"]["done"] and doctor(host, only="queue.failed") == []
    assert host.engine.failed(host.site.queue) == []


def counts(host: Host) -> dict[str, int | None]:
    (found,) = host.engine.counts(host.site.queue)
    return {"pending": found.pending, "failed": found.failed}


MANY = 43_200 if EXHAUSTIVE else 2_160  # a job a minute for a month


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["procrastinate", "rq"])
def test_very_many_failed_jobs_are_one_screen_and_are_cleared(host: Host) -> None:
    """Those that an engine has kept, on its real server: one cause, one entry, and gone at once."""
    FAILED[host.engine_name](host)
    for words, lines in ((["failed"], 2), (["status"], 6), (["clear", "--failed"], 1), (["failed"], 1)):
        shown = host.queue(*words).stdout
        assert len(shown.splitlines()) <= lines, (words, shown)
        assert words != ["failed"] or f"{MANY} jobs" in shown or "No failed job" in shown
    assert counts(host) == {"pending": 0, "failed": 0} and host.engine.failed(host.site.queue) == []


def _failed_in_postgresql(host: Host) -> None:
    import psycopg

    host.engine.counts(host.site.queue)  # makes the tables
    job = _text(host)
    with psycopg.connect(host.url) as connection:
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status, args, attempts) SELECT %s, %s, 'todo', "
            "jsonb_build_object('text', replace(%s, 'ID', lpad(number::text, 32, '0'))), 1 "
            "FROM generate_series(1, %s) number",
            (host.site.queue, payload.TASK, job, MANY),
        )
        for status in ("doing", "failed"):
            connection.execute(
                "UPDATE procrastinate_jobs SET status = %s::procrastinate_job_status WHERE queue_name = %s",
                (status, host.site.queue),
            )


def _failed_in_redis(host: Host) -> None:
    from redis import Redis
    from rq.job import JobStatus
    from rq.registry import FailedJobRegistry
    from rq.results import Result
    from rq.serializers import JSONSerializer

    from logrotor.jobs.engines.rq import FUNCTION, Rotation

    text, registry = _text(host), FailedJobRegistry.key_template.format(host.site.queue)
    with Redis.from_url(host.url) as server:
        pipe = server.pipeline(transaction=False)
        for number in range(MANY):
            job = Rotation.create(
                FUNCTION, args=(text.replace("ID", f"{number:032}"),), connection=server, serializer=JSONSerializer,
                origin=host.site.queue, id=f"job-{number}", status=JobStatus.FAILED,
            )  # fmt: skip
            pipe.hset(job.key, mapping=job.to_dict())
            pipe.zadd(registry, {job.id: time.time() + 86400})
            Result(job, Result.Type.FAILED, server, exc_string="OSError: no", serializer=JSONSerializer).save(
                ttl=86400, pipeline=pipe
            )
        pipe.execute()


def _text(host: Host) -> str:
    return payload.encode(replace(new_job(host.site, datetime.now(UTC)), id="ID"))


FAILED = {"procrastinate": _failed_in_postgresql, "rq": _failed_in_redis}


@pytest.mark.parametrize("engine", ["huey"])
def test_the_newest_cause_comes_first_and_few_are_shown(host: Host) -> None:
    """One entry a cause with its number; -n cuts the list, --json does not."""
    for number in range(3):
        for job in range(2):
            attempted(host, Ending.FAILED, job=f"{number}-{job}", ago=3000 - 100 * number, detail=f"why {number}")
    assert [each["detail"] for each in host.queue("failed", "--json").json["failed"]] == ["why 2", "why 1", "why 0"]
    shown = host.queue("failed", "-n", "1").stdout
    assert "2 jobs" in shown and "why 2" in shown and "why 1" not in shown and "2 more causes" in shown


# ---------------------------------------------------------------- stuck


@pytest.mark.parametrize("engine", ["huey"])
def test_a_stuck_job_whose_process_is_gone(host: Host) -> None:
    """Nobody will ever end it: the doctor calls it lost."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    attempted(host, Ending.RUNNING, ago=500, pid=gone.pid)
    (found,) = doctor(host, "--fix", "--yes", only="queue.stuck")
    assert str(gone.pid) in found["problem"] and found["mended"]["done"]
    assert host.endings() == ["lost"] and doctor(host, only="queue.stuck") == []


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.parametrize("engine", ["huey"])
def test_a_stuck_job_whose_process_is_stopped(host: Host) -> None:
    """Its timeout is kept by a process that was stopped itself: it is named, and goes on."""
    text = host.config.read_text().replace('timeout = "20s"', 'timeout = "1s"\ntries = 1')
    host.config.write_text(text.replace('stuck_after = "2m"', 'stuck_after = "32s"'))
    host.grow()
    host.slow.write_text("600")
    with host.working():
        host.dispatch()
        host.wait_for(lambda: attempt_pids(host))
        body = host.attempts()[0].pid
        os.kill(body, signal.SIGSTOP)
        host.wait_for(lambda: doctor(host, only="queue.stuck"))
        (found,) = doctor(host, "--fix", "--yes", only="queue.stuck")
        assert f"process {body} " in found["problem"] and f"kill -CONT {body}" in found["advice"]
        assert found["mended"]["done"]
        host.wait_for_endings("timeout")


# ---------------------------------------------------------------- monitors


@pytest.mark.parametrize("engine", ["huey"])
@pytest.mark.parametrize(("ago", "code"), [(20, 0), (110, 0), (250, 1)])
def test_green_means_that_jobs_are_done(host: Host, ago: float, code: int) -> None:
    """A job a minute: after three ticks without one that was done both monitors are red, whoever seems to be there."""
    attempted(host, Ending.DONE, ago=ago, seconds=1)
    host.dispatch()
    found = host.queue("status", "--check", check=code)
    assert ("no job was done" in found.stdout) == bool(code)
    both = command.logrotor("status", "-c", host.config, "--check", "--no-run", "1d", env=host.variables)
    assert ("no job was done" in both.stdout) == bool(code)


@pytest.mark.servers
@pytest.mark.parametrize("engine", ["rq"])
def test_a_server_that_takes_no_job_is_named(host: Host) -> None:
    """It answers, and it is full: the monitor is red, says why, and leaves nothing behind where one can be queued."""
    from redis import Redis

    assert "maxmemory" not in host.queue("status", "--check", check=1).stdout
    assert host.engine.pending(host.site.queue) == []
    with Redis.from_url(host.url) as server:
        server.config_set("maxmemory", 1)
        try:
            told = host.queue("status", "--check", check=1)
        finally:
            server.config_set("maxmemory", 0)
    assert "maxmemory" in told.stdout + told.stderr, told


@pytest.mark.parametrize("engine", ["huey"])
def test_the_threshold_follows_the_schedule(host: Host) -> None:
    """Once an hour: five minutes without a job are nothing; the dead man's switch of the runs goes by it too."""
    host.config.write_text(host.config.read_text().replace("[queue.job]", 'schedule = "hourly"\n[queue.job]'))
    attempted(host, Ending.DONE, ago=300, seconds=1)
    host.queue("status", "--check", check=0)
    host.config.write_text(host.config.read_text().replace('"hourly"', '"* * * * *"'))
    command.logrotor("run", "-c", host.config, env=host.variables)
    run = host.folder / "state" / "last-run"
    os.utime(run, (time.time() - 300,) * 2)
    told = command.logrotor("status", "-c", host.config, "--check", env=host.variables, check=1).stdout
    assert "no run for 5 min" in told


@pytest.mark.servers
@pytest.mark.parametrize("engine", ["huey"])
def test_workers_are_listed(host: Host) -> None:
    """Who they are, since when, how large, what they do; the metrics have them, but not the run that writes them."""
    text = host.config.read_text()
    host.config.write_text(text.replace("[queue]", '[metrics]\ntextfile = "x.prom"\n[queue]'))
    host.grow()
    with host.working("--schedule") as worker:
        host.wait_for(lambda: len(host.queue("status", "--json").json["workers"]) == 2)
        both = {each["role"]: each for each in host.queue("status", "--json").json["workers"]}
        assert both["schedule"]["pid"] == worker.pid and both["worker"]["engine"] == "huey"
        assert all(each["memory"] > 1_000_000 and time.time() - each["since"] < 100 for each in both.values())
        host.dispatch()
        host.wait_for(lambda: "done" in host.endings())
        told = (host.folder / "x.prom").read_text()
        assert f'logrotor_queue_reserved_jobs{{queue="{host.site.queue}"}} 0\n' in told
        assert f'logrotor_worker_up{{queue="{host.site.queue}"}} 1\n' in told
    stdout = command.logrotor("metrics", "-c", host.config, "-o", "-", env=host.variables, check=0).stdout
    assert 'ending="done"} ' in stdout and f'logrotor_worker_up{{queue="{host.site.queue}"}} 0\n' in stdout
    assert f'_bucket{{queue="{host.site.queue}",le="+Inf"}} ' in stdout


@pytest.mark.parametrize("engine", ["huey"])
def test_metrics_say_that_the_history_is_unknown(host: Host) -> None:
    """A rule on a metric that is not there never fires: one says so, and the server of the queue is not blamed."""
    host.dispatch()
    attempted(host, Ending.DONE)

    def told() -> str:
        return command.logrotor("metrics", "-c", host.config, "-o", "-", env=host.variables, check=0).stdout

    name = f'_history_known{{queue="{host.site.queue}"}}'
    assert f"{name} 1\n" in told() and "logrotor_queue_deadline_timestamp_seconds" in told()
    (host.folder / "state" / "history.sqlite").write_bytes(b"x" * 8192)
    assert f"{name} 0\n" in told() and "logrotor_queue_up{" not in told() and "logrotor_worker_up{" in told()


@pytest.mark.servers
@pytest.mark.parametrize("engine", ["huey"])
def test_a_job_is_followed_through_the_log_and_the_history(host: Host) -> None:
    """Each line of its attempt names it, and ``history --job`` has the attempts and what ran meanwhile."""
    host.grow()
    with host.working():
        job = host.dispatch()
        host.wait_for_endings("done")
    told = [event for event in host.events() if event["event"] != "worker.started"]
    assert {(event["job"], event["attempt"]) for event in told} == {(job, 1)} and len(told) >= 2
    found = command.logrotor("history", "-c", host.config, "--job", job[:6], "--json", env=host.variables).json
    ((attempt, run),) = [(each, each["runs"][0]) for each in found["attempts"]]
    assert (attempt["job"], attempt["ending"], run["exit"], run["rotated"]) == (job, "done", 0, 1)
    command.logrotor("history", "-c", host.config, "--job", "nope", env=host.variables, check=2)


@pytest.mark.parametrize("engine", ["huey"])
def test_the_next_ticks_are_listed(host: Host) -> None:
    """In the machine's zone, as many as are asked for."""
    host.config.write_text(host.config.read_text().replace("[queue.job]", 'schedule = "30 2 * * *"\n[queue.job]'))
    ticks = host.queue("schedule", "--list", "-n", "3").stdout.splitlines()
    assert len(ticks) == 3 and all(" 02:30 " in tick for tick in ticks)


def test_expires_is_the_gap_to_the_next_tick() -> None:
    """At nine and at six: a job of six o'clock lives until nine in the morning, one of nine until six."""
    from logrotor.jobs.dispatch import period

    day = datetime(2026, 3, 3, tzinfo=UTC)
    assert period("0 9,18 * * *", day.replace(hour=18)) == 15 * 3600
    assert period("0 9,18 * * *", day.replace(hour=9)) == 9 * 3600


@pytest.mark.parametrize("engine", ["huey"])
def test_throughput_is_measured_over_the_time_that_there_was(host: Host) -> None:
    """Four jobs in two minutes are 120 an hour, not four; one is no rate."""
    attempted(host, Ending.DONE, job="first", ago=150, seconds=1)
    assert host.queue("status", "--json").json["processing"]["per_hour"] is None
    assert "an hour" not in host.queue("status").stdout
    for number in range(4):
        attempted(host, Ending.DONE, job=str(number), ago=120 - 30 * number, seconds=1)
    assert host.queue("status", "--json").json["processing"]["per_hour"] == pytest.approx(120, rel=0.1)
    json.dumps(host.queue("status", "--json").json)
