"""How a status reads: what of it needs attention, by thresholds, and its facts in words. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from logrotor import text
from logrotor.model import Problem
from logrotor.observe.causes import Attention
from logrotor.observe.deployment import HOUR
from logrotor.observe.forecast import SystemStatus
from logrotor.observe.status import LogStatus, Pending, Status

_SURE = 0.5  # of the time until a forecast: a range that is no wider is not worth two numbers
_FLOOD = 16 << 20  # bytes an hour; less is no alarm, however little is usual
_AHEAD = 120.0  # seconds; the state directory may be on a network file system with a clock of its own
_STARTER = "check the cron line, timer or worker that starts logrotor"


def _failed() -> str:
    return f"see {text.ours('history --failed')}"


def _writers() -> str:
    return f"see {text.ours('doctor --only writers')}"


class Thresholds(Struct, frozen=True, kw_only=True):
    """From when on something needs attention. Times in seconds."""

    no_run: float | None = None  # since the last run: the dead man's switch; None: by the queue's schedule, or an hour
    overdue: float = HOUR  # a log that should have rotated and did not
    failures: int = 3  # in a row, of the runs or of one log
    pending: float = 24 * HOUR  # an archive whose writer does not let go, since its log's rotation
    full_within: float = 24 * HOUR
    rate: float = 10.0  # times as much as usual at this time of the day, that a log grew in the last hour


def attention(status: Status, limits: Thresholds) -> list[Attention]:
    """Everything that passes a threshold; empty: all is well."""
    found = [*_runs(status, limits)]
    for log in status.logs:
        found += _log(log, status.now, limits)
    for system in status.file_systems:
        if system.full_on is not None and system.full_on - status.now < timedelta(seconds=limits.full_within):
            advice = "make room there, or let fewer archives be kept (backup_count, max_age, max_total_size)"
            found.append(
                Attention(
                    code="full",
                    subject=system.mount,
                    problem=_full(system, status.now),
                    detail=fillers(system),
                    advice=advice,
                    about=system.mount,
                )
            )
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
        yield Attention(code="no_run", subject="", problem="no run is known", advice=_STARTER)
    elif status.last_run is not None and _is_late(status, limits):
        since = _between(status.last_run, status.now)
        yield Attention(code="no_run", subject="", problem=f"no run for {since}", advice=_STARTER)
    elif status.last_run is not None and _longer(status.now, status.last_run, _AHEAD):
        ahead = f"the last run is {_between(status.now, status.last_run)} in the future"
        why = "until then a missing run goes unnoticed"
        yield Attention(code="clock", subject="", problem=ahead, why=why, advice="check the clock: was it set back?")
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


def _log(log: LogStatus, now: datetime, limits: Thresholds) -> Iterator[Attention]:
    if log.refused is not None:
        yield _because(log.refused, log, "refused")
    if log.failures >= limits.failures:
        yield _failing(log)
    if log.refused is not None:  # that is why
        pass
    elif log.due and log.due_since is not None and _longer(log.due_since, now, limits.overdue):
        yield _overdue(log, f"for {_between(log.due_since, now)}")
    elif log.due and log.due_since is None and log.max_size and (log.size or 0) > 2 * log.max_size:
        yield _overdue(log, "twice as large as max_size")
    if _is_flood(log, limits):
        yield _flood(log)
    growing = [each for each in log.pending if each.held and _grows(log, each, now, limits)]
    if growing:
        yield _growing(log, max(growing, key=lambda each: each.size), now)
        return
    begun = [(since, each) for each in log.pending if (since := each.since or log.last_rotation) is not None]
    since, oldest = min(begun, key=lambda pair: pair[0], default=(now, None))
    if oldest is not None and _longer(since, now, limits.pending):
        yield _waiting(log, oldest, f"waiting for {_between(since, now)}")


def _because(why: Problem, log: LogStatus, code: str, detail: str = "") -> Attention:
    """A problem of a log, which may have been found at something else, such as its directory."""
    at = why.subject if why.subject not in ("", log.path) else ""
    return Attention(
        code=code, subject=log.path, at=at, problem=why.problem, why=why.why, advice=why.advice, detail=detail
    )


def _overdue(log: LogStatus, since: str) -> Attention:
    return Attention(
        code="overdue",
        subject=log.path,
        problem="should have been rotated and was not",
        detail=f"{since}; {log.reason}",
        advice=f"{text.ours('run')} rotates it, or says why not",
    )


def _is_flood(log: LogStatus, limits: Thresholds) -> bool:
    """Does it grow as it never does at this time of the day? Of one that is new nobody knows."""
    recent, usual = log.recent_pace, log.usual_pace
    return recent is not None and usual is not None and recent >= max(limits.rate * usual, _FLOOD / HOUR)


def _flood(log: LogStatus) -> Attention:
    recent, usual = (f"{text.size(round((pace or 0.0) * HOUR))}/h" for pace in (log.recent_pace, log.usual_pace))
    return Attention(
        code="rate",
        subject=log.path,
        problem="grows much faster than usual at this time of the day",
        detail=f"{recent} in the last hour, {usual} usually",
        advice="look at what its program writes; --rate sets how many times as much is too much",
    )


def _grows(log: LogStatus, archive: Pending, now: datetime, limits: Thresholds) -> bool:
    """By the limits of a log that is not rotated: where its lines go, they are in no live log's size."""
    if archive.grown == 0:  # it was as large as that when it was taken
        return False
    if log.max_size and archive.size > 2 * log.max_size:
        return True
    return archive.grown is not None and archive.since is not None and _longer(archive.since, now, limits.overdue)


