"""What only procrastinate promises: its tables, its rows, its errors, and the jobs of killed workers."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from logrotor.jobs.dispatch import dispatch
from logrotor.jobs.engine import QueueUnreachable
from tests.jobs.bench import Host, attempt_pids
from tests.jobs.conftest import MakeHost
from tests.jobs.servers import PASSWORD, forwarded, free_port

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def engine() -> str:
    return "procrastinate"


@pytest.fixture
def sql(urls: Callable[[str], str], engine: str) -> Iterator[Sql]:
    """Statements as the superuser, in the database that all share."""
    yield from _connected(urls(engine))


def _connected(url: str) -> Iterator[Sql]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:

        def run(statement: str, *values: object) -> list[tuple[Any, ...]]:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture
def fresh(sql: Sql, host: Host) -> Iterator[Sql]:
    """A database without tables, which the host has for its queue from now on."""
    name = f"fresh_{uuid4().hex}"
    sql(f"CREATE DATABASE {name}")
    host.url = at(host.url, path=f"/{name}")
    yield from _connected(host.url)
    sql(f"DROP DATABASE {name} WITH (FORCE)")


def at(url: str, *, user: str | None = None, port: int | None = None, path: str | None = None) -> str:
    """``url`` with another user, port or database."""
    parts = urlsplit(url)
    place = f"{user or parts.username}:{PASSWORD}@{parts.hostname}:{port or parts.port}"
    return urlunsplit(parts._replace(netloc=place, path=parts.path if path is None else path))


# ---------------------------------------------------------------- tables and rows


def test_two_first_dispatches_make_the_tables_once(host: Host, fresh: Sql) -> None:
    """Whoever comes second waits and finds them; both jobs are queued, and nobody sees an error."""
    fresh("SELECT pg_advisory_lock(hashtext('procrastinate_jobs'))")
    engines = [host.engine, host.engine]
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(engine.dispatch, "gibberish") for engine in engines]
        # Both have seen that there are no tables.
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        host.wait_for(lambda: fresh(waiting) == [(2,)])
        fresh("SELECT pg_advisory_unlock(hashtext('procrastinate_jobs'))")
        for future in both:
            future.result()
    assert fresh("SELECT count(*) FROM procrastinate_jobs WHERE queue_name = %s", host.site.queue) == [(2,)]


def test_rows_hold_json(host: Host, sql: Sql) -> None:
    """One argument, the payload's text; anybody can read it, and nothing is pickled."""
    job = host.dispatch()
    ((task, text, kind),) = sql(
        "SELECT task_name, args, pg_typeof(args)::text FROM procrastinate_jobs WHERE queue_name = %s", host.site.queue
    )
    assert (task, kind, list(text)) == ("logrotor.rotate", "jsonb", ["text"])
    assert json.loads(text["text"])["id"] == job


def test_an_old_database_is_to_be_migrated(host: Host, fresh: Sql) -> None:
    """Tables of another version of procrastinate are left alone, and the message says what to do."""
    fresh("CREATE TABLE procrastinate_jobs (id bigint)")
    result = host.queue("dispatch", check=None)
    assert result.code != 0 and "migrations.html" in result.stderr, result


def test_a_user_who_may_not_make_tables_is_told_what_to_do(host: Host, fresh: Sql) -> None:
    """PostgreSQL 15 lets nobody but the owner create tables in a database; the tables may also be made beforehand."""
    name = f"guest_{uuid4().hex}"
    owner = host.url
    fresh(f"CREATE USER {name} PASSWORD '{PASSWORD}'")
    host.url = at(owner, user=name)
    result = host.queue("dispatch", check=None)
    assert result.code != 0 and "GRANT CREATE ON SCHEMA public" in result.stderr, result
    assert PASSWORD not in str(result)
    fresh(f"GRANT CREATE ON SCHEMA public TO {name}")
    host.dispatch()
    fresh(f"DROP OWNED BY {name}")
    fresh(f"DROP USER {name}")


def test_counts_of_a_prefix_take_it_literally(make_host: MakeHost) -> None:
    """% and _ stand for themselves."""
    host = make_host("alpha")
    host.dispatch()
    assert host.engine.counts("%") == []
    assert host.engine.counts(host.site.queue.replace("-", "_")) == []
    assert [count.pending for count in host.engine.counts(host.site.queue[:-1])] == [1]


