"""Carry out a plan, in phases over all logs: take, reopen and prove, retire, compress; then, without the lock, hooks.

A log whose step failed is left alone for the rest of the run; the others go on. What a later phase may do to
an archive that somebody could still write is decided by a fresh proof, right before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from msgspec.structs import replace

from logrotor import notify
from logrotor.act import pool, sampling
from logrotor.act.archive import HUNG, await_writers, is_let_go, keep_hooked
from logrotor.act.context import Context, Deadline, Job
from logrotor.act.ledger import Ended, Ledger
from logrotor.act.report import tell
from logrotor.act.step import attempt, failed, leftovers, put_off
from logrotor.disk import archived, samples
from logrotor.errors import LogrotorError, ReopenFailed
from logrotor.model import Copytruncate, Details, FileId, LogPlan, Outcome, Plan, Problem, Status, Take

_PATIENCE = 2.0  # seconds that a process gets to reopen the logs that it was asked for
_BRIEF = 0.2  # and one that was not asked, or that did not react to earlier requests
_SHARE = 1000  # takes that are worth a process of their own


def execute(plan: Plan, context: Context, *, last: bool = False) -> Ledger:
    """All phases but the hooks. Once ``stop`` says so, what was taken is still announced, and the rest waits.

    ``last``: what is stale is not planned again, so it has failed.
    """
    ledger = Ledger(last=last)
    work = [log for log in plan.logs if not log.is_idle and log.refused is None]
    with context.dirs:
        _record(ledger, context, _rotate(context, work))
        # Schedules are compared with that: the rest of a log is due in the next run.
        whole = [path for path in ledger.rotated if path not in ledger.unfinished]
        # What is about to go has its final name by now.
        context.history.rotated(whole, plan.now.timestamp(), archived.leaving(work))
        taken = sampling.taken(ledger.outcomes)
        samples.keep(os.path.dirname(context.history.path), context.clock(), None, taken, whole=False)
        _record(ledger, context, _reopen(context, _sound(ledger, work)))
        if not context.stop():
            after = replace(context, known=context.history.recall(), unasked=frozenset(ledger.unasked))
            _settle(ledger, after, [_with_copy(plan, log, ledger) for log in work])
    _record(ledger, context, leftovers(context, plan.logs))
    return ledger


def run_hooks(context: Context, ledger: Ledger) -> None:
    """What :func:`execute` left for later. Other runs may work on the other logs; each of these has its log's turn.

    killed before ... | history               | next run
    it has ended      | the archive is not in | runs it again, maybe while the orphan still works
    it is recorded    | the archive is not in | runs it again
    """
    after = replace(context, known=context.history.recall(), unasked=frozenset(ledger.unasked))
    after = replace(after, deadline=Deadline(context.deadline.at))  # nobody waits for a lock that is not held
    hung: set[tuple[str, ...]] = set()  # commands; one that hangs would cost its timeout for each archive
    with context.dirs:
        for log, step in ledger.hooks:
            if after.no_time():
                break
            if step.argv in hung:
                ended = put_off(log, step, f"{step.argv[0]} did not end for another archive in this run")
            else:
                ended = attempt(after, log, step)
            if ended.outcome.problem is not None and ended.outcome.problem.kind == HUNG:
                hung.add(step.argv)
            _record(ledger, context, [ended])
    _record(ledger, context, leftovers(context, [log for log, _ in ledger.hooks]))


def _record(ledger: Ledger, context: Context, endings: Iterable[Ended]) -> None:
    for ended in endings:
        outcome = ledger.record(ended)
        if outcome is not None:
            tell(context.emit, outcome)


def _sound(ledger: Ledger, logs: Iterable[LogPlan]) -> list[LogPlan]:
    return [log for log in logs if log.path not in ledger.broken]


# ---------------------------------------------------------------- take


def _rotate(context: Context, logs: Sequence[LogPlan]) -> Iterator[Ended]:
    """Finish what interrupted runs left, and take the logs that are due; very many takes in several processes."""
    shared = [log for log in logs if _is_shared(log)] if context.fork is not None else []
    if len(shared) < 2 * _SHARE:
        shared = []
    apart = {log.path for log in shared}
    yield from _one_after_another(context, [log for log in logs if log.path not in apart])
    if shared:
        jobs: list[Job] = [(log, log.take[0]) for log in shared]
        with closing(pool.spread(context, jobs, _take, least=_SHARE)) as endings:
            yield from endings


def _one_after_another(context: Context, logs: Iterable[LogPlan]) -> Iterator[Ended]:
    for log in logs:
        for step in (*log.recover, *log.take):
            if context.stop():
                return
            ended = attempt(context, log, step)
            yield ended
            if ended.outcome.status not in (Status.DONE, Status.SKIPPED):
                break


def _take(context: Context, jobs: Sequence[Job]) -> Iterator[Ended]:
    for log, step in jobs:
        if context.stop():
            return
        yield attempt(context, log, step)


def _is_shared(log: LogPlan) -> bool:
    """What else there is to do wants the history, which this process alone has open."""
    return not log.recover and len(log.take) == 1 and isinstance(log.take[0], Take)


# ---------------------------------------------------------------- reopen


def _reopen(context: Context, logs: Iterable[LogPlan]) -> Iterator[Ended]:
    """One request per target, for all of its logs."""
    wanted: dict[str, list[LogPlan]] = {}
    for log in logs:
        if log.reopen is not None:
            wanted.setdefault(log.reopen, []).append(log)
    for name, members in wanted.items():
        paths = [log.path for log in members]
        try:
            delivered = notify.request(context.targets[name], tuple(paths), stop=context.stop)
        except ReopenFailed as error:
            yield from _not_delivered(context, name, members, error.problem)
        else:
            context.history.requested(paths, context.clock(), delivered=True)
            yield _requested(name, paths, Status.DONE, delivered.detail, delivered=delivered)


def _not_delivered(context: Context, target: str, logs: Iterable[LogPlan], why: Problem) -> Iterator[Ended]:
    """A failure only for the logs that somebody writes, or may write: the proof outranks the request."""
    apart: dict[bool, list[str]] = {True: [], False: []}
    for log in logs:
        apart[is_let_go(context, log)].append(log.path)
    if free := apart[True]:  # as if it had been delivered: there is nothing that it would still be needed for
        context.history.requested(free, context.clock(), delivered=True)
        yield _requested(target, free, Status.SKIPPED, f"nobody writes the archives any more ({why.problem})")
    if held := apart[False]:
        context.history.requested(held, context.clock(), delivered=False)
        yield _requested(target, held, Status.FAILED, str(why), why)


def _requested(
    target: str,
    paths: Sequence[str],
    status: Status,
    reason: str,
    problem: Problem | None = None,
    delivered: notify.Delivered | None = None,
) -> Ended:
    details: Details = {"logs": list(paths)}
    if delivered is not None:
        details["pids"] = list(delivered.pids)
        if delivered.children:
            details["children"] = list(delivered.children)
    return Ended(
        Outcome(
            log=paths[0], action="reopen", status=status, name=target, reason=reason, details=details, problem=problem,
        )
    )  # fmt: skip


# ---------------------------------------------------------------- archives


def _settle(ledger: Ledger, context: Context, work: Sequence[LogPlan]) -> None:
    sound = _sound(ledger, work)
    fresh = {*ledger.rotated}
    awaited = [log for log in sound if log.path in fresh or log.path in ledger.asked]
    await_writers(context, awaited, _PATIENCE if fresh & ledger.asked else _BRIEF)
    _record(ledger, context, _retire(context, sound))
    _compress(ledger, context, _sound(ledger, sound))
    ledger.hooks = [(log, step) for log in _sound(ledger, sound) for step in log.hooks]


def _retire(context: Context, logs: Iterable[LogPlan]) -> Iterator[Ended]:
    for log in logs:
        for step in log.retire:
            if context.stop():
                return
            ended = attempt(context, log, step)
            yield ended
            if ended.outcome.status is Status.FAILED:
                break


def _compress(ledger: Ledger, context: Context, logs: Iterable[LogPlan]) -> None:
    jobs = [(log, step) for log in logs for step in log.compress]
    elsewhere = [job for job in jobs if job[1].to_directory != job[1].directory]
    context.history.archives_in({(log.path, step.to_directory) for log, step in elsewhere})
    unmade = _make_archive_dirs(context, {step.to_directory for _, step in elsewhere})
    lost = [job for job in elsewhere if job[1].to_directory in unmade]
    _record(ledger, context, (failed(log, step, unmade[step.to_directory]) for log, step in lost))
    ready = [job for job in jobs if job[1].to_directory not in unmade]
    by_name = {(log.path, step.name): (log, step) for log, step in ready}
    with closing(pool.compress(context, ready)) as endings:
        for ended in endings:
            _record(ledger, context, [ended])
            if ended.outcome.status is Status.DONE:
                keep_hooked(context, *by_name[ended.outcome.log, ended.outcome.name])


def _make_archive_dirs(context: Context, directories: Iterable[str]) -> dict[str, Exception]:
    """Those that cannot be made, and why."""
    unmade: dict[str, Exception] = {}
    for directory in directories:
        try:
            context.dirs.make(directory)
        except LogrotorError as error:
            unmade[directory] = error
        except OSError as error:  # it names the last component alone
            unmade[directory] = OSError(error.errno, f"archive_dir cannot be made: {error.strerror}", directory)
    return unmade


def _with_copy(plan: Plan, log: LogPlan, ledger: Ledger) -> LogPlan:
    """A copytruncated log's archive is a file that was not there yet when the plan was made."""
    for step in log.take:
        if isinstance(step, Copytruncate) and log.path in ledger.copied:
            copy = FileId(plan.directories[step.directory].device, ledger.copied[log.path])
            compress = tuple(replace(s, id=copy) if s.id == step.id else s for s in log.compress)
            return replace(log, compress=compress)
    return log
