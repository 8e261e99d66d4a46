"""When will a log be due, and a file system full? From how fast logs grow, what is there now, and the time."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from logrotor.decide import schedule
from logrotor.decide.facts import Directory, LogFacts
from logrotor.disk import mounts, snapshot
from logrotor.model import Due, FileSystem, LogPlan, LogSpec
from logrotor.observe.deployment import Deployment
from logrotor.observe.pace import Pace

_REACH = 1000  # times as long as it was looked at: a quarter of an hour says nothing of next year
_FAR = 10 * 365 * 86400.0  # a date beyond is no forecast
_GROWERS = 5  # that are named


def due_by_size(size: int, limit: int, pace: float | None, now: float) -> float | None:
    """When a log that grows evenly becomes larger than ``limit``, or became; None: unknown, or never at this pace."""
    if pace is None or pace <= 0:
        return None
    moment = now + (limit - size) / pace
    return moment if moment - now < _FAR else None


def next_due(here: Deployment, plan: LogPlan, spec: LogSpec, pace: Pace | None) -> dict[str, Any]:
    """By size or by schedule, whichever comes first."""
    if isinstance(plan.due, Due) or plan.size is None:
        return {"next_due": None, "next_due_by": None}
    now = here.now.timestamp()
    slot = schedule.next_slot(spec.schedule, here.now) if spec.schedule is not None else None
    left = spec.max_size + 1 - plan.size if spec.max_size is not None else None
    span = pace.until(left, now) if pace is not None and left is not None else None
    moments = [here.moment(now + each) for each in (span.likely, span.first, span.last)] if span is not None else [None]
    if moments[0] is None or (slot is not None and slot <= moments[0]):
        return {"next_due": slot, "next_due_by": "schedule" if slot is not None else None}
    last = min((each for each in (moments[2], slot) if each is not None), default=None)
    return {"next_due": moments[0], "next_due_by": "size", "next_due_first": moments[1], "next_due_last": last}


class Growth(Struct, frozen=True):
    """How a log with its archives grows: bytes a second on the disk, until retention holds it at ``room`` more."""

    pace: float
    room: float | None  # None: without a limit
    seen: float = _FAR  # seconds over which the pace was measured
    least: float = 1.0  # times the pace on the slowest of the last days
    most: float = 1.0  # and on the fastest


def growth(
    spec: LogSpec, *, pace: float, ratio: float, archives: Sequence[int], size: int, seen: float = _FAR
) -> Growth:
    """``pace``: of the log; ``ratio``: bytes of an archive per byte of log; ``archives``: their sizes."""
    on_disk = pace * ratio
    kept = sum(archives)
    limits = [limit - kept for limit in _limits(spec, on_disk, ratio, archives) if limit is not None]
    live = max(0.0, (spec.max_size or size) - size)
    return Growth(on_disk, max(0.0, min(limits)) + live if limits else None, seen)


def _limits(spec: LogSpec, on_disk: float, ratio: float, archives: Sequence[int]) -> Iterable[float | None]:
    """What the archives of a log come to at most, by each limit of its rule."""
    usual = sum(archives) / len(archives) if archives else (spec.max_size or 0) * ratio
    yield spec.backup_count * usual if spec.backup_count is not None and usual else None
    yield spec.max_total_size
    yield on_disk * spec.max_age if spec.max_age is not None else None


def full_on(free: int, growths: Iterable[Growth], now: float) -> float | None:
    """When the free bytes are used up by logs that grow so; None: retention stops them before."""
    growing = [each for each in growths if each.pace > 0]
    stops = sorted((each.room / each.pace, each.pace) for each in growing if each.room is not None)
    left, at, pace = float(free), 0.0, sum(each.pace for each in growing)
    for stop, slower in [*stops, (_FAR, 0.0)]:
        used = pace * (stop - at)
        if pace > 0 and used >= left:
            return now + at + left / pace
        left, at, pace = left - used, stop, pace - slower
    return None


# ---------------------------------------------------------------- file systems


class Grower(Struct, frozen=True):
    """A log that fills a file system, with its archives."""

    path: str
    pace: float  # bytes a second on the disk


class SystemStatus(Struct, frozen=True, kw_only=True):
    """One file system that holds logs, archives or the state."""

    mount: str
    type: str
    total: int
    free: int
    free_inodes: int | None  # None: it has no fixed number
    full_on: datetime | None
    full_first: datetime | None = None  # if all logs grow as on their fastest day lately
    full_last: datetime | None = None  # and as on their slowest; None: maybe never
    forecast: str  # "known", "unknown" (of some log, or too far away), "never" (retention stops it before)
    growers: tuple[Grower, ...] = ()  # what fills it, the largest first, a few


def file_systems(here: Deployment, growing: Mapping[str, Growth]) -> Iterator[SystemStatus]:
    """Each file system of the deployment; ``growing``: how its logs grow, by their paths, as far as known."""
    systems: dict[int, tuple[str, FileSystem]] = {}
    growths: dict[int, dict[str, Growth]] = defaultdict(dict)
    unknown: set[int] = set()
    for facts in here.survey.logs:
        places = (facts.directory, *facts.elsewhere)
        for place in places:
            if place.file_system is not None:
                systems.setdefault(place.file_system.device, (place.resolved, place.file_system))
        home = _home_of_archives(facts, places)
        if home is not None and facts.path in growing:
            growths[home][facts.path] = growing[facts.path]
        elif home is not None:
            unknown.add(home)
    state_dir = os.path.realpath(here.config.state_dir)
    of_state = snapshot.file_system_of(state_dir)  # without room there no run is remembered
    if of_state is not None:
        systems.setdefault(of_state.device, (state_dir, of_state))
    for device, (path, system) in systems.items():
        yield _system(here, path, system, growths.get(device, {}), whole=device not in unknown)


def _home_of_archives(facts: LogFacts, places: Sequence[Directory]) -> int | None:
    wanted = facts.archive_dir or facts.directory.resolved
    return next((p.file_system.device for p in places if p.resolved == wanted and p.file_system is not None), None)


def _system(
    here: Deployment, path: str, system: FileSystem, growths: Mapping[str, Growth], *, whole: bool
) -> SystemStatus:
    """``whole``: it is known of each of its logs how it grows."""
    now, paces = here.now.timestamp(), growths.values()
    is_full = system.total > 0 and (system.free <= 0 or system.free_inodes == 0)
    moment = now if is_full else full_on(system.free, paces, now)
    reach = _REACH * max((each.seen for each in paces), default=_FAR)
    if (moment - now > reach) if moment is not None else (reach < _FAR and any(g.room is None for g in paces)):
        moment, whole = None, False
    soon = moment is not None and not is_full
    return SystemStatus(
        mount=mounts.mount_of(path),
        type=system.type,
        total=system.total,
        free=system.free,
        free_inodes=system.free_inodes,
        full_on=here.moment(moment),
        full_first=here.moment(full_on(system.free, [_at(each, each.most) for each in paces], now)) if soon else None,
        full_last=here.moment(full_on(system.free, [_at(each, each.least) for each in paces], now)) if soon else None,
        forecast="known" if moment is not None else "never" if growths and whole else "unknown",
        growers=tuple(_growers(growths)),
    )


def _at(growth: Growth, times: float) -> Growth:
    return replace(growth, pace=times * growth.pace)


def _growers(growths: Mapping[str, Growth]) -> list[Grower]:
    """Those that retention does not stop yet."""
    found = [Grower(path, each.pace) for path, each in growths.items() if each.pace > 0 and each.room != 0]
    return sorted(found, key=lambda each: (-each.pace, each.path))[:_GROWERS]
