"""What past runs did: rotations put together from their steps, and runs with what belongs to them."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from logrotor.disk.history import History
from logrotor.model import PastOutcome, PastRun, Problem
from logrotor.survey import find_path

TAKES = frozenset({"take", "copytruncate"})


class Rotation(Struct, frozen=True, kw_only=True):
    """One rotation of one log, from the take to the finished archive, which may have come in a later run."""

    run: int
    time: float
    log: str
    status: str  # "done", "failed", "deferred"
    reason: str  # why it was due, or why it failed
    bytes: int | None = None  # of the log
    archive_bytes: int | None = None  # None: not compressed (yet)
    lines: int | None = None
    seconds: float | None = None
    problem: Problem | None = None  # why it failed or waits, as fields

    @property
    def ratio(self) -> float | None:
        """How many bytes of the log one byte of the archive holds."""
        return self.bytes / self.archive_bytes if self.bytes and self.archive_bytes else None


class RunRecord(Struct, frozen=True, kw_only=True):
    """One run with its rotations, and the other steps that it made."""

    run: PastRun
    rotations: tuple[Rotation, ...]
    others: tuple[PastOutcome, ...]

    @property
    def failed(self) -> bool:
        return self.run.exit not in (None, 0) or self.was_cut_off

    @property
    def was_cut_off(self) -> bool:
        """It never said that it ended: it was killed, or goes on still."""
        return self.run.ended is None


def records(
    state_dir: str, *, since: float | None = None, log: str | None = None, failed: bool = False
) -> list[RunRecord]:
    """The runs, the oldest first; of one log, or only those that failed. Raises StateError, UnknownSelection.

    ``log``: its path, or a file name that only one log of these runs has.
    """
    runs = History(state_dir).runs(since or 0.0)
    outcomes = History(state_dir).outcomes(since or 0.0)
    if log is not None:
        path = find_path(log, (each for outcome in outcomes for each in outcome.logs))
        outcomes = [replace(outcome, log=path) for outcome in outcomes if path is not None and path in outcome.logs]
        touched = {outcome.run for outcome in outcomes}
        runs = [run for run in runs if run.id in touched]
    found = _joined(runs, outcomes)
    return [_failures(each) for each in found if each.failed] if failed else found


def is_take(outcome: PastOutcome) -> bool:
    """Was a log moved aside, or a take finished that an interrupted run had begun?"""
    if outcome.action in TAKES:
        return outcome.status != "skipped"
    return outcome.action == "recover" and outcome.status == "done" and "inode" in outcome.details


def rotations(outcomes: Iterable[PastOutcome]) -> list[Rotation]:
    """Takes, each joined with the compression of the very file that it moved aside; the oldest first."""
    found: list[Rotation] = []
    taken: dict[tuple[str, int], int] = {}
    for outcome in outcomes:
        if is_take(outcome):
            inode = outcome.details.get("inode")
            if isinstance(inode, int):
                taken[outcome.log, inode] = len(found)
            found.append(_taken(outcome))
        elif outcome.action == "compress" and outcome.status == "done":
            index = taken.pop((outcome.log, outcome.details.get("source", -1)), None)
            if index is not None:
                found[index] = _compressed(found[index], outcome)
    return found


def _taken(outcome: PastOutcome) -> Rotation:
    details = outcome.details
    return Rotation(
        run=outcome.run,
        time=outcome.time,
        log=outcome.log,
        status=outcome.status,
        reason=outcome.reason,
        bytes=details.get("bytes"),
        seconds=details.get("seconds"),
        problem=outcome.problem or (Problem(subject="", problem=outcome.reason) if outcome.status != "done" else None),
    )


def _compressed(rotation: Rotation, outcome: PastOutcome) -> Rotation:
    details = outcome.details
    # The log may have grown between the plan, which told its size, and the take.
    return replace(
        rotation,
        bytes=details.get("bytes", rotation.bytes),
        archive_bytes=details.get("bytes_out"),
        lines=details.get("lines"),
        seconds=round((rotation.seconds or 0.0) + (details.get("seconds") or 0.0), 3),
    )


def _joined(runs: Iterable[PastRun], outcomes: Iterable[PastOutcome]) -> list[RunRecord]:
    outcomes = list(outcomes)
    by_run: dict[int, tuple[list[Rotation], list[PastOutcome]]] = {}
    for rotation in rotations(outcomes):
        by_run.setdefault(rotation.run, ([], []))[0].append(rotation)
    for outcome in outcomes:
        if not is_take(outcome):
            by_run.setdefault(outcome.run, ([], []))[1].append(outcome)
    nothing: tuple[list[Rotation], list[PastOutcome]] = ([], [])
    return [
        RunRecord(
            run=run, rotations=tuple(by_run.get(run.id, nothing)[0]), others=tuple(by_run.get(run.id, nothing)[1])
        )
        for run in runs
    ]


def _failures(each: RunRecord) -> RunRecord:
    """Only what failed of it."""
    return RunRecord(
        run=each.run,
        rotations=tuple(r for r in each.rotations if r.status == "failed"),
        others=tuple(o for o in each.others if o.status == "failed"),
    )
