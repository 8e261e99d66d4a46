"""rq on Redis. https://python-rq.org

It keeps failed jobs, for a day. A job whose work horse was killed fails at once. One whose worker was killed stays
reserved for 60 to 90 s; the next worker then files it as failed (AbandonedJobError) and does not run it again: the next
tick makes up for it. A worker stopped in the instant between taking a job and beginning it leaves that job aside; it
is filed as failed after a minute. A worker that rq ends after an error begins again; one that starts while rq is
suspended (`rq suspend`) waits. After the server was away for over 10 s retries are up to a minute late, for rq's
scheduler ends; or the worker does, if it was at work. $RQ_KEY_PREFIX must be the same for workers and dispatchers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

from redis import ResponseError
from rq import Queue, Retry, defaults
from rq.exceptions import DeserializationError, NoSuchJobError
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

FUNCTION = f"{__name__}.perform"  # as frozen as payload.TASK: rq finds the task by its path
KEEP_FAILED = 86400  # seconds: the history has them for longer, and a job that fails each minute would fill the memory
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
            since = {job.id: enqueued(_payload(job)) for job in self._jobs(first for _, first, *_ in rows if first)}
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
            return [_kept(job) for job in self._jobs((*waiting, *scheduled))]

    def failed(self, queue: str) -> list[KeptJob]:
        with reaching(self._site):
            jobs = self._jobs(self._ids(queue)[2])
            pipe = self._redis.pipeline(transaction=False)
            for job in jobs:
                pipe.xrevrange(_result(job.id), count=1)
            return [_kept(job, _error(job, found)) for job, found in zip(jobs, _answers(pipe), strict=True)]

    def forget(self, queue: str, keys: Collection[str]) -> int:
        pending, scheduled, failed, _ = _keys(queue)
        with reaching(self._site):
            wanted = set(keys)
            # In the order of the list: LREM then finds each at its head, and 5,000 jobs take 5,000 steps.
            waiting = [id for id in self._ids(queue)[0] if id in wanted]
            others = wanted.difference(waiting)
            pipe = self._redis.pipeline(transaction=False)
            for id in waiting:
                pipe.lrem(pending, 1, id)
            for registry in (scheduled, failed):
                for id in others:
                    pipe.zrem(registry, id)
            tried = (*waiting, *others, *others)
            gone = [id for id, number in zip(tried, pipe.execute(), strict=True) if number]
            if gone:  # a job that a worker has taken meanwhile keeps its data
                self._redis.unlink(*map(Job.key_for, gone), *map(_result, gone))
        return len(gone)

    def _ids(self, queue: str) -> tuple[list[str], list[str], list[str]]:
        """Of the pending, the scheduled and the failed jobs."""
        pending, scheduled, failed, _ = _keys(queue)
        pipe = self._redis.pipeline(transaction=False)
        pipe.lrange(pending, 0, -1)
        pipe.zrange(scheduled, 0, -1)
        pipe.zrange(failed, 0, -1)
        waiting, later, gone = ([string(id) for id in found] for found in pipe.execute())
        return waiting, later, gone

    def _jobs(self, ids: Iterable[bytes | str]) -> list[Job]:
        """Those that still exist and can be read, in one round trip."""
        names = [string(id) for id in ids]
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.hgetall(Job.key_for(name))
        found = (self._job(name, raw) for name, raw in zip(names, _answers(pipe), strict=True) if raw)
        return [job for job in found if job is not None]

    def _job(self, name: str, raw: Any) -> Job | None:
        try:
            job = Rotation(name, connection=self._redis, serializer=JSONSerializer)
            job.restore(raw)
        except (NoSuchJobError, ValueError):  # rq refuses names with a colon by ValueError
            return None
        return job


def _answers(pipe: Any) -> list[Any]:
    """What each command gave; nothing for a key that holds another kind of value."""
    found = pipe.execute(raise_on_error=False)
    return [None if isinstance(each, ResponseError) else each for each in found]


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


def _kept(job: Job, error: str = "") -> KeptJob:
    when = job.ended_at or job.enqueued_at or job.created_at
    return KeptJob(key=job.id, queue=job.origin, payload=_payload(job), since=when.timestamp(), error=error)


def _payload(job: Job) -> str:
    """The payload's text; nothing if somebody else has put the job there in a form of his own."""
    try:
        return str(job.args[0])
    except (DeserializationError, LookupError, TypeError, ValueError, RecursionError):
        return ""


def _error(job: Job, found: Any) -> str:
    """The last line of why a job failed. ``found``: the newest entry of its results."""
    if not found:
        return ""
    result = Result.restore(job.id, string(found[0][0]), found[0][1], job.connection, JSONSerializer)
    return (result.exc_string or "").strip().rpartition("\n")[2]
