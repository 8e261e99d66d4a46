"""What a run tells: events as things happen, each from an outcome that was recorded, and the report at its end."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from logrotor.act.context import Deadline
from logrotor.disk import state
from logrotor.errors import HELD, LogrotorError
from logrotor.model import (
    KeptOut,
    LastReport,
    LastRun,
    Look,
    Outcome,
    Plan,
    Problem,
    Report,
    Status,
    is_sample_due,
    looked,
)

if TYPE_CHECKING:
    from logrotor.decide.facts import LogFacts
    from logrotor.disk.history import RunHistory


class Run(Struct):
    """What one run has done so far."""

    now: datetime
    force: bool
    emit: Callable[..., None]
    clock: Callable[[], float]
    deadline: Deadline
    started: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    only: tuple[str, ...] = ()  # these rules and logs; none are named: all
    kept_out: dict[str, KeptOut] = field(default_factory=dict)
    sampled: float | None = None  # when a run last took a sample

    def __post_init__(self) -> None:
        self.started = self.clock()

    def tell_start(self, plan: Plan) -> None:
        self.emit("run.started", logs=len(plan.logs), due=plan.due)
        for path in plan.missing:
            self.emit("log.missing", log=path)
        for waiting in plan.skipped:
            self.emit("log.skipped", log=waiting.name, reason=waiting.reason)
        for waiting in plan.shadowed:
            self.emit("log.shadowed", log=waiting.name, reason=waiting.reason)
        for gone in plan.vanished:
            told = {"rule": gone.rule, "logs": len(gone.logs), "problem": str(gone.problem)}
            self.emit("logs.vanished", subject=gone.directory, kind=gone.problem.kind, **told)
        for problem in plan.unclear:
            self.emit("log.unclear", log=problem.subject, reason=problem.problem)

    def sample(self, logs: Sequence[LogFacts], state_dir: str) -> None:
        """Add what was found to the samples, if one is due. What cannot be written hurts nothing."""
        now, before = self.clock(), state.last_report(state_dir)
        self.sampled = self.sampled or (before.sampled if before is not None else None)
        if is_sample_due(self.sampled, now):
            from logrotor.act import sampling
            from logrotor.disk import samples

            self.sampled = now
            found = sampling.sizes(logs), sampling.spaces(logs, state_dir)
            samples.keep(state_dir, now, found, {}, whole=not self.only)

    def add_found(self, again: Plan, first: Plan) -> None:
        """What a second plan refuses or finds wrong counts like what the first one does."""
        self.problems += [each for each in again.problems if each not in (*first.problems, *self.problems)]
        for outcome in _refusals(again):
            self.outcomes.append(outcome)
            self.emit("log.refused", log=outcome.log, error=outcome.reason, kind=_kind(outcome))

    def remember(
        self, history: RunHistory, plan: Plan, interrupted: int | None, hooks: Sequence[Outcome] | None = None
    ) -> None:
        """``interrupted``: the exit code of a run that was asked to stop. ``hooks``: the rest is remembered already."""
        report = self._report(plan, interrupted=interrupted is not None)
        code = report.exit_code if interrupted is None else interrupted
        if hooks is None:
            self.kept_out = history.keep_out(_waiting(report).keys(), self.clock(), only=self.only)
        done = (*report.outcomes, *_found(report)) if hooks is None else hooks
        history.run_completed(self.clock(), done, _counts(report), code, only=self.only)
        self.problems += [problem for problem in history.problems if problem not in self.problems]

    def remember_idle(self, plan: Plan, state_dir: str, stop: Callable[[], bool]) -> None:
        """A failure that is all that happens, such as a refusal. A run at work just now meets and remembers it too."""
        if not self._has_failed(plan):
            return
        from logrotor.disk.history import RunHistory

        with suppress(LogrotorError), state.locked(state_dir, 0.0, stop), closing(RunHistory(state_dir)) as history:
            self.record_idle(history, plan, None)

    def record_idle(self, history: RunHistory, plan: Plan, interrupted: int | None) -> None:
        """The same where the history is open already."""
        if self._has_failed(plan):
            history.run_started(self.started, self.force)
            self.remember(history, plan, interrupted)

    def _has_failed(self, plan: Plan) -> bool:
        return self._report(plan, interrupted=False).exit_code != 0

    def mark(self, plan: Plan, this: LastRun, state_dir: str, *, interrupted: bool) -> None:
        """Remember that the run took place, and what it did."""
        report = self._report(plan, interrupted=interrupted)
        last = _last(report, self.clock(), state.last_report(state_dir))
        looks = last.looks if interrupted else looked(last.looks, Look.of(self.only, this.at))
        state.remember_last_run(state_dir, this, replace(last, sampled=self.sampled or last.sampled, looks=looks))

    def report(self, plan: Plan, *, interrupted: bool) -> Report:
        """The report, told as events where it was not told before."""
        report = self._report(plan, interrupted=interrupted)
        for problem in report.problems:
            self.emit("problem.found", error=str(problem), subject=problem.subject, kind=problem.identity)
        self._tell_held(report)
        self._tell_refused(plan)
        for log in plan.logs:
            if log.loses is not None and log.take:
                self.emit("log.closed", log=log.path, problem=log.loses.problem)
            for waiting in log.deferred:
                self.emit("archive.deferred", log=log.path, name=waiting.name, reason=waiting.reason)
        fields, seconds = _counts(report), round(report.duration, 3)
        if interrupted:  # its exit code is the signal's, which is known to whoever asked the run to stop
            self.emit("run.interrupted", **fields, seconds=seconds)
        else:
            self.emit("run.completed", **fields, exit_code=report.exit_code, seconds=seconds)
        return report

    def _tell_held(self, report: Report) -> None:
        """What was put off since somebody else has a lock or temp, and will not let go of it in a moment."""
        waiting = _waiting(report)
        if not waiting:
            return
        from logrotor.disk import holders
        from logrotor.disk.writers import Processes

        processes = Processes.look()
        for path, number in sorted(waiting.items()):
            found = holders.stuck(path, self.clock(), processes, self.kept_out.get(path))
            if found is not None:
                self.emit("lock.held", subject=path, kind=found.kind, error=str(found), waiting=number)

    def _tell_refused(self, plan: Plan) -> None:
        """One cause of several logs, such as their directory, is one event."""
        found: dict[Problem, list[str]] = {}
        for log in plan.logs:
            if log.refused is not None:
                found.setdefault(log.refused, []).append(log.path)
        for why, logs in found.items():
            many: dict[str, object] = {"logs": len(logs), "subject": why.subject} if logs[1:] else {}
            self.emit("log.refused", log=logs[0], **many, error=str(why), kind=why.identity)

    def _report(self, plan: Plan, *, interrupted: bool) -> Report:
        deferred = [
            Outcome(log=log.path, action="compress", status=Status.DEFERRED, name=w.name, reason=w.reason)
            for log in plan.logs
            for w in log.deferred
        ]
        return Report(
            started=datetime.fromtimestamp(self.started, self.now.tzinfo),
            duration=self.clock() - self.started,
            outcomes=(*self.outcomes, *_refusals(plan), *deferred),
            plan=plan,
            problems=(*plan.problems, *self.problems),
            interrupted=interrupted,
        )


def remember(report: Report, state_dir: str, ended: float) -> None:
    """What the metrics have of the last run, where something of it failed after its end."""
    state.remember_report(state_dir, _last(report, ended, state.last_report(state_dir)))


def _last(report: Report, ended: float, before: LastReport | None) -> LastReport:
    """``before``: the report of the run before."""
    taken = [o for o in report.outcomes if o.action in ("take", "copytruncate") and o.status is Status.DONE]
    packed = [o for o in report.outcomes if o.action == "compress" and o.status is Status.DONE]
    succeeded, sampled, looks = (None, None, ()) if before is None else (before.succeeded, before.sampled, before.looks)
    counts = _counts(report)
    return LastReport(
        ended=ended,
        duration=round(max(0.0, report.duration), 6),
        exit_code=report.exit_code,
        succeeded=ended if report.exit_code == 0 and not report.interrupted else succeeded,
        due=report.plan.due,
        **{name: counts[name] for name in ("rotated", "failed", "deferred", "removed")},
        rotated_bytes=_total(taken, "bytes"),
        compressed_input_bytes=_total(packed, "bytes"),
        compressed_output_bytes=_total(packed, "bytes_out"),
        compression_seconds=float(sum(o.details.get("seconds") or 0 for o in packed)),
        sampled=sampled,
        looks=looks,
    )


def _total(outcomes: Iterable[Outcome], key: Literal["bytes", "bytes_out"]) -> int:
    return sum(outcome.details.get(key, 0) for outcome in outcomes)


def _waiting(report: Report) -> Counter[str]:
    """Locks and temps that others have, and how many steps each of them keeps."""
    return Counter(o.problem.subject for o in report.outcomes if o.problem and o.problem.kind == HELD)


def _counts(report: Report) -> dict[str, int]:
    return {
        "rotated": report.rotated,
        "compressed": report.compressed,
        "removed": report.removed,
        "deferred": len(report.deferred),
        "failed": len(report.failed),
    }


def _refusals(plan: Plan) -> Iterator[Outcome]:
    for log in plan.logs:
        if log.refused is not None:
            yield Outcome(
                log=log.path, action="plan", status=Status.FAILED, reason=str(log.refused), problem=log.refused
            )


def _found(report: Report) -> Iterator[Outcome]:
    """Why a run failed of which no step did, for the history."""
    for found in report.problems if not report.failed else ():
        yield Outcome(log="", action="plan", status=Status.FAILED, reason=str(found), problem=found)


def tell(emit: Callable[..., object], outcome: Outcome) -> None:
    """Where all went well, the reason is the one for which it was done."""
    if outcome.action == "reopen":
        _tell_request(emit, outcome)
        return
    event = _EVENTS.get((outcome.action, outcome.status))
    if event is not None:
        told: dict[str, Any] = {}
        if outcome.reason:
            told["error" if outcome.status is Status.FAILED else "reason"] = outcome.reason
        told |= {key: value for key, value in outcome.details.items() if key not in _RECORDED}
        emit(event, log=outcome.log, name=outcome.name, kind=_kind(outcome), **told)


def _kind(outcome: Outcome) -> str:
    """Which problem of its subject it is, whatever its words."""
    if outcome.errno is not None:
        return errno.errorcode.get(outcome.errno, "")
    return outcome.problem.identity if outcome.problem is not None else ""


def _tell_request(emit: Callable[..., object], outcome: Outcome) -> None:
    told = {key: value for key, value in outcome.details.items() if key != "logs"}
    logs = len(outcome.details["logs"])
    if outcome.status is Status.DONE:
        emit("reopen.signalled", target=outcome.name, logs=logs, detail=outcome.reason, **told)
    elif outcome.status is Status.SKIPPED:
        emit("reopen.unneeded", target=outcome.name, logs=logs, reason=outcome.reason, **told)
    else:
        emit("reopen.failed", target=outcome.name, logs=logs, error=outcome.reason, kind=_kind(outcome), **told)


# By these the history recognizes a file again; they tell a reader nothing.
_RECORDED = frozenset(
    ("source", "source_born", "from", "directory", "inode", "born", "taken", "mtime_ns", "lines", "xxh128")
)
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
