"""rq on Redis. https://python-rq.org

It keeps failed jobs, for a day. A job whose work horse was killed fails at once. One whose worker was killed stays
reserved for 60 to 90 s; the next worker then files it as failed (AbandonedJobError) and does not run it again: the next
tick makes up for it. A worker stopped in the instant between taking a job and beginning it leaves that job aside; it
is filed as failed after a minute. A worker that rq ends after an error begins again; one that starts while rq is
suspended (`rq suspend`) waits. After the server was away for over 10 s retries are up to a minute late, for rq's
scheduler ends; or the worker does, if it was at work. $RQ_KEY_PREFIX must be the same for workers and dispatchers.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from msgspec.structs import replace
from redis import RedisError, ResponseError
from rq import Queue, Retry, defaults
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.results import Result
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer

from logrotor.jobs.engine import Health, KeptJob, QueueCount, Site, WorkerCommand, open_site, python_worker
from logrotor.jobs.engines._redis import connect, could_write, health, reaching, set_aside, string
from logrotor.jobs.payload import TASK, enqueued
from logrotor.jobs.task import TryAgain, rotate

T = TypeVar("T")

FUNCTION = f"{__name__}.perform"  # as frozen as payload.TASK: rq finds the task by its path
KEEP_FAILED = 86400  # seconds: the history has them for longer, and a job that fails each minute would fill the memory
_FIELDS = ("data", "ended_at", "enqueued_at", "created_at")  # of a job
_PORTION = 5000  # questions at once
_OFTEN = 10**6  # tries: the history counts them, also those that rq does not see


@cache
def known() -> Site:
    """The configuration that the worker started with: first asked for in the worker, so each work horse inherits it."""
    return open_site(None, os.environ)


def perform(text: str) -> Retry | None:
    """The task, in a work horse. A job is a failed one if it raises."""
    try:
        rotate(text, known())
    except TryAgain as error:
        # rq cuts the fraction of a second off the time, which would be too early; and its type says int.
        later: list[Any] = [error.delay + 0.999999 if error.delay else 0]
        return Retry(max=_OFTEN, interval=later)
    return None


class Rotation(Job):
    """A job that can do nothing but rotate. rq imports and calls any function that a job names, ``os.system`` too."""

    @property
    def func(self) -> Any:
        if self.func_name != FUNCTION or self.instance is not None:
            raise LookupError("not a job of logrotor, so it is not run")
        return perform

    def refresh(self) -> None:
        """Treat a key that holds another kind of value as no job, too."""
        try:
            super().refresh()  # type: ignore[no-untyped-call]
        except ResponseError as error:
            raise NoSuchJobError(f"{self.id!r} cannot be read: {error}") from None

    def restore(self, raw_data: Any) -> None:
        """Treat what cannot be read as no job: rq then takes the next one, instead of ending."""
        try:
            super().restore(raw_data)
        except NoSuchJobError:
            raise
        except Exception as error:
            raise NoSuchJobError(f"{self.id!r} cannot be read: {type(error).__name__}") from None
        # They are functions that are imported and called, too.
        self._success_callback_name = self._failure_callback_name = self._stopped_callback_name = None


class RQ:
    """A Redis with the queues of all hosts."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._redis = connect(site)

    def dispatch(self, text: str) -> None:
        limit = math.ceil(self._site.settings.job.engine_timeout)  # alarm(2) takes whole seconds
        with reaching(self._site):
            set_aside(self._redis, kinds(self._site.queue))
            queue = Queue(self._site.queue, self._redis, serializer=JSONSerializer)
            queue.enqueue(FUNCTION, text, description=TASK, job_timeout=limit, result_ttl=0, failure_ttl=KEEP_FAILED)

    def worker(self) -> WorkerCommand:
        # --path, because rq puts the working directory into sys.path; the classes, because rq takes others from its
        # environment; the scheduler, because it delivers retries.
        # Maintenance, which files abandoned jobs and restarts the scheduler, waits for at most --worker-ttl less 15 s.
        return python_worker(
            self._site, "rq.cli", "worker", self._site.queue, "-c", f"{__name__}_settings",
            "--connection-class", f"{__name__}_settings.Connection", "--worker-class", f"{__name__}_settings.Worker",
            "--queue-class", "rq.Queue", "--job-class", f"{__name__}.Rotation",
            "--path", os.devnull, "--serializer", "rq.serializers.JSONSerializer", "--results-ttl", "0",
            "--with-scheduler", "--quiet",
            "--disable-job-desc-logging", "--worker-ttl", "45", "--maintenance-interval", "30",
        )  # fmt: skip

    def counts(self, prefix: str) -> list[QueueCount]:
        with reaching(self._site):
            could_write(self._redis, f"{Queue.redis_queue_namespace_prefix}{self._site.queue}:probe")
            known_keys = map(string, self._redis.smembers(Queue.redis_queues_keys))
            names = {self._site.queue, *(key.removeprefix(Queue.redis_queue_namespace_prefix) for key in known_keys)}
            queues = sorted(name for name in names if name.startswith(prefix))
            pipe = self._redis.pipeline(transaction=False)
            for name in queues:
                pending, *registries = _keys(name)
                pipe.lindex(pending, 0)
                pipe.llen(pending)
                for key in registries:
                    pipe.zcard(key)
            found = iter(pipe.execute())
            rows = list(zip(queues, found, found, found, found, found, strict=True))
            firsts = self._kept("", (first for _, first, *_ in rows if first))
            since = {job.key: enqueued(job.payload) for job in firsts}
        return [
            QueueCount(queue=queue, pending=pending, scheduled=scheduled, failed=failed, reserved=reserved,
                       oldest=since.get(string(first)) if first else None)
            for queue, first, pending, scheduled, failed, reserved in rows
        ]  # fmt: skip

    def health(self) -> Health:
        rows = sum(c.pending + c.scheduled + (c.reserved or 0) + (c.failed or 0) for c in self.counts(""))
        with reaching(self._site):
            return health(self._redis, rows)

    def pending(self, queue: str) -> list[KeptJob]:
        with reaching(self._site):
            waiting, scheduled, _ = self._ids(queue)
            return list(self._kept(queue, (*waiting, *scheduled)))

    def failed(self, queue: str) -> list[KeptJob]:
        with reaching(self._site):
            jobs = list(self._kept(queue, self._ids(queue)[2]))
            why = self._each(jobs, lambda pipe, job: pipe.xrevrange(_result(job.key), count=1))
            return [replace(job, error=self._error(job, found)) for job, found in zip(jobs, why, strict=True)]

    def forget(self, queue: str, keys: Collection[str]) -> int:
        pending, scheduled, failed, _ = _keys(queue)
        with reaching(self._site):
            wanted = set(keys)
            # In the order of the list: LREM then finds each at its head, and 5,000 jobs take 5,000 steps.
            waiting, later, gone = ([id for id in ids if id in wanted] for ids in self._ids(queue))
            tried = (
                [(pending, id) for id in waiting] + [(scheduled, id) for id in later] + [(failed, id) for id in gone]
            )
            answers = self._each(
                tried, lambda pipe, each: pipe.lrem(pending, 1, each[1]) if each[0] == pending else pipe.zrem(*each)
            )
            # A job that a worker has taken meanwhile keeps its data.
            removed = list(dict.fromkeys(id for (_, id), number in zip(tried, answers, strict=True) if number))
            list(self._each(removed, lambda pipe, id: pipe.unlink(Job.key_for(id), _result(id))))
        return len(removed)

    def _ids(self, queue: str) -> tuple[list[str], list[str], list[str]]:
        """Of the pending, the scheduled and the failed jobs."""
        pending, scheduled, failed, _ = _keys(queue)
        pipe = self._redis.pipeline(transaction=False)
        pipe.lrange(pending, 0, -1)
        pipe.zrange(scheduled, 0, -1)
        pipe.zrange(failed, 0, -1)
        waiting, later, gone = ([string(id) for id in found] for found in pipe.execute())
        return waiting, later, gone

    def _each(self, items: Iterable[T], ask: Callable[[Any, T], object]) -> Iterator[Any]:
        """The answer to each; nothing for a key that holds another kind of value."""
        rest = iter(items)
        while some := list(islice(rest, _PORTION)):
            pipe = self._redis.pipeline(transaction=False)
            for each in some:
                ask(pipe, each)
            for found in pipe.execute(raise_on_error=False):
                if isinstance(found, RedisError) and not isinstance(found, ResponseError):
                    raise found
                yield None if isinstance(found, ResponseError) else found

    def _kept(self, queue: str, ids: Iterable[bytes | str]) -> Iterator[KeptJob]:
        """Those that still exist. rq's own Job takes ten times as long to read, and 43,200 may have failed."""
        names = [string(id) for id in ids]
        rows = self._each(names, lambda pipe, id: pipe.hmget(Job.key_for(id), _FIELDS))
        for name, found in zip(names, rows, strict=True):
            if found is not None and found[0] is not None:
                data, *times = found
                yield KeptJob(key=name, queue=queue, payload=_payload(data), since=_moment(times))

    def _error(self, job: KeptJob, found: Any) -> str:
        """The last line of why a job failed. ``found``: the newest entry of its results."""
        if not found:
            return ""
        result = Result.restore(job.key, string(found[0][0]), found[0][1], self._redis, JSONSerializer)
        return (result.exc_string or "").strip().rpartition("\n")[2]


