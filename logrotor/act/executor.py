"""Carry out a plan, in phases over all logs: take, reopen and prove, retire, compress, hooks.

A log whose step failed is left alone for the rest of the run; the others go on. What a later phase may do to
an archive that somebody could still write is decided by a fresh proof, right before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from logrotor import notify
from logrotor.act.archives import Archives
from logrotor.act.deadline import Deadline
from logrotor.act.sharing import Fork
from logrotor.act.takes import Takes
from logrotor.decide.naming import parse_replacement, parse_temp
from logrotor.disk.directories import Directories
from logrotor.disk.memory import Memory
from logrotor.disk.snapshot import message
from logrotor.errors import ReopenFailed
from logrotor.model import (
    FileId,
    LogPlan,
    Outcome,
    Plan,
    Problem,
    ReopenTarget,
    Status,
)

_PATIENCE = 2.0  # seconds that a process gets to reopen the logs that it was asked for
_BRIEF = 0.2  # and one that was not asked, or that did not react to earlier requests


class Results(Struct):
    """What happened so far."""

    outcomes: list[Outcome] = field(default_factory=list)
    stale: set[str] = field(default_factory=set)  # logs to be planned again
    broken: set[str] = field(default_factory=set)  # logs with a failed step: nothing more in this run
    unasked: set[str] = field(default_factory=set)  # logs whose reopen request failed: archives stay as they are
    rotated: list[str] = field(default_factory=list)


class Executor:
    """One plan, carried out once."""

    def __init__(
        self,
        plan: Plan,
        targets: Mapping[str, ReopenTarget],
        memory: Memory,
        *,
        emit: Callable[..., None],
        stop: Callable[[], bool],
        clock: Callable[[], float],
        jobs: int,
        progress: Callable[[int, int], object] | None = None,
        deadline: Deadline,
        last: bool = False,
        fork: Fork | None = None,
    ) -> None:
        """``last``: what is stale is not planned again, so it has failed."""
        self.plan, self.targets, self.memory = plan, targets, memory
        self.emit, self.stop, self.clock, self.jobs = emit, stop, clock, jobs
        self.progress, self.deadline, self.last, self.fork = progress, deadline, last, fork
        self.results = Results()
        self.dirs = Directories(plan.directories)

    def run(self) -> Results:
        """All phases. Once ``stop`` says so, what was taken is still announced, and the rest is left for later."""
        work = [log for log in self.plan.logs if not log.is_idle and log.refused is None]
        with self.dirs:
            copies = Takes(self.dirs, self).carry_out(work)
            self.memory.rotated(self.results.rotated, self.plan.now.timestamp())  # schedules are compared with that
            asked = self._reopen([log for log in work if self._is_sound(log)])
            if not self.stop():
                self._settle([_with_copy(log, *copies[log.path]) if log.path in copies else log for log in work], asked)
        for error in self.dirs.leftovers:
            self._note_leftover(error)
        return self.results

    # ------------------------------------------------------------ reopen

    def _reopen(self, logs: Sequence[LogPlan]) -> set[str]:
        """One request per target, for all of its logs; returns the logs whose target was asked."""
        wanted: dict[str, list[LogPlan]] = {}
        for log in logs:
            if log.reopen is not None:
                wanted.setdefault(log.reopen, []).append(log)
        asked: set[str] = set()
        for name, members in wanted.items():
            paths = tuple(log.path for log in members)
            try:
                delivered = notify.request(self.targets[name], paths, stop=self.stop)
            except ReopenFailed as error:
                self.results.unasked.update(paths)
                self.memory.requested(paths, self.clock(), delivered=False)
                self._note_request(name, paths, Status.FAILED, str(error), problem=error.problem)
            else:
                asked.update(paths)
                self.memory.requested(paths, self.clock(), delivered=True)
                self._note_request(name, paths, Status.DONE, delivered.detail, pids=list(delivered.pids))
        return asked

    def _note_request(
        self, target: str, paths: Sequence[str], status: Status, reason: str, problem: Problem | None = None,
        **details: Any,
    ) -> None:  # fmt: skip
        outcome = Outcome(
            log=paths[0], action="reopen", status=status, name=target, reason=reason,
            details={"logs": list(paths), **details}, problem=problem,
        )  # fmt: skip
        self.results.outcomes.append(outcome)
        if status is Status.DONE:
            self.emit("reopen.signalled", target=target, logs=len(paths), detail=reason, **details)
        else:
            self.emit("reopen.failed", target=target, logs=len(paths), error=reason)

    # ------------------------------------------------------------ archives

    def _settle(self, work: Iterable[LogPlan], asked: set[str]) -> None:
        sound = [log for log in work if self._is_sound(log)]
        archives = Archives(self.dirs, self.memory, self, asked)
        fresh = {*self.results.rotated}
        archives.await_writers(
            [log for log in sound if log.path in fresh or log.path in asked],
            _PATIENCE if fresh & asked else _BRIEF,
        )
        for log in sound:
            archives.retire(log)
        archives.compress([log for log in sound if self._is_sound(log)], self.jobs, self.progress)
        for log in sound:
            if self._is_sound(log) and not self.stop() and not self.deadline.passed():
                archives.run_hooks(log)

    def _is_sound(self, log: LogPlan) -> bool:
        return log.path not in self.results.broken

    # ------------------------------------------------------------ notes

    def note(
        self,
        log: LogPlan,
        action: str,
        status: Status,
        name: str,
        *,
        reason: str = "",
        errno: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep an outcome and tell it. Where all went well, ``details`` may have the reason for which it was done."""
        told = dict(details or {})
        why = told.pop("reason", "")
        outcome = Outcome(
            log=log.path, action=action, status=status, name=name, reason=reason or why, errno=errno, details=told
        )
        self._keep(outcome)

    def _keep(self, outcome: Outcome) -> None:
        self.results.outcomes.append(outcome)
        event = _EVENTS.get((outcome.action, outcome.status))
        if event is not None:
            told: dict[str, Any] = {}
            if outcome.reason:
                told["error" if outcome.status is Status.FAILED else "reason"] = outcome.reason
            told |= {key: value for key, value in outcome.details.items() if key not in _RECORDED}
            self.emit(event, log=outcome.log, name=outcome.name, **told)

    @contextmanager
    def helping(self, stop: Callable[[], bool]) -> Iterator[None]:
        """In this block it is the executor of a helper: it tells nobody, and its results go to the other one."""
        self.stop, self.emit, self.results = stop, lambda *_, **__: None, Results()
        self.dirs.begin_anew()
        with self.dirs:
            yield

    def hand_over(self) -> tuple[Results, list[OSError]]:
        """What a helper did since the last time."""
        handed = self.results, list(self.dirs.leftovers)
        self.results = Results()
        self.dirs.leftovers.clear()
        return handed

    def take_over(self, results: Results, leftovers: Iterable[OSError]) -> None:
        """What a helper did counts and is told like our own."""
        for outcome in results.outcomes:
            self._keep(outcome)
        self.results.stale |= results.stale
        self.results.broken |= results.broken
        self.results.rotated += results.rotated
        self.dirs.leftovers += leftovers

    def _note_leftover(self, error: OSError) -> None:
        """A temp that could not be removed is debris for the next run, and no success."""
        name = os.path.basename(error.filename)
        archive = parse_temp(name)
        base = archive.base if archive is not None else parse_replacement(name)
        log = self._log_of(os.path.dirname(error.filename), base)
        reason = f"{message(error, name)}; the next run removes it"
        self.note(log, "recover", Status.FAILED, name, reason=reason, errno=error.errno)

    def _log_of(self, directory: str, base: str | None) -> LogPlan:
        """The log with this name that works in ``directory``: its own, or where its archives lie or go.

        Without a name, which only the lock has: the first one there, or any, as it has to be told of one.
        """
        if base is None:
            return next((log for log in self.plan.logs if os.path.dirname(log.path) == directory), self.plan.logs[0])
        named = [log for log in self.plan.logs if os.path.basename(log.path) == base]
        return next((log for log in named if directory in _directories(log)), named[0])

    def note_stale(self, log: LogPlan, action: str, name: str, error: BaseException) -> None:
        """The disk is not what the plan saw: the log is planned again, or if it was, the step has failed."""
        self.results.stale.add(log.path)
        if self.last:
            self.note(log, action, Status.FAILED, name, reason=f"{error}; the next run tries again")


