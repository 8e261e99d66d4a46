"""procrastinate on PostgreSQL: jobs are rows, and failed ones are kept. https://procrastinate.readthedocs.io

Its tables are made by whoever comes first. A worker asks for jobs every two seconds, over one connection. A job whose
worker died is queued again by the next worker of its queue.
"""

from __future__ import annotations

import os
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

from logrotor.jobs.engine import (
    Health,
    KeptJob,
    QueueCount,
    Site,
    WorkerCommand,
    open_site,
    python_worker,
)
from logrotor.jobs.engines import _worker
from logrotor.jobs.engines._postgresql import ANSWER, Bounded, Connection, limited, reaching, take_any_time
from logrotor.jobs.payload import TASK
from logrotor.jobs.task import JobFailed, TryAgain, rotate

UPKEEP = "logrotor.upkeep"
KEPT_DAYS = 30  # failed jobs that nobody has cleared
_PORTION = 2000  # jobs that one statement removes

Rows = list[tuple[Any, ...]]


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
        conninfo=limited(site), connection_class=Bounded, kwargs={"prepare_threshold": None},
        min_size=1, max_size=1, timeout=ANSWER, reconnect_timeout=ANSWER, configure=take_any_time,
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
        with reaching(self._site) as connection:
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
        with reaching(self._site) as connection:
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
        with reaching(self._site) as connection:
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


class _One(Struct, frozen=True):
    """What procrastinate takes for a pool: a real one starts threads."""

    only: Connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        yield self.only
