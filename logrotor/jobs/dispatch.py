"""Queue a job of this host, once or at each tick of the schedule."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import logrotor
from logrotor.decide.schedule import latest_slot, next_slot
from logrotor.disk.history import History
from logrotor.errors import LogrotorError
from logrotor.jobs import payload
from logrotor.jobs.engine import Engine, Site
from logrotor.jobs.payload import Payload
from logrotor.jobs.task import tell
from logrotor.model import Attempt

_SHARE = 0.9  # of the time to the next tick: a job that has waited longer leaves the work to the next one
PATIENCE = 10.0  # seconds for a worker to take a job, beside what it may wait
_STEP = 10.0  # seconds between two looks at the clock

Wait = Callable[[float], bool]  # seconds -> whether the loop is to end
NextTick = Callable[[datetime], datetime | None]


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
    """Seconds between the last tick and the next one."""
    last, following = latest_slot(schedule, now), next_slot(schedule, now)
    if last is None or following is None:
        return timedelta(days=1).total_seconds()
    return following.timestamp() - last.timestamp()


def await_end(site: Site, job: Payload, *, look: float = 0.2) -> Attempt | None:
    """The last attempt of the job, as soon as no other follows; None: none began in time. Raises HistoryUnusable.

    One whose worker was killed is waited for until no engine gives it to anybody any more.
    """
    limits = site.settings.job
    patience = limits.reclaim_after + max(limits.backoff, default=0.0) + PATIENCE
    while True:
        attempts, now = History(site.config.state_dir).attempts_of(job.id), time.time()
        last = attempts[-1] if attempts else None
        if last is not None and last.final and last.ended is not None:
            return last
        if now > (job.expires + PATIENCE if last is None else (last.ended or last.started) + patience):
            return last
        time.sleep(look)


# ---------------------------------------------------------------- the schedule


def by_schedule(site: Site) -> NextTick:
    """The ticks that the configuration asks for."""
    return lambda now: next_slot(site.settings.schedule, now)


def dispatch_by(
    site: Site, connect: Callable[[], Engine], *, ticks: NextTick, now: Callable[[], datetime], wait: Wait
) -> None:
    """Dispatch at each tick until ``wait`` says that it is to end. A late or a double tick does no harm; a queue out of
    reach, or whose URL is gone, is logged, and tried again at the next one.

    ``connect`` is called at each tick: a connection kept for an hour between two may be dead.
    """
    while _awaited(ticks, now, wait):
        try:
            dispatch(site, connect(), now())
        except (LogrotorError, OSError) as error:
            tell("job.undelivered", error=str(error), queue=site.queue)


def _awaited(ticks: NextTick, now: Callable[[], datetime], wait: Wait) -> bool:
    """Whether the next tick has come; False: there is none, or the loop is to end."""
    tick = ticks(now())
    # In steps, and asked again in each: a machine that slept, or a clock that was set back by a day, must not delay
    # a tick for long.
    while tick is not None and (left := tick.timestamp() - now().timestamp()) > 0:
        if wait(min(left, _STEP)):
            return False
        earlier = ticks(now())
        if earlier is not None and earlier.timestamp() < tick.timestamp():
            tick = earlier
    return tick is not None and not wait(0)
