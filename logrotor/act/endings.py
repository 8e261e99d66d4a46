"""How a step at an archive ended: noted in the executor's results, and told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from logrotor.disk.snapshot import message
from logrotor.errors import Busy, Interrupted, LogrotorError, Stale
from logrotor.model import Compress, LogPlan, Remove, RunHook, Status

if TYPE_CHECKING:
    from logrotor.act.executor import Executor

ArchiveStep = Remove | Compress | RunHook


def note_done(executor: Executor, log: LogPlan, action: str, step: ArchiveStep, details: Mapping[str, Any]) -> None:
    """It was carried out, or there was nothing to do: ``details`` has "skipped" then."""
    told = dict(details)
    skipped = told.pop("skipped", None)
    status = Status.DONE if skipped is None else Status.SKIPPED
    executor.note(log, action, status, step.name, reason=skipped or "", details=told)


def note_failure(executor: Executor, log: LogPlan, action: str, step: ArchiveStep, error: Exception) -> bool:
    """False: nothing more is done to this log's archives. Raises ``error`` if no step may end so."""
    if isinstance(error, (Stale, FileNotFoundError)):  # what is gone is no longer what the plan saw
        executor.note_stale(log, action, step.name, error)
        return False
    if isinstance(error, (Busy, Interrupted)):
        executor.note(log, action, Status.DEFERRED, step.name, reason=str(error))
        return True
    if not isinstance(error, (LogrotorError, OSError)):
        raise error
    executor.results.broken.add(log.path)
    reason = message(error, os.path.join(step.directory, step.name))
    executor.note(log, action, Status.FAILED, step.name, reason=reason, errno=getattr(error, "errno", None))
    return False
