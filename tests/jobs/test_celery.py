"""celery: what only it promises, on a real server."""

from __future__ import annotations

import base64
import json
import os
import signal
import time

import pytest

from logrotor.jobs.engines._kombu import limits
from logrotor.jobs.engines.celery import UNACKED, Celery, make
from logrotor.jobs.payload import TASK
from tests.jobs.bench import Host, attempt_pids, worker_pids
from tests.jobs.conftest import MakeHost
from tests.jobs.redis_server import children, engine_of, server, values

pytestmark = [pytest.mark.servers, pytest.mark.parametrize("engine", ["celery"]), pytest.mark.timeout(180)]


def held(host: Host) -> list[dict[str, object]]:
    """The messages that workers have taken from the queue of this host."""
    kept = (json.loads(value) for value in server(host).hvals(UNACKED))
    return [message for message, _, queue in kept if queue == host.site.queue]


def test_nothing_is_pickled(host: Host) -> None:
    """A waiting, a running and a retried job: all that lies in the server is JSON, under the frozen name."""
    server(host).flushdb()  # what tests of other engines left there is theirs
    host.config.write_text(host.config.read_text().replace('backoff = ["1s", "2s"]', 'backoff = ["60s"]'))
    with host.working():
        host.dispatch()
        host.wait_for(lambda: host.endings() == ["failed"])
        host.wait_for(lambda: len(held(host)) == 1)
        between = values(server(host))
    host.dispatch()
    for raw in server(host).lrange(host.site.queue, 0, -1):
        message = json.loads(raw)
        assert (message["content-type"], message["headers"]["task"]) == ("application/json", TASK)
        (text,), kwargs, _ = json.loads(base64.b64decode(message["body"]))
        assert (json.loads(text)["task"], kwargs) == (TASK, {})
    for value in (*between, *values(server(host))):
        value.decode()  # text
        assert not value.startswith(b"\x80") and b'"gASV' not in value  # pickle, and the same in base64
    conf = make(host.site).conf
    assert (conf.accept_content, conf.task_serializer, conf.result_serializer) == (["json"], "json", "json")


def test_the_program_that_dispatches_keeps_its_own_celery(host: Host) -> None:
    """An application that has a celery of its own may dispatch: the current app stays its own."""
    from celery import Celery as Own
    from celery import current_app

    with Own("own", broker="memory://") as own:
        host.engine.dispatch("gibberish")
        assert current_app._get_current_object() is own


def test_a_killed_process_is_a_try_and_the_job_is_delivered_again(host: Host) -> None:
    """The pool's process dies, and the attempt with it; the job comes back at once, as the second of its tries."""
    host.grow()
    host.slow.write_text("600")
    with host.working() as worker:
        job = host.dispatch()
        host.wait_for(lambda: attempt_pids(host))
        (first,) = attempt_pids(host)
        host.slow.unlink()
        for pid in children(engine_of(host, worker)):
            os.kill(pid, signal.SIGKILL)
        host.wait_for(lambda: first not in attempt_pids(host))
        host.wait_for(lambda: host.endings()[-1:] == ["done"])
    assert {attempt.job for attempt in host.attempts()} == {job}
    assert [attempt.number for attempt in host.attempts()] == [1, 2]
    assert host.rotations() == 1


def test_a_killed_workers_job_is_delivered_again_when_its_time_is_up(host: Host) -> None:
    """kill -9 of the worker alone: its processes die with it; the next worker gets the job when its time is up."""
    host.grow()
    host.slow.write_text("600")
    worker = host.start()
    job = host.dispatch()
    host.wait_for(lambda: attempt_pids(host))
    engine = engine_of(host, worker)
    helpers = children(engine)
    os.kill(engine, signal.SIGKILL)
    worker.wait()
    host.wait_for(lambda: not attempt_pids(host) and not any(os.path.exists(f"/proc/{pid}") for pid in helpers))
    host.slow.unlink()
    (count,) = host.engine.counts(host.site.queue)
    assert (count.pending, count.reserved) == (0, 1)

    redis, index = server(host), f"{UNACKED}_index"
    _, timeout = limits(host.site)
    assert timeout >= host.site.settings.job.reclaim_after
    for tag in redis.hkeys(UNACKED):  # that time later
        redis.zadd(index, {tag: time.time() - timeout - 1})
    with host.working():
        host.wait_for(lambda: host.endings()[-1:] == ["done"])
    assert {attempt.job for attempt in host.attempts()} == {job}
    assert [attempt.number for attempt in host.attempts()] == [1, 2]
    assert host.rotations() == 1


