"""The queue of this host in numbers, from the history, the engine and /proc: whoever asks gets the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from logrotor.disk.attempts import BOUNDS
from logrotor.disk.history import History
from logrotor.jobs.backlog import Status
from logrotor.jobs.engine import Site
from logrotor.jobs.progress import most_age, progress, workers
from logrotor.model import Ending, Total

_TIMED = frozenset({Ending.DONE, Ending.FAILED, Ending.TIMEOUT})  # the others did nothing, or nobody knows how long
_COUNTS = {
    "pending": "Jobs that are ready to be taken.",
    "reserved": "Jobs at work, but for the one whose run writes this.",
    "scheduled": "Jobs that wait for their next attempt.",
    "failed": "Jobs that failed for good, and that no later job has made up for.",
    "stuck": "Jobs at work for longer than stuck_after.",
}
Labels = Mapping[str, str]


_OWN = {
    "queue_up": "Whether the server of the queue answers.",
    "queue_history_known": "Whether the history of its jobs can be read; if not, what it tells is left out.",
    "queue_last_done_timestamp_seconds": "When the last job that was done ended.",
    "queue_deadline_timestamp_seconds": "When the next job must have been done, by [queue.monitor] ticks.",
    "worker_up": "Workers of this queue that run here, those in other pid namespaces included.",
    "worker_age_seconds": "For how long the oldest of them has run.",
    "worker_memory_bytes": "What they have in memory.",
}
_AGE = "How long the oldest pending job has waited."
_MOST_AGE = "How long it may wait, by [queue.monitor] and the schedule."
_ATTEMPTS = "Attempts by how they ended."
_DURATION = "How long attempts took that were done, failed or were ended by their timeout."


class Measure(Struct, frozen=True):
    """One metric, as ``observe.metrics.Metric`` has it."""

    name: str
    help: str
    samples: tuple[tuple[Labels, float | None], ...] = ()
    kind: str = "gauge"
    labels: tuple[str, ...] = ("queue",)


def known() -> Iterator[Measure]:
    """All of them, without a value."""
    yield from (Measure(f"logrotor_queue_{key}_jobs", help) for key, help in _COUNTS.items())
    yield Measure("logrotor_queue_oldest_age_seconds", _AGE)
    yield Measure("logrotor_queue_most_age_seconds", _MOST_AGE)
    yield from (Measure(f"logrotor_{name}", help) for name, help in _OWN.items())
    yield from _of_attempts((), {})


def of(site: Site, now: datetime, status: Status | None, reached: bool | None) -> Iterator[Measure]:
    """``status``: None where the engine could not be asked, or has nothing yet; ``reached``: None if that is not known.

    What cannot be read in the history is left out, and one metric says so: a rule on what is not there never fires.
    """
    try:
        remembered, is_known = list(_of_history(site, now)), True
    except OSError:
        remembered, is_known = [], False
    yield from _of_engine(site, now, status)
    yield _own(site, "queue_up", reached)
    yield _own(site, "queue_history_known", is_known)
    yield from remembered
    yield from _of_workers(site, now)


def _own(site: Site, name: str, value: float | None) -> Measure:
    return Measure(f"logrotor_{name}", _OWN[name], (({"queue": site.queue}, value),))


def _of_engine(site: Site, now: datetime, status: Status | None) -> Iterator[Measure]:
    queues = status.queues if status is not None else ()
    for key, help in _COUNTS.items():
        samples = tuple(({"queue": each.queue}, getattr(each, key)) for each in queues)
        yield Measure(f"logrotor_queue_{key}_jobs", help, samples)
    ages = tuple(({"queue": each.queue}, each.oldest_age or 0.0) for each in queues)
    yield Measure("logrotor_queue_oldest_age_seconds", _AGE, ages)
    most = tuple(({"queue": each.queue}, most_age(site, now)) for each in queues)
    yield Measure("logrotor_queue_most_age_seconds", _MOST_AGE, most)


def _of_history(site: Site, now: datetime) -> Iterator[Measure]:
    """Raises OSError."""
    found = progress(site, now)
    yield _own(site, "queue_last_done_timestamp_seconds", found.last_done)
    yield _own(site, "queue_deadline_timestamp_seconds", found.deadline or 0.0)
    yield from _of_attempts(History(site.config.state_dir).totals(site.queue), {"queue": site.queue})


def _of_workers(site: Site, now: datetime) -> Iterator[Measure]:
    workers_here = [each for each in workers(site) if each.role == "worker"]
    yield _own(site, "worker_up", len(workers_here))
    age = max((now.timestamp() - each.since for each in workers_here), default=None)
    yield _own(site, "worker_age_seconds", age)
    seen = [each.memory for each in workers_here if each.memory is not None]
    memory = sum(seen) if workers_here and len(seen) == len(workers_here) else None
    yield _own(site, "worker_memory_bytes", memory)


def _of_attempts(totals: Sequence[Total], ours: Labels) -> Iterator[Measure]:
    endings = sorted({each.ending for each in totals})
    counted = tuple(
        ({**ours, "ending": ending.value}, sum(t.attempts for t in totals if t.ending is ending)) for ending in endings
    )
    yield Measure("logrotor_queue_attempts_total", _ATTEMPTS, counted, "counter", ("queue", "ending"))
    timed = [each for each in totals if each.ending in _TIMED]
    samples: list[tuple[Labels, float]] = [
        ({"": "_bucket", **ours, "le": _bound(bound)}, sum(t.attempts for t in timed if t.within <= bound))
        for bound in (*BOUNDS, math.inf)
    ]
    samples += [({"": "_sum", **ours}, sum(t.seconds for t in timed)), ({"": "_count", **ours}, samples[-1][1])]
    shown = tuple(samples) if timed else ()
    yield Measure("logrotor_queue_attempt_duration_seconds", _DURATION, shown, "histogram", ("queue", "le"))


def _bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else f"{bound:g}"
