"""procrastinate on PostgreSQL: jobs are rows, and failed ones are kept. https://procrastinate.readthedocs.io

Its tables are made by whoever comes first. A job whose worker died is queued again by the next worker of its queue.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from msgspec import Struct
from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision, SyncPsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job
from procrastinate.schema import SchemaManager
from psycopg import conninfo, errors

from logrotor.jobs.engine import KeptJob, QueueCount, QueueUnreachable, Site, WorkerCommand, open_site, python_worker
from logrotor.jobs.payload import TASK
from logrotor.jobs.task import JobFailed, TryAgain, rotate, tell
from logrotor.model import Problem

UPKEEP = "logrotor.upkeep"
KEPT_DAYS = 30  # failed jobs that nobody has cleared
_PAUSE = 10.0  # seconds between two looks for a server that does not answer

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
    # One connection for jobs and heartbeats; procrastinate adds one of its own that listens. The timeout, because
    # a worker whose server is gone took over a minute to stop.
    connector = PsycopgConnector(conninfo=_conninfo(site), min_size=1, max_size=1, timeout=5)
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
    while True:
        try:
            with _reaching(site):
                return make(site)
        except QueueUnreachable as error:
            if not isinstance(error.__cause__, psycopg.OperationalError):
                raise SystemExit(f"logrotor: {error}") from None
            tell("worker.waiting", error=str(error), queue=site.queue)
        time.sleep(_PAUSE)  # supervisord gives up on what ends ten times; a server may be away for longer


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
            "-q", queue, f"--name={queue}", "--concurrency=1", "--wait", "--listen-notify",
            "--delete-jobs=successful", "--fetch-job-polling-interval=5", f"--shutdown-graceful-timeout={limit:g}",
        )  # fmt: skip

    def counts(self, prefix: str) -> list[QueueCount]:
        found = {row[0]: row for row in self._sql(_COUNTS, prefix=prefix, task=TASK)}
        if self._site.queue.startswith(prefix):
            found.setdefault(self._site.queue, (self._site.queue, 0, 0, 0, 0, None))
        return [
            QueueCount(queue=queue, pending=pending, reserved=doing, scheduled=later, failed=failed, oldest=oldest)
            for queue, pending, doing, later, failed, oldest in sorted(found.values())
        ]

    def pending(self, queue: str) -> list[KeptJob]:
        return self._kept(queue, "todo")

    def failed(self, queue: str) -> list[KeptJob]:
        return self._kept(queue, "failed")

    def _kept(self, queue: str, status: str) -> list[KeptJob]:
        rows = self._sql(_KEPT, queue=queue, status=status, task=TASK)
        return [KeptJob(key=str(key), queue=queue, payload=text or "", since=since) for key, text, since in rows]

    def forget(self, queue: str, keys: Collection[str]) -> int:
        return len(self._sql(_FORGET, queue=queue, keys=[int(key) for key in keys]))

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


@contextmanager
def _reaching(site: Site) -> Iterator[Connection]:
    """A connection to a database that has the tables. Raises QueueUnreachable."""
    target = _conninfo(site)
    try:
        with psycopg.connect(target, autocommit=True) as connection:
            _make_tables(connection)
            yield connection
    except (psycopg.Error, ConnectorException) as error:
        reason = error.__cause__ if isinstance(error, ConnectorException) else error
        why = " ".join(str(reason).split())
        raise QueueUnreachable(Problem(subject=site.shown_url, problem=why, advice=_advice(reason))) from error


def _conninfo(site: Site) -> str:
    """What to connect with; the URL's own parameters have precedence over ours."""
    try:
        if re.match(r"\w+://([^@]*/[^@]*@|.*@.*@)", site.url):
            raise psycopg.ProgrammingError  # libpq would take the wrong part for the host, and tell it
        ours: dict[str, Any] = {"connect_timeout": 10, "application_name": "logrotor"}
        return conninfo.make_conninfo(**{**ours, **conninfo.conninfo_to_dict(site.url)})
    except psycopg.ProgrammingError:  # its message may show a part of the password: so it goes no further
        form = "accepted: postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with / @ % in a password as %2F %40 %25"
        problem = Problem(subject="[queue] url", problem="does not name a database of PostgreSQL", advice=form)
        raise QueueUnreachable(problem) from None


def _make_tables(connection: Connection) -> None:
    """Once: whoever comes second waits, and finds them."""
    if _has_tables(connection):
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('procrastinate_jobs'))")
        if not _has_tables(connection):
            connection.execute(SchemaManager.get_schema())


def _has_tables(connection: Connection) -> bool:
    # Not to_regclass: it remembers its answer from before the wait for the lock (seen: the second one failed).
    named = "SELECT FROM pg_class WHERE relname = 'procrastinate_jobs' AND pg_table_is_visible(oid)"
    return connection.execute(named).rowcount > 0


def _advice(error: BaseException | None) -> str:
    if isinstance(error, errors.InsufficientPrivilege):
        return ("give the user a database of its own (CREATE DATABASE logrotor OWNER ...), or let it make the tables "
                "(GRANT CREATE ON SCHEMA public TO ...)")  # fmt: skip
    if isinstance(error, psycopg.OperationalError):
        return "is the server running, and does [queue] url say where, with the right user and password?"
    return ("were the tables made by another version of procrastinate? then migrate them: "
            "https://procrastinate.readthedocs.io/en/stable/howto/production/migrations.html")  # fmt: skip