def _with_copy(log: LogPlan, live: FileId, copy: FileId) -> LogPlan:
    """A copytruncated log's archive is a file that was not there yet when the plan was made."""
    return replace(log, compress=tuple(replace(s, id=copy) if s.id == live else s for s in log.compress))


def _directories(log: LogPlan) -> set[str]:
    places = {os.path.dirname(log.path), *(step.directory for step in log.retire)}
    return places.union(*((step.directory, step.to_directory) for step in log.compress))


# By these the history recognizes a file again; they tell a reader nothing.
_RECORDED = frozenset({"source", "inode", "mtime_ns", "lines"})
_EVENTS = {
    ("take", Status.DONE): "rotation.completed",
    ("take", Status.FAILED): "rotation.failed",
    ("copytruncate", Status.DONE): "rotation.completed",
    ("copytruncate", Status.FAILED): "rotation.failed",
    ("recover", Status.DONE): "log.recovered",
    ("recover", Status.FAILED): "rotation.failed",
    ("create", Status.DONE): "log.created",
    ("create", Status.FAILED): "rotation.failed",
    ("remove", Status.DONE): "archive.removed",
    ("remove", Status.FAILED): "archive.failed",
    ("compress", Status.DONE): "archive.compressed",
    ("compress", Status.FAILED): "archive.failed",
    ("hook", Status.DONE): "hook.completed",
    ("hook", Status.FAILED): "hook.failed",
    **{(action, Status.DEFERRED): "log.deferred" for action in ("take", "copytruncate", "recover", "create")},
    **{(action, Status.DEFERRED): "archive.deferred" for action in ("remove", "compress", "hook")},
}
