"""What is on the queues: counted for every host; this host's failed jobs listed, queued again, cleared.

The engine knows what waits. The history of this host has the failed jobs for every engine alike; what an engine has
kept besides (a job whose worker died, a job of another host) is added.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from logrotor.disk.history import History
from logrotor.errors import LogrotorError
from logrotor.jobs import payload
from logrotor.jobs.dispatch import dispatch, new_job, period
from logrotor.jobs.engine import Engine, KeptJob, QueueCount, QueueUnreachable, Site, queue_of
from logrotor.jobs.payload import Payload, Stale, Unacceptable
from logrotor.jobs.progress import Progress, Worker, lives, most_age, progress, stopped, workers
from logrotor.model import Attempt, Ending, Fault, Problem
from logrotor.text import ours

WINDOW = 86400.0  # seconds that throughput and times are taken from
_SILENT = "the engine does not say why"


class QueueStatus(Struct, frozen=True, kw_only=True):
    """One queue. None: not known for this host, or by this engine. ``oldest_age``: seconds."""

    queue: str
    host: str
    is_ours: bool
    pending: int
    reserved: int | None
    scheduled: int
    failed: int | None
    stuck: int | None
    oldest_age: float | None


class Processing(Struct, frozen=True, kw_only=True):
    """Attempts of this host in the last ``WINDOW``. Seconds, from start to end; None: there was none."""

    attempts: int
    endings: Mapping[str, int]
    per_hour: float | None  # over the time since the first of them; of one nobody knows a rate
    mean: float | None
    p95: float | None
    longest: float | None
    last: Attempt | None


class Status(Struct, frozen=True, kw_only=True):
    """All queues of the name, this host's first, then those with something to see to."""

    engine: str
    url: str  # with *** for a password
    queues: Sequence[QueueStatus]
    processing: Processing
    progress: Progress
    workers: Sequence[Worker]


def status(site: Site, engine: Engine, now: datetime, *, asking: int | None = None) -> Status:
    """``asking``: the process whose attempt asks, which does not count. Raises QueueUnreachable, OSError."""
    moment = now.timestamp()
    attempts = History(site.config.state_dir).attempts_since(moment - WINDOW)
    found = {count.queue: count for count in engine.counts(f"{site.settings.name}-")}
    found.setdefault(site.queue, QueueCount(queue=site.queue, pending=0, reserved=None, scheduled=0, failed=None))
    failed = sum(each.count for each in failures(site, engine) if each.is_open)
    rows = (_row(site, count, attempts, failed, moment, asking) for count in found.values())
    return Status(
        engine=site.settings.engine, url=site.shown_url, queues=sorted(rows, key=_by_attention),
        processing=_processing(site, attempts, now), progress=progress(site, now), workers=workers(site),
    )  # fmt: skip


def troubles(
    site: Site, status: Status, now: datetime, *, max_pending: int | None = None, max_age: float | None = None
) -> list[Problem]:
    """What a monitoring system should report: nothing is done, jobs failed or are stuck, queues are over the limits:
    ``max_pending``, ``max_age``, or those of the configuration."""
    monitor, age = site.settings.monitor, most_age(site, now) if max_age is None else max_age
    found = stopped(site, status.progress, status.workers, now.timestamp())
    told = [found] if found is not None else []
    for queue in status.queues:
        most = monitor.most(queue.queue) if max_pending is None else max_pending
        for kind, problem, advice in _troubles_of(queue, most, age):
            told.append(Problem(subject=queue.queue, problem=problem, advice=advice, kind=kind))
    return told


def why_undelivered(site: Site, engine: Engine, now: datetime) -> Problem | None:
    """Why no job can be queued; None: one can. It is tried with one that is over already, and taken back at once.

    For where nothing is done: a worker that takes it meanwhile drops it.
    """
    job = replace(new_job(site, now), expires=now.timestamp() - 1.0)
    try:
        engine.dispatch(payload.encode(job))
        mine = [each.key for each in engine.pending(site.queue) if payload.identify(each.payload) == job.id]
        engine.forget(site.queue, mine)
    except QueueUnreachable as error:
        return replace(error.problem, kind="undelivered")
    return None


def _troubles_of(queue: QueueStatus, max_pending: int, max_age: float) -> Iterator[tuple[str, str, str]]:
    if queue.failed:
        yield "failed", f"{queue.failed} failed", ours("queue failed")
    if queue.stuck:
        yield "stuck", f"{queue.stuck} stuck", ours("doctor --only queue")
    if queue.pending > max_pending:
        yield "pending", f"{queue.pending} pending, more than {max_pending}", "does a worker run there?"
    if queue.oldest_age is not None and queue.oldest_age > max_age:
        yield "old", f"the oldest job waits for {queue.oldest_age:.0f} s", "does a worker run there?"


