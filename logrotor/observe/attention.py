"""What a monitoring system should be told: thresholds against a status. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from logrotor.model import Problem
from logrotor.observe.status import LogStatus, Status, SystemStatus
from logrotor.text import span

HOUR = 3600.0
_AHEAD = 120.0  # seconds; the state directory may be on a network file system with a clock of its own


class Thresholds(Struct, frozen=True, kw_only=True):
    """From when on something is told. Times in seconds."""

    no_run: float = HOUR  # since the last run: the dead man's switch
    overdue: float = HOUR  # a log that should have rotated and did not
    failures: int = 3  # in a row, of the runs or of one log
    pending: float = 24 * HOUR  # an archive whose writer does not let go, since its log's rotation
    full_within: float = 24 * HOUR


def attention(status: Status, limits: Thresholds) -> list[str]:
    """Everything that passes a threshold, in words; empty: all is well."""
    told = [*_runs(status, limits)]
    for log in status.logs:
        told += [f"{log.path}: {what}" for what in _log(log, status.now, limits)]
    for system in status.file_systems:
        if system.full_on is not None and system.full_on - status.now < timedelta(seconds=limits.full_within):
            told.append(f"{system.mount}: {_full(system, status.now)}")
    return [*told, *map(str, status.problems)]


def _full(system: SystemStatus, now: datetime) -> str:
    if system.full_on is None or system.full_on <= now:
        return f"full: {system.free} bytes are free" + (", and no inode" if system.free_inodes == 0 else "")
    return f"full in {_span(now, system.full_on)} at the present pace"


def _runs(status: Status, limits: Thresholds) -> Iterator[str]:
    if status.last_run is None and status.under_way is not None:
        yield f"no run has ended yet; the first one is under way (process {status.under_way})"
    elif status.last_run is None:
        yield "no run is known: does a cron line, timer or worker start logrotor?"
    elif _longer(status.last_run, status.now, limits.no_run):
        yield f"no run for {_span(status.last_run, status.now)}: does a cron line, timer or worker start logrotor?"
    elif _longer(status.now, status.last_run, _AHEAD):
        ahead = _span(status.now, status.last_run)
        yield f"the last run is {ahead} in the future: was the clock set back? Until then nobody sees whether it is run"
    if status.failed_runs >= limits.failures:
        yield f"the last {status.failed_runs} runs with something to do failed; see logrotor history --failed"


def _log(log: LogStatus, now: datetime, limits: Thresholds) -> Iterator[str]:
    if log.refused is not None:
        yield f"refused: {_about(log.refused, log.path)}"
    if log.failures >= limits.failures:
        why = log.last_outcome if log.last_outcome not in (None, "done") else "see logrotor history --failed"
        yield f"failed in {log.failures} runs in a row: {why}"
    if log.due and log.due_since is not None and _longer(log.due_since, now, limits.overdue):
        yield f"should have been rotated {_span(log.due_since, now)} ago: {log.reason}"
    elif log.due and log.due_since is None and log.max_size and (log.size or 0) > 2 * log.max_size:
        yield f"twice as large as max_size and not rotated: {log.reason}"
    yield from _waiting(log, now, limits.pending)


def _about(problem: Problem, path: str) -> str:
    """Without its subject where that is the log."""
    return str(replace(problem, subject="")) if problem.subject == path else str(problem)


def _waiting(log: LogStatus, now: datetime, limit: float) -> Iterator[str]:
    """The archive that has waited longest."""
    begun = [(since, each) for each in log.pending if (since := each.since or log.last_rotation) is not None]
    since, oldest = min(begun, key=lambda pair: pair[0], default=(now, None))
    if oldest is not None and _longer(since, now, limit):
        yield f"{oldest.name} has waited for {_span(since, now)}: {oldest.reason}"


def _longer(begin: datetime, end: datetime, limit: float) -> bool:
    return end.timestamp() - begin.timestamp() > limit


def _span(begin: datetime, end: datetime) -> str:
    return span(max(0.0, end.timestamp() - begin.timestamp()))
