"""Decide what happens to each log, and why. Pure: the facts and the time are arguments, the plan is the answer.

For most logs a glance shows that nothing happens, and some must not be touched; the plans of the rest are drafted in
:mod:`~logrotor.decide.plans`, which is imported only if there is such a log.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from logrotor.decide import retention
from logrotor.decide.facts import Family, LogFacts
from logrotor.decide.naming import is_aside, is_in_progress, is_too_long, is_unfinished, longest_base, parse_archive
from logrotor.decide.schedule import due_or_not
from logrotor.decide.slots import HIGHEST_SLOT, time_of
from logrotor.model import Archive, Codec, Entry, LogPlan, LogSpec, Method, Naming, NotDue, Note, Problem


def plan_logs(logs: Iterable[LogFacts], now: datetime, *, force: bool = False) -> tuple[LogPlan, ...]:
    """The plans of all logs, in the given order. One that must not be touched gets a plan with ``refused``."""
    return _completed([(facts, _without_draft(facts, now, force)) for facts in logs], now, force)


def plan_idle_logs(
    logs: Iterable[LogFacts], now: datetime, *, force: bool = False, unsure: Callable[[LogPlan], bool]
) -> tuple[LogPlan, ...] | None:
    """The same, or None as soon as one log has something to do, and is not ``unsure``: the rest is not looked at."""
    found = []
    for facts in logs:
        plan = _without_draft(facts, now, force)
        if plan is None:
            alone = _drafted([facts], now, force)[0]
            if not alone.is_idle and not unsure(alone):
                return None
            plan = alone if facts.spec.keep_free is None else None
        found.append((facts, plan))
    return _completed(found, now, force)


def _completed(found: Sequence[tuple[LogFacts, LogPlan | None]], now: datetime, force: bool) -> tuple[LogPlan, ...]:
    """The plans that are known, and those of the other logs: with keep_free they depend on one another."""
    rest = [facts for facts, plan in found if plan is None]
    drafted = iter(_drafted(rest, now, force) if rest else ())
    return tuple([next(drafted) if plan is None else plan for _, plan in found])


def _drafted(logs: Sequence[LogFacts], now: datetime, force: bool) -> list[LogPlan]:
    from logrotor.decide.plans import draft_plans

    return draft_plans(logs, now, force)


def _without_draft(facts: LogFacts, now: datetime, force: bool) -> LogPlan | None:
    kept = kept_at_a_glance(facts, now)
    if kept is None:
        why_not = refusal(facts)
        return None if why_not is None else facts.planned(NotDue("refused"), refused=why_not)
    due = due_or_not(facts, facts.family.archives, now, force)
    return facts.planned(due, kept=kept) if isinstance(due, NotDue) else None


# ---------------------------------------------------------------- at a glance


def kept_at_a_glance(facts: LogFacts, now: datetime) -> tuple[Note, ...] | None:
    """The archives, newest first, if there is nothing to recover, retire or compress; None: it takes a closer look.

    A shortcut that answers as the draft would, and only where little has to be looked at: a log beside its numbered
    archives, each a file of one name in its final form, within the limits. Most logs are so in most runs.
    """
    spec, family, live = facts.spec, facts.family, facts.family.live
    if live is None or facts.refusal or facts.elsewhere or facts.archive_dir or facts.history.in_flight:
        return None
    if family.replacement or family.temps or not _is_sound(live) or is_unfinished(live.stat.st_mode):
        return None
    if facts.directory.problem or is_too_long(facts.base, spec.naming):
        return None  # a name of work in progress needs no check: no such file is listed as a live log
    if not family.archives:
        return ()
    if spec.on_archive or spec.keep_free or spec.naming is Naming.DATED:
        return None
    archives = sorted(family.archives, key=_slot) if len(family.archives) > 1 else family.archives
    if not _are_settled(spec, archives) or not _are_within(spec, archives, now):
        return None
    if spec.method is Method.COPYTRUNCATE and archives[0].name.codec is Codec.NONE and facts.noted() is not None:
        return None
    return tuple([Note(a.entry.name, retention.why_kept(spec, index)) for index, a in enumerate(archives)])


def _is_sound(entry: Entry) -> bool:
    return stat.S_ISREG(entry.stat.st_mode) and entry.stat.st_nlink == 1


def _slot(archive: Archive) -> int:
    return archive.name.slot or 0


def _are_settled(spec: LogSpec, archives: Sequence[Archive]) -> bool:
    """Each in a slot of its own and in its final form, and none that a writer would be asked for."""
    asks = spec.reopen is not None and spec.method is not Method.COPYTRUNCATE
    before = 0
    for index, archive in enumerate(archives):
        slot, entry = archive.name.slot, archive.entry
        if slot is None or not before < slot <= HIGHEST_SLOT or not _is_sound(entry):
            return False
        if entry.name[0] == "." and is_aside(archive):
            return False
        if archive.name.codec is Codec.NONE and (
            asks or not (spec.compress is Codec.NONE or index < spec.keep_uncompressed) or _is_reserved(entry)
        ):
            return False
        before = slot
    return True


def _is_reserved(entry: Entry) -> bool:
    return entry.size == 0 and is_unfinished(entry.stat.st_mode)


def _are_within(spec: LogSpec, archives: Sequence[Archive], now: datetime) -> bool:
    if spec.backup_count is not None and len(archives) > spec.backup_count:
        return False
    if spec.max_age is None and spec.max_total_size is None:
        return True
    moment = now.timestamp()
    generations = [retention.Generation(moment - time_of(a), a.entry.size) for a in archives]
    return not any(retention.decide(spec, generations))


# ---------------------------------------------------------------- logs that must not be touched


def refusal(facts: LogFacts) -> Problem | None:
    """Why nothing may be done to this log, with what to do about it; None if nothing speaks against it."""
    if facts.directory.problem is not None:
        return facts.directory.problem
    if is_in_progress(facts.base):
        return Problem(subject=facts.path, problem="has the name of work in progress", advice="rename the log")
    if is_too_long(facts.base, facts.spec.naming):
        room = longest_base(facts.spec.naming)
        what, advice = "the name is too long for archives beside it", f"shorten it to {room} bytes"
        return Problem(subject=facts.path, problem=what, advice=advice)
    return _odd_live(facts) or _odd_member(facts) or facts.refusal


def _odd_live(facts: LogFacts) -> Problem | None:
    live = facts.family.live
    if live is None:
        return None
    if not live.is_regular:
        what, advice = f"is a {live.kind}, not a regular file", "name the log itself, or add it to exclude"
        return Problem(subject=facts.path, problem=what, advice=advice)
    if live.stat.st_nlink > 1 and not any(a.entry.id == live.id for a in facts.family.archives):
        what = f"has {live.stat.st_nlink} hard links, and rotation sees one"
        return Problem(subject=facts.path, problem=what, advice="remove the other names")
    return None


def _odd_member(facts: LogFacts) -> Problem | None:
    """Something with the name of an archive or temp of the log that is neither."""
    members = [
        (directory, entry) for directory in facts.changeable for entry in _members(directory.families.get(facts.base))
    ]
    names = Counter(entry.id for _, entry in members)
    if facts.family.live is not None:
        names[facts.family.live.id] += 1
    for directory, entry in members:
        where, name = os.path.join(directory.resolved, entry.name), parse_archive(entry.name)
        if not entry.is_regular:
            what = f"is a {entry.kind} with the name of an archive or temp of this log"
            return Problem(subject=where, problem=what, advice="move it away")
        if name is not None and (name.slot or 0) > HIGHEST_SLOT:
            what = "leaves no higher slot for the archives to move to"
            return Problem(subject=where, problem=what, advice="rename or remove it")
        if entry.stat.st_nlink > names[entry.id] and not (name is not None and facts.may_be_linked(where)):
            what = "has a hard link elsewhere, so it may be somebody else's file"
            return Problem(subject=where, problem=what, advice="remove the other name")
    return None


def _members(family: Family | None) -> list[Entry]:
    if family is None:
        return []
    entries = [a.entry for a in family.archives] + family.temps
    return [*entries, family.replacement] if family.replacement is not None else entries
