"""Draft the plans of logs with something to do, or that take a closer look.

In the order of a run: recover, take, ask the writers to reopen, retire, and give what stays its final form.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate

from msgspec import Struct, field
from msgspec.structs import replace

from logrotor.decide import proof, retention
from logrotor.decide.facts import LogFacts
from logrotor.decide.naming import format_archive, parse_archive, slot_name, stamp_of
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
    LogPlan,
    Method,
    Naming,
    Nobody,
    NotDue,
    Note,
    Problem,
    Remove,
    RunHook,
    Step,
    Take,
    Written,
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
    retire: list[Remove] = field(default_factory=list)
    compress: list[Compress] = field(default_factory=list)
    hooks: list[RunHook] = field(default_factory=list)
    deferred: list[Note] = field(default_factory=list)
    kept: list[Note] = field(default_factory=list)

    def why_wait(self, archive: Archive) -> str | None:
        """Why a plain archive has to wait, as far as the plan can see.

        Nothing is certain for one that is about to be taken, or whose writers are about to be asked: the run
        looks again after the request.
        """
        if archive.name.codec is not Codec.NONE or archive is self.taken or self.reopen_reason:
            return None
        writers = self.facts.writers.get(archive.entry.id)
        return proof.why_not(writers, archive.entry, self.facts.memory.request_delivered, self.now.timestamp())

    def is_hooked(self, archive: Archive) -> bool:
        """Has on_archive succeeded for it?"""
        return (archive.entry.stat.st_ino, archive.entry.stat.st_mtime_ns) in self.facts.memory.hooked


def draft_plans(logs: Sequence[LogFacts], now: datetime, force: bool) -> list[LogPlan]:
    """The plans of these logs, none of which is refused, in the given order."""
    strangers: dict[str, Mapping[str, str]] = {}
    while True:
        drafts = [_draft(facts, now, force, strangers.get(facts.path, {})) for facts in logs]
        _keep_free(drafts)
        plans = [_completed(draft) for draft in drafts]
        # Whose each file is costs a look at it, and is asked only where something would be done.
        asked = {facts.path: facts for facts, plan in zip(logs, plans, strict=True) if not plan.is_idle}
        found = {path: facts.strangers(now.timestamp()) for path, facts in asked.items() if path not in strangers}
        if not any(found.values()):
            return plans
        strangers.update(found)


def _draft(facts: LogFacts, now: datetime, force: bool, strangers: Mapping[str, str]) -> Draft:
    """Without the final forms: which archives stay can depend on those of other logs."""
    recovery = recover(facts, now.timestamp(), strangers)
    waits = NotDue("an interrupted rotation is finished first") if recovery.took else None
    due = waits or due_or_not(facts, recovery.archives, now, force)
    draft = Draft(facts, now, due, recovery, newest_first(recovery.archives, now.timestamp()))
    draft.kept += [Note(os.path.basename(path), f"left alone: {why}") for path, why in strangers.items()]
    _take(draft)
    _create_missing(draft)
    _reopen(draft)
    _retire(draft)
    return draft


def _completed(draft: Draft) -> LogPlan:
    _give_final_forms(draft)
    facts = draft.facts
    plan = facts.planned(
        draft.due,
        recover=tuple(draft.recovery.steps),
        take=tuple(draft.take),
        reopen=facts.spec.reopen if draft.reopen_reason else None,
        reopen_reason=draft.reopen_reason,
        retire=tuple(reversed(draft.retire)),  # the oldest goes first
        compress=tuple(draft.compress),
        hooks=tuple(draft.hooks),
        deferred=tuple(draft.deferred),
        kept=tuple(draft.kept),
    )
    why_not = _why_not_possible(facts, plan) or _why_no_room(draft)
    return plan if why_not is None else facts.planned(draft.due, refused=why_not)


def _why_not_possible(facts: LogFacts, plan: LogPlan) -> Problem | None:
    if plan.steps and facts.directory.closed is not None:
        return facts.directory.closed
    if facts.spec.accept_loss or not any(isinstance(each, Copytruncate) and not each.collapse for each in plan.take):
        return None
    kind = facts.directory.file_system.type if facts.directory.file_system else "this file system"
    what = f"{kind} cannot collapse a range, so copytruncate could lose lines that are written meanwhile"
    return Problem(subject=facts.path, problem=what, advice='use method = "rename", or set accept_loss = true')


def _why_no_room(draft: Draft) -> Problem | None:
    """Each log that is taken comes to slot 1."""
    if (draft.taken is None and not draft.recovery.took) or not draft.recovery.is_held(1):
        return None
    facts = draft.facts
    what = f"{slot_name(facts.base, 1)} is not its archive, or may not be, and has the name that the next one needs"
    return Problem(
        subject=facts.path,
        problem=what,
        advice=f"exclude {slot_name(facts.base, 1)} if it is an archive; move it away or rename it if it is not",
    )


# ---------------------------------------------------------------- take


def _take(draft: Draft) -> None:
    facts, live = draft.facts, draft.facts.family.live
    if not isinstance(draft.due, Due) or live is None:
        return
    moves = make_way(draft.archives, 2, draft.recovery.is_held)
    steps = tuple(move for _, move in moves)
    spec, where, reason = facts.spec, facts.directory.resolved, draft.due.reason
    if spec.method is Method.COPYTRUNCATE:
        collapse, others = facts.protocol == "collapse", _archive_dirs(facts)
        draft.take.append(
            Copytruncate(where, facts.base, live.id, live.size, steps, collapse, spec.accept_loss, reason, others)
        )
    else:
        draft.take.append(Take(where, facts.base, live.id, live.size, steps, spec.create, spec.create_mode, reason))
    draft.taken = Archive(ArchiveName(facts.base, slot=1), Entry(slot_name(facts.base, 1), live.stat), where)
    draft.archives = newest_first([*moved(draft.archives, moves), draft.taken], draft.now.timestamp())


def _archive_dirs(facts: LogFacts) -> tuple[str, ...]:
    found = [directory.resolved for directory in facts.elsewhere if directory.problem is None]
    return tuple(dict.fromkeys(found if facts.archive_dir is None else [facts.archive_dir, *found]))


def _create_missing(draft: Draft) -> None:
    facts, spec = draft.facts, draft.facts.spec
    if facts.family.live is not None or not spec.create_missing or not facts.literal:
        return
    if not any(isinstance(step, CreateLive) for step in draft.recovery.steps):
        where, missing = facts.directory.resolved or os.path.dirname(facts.path), facts.directory.missing
        draft.take.append(CreateLive(where, facts.base, spec.create_mode, "create_missing", parents=missing))


# ---------------------------------------------------------------- reopen


def _reopen(draft: Draft) -> None:
    """Ask until a request was delivered after the last rename of each archive that could still be written."""
    spec = draft.facts.spec
    if spec.reopen is None or spec.method is Method.COPYTRUNCATE:
        return
    if draft.taken is not None or draft.recovery.took:
        draft.reopen_reason = "after the take"
        return
    beside = [a for a in draft.archives if a.directory == draft.facts.directory.resolved]
    reasons = (_why_reopen(draft, archive) for archive in beside if archive.name.codec is Codec.NONE)
    draft.reopen_reason = next(filter(None, reasons), "")


def _why_reopen(draft: Draft, archive: Archive) -> str:
    memory, name = draft.facts.memory, archive.entry.name
    writers = draft.facts.writers.get(archive.entry.id)
    if isinstance(writers, Written):
        return f"{name} is still written"
    if memory.request_failed is not None:
        return f"{name}: the last request failed"
    if archive.name.stamp is not None and isinstance(writers, Nobody):
        return ""  # an archive gets its date after the request, so its ctime is always later than that
    if not proof.was_asked(archive.entry, memory.request_delivered, draft.now.timestamp()):
        return f"{name}: no request was delivered since it was taken"
    return ""


# ---------------------------------------------------------------- retire


def _retire(draft: Draft) -> None:
    spec, now = draft.facts.spec, draft.now.timestamp()
    generations = [
        retention.Generation(now - time_of(a), None if a is draft.taken else a.entry.size) for a in draft.archives
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


def _why_not_retire(draft: Draft, archive: Archive) -> str | None:
    if archive is draft.taken:
        return "it is being taken now"
    if draft.facts.spec.on_archive and not draft.is_hooked(archive):
        return "on_archive has not succeeded for it yet"
    return draft.why_wait(archive)


def _remove(archive: Archive, reason: str) -> Remove:
    entry = archive.entry
    return Remove(archive.directory, entry.name, entry.id, entry.size, archive.name.codec is Codec.NONE, reason)


def _keep_free(drafts: list[Draft]) -> None:
    """Where a file system is fuller than ``keep_free`` allows, the oldest archives of its logs go, never the newest."""
    wishes = [draft for draft in drafts if draft.facts.spec.keep_free is not None]
    if not wishes:
        return
    systems = {
        directory.resolved: directory.file_system
        for draft in drafts
        for directory in (draft.facts.directory, *draft.facts.elsewhere)
        if directory.file_system is not None
    }
    freed = dict.fromkeys((system.device for system in systems.values()), 0)
    for step in (step for draft in drafts for step in draft.retire):
        freed[systems[step.directory].device] += step.size
    candidates = sorted((each for draft in wishes for each in _oldest_first(draft)), key=lambda found: found[0])
    for _, archive, draft in candidates:
        system, wish = systems[archive.directory], draft.facts.spec.keep_free
        assert wish is not None
        if system.free + freed[system.device] >= wish.wanted(system.total) or draft.why_wait(archive) is not None:
            continue
        freed[system.device] += archive.entry.allocated
        reason = f"less than keep_free = {wish.wanted(system.total)} bytes are free on the file system"
        draft.retire.append(_remove(archive, reason))
        draft.archives.remove(archive)
        draft.kept = [note for note in draft.kept if note.name != archive.entry.name]


def _oldest_first(draft: Draft) -> Iterator[tuple[float, Archive, Draft]]:
    """All but the newest, each no later than the newer ones: the clock may have been ahead, or a writer slow."""
    moments = [*accumulate(map(time_of, draft.archives), min)]
    for index in range(len(moments) - 1, 0, -1):
        yield moments[index], draft.archives[index], draft


# ---------------------------------------------------------------- final form


class _Names(Struct):
    """The names that archives have, or will have."""

    older: list[ArchiveName]  # of those that are older than the one at hand
    every: set[tuple[str, ArchiveName]]  # with their directories


def _give_final_forms(draft: Draft) -> None:
    """Steps for the archives that stay, or the reason why one has to wait."""
    archives = draft.archives
    names = _Names([], {(archive.directory, archive.name) for archive in archives})
    # The oldest first: of several archives of one second, the newer one gets the higher -n.
    for index, archive in reversed(list(enumerate(archives))):
        step = _final_form(draft, archive, index, names)
        hook = _hook(draft, archive, step, index)
        why_not = draft.why_wait(archive) if step is not None or hook is not None else None
        names.older.append(archive.name)
        if why_not is not None:
            if all(note.name != archive.entry.name for note in draft.deferred):  # retention said it already
                draft.deferred.append(Note(archive.entry.name, why_not))
            continue
        if step is not None:
            draft.compress.append(step)
            name = parse_archive(step.to_name) or archive.name
            names.older.append(name)
            names.every.add((step.to_directory, name))
        if hook is not None:
            draft.hooks.append(hook)


def _final_form(draft: Draft, archive: Archive, index: int, names: _Names) -> Compress | None:
    spec, entry = draft.facts.spec, archive.entry
    codec, directory = _codec(draft, archive, index), _place(draft, archive)
    wanted = replace(archive.name, codec=codec)
    plain = archive.name.codec is Codec.NONE
    if plain and spec.naming is Naming.DATED and archive.name.slot is not None:
        wanted = _dated(wanted, max([stamp_of(entry.mtime), *(known.stamp or "" for known in names.older)]), names)
    to_name = format_archive(wanted)
    if (to_name, directory) == (entry.name, archive.directory):
        return None
    if wanted.stamp is not None and (directory, wanted) in names.every:  # another generation has the name already
        to_name = format_archive(_dated(wanted, wanted.stamp, names))
    applied = codec if plain else Codec.NONE
    reason = f"to {applied.value}" if applied is not Codec.NONE else "to its final name and place"
    return Compress(
        archive.directory, entry.name, entry.id, entry.size,
        directory, to_name, applied, spec.compress_level, plain, reason,
    )  # fmt: skip


def _codec(draft: Draft, archive: Archive, index: int) -> Codec:
    """What is compressed already stays so, whatever the setting is by now."""
    if archive.name.codec is not Codec.NONE or index < draft.facts.spec.keep_uncompressed:
        return archive.name.codec
    return draft.facts.spec.compress


def _place(draft: Draft, archive: Archive) -> str:
    """What lies in an archive directory stays there, also after ``archive_dir`` was switched off or changed."""
    beside = draft.facts.directory.resolved
    return (draft.facts.archive_dir or beside) if archive.directory == beside else archive.directory


def _dated(name: ArchiveName, stamp: str, names: _Names) -> ArchiveName:
    """The stamp is the last write, which is read from the file itself, so a crash cannot change it.

    Or that of the archive before, where it is later: its writer was slow, or the clock was ahead. With an earlier one
    the newest archive would count as an older one, and retention would remove it.
    Of one date, its -n comes after those of the older ones, in whatever directory; if a newer one has that by now, it
    counts as the newest.
    """
    taken = {known.copy for _, known in names.every if known.stamp == stamp}
    copy = max((known.copy + 1 for known in names.older if known.stamp == stamp), default=0)
    return ArchiveName(name.base, None, stamp, copy if copy not in taken else max(taken) + 1, name.codec)


def _hook(draft: Draft, archive: Archive, step: Compress | None, index: int) -> RunHook | None:
    """``on_archive`` runs once for an archive in its final form."""
    spec = draft.facts.spec
    later = spec.compress is not Codec.NONE and index < spec.keep_uncompressed and archive.name.codec is Codec.NONE
    if not spec.on_archive or later or draft.is_hooked(archive):
        return None
    changes = step is not None or archive is draft.taken
    directory, name = (step.to_directory, step.to_name) if step else (archive.directory, archive.entry.name)
    known = None if changes else archive.entry.id
    return RunHook(directory, name, known, spec.on_archive, spec.on_archive_timeout)