def kinds(queue: str) -> dict[str, str]:
    """The keys that a worker of this queue uses, and what each of them is."""
    prefix = defaults.RQ_KEY_PREFIX
    sets = (Queue.redis_queues_keys, f"{prefix}:workers", f"{prefix}:workers:{queue}")
    registries = (
        StartedJobRegistry, ScheduledJobRegistry, FailedJobRegistry, FinishedJobRegistry, DeferredJobRegistry,
        CanceledJobRegistry,
    )  # fmt: skip
    pending = f"{Queue.redis_queue_namespace_prefix}{queue}"
    return {
        pending: "list",
        f"{pending}:intermediate": "list",
        **dict.fromkeys(sets, "set"),
        **{registry.key_template.format(queue): "zset" for registry in registries},
        RQScheduler.get_locking_key(queue): "string",
    }


def _keys(queue: str) -> tuple[str, str, str, str]:
    """Of the list of pending jobs, and of the sorted sets: scheduled, failed, reserved."""
    registries = (ScheduledJobRegistry, FailedJobRegistry, StartedJobRegistry)
    scheduled, failed, reserved = (registry.key_template.format(queue) for registry in registries)
    return f"{Queue.redis_queue_namespace_prefix}{queue}", scheduled, failed, reserved


def _result(id: str) -> str:
    """The key of what became of a job."""
    return str(Result.get_key(id))  # type: ignore[no-untyped-call]


def _payload(data: bytes) -> str:
    """The payload's text; nothing if somebody else has put the job there in a form of his own."""
    with suppress(zlib.error):
        data = zlib.decompress(data)
    try:
        return str(json.loads(data)[2][0])
    except (LookupError, TypeError, ValueError, RecursionError):
        return ""


def _moment(times: Iterable[bytes | None]) -> float | None:
    """The first of these times that there is, as rq writes them."""
    with suppress(ValueError):
        return next((datetime.fromisoformat(string(each)).timestamp() for each in times if each), None)
    return None
