"""The first phase: finish what interrupted runs left, and take the logs that are due.

Where the caller lets us fork, very many takes are divided among processes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from logrotor.act import recover, sharing
from logrotor.act.copytruncate import copytruncate
from logrotor.act.guard import Guard
from logrotor.act.take import take
from logrotor.disk.directories import Directories
from logrotor.disk.snapshot import message
from logrotor.errors import Busy, Interrupted, LogrotorError, Stale
from logrotor.model import (
    Copytruncate,
    CreateLive,
    FileId,
    FinishCopytruncate,
    FinishTake,
    LogPlan,
    Status,
    Step,
    Take,
    action_of,
)

if TYPE_CHECKING:
    from logrotor.act.executor import Executor

_SHARE = 1000  # takes that are worth a process of their own
_AT_ONCE = 64  # takes that a helper tells of together


class Takes:
    """Works for one executor."""

    def __init__(self, dirs: Directories, executor: Executor) -> None:
        self._dirs, self._executor = dirs, executor
        self._copies: dict[str, tuple[FileId, FileId]] = {}

    def carry_out(self, logs: Sequence[LogPlan]) -> dict[str, tuple[FileId, FileId]]:
        """Until ``stop`` says so. Returns the copies that were made: path of the log -> the log itself, its copy."""
        executor = self._executor
        shared = [log for log in logs if _is_shared(log)] if executor.fork is not None else []
        processes = min(executor.jobs, sharing.processors(), len(shared) // _SHARE)
        if processes > 1:
            self._rotate([log for log in logs if not _is_shared(log)])
            sharing.carry_out(_divided(shared, processes), executor.fork, self._rotate, self._help, self._take_over)
        else:
            self._rotate(logs)
        return self._copies

    def _rotate(self, logs: Sequence[LogPlan]) -> None:
        for log in logs:
            if self._executor.stop():
                return
            for step in (*log.recover, *log.take):
                if not self._attempt(log, step):
                    break

    def _attempt(self, log: LogPlan, step: Step) -> bool:
        """Carry out one step and note how it ended; False: this log is left alone for the rest of the run."""
        executor, action, name, began = self._executor, action_of(step), _name(step), time.monotonic()
        try:
            details = self._carry_out(log, step)
        except (Stale, FileNotFoundError) as error:  # what is gone is no longer what the plan saw
            executor.note_stale(log, action, name, error)
        except (Busy, Interrupted) as error:
            executor.note(log, action, Status.DEFERRED, name, reason=str(error))
        except (LogrotorError, OSError) as error:
            executor.note(
                log, action, Status.FAILED, name, reason=message(error, log.path), errno=getattr(error, "errno", None)
            )
        else:
            details["seconds"] = round(time.monotonic() - began, 3)
            status = Status.SKIPPED if "skipped" in details else Status.DONE
            executor.note(log, action, status, name, reason=details.pop("skipped", ""), details=details)
            return True
        executor.results.broken.add(log.path)
        return False

    def _carry_out(self, log: LogPlan, step: Step) -> dict[str, Any]:
        if isinstance(step, CreateLive):
            recover.carry_out(self._dirs, step, self._executor.memory)
            return {"reason": step.reason}
        with Guard(self._dirs, log.path):
            if isinstance(step, Take):
                return self._take(log, step)
            if isinstance(step, Copytruncate):
                return self._copy(log, step)
            finished = recover.carry_out(self._dirs, step, self._executor.memory)
        if isinstance(step, (FinishTake, FinishCopytruncate)) and finished:
            self._executor.results.rotated.append(log.path)
            return {"reason": step.reason, **recover.record(step)}
        return {"reason": getattr(step, "reason", "")}

    def _take(self, log: LogPlan, step: Take) -> dict[str, Any]:
        protocol = take(self._dirs, step)
        self._executor.results.rotated.append(log.path)
        return {
            "protocol": protocol, "guarantee": "lossless", "reason": step.reason,
            "bytes": step.size, "inode": step.id.inode,
        }  # fmt: skip

    def _copy(self, log: LogPlan, step: Copytruncate) -> dict[str, Any]:
        copied = copytruncate(self._dirs, step, self._executor.memory)
        if copied is None:
            return {"skipped": "nothing to cut off"}
        self._executor.results.rotated.append(log.path)
        self._copies[log.path] = step.id, copied.archive
        guarantee = (
            "lossless for writers that append"
            if copied.protocol == "collapse"
            else "lines written meanwhile may be lost"
        )
        return {
            "protocol": copied.protocol, "guarantee": guarantee, "reason": step.reason,
            "bytes": copied.size, "inode": copied.archive.inode,
        }  # fmt: skip

    # ------------------------------------------------------------ helpers

    def _help(self, logs: Sequence[LogPlan], stop: sharing.Stop, tell: sharing.Tell) -> None:
        """In the helper."""
        with self._executor.helping(stop):
            for at in range(0, len(logs), _AT_ONCE):
                self._rotate(logs[at : at + _AT_ONCE])
                tell(self._executor.hand_over())
        tell(self._executor.hand_over())

    def _take_over(self, helper: sharing.Helper, logs: Sequence[LogPlan]) -> None:
        told, failure = helper.finish(self._executor.stop)
        known: set[str] = set()
        for results, leftovers in told:
            self._executor.take_over(results, leftovers)
            known |= results.stale
            known.update(outcome.log for outcome in results.outcomes)
        if failure is None:
            return
        for log in logs:
            if log.path not in known:  # taken or not: the next run sees it, as after every crash
                self._executor.results.broken.add(log.path)
                reason = f"the helper process that takes it {failure}; the next run goes on"
                self._executor.note(log, "take", Status.FAILED, _name(log.take[0]), reason=reason)


def _is_shared(log: LogPlan) -> bool:
    """What else there is to do wants the history, which this process alone has open."""
    return not log.recover and len(log.take) == 1 and isinstance(log.take[0], Take)


def _divided(logs: Sequence[LogPlan], shares: int) -> list[Sequence[LogPlan]]:
    size = -(-len(logs) // shares)
    return [logs[at : at + size] for at in range(0, len(logs), size)]


def _name(step: Step) -> str:
    return getattr(step, "name", None) or getattr(step, "base", "") or "slots"