def _growing(log: LogStatus, archive: Pending, now: datetime) -> Attention:
    since = f", {_between(archive.since, now)} after its rotation" if archive.since is not None else ""
    grows = f"grows instead of its log, to {text.size(archive.size)} by now{since}"
    return _unproved("growing", log, archive, grows)


def _waiting(log: LogStatus, archive: Pending, since: str = "") -> Attention:
    size = text.size(archive.size) if archive.held else ""
    return _unproved("waiting", log, archive, ", ".join(filter(None, (size, since))))


def _unproved(code: str, log: LogStatus, archive: Pending, detail: str) -> Attention:
    """An archive that can be neither compressed nor removed yet; whose process writes it is the cause."""
    file = os.path.join(os.path.dirname(log.path), archive.name)
    return Attention(code=code, subject=log.path, about=file, problem=archive.reason, detail=detail, advice=_writers())


def _failing(log: LogStatus) -> Attention:
    """Fails, again and again perhaps, for the reason of the last time."""
    why = log.last_problem or log.last_failure or Problem(subject="", problem="fails", advice=_failed())
    return _because(why, log, "failures", f"failed in {text.count(log.failures, 'run')} in a row")


def notes(status: Status, told: Iterable[Attention]) -> Iterator[Attention]:
    """What is not as it should be, below the thresholds too, but for what is ``told``."""
    known = {(each.code, each.subject) for each in told}
    for log in status.logs:
        found = [_waiting(log, each) for each in log.pending]
        if log.failures:
            found.append(_failing(log))
        elif log.request_failed:
            asked = "its writers were asked to reopen it, and the request failed"
            found.append(Attention(code="request", subject=log.path, problem=asked, advice=_failed()))
        yield from (each for each in found if (each.code, each.subject) not in known)
    for each in status.unclaimed:
        advice = "add its path to paths of a rule, or its name to exclude if it is no log"
        yield Attention(code="unclaimed", subject=each.path, problem=each.words, advice=advice)


def _longer(begin: datetime, end: datetime, limit: float) -> bool:
    return end.timestamp() - begin.timestamp() > limit


def _between(begin: datetime, end: datetime) -> str:
    return text.span(max(0.0, end.timestamp() - begin.timestamp()))


# ---------------------------------------------------------------- the facts in words


def state(log: LogStatus) -> str:
    """What is wrong with a log, in a word or two; "" if nothing is."""
    if log.refused:
        return "refused"
    if log.failures:
        return f"failed in {text.count(log.failures, 'run')}"
    if log.request_failed:
        return "not reopened"
    return f"{text.count(len(log.pending), 'archive')} waiting" if log.pending else ""


def due(log: LogStatus, now: datetime) -> str:
    """When it is rotated next."""
    if log.refused:
        return "refused"
    if log.due:
        return "now"
    if log.size is None:
        return "missing"
    if log.next_due is None:
        return "unknown" if log.size and log.pace != 0 else "when written"
    return f"in {_range(log.next_due_first, log.next_due, log.next_due_last, now)} ({log.next_due_by})"


def _range(first: datetime | None, likely: datetime, last: datetime | None, now: datetime) -> str:
    """``3 h``, or ``2 to 5 h`` where the days before were that different."""
    if first is None or (last is not None and last - first <= _SURE * (likely - now)):
        return _between(now, likely)
    begin = (first - now).total_seconds()
    return f"{text.span(begin)} or later" if last is None else text.spread(begin, (last - now).total_seconds())


def rate(log: LogStatus) -> str:
    """How fast it grows, as far as that is known."""
    return "-" if log.pace is None else f"{text.size(round(log.pace * HOUR))}/h"


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


def fillers(system: SystemStatus) -> str:
    """``filled by a.log (12.0 MiB/h), b.log (1.0 MiB/h)``; "" where that is not known."""
    found = [f"{each.path} ({text.size(round(each.pace * HOUR))}/h)" for each in system.growers[:3]]
    return f"filled by {', '.join(found)}" if found else ""


def full(system: SystemStatus, now: datetime) -> str:
    """When the logs will have filled it."""
    if system.full_on is not None and system.full_on <= now:
        return "full"
    if system.full_on is None:
        return {"unknown": "full: unknown", "never": "full: not by these logs"}[system.forecast]
    return f"full {text.stamp(system.full_on)} (in {_range(system.full_first, system.full_on, system.full_last, now)})"
