"""How a status reads: what of it needs attention, by thresholds, and its facts in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from logrotor import text
from logrotor.model import Problem
from logrotor.observe.deployment import HOUR
from logrotor.observe.forecast import SystemStatus
from logrotor.observe.status import LogStatus, Pending, Status

_AHEAD = 120.0  # seconds; the state directory may be on a network file system with a clock of its own
_STARTER = "does a cron line, timer or worker start logrotor?"


def _failed() -> str:
    return f"see {text.ours('history --failed')}"


class Thresholds(Struct, frozen=True, kw_only=True):
    """From when on something needs attention. Times in seconds."""

    no_run: float | None = None  # since the last run: the dead man's switch; None: by the queue's schedule, or an hour
    overdue: float = HOUR  # a log that should have rotated and did not
    failures: int = 3  # in a row, of the runs or of one log
    pending: float = 24 * HOUR  # an archive whose writer does not let go, since its log's rotation
    full_within: float = 24 * HOUR


class Attention(Problem, frozen=True, kw_only=True):
    """Something that passes a threshold."""

    # "no_run", "clock", "failed_runs", "refused", "failures", "overdue", "growing", "waiting", "full", "problem"
    code: str


def attention(status: Status, limits: Thresholds) -> list[Attention]:
    """Everything that passes a threshold; empty: all is well."""
    found = [*_runs(status, limits), *_shared(status.logs)]
    for log in status.logs:
        found += _log(log, status.now, limits)
    for system in status.file_systems:
        if system.full_on is not None and system.full_on - status.now < timedelta(seconds=limits.full_within):
            found.append(Attention(code="full", subject=system.mount, problem=_full(system, status.now)))
    return [*found, *(of_problem(problem) for problem in status.problems)]


def of_problem(problem: Problem, code: str = "problem") -> Attention:
    """A problem needs attention, whatever the thresholds."""
    return Attention(
        code=code, subject=problem.subject, problem=problem.problem, why=problem.why, advice=problem.advice
    )


def _full(system: SystemStatus, now: datetime) -> str:
    if system.full_on is None or system.full_on <= now:
        return f"full: {text.size(system.free)} are free" + (", and no inode" if system.free_inodes == 0 else "")
    return f"full in {_between(now, system.full_on)} at the present pace"


def _runs(status: Status, limits: Thresholds) -> Iterator[Attention]:
    if status.last_run is None and status.under_way is not None:
        first = f"no run has ended yet; the first one is under way (process {status.under_way})"
        yield Attention(code="no_run", subject="", problem=first)
    elif status.last_run is None and status.known and not _is_to_come(status):  # else a problem says why nobody knows
        yield Attention(code="no_run", subject="", problem=f"no run is known: {_STARTER}")
    elif status.last_run is not None and _is_late(status, limits):
        since = _between(status.last_run, status.now)
        yield Attention(code="no_run", subject="", problem=f"no run for {since}: {_STARTER}")
    elif status.last_run is not None and _longer(status.now, status.last_run, _AHEAD):
        ahead = f"the last run is {_between(status.now, status.last_run)} in the future: was the clock set back?"
        yield Attention(code="clock", subject="", problem=f"{ahead} Until then a missing run goes unnoticed")
    if status.failed_runs >= limits.failures:
        failed = f"the last {status.failed_runs} runs with something to do failed"
        yield Attention(code="failed_runs", subject="", problem=failed, advice=_failed())


def _is_to_come(status: Status) -> bool:
    """Whether the first run is still to be begun, by a worker that is there."""
    return status.run_by is not None and status.now < status.run_by


def _is_late(status: Status, limits: Thresholds) -> bool:
    if limits.no_run is None and status.run_by is not None:
        return status.now >= status.run_by
    return status.last_run is not None and _longer(status.last_run, status.now, limits.no_run or HOUR)


def _shared(logs: Iterable[LogStatus]) -> Iterator[Attention]:
    """What several logs are refused for, such as their directory, once."""
    refused: dict[Problem, list[str]] = {}
    for log in logs:
        if log.refused is not None and log.refused.subject != log.path:
            refused.setdefault(log.refused, []).append(log.path)
    for why, paths in refused.items():
        problem = f"{why.problem}; so {text.names(paths)} {'is' if len(paths) == 1 else 'are'} refused"
        yield Attention(code="refused", subject=why.subject, problem=problem, advice=why.advice)


def _log(log: LogStatus, now: datetime, limits: Thresholds) -> Iterator[Attention]:
    def found(code: str, problem: str, advice: str = "") -> Attention:
        return Attention(code=code, subject=log.path, problem=problem, advice=advice)

    if log.refused is not None and log.refused.subject == log.path:
        yield found("refused", f"refused: {log.refused.problem}", log.refused.advice)
    if log.failures >= limits.failures:
        yield _failing(log)
    if log.refused is not None:  # that is why
        pass
    elif log.due and log.due_since is not None and _longer(log.due_since, now, limits.overdue):
        yield found("overdue", f"should have been rotated {_between(log.due_since, now)} ago: {log.reason}")
    elif log.due and log.due_since is None and log.max_size and (log.size or 0) > 2 * log.max_size:
        yield found("overdue", f"twice as large as max_size and not rotated: {log.reason}")
    growing = [each for each in log.pending if each.held and _grows(log, each, now, limits)]
    if growing:
        yield _growing(log, max(growing, key=lambda each: each.size), now)
        return
    begun = [(since, each) for each in log.pending if (since := each.since or log.last_rotation) is not None]
    since, oldest = min(begun, key=lambda pair: pair[0], default=(now, None))
    if oldest is not None and _longer(since, now, limits.pending):
        yield found("waiting", f"{oldest.name} has waited for {_between(since, now)}: {oldest.reason}")


def _grows(log: LogStatus, archive: Pending, now: datetime, limits: Thresholds) -> bool:
    """By the limits of a log that is not rotated: where its lines go, they are in no live log's size."""
    if archive.grown == 0:  # it was as large as that when it was taken
        return False
    if log.max_size and archive.size > 2 * log.max_size:
        return True
    return archive.grown is not None and archive.since is not None and _longer(archive.since, now, limits.overdue)


