"""The rotation job on a queue: where it is queued, how often it is tried, what an attempt became."""

from __future__ import annotations

import enum

from msgspec import Struct

from logrotor.model.records import Count, Moment

_GRACE = 10.0  # seconds at most between TERM and KILL
_MARGIN = 15.0  # seconds between one limit and the next outer one


class JobSettings(Struct, frozen=True, kw_only=True):
    """``[queue.job]``: the one source of truth for tries and times (seconds)."""

    tries: int = 3  # every attempt counts, also one whose worker was killed
    max_exceptions: int = 3  # attempts that failed by themselves
    timeout: float = 60.0
    backoff: tuple[float, ...] = (10.0, 30.0, 60.0)  # before the second, third, ... attempt; the last one repeats
    expires: float | None = None  # None: nine tenths of the time to the next tick
    stuck_after: float = 600.0

    @property
    def grace(self) -> float:
        """Between TERM and KILL, when an attempt has outlived its timeout."""
        return min(_GRACE, self.timeout / 2)

    @property
    def time_limit(self) -> float:
        """The time limit of the run: after this it begins nothing long, so that it ends before the timeout."""
        return self.timeout - min(5.0, self.timeout / 5)

    @property
    def engine_timeout(self) -> float:
        """The engine's own limit: so late that it only ends a job body that hangs."""
        return self.timeout + self.grace + _MARGIN

    @property
    def reclaim_after(self) -> float:
        """When the engine may give a job to another worker."""
        return self.engine_timeout + _MARGIN

    @property
    def stop_wait(self) -> float:
        """How long a process manager has to wait for a worker that was asked to stop."""
        return self.timeout + self.grace + 2 * _MARGIN

    def delay(self, attempt: int) -> float:
        """Seconds to wait after attempt number ``attempt`` (the first is 1) before the next one."""
        return self.backoff[min(attempt, len(self.backoff)) - 1] if self.backoff else 0.0


class Monitor(Struct, frozen=True, kw_only=True):
    """``[queue.monitor]``: from when on a queue needs attention."""

    max_pending: int = 10  # jobs
    max_age: float | None = None  # seconds that a job has waited; None: three ticks, and at most 10 minutes
    ticks: int = 3  # of the schedule, without a job that was done
    queues: tuple[tuple[str, int], ...] = ()  # (queue, max_pending) of those that have one of their own

    def most(self, queue: str) -> int:
        return dict(self.queues).get(queue, self.max_pending)


class QueueSettings(Struct, frozen=True, kw_only=True):
    """``[queue]``: which engine, where, and for which host."""

    engine: str = "huey"
    url: str | None = None  # None: the engine's own default; "env:NAME": in the variable NAME
    name: str = "log-rotation"
    host: str | None = None  # None: the machine's host name
    schedule: str = "* * * * *"
    schedule_name: str = "* * * * *"  # what the user wrote
    job: JobSettings = JobSettings()
    monitor: Monitor = Monitor()


class Ending(enum.StrEnum):
    """What became of an attempt."""

    RUNNING = "running"
    DONE = "done"
    BUSY = "busy"  # another run held the lock: a success, it does the work
    STALE = "stale"  # an old or expired job: dropped, a success
    FAILED = "failed"  # it failed by itself
    TIMEOUT = "timeout"
    LOST = "lost"  # its worker died
    REFUSED = "refused"  # never tried again: not for us, too new, or no usable configuration


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt of a job, as the history has it. Times are epoch seconds."""

    id: int
    job: str
    number: Count  # 1 is the first
    engine: str
    queue: str
    host: str
    started: Moment
    ended: Moment | None = None
    ending: Ending
    final: bool = False  # no further attempt follows
    detail: str = ""  # why it ended so
    pid: Count
    payload: str

    @property
    def seconds(self) -> float | None:
        return None if self.ended is None else max(0.0, self.ended - self.started)


FAILURES = frozenset({Ending.FAILED, Ending.TIMEOUT, Ending.LOST, Ending.REFUSED})


class Fault(Struct, frozen=True, kw_only=True):
    """Why jobs failed for good: one cause of one selection of logs, however many jobs it made fail."""

    id: int
    queue: str
    cause: str  # the same for the same fault
    logs: str  # the selection, as JSON
    job: str  # the first that failed: the only one that the engine has as failed
    number: Count  # attempts of the last one
    ending: Ending
    detail: str = ""  # of the last one, as the payload
    payload: str = ""
    first: Moment
    last: Moment
    count: Count  # jobs
    settled: Moment | None = None  # when a job for these logs succeeded after all


class Total(Struct, frozen=True, kw_only=True):
    """All attempts of a queue that ended so and took so long: never fewer, whatever else is forgotten."""

    queue: str
    ending: Ending
    within: float  # seconds, the least of the bounds that they kept to; infinite: none
    attempts: Count
    seconds: float
