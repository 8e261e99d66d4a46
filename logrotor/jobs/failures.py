"""Failed jobs: listed, queued anew, cleared. The history of this host has them for every engine alike; what an engine
has kept besides (a job whose worker died, a job of another host) is added."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from msgspec import Struct

from logrotor.disk.history import History
from logrotor.errors import LogrotorError
from logrotor.jobs import payload
from logrotor.jobs.dispatch import new_job
from logrotor.jobs.engine import Engine, KeptJob
from logrotor.jobs.payload import Payload, Stale, Unacceptable
from logrotor.jobs.site import Site
from logrotor.model import Attempt


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
    known = [
        _of_attempt(attempt, kept.pop(attempt.job, ())) for attempt in History(site.config.state_dir).failed_attempts()
    ]
    settled = {job for job in kept if _is_known(site, job)}
    more = [_of_engine(job, entries) for job, entries in kept.items() if job not in settled]
    return sorted((*known, *more), key=lambda failed: failed.when or 0)


def retry(site: Site, engine: Engine, jobs: Collection[str], now: datetime) -> list[Payload]:
    """Queue failed jobs anew, as jobs of their own with all tries. ``jobs``: ids; "all" for every one.

    Raises UnknownJob, QueueUnreachable, OSError.
    """
    fresh = []
    for failed in _chosen(failed_jobs(site, engine), jobs):
        job = _anew(failed, site, now)
        engine.dispatch(payload.encode(job))
        _settle(site, engine, failed, "retried")
        fresh.append(job)
    return fresh


def clear_failed(site: Site, engine: Engine, *, before: float | None = None) -> int:
    """Forget failed jobs, all or those that failed before a moment; returns how many."""
    found = [f for f in failed_jobs(site, engine) if before is None or (f.when or 0) < before]
    for failed in found:
        _settle(site, engine, failed, "cleared")
    return len(found)


def clear_stale(site: Site, engine: Engine, now: float) -> int:
    """Remove jobs that wait and would be dropped at their first attempt anyway; returns how many."""
    begun = {attempt.job for attempt in History(site.config.state_dir).attempts_since(now - 86400)}
    stale = [entry.key for entry in engine.pending(site.queue) if _is_stale(entry, begun, now)]
    return engine.forget(site.queue, stale) if stale else 0


class UnknownJob(LogrotorError):
    """No failed job has this id."""


def _chosen(found: list[FailedJob], jobs: Collection[str]) -> Iterator[FailedJob]:
    if "all" in jobs:
        yield from found
        return
    for wanted in jobs:
        hits = [failed for failed in found if wanted and failed.job.startswith(wanted)]
        if len(hits) != 1:
            why = "several failed jobs begin so" if hits else "no failed job has this id"
            raise UnknownJob(f"{wanted}: {why}; logrotor queue failed lists them")
        yield hits[0]


def _anew(failed: FailedJob, site: Site, now: datetime) -> Payload:
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


def _is_known(site: Site, job: str) -> bool:
    """Whether the history has it, so that it is either listed from there, settled, or not over yet."""
    return bool(History(site.config.state_dir).attempts_of(job))


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
