"""Queue one job: what a tick of the schedule does, and ``logrotor queue dispatch``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import logrotor
from logrotor.decide.schedule import next_slot
from logrotor.jobs import payload
from logrotor.jobs.engine import Engine
from logrotor.jobs.payload import Payload
from logrotor.jobs.site import Site

_SHARE = 0.9  # of the time to the next tick: a job that has waited longer leaves the work to the next one


def dispatch(site: Site, engine: Engine, now: datetime, *, logs: Sequence[str] = ()) -> Payload:
    """Queue a job for the logs of this host; returns its payload. Raises QueueUnreachable."""
    job = new_job(site, now, logs)
    engine.dispatch(payload.encode(job))
    return job


def new_job(site: Site, now: datetime, logs: Sequence[str] = ()) -> Payload:
    """A job of this host for ``logs`` (none: all), under the configuration as it is."""
    return Payload(
        id=payload.new_id(), host=site.host, config=site.file, config_sha256=site.sha256, logs=tuple(logs) or ("*",),
        enqueued=now.timestamp(), expires=now.timestamp() + lifetime(site, now), app=logrotor.__version__,
    )  # fmt: skip


def lifetime(site: Site, now: datetime) -> float:
    """Seconds for which a job that is queued now is worth its first attempt."""
    if site.settings.job.expires is not None:
        return site.settings.job.expires
    return period(site.settings.schedule, now) * _SHARE


def period(schedule: str, now: datetime) -> float:
    """Seconds between the next two ticks."""
    first = next_slot(schedule, now)
    second = next_slot(schedule, first) if first else None
    if first is None or second is None:
        return timedelta(days=1).total_seconds()
    return second.timestamp() - first.timestamp()
