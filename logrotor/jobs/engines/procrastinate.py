"""procrastinate on PostgreSQL: jobs are rows, and failed ones are kept. https://procrastinate.readthedocs.io

Its tables are made by whoever comes first. A job whose worker died is queued again by the next worker of its queue.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from threading import Timer
from typing import Any

import psycopg
from msgspec import Struct
from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision, SyncPsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job
from procrastinate.schema import SchemaManager
from psycopg import conninfo, errors

from logrotor.jobs.engine import (
    PATIENCE,
    Health,
    KeptJob,
    QueueCount,
    QueueUnreachable,
    Site,
    WorkerCommand,
    asking,
    one_line,
    open_site,
    python_worker,
)
from logrotor.jobs.engines import _worker
from logrotor.jobs.engines._postgresql import take_any_time
from logrotor.jobs.payload import TASK
from logrotor.jobs.task import JobFailed, TryAgain, rotate
from logrotor.model import Problem

UPKEEP = "logrotor.upkeep"
KEPT_DAYS = 30  # failed jobs that nobody has cleared
_PORTION = 2000  # jobs that one statement removes
_ANSWER = 10.0  # seconds that the server may take to answer a worker

Rows = list[tuple[Any, ...]]
Connection = psycopg.Connection[tuple[Any, ...]]


class Backoff(BaseRetryStrategy):
    """What the task has decided: the delay comes from the configuration as it is at run time."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, JobFailed):
            exception.with_traceback(None)  # procrastinate logs it: in one line, not in thirty
        if not isinstance(exception, TryAgain):
            return None
        return RetryDecision(retry_at=datetime.now(UTC) + timedelta(seconds=exception.delay))


def make(site: Site) -> App:
    """The app of the worker on this host's queue: the rotation, and what a killed worker leaves to be done."""
    after = site.settings.job.reclaim_after
    # One connection for all. The timeout, because a worker whose server is gone took over a minute to stop.
    connector = PsycopgConnector(
        conninfo=_with_limits(_conninfo(site)), connection_class=Bounded, kwargs={"prepare_threshold": None},
        min_size=1, max_size=1, timeout=_ANSWER, reconnect_timeout=_ANSWER, configure=take_any_time,
    )  # fmt: skip
    # Not before the jobs may be given away: the default, 30 s, would do it while one is still at work.
    app = App(connector=connector, worker_defaults={"stalled_worker_timeout": after})

    # Not async: procrastinate would cancel it at the end of its patience, and the attempt would be left alone.
    @app.task(name=TASK, queue=site.queue, retry=Backoff())
    def task(text: str) -> None:
        rotate(text, site)

    # The id is the queue's: without one a single host of all would get each tick.
    @app.periodic(cron="* * * * *", periodic_id=site.queue)
    @app.task(name=UPKEEP, queue=site.queue)
    async def upkeep(timestamp: int) -> None:
        stalled = await app.job_manager.get_stalled_jobs(queue=site.queue, seconds_since_heartbeat=after)
        for job in stalled:
            await app.job_manager.retry_job(job)
        await app.connector.execute_query_async(_REMOVE_OLD, queue=site.queue, days=KEPT_DAYS)

    return app


def __getattr__(name: str) -> Any:
    """``app``, for procrastinate's worker."""
    if name != "app":
        raise AttributeError(name)
    site = open_site(None, os.environ)
    _worker.begin(site, lambda: Procrastinate(site).counts(site.queue), (psycopg.Error, ConnectorException, OSError))
    return make(site)


