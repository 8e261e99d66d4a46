"""The logs and what lies beside them: refused ones, modes, leftovers, files that no rule claims."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial

from logrotor.act import retire
from logrotor.act.guard import Guard
from logrotor.decide.facts import Directory, LogFacts
from logrotor.disk import access, snapshot
from logrotor.disk.directories import Directories
from logrotor.disk.discover import is_excluded
from logrotor.disk.walk import user_name
from logrotor.errors import Busy, LogrotorError, Stale
from logrotor.model import Check, Codec, DropTemp, Entry, Finding, Method, Problem
from logrotor.observe.site import Site
from logrotor.survey import why_no_archives

_DATE = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}-?[01][0-9]-?[0-3][0-9]")
_PACKED = {*(codec.suffix for codec in Codec), ".Z", ".lz4"}  # other rotators have more


def checks(site: Site) -> list[Check]:
    return [
        Check(id="logs.refused", title="every log can be taken", look=lambda: refused(site)),
        Check(id="logs.modes", title="live logs have the mode of their rule", look=lambda: modes(site)),
        Check(id="logs.leftovers", title="no interrupted run left anything", look=lambda: leftovers(site)),
        Check(id="logs.unclaimed", title="every dated file belongs to a rule", look=lambda: unclaimed(site)),
        Check(id="logs.unknown", title="archives are those of their log", look=lambda: unknown(site)),
    ]


def refused(site: Site) -> Iterator[Finding]:
    for item in site.survey.required:
        yield Finding(
            subject=item.name,
            problem=item.reason,
            why="a misspelt path looks like this too; every run ends with exit 1",
            advice='correct paths in the rule, or set missing = "skip" there',
        )
    for facts in site.survey.logs:
        why = site.plans[facts.path].refused
        told = facts.directory.problem or facts.directory.closed  # once, by the check of the directory
        if why is None or why == told or why == _archive_dir_problem(facts):
            continue
        yield Finding(
            subject=facts.path,
            problem=why.problem if why.subject == facts.path else f"{why.subject}: {why.problem}",
            why="it is not rotated, and grows until the disk is full; every run ends with exit 1",
            advice=why.advice or "correct that",
        )


def _archive_dir_problem(facts: LogFacts) -> Problem | None:
    """What directories.archives says already."""
    if facts.spec.archive_dir is None:
        return None
    place = os.path.join(facts.directory.resolved or facts.directory.path, facts.spec.archive_dir)
    return why_no_archives(facts.spec, snapshot.look(place))


def modes(site: Site) -> Iterator[Finding]:
    for facts in site.survey.logs:
        live, wanted = facts.family.live, facts.spec.create_mode
        if live is None or not live.is_regular or not facts.spec.create or facts.spec.method is Method.COPYTRUNCATE:
            continue
        if live.stat.st_mode & 0o7777 != wanted:
            yield _mode(facts, live, wanted)


def _mode(facts: LogFacts, live: Entry, wanted: int) -> Finding:
    mode = live.stat.st_mode & 0o7777
    command, setting = (
        f"chmod {wanted:04o} {facts.path}",
        f'create_mode = "{mode & 0o777:04o}" in rule {facts.spec.name}',
    )
    ours = live.stat.st_uid == os.geteuid()
    by = "" if ours else f" (as {user_name(live.stat.st_uid)})"
    exposes = wanted & ~mode & 0o007  # what was written in private stays so, unless a human says otherwise
    return Finding(
        subject=facts.path,
        problem=f"mode {mode:04o}, but create_mode = {wanted:04o}",
        why=f"the next rotation replaces it with one of create_mode: {_change(mode, wanted)}",
        advice=f"{setting}; or, if anyone may: {command}{by}" if exposes else f"{command}{by}, or {setting}",
        would=command,
        mend=partial(access.set_mode, facts.path, wanted, live.id) if ours and not exposes else None,
    )


def _change(mode: int, wanted: int) -> str:
    if mode & ~wanted:
        return "who writes or reads it now may be locked out then"
    return "more may read or write it then than now"


# ---------------------------------------------------------------- what lies beside


def leftovers(site: Site) -> Iterator[Finding]:
    for facts in site.survey.logs:
        plan = site.plans[facts.path]
        for step in plan.recover:
            name = getattr(step, "name", None) or f".{facts.base}.new"
            if isinstance(step, DropTemp) and _is_worked_on(site, step):
                continue
            yield Finding(
                subject=os.path.join(facts.directory.resolved, name),
                problem=f"left by an interrupted run: {getattr(step, 'reason', '') or 'to be finished'}",
                why="it takes up room, and if it stays no run has come since, or none that could finish it",
                advice="logrotor run finishes or drops it",
                would=f"remove {name}, unless a run works on it or it is no longer that file",
                mend=partial(_drop, site, facts.path, step) if isinstance(step, DropTemp) else None,
            )


def _is_worked_on(site: Site, step: DropTemp) -> bool:
    """Its maker holds it locked as long as it lives."""
    try:
        with Directories(site.survey.directories) as dirs, dirs.use(step.directory) as logdir:
            fd = logdir.open_file(step.name, step.id, names=2)
            try:
                logdir.hold(fd, step.name)
            finally:
                os.close(fd)
    except (Busy, Stale, FileNotFoundError):
        return True
    except (LogrotorError, OSError):
        return False
    return False


def _drop(site: Site, log: str, step: DropTemp) -> str:
    with Directories(site.survey.directories) as dirs, Guard(dirs, log):
        retire.drop_temp(dirs, step)
    return f"removed {os.path.join(step.directory, step.name)}"


def unclaimed(site: Site) -> Iterator[Finding]:
    """Files with a date in their name, archives and temps of logs, that nobody will ever remove."""
    claimed = {(facts.directory.resolved, facts.base) for facts in site.survey.logs}
    places = {facts.directory.resolved: facts.directory for facts in site.survey.logs}
    archived = {d.resolved: d for facts in site.survey.logs for d in facts.elsewhere}
    names = {facts.base for facts in site.survey.logs} if archived else set()
    for place, directory in sorted({**places, **archived}.items()):
        if place in archived:  # a name of ours may be claimed from anywhere; what lies beside its log is its program's
            known = names | {base for base, family in directory.families.items() if family.live is not None}
        else:
            known = {base for where, base in claimed if where == place}
        entries = _entries(directory, known)
        yield from _strays(place, [entry for entry in entries if not _is_known(site, place, entry)])


def unknown(site: Site) -> Iterator[Finding]:
    """Archives in an archive directory that no run with this history put there: they will count as the log's own."""
    for facts in site.survey.logs:
        place = facts.archive_dir
        if place is None or place in facts.memory.archive_dirs:
            continue
        if any(d.resolved == place and facts.base in d.families for d in facts.elsewhere):
            yield Finding(
                subject=os.path.join(place, facts.base),
                problem=f"archives of this name that the history does not know, where {facts.path} has its own",
                why="runs count and remove them as that log's; another configuration or program may have made them",
                advice=f"if they are not that log's, give rule {facts.spec.name} another archive_dir",
            )