def test_a_dispatch_leaves_no_thread_and_no_connection(host: Host, fresh: Sql) -> None:
    """It is a call of a short-lived command, or of a loop that sleeps for an hour."""
    before = threading.active_count()
    dispatch(host.site, host.engine, datetime.now(UTC))
    assert threading.active_count() == before
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'logrotor' AND datname = current_database()"
    host.wait_for(lambda: fresh(left) == [(0,)])


# ---------------------------------------------------------------- the worker


def test_a_job_of_a_killed_worker_is_given_to_the_next_one(host: Host, sql: Sql) -> None:
    """Not before it may be: then it is tried again, and no longer counts as being worked on."""
    host.grow()
    host.slow.write_text("600")
    worker = host.start()
    job = host.dispatch()
    host.wait_for(lambda: attempt_pids(host))
    host.kill(worker)
    host.slow.unlink()
    with _upkeep(host, sql):
        pass
    assert [count.reserved for count in host.engine.counts(host.site.queue)] == [1]

    sql("UPDATE procrastinate_workers SET last_heartbeat = now() - make_interval(secs => %s)",
        host.site.settings.job.reclaim_after + 1)  # fmt: skip
    with _upkeep(host, sql):
        host.wait_for_endings("lost", "done")
        host.wait_for(lambda: [count.reserved for count in host.engine.counts(host.site.queue)] == [0])
    assert [(attempt.job, attempt.number) for attempt in host.attempts()] == [(job, 1), (job, 2)]
    assert host.rotations() == 1
    assert host.queue("failed", "--json").json["failed"] == []


def test_failed_jobs_that_nobody_clears_go_after_a_month(host: Host, sql: Sql) -> None:
    """A job that fails at each tick must not fill the database."""
    host.engine.dispatch("gibberish")
    # Not one of the same cause, which would join the other: the engine itself refuses it.
    columns = "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
    sql(f"{columns} VALUES (%s, 'logrotor.rotate', '{{}}')", host.site.queue)
    with host.working():
        host.wait_for(lambda: [count.failed for count in host.engine.counts(host.site.queue)] == [2])
    old, young = host.engine.failed(host.site.queue)
    sql("UPDATE procrastinate_events SET at = at - interval '31 days' WHERE job_id = %s", int(old.key))
    with _upkeep(host, sql):
        pass
    assert host.engine.failed(host.site.queue) == [young]


@contextmanager
def _upkeep(host: Host, sql: Sql) -> Iterator[None]:
    """A worker that has done its upkeep, as if the minute of the last one were over."""
    mine = "FROM procrastinate_periodic_defers WHERE periodic_id = %s"
    sql(f"DELETE {mine}", host.site.queue)
    with host.working():
        # A job that is done is gone from its row.
        host.wait_for(lambda: sql(f"SELECT id {mine} AND job_id IS NULL", host.site.queue))
        yield


def test_a_worker_has_one_connection(host: Host, fresh: Sql) -> None:
    """So that many hosts may share a server."""
    host.grow()
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with host.working():
        host.dispatch()
        host.wait_for_endings("done")
        host.wait_for(lambda: fresh(f"SELECT count(*) {others}") == [(1,)])


# ---------------------------------------------------------------- errors


def test_a_worker_waits_for_its_server(host: Host, urls: Callable[[str], str]) -> None:
    """A process manager would give up on one that ends again and again. It says so, and works once the server runs."""
    host.grow()
    host.dispatch()
    port = free_port()
    host.url = at(urls("procrastinate"), port=port)
    with host.working():
        host.wait_for(lambda: [event["event"] for event in host.events()] == ["worker.started", "worker.waiting"])
        with forwarded(port, int(urlsplit(urls("procrastinate")).port or 0)):
            host.wait_for_endings("done")
    assert "logrotor:***@127.0.0.1" in host.said() and PASSWORD not in host.said()


def test_a_dispatch_that_gave_up_is_not_done_later(host: Host, sql: Sql, urls: Callable[[str], str]) -> None:
    """Tables that are locked, by a migration or VACUUM FULL: each dispatch fails in time, and none waits."""
    import psycopg

    host.dispatch()
    with psycopg.connect(urls("procrastinate")) as migration:
        migration.execute("LOCK TABLE procrastinate_jobs IN ACCESS EXCLUSIVE MODE")
        for _ in range(2):
            with pytest.raises(QueueUnreachable) as caught:
                host.engine.dispatch("gibberish")
            assert caught.value.problem.kind == "locked"
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'procrastinate_jobs'::regclass"
        assert sql(waiting) == [(0,)]
    assert [count.pending for count in host.engine.counts(host.site.queue)] == [1]


