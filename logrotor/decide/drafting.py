"""Draft the plans of logs with something to do, or that take a closer look: recover, take, reopen, retire, finish."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate

from logrotor.decide import idle, proof, retention
from logrotor.decide.draft import Draft
from logrotor.decide.facts import LogFacts
from logrotor.decide.finish import finish
from logrotor.decide.planner import due_or_not, shown
from logrotor.decide.recovery import Recovery, recover
from logrotor.decide.refusal import refusal
from logrotor.decide.slots import make_way, moved, newest_first, time_of
from logrotor.model import (
    Archive,
    ArchiveName,
    Codec,
    Copytruncate,
    CreateLive,
    Due,
    Entry,
    LogPlan,
    Method,
    Nobody,
    NotDue,
    Note,
    Problem,
    Remove,
    Take,
    Written,
)


def draft_plans(known: Sequence[LogFacts], now: datetime, force: bool) -> list[LogPlan]:
    """The plans of these logs, in the given order."""
    if all(facts.spec.keep_free is None for facts in known):  # else one log's archives depend on those of others
        return [_whole(_draft(facts, now, force)) for facts in known]
    found = [_draft(facts, now, force) for facts in known]
    _keep_free([draft for draft in found if isinstance(draft, Draft)])
    return [_whole(draft) for draft in found]


def _draft(facts: LogFacts, now: datetime, force: bool) -> Draft | LogPlan:
    if idle.kept(facts, now) is not None:  # then nothing is odd, and there is nothing to recover
        recovery = Recovery(archives=list(facts.family.archives))
    else:
        refused = refusal(facts)
        if refused is not None:
            return shown(facts, NotDue("refused"), refused=refused)
        recovery = recover(facts, now.timestamp())
    if recovery.took:
        due: Due | NotDue = NotDue("an interrupted rotation is finished first")
    else:
        due = due_or_not(facts, recovery.archives, now, force)
    draft = Draft(facts, now, due, recovery, newest_first(recovery.archives, now.timestamp()))
    _take(draft)
    _create_missing(draft)
    _ask(draft)
    _retire(draft)
    return draft


def _whole(draft: Draft | LogPlan) -> LogPlan:
    if isinstance(draft, LogPlan):
        return draft
    finish(draft)
    draft.retire.reverse()  # the oldest goes first
    return _answer(draft)


# ---------------------------------------------------------------- take


def _take(draft: Draft) -> None:
    facts, live = draft.facts, draft.facts.family.live
    if not isinstance(draft.due, Due) or live is None:
        return
    moves = make_way(draft.archives, 2)
    steps = tuple(move for _, move in moves)
    spec, where, reason = facts.spec, facts.directory.resolved, draft.due.reason
    if spec.method is Method.COPYTRUNCATE:
        system = facts.directory.file_system
        collapse = system is not None and system.collapse
        draft.take.append(
            Copytruncate(
                where, facts.base, live.id, live.size, steps,
                collapse, spec.accept_loss, reason, _elsewhere(facts),
            )
        )  # fmt: skip
    else:
        draft.take.append(Take(where, facts.base, live.id, live.size, steps, spec.create, spec.create_mode, reason))
    draft.taken = Archive(ArchiveName(facts.base, slot=1), Entry(f"{facts.base}.1", live.stat), where)
    draft.archives = newest_first([*moved(draft.archives, moves), draft.taken], draft.now.timestamp())


def _elsewhere(facts: LogFacts) -> tuple[str, ...]:
    found = [directory.resolved for directory in facts.elsewhere if directory.problem is None]
    return tuple(dict.fromkeys(found if facts.archive_dir is None else [facts.archive_dir, *found]))


def _create_missing(draft: Draft) -> None:
    facts, spec = draft.facts, draft.facts.spec
    if facts.family.live is not None or not spec.create_missing or not facts.literal:
        return
    if not any(isinstance(step, CreateLive) for step in draft.recovery.steps):
        where = facts.directory.resolved or os.path.dirname(facts.path)
        missing = facts.directory.missing
        draft.take.append(CreateLive(where, facts.base, spec.create_mode, "create_missing", parents=missing))


# ---------------------------------------------------------------- reopen


def _ask(draft: Draft) -> None:
    """Ask until a request was delivered after the last rename of each archive that could still be written."""
    spec = draft.facts.spec
    if spec.reopen is None or spec.method is Method.COPYTRUNCATE:
        return
    if draft.taken is not None or draft.recovery.took:
        draft.reopen_reason = "after the take"
        return
    for archive in draft.archives:
        if archive.name.codec is Codec.NONE and archive.directory == draft.facts.directory.resolved:
            draft.reopen_reason = _why_ask(draft, archive)
            if draft.reopen_reason:
                return


def _why_ask(draft: Draft, archive: Archive) -> str:
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
    if not draft.archives:
        return
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
        draft.kept = [waiting for waiting in draft.kept if waiting.name != archive.entry.name]


def _oldest_first(draft: Draft) -> Iterator[tuple[float, Archive, Draft]]:
    """All but the newest, each no later than the newer ones: the clock may have been ahead, or a writer slow."""
    moments = [*accumulate(map(time_of, draft.archives), min)]
    for index in range(len(moments) - 1, 0, -1):
        yield moments[index], draft.archives[index], draft


# ---------------------------------------------------------------- the answer


def _answer(draft: Draft) -> LogPlan:
    facts = draft.facts
    plan = shown(
        facts,
        draft.due,
        recover=tuple(draft.recovery.steps),
        take=tuple(draft.take),
        reopen=facts.spec.reopen if draft.reopen_reason else None,
        reopen_reason=draft.reopen_reason,
        retire=tuple(draft.retire),
        compress=tuple(draft.compress),
        hooks=tuple(draft.hooks),
        deferred=tuple(draft.deferred),
        kept=tuple(draft.kept),
    )
    why_not = _why_not_possible(facts, plan)
    return plan if why_not is None else shown(facts, draft.due, refused=why_not)


def _why_not_possible(facts: LogFacts, plan: LogPlan) -> Problem | None:
    if plan.steps and facts.directory.closed is not None:
        return facts.directory.closed
    for step in plan.take:
        if isinstance(step, Copytruncate) and not step.collapse and not facts.spec.accept_loss:
            kind = facts.directory.file_system.type if facts.directory.file_system else "this file system"
            what = f"{kind} cannot collapse a range, so copytruncate could lose lines that are written meanwhile"
            advice = 'use method = "rename", or set accept_loss = true'
            return Problem(subject=facts.path, problem=what, advice=advice)
    return None
