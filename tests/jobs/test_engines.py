"""The same promises on every engine, with real servers and real workers."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from logrotor.jobs import payload
from logrotor.jobs.dispatch import dispatch, dispatch_by
from logrotor.jobs.payload import Payload
from tests.jobs.bench import Host, attempt_pids, worker_pids
from tests.jobs.conftest import MakeHost
from tests.support import command

ENGINES = ["huey", "procrastinate", "rq", "celery"]
pytestmark = [pytest.mark.parametrize("engine", ENGINES), pytest.mark.servers, pytest.mark.timeout(180)]


def queued(host: Host, /, **changes: object) -> Payload:
    """Put a job with odd fields on the queue of this host."""
    now = time.time()
    job = Payload(
        id=payload.new_id(), host=host.site.host, config=str(host.config), config_sha256=host.site.sha256,
        enqueued=now, expires=now + 60,
    )  # fmt: skip
    job = replace(job, **changes)  # type: ignore[arg-type]
    host.engine.dispatch(payload.encode(job))
    return job


def counts(host: Host) -> dict[str, int | None]:
    (found,) = host.engine.counts(host.site.queue)
    return {"pending": found.pending, "scheduled": found.scheduled, "reserved": found.reserved, "failed": found.failed}


def test_a_job_rotates(host: Host) -> None:
    """What is dispatched is done once: the log is rotated, the history has the attempt, the queue is empty; the worker
    says what the scenario names, and no more."""
    host.grow()
    with host.working():
        job = host.dispatch()
        host.wait_for_endings("done")
        (attempt,) = host.attempts()
        assert (attempt.job, attempt.number, attempt.final) == (job, 1, True)
        assert host.rotations() == 1
        host.wait_for(lambda: counts(host)["reserved"] in (0, None))
        assert (counts(host)["pending"], counts(host)["scheduled"]) == (0, 0)
    assert [event["event"] for event in host.events()] == ["worker.started", "run.started", "run.completed"]


def test_doctor_finds_nothing(host: Host) -> None:
    """The worker that `queue worker --schedule` runs is known for what it is, and it is what the configuration asks."""
    with host.working("--schedule"):
        argv = ("doctor", "-c", host.config, "--only", "queue")
        host.wait_for(lambda: command.logrotor(*argv, env=host.variables).code == 0)


def test_doctor_knows_how_the_server_stands(host: Host) -> None:
    """Its version, how soon it answers, what the queue takes there, and how many are connected."""
    host.grow("a")
    host.dispatch()
    said = command.logrotor("doctor", "-c", host.config, "--only", "queue.reachable", "--json", env=host.variables)
    (check,) = said.json["checks"]
    facts = check["facts"]
    assert facts["server"] in ("Redis", "PostgreSQL", "SQLite") and facts["version"][0].isdigit()
    assert 0 < facts["latency"] < 5 and facts["bytes"] > 0 and facts["rows"] >= 1  # of all who use it
    if facts["server"] != "SQLite":
        assert 0 < facts["connections"] <= facts["most_connections"]
    shown = command.logrotor("doctor", "-c", host.config, "--only", "queue.reachable", "-v", env=host.variables)
    assert f"version  {facts['version']}" in shown.stdout


def test_every_tick_is_a_job(host: Host) -> None:
    """The schedule's loop dispatches at each tick, and each job rotates what is due by then."""
    with host.working():
        for number in range(1, 4):
            host.grow(str(number))
            ticks = iter([datetime.now(UTC)])
            dispatch_by(
                host.site, lambda: host.engine, ticks=lambda _, ticks=ticks: next(ticks, None),
                now=lambda: datetime.now(UTC), wait=lambda _: False,
            )  # fmt: skip
            host.wait_for_endings(*["done"] * number)
    assert host.rotations() == 3


def test_retries_keep_to_the_backoff_and_to_the_tries(host: Host) -> None:
    """A job that fails is tried exactly `tries` times, each attempt after its backoff; then it is a failed one."""
    with host.working():  # the log is missing, which the rule calls an error
        job = host.dispatch()
        host.wait_for_endings("failed", "failed", "failed")
        host.wait_for(lambda: host.attempts()[-1].final)
        first, second, third = host.attempts()
        assert {attempt.job for attempt in host.attempts()} == {job}
        assert [attempt.number for attempt in host.attempts()] == [1, 2, 3]
        assert [attempt.final for attempt in host.attempts()] == [False, False, True]
        assert first.ended is not None and second.ended is not None
        assert second.started - first.ended >= 1.0 and third.started - second.ended >= 2.0
        assert "app.log" in third.detail
        failed = host.queue("failed", "--json").json["failed"]
        assert [(entry["job"], entry["attempts"]) for entry in failed] == [(job, 3)]

        host.grow()  # the operator mends it, and says so
        host.queue("retry", job)
        host.wait_for(lambda: len(host.endings()) == 4 and host.endings()[-1] == "done")
    assert host.queue("failed", "--json").json["failed"] == []
    assert host.rotations() == 1