def test_a_job_that_waits_for_its_next_attempt_outlives_its_worker(host: Host) -> None:
    """A stopped worker gives it back, and the next one holds it until its time has come."""
    host.config.write_text(host.config.read_text().replace('backoff = ["1s", "2s"]', 'backoff = ["8s"]\ntries = 2'))
    with host.working():
        job = host.dispatch()
        host.wait_for_endings("failed")
        host.wait_for(lambda: host.engine.counts(host.site.queue)[0].scheduled == 1)
    (count,) = host.engine.counts(host.site.queue)
    assert (count.pending, count.scheduled, count.reserved) == (1, 0, 0)
    with host.working():
        host.wait_for_endings("failed", "failed")
    first, second = host.attempts()
    assert first.job == second.job == job
    assert first.ended is not None and second.started - first.ended >= 8.0


def test_its_limits_are_those_of_the_configuration(host: Host) -> None:
    """celery's hard limit comes after ours; what it gives to another worker is over by then, and a backoff as well."""
    site = host.site
    assert limits(site) == (site.settings.job.engine_timeout, site.settings.job.reclaim_after)
    host.config.write_text(host.config.read_text().replace('backoff = ["1s", "2s"]', 'backoff = ["1s", "40m"]'))
    assert limits(site)[1] > 2400
    assert isinstance(host.engine, Celery) and host.engine.failed(host.site.queue) == []


@pytest.mark.long
def test_a_job_that_may_take_longer_than_it_might_once_is_done_once(host: Host) -> None:
    """`timeout` was raised under a worker: celery's limits of before neither end the job nor deliver it again."""
    usual = host.config.read_text()
    host.config.write_text(usual.replace('timeout = "20s"', 'timeout = "1s"'))
    _, before = limits(host.site)
    host.grow()
    with host.working():
        host.wait_for(lambda: worker_pids(host))
        host.config.write_text(usual.replace('timeout = "20s"', 'timeout = "60s"'))
        host.slow.write_text(str(before + 12))  # celery looks every 10 s
        job = host.dispatch()
        host.wait_for_endings("done")
        host.slow.unlink()
        host.grow()
        host.dispatch()
        host.wait_for_endings("done", "done")
    assert [attempt.job for attempt in host.attempts()].count(job) == 1
    assert host.rotations() == 2


def test_jobs_of_other_hosts_are_theirs(make_host: MakeHost) -> None:
    """All hosts of a server share one account of jobs at work: a worker with short limits gives no other's job away."""
    alpha, beta = make_host("alpha"), make_host("beta")
    beta.engine.dispatch("gibberish")
    redis = server(alpha)
    message = json.loads(redis.rpop(beta.site.queue) or b"")
    redis.hset(UNACKED, "of-beta", json.dumps([message, "logrotor", beta.site.queue]))
    redis.zadd(f"{UNACKED}_index", {"of-beta": 1.0})
    redis.zadd(f"{UNACKED}_index", {"of-nobody": 1.0})
    with alpha.working():
        alpha.wait_for(lambda: redis.zscore(f"{UNACKED}_index", "of-nobody") is None)
    assert redis.hexists(UNACKED, "of-beta") and redis.llen(beta.site.queue) == 0
    with beta.working():
        beta.wait_for_endings("refused")


HOSTILE = [
    b"\x80\x04junk", b"7", b"{}", b'{"headers": 5, "body": 5}', b'{"headers": {"id": 1}, "body": "!"}', b"[" * 100_000,
    b'{"headers": {"task": "os.mkdir", "id": "a"}, "body": "W10=", "content-type": "application/x-python-serialize", '
    b'"content-encoding": "binary", "properties": {"delivery_tag": "a", "delivery_info": {}, '
    b'"body_encoding": "base64"}}',
]  # fmt: skip


def test_what_is_no_message_ends_no_command(host: Host) -> None:
    """Whoever may write to the server: what stands there in another form is counted, and the rest is shown."""
    redis = server(host)
    host.dispatch()
    for place, value in enumerate(HOSTILE):
        redis.rpush(host.site.queue, value)
        redis.hset(UNACKED, f"hostile-{place}", value)
    redis.hset(UNACKED, "eta", json.dumps([{"headers": {"eta": "soon"}}, "", host.site.queue]))
    try:
        (found,) = [q for q in host.queue("status", "--json").json["queues"] if q["queue"] == host.site.queue]
        assert found["pending"] == len(HOSTILE) + 1 and found["scheduled"] == 0
        host.queue("clear", "--stale")
        host.queue("failed")
    finally:
        redis.delete(UNACKED)


def test_what_is_no_message_ends_no_worker(host: Host) -> None:
    """A job that comes after them is done."""
    redis = server(host)
    for value in HOSTILE:
        redis.lpush(host.site.queue, value)
    host.grow()
    with host.working():
        job = host.dispatch()
        host.wait_for(lambda: [a.ending.value for a in host.attempts() if a.job == job] == ["done"])
