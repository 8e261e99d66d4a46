"""Is the rotation alive? Judged by what was done, against the ticks that there were; and who is there to do it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from msgspec import Struct

from logrotor.decide.schedule import first_due, next_slot, slot_after
from logrotor.disk import holders, proc, signin
from logrotor.disk.history import History
from logrotor.jobs.dispatch import period
from logrotor.jobs.engine import Site
from logrotor.jobs.processes import Running, family, look
from logrotor.model import Attempt, Ending, Problem
from logrotor.text import ours, span

MOST_AGE = 600.0  # seconds that a job may wait, whatever the schedule


class Progress(Struct, frozen=True, kw_only=True):
    """How far this host's jobs have come. Times are epoch seconds; None: never, or not known."""

    last_attempt: Attempt | None
    last_done: float | None  # when the newest one that was done ended
    next_tick: float | None
    deadline: float | None  # when the next one must have been done, by [queue.monitor] ticks; the first, at its tick
    at_work: Attempt | None  # within its time, by a process that lives

    def why_not(self, now: float) -> str | None:
        """Why the rotation counts as stopped; None: it does not."""
        if self.at_work is not None:
            return None
        if self.deadline is not None and now < self.deadline:
            return None
        if self.last_done is None:
            return "no job was ever done"
        return None if self.deadline is None else f"no job was done for {span(now - self.last_done)}"


def progress(site: Site, now: datetime) -> Progress:
    """Raises OSError."""
    history, moment = History(site.config.state_dir), now.timestamp()
    done = history.newest_attempt(site.queue, Ending.DONE)
    running = [a for a in history.attempts_since(moment) if a.queue == site.queue and a.ending is Ending.RUNNING]
    tick, last = next_slot(site.settings.schedule, now), history.newest_attempt(site.queue)
    ended = done.ended if done is not None else None
    return Progress(
        last_attempt=last,
        last_done=ended,
        next_tick=tick.timestamp() if tick is not None else None,
        deadline=_first_deadline(site, now) if last is None else deadline(site, ended, now),
        at_work=next((a for a in running if is_at_work(site, a, moment)), None),
    )


def deadline(site: Site, since: float | None, now: datetime) -> float | None:
    """When too many ticks will have come since then."""
    if since is None:
        return None
    return slot_after(site.settings.schedule, since, site.settings.monitor.ticks, now.tzinfo)


def _first_deadline(site: Site, now: datetime) -> float | None:
    """When the first job must have been done by what runs; None: nobody is there to do one."""
    since = signin.serving_since(site.config.state_dir, site.file, now.timestamp())
    return None if since is None else first_due(site.settings.schedule, since, now.tzinfo)


def is_at_work(site: Site, attempt: Attempt, now: float) -> bool:
    return lives(site, attempt) is not False and now - attempt.started <= site.settings.job.reclaim_after


def lives(site: Site, attempt: Attempt) -> bool | None:
    """Whether the process of an attempt that has not ended is still there; None: of another host, or not to be seen.

    Where processes of other pid namespaces come to, the number may be another one's here: the run of the attempt names
    its job.
    """
    if attempt.host != site.host:
        return None
    found = holders.lives(site.config.state_dir, attempt.pid, attempt.started, time.time())
    if found and signin.is_shared(site.config.state_dir):
        return any(attempt.job in each.argv for each in proc.running(b"--attempt")) or None
    return found


def most_age(site: Site, now: datetime) -> float:
    """Seconds that a job may wait before nobody seems to take it."""
    monitor = site.settings.monitor
    return monitor.max_age or min(MOST_AGE, monitor.ticks * period(site.settings.schedule, now))


def stopped(site: Site, found: Progress, workers: Sequence[Worker], now: float) -> Problem | None:
    """Why nothing is done, as far as it can be seen here."""
    why = found.why_not(now)
    if why is None:
        return None
    roles = {worker.role for worker in workers}
    lacking = [role for role in ("worker", "schedule") if role not in roles]
    hiding = proc.why_hiding()
    seen = f"; no {' and no '.join(lacking)} {'runs' if hiding is None else 'can be seen'}" if lacking else ""
    return Problem(subject=site.queue, problem=why + seen, advice=f"see {ours('doctor --only queue')}", kind="stopped")


# ---------------------------------------------------------------- who is there


class Worker(Struct, frozen=True, kw_only=True):
    """A process that works on the queue of this configuration, or queues its jobs. Bytes, epoch seconds.

    ``seen``: when it last gave a sign of life, of one in another pid namespace, of which no more is known.
    """

    pid: int
    space: str
    role: str  # "worker", "schedule"
    engine: str | None
    user: str | None
    since: float
    memory: int | None  # with its own processes
    state: str  # "at work", "stopped", else as the system has it; "unknown"
    seen: float | None = None


def workers(site: Site) -> list[Worker]:
    """Those that can be seen from here, and those of other pid namespaces that give signs of life."""
    seen, busy = look(site).of(site), _at_work(site)
    both = [("worker", each) for each in seen.workers] + [("schedule", each) for each in seen.schedules]
    here = [worker for role, each in both if (worker := _worker(role, each, busy)) is not None]
    return [*here, *_elsewhere(site, [each.pid for each in seen.every])]


def _elsewhere(site: Site, seen: Collection[int]) -> Iterator[Worker]:
    """From the machine a process of a container can be ``seen`` as well."""
    shown = {proc.pid_namespace(pid) for pid in seen}
    for entry, renewed in signin.elsewhere(site.config.state_dir, time.time()):
        roles = [role for role, is_its in (("worker", entry.works), ("schedule", entry.ticks)) if is_its]
        for role in roles if entry.config == os.path.realpath(site.file) and entry.space not in shown else ():
            yield Worker(
                pid=entry.pid, space=entry.space, role=role, engine=entry.engine if role == "worker" else None,
                user=None, since=entry.since, memory=None, state="unknown", seen=renewed,
            )  # fmt: skip


def _at_work(site: Site) -> frozenset[int]:
    """The processes of the attempts that have not ended."""
    with suppress(OSError):  # of a history that cannot be read nobody can tell
        running = [a for a in History(site.config.state_dir).attempts_since(math.inf) if a.queue == site.queue]
        return frozenset(a.pid for a in running if lives(site, a))
    return frozenset()


def _worker(role: str, running: Running, busy: Collection[int]) -> Worker | None:
    process = running.process
    with suppress(OSError):
        own = family([process], b"logrotor") if role == "worker" else [process]
        return Worker(
            pid=process.pid, space=proc.pid_namespace(), role=role, engine=running.engine, user=running.user,
            since=process.started, memory=_memory(process.pid),
            state=_state(process.pid, [each.pid for each in own], busy),
        )  # fmt: skip
    return None


def _state(pid: int, own: Sequence[int], busy: Collection[int]) -> str:
    """Of a worker with its own processes; what waits for its attempt is at work. Raises OSError."""
    if any(map(holders.is_stopped, own)):
        return "stopped"
    return "at work" if busy and not {*own}.isdisjoint(busy) else proc.state(pid)


def _memory(pid: int) -> int:
    total = proc.memory(pid)
    for child in proc.running(b"logrotor"):
        if child.parent == pid:
            with suppress(OSError):
                total += proc.memory(child.pid)
    return total
