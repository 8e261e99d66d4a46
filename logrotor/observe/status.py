"""How each log, each file system and the rotation itself stand now, and what of it needs attention."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from logrotor.decide import proof, schedule
from logrotor.decide.facts import Directory, LogFacts
from logrotor.decide.schedule import last_rotation
from logrotor.decide.slots import newest_first
from logrotor.disk import state
from logrotor.model import Archive, Codec, Due, Entry, FileSystem, LogPlan, LogSpec, PastOutcome, Problem, Written
from logrotor.observe import failures, forecast, obstacles
from logrotor.observe.history import Rotation, rotations
from logrotor.observe.site import Site

_LOCKED = 3600.0  # seconds; hardly a run works so long in one directory
_USUAL_RATIO = 0.1  # of compressed logs, where the history does not tell


class Pending(Struct, frozen=True, kw_only=True):
    """An archive that waits for its writer to let go."""

    name: str
    reason: str
    pids: tuple[int, ...] = ()
    since: datetime | None = None  # its rotation


class LogStatus(Struct, frozen=True, kw_only=True):
    """One log. Moments are aware, in the zone of ``now``; None: unknown or never."""

    path: str
    rule: str
    size: int | None  # None: missing
    max_size: int | None
    schedule: str | None
    due: bool
    reason: str  # why it is due or not
    next_due: datetime | None  # forecast, or the next slot of the schedule, whichever comes first
    next_due_by: str | None  # "size" or "schedule"
    pace: float | None  # bytes a second
    due_since: datetime | None  # for a log that is due
    last_rotation: datetime | None
    last_outcome: str | None  # "done", "failed: ..."
    failures: int  # runs in a row in which something of this log failed
    archives: int
    archive_bytes: int
    ratio: float | None  # bytes of log that one byte of archive holds
    pending: tuple[Pending, ...]
    request_failed: bool  # the last reopen request
    refused: Problem | None


class SystemStatus(Struct, frozen=True, kw_only=True):
    """One file system that holds logs or archives."""

    mount: str
    type: str
    total: int
    free: int
    free_inodes: int | None  # None: it has no fixed number
    full_on: datetime | None
    forecast: str  # "known", "unknown" (no log with 3 points), "never" (retention stops it before)


class Status(Struct, frozen=True, kw_only=True):
    """Everything at one moment; logs in the order in which they need attention."""

    now: datetime
    last_run: datetime | None
    under_way: int | None = None  # the process of a run that is at work just now
    failed_runs: int  # in a row
    logs: tuple[LogStatus, ...]
    file_systems: tuple[SystemStatus, ...]
    missing: tuple[str, ...]
    problems: tuple[Problem, ...]


def status(site: Site) -> Status:
    """Look at everything once. What the history does not tell is unknown, and ``problems`` says why."""
    outcomes: dict[str, list[PastOutcome]] = defaultdict(list)
    for outcome in site.outcomes:
        for log in outcome.logs:
            outcomes[log].append(outcome)
    done = {log: rotations(found) for log, found in outcomes.items()}
    logs = [_log(site, facts, done.get(facts.path, []), outcomes.get(facts.path, [])) for facts in site.survey.logs]
    return Status(
        now=site.now,
        last_run=site.moment(site.last_run),
        under_way=state.holder(site.config.state_dir),
        failed_runs=failures.of_runs(site),
        logs=tuple(sorted(logs, key=_urgency)),
        file_systems=tuple(_file_systems(site, {log.path: log for log in logs})),
        missing=tuple(site.survey.missing),
        problems=(
            *(found.as_problem for found in site.config.problems),
            *site.survey.problems,
            *obstacles.old_locks(site, _LOCKED),
            *_vanished(site),
            *(Problem(subject="", problem=note) for note in site.notes),
        ),
    )


def _vanished(site: Site) -> Iterable[Problem]:
    """Without a log there is nothing to tell of, which must not look as if all were well."""
    if not site.survey.logs and not site.survey.problems and site.outcomes:
        what = "no log is found, though there were some: is a file system not mounted, or paths misspelt?"
        yield Problem(subject="", problem=what)


# ---------------------------------------------------------------- a log


def _log(site: Site, facts: LogFacts, done: Sequence[Rotation], outcomes: Sequence[PastOutcome]) -> LogStatus:
    plan, spec, now = site.plans[facts.path], facts.spec, site.now.timestamp()
    taken = [r for r in done if r.status == "done"]
    points = [forecast.Point(r.time, r.bytes) for r in taken if r.bytes is not None]
    pace = forecast.rate(points, plan.size, now)
    by_size = None
    if spec.max_size is not None and plan.size is not None:
        by_size = forecast.due_by_size(plan.size, spec.max_size, pace, now)
    next_due, by = _next_due(site, plan, spec, by_size)
    last = max((m for m in (facts.memory.last_rotation, *(r.time for r in taken)) if m), default=None)
    archives = archives_of(facts)
    return LogStatus(
        path=facts.path,
        rule=spec.name,
        size=plan.size,
        max_size=spec.max_size,
        schedule=spec.schedule_name or spec.schedule,
        due=isinstance(plan.due, Due),
        reason=plan.due.reason,
        next_due=next_due,
        next_due_by=by,
        pace=pace,
        due_since=_due_since(site, facts, pace, by_size, last),
        last_rotation=site.moment(last),
        last_outcome=_outcome(done),
        failures=failures.of_log(site, outcomes),
        archives=len(archives),
        archive_bytes=sum(archive.entry.size for archive in archives),
        ratio=_ratio(taken),
        pending=tuple(_pending(site, facts, archives, [r.time for r in taken])),
        request_failed=facts.memory.request_failed is not None,
        refused=plan.refused,
    )


def archives_of(facts: LogFacts) -> list[Archive]:
    """Beside the log and elsewhere."""
    families = [facts.family, *(d.families[facts.base] for d in facts.elsewhere if facts.base in d.families)]
    return [archive for family in families for archive in family.archives]


def _next_due(site: Site, plan: LogPlan, spec: LogSpec, by_size: float | None) -> tuple[datetime | None, str | None]:
    if isinstance(plan.due, Due) or plan.size is None:
        return None, None
    slot = schedule.next_slot(spec.schedule, site.now) if spec.schedule is not None else None
    size = site.moment(None if by_size is None else max(by_size, site.now.timestamp()))
    if size is not None and (slot is None or size < slot):
        return size, "size"
    return slot, "schedule" if slot is not None else None


def _due_since(
    site: Site, facts: LogFacts, pace: float | None, by_size: float | None, last: float | None
) -> datetime | None:
    """An estimate, for a log that grows past its limit between two runs; never before its last rotation."""
    spec, live, plan = facts.spec, facts.family.live, site.plans[facts.path]
    if not isinstance(plan.due, Due) or live is None:
        return None
    if spec.max_size is not None and live.size > spec.max_size:
        return site.moment(None if by_size is None else max(by_size, last or 0.0))
    if spec.schedule is None:
        return None
    first = _first_missed_slot(site, spec.schedule, last_rotation([last, facts.birth()], site.now))
    had_lines = first is not None and _had_lines(site, live, pace, first.timestamp())
    return first if had_lines else schedule.latest_slot(spec.schedule, site.now)


def _first_missed_slot(site: Site, expression: str, last: float | None) -> datetime | None:
    begin = site.moment(last)
    slot = schedule.next_slot(expression, begin) if begin is not None else None
    return slot if slot is not None and slot.timestamp() <= site.now.timestamp() else None


def _had_lines(site: Site, live: Entry, pace: float | None, moment: float) -> bool:
    """An empty log is not rotated: was there something in it when it should have been, as far as one can tell?"""
    if site.last_run is not None and live.mtime <= site.last_run:
        return True
    return bool(pace) and live.size / (pace or 1.0) >= site.now.timestamp() - moment


def _outcome(done: Sequence[Rotation]) -> str | None:
    if not done:
        return None
    last = done[-1]
    return last.status if last.status == "done" else f"{last.status}: {last.reason}"


def _ratio(taken: Iterable[Rotation]) -> float | None:
    known = [(r.bytes, r.archive_bytes) for r in taken if r.bytes and r.archive_bytes]
    return sum(b for b, _ in known) / sum(a for _, a in known) if known else None


def _pending(site: Site, facts: LogFacts, archives: Iterable[Archive], rotated: Sequence[float]) -> Iterable[Pending]:
    """``rotated``: the times of the log's rotations, of which each archive but the removed ones has one."""
    delivered, now = facts.memory.request_delivered, site.now.timestamp()
    for rank, archive in enumerate(newest_first(archives, now)):
        if archive.name.codec is not Codec.NONE:
            continue
        found = facts.writers.get(archive.entry.id)
        reason = proof.why_not(found, archive.entry, delivered, now)
        if reason is not None:
            pids = found.pids if isinstance(found, Written) else ()
            since = site.moment(rotated[-min(rank + 1, len(rotated))] if rotated else None)
            yield Pending(name=archive.entry.name, reason=reason, pids=pids, since=since)


