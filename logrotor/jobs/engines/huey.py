"""huey on SQLite: the embedded engine, which needs no server. https://huey.readthedocs.io

It keeps no failed jobs, and loses a job whose worker is killed; the history and the next tick make up for both.
On a full disk SQLite gives no job away, so nothing is rotated until there is room; ``logrotor run`` from cron goes on.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from huey import Huey as _Huey
from huey.exceptions import HueyException, RetryTask
from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import SqliteStorage

from logrotor.disk import state
from logrotor.disk.calls import die_with
from logrotor.jobs.engine import (
    PATIENCE,
    Health,
    KeptJob,
    QueueCount,
    QueueUnreachable,
    Site,
    WorkerCommand,
    asking,
    open_site,
    python_worker,
)
from logrotor.jobs.engines import _worker
from logrotor.jobs.payload import TASK, enqueued
from logrotor.jobs.task import JobFailed, TryAgain, rotate, tell
from logrotor.model import Problem


class JSON(Serializer):  # type: ignore[misc]
    """Nothing is pickled: huey's message is a tuple of plain values, and the time of a retry."""

    def _serialize(self, data: Message) -> bytes:
        return json.dumps([item.isoformat() if isinstance(item, datetime) else item for item in data]).encode()

    def _deserialize(self, data: bytes) -> Message:
        message = Message(*json.loads(data))
        return message._replace(eta=datetime.fromisoformat(message.eta) if message.eta else None)


class Storage(SqliteStorage):  # type: ignore[misc]
    """Notices that its file was removed or replaced: a worker would stay on the dead one, the schedule on the new."""

    _conn: Any
    _opened: tuple[int, int] | None = None

    @property
    def conn(self) -> Any:
        if self._conn is not None and self._opened != _identity(self.filename):
            tell("problem.found", error=f"{self.filename} was removed or replaced; its waiting jobs are gone with it, "
                 "and the next job does their work")  # fmt: skip
            self._conn.close()
            self._conn = None
        return super().conn

    def _set_journal_mode(self, connection: Any) -> None:
        # No write-ahead log: of a file that was removed it stays behind, and makes the next one unusable.
        with suppress(sqlite3.OperationalError):  # an older worker has it open in that mode
            connection.execute("PRAGMA journal_mode = DELETE")

    def _create_connection(self) -> Any:
        connection = super()._create_connection()
        for statement in self.ddl:
            connection.execute(statement)
        self._opened = _identity(self.filename)
        return connection


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def make(site: Site) -> _Huey:
    """The huey of this host's queue, with its one task."""
    state.prepare(site.config.state_dir, site.config.state_dir_origin)
    app = _Huey(site.queue, storage_class=Storage, filename=_file(site), results=False, serializer=JSON(), fsync=True,
                timeout=PATIENCE, create_tables=False)  # fmt: skip

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
    site = open_site(None, os.environ)
    _worker.begin(site, lambda: Huey(site).counts(site.queue), (sqlite3.Error, HueyException, OSError))
    # The process that does the jobs would outlive a killed consumer, and work on beside the next one.
    os.register_at_fork(after_in_child=lambda: die_with(os.getppid(), signal.SIGKILL))
    return make(site)


_HOW_MANY = "SELECT count(*) FROM "


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

    def health(self) -> Health:
        with _reaching(self._site):
            began = time.monotonic()
            self._sql("SELECT 1")
            latency = time.monotonic() - began
            rows = sum(number for table in ("task", "schedule") for (number,) in self._sql(_HOW_MANY + table))
            size = os.stat(_file(self._site)).st_size
        return Health(server="SQLite", version=sqlite3.sqlite_version, latency=latency, rows=rows, bytes=size,
                      connections=None, most_connections=None)  # fmt: skip

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
    with asking(site):
        try:
            yield
        except (sqlite3.Error, HueyException, OSError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind, the next one which of them
            kind, advice = _HINTS.get(
                code, ("away", "it must lie in a folder that this user may write, on a disk with room")
            )
            advice = advice.format(file=_file(site))
            raise QueueUnreachable(
                Problem(subject=_file(site), problem=str(error), advice=advice, kind=kind)
            ) from error


_DAMAGED = "move it away: mv {file} {file}.damaged; a new one is made, and the next job does the work of those in it"
_HINTS = {
    sqlite3.SQLITE_CORRUPT: ("damaged", _DAMAGED),
    sqlite3.SQLITE_NOTADB: ("damaged", _DAMAGED),
    sqlite3.SQLITE_FULL: ("full", "make room on its disk"),
    sqlite3.SQLITE_BUSY: ("locked", "another process holds it: fuser -v {file} shows which"),
    sqlite3.SQLITE_LOCKED: ("locked", "another process holds it: fuser -v {file} shows which"),
}