def test_a_job_waits_as_scheduled_for_its_next_attempt(host: Host) -> None:
    """Between two attempts the queue shows it, and `queue clear` does not take it for stale."""
    text = host.config.read_text().replace('backoff = ["1s", "2s"]', 'backoff = ["50s"]')
    host.config.write_text(text)
    with host.working():
        host.dispatch()
        host.wait_for_endings("failed")
        host.wait_for(lambda: counts(host)["scheduled"] == 1)
        host.queue("clear", "--stale")
        assert counts(host)["scheduled"] == 1


def test_a_job_that_ignores_sigterm_is_ended(host: Host) -> None:
    """TERM, a grace, KILL: an attempt never outlives its timeout, and the lock is free afterwards."""
    host.grow()
    usual = host.config.read_text()
    host.config.write_text(usual.replace('timeout = "20s"', 'timeout = "1s"\ntries = 2'))
    host.slow.write_text("ignore")
    with host.working():
        host.dispatch()
        host.wait_for_endings("timeout", "timeout")
        host.wait_for(lambda: not attempt_pids(host))
        host.slow.unlink()
        host.config.write_text(usual)  # on a busy machine an honest attempt takes longer than 1 s
        host.dispatch()
        host.wait_for_endings("timeout", "timeout", "done")
    assert host.rotations() == 1


def test_a_killed_worker_leaves_nothing_behind_and_the_next_tick_rotates(host: Host) -> None:
    """kill -9 in mid-job: its attempt dies with it, the lock is free, and the next job does the work."""
    host.grow()
    host.slow.write_text("600")
    worker = host.start()
    host.dispatch()
    host.wait_for(lambda: attempt_pids(host))
    host.kill(worker)
    host.wait_for(lambda: not attempt_pids(host))
    host.slow.unlink()
    with host.working():
        job = host.dispatch()
        host.wait_for(lambda: any(a.job == job and a.ending == "done" for a in host.attempts()))
    assert host.rotations() == 1
    first = host.attempts()[0]
    assert first.ending in ("running", "lost") and first.job != job


def test_a_killed_worker_takes_its_own_processes_with_it(host: Host) -> None:
    """kill -9 of the one process that a manager knows: neither its attempt nor a process of the engine works on."""
    host.grow()
    host.slow.write_text("600")
    worker = host.start()
    try:
        host.dispatch()
        host.wait_for(lambda: attempt_pids(host))
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        host.wait_for(lambda: not attempt_pids(host) and not worker_pids(host))
    finally:
        host.kill(worker)


def test_a_graceful_stop_waits_for_the_job(host: Host) -> None:
    """SIGTERM lets the job at work end, and takes no further one."""
    host.grow()
    host.slow.write_text("1.5")
    worker = host.start()
    host.dispatch()
    host.wait_for(lambda: attempt_pids(host))
    host.dispatch()
    host.stop(worker, signal.SIGTERM)
    assert host.endings() == ["done"], host.said()
    assert host.rotations() == 1
    assert counts(host)["pending"] == 1


def test_a_second_term_loses_no_job_and_leaves_nothing(host: Host) -> None:
    """Whoever cannot wait: nothing of it works on, and the next worker rotates; no job is done twice."""
    host.grow()
    host.slow.write_text("3")
    worker = host.start()
    try:
        job = host.dispatch()
        host.wait_for(lambda: attempt_pids(host))
        for _ in range(2):
            worker.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        worker.wait(100)
        host.wait_for(lambda: not attempt_pids(host) and not worker_pids(host))
    finally:
        host.kill(worker)
    host.slow.unlink()
    with host.working():
        later = host.dispatch()
        host.wait_for(lambda: any(a.job == later and a.ending == "done" for a in host.attempts()))
    assert host.rotations() == 1
    assert sum(a.job == job and a.ending == "done" for a in host.attempts()) <= 1


NOT_FOR_IT: list[tuple[dict[str, object], str]] = [
    ({"v": 0}, "stale"), ({"v": 99}, "refused"), ({"enqueued": 1.0, "expires": 2.0}, "stale"),
    ({"host": "elsewhere"}, "refused"), ({"config": "/etc/other.toml"}, "refused"),
]  # fmt: skip


def test_jobs_that_are_not_for_this_worker(host: Host) -> None:
    """Too old or expired: dropped. No payload, too new, or for another host or configuration: a failure, which no retry
    makes right. The worker goes on."""
    host.grow()
    host.engine.dispatch("gibberish")
    for change, _ in NOT_FOR_IT:
        queued(host, **change)
    endings = ["refused", *(ending for _, ending in NOT_FOR_IT)]
    with host.working():
        host.wait_for_endings(*endings)
        assert all(attempt.final for attempt in host.attempts())
        assert host.rotations() == 0 and counts(host)["scheduled"] == 0
        assert len(host.queue("failed", "--json").json["failed"]) == endings.count("refused")
        host.dispatch()
        host.wait_for_endings(*endings, "done")


