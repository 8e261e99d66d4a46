"""huey on SQLite: the embedded engine, which needs no server. https://huey.readthedocs.io

It keeps no failed jobs, and loses a job whose worker is killed; the history and the next tick make up for both.
On a full disk SQLite gives no job away, so nothing is rotated until there is room; ``logrotor run`` from cron goes on.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from huey import SqliteHuey
from huey.exceptions import HueyException, RetryTask
from huey.registry import Message
from huey.serializer import Serializer

from logrotor.disk import state
from logrotor.disk.calls import die_with
from logrotor.jobs.engine import KeptJob, QueueCount, QueueUnreachable, Site, WorkerCommand, open_site, python_worker
from logrotor.jobs.payload import TASK, enqueued
from logrotor.jobs.task import JobFailed, TryAgain, rotate
from logrotor.model import Problem


class JSON(Serializer):  # type: ignore[misc]
    """Nothing is pickled: huey's message is a tuple of plain values, and the time of a retry."""

    def _serialize(self, data: Message) -> bytes:
        return json.dumps([item.isoformat() if isinstance(item, datetime) else item for item in data]).encode()

    def _deserialize(self, data: bytes) -> Message:
        message = Message(*json.loads(data))
        return message._replace(eta=datetime.fromisoformat(message.eta) if message.eta else None)


def make(site: Site) -> SqliteHuey:
    """The huey of this host's queue, with its one task."""
    state.prepare(site.config.state_dir, site.config.state_dir_origin)
    app = SqliteHuey(site.queue, filename=_file(site), results=False, serializer=JSON(), fsync=True)

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def task(text: str) -> None:
        try:
            rotate(text, site)
        except TryAgain as error:
            raise RetryTask(str(error), delay=error.delay) from None
        except JobFailed:
            pass  # huey keeps no failed job: it would only repeat in a line of its own what job.failed has said

    app.rotate = task
    return app


def _file(site: Site) -> str:
    return site.url.removeprefix("sqlite://")


def __getattr__(name: str) -> Any:
    """``app``, for huey's consumer."""
    if name != "app":
        raise AttributeError(name)
    # The process that does the jobs would outlive a killed consumer, and work on beside the next one.
    os.register_at_fork(after_in_child=lambda: die_with(os.getppid(), signal.SIGKILL))
    return make(open_site(None, os.environ))


class Huey:
    """One SQLite file, with the queue of this host."""

    def __init__(self, site: Site) -> None:
        self._site = site
        with _reaching(site):
            self._app = make(site)

    def dispatch(self, text: str) -> None:
        with _reaching(self._site):
            self._app.rotate(text)

    def worker(self) -> WorkerCommand:
        # A process for the jobs, because huey ignores limits in threads; -g TERM, because SIGTERM interrupts jobs
        # by default; -n, because logrotor has the schedule. https://huey.readthedocs.io/en/latest/consumer.html
        options = ("-w", "1", "-k", "process", "-g", "TERM", "-n", "-q")
        return python_worker(self._site, "huey.bin.huey_consumer", f"{__name__}.app", *options)

    def counts(self, prefix: str) -> list[QueueCount]:
        with _reaching(self._site):
            pending, scheduled = (
                {queue: (number, first) for queue, number, first in self._sql(
                    f"SELECT queue, count(*), min(id) FROM {table} GROUP BY queue")}
                for table in ("task", "schedule")
            )  # fmt: skip
            queues = sorted(q for q in {self._app.name, *pending, *scheduled} if q.startswith(prefix))
            return [
                QueueCount(
                    queue=queue, pending=pending.get(queue, (0, 0))[0], reserved=None,
                    scheduled=scheduled.get(queue, (0, 0))[0], failed=None,
                    oldest=self._queued(pending[queue][1]) if queue in pending else None,
                )
                for queue in queues
            ]  # fmt: skip

    def _queued(self, number: int) -> float | None:
        """When the job in this row was queued; None if somebody has taken it by now."""
        rows = self._sql("SELECT data FROM task WHERE id = ?", number)
        return enqueued(self._text(rows[0][0])) if rows else None

    def _text(self, data: bytes) -> str:
        """The payload's text; nothing if somebody else has put the row there in a form of his own."""
        try:
            return str(self._app.serializer.deserialize(data).args[0])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return ""

    def pending(self, queue: str) -> list[KeptJob]:
        with _reaching(self._site):
            return [
                KeptJob(key=f"{table}:{number}", queue=queue, payload=self._text(data))
                for table in ("task", "schedule")
                for number, data in self._sql(f"SELECT id, data FROM {table} WHERE queue = ? ORDER BY id", queue)
            ]

    def failed(self, queue: str) -> list[KeptJob]:
        return []

    def forget(self, queue: str, keys: Collection[str]) -> int:
        gone = 0
        with _reaching(self._site):
            for key in keys:
                table, _, number = key.partition(":")
                assert table in ("task", "schedule")
                gone += len(self._sql(f"DELETE FROM {table} WHERE id = ? AND queue = ? RETURNING id", number, queue))
        return gone

    def _sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return list(self._app.storage.sql(statement, values, commit=True, results=True))


@contextmanager
def _reaching(site: Site) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, HueyException, OSError) as error:
        advice = "it must lie in a folder that this user may write, on a disk with room"
        raise QueueUnreachable(Problem(subject=_file(site), problem=str(error), advice=advice)) from error
