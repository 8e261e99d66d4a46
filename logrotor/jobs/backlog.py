"""What is on the queues: counted for every host; this host's failed jobs listed, queued again, cleared.

The engine knows what waits. The history of this host has the failed jobs for every engine alike; what an engine has
kept besides (a job whose worker died, a job of another host) is added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from logrotor.disk import proc
from logrotor.disk.history import History
from logrotor.errors import LogrotorError
from logrotor.jobs import payload
from logrotor.jobs.dispatch import new_job
from logrotor.jobs.engine import Engine, KeptJob, QueueCount, Site, queue_of
from logrotor.jobs.payload import Payload, Stale, Unacceptable
from logrotor.model import Attempt, Ending, Problem
from logrotor.text import ours

WINDOW = 86400.0  # seconds that throughput and times are taken from


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
    per_hour: float
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


def status(site: Site, engine: Engine, now: float) -> Status:
    """Raises QueueUnreachable, OSError."""
    attempts = History(site.config.state_dir).attempts_since(now - WINDOW)
    found = {count.queue: count for count in engine.counts(f"{site.settings.name}-")}
    found.setdefault(site.queue, QueueCount(queue=site.queue, pending=0, reserved=None, scheduled=0, failed=None))
    failed = len(failed_jobs(site, engine)) + History(site.config.state_dir).forgotten(site.queue)
    queues = sorted((_row(site, count, attempts, failed, now) for count in found.values()), key=_by_attention)
    return Status(engine=site.settings.engine, url=site.shown_url, queues=queues, processing=_processing(attempts, now))


def troubles(status: Status, *, max_pending: int, max_age: float) -> list[Problem]:
    """What a monitoring system should report: failed and stuck jobs, and queues over the limits."""
    return [
        Problem(subject=queue.queue, problem=problem, advice=advice)
        for queue in status.queues
        for problem, advice in _troubles_of(queue, max_pending, max_age)
    ]


def _troubles_of(queue: QueueStatus, max_pending: int, max_age: float) -> Iterator[tuple[str, str]]:
    if queue.failed:
        yield f"{queue.failed} failed", ours("queue failed")
    if queue.stuck:
        yield f"{queue.stuck} stuck", ours("doctor --only queue")
    if queue.pending > max_pending:
        yield f"{queue.pending} pending, more than {max_pending}", "does a worker run there?"
    if queue.oldest_age is not None and queue.oldest_age > max_age:
        yield f"the oldest job waits for {queue.oldest_age:.0f} s", "does a worker run there?"


def _row(site: Site, count: QueueCount, attempts: Sequence[Attempt], failed: int, now: float) -> QueueStatus:
    """``attempts``, ``failed``: of this host, which knows more of its own queue than the engine does."""
    host, reserved, stuck = count.queue.removeprefix(f"{site.settings.name}-"), count.reserved, None
    is_ours = count.queue == site.queue
    if is_ours:
        running = [a for a in attempts if a.ending is Ending.RUNNING and a.queue == site.queue]
        host, stuck = site.host, sum(now - a.started > site.settings.job.stuck_after for a in running)
        reserved = sum(proc.exists(a.pid) for a in running) if reserved is None else reserved
    return QueueStatus(
        queue=count.queue, host=host, is_ours=is_ours, pending=count.pending, reserved=reserved,
        scheduled=count.scheduled, failed=failed if is_ours else count.failed, stuck=stuck,
        oldest_age=None if count.oldest is None else max(0.0, now - count.oldest),
    )  # fmt: skip


def _by_attention(queue: QueueStatus) -> tuple[bool, float, str]:
    weight = (queue.failed or 0) + (queue.stuck or 0) + queue.pending
    return not queue.is_ours, -weight, queue.queue


def _processing(attempts: Sequence[Attempt], now: float) -> Processing:
    ended = [a for a in attempts if a.seconds is not None and a.started >= now - WINDOW]
    times = sorted(a.seconds for a in ended if a.seconds is not None and a.ending is not Ending.STALE)
    since = min((a.started for a in ended), default=now)
    return Processing(
        attempts=len(ended),
        endings=dict(Counter(a.ending.value for a in ended)),
        per_hour=len(ended) * 3600 / max(now - since, 3600.0),
        mean=sum(times) / len(times) if times else None,
        p95=times[min(len(times) - 1, int(len(times) * 0.95))] if times else None,
        longest=times[-1] if times else None,
        last=ended[-1] if ended else None,
    )


# ---------------------------------------------------------------- failed jobs


class FailedJob(Struct, frozen=True, kw_only=True):
    """A job that failed for good. ``when``: epoch seconds."""

    job: str
    queue: str
    attempts: int
    ending: str
    detail: str
    when: float | None
    payload: str
    keys: tuple[str, ...] = ()  # under which the engine holds it


def failed_jobs(site: Site, engine: Engine) -> list[FailedJob]:
    """Those of this host's queue, oldest first. Raises QueueUnreachable, OSError."""
    kept: dict[str, list[KeptJob]] = {}
    for entry in engine.failed(site.queue):
        kept.setdefault(payload.identify(entry.payload), []).append(entry)
    history = History(site.config.state_dir)
    known = [_of_attempt(attempt, kept.pop(attempt.job, ())) for attempt in history.failed_attempts()]
    # What the history has is either listed from there, settled, or not over yet.
    more = [_of_engine(job, entries) for job, entries in kept.items() if not history.attempts_of(job)]
    return sorted((*known, *more), key=lambda failed: failed.when or 0)


