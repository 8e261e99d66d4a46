"""How the queues are: the engine's numbers for every host, and what the history of this host adds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from logrotor.disk import proc
from logrotor.disk.history import History
from logrotor.jobs.engine import Engine, QueueCount
from logrotor.jobs.failures import failed_jobs
from logrotor.jobs.site import Site
from logrotor.model import Attempt, Ending

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


def look(site: Site, engine: Engine, now: float) -> Status:
    """Raises QueueUnreachable, OSError."""
    attempts = History(site.config.state_dir).attempts_since(now - WINDOW)
    found = {count.queue: count for count in engine.counts(f"{site.settings.name}-")}
    found.setdefault(site.queue, QueueCount(queue=site.queue, pending=0, reserved=None, scheduled=0, failed=None))
    failed = len(failed_jobs(site, engine))
    queues = [
        _ours(site, count, attempts, failed, now) if count.queue == site.queue else _other(site, count, now)
        for count in found.values()
    ]
    return Status(
        engine=site.settings.engine,
        url=site.shown_url,
        queues=sorted(queues, key=_by_attention),
        processing=_processing(attempts, now),
    )


def troubles(status: Status, *, max_pending: int, max_age: float) -> list[str]:
    """What a monitoring system should tell: failed and stuck jobs, and queues over the limits."""
    found = []
    for queue in status.queues:
        if queue.failed:
            found.append(f"{queue.queue}: {queue.failed} failed; logrotor queue failed")
        if queue.stuck:
            found.append(f"{queue.queue}: {queue.stuck} stuck; logrotor doctor --only queue")
        if queue.pending > max_pending:
            found.append(f"{queue.queue}: {queue.pending} pending, more than {max_pending}; does a worker run there?")
        if queue.oldest_age is not None and queue.oldest_age > max_age:
            found.append(f"{queue.queue}: the oldest job waits for {queue.oldest_age:.0f} s; does a worker run there?")
    return found


def _ours(site: Site, count: QueueCount, attempts: Sequence[Attempt], failed: int, now: float) -> QueueStatus:
    running = [a for a in attempts if a.ending is Ending.RUNNING and a.queue == site.queue]
    alive = [a for a in running if proc.exists(a.pid)]
    stuck = [a for a in running if now - a.started > site.settings.job.stuck_after]
    return QueueStatus(
        queue=count.queue, host=site.host, is_ours=True, pending=count.pending,
        reserved=len(alive) if count.reserved is None else count.reserved, scheduled=count.scheduled, failed=failed,
        stuck=len(stuck), oldest_age=_age(count.oldest, now),
    )  # fmt: skip


def _other(site: Site, count: QueueCount, now: float) -> QueueStatus:
    return QueueStatus(
        queue=count.queue, host=count.queue.removeprefix(f"{site.settings.name}-"), is_ours=False,
        pending=count.pending, reserved=count.reserved, scheduled=count.scheduled, failed=count.failed, stuck=None,
        oldest_age=_age(count.oldest, now),
    )  # fmt: skip


def _age(since: float | None, now: float) -> float | None:
    return None if since is None else max(0.0, now - since)


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
