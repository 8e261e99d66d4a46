"""What holds for every engine on Redis: a restart of the server, and variables that name another one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from logrotor.jobs.engine import QueueUnreachable
from tests.jobs.bench import Host
from tests.jobs.redis_server import server as server_of
from tests.jobs.servers import PASSWORD, RedisServer, redis_in

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180), pytest.mark.parametrize("engine", ["rq", "celery"])]

ELSEWHERE = "redis://127.0.0.1:1/0"
VARIABLES = {
    "rq": {
        **dict.fromkeys(("RQ_REDIS_URL", "REDIS_URL"), ELSEWHERE), "RQ_CONFIG": "nowhere",
        **{f"RQ_{name}_CLASS": "nowhere.Nothing" for name in ("WORKER", "JOB", "QUEUE", "CONNECTION")},
    },
    "celery": {
        **dict.fromkeys(("BROKER_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"), ELSEWHERE),
        **dict.fromkeys(("CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"), ELSEWHERE),
    },
}  # fmt: skip


def test_no_variable_wins_over_the_configuration(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines prefer the server and the classes in their environment; logrotor's dispatch and worker do not."""
    elsewhere = VARIABLES[host.engine_name]
    for variable, value in elsewhere.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(Host, "environ", property(lambda self, old=Host.environ.fget: {**old(self), **elsewhere}))
    host.grow()
    host.dispatch()
    host.engine.dispatch("gibberish")
    (count,) = host.engine.counts(host.site.queue)
    assert count.pending == 2
    with host.working():
        host.wait_for_endings("done", "refused")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """One that writes all down, as in the examples."""
    (tmp_path / "redis").mkdir()
    made = redis_in(tmp_path / "redis", "appendonly yes\n")
    yield made
    made.stop()


@pytest.fixture
def lasting(server: RedisServer, engine: str, tmp_path: Path) -> Host:
    return Host(tmp_path / "alpha", engine, f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0")


def test_workers_outlive_a_restart_of_their_server(lasting: Host, server: RedisServer) -> None:
    """Away for two seconds: the worker goes on with new jobs and with retries, and no password is told."""
    lasting.grow()
    with lasting.working() as worker:
        lasting.dispatch()
        lasting.wait_for_endings("done")
        server.stop()
        time.sleep(2)
        server.start()
        lasting.log.unlink(missing_ok=True)
        job = lasting.dispatch()
        lasting.wait_for_endings("done", "failed", "failed", "failed")
        assert worker.poll() is None
    assert {attempt.job for attempt in lasting.attempts()[1:]} == {job}
    assert PASSWORD not in lasting.said()


def test_a_worker_of_a_silent_server_can_be_stopped(lasting: Host, server: RedisServer) -> None:
    """TERM is heard, and what is left to be said to the server holds nobody up until the manager kills."""
    with lasting.working() as worker:
        lasting.grow()
        lasting.dispatch()
        lasting.wait_for_endings("done")
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(lasting.site.settings.job.stop_wait / 2) == 0
        finally:
            os.kill(server.process.pid, signal.SIGCONT)


def test_a_server_with_too_many_clients_is_named_as_such(lasting: Host, server: RedisServer) -> None:
    """It runs, and the password is right: neither is the advice."""
    from redis import Redis

    with Redis.from_url(lasting.url) as admin:
        admin.config_set("maxclients", 1)
        for ask in (lasting.engine.dispatch, lasting.engine.counts):
            with pytest.raises(QueueUnreachable) as caught:
                ask("x")
            assert caught.value.problem.kind == "full"


def test_jobs_that_wait_outlive_a_restart_of_their_server(lasting: Host, server: RedisServer) -> None:
    """What was queued is there again, and is done once."""
    lasting.grow()
    jobs = [lasting.dispatch() for _ in range(3)]
    server.stop()
    server.start()
    kept = lasting.engine.pending(lasting.site.queue)
    assert [json.loads(entry.payload)["id"] for entry in kept] == jobs
    with lasting.working():
        lasting.wait_for_endings("done", "done", "done")
    assert [attempt.job for attempt in lasting.attempts()] == jobs


def plant(host: Host) -> list[str]:
    """Another kind of value under each key that a worker uses; returns the keys."""
    kinds = import_module(f"logrotor.jobs.engines.{host.engine_name}").kinds(host.site.queue)
    redis = server_of(host)
    for key, kind in kinds.items():
        redis.delete(key)
        redis.rpush(key, "x") if kind == "string" else redis.set(key, "x")
    return list(kinds)


@pytest.mark.parametrize("when", ["before", "while"])
def test_keys_of_another_kind_end_no_worker(host: Host, when: str) -> None:
    """Each ended every worker at once, some of them with exit 0; now they are set aside, and the jobs are done."""
    server_of(host).flushdb()
    host.grow()
    if when == "before":
        plant(host)
    with host.working() as worker:
        if when == "while":
            host.dispatch()
            host.wait_for_endings("done")
            plant(host)
            host.grow()
        before = host.rotations()
        host.dispatch()
        host.wait_for(lambda: host.rotations() > before)
        assert worker.poll() is None
    redis = server_of(host)
    aside = [key for key in redis.keys("*") if key.endswith(b":set-aside")]
    assert aside and host.queue("status", "--check").code == 0
    for _ in range(3):  # bounded: one for each key, whatever is planted
        plant(host)
        host.dispatch()
    kinds = import_module(f"logrotor.jobs.engines.{host.engine_name}").kinds(host.site.queue)
    assert len([key for key in redis.keys("*") if key.endswith(b":set-aside")]) <= len(kinds)