@pytest.mark.long
def test_a_worker_whose_packets_are_swallowed_works_again_and_can_be_stopped(
    host: Host, urls: Callable[[str], str]
) -> None:
    """The connection is open on both sides, and nothing comes: it is given up, and TERM is heard meanwhile."""
    port = free_port()
    host.url = at(urls("procrastinate"), port=port)
    with forwarded(port, int(urlsplit(urls("procrastinate")).port or 0)) as proxy:
        worker = host.start()
        try:
            host.grow()
            host.dispatch()
            host.wait_for_endings("done")
            proxy.send_signal(signal.SIGSTOP)
            assert worker.wait(60) == 1  # for its manager
            worker = host.start()
            host.wait_for(lambda: "worker.waiting" in host.said())
            proxy.send_signal(signal.SIGCONT)
            host.grow()
            host.dispatch()
            host.wait_for_endings("done", "done")
            proxy.send_signal(signal.SIGSTOP)
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)
        finally:
            host.kill(worker)


def test_unreachable_errors_pickle(host: Host) -> None:
    """As all errors of logrotor."""
    import pickle

    host.url = at(host.url, port=free_port())
    with pytest.raises(QueueUnreachable) as caught:
        host.engine.dispatch("x")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_rows_that_are_no_jobs(host: Host, sql: Sql) -> None:
    """Whoever may write to the database: the worker files them as failed and goes on, and every command shows them."""
    args = ["{}", '{"text": null}', '{"text": 5}', '{"text": ["a"]}', '{"text": "\\ud7ff"}', '{"text": "x", "more": 1}']
    host.engine.counts(host.site.queue)  # makes the tables
    for one in args:
        sql(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES (%s, 'logrotor.rotate', %s::jsonb)",
            host.site.queue, one,
        )  # fmt: skip
    host.queue("status", "--json")
    assert host.queue("clear", "--stale", "--json").json["removed"]["stale"] == 0
    host.grow()
    with host.working():
        job = host.dispatch()
        host.wait_for(lambda: [a.ending.value for a in host.attempts() if a.job == job] == ["done"])
    assert sum(cause["count"] for cause in host.queue("failed", "--json").json["failed"]) >= len(args) - 1
    host.queue("clear", "--failed")
    assert host.engine.failed(host.site.queue) == []


ROWS = {  # columns of a job, as somebody writes them who may write to the database
    "args": ["[]", "5", "null", '"text"', '[{"text": "{}"}]', '{"text": {"text": "{}"}}', '{"text": true}'],
    "task_name": ["os.system", "logrotor.upkeep", "", "x" * 120],
    "attempts": [2147483647, -1],
    "priority": [2147483647, -2147483648],
    "lock": ["x" * 60_000, ""],
    "queueing_lock": ["x" * 2000],
    "scheduled_at": ["-infinity", "4713-01-01 BC", "infinity"],
}


def test_columns_of_every_kind(host: Host, sql: Sql) -> None:
    """Of each row the worker makes a failed job, or leaves it alone; it goes on, and every command answers."""
    host.engine.counts(host.site.queue)  # makes the tables
    for column, values in ROWS.items():
        for value in values:
            row = {"task_name": "logrotor.rotate", "args": '{"text": "{}"}', column: value}
            marks = ", ".join(["%s", *("%s::jsonb" if name == "args" else "%s" for name in row)])
            names = ", ".join(["queue_name", *row])
            sql(f"INSERT INTO procrastinate_jobs ({names}) VALUES ({marks})", host.site.queue, *row.values())
    host.queue("status", "--json")
    host.queue("clear", "--stale")
    host.grow()
    with host.working() as worker:
        job = host.dispatch()
        host.wait_for(lambda: [a.ending.value for a in host.attempts() if a.job == job] == ["done"])
        assert worker.poll() is None
    for command in ("status", "failed"):
        host.queue(command, "--json")
    host.queue("clear", "--failed")
    assert host.engine.failed(host.site.queue) == []
