"""One step, attempted: the one place where an exception becomes an outcome."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from logrotor.act import archive, copy, finish, take
from logrotor.act.context import Context, Details
from logrotor.act.ledger import Ended, name_of
from logrotor.decide.naming import parse_archive, parse_aside, parse_replacement, parse_temp
from logrotor.errors import HELD, Busy, Interrupted, LogrotorError, Stale, message, problem_of
from logrotor.model import (
    Compress,
    Copytruncate,
    CreateLive,
    DropAlias,
    DropDuplicate,
    DropTemp,
    FinishCopytruncate,
    FinishTake,
    LogPlan,
    Outcome,
    Problem,
    PutBack,
    Remove,
    RunHook,
    Shift,
    Status,
    Step,
    Take,
    action_of,
)

# Each returns the details of its outcome, "skipped" among them if there was nothing to do, and raises what went wrong.
_RUNNERS: dict[type, Callable[[Context, LogPlan, Any], Details]] = {
    DropTemp: archive.drop_temp, DropAlias: archive.drop_alias, DropDuplicate: archive.drop_duplicate,
    PutBack: take.put_back, Shift: take.shift, FinishTake: take.finish_take, CreateLive: take.create,
    FinishCopytruncate: finish.finish, Take: take.take, Copytruncate: copy.copytruncate,
    Remove: archive.retire, RunHook: archive.run_hook,
}  # fmt: skip
_WITHOUT_TURN = CreateLive  # nothing is renamed or removed; a hook needs it lest its archive is renamed meanwhile


def attempt(context: Context, log: LogPlan, step: Step) -> Ended:
    """Carry out one step, with the log's turn. One that is compressed has stages, which pool.py attempts."""
    began, run = time.monotonic(), _RUNNERS[type(step)]
    try:
        if isinstance(step, _WITHOUT_TURN):
            details = run(context, log, step)
        else:
            with context.dirs.turn(log.path):
                details = run(context, log, step)
    except Exception as error:
        return failed(log, step, error)
    return done(log, step, details, time.monotonic() - began)


def done(log: LogPlan, step: Step, details: Details, seconds: float) -> Ended:
    """It was carried out, or there was nothing to do."""
    kept = {name: value for name, value in details.items() if name not in ("skipped", "reason")}
    skipped = details.get("skipped")
    status = Status.DONE if skipped is None else Status.SKIPPED
    reason = skipped or details.get("reason", "")
    return Ended(_outcome(log, step, status, reason=reason, details={**kept, "seconds": round(seconds, 3)}))


def failed(log: LogPlan, step: Step, error: Exception) -> Ended:
    """How it ended with this error, which is raised again if no step may end so."""
    if isinstance(error, (Stale, FileNotFoundError)):  # what is gone is no longer what the plan saw
        reason = f"{error}; the next run tries again"
        return Ended(_outcome(log, step, Status.FAILED, reason=reason), stale=True)
    if isinstance(error, (Busy, Interrupted)):
        return put_off(log, step, str(error), error.problem if error.problem.kind == HELD else None)
    if not isinstance(error, (LogrotorError, OSError)):
        raise error
    path = os.path.join(step.directory, step.name) if isinstance(step, (Remove, Compress, RunHook)) else log.path
    reason, number = message(error, path), getattr(error, "errno", None)
    problem = problem_of(error, path)
    return Ended(_outcome(log, step, Status.FAILED, reason=reason, errno=number, problem=problem))


def put_off(log: LogPlan, step: Step, reason: str, problem: Problem | None = None) -> Ended:
    return Ended(_outcome(log, step, Status.DEFERRED, reason=reason, problem=problem))


def _outcome(log: LogPlan, step: Step, status: Status, **more: Any) -> Outcome:
    return Outcome(log=log.path, action=action_of(step), status=status, name=name_of(step), **more)


def leftovers(context: Context, logs: Sequence[LogPlan]) -> list[Ended]:
    """Temps that could not be removed: debris for the next run, and no success. Once the directories are closed."""
    found = list(context.dirs.leftovers)
    context.dirs.leftovers.clear()
    return [_leftover(logs, error) for error in found]


def _leftover(logs: Sequence[LogPlan], error: OSError) -> Ended:
    directory, name = os.path.split(error.filename)
    archive = parse_temp(name) or parse_aside(name) or parse_archive(name)
    base = archive.base if archive is not None else parse_replacement(name)
    return Ended(
        Outcome(
            log=_log_of(logs, directory, base).path, action="recover", status=Status.FAILED, name=name,
            reason=f"{message(error, name)}; the next run removes it", errno=error.errno,
        )
    )  # fmt: skip


def _log_of(logs: Sequence[LogPlan], directory: str, base: str | None) -> LogPlan:
    """The log with this name that works in ``directory``: its own, or where its archives lie or go.

    Without a name, which only the lock has: the first one there, or any, as it has to be told of one.
    """
    if base is None:
        return next((log for log in logs if os.path.dirname(log.path) == directory), logs[0])
    named = [log for log in logs if os.path.basename(log.path) == base]
    return next((log for log in named if directory in _directories(log)), named[0])


def _directories(log: LogPlan) -> set[str]:
    places = {os.path.dirname(log.path), *(step.directory for step in log.retire)}
    return places.union(*((step.directory, step.to_directory) for step in log.compress))