def _urgency(log: LogStatus) -> tuple[object, ...]:
    """What needs attention first, then by when it is due, what is unknown or missing last."""
    trouble = (log.refused is not None, log.failures, log.request_failed, bool(log.pending), log.due)
    soon = log.next_due.timestamp() if log.next_due is not None else float("inf")
    return (*(-int(each) for each in trouble), log.size is None, soon, log.path)


# ---------------------------------------------------------------- file systems


def _file_systems(site: Site, logs: Mapping[str, LogStatus]) -> Iterable[SystemStatus]:
    systems: dict[int, tuple[str, FileSystem]] = {}
    growths: dict[int, list[forecast.Growth]] = defaultdict(list)
    for facts in site.survey.logs:
        places = (facts.directory, *facts.elsewhere)
        for place in places:
            if place.file_system is not None:
                systems.setdefault(place.file_system.device, (place.resolved, place.file_system))
        grows = _growth(facts, logs[facts.path])
        home = _home_of_archives(facts, places)
        if grows is not None and home is not None:
            growths[home].append(grows)
    for device, (path, system) in systems.items():
        yield _system(site, path, system, growths.get(device, []))


def _growth(facts: LogFacts, log: LogStatus) -> forecast.Growth | None:
    if log.pace is None:
        return None
    packed = 1 / log.ratio if log.ratio else 1.0 if facts.spec.compress is Codec.NONE else _USUAL_RATIO
    sizes = [archive.entry.size for archive in archives_of(facts)]
    return forecast.growth(facts.spec, pace=log.pace, ratio=packed, archives=sizes, size=log.size or 0)


def _home_of_archives(facts: LogFacts, places: Sequence[Directory]) -> int | None:
    wanted = facts.archive_dir or facts.directory.resolved
    return next((p.file_system.device for p in places if p.resolved == wanted and p.file_system is not None), None)


def _system(site: Site, path: str, system: FileSystem, growths: Sequence[forecast.Growth]) -> SystemStatus:
    space = os.statvfs(path)
    inodes = space.f_favail if space.f_files else None
    is_full = system.total > 0 and (system.free <= 0 or inodes == 0)
    moment = site.now.timestamp() if is_full else forecast.full_on(system.free, growths, site.now.timestamp())
    return SystemStatus(
        mount=mount_of(path),
        type=system.type,
        total=system.total,
        free=system.free,
        free_inodes=inodes,
        full_on=site.moment(moment),
        forecast="known" if moment is not None else "never" if growths else "unknown",
    )


def mount_of(path: str) -> str:
    """The uppermost directory above ``path`` that is on the same file system."""
    device = os.stat(path).st_dev
    while path != "/" and os.stat(os.path.dirname(path)).st_dev == device:
        path = os.path.dirname(path)
    return path