def _row(
    site: Site, count: QueueCount, attempts: Sequence[Attempt], failed: int, now: float, asking: int | None
) -> QueueStatus:
    """``attempts``, ``failed``: of this host, which knows more of its own queue than the engine does."""
    host, reserved, stuck = count.queue.removeprefix(f"{site.settings.name}-"), count.reserved, None
    is_ours = count.queue == site.queue
    if is_ours:
        running = [a for a in attempts if a.ending is Ending.RUNNING and a.queue == site.queue]
        own = sum(a.pid == asking for a in running[-1:])
        host, stuck = site.host, sum(now - a.started > site.settings.job.stuck_after for a in running)
        reserved = sum(lives(site, a) is not False for a in running) if reserved is None else reserved
        reserved = max(0, reserved - own)
    return QueueStatus(
        queue=count.queue, host=host, is_ours=is_ours, pending=count.pending, reserved=reserved,
        scheduled=count.scheduled, failed=failed if is_ours else count.failed, stuck=stuck,
        oldest_age=None if count.oldest is None else max(0.0, now - count.oldest),
    )  # fmt: skip


def _by_attention(queue: QueueStatus) -> tuple[bool, float, str]:
    weight = (queue.failed or 0) + (queue.stuck or 0) + queue.pending
    return not queue.is_ours, -weight, queue.queue


def _processing(site: Site, attempts: Sequence[Attempt], now: datetime) -> Processing:
    moment = now.timestamp()
    ended = [a for a in attempts if a.seconds is not None and a.started >= moment - WINDOW]
    times = sorted(a.seconds for a in ended if a.seconds is not None and a.ending is not Ending.STALE)
    since = min((a.started for a in ended), default=moment)
    there_was = max(moment - since, min(3600.0, period(site.settings.schedule, now)))
    return Processing(
        attempts=len(ended),
        endings=dict(Counter(a.ending.value for a in ended)),
        per_hour=len(ended) * 3600 / there_was if len(ended) > 1 else None,
        mean=sum(times) / len(times) if times else None,
        p95=times[min(len(times) - 1, int(len(times) * 0.95))] if times else None,
        longest=times[-1] if times else None,
        last=ended[-1] if ended else None,
    )


# ---------------------------------------------------------------- failed jobs


class Failure(Struct, frozen=True, kw_only=True):
    """Why jobs failed for good: one cause, however many of them. Times are epoch seconds."""

    cause: str
    detail: str  # of the last one, as its payload
    job: str  # the first of them
    queue: str
    ending: str
    attempts: int
    payload: str
    count: int  # jobs
    first: float | None
    last: float | None
    settled: float | None = None  # when a later job for the same logs was done
    fault: int | None = None  # where the history has it; None: only the engine
    keys: tuple[str, ...] = ()  # under which the engine holds jobs of it

    @property
    def is_open(self) -> bool:
        return self.settled is None


def failures(site: Site, engine: Engine) -> list[Failure]:
    """Of this host's queue, what is not settled first, then the newest first. Raises QueueUnreachable, OSError."""
    return _failures(site, engine.failed(site.queue))


def _failures(site: Site, held: Iterable[KeptJob]) -> list[Failure]:
    """``held``: the failed jobs that the engine has kept."""
    history = History(site.config.state_dir)
    faults = history.faults(site.queue)
    kept: dict[str, list[KeptJob]] = {}
    for entry in held:
        kept.setdefault(payload.identify(entry.payload), []).append(entry)
    found = [_of_fault(fault, kept.pop(fault.job, ())) for fault in faults]
    # What the history has is either among its faults, cleared, or not over yet.
    known = history.known_jobs() if kept else frozenset()
    done = max(
        (a.started for a in history.attempts_since(time.time() - WINDOW) if a.ending is Ending.DONE), default=0.0
    )
    alone: dict[str, list[KeptJob]] = {}
    for entries in (entries for job, entries in kept.items() if job not in known):
        alone.setdefault(entries[-1].error or _SILENT, []).extend(entries)
    found += [_of_engine(error, entries, done) for error, entries in alone.items()]
    return sorted(found, key=lambda each: (not each.is_open, -(each.last or 0.0)))


def retry(site: Site, engine: Engine, jobs: Collection[str], now: datetime) -> list[Payload]:
    """Queue failed jobs again, as jobs of their own with all tries: one for those of the same logs, however many.

    ``jobs``: ids; "all" for every one that no later job has made up for. Raises UnknownJob, QueueUnreachable, OSError.
    """
    chosen = _chosen(failures(site, engine), jobs)
    selections = dict.fromkeys(_logs(failure) for failure in chosen)
    fresh = [dispatch(site, engine, now, logs=logs) for logs in selections]
    _forget(site, engine, chosen)
    return fresh


def clear_failed(site: Site, engine: Engine, *, before: float | None = None, settled: bool = False) -> int:
    """Forget failed jobs, all, or those that failed before a moment or are ``settled``; returns how many."""
    held = engine.failed(site.queue)
    known = _failures(site, held)
    found = [each for each in known if (before is None or (each.last or 0) < before) and not (settled and each.is_open)]
    # All: also what the engine has of jobs that joined a fault, or that an older logrotor left there.
    is_all = before is None and len(found) == len(known)
    _forget(site, engine, found, [entry.key for entry in held] if is_all else None)
    return sum(each.count for each in found)