def test_busy_is_a_success(host: Host) -> None:
    """Another run holds the lock: it does the work, and the job is not tried again."""
    from filelock import FileLock

    host.grow()
    (host.folder / "state").mkdir(mode=0o700)
    with FileLock(str(host.folder / "state" / "lock")), host.working():
        host.dispatch()
        host.wait_for_endings("busy")
        assert host.attempts()[0].final
    assert host.rotations() == 0


def test_a_changed_configuration_is_used(host: Host) -> None:
    """The worker reads its configuration for each job: the new one holds, and the history says so."""
    host.dispatch()
    host.config.write_text(host.config.read_text().replace("1K", "1G"))
    host.grow()
    with host.working():
        host.wait_for_endings("done")
    assert host.rotations() == 0
    assert "configuration has changed" in host.attempts()[0].detail


def test_a_broken_configuration_is_no_reason_to_try_again(host: Host) -> None:
    """Permanent errors are never retried: one attempt, and a message that says where."""
    host.grow()
    with host.working():
        host.dispatch()
        host.wait_for_endings("done")
        text = host.config.read_text()
        engine, site = host.engine, host.site
        host.config.write_text(text.replace("max_size", "max_sise"))
        dispatch(site, engine, datetime.now(UTC))
        host.wait_for_endings("done", "refused")
        assert "max_sise" in host.attempts()[-1].detail
        host.config.write_text(text)


def test_two_hosts_on_one_server_rotate_their_own_logs(make_host: MakeHost) -> None:
    """Rotation is local: each host has its queue, and the status knows both."""
    alpha, beta = make_host("alpha"), make_host("beta")
    for host in (alpha, beta):
        host.grow()
    with alpha.working(), beta.working():
        alpha.dispatch()
        alpha.wait_for_endings("done")
        assert (alpha.rotations(), beta.rotations()) == (1, 0)
        beta.dispatch()
        beta.wait_for_endings("done")
    assert (alpha.rotations(), beta.rotations()) == (1, 1)
    alpha.dispatch()
    found = {count.queue: count.pending for count in beta.engine.counts(beta.site.settings.name)}
    assert found[alpha.site.queue] == 1
    assert found.get(beta.site.queue, 0) == 0


def test_pending_jobs_are_counted_listed_and_forgotten(host: Host) -> None:
    """What waits is JSON with our payload, and can be taken off the queue again."""
    jobs = [host.dispatch() for _ in range(3)]
    assert counts(host)["pending"] == 3
    kept = host.engine.pending(host.site.queue)
    assert [json.loads(job.payload)["id"] for job in kept] == jobs
    (count,) = host.engine.counts(host.site.queue)
    assert count.oldest == pytest.approx(json.loads(kept[0].payload)["enqueued"], abs=5)
    assert host.engine.forget(host.site.queue, [job.key for job in kept[:2]]) == 2
    assert counts(host)["pending"] == 1
    assert [json.loads(job.payload)["id"] for job in host.engine.pending(host.site.queue)] == jobs[2:]


def long_payloads(host: Host) -> list[str]:
    """As a stranger may send them: each has nearly the most bytes that are read, or more, and none is acceptable."""
    pad = "x" * 60_000
    odd: list[dict[str, object]] = [
        {"task": "logrotor.rotate", "v": 1, "pad": pad}, {"task": "os.system", "v": 1, "argv": pad},
        {"task": "logrotor.rotate", "v": "1", "id": pad}, {"task": "logrotor.rotate", "v": 99, "app": pad},
    ]  # fmt: skip
    texts = [json.dumps({**each, "number": number}) for number in range(8) for each in odd]
    return [*texts, "y" * 200_000, "[" * 60_000, json.dumps([pad]), "?" + pad]


def test_a_strangers_long_payloads(host: Host) -> None:
    """36 jobs of 60 KiB that are refused: the worker goes on, each is counted, and the history keeps little of each."""
    planted = long_payloads(host)
    for text in planted:
        host.engine.dispatch(text)
    host.grow()
    with host.working() as worker:
        job = host.dispatch()
        host.wait_for(lambda: [a.ending.value for a in host.attempts() if a.job == job] == ["done"])
        assert worker.poll() is None
    assert host.endings().count("refused") == len(planted)
    kept = [attempt for attempt in host.attempts() if attempt.ending.value == "refused"]
    assert max(len(attempt.payload or "") + len(attempt.detail) for attempt in kept) < 6000
    assert (host.folder / "state" / "history.sqlite").stat().st_size < 10 * len(planted) * 1024
    causes = host.queue("failed", "--json").json["failed"]
    assert sum(cause["count"] for cause in causes) == len(planted) and len(causes) < 5
    host.queue("clear", "--failed")
    assert host.queue("failed", "--json").json["failed"] == []