class Procrastinate:
    """One database, with the queues of all hosts. Each call has a connection of its own, and leaves none."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def dispatch(self, text: str) -> None:
        with _reaching(self._site) as connection:
            app = App(connector=SyncPsycopgConnector()).open(_One(connection))
            app.configure_task(TASK, queue=self._site.queue).defer(text=text)

    def worker(self) -> WorkerCommand:
        # All is said here, because else the environment would say it: PROCRASTINATE_WORKER_WAIT and the like.
        queue, limit = self._site.queue, self._site.settings.job.engine_timeout
        return python_worker(
            self._site, "procrastinate", f"--app={__name__}.app", "--log-level=warning", "worker",
            # Not LISTEN: it does nothing through a pgbouncer, and takes a connection more of each host.
            "-q", queue, f"--name={queue}", "--concurrency=1", "--wait", "--no-listen-notify",
            "--delete-jobs=successful", "--fetch-job-polling-interval=2", f"--shutdown-graceful-timeout={limit:g}",
        )  # fmt: skip

    def counts(self, prefix: str) -> list[QueueCount]:
        found = {row[0]: row for row in self._sql(_COUNTS, prefix=prefix, task=TASK)}
        if self._site.queue.startswith(prefix):
            found.setdefault(self._site.queue, (self._site.queue, 0, 0, 0, 0, None))
        return [
            QueueCount(queue=queue, pending=pending, reserved=doing, scheduled=later, failed=failed, oldest=oldest)
            for queue, pending, doing, later, failed, oldest in sorted(found.values())
        ]

    def health(self) -> Health:
        with _reaching(self._site) as connection:
            began = time.monotonic()
            connection.execute("SELECT 1").fetchall()
            latency = time.monotonic() - began
            ((version, rows, size, connections, most),) = connection.execute(_HEALTH).fetchall()
        return Health(server="PostgreSQL", version=version, latency=latency, rows=rows, bytes=size,
                      connections=connections, most_connections=most)  # fmt: skip

    def pending(self, queue: str) -> list[KeptJob]:
        return self._kept(queue, "todo")

    def failed(self, queue: str) -> list[KeptJob]:
        return self._kept(queue, "failed")

    def _kept(self, queue: str, status: str) -> list[KeptJob]:
        rows = self._sql(_KEPT, queue=queue, status=status, task=TASK)
        return [KeptJob(key=str(key), queue=queue, payload=text or "", since=since) for key, text, since in rows]

    def forget(self, queue: str, keys: Collection[str]) -> int:
        numbers = [int(key) for key in keys]
        portions = (numbers[i : i + _PORTION] for i in range(0, len(numbers), _PORTION))  # each is over in time
        return sum(len(self._sql(_FORGET, queue=queue, keys=some)) for some in portions)

    def _sql(self, statement: str, **values: object) -> Rows:
        with _reaching(self._site) as connection:
            return connection.execute(statement.encode(), values).fetchall()


# Of all queues at once. Upkeep is no job of anybody's; a retry has its time in scheduled_at, also when it is due.
_COUNTS = """
SELECT queue_name,
       count(*) FILTER (WHERE status = 'todo' AND coalesce(scheduled_at <= now(), true)),
       count(*) FILTER (WHERE status = 'doing'),
       count(*) FILTER (WHERE status = 'todo' AND scheduled_at > now()),
       count(*) FILTER (WHERE status = 'failed'),
       extract(epoch FROM min(event.at) FILTER (WHERE coalesce(scheduled_at <= now(), true)))::float
  FROM procrastinate_jobs job
  LEFT JOIN procrastinate_events event ON event.job_id = job.id AND event.type = 'deferred' AND job.status = 'todo'
 WHERE starts_with(queue_name, %(prefix)s) AND task_name = %(task)s
 GROUP BY queue_name
"""
_HEALTH = """
SELECT current_setting('server_version'), (SELECT count(*) FROM procrastinate_jobs),
       (SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
         WHERE relkind = 'r' AND relname LIKE 'procrastinate%' AND pg_table_is_visible(oid)),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_connections')::int
"""
_KEPT = """
SELECT job.id, job.args ->> 'text', extract(epoch FROM max(event.at))::float
  FROM procrastinate_jobs job
  LEFT JOIN procrastinate_events event ON event.job_id = job.id AND event.type <> 'scheduled'
 WHERE queue_name = %(queue)s AND status = %(status)s AND task_name = %(task)s
 GROUP BY job.id ORDER BY job.id
"""
_FORGET = """
DELETE FROM procrastinate_jobs WHERE queue_name = %(queue)s AND id = ANY(%(keys)s) AND status <> 'doing' RETURNING id
"""
# procrastinate's own remove_old_jobs sorts the events of all queues at each call.
_REMOVE_OLD = """
DELETE FROM procrastinate_jobs job
 WHERE queue_name = %(queue)s AND status NOT IN ('todo', 'doing') AND NOT EXISTS (
       SELECT FROM procrastinate_events WHERE job_id = job.id AND at > now() - make_interval(days => %(days)s))
"""


# ---------------------------------------------------------------- connections


class _One(Struct, frozen=True):
    """What procrastinate takes for a pool: a real one starts threads."""

    only: Connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        yield self.only


class Bounded(psycopg.AsyncConnection[Any]):
    """A connection of the worker, which would wait for ever for a server whose packets are swallowed."""

    async def wait(self, *args: Any, **options: Any) -> Any:
        limit = asyncio.get_running_loop().call_later(_ANSWER, _shut, self.pgconn.socket)
        try:
            return await super().wait(*args, **options)
        finally:
            limit.cancel()


def _with_limits(target: str) -> str:
    """Let the server give up first: a statement that waits for a lock would be done later, for nobody.

    A pgbouncer refuses such options; without them the worker alone gives up.
    """
    ours = f"-c lock_timeout={_ANSWER * 800:.0f} -c statement_timeout={_ANSWER * 800:.0f}"
    theirs: dict[str, Any] = {"options": ours, **conninfo.conninfo_to_dict(target)}
    limited = conninfo.make_conninfo(**theirs)
    try:
        with psycopg.connect(limited):
            return limited
    except psycopg.OperationalError:
        return target


def _shut(descriptor: int) -> None:
    """End a connection from outside: whoever waits for it gets an error."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def _reaching(site: Site) -> Iterator[Connection]:
    """A connection to a database that has the tables, in a short transaction. Raises QueueUnreachable."""
    target = _conninfo(site)
    with asking(site):
        try:
            with psycopg.connect(target, prepare_threshold=None) as connection:
                with _limited(connection):
                    has_tables = _has_tables(connection)
                if not has_tables:
                    with _limited(connection, _ANSWER):
                        _make_tables(connection)
                with _limited(connection):
                    yield connection
        except (psycopg.Error, ConnectorException) as error:
            reason = error.__cause__ if isinstance(error, ConnectorException) else error
            kind, advice = next((hint for cause, *hint in _HINTS if isinstance(reason, cause)), _MIGRATE)
            advice = advice.format(file=site.file)
            raise QueueUnreachable(
                Problem(subject=site.shown_url, problem=one_line(reason), advice=advice, kind=kind)
            ) from error


