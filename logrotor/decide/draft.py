"""Draft the plans of logs with something to do, or that take a closer look.

In the order of a run: recover, take, ask the writers to reopen, retire, and give what stays its final form.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import accumulate, starmap

from msgspec import Struct, field

from logrotor.decide import proof, retention
from logrotor.decide.facts import LogFacts
from logrotor.decide.naming import slot_name
from logrotor.decide.recovery import Recovery, recover
from logrotor.decide.schedule import due_or_not
from logrotor.decide.slots import make_way, moved, newest_first, time_of
from logrotor.model import (
    Archive,
    ArchiveName,
    Codec,
    Compress,
    Copytruncate,
    CreateLive,
    Due,
    Entry,
    Method,
    NotDue,
    Note,
    Plain,
    Remove,
    RunHook,
    Step,
    Take,
)


class Draft(Struct):
    """A log's plan in the making: what is decided so far."""

    facts: LogFacts
    now: datetime
    due: Due | NotDue
    recovery: Recovery
    archives: list[Archive]  # as named after recovery and take, newest first
    taken: Archive | None = None  # the one of them that is the live log until it is taken
    take: list[Step] = field(default_factory=list)
    reopen_reason: str = ""
    awaited: tuple[Plain, ...] = ()
    retire: list[Remove] = field(default_factory=list)
    compress: list[Compress] = field(default_factory=list)
    hooks: list[RunHook] = field(default_factory=list)
    deferred: list[Note] = field(default_factory=list)
    kept: list[Note] = field(default_factory=list)
    strangers: tuple[Note, ...] = ()

    def why_wait(self, archive: Archive) -> str | None:
        """Why a plain archive has to wait, as far as the plan can see.

        Nothing is certain for one that is about to be taken, or whose writers are about to be asked: the run
        looks again after the request.
        """
        if archive.name.codec is not Codec.NONE or archive is self.taken or self.reopen_reason:
            return None
        writers = self.facts.writers.get(archive.entry.id)
        return proof.why_not(writers, archive.entry, self.facts.history.request_delivered, self.now.timestamp())

    def is_hooked(self, archive: Archive) -> bool:
        """Has on_archive succeeded for it?"""
        return (archive.entry.stat.st_ino, archive.entry.stat.st_mtime_ns) in self.facts.history.hooked


def draft_log(facts: LogFacts, now: datetime, force: bool, strangers: Mapping[str, str]) -> Draft:
    """Without the final forms: which archives stay can depend on those of other logs."""
    recovery = recover(facts, now.timestamp(), strangers)
    waits = NotDue("an interrupted rotation is finished first") if recovery.took else None
    due = waits or due_or_not(facts, recovery.archives, now, force)
    draft = Draft(facts, now, due, recovery, newest_first(recovery.archives, now.timestamp()))
    draft.strangers = tuple(starmap(Note, strangers.items()))
    _take(draft)
    _create_missing(draft)
    _reopen(draft)
    _retire(draft)
    return draft


# ---------------------------------------------------------------- take


def _take(draft: Draft) -> None:
    facts, live = draft.facts, draft.facts.family.live
    if not isinstance(draft.due, Due) or live is None:
        return
    moves = make_way(draft.archives, 2, draft.recovery.is_held)
    steps = tuple(move for _, move in moves)
    spec, where, reason = facts.spec, facts.directory.resolved, draft.due.reason
    taken = where, facts.base, live.id, live.size, steps
    if spec.method is Method.COPYTRUNCATE:
        collapse, others = facts.protocol == "collapse", _archive_dirs(facts)
        draft.take.append(Copytruncate(*taken, collapse, spec.accept_loss, reason, others, spec.strict))
    else:
        draft.take.append(Take(*taken, spec.create, spec.create_mode, reason))
    draft.taken = Archive(ArchiveName(facts.base, slot=1), Entry(slot_name(facts.base, 1), live.stat), where)
    draft.archives = newest_first([*moved(draft.archives, moves), draft.taken], draft.now.timestamp())


def _archive_dirs(facts: LogFacts) -> tuple[str, ...]:
    """Where its archives are moved about, the archive directory also before it is made."""
    found = [directory.resolved for directory in facts.changeable[1:] if directory.problem is None]
    fixed = {directory.resolved for directory in facts.elsewhere if directory.closed is not None}
    first = [] if facts.archive_dir is None or facts.archive_dir in fixed else [facts.archive_dir]
    return tuple(dict.fromkeys([*first, *found]))


def _create_missing(draft: Draft) -> None:
    facts, spec = draft.facts, draft.facts.spec
    if facts.family.live is not None or not spec.create_missing or not facts.literal:
        return
    if not any(isinstance(step, CreateLive) for step in draft.recovery.steps):
        where, missing = facts.directory.resolved or os.path.dirname(facts.path), facts.directory.missing
        draft.take.append(CreateLive(where, facts.base, spec.create_mode, "create_missing", parents=missing))


