"""rq: what only it promises, on a real server."""

from __future__ import annotations

import json
import os
import signal
import time
import zlib
from contextlib import suppress

import pytest
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.scheduler import RQScheduler

from logrotor.jobs.engines import rq
from logrotor.jobs.payload import TASK
from tests.jobs.bench import Host, attempt_pids
from tests.jobs.redis_server import children, engine_of, server, values
from tests.support import command

pytestmark = [pytest.mark.servers, pytest.mark.parametrize("engine", ["rq"]), pytest.mark.timeout(180)]


def test_nothing_is_pickled(host: Host) -> None:
    """A pending, a retried and a failed job: all of it is text and JSON, and the task's path is the frozen one."""
    redis = server(host)
    redis.flushdb()  # what tests of other engines left there is theirs
    assert rq.FUNCTION == "logrotor.jobs.engines.rq.perform"
    host.config.write_text(host.config.read_text().replace('backoff = ["1s", "2s"]', 'tries = 2\nbackoff = ["1s"]'))
    with host.working():
        host.dispatch()
        host.wait_for(lambda: host.endings() == ["failed"])
        between = values(redis)
        host.wait_for_endings("failed", "failed")
    host.dispatch()
    (job,) = (redis.hgetall(f"rq:job:{kept.key}") for kept in host.engine.pending(host.site.queue))
    function, instance, args, kwargs = json.loads(zlib.decompress(job[b"data"]))
    assert (function, instance, kwargs) == (rq.FUNCTION, None, {})
    assert job[b"description"].decode() == TASK
    (text,) = args
    assert json.loads(text)["task"] == TASK
    for value in (*between, *values(redis)):
        plain = zlib.decompress(value) if value.startswith(b"x\x9c") else value
        assert not plain.startswith(b"\x80") and b"gASV" not in plain, plain  # pickle, and the same in base64
        plain.decode()  # text


def test_a_job_whose_worker_was_killed_is_not_called_running(host: Host) -> None:
    """kill -9 of all that works: history and clear say that its process is gone, and so is that of its run."""
    host.grow()
    host.slow.write_text("600")
    worker = host.start()
    job = host.dispatch()
    host.wait_for(lambda: attempt_pids(host))
    assert "is at work" in host.queue("clear", job, check=1).stderr
    assert [each["state"] for each in host.queue("status", "--json").json["workers"]] == ["at work"]
    horses = children(engine_of(host, worker))
    host.kill(worker)
    for pid in horses:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    host.wait_for(lambda: "is gone" in host.queue("clear", job, check=1).stderr)
    host.wait_for(lambda: not attempt_pids(host))
    told = command.logrotor("history", "-c", host.config, "--job", job, env=host.variables, check=0).stdout
    assert "is gone" in told and "goes on" not in told


def test_a_killed_work_horse_makes_a_failed_job(host: Host) -> None:
    """Its attempt dies with it, rq files the job at once, and it is not run again."""
    host.grow()
    host.slow.write_text("600")
    with host.working() as worker:
        job = host.dispatch()
        host.wait_for(lambda: attempt_pids(host))
        (horse,) = (pid for pid in children(engine_of(host, worker)) if os.getpgid(pid) == pid)
        os.kill(horse, signal.SIGKILL)
        host.wait_for(lambda: not attempt_pids(host))
        host.wait_for(lambda: host.engine.failed(host.site.queue))
    (kept,) = host.engine.failed(host.site.queue)
    assert json.loads(kept.payload)["id"] == job
    assert "Work-horse terminated" in kept.error
    assert len(host.attempts()) == 1


