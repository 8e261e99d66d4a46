"""Jobs that failed, that are stuck, or that are not done at all."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from logrotor.clock import local_now
from logrotor.disk import holders, proc, programs
from logrotor.disk.history import History
from logrotor.errors import ConfigError
from logrotor.jobs import processes
from logrotor.jobs.backlog import Failure, clear_failed, failures
from logrotor.jobs.engine import Engine, QueueUnreachable, Site, open_engine
from logrotor.jobs.progress import most_age, progress, stopped, workers
from logrotor.model import Attempt, Check, Ending, Finding, Problem
from logrotor.text import count, distance, ours, span


def checks(site: Site) -> list[Check]:
    return [
        Check(id="queue.progress", title="jobs are done at the ticks of the schedule", look=lambda: undone(site)),
        Check(id="queue.awake", title="nothing that serves the queue is stopped", look=lambda: asleep(site)),
        Check(id="queue.failed", title="no job has failed", look=lambda: failed(site)),
        Check(id="queue.stuck", title="no job is stuck", look=lambda: stuck(site)),
    ]


def undone(site: Site) -> Iterator[Finding]:
    now = local_now()
    found = stopped(site, progress(site, now), workers(site), now.timestamp()) or _untaken(site, now)
    if found is not None:
        yield Finding(
            subject=found.subject, problem=found.problem, why="nothing is rotated, whoever seems to be at work",
            advice=_what_helps(site),
        )  # fmt: skip


def _untaken(site: Site, now: datetime) -> Problem | None:
    """A job that nobody takes: seen also where a worker dies again and again, and its first tick is always to come."""
    try:
        counts = open_engine(site).counts(site.queue)
    except (QueueUnreachable, ConfigError):
        return None  # reported by queue.reachable
    oldest = next((each.oldest for each in counts if each.queue == site.queue), None)
    age = 0.0 if oldest is None else now.timestamp() - oldest
    waits = f"the oldest job has waited for {span(age)}, and nobody takes it"
    return Problem(subject=site.queue, problem=waits) if age > most_age(site, now) else None


def _what_helps(site: Site) -> str:
    """An advice that does not rely on a worker that cannot work."""
    held = processes.stopped(site)
    if held:
        return f"let what was stopped go on: {_cont(held)}"
    if not processes.look(site).of(site).workers:
        return f"start a worker: {ours('queue worker --schedule')}; under a manager: {ours('queue unit')}"
    return f"see what the worker logs; to have it begin anew: {ours('queue restart')}"


def _cont(held: Sequence[proc.Process]) -> str:
    return " ".join(["kill -CONT", *(str(each.pid) for each in held)])


def asleep(site: Site) -> Iterator[Finding]:
    """What a signal has stopped is there for whoever looks for a process, and does nothing."""
    held = processes.stopped(site)
    last = History(site.config.state_dir).newest_attempt(site.queue) if held else None
    now = local_now().timestamp()
    for each in held:
        # The system does not tell when that was: not before it was started, nor before the last job that it did.
        since = max(each.started, (last.ended or 0.0) if last is not None else 0.0)
        yield Finding(
            subject=f"process {each.pid} ({proc.program(each.pid)})",
            problem=f"was stopped by a signal, at most {span(max(1.0, now - since))} ago",
            why="it does nothing and keeps the jobs and locks that it has, and a manager takes it for alive",
            advice=f"let it go on: {_cont([each])}", would=f"send SIGCONT to process {each.pid}",
            mend=_send(each, signal.SIGCONT),
        )  # fmt: skip


def failed(site: Site) -> Iterator[Finding]:
    try:
        engine = open_engine(site)
        found = failures(site, engine)
    except (QueueUnreachable, ConfigError):
        return  # reported by queue.reachable
    now = local_now()
    for each in found:
        if each.is_open:
            yield Finding(
                subject=site.queue, problem=f"{_how_often(each, now)}: {each.detail}",
                why="what its logs were due for was not done by it, nor by a later job",
                advice=f"mend the cause: the next job then settles it; or {ours(f'queue retry {each.job[:8]}')}",
            )  # fmt: skip
    settled = sum(each.count for each in found if not each.is_open)
    if settled:
        yield _settled(site, engine, settled)


def _how_often(each: Failure, now: datetime) -> str:
    def moment(seconds: float | None) -> str:
        return "-" if seconds is None else distance(datetime.fromtimestamp(seconds, now.tzinfo), now)

    since = f", the first {moment(each.first)}" if each.count > 1 else ""
    return f"{count(each.count, 'job')} failed{since}, the last {moment(each.last)}"


def _settled(site: Site, engine: Engine, number: int) -> Finding:
    def mend() -> str:
        return f"{clear_failed(site, engine, settled=True)} forgotten"

    what = f"{count(number, 'failed job')} whose work a later one has done since"
    return Finding(
        subject=site.queue, problem=f"{what}; still listed", note=True,
        why="they hide those that matter, and go after a week",
        advice=f"{ours('queue clear --failed')} clears all", would=f"forget {what}", mend=mend,
    )  # fmt: skip


# ---------------------------------------------------------------- stuck


def stuck(site: Site) -> Iterator[Finding]:
    """At work for longer than any limit lets a job be: which process it is, what that does, and what helps."""
    now = local_now().timestamp()
    for attempt in History(site.config.state_dir).attempts_since(now):
        if attempt.ending is Ending.RUNNING and now - attempt.started > site.settings.job.stuck_after:
            yield _stuck(site, attempt, now)


def _stuck(site: Site, attempt: Attempt, now: float) -> Finding:
    since = f"job {attempt.job[:8]} has been at work for {span(now - attempt.started)}"
    body, run = _process(attempt.pid, attempt), _run_of(attempt)
    mend: Callable[[], str] | None = None
    if body is None:
        what = f"{since}, and its process {attempt.pid} is gone"
        advice, would = "the next job calls it lost", f"call the attempt of {attempt.job[:8]} lost"
        mend = _lose(site, attempt, now)
    else:
        what = f"{since}: {' beside '.join(_doing(each) for each in (run, body) if each is not None)}"
        held = next((each for each in (body, run) if each is not None and holders.is_stopped(each.pid)), None)
        signum, meant = (signal.SIGTERM, run) if held is None else (signal.SIGCONT, held)
        if meant is None:  # the job body alone, which an engine would take for its worker
            advice, would = f"see what process {attempt.pid} waits for; to end it: kill -KILL {attempt.pid}", ""
        else:
            helps = "let it go on" if held is not None else "end it; its job is tried again"
            advice, would = (
                f"{helps}: kill -{signum.name[3:]} {meant.pid}",
                f"send {signum.name} to process {meant.pid}",
            )
            mend = _send(meant, signum)
    why = "no other job of this queue is done meanwhile"
    return Finding(subject=site.queue, problem=what, why=why, advice=advice, would=would, mend=mend)


def _doing(process: proc.Process) -> str:
    return f"process {process.pid} ({proc.program(process.pid)}, {proc.state(process.pid)})"


def _process(pid: int, attempt: Attempt) -> proc.Process | None:
    """The process of this number, if it is not one that got it later."""
    with suppress(OSError):
        found = proc.look(pid)
        return found if not found.dead and found.started <= attempt.started + 1 else None
    return None


def _run_of(attempt: Attempt) -> proc.Process | None:
    """``logrotor run`` for this attempt."""
    found = (each for each in proc.running(b"--attempt") if str(attempt.pid) in each.argv)
    return next((each for each in found if each.parent == attempt.pid), None)


def _lose(site: Site, attempt: Attempt, now: float) -> Callable[[], str]:
    def mend() -> str:
        History(site.config.state_dir).give_up([attempt.id], now)
        return "it counts as lost"

    return mend


def _send(run: proc.Process, signum: signal.Signals) -> Callable[[], str]:
    def mend() -> str:
        programs.send(run, signum)
        return f"{signum.name} was sent to process {run.pid}"

    return mend