# ---------------------------------------------------------------- reopen


def _reopen(draft: Draft) -> None:
    """Ask after each take, and again, at growing intervals, while an archive is or could still be written."""
    spec = draft.facts.spec
    if spec.reopen is None or spec.method is Method.COPYTRUNCATE:
        return
    beside = [a for a in draft.archives if a.directory == draft.facts.directory.resolved]
    plain = [a for a in beside if a.name.codec is Codec.NONE]
    draft.awaited = tuple(Plain(a.directory, a.entry.name, a.entry.id) for a in plain)
    if draft.taken is not None or draft.recovery.took:
        draft.reopen_reason = "after the take"
        return
    draft.reopen_reason = proof.why_ask(draft.facts, plain, draft.now)


# ---------------------------------------------------------------- retire


def _retire(draft: Draft) -> None:
    spec = draft.facts.spec
    generations = [
        retention.Generation(_age(draft, index), None if a is draft.taken else a.entry.size)
        for index, a in enumerate(draft.archives)
    ]
    staying: list[Archive] = []
    for index, (archive, reason) in enumerate(zip(draft.archives, retention.decide(spec, generations), strict=True)):
        why_not = None if reason is None else _why_not_retire(draft, archive)
        if reason is not None and why_not is None:
            draft.retire.append(_remove(archive, reason))
            continue
        if reason is not None:
            draft.deferred.append(Note(archive.entry.name, f"not removed ({reason}): {why_not}"))
        draft.kept.append(Note(archive.entry.name, why_not or retention.why_kept(spec, index)))
        staying.append(archive)
    draft.archives = staying


def _age(draft: Draft, index: int) -> float:
    """Seconds since the last write or, where that makes it too old, since it was rotated, or first seen."""
    facts, archive, now = draft.facts, draft.archives[index], draft.now.timestamp()
    age, most = now - time_of(archive), facts.spec.max_age
    if most is None or age <= most:
        return age
    known = [facts.since, facts.made(archive), facts.history.last_rotation if index == 0 else None]
    return min([age, *(now - moment for moment in known if moment is not None and moment <= now)])


def _why_not_retire(draft: Draft, archive: Archive) -> str | None:
    if archive is draft.taken:
        return "it is being taken now"
    if draft.facts.spec.on_archive and not draft.is_hooked(archive):
        return "on_archive has not succeeded for it yet"
    return draft.why_wait(archive)


def _remove(archive: Archive, reason: str) -> Remove:
    entry = archive.entry
    return Remove(archive.directory, entry.name, entry.id, entry.size, archive.name.codec is Codec.NONE, reason)


def keep_free(drafts: list[Draft]) -> None:
    """Where a file system is fuller than ``keep_free`` allows, the oldest archives of its logs go, never the newest."""
    wishes = [draft for draft in drafts if draft.facts.spec.keep_free is not None]
    if not wishes:
        return
    systems = {
        directory.resolved: directory.file_system
        for draft in drafts
        for directory in draft.facts.changeable
        if directory.file_system is not None
    }
    freed: Counter[int] = Counter()
    for step in (step for draft in drafts for step in draft.retire):
        freed[systems[step.directory].device] += step.size
    candidates = sorted((each for draft in wishes for each in _oldest_first(draft)), key=lambda found: found[0])
    gone: set[str] = set()
    asked = False
    for _, archive, draft in candidates:
        system, wish = systems[archive.directory], draft.facts.spec.keep_free
        assert wish is not None
        if not asked and system.free + freed[system.device] < wish.wanted(system.total):
            asked = True
            freed.update(draft.facts.held(frozenset(systems)))  # else each run removes more while somebody reads those
        if system.free + freed[system.device] >= wish.wanted(system.total) or draft.why_wait(archive) is not None:
            continue
        freed[system.device] += archive.entry.allocated
        reason = f"less than keep_free = {wish.wanted(system.total)} bytes are free on the file system"
        draft.retire.append(_remove(archive, reason))
        gone.add(archive.path)
    for draft in wishes if gone else ():
        draft.kept = [note for note, a in zip(draft.kept, draft.archives, strict=True) if a.path not in gone]
        draft.archives = [archive for archive in draft.archives if archive.path not in gone]


def _oldest_first(draft: Draft) -> Iterator[tuple[float, Archive, Draft]]:
    """All but the newest, each no later than the newer ones: the clock may have been ahead, or a writer slow."""
    moments = [*accumulate(map(time_of, draft.archives), min)]
    for index in range(len(moments) - 1, 0, -1):
        yield moments[index], draft.archives[index], draft