def test_a_killed_workers_job_is_filed_as_failed_by_the_next_worker(host: Host) -> None:
    """kill -9 of the worker alone: all its processes die with it; the job is reserved until its time is up."""
    host.grow()
    host.slow.write_text("600")
    worker, redis, queue = host.start(), server(host), host.site.queue
    job = host.dispatch()
    host.wait_for(lambda: attempt_pids(host))
    engine = engine_of(host, worker)
    helpers = children(engine)
    assert len(helpers) == 2  # the work horse and rq's scheduler
    os.kill(engine, signal.SIGKILL)
    worker.wait()
    host.wait_for(lambda: not attempt_pids(host) and not any(os.path.exists(f"/proc/{pid}") for pid in helpers))
    assert not redis.exists(RQScheduler.get_locking_key(queue))
    (count,) = host.engine.counts(queue)
    assert (count.pending, count.reserved, count.failed) == (0, 1, 0)

    registry = StartedJobRegistry(queue, redis, serializer=rq.JSONSerializer)
    ((execution, until),) = redis.zrange(registry.key, 0, -1, withscores=True)
    assert 30 < until - time.time() <= 90
    redis.zadd(registry.key, {execution: time.time() - 1})  # that time later
    host.slow.unlink()
    with host.working():
        host.wait_for(lambda: host.engine.failed(queue))
        (kept,) = host.engine.failed(queue)
        assert json.loads(kept.payload)["id"] == job and "AbandonedJobError" in kept.error
        assert len(host.attempts()) == 1
        host.dispatch()
        host.wait_for(lambda: host.endings()[-1] == "done")
    (count,) = host.engine.counts(queue)
    assert (count.pending, count.reserved, count.failed) == (0, 0, 1)


def test_one_scheduler_for_each_queue(host: Host) -> None:
    """A second worker of the same host finds the lock taken, and a retry is delivered once."""
    with host.working() as first:
        one = engine_of(host, first)
        host.wait_for(lambda: len(children(one)) == 1)
        with host.working() as second:
            other = engine_of(host, second)
            key = RQScheduler.get_locking_key(host.site.queue)
            host.wait_for(lambda: server(host).exists(key))
            host.dispatch()
            host.wait_for_endings("failed", "failed", "failed")
            host.wait_for(lambda: len(children(one)) + len(children(other)) == 1)  # the last horse has gone
    assert not server(host).exists(key)


def test_failed_jobs_leave_after_a_day(host: Host) -> None:
    """What the history has anyway does not fill the server's memory; a job that went well leaves nothing at all."""
    redis = server(host)
    with host.working():
        host.engine.dispatch("gibberish")
        host.wait_for_endings("refused")
        host.wait_for(lambda: host.engine.failed(host.site.queue))
        (kept,) = host.engine.failed(host.site.queue)
        assert 86000 < redis.ttl(f"rq:job:{kept.key}") <= rq.KEEP_FAILED
        registry = FailedJobRegistry(host.site.queue, redis, serializer=rq.JSONSerializer)
        assert 86000 < registry.connection.zscore(registry.key, kept.key) - time.time() <= rq.KEEP_FAILED
        before = set(redis.scan_iter("rq:job:*"))
        host.grow()
        host.dispatch()
        host.wait_for_endings("refused", "done")
        host.wait_for(lambda: set(redis.scan_iter("rq:job:*")) == before)
    assert "Traceback" not in host.said()


def crafted(host: Host, name: str, data: object = None, **fields: str) -> None:
    """A job as somebody with access to the server would write it, without rq."""
    redis, data = server(host), [rq.FUNCTION, None, ["{}"], {}] if data is None else data
    redis.hset(f"rq:job:{name}", mapping={"data": json.dumps(data), "origin": host.site.queue, **fields})
    redis.sadd("rq:queues", f"rq:queue:{host.site.queue}")
    redis.rpush(f"rq:queue:{host.site.queue}", name)