@contextmanager
def _limited(connection: Connection, patience: float = PATIENCE) -> Iterator[None]:
    """A transaction that neither a lock, nor a long statement, nor a server that is silent may hold up.

    The limits are the transaction's: behind a pgbouncer the next one may be somebody else's. The server gives up first,
    so that it does nothing later, for nobody.
    """
    limit = Timer(1.25 * patience, _shut, (connection.pgconn.socket,))
    limit.start()
    try:
        for name in ("lock_timeout", "statement_timeout"):
            connection.execute(f"SET LOCAL {name} = {patience * 1000:.0f}".encode())
        yield
        connection.commit()
    finally:
        limit.cancel()
        limit.join()


def _conninfo(site: Site) -> str:
    """What to connect with; the URL's own parameters have precedence over ours."""
    try:
        if re.match(r"\w+://([^@]*/[^@]*@|.*@.*@)", site.url):
            raise psycopg.ProgrammingError  # libpq would take the wrong part for the host, and tell it
        return conninfo.make_conninfo(**{**_OURS, **conninfo.conninfo_to_dict(site.url)})
    except psycopg.ProgrammingError:  # its message may show a part of the password: so it goes no further
        form = (
            "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE or service=NAME, with / @ % in a password as %2F "
            "%40 %25"
        )
        problem = Problem(subject="[queue] url", problem="does not name a database of PostgreSQL", advice=form)
        raise QueueUnreachable(problem) from None


# A peer that is gone without a word is noticed after some seconds, also where nothing is to be sent.
_OURS: dict[str, Any] = {
    "connect_timeout": int(PATIENCE), "application_name": "logrotor", "tcp_user_timeout": 5000,
    "keepalives_idle": 3, "keepalives_interval": 1, "keepalives_count": 3,
}  # fmt: skip


def _has_tables(connection: Connection) -> bool:
    """Raises ReadOnlySqlTransaction where no job can be queued."""
    ((is_there, is_read_only),) = connection.execute(_LOOK).fetchall()
    if is_read_only:
        raise errors.ReadOnlySqlTransaction("the database is read-only")
    return bool(is_there)


def _make_tables(connection: Connection) -> None:
    """Once: whoever comes second waits, and finds them."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('procrastinate_jobs'))")
    if not _has_tables(connection):
        connection.execute(SchemaManager.get_schema())


# Not to_regclass: it remembers its answer from before the wait for the lock (seen: the second one failed).
_LOOK = """
SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'procrastinate_jobs' AND pg_table_is_visible(oid)),
       current_setting('transaction_read_only') = 'on'
"""


_MIGRATE = [
    "foreign", "were the tables made by another version of procrastinate? then migrate them: "
    "https://procrastinate.readthedocs.io/en/stable/howto/production/migrations.html",
]  # fmt: skip
# Cause, kind of the problem and advice; the first that fits.
_HINTS: tuple[tuple[type[BaseException], str, str], ...] = (
    (errors.InsufficientPrivilege, "forbidden", "give the user a database of its own (CREATE DATABASE logrotor OWNER "
     "...), or let it make the tables (GRANT CREATE ON SCHEMA public TO ...)"),
    (errors.ReadOnlySqlTransaction, "read-only", "name the primary in [queue] url in {file}, or all servers with "
     "target_session_attrs=read-write"),
    (errors.LockNotAvailable, "locked", "somebody holds the tables locked: pg_blocking_pids() shows who"),
    (errors.QueryCanceled, "locked", "the server is overloaded, or the tables are locked: see pg_stat_activity"),
    (errors.DiskFull, "full", "make room on the disk of the server"),
    (errors.TooManyConnections, "full", "raise max_connections of the server, or put a pgbouncer before it"),
    (errors.ConnectionTimeout, "silent", "the server does not answer: does it hang, or a firewall drop the packets?"),
    (psycopg.OperationalError, "away", "start the server, or correct host, user and password in [queue] url in {file}"),
)  # fmt: skip