def _growing(log: LogStatus, archive: Pending, now: datetime) -> Attention:
    size = text.size(archive.size)
    since = f", {_between(archive.since, now)} after its rotation" if archive.since is not None else ""
    return Attention(
        code="growing",
        subject=log.path,
        problem=f"{archive.name} grows instead of the log, to {size} by now{since}: {archive.reason}",
        advice=f"see {text.ours('doctor --only writers')}",
    )


def _failing(log: LogStatus) -> Attention:
    """Fails again and again, for the reason of the last time."""
    failed, last = f"failed in {text.count(log.failures, 'run')} in a row", log.last_problem
    why = last.under(log.path) if last is not None else None
    return Attention(
        code="failures",
        subject=log.path,
        problem=failed if why is None else f"{failed}: {log.last_outcome}: {why.problem}",
        advice=_failed() if why is None else why.advice,
    )


def _longer(begin: datetime, end: datetime, limit: float) -> bool:
    return end.timestamp() - begin.timestamp() > limit


def _between(begin: datetime, end: datetime) -> str:
    return text.span(max(0.0, end.timestamp() - begin.timestamp()))


# ---------------------------------------------------------------- the facts in words


def notes(log: LogStatus) -> Iterator[str]:
    """What is not as it should be with a log, whatever the thresholds."""
    if log.refused:
        alone = log.refused.subject == log.path
        yield log.refused.words if alone else f"refused because of {log.refused.subject}"
    if log.failures:
        yield _failing(log).words
    if log.request_failed:
        yield f"its writers were asked to reopen it, and the request failed; {_failed()}"
    for each in log.pending:
        yield f"{each.name} ({text.size(each.size)}): {each.reason}" if each.held else f"{each.name}: {each.reason}"


def due(log: LogStatus, now: datetime) -> str:
    """When it is rotated next."""
    if log.refused:
        return "refused"
    if log.due:
        return "now"
    if log.size is None:
        return "missing"
    if log.next_due is None:
        return "unknown" if log.size else "when written"
    return f"in {_between(now, log.next_due)} ({log.next_due_by})"


def archives(log: LogStatus) -> str:
    """How many, their bytes, and how many bytes of log one byte holds."""
    if not log.archives:
        return "-"
    return f"{log.archives}, {text.size(log.archive_bytes)}" + (f" ({log.ratio:.1f}:1)" if log.ratio else "")


def last_run(status: Status) -> str:
    """When it was, as far as that is known."""
    return ago(status.last_run, status.now, known=status.known)


def ago(moment: datetime | None, now: datetime, *, known: bool) -> str:
    """``3 h ago``, or never, or unknown."""
    return ("never" if known else "unknown") if moment is None else text.distance(moment, now)


def free(system: SystemStatus) -> str:
    """``78.9 GiB of 252.0 GiB free (31 %), 1000 inodes``."""
    share = f"{100 * system.free // system.total} %" if system.total else "-"
    inodes = "" if system.free_inodes is None else f", {system.free_inodes} inodes"
    return f"{text.size(system.free)} of {text.size(system.total)} free ({share}){inodes}"


def full(system: SystemStatus, now: datetime) -> str:
    """When the logs will have filled it."""
    if system.full_on is not None and system.full_on <= now:
        return "full"
    unknown = {"unknown": "full: unknown", "never": "full: not by these logs"}
    return f"full {text.moment(system.full_on, now)}" if system.full_on else unknown[system.forecast]