def test_whoever_writes_to_the_server_cannot_make_the_worker_call_anything(host: Host) -> None:
    """rq calls what a job names; here nothing is called but the rotation, and the worker goes on."""
    here = [str(host.folder / name) for name in ("function", "callback")]
    crafted(host, "function", ["os.mkdir", None, [here[0]], {}])
    crafted(host, "method", ["upper", "text", [], {}])
    for callback in ("success", "failure"):
        crafted(host, callback, **{f"{callback}_callback_name": "os.abort"})
    with host.working():
        job = host.dispatch()
        host.wait_for(lambda: [a.ending.value for a in host.attempts() if a.job == job] == ["failed"])
    assert not any(map(os.path.exists, here))
    errors = {kept.key: kept.error for kept in host.engine.failed(host.site.queue)}
    assert all("LookupError" in errors[name] for name in ("function", "method"))


def test_what_rq_cannot_read_ends_no_worker_and_no_command(host: Host) -> None:
    """A hash that is no job of rq, and one whose arguments are of another kind."""
    crafted(host, "status", status="on fire")
    crafted(host, "date", created_at="yesterday")
    crafted(host, "number", timeout="soon")
    crafted(host, "shape", {"args": "none"})
    crafted(host, "empty", [rq.FUNCTION, None, {}, {}])
    host.queue("status", "--json")
    host.queue("clear", "--stale")
    host.grow()
    with host.working():
        job = host.dispatch()
        host.wait_for(lambda: [a.ending.value for a in host.attempts() if a.job == job] == ["done"])
    host.queue("failed", "--json")


def test_keys_of_jobs_of_another_kind(host: Host) -> None:
    """What stands where a job should be: a text, a list, a set, nothing at all; on the queue and among the failed."""
    redis, queue = server(host), host.site.queue
    makers = {
        "text": lambda key: redis.set(key, "x"), "list": lambda key: redis.rpush(key, "x"),
        "set": lambda key: redis.sadd(key, "x"), "sorted": lambda key: redis.zadd(key, {"x": 1}), "none": redis.delete,
    }  # fmt: skip
    registries = [FailedJobRegistry(queue, connection=redis), StartedJobRegistry(queue, connection=redis)]
    redis.sadd("rq:queues", f"rq:queue:{queue}")
    for kind, make in makers.items():
        for number, registry in enumerate([None, *registries]):
            name = f"odd-{kind}-{number}"
            make(f"rq:job:{name}")
            redis.sadd(f"rq:results:{name}", "x")
            if registry is None:
                redis.rpush(f"rq:queue:{queue}", name)
            else:
                redis.zadd(registry.key, {name: time.time() + 3600})
    host.queue("status", "--json")
    host.queue("clear", "--stale")
    host.grow()
    with host.working() as worker:
        job = host.dispatch()
        host.wait_for(lambda: [a.ending.value for a in host.attempts() if a.job == job] == ["done"])
        assert worker.poll() is None
    host.queue("failed", "--json")
    host.queue("clear", "--failed")
    assert host.queue("status", "--json").code == 0


def test_while_rq_is_suspended_workers_wait(host: Host) -> None:
    """`rq suspend`, or whatever has that key: one that starts meanwhile waits as well, instead of ending."""
    redis = server(host)
    redis.rpush("rq:suspended", "odd")
    host.grow()
    try:
        with host.working() as worker:
            host.wait_for(lambda: any(event["event"] == "worker.waiting" for event in host.events()))
            host.dispatch()
            assert worker.poll() is None and host.attempts() == []
            redis.delete("rq:suspended")
            host.wait_for_endings("done")
    finally:
        redis.delete("rq:suspended")


def test_a_worker_that_rq_ends_begins_again(host: Host) -> None:
    """An error of the server's, in the middle of the work, is not the end; it is asked to stop, and stops at once."""
    with host.working() as worker:
        host.wait_for(lambda: server(host).smembers(f"rq:workers:{host.site.queue}"))
        for key in server(host).keys("rq:worker:*"):
            server(host).set(key, "x")  # what it beats its heart on
        host.wait_for(lambda: any(event["event"] == "worker.waiting" for event in host.events()))
        host.grow()
        host.dispatch()
        host.wait_for_endings("done")
        assert worker.poll() is None
    assert worker.returncode == 0