def _is_known(site: Site, place: str, entry: Entry) -> bool:
    """Whoever excludes a file from a rule has seen it."""
    return any(is_excluded(spec, os.path.join(place, entry.name)) for spec in site.config.logs)


def _entries(directory: Directory, claimed: set[str]) -> Iterator[Entry]:
    for base, family in directory.families.items():
        if base not in claimed:
            live = [family.live] if family.live is not None and _DATE.search(family.live.name) else []
            rest = [archive.entry for archive in family.archives] + family.temps
            yield from (entry for entry in (*live, *rest) if entry.is_regular)


def _strays(place: str, entries: Iterable[Entry]) -> Iterator[Finding]:
    """One finding for all files of one series."""
    series: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        series[_DATE.sub("*", _unpacked(entry.name))].append(entry)
    for pattern, members in sorted(series.items()):
        count, total = len(members), sum(entry.size for entry in members)
        yield Finding(
            subject=os.path.join(place, pattern),
            problem=f"{count} dated or archived {'file' if count == 1 else 'files'}, {total} bytes, of no rule",
            why="logrotor never touches what no rule claims: if nothing else removes them they stay for ever",
            advice="name them in exclude if their program removes them; else remove them, or claim them by paths",
        )


def _unpacked(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}" in _PACKED else name
