"""The whole plans of logs with something to do: their drafts, what they share, and the final form of what stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from logrotor.decide.draft import Draft, draft_log, keep_free
from logrotor.decide.facts import LogFacts
from logrotor.decide.naming import format_archive, parse_archive, slot_name, stamp_of
from logrotor.errors import Interrupted
from logrotor.model import (
    Archive,
    ArchiveName,
    Codec,
    Compress,
    Copytruncate,
    LogPlan,
    Naming,
    NotDue,
    Note,
    Problem,
    RunHook,
    Take,
)
from logrotor.text import typed


def draft_plans(logs: Sequence[LogFacts], now: datetime, force: bool) -> list[LogPlan]:
    """The plans of these logs, none of which is refused, in the given order."""
    put_off = {facts.path: plan for facts in logs if (plan := _put_off(facts)) is not None}
    if put_off:
        rest = iter(draft_plans([facts for facts in logs if facts.path not in put_off], now, force))
        return [put_off.get(facts.path) or next(rest) for facts in logs]
    strangers: dict[str, Mapping[str, str]] = {}
    while True:
        drafts = [draft_log(facts, now, force, strangers.get(facts.path, {})) for facts in logs]
        keep_free(drafts)
        plans = [_completed(draft) for draft in drafts]
        # Whose each file is costs a look at it, and is asked only where something would be done.
        asked = {facts.path: facts for facts, plan in zip(logs, plans, strict=True) if not plan.is_idle}
        found = {path: facts.strangers(now.timestamp()) for path, facts in asked.items() if path not in strangers}
        if not any(found.values()):
            return plans
        strangers.update(found)


def _put_off(facts: LogFacts) -> LogPlan | None:
    """A plan to do nothing, if there was no time to compare its archives: two may be one generation."""
    try:
        len(facts.duplicates)
    except Interrupted as error:
        return facts.planned(NotDue("its archives are compared first"), deferred=(Note(facts.base, str(error)),))
    return None


def _completed(draft: Draft) -> LogPlan:
    _give_final_forms(draft)
    facts = draft.facts
    plan = facts.planned(
        draft.due,
        recover=tuple(draft.recovery.steps),
        take=tuple(draft.take),
        reopen=facts.spec.reopen if draft.reopen_reason else None,
        reopen_reason=draft.reopen_reason,
        awaited=draft.awaited if draft.reopen_reason else (),
        retire=tuple(reversed(draft.retire)),  # the oldest goes first
        compress=tuple(draft.compress),
        hooks=tuple(draft.hooks),
        deferred=tuple(draft.deferred),
        kept=tuple(draft.kept),
        strangers=draft.strangers,
    )
    why_not = _why_not_possible(facts, plan) or _why_no_room(draft)
    return plan if why_not is None else facts.planned(draft.due, refused=why_not, strangers=draft.strangers)


def _why_not_possible(facts: LogFacts, plan: LogPlan) -> Problem | None:
    if plan.steps and facts.directory.closed is not None:
        return facts.directory.closed
    if any(isinstance(each, (Take, Copytruncate)) for each in plan.take) and facts.is_append_only():
        what = "may only be appended to (chattr +a), so it can be neither renamed nor cut"
        return Problem(subject=facts.path, problem=what, advice=f"as root: chattr -a {typed(facts.path)}")
    if plan.take and isinstance(unknown := facts.noted(), Problem):
        return unknown
    cuts = [each for each in plan.take if isinstance(each, Copytruncate)]
    if facts.spec.accept_loss or not cuts:
        return None
    if all(each.collapse for each in cuts):
        return facts.why_not_cut()
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


# ---------------------------------------------------------------- final form


class _Names(Struct):
    """The names that archives have, or will have: the dates of those that are older than the one at hand, and all.

    A log may have thousands of archives, so none of them is looked through for each of the others.
    """

    every: set[tuple[str, ArchiveName]] = field(default_factory=set)  # with their directories
    copies: set[tuple[str, int]] = field(default_factory=set)  # dates with their -n, in whatever directory
    highest: dict[str, int] = field(default_factory=dict)  # of each date: the highest -n of all
    older: dict[str, int] = field(default_factory=dict)  # of each date: the highest -n of the older ones
    newest: str = ""  # date of the older ones

    @classmethod
    def of(cls, archives: Iterable[Archive]) -> _Names:
        names = cls()
        for archive in archives:
            names.add(archive.directory, archive.name)
        return names

    def add(self, directory: str, name: ArchiveName) -> None:
        self.every.add((directory, name))
        if name.stamp is not None:
            self.copies.add((name.stamp, name.copy))
            self.highest[name.stamp] = max(name.copy, self.highest.get(name.stamp, 0))

    def pass_by(self, name: ArchiveName) -> None:
        """From now on it is an older one."""
        if name.stamp is not None:
            self.newest = max(self.newest, name.stamp)
            self.older[name.stamp] = max(name.copy, self.older.get(name.stamp, 0))


def _give_final_forms(draft: Draft) -> None:
    """Steps for the archives that stay, or the reason why one has to wait."""
    archives = draft.archives
    names, told = _Names.of(archives), {note.name for note in draft.deferred}
    # The oldest first: of several archives of one second, the newer one gets the higher -n.
    for index, archive in reversed(list(enumerate(archives))):
        step = _final_form(draft, archive, index, names)
        hook = _hook(draft, archive, step, index)
        why_not = draft.why_wait(archive) if step is not None or hook is not None else None
        names.pass_by(archive.name)
        if why_not is not None:
            if archive.entry.name not in told:  # by retention
                draft.deferred.append(Note(archive.entry.name, why_not))
            continue
        if step is not None:
            draft.compress.append(step)
            name = parse_archive(step.to_name) or archive.name
            names.pass_by(name)
            names.add(step.to_directory, name)
        if hook is not None:
            draft.hooks.append(hook)


def _final_form(draft: Draft, archive: Archive, index: int, names: _Names) -> Compress | None:
    spec, entry = draft.facts.spec, archive.entry
    codec, directory = _codec(draft, archive, index), _place(draft, archive)
    wanted = replace(archive.name, codec=codec)
    plain = archive.name.codec is Codec.NONE
    if plain and spec.naming is Naming.DATED and archive.name.slot is not None:
        wanted = _dated(wanted, max(stamp_of(entry.mtime), names.newest), names)
    to_name = format_archive(wanted)
    if (to_name, directory) == (entry.name, archive.directory):
        return None
    if wanted.stamp is not None and (directory, wanted) in names.every:  # another generation has the name already
        to_name = format_archive(_dated(wanted, wanted.stamp, names))
    applied = codec if plain else Codec.NONE
    reason = f"to {applied.value}" if applied is not Codec.NONE else "to its final name and place"
    return Compress(
        archive.directory, entry.name, entry.id, entry.size,
        directory, to_name, applied, spec.compress_level, plain, reason, spec.strict,
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
    copy = names.older.get(stamp, -1) + 1
    if (stamp, copy) in names.copies:
        copy = names.highest[stamp] + 1
    return ArchiveName(name.base, None, stamp, copy, name.codec)


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
