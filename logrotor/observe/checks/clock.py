"""Is the clock right, as far as files and history can tell?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from logrotor.decide.naming import stamp_time
from logrotor.model import Archive, Check, Finding
from logrotor.observe.site import Site
from logrotor.observe.status import archives_of
from logrotor.text import count

SLACK = 120.0  # seconds; network file systems have a clock of their own
TOUCH = "touch the file, or wait"
RENAME = "touch the file and correct the date in its name, if it has one; until that date, new archives get the same"
FIRST = datetime(2026, 1, 1, tzinfo=UTC)  # no logrotor is older


def checks(site: Site) -> list[Check]:
    return [Check(id="clock.time", title="the clock agrees with files and history", look=lambda: time(site))]


def time(site: Site) -> Iterator[Finding]:
    if site.now < FIRST:
        yield _finding("clock", f"it is {site.now.date()}, before logrotor was written")
        return
    latest = max((run.started for run in site.runs), default=0.0)
    if latest > site.now.timestamp() + SLACK:
        yield _finding("history", f"its last run began on {_shown(site, latest)}, which is to come")
    written = [(f.family.live.mtime, f.path) for f in site.survey.logs if f.family.live is not None]
    yield from _latest(site, written, "log", "was last written on", TOUCH)
    archives = [(_moment(archive), archive.path) for f in site.survey.logs for archive in archives_of(f)]
    yield from _latest(site, archives, "archive", "is of", RENAME)


def _moment(archive: Archive) -> float:
    """What its name says: each new one gets the same date as long as that lies ahead."""
    return archive.entry.mtime if archive.name.stamp is None else stamp_time(archive.name.stamp) or 0.0


def _latest(site: Site, moments: list[tuple[float, str]], kind: str, verb: str, advice: str) -> Iterator[Finding]:
    ahead = sorted(each for each in moments if each[0] > site.now.timestamp() + SLACK)
    if ahead:
        when, path = ahead[-1]
        more = f" (and {count(len(ahead) - 1, f'more {kind}')})" if ahead[1:] else ""
        yield _finding(path, f"{verb} {_shown(site, when)}, which is to come{more}", advice)


def _shown(site: Site, when: float) -> str:
    moment = site.moment(when)
    return "a day beyond the calendar" if moment is None else moment.isoformat(" ", "seconds")


def _finding(subject: str, problem: str, advice: str = TOUCH) -> Finding:
    return Finding(
        subject=subject,
        problem=problem,
        why="schedules and max_age go by the clock: logs are rotated, and archives removed, too early or too late",
        advice=f"is the clock synchronized (timedatectl)? If it is right now: {advice}",
    )