def _forget(site: Site, engine: Engine, found: Collection[Failure], keys: list[str] | None = None) -> None:
    """``keys``: in place of those that the engine has of these."""
    keys = [key for each in found for key in each.keys] if keys is None else keys
    if keys:
        engine.forget(site.queue, keys)
    History(site.config.state_dir).forget_faults([each.fault for each in found if each.fault is not None])


def clear_stale(site: Site, engine: Engine, now: float) -> int:
    """Remove jobs that wait and would be dropped at their first attempt anyway; returns how many."""
    begun = {attempt.job for attempt in History(site.config.state_dir).attempts_since(now - 86400)}
    stale = [entry.key for entry in engine.pending(site.queue) if _is_stale(entry, begun, now)]
    return engine.forget(site.queue, stale) if stale else 0


def clear_jobs(site: Site, engine: Engine, jobs: Collection[str]) -> int:
    """Forget jobs by the first letters of their ids, failed or waiting; returns how many. Raises UnknownJob."""
    waiting: dict[str, list[KeptJob]] = {}
    for entry in engine.pending(site.queue):
        waiting.setdefault(payload.identify(entry.payload), []).append(entry)
    failed = {each.job: each for each in failures(site, engine)}
    chosen = [_named(site, wanted, {*waiting, *failed}) for wanted in jobs]
    for job in chosen:
        engine.forget(site.queue, [entry.key for entry in waiting.get(job, ())])
        if job in failed:
            _forget(site, engine, [failed[job]])
    return len({*chosen})


def _named(site: Site, wanted: str, known: Collection[str]) -> str:
    hits = [job for job in known if wanted and job.startswith(wanted)]
    if len(hits) == 1:
        return hits[0]
    why, advice = "no job that waits or has failed has this id", f"{ours('queue failed')} lists those that failed"
    begun = History(site.config.state_dir).attempts_like(wanted) if wanted and not hits else []
    if hits or len({each.job for each in begun}) > 1:
        why = "several jobs begin with this"
    elif begun:
        why, advice = _no_longer_waits(site, begun[-1])
    raise UnknownJob(Problem(subject=wanted, problem=why, advice=advice))


def _no_longer_waits(site: Site, last: Attempt) -> tuple[str, str]:
    """Why a job that has begun cannot be cleared, and what to do."""
    seen = ours(f"history --job {last.job[:8]}")
    if last.ending is not Ending.RUNNING:
        return f"has ended ({last.ending}): nothing of it waits", f"to see its attempts: {seen}"
    alive = lives(site, last)
    if alive is False:
        return (
            f"was at work in process {last.pid}, which is gone",
            f"nothing: the engine delivers it again, or the next job calls it lost; see {seen}",
        )
    doubt = "" if alive else f", as far as is known: process {last.pid} cannot be seen from here"
    return f"is at work, and is left to its worker{doubt}", f"to see what becomes of it: {seen}"


def clear_host(site: Site, engine: Engine, host: str) -> int:
    """Forget what waits or has failed on the queue of another host; returns how many."""
    queue = queue_of(site.settings.name, host)
    return engine.forget(queue, [entry.key for entry in (*engine.pending(queue), *engine.failed(queue))])


class UnknownJob(LogrotorError):
    """No job has this id."""


def _chosen(found: Collection[Failure], jobs: Collection[str]) -> list[Failure]:
    if "all" in jobs:
        return [failure for failure in found if failure.is_open]
    chosen = []
    for wanted in jobs:
        hits = [failure for failure in found if wanted and failure.job.startswith(wanted)]
        if len(hits) != 1:
            why = "several failed jobs begin with this" if hits else "no failed job has this id"
            raise UnknownJob(Problem(subject=wanted, problem=why, advice=f"{ours('queue failed')} lists them"))
        chosen += hits
    return chosen


def _logs(failed: Failure) -> tuple[str, ...]:
    try:
        return payload.decode(failed.payload).logs
    except (Stale, Unacceptable):
        return ()


def _of_fault(fault: Fault, kept: Iterable[KeptJob]) -> Failure:
    return Failure(
        cause=fault.cause, detail=fault.detail, job=fault.job, queue=fault.queue, ending=fault.ending.value,
        attempts=fault.number, payload=fault.payload, count=fault.count, first=fault.first, last=fault.last,
        settled=fault.settled, fault=fault.id, keys=tuple(entry.key for entry in kept),
    )  # fmt: skip


def _of_engine(error: str, entries: list[KeptJob], done: float) -> Failure:
    """``done``: when the last job that was done began."""
    oldest, last = entries[0], entries[-1]
    times = [entry.since for entry in entries if entry.since is not None]
    return Failure(
        cause=error, detail=error, job=payload.identify(oldest.payload), queue=last.queue, ending="failed", attempts=0,
        payload=last.payload, count=len(entries), first=min(times, default=None), last=max(times, default=None),
        settled=done if times and max(times) < done else None, keys=tuple(entry.key for entry in entries),
    )  # fmt: skip


def _is_stale(entry: KeptJob, begun: Collection[str], now: float) -> bool:
    try:
        job = payload.decode(entry.payload)
    except Stale:
        return True
    except Unacceptable:
        return False  # the worker refuses it, and then it is a failed one
    return job.id not in begun and now > job.expires