def retry(site: Site, engine: Engine, jobs: Collection[str], now: datetime) -> list[Payload]:
    """Queue failed jobs again, as jobs of their own with all tries. ``jobs``: ids; "all" for every one.

    Raises UnknownJob, QueueUnreachable, OSError.
    """
    fresh = []
    for failed in _chosen(failed_jobs(site, engine), jobs):
        job = _again(failed, site, now)
        engine.dispatch(payload.encode(job))
        _settle(site, engine, failed, "retried")
        fresh.append(job)
    return fresh


def clear_failed(site: Site, engine: Engine, *, before: float | None = None) -> int:
    """Forget failed jobs, all or those that failed before a moment; returns how many."""
    found = [f for f in failed_jobs(site, engine) if before is None or (f.when or 0) < before]
    for failed in found:
        _settle(site, engine, failed, "cleared")
    return len(found) + (History(site.config.state_dir).forget_refused(site.queue) if before is None else 0)


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
    failed = {each.job: each for each in failed_jobs(site, engine)}
    chosen = [_named(wanted, {*waiting, *failed}) for wanted in jobs]
    for job in chosen:
        engine.forget(site.queue, [entry.key for entry in waiting.get(job, ())])
        if job in failed:
            _settle(site, engine, failed[job], "cleared")
    return len({*chosen})


def _named(wanted: str, known: Collection[str]) -> str:
    hits = [job for job in known if wanted and job.startswith(wanted)]
    if len(hits) != 1:
        why = "several jobs begin with this" if hits else "no job that waits or has failed has this id"
        raise UnknownJob(Problem(subject=wanted, problem=why, advice=f"{ours('queue failed')} lists those that failed"))
    return hits[0]


def clear_host(site: Site, engine: Engine, host: str) -> int:
    """Forget what waits or has failed on the queue of another host; returns how many."""
    queue = queue_of(site.settings.name, host)
    return engine.forget(queue, [entry.key for entry in (*engine.pending(queue), *engine.failed(queue))])


class UnknownJob(LogrotorError):
    """No job has this id."""


def _chosen(found: list[FailedJob], jobs: Collection[str]) -> Iterator[FailedJob]:
    if "all" in jobs:
        yield from found
        return
    for wanted in jobs:
        hits = [failed for failed in found if wanted and failed.job.startswith(wanted)]
        if len(hits) != 1:
            why = "several failed jobs begin with this" if hits else "no failed job has this id"
            raise UnknownJob(Problem(subject=wanted, problem=why, advice=f"{ours('queue failed')} lists them"))
        yield hits[0]


def _again(failed: FailedJob, site: Site, now: datetime) -> Payload:
    """The same logs, on this host, under the configuration as it is now."""
    try:
        logs = payload.decode(failed.payload).logs
    except (Stale, Unacceptable):
        logs = ()
    return new_job(site, now, logs)


def _settle(site: Site, engine: Engine, failed: FailedJob, how: str) -> None:
    if failed.keys:
        engine.forget(failed.queue, failed.keys)
    History(site.config.state_dir).settle([failed.job], how)


def _of_attempt(attempt: Attempt, kept: Iterable[KeptJob]) -> FailedJob:
    return FailedJob(
        job=attempt.job, queue=attempt.queue, attempts=attempt.number, ending=attempt.ending.value,
        detail=attempt.detail, when=attempt.ended, payload=attempt.payload, keys=tuple(entry.key for entry in kept),
    )  # fmt: skip


def _of_engine(job: str, entries: list[KeptJob]) -> FailedJob:
    last = entries[-1]
    return FailedJob(
        job=job, queue=last.queue, attempts=0, ending="failed", detail=last.error or "the engine does not say why",
        when=last.since, payload=last.payload, keys=tuple(entry.key for entry in entries),
    )  # fmt: skip


def _is_stale(entry: KeptJob, begun: Collection[str], now: float) -> bool:
    try:
        job = payload.decode(entry.payload)
    except Stale:
        return True
    except Unacceptable:
        return False  # the worker refuses it, and then it is a failed one
    return job.id not in begun and now > job.expires
