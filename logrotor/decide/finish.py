"""Decide the final form and place of each archive that stays: compressed, dated, in the archive directory, hooked."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from logrotor.decide.draft import Draft
from logrotor.decide.naming import format_archive, parse_archive, stamp_of
from logrotor.model import Archive, ArchiveName, Codec, Compress, Naming, Note, RunHook


def finish(draft: Draft) -> None:
    """Steps for the archives that stay, the oldest first, or the reason why one has to wait."""
    if not draft.archives:
        return
    names = {a.name for a in draft.archives}
    places = {(a.directory, a.entry.name) for a in draft.archives}
    older: list[ArchiveName] = []
    # The oldest first: of several archives of one second, the newer one gets the higher -n.
    for index, archive in reversed(list(enumerate(draft.archives))):
        step = _final_form(draft, archive, index, older, names, places)
        hook = _hook(draft, archive, step, index)
        why_not = draft.why_wait(archive) if step is not None or hook is not None else None
        older.append(archive.name)
        if why_not is not None:
            if all(waiting.name != archive.entry.name for waiting in draft.deferred):  # retention said it already
                draft.deferred.append(Note(archive.entry.name, why_not))
            continue
        if step is not None:
            draft.compress.append(step)
            name = parse_archive(step.to_name) or archive.name
            older.append(name)
            names.add(name)
            places.add((step.to_directory, step.to_name))
        if hook is not None:
            draft.hooks.append(hook)


def _final_form(
    draft: Draft,
    archive: Archive,
    index: int,
    older: Sequence[ArchiveName],
    names: set[ArchiveName],
    places: set[tuple[str, str]],
) -> Compress | None:
    codec = _codec(draft, archive, index)
    directory = _place(draft, archive)
    wanted = replace(archive.name, codec=codec)
    plain = archive.name.codec is Codec.NONE
    if plain and draft.facts.spec.naming is Naming.DATED and archive.name.slot is not None:
        stamp = max([stamp_of(archive.entry.mtime), *(known.stamp or "" for known in older)])
        wanted = _dated(wanted, stamp, older, names)
    to_name = format_archive(wanted)
    if (to_name, directory) == (archive.entry.name, archive.directory):
        return None
    if wanted.stamp is not None and (directory, to_name) in places:  # another generation has the name already
        to_name = format_archive(_dated(wanted, wanted.stamp, older, names))
    applied = codec if plain else Codec.NONE
    reason = f"to {applied.value}" if applied is not Codec.NONE else "to its final name and place"
    entry, level = archive.entry, draft.facts.spec.compress_level
    return Compress(
        archive.directory, entry.name, entry.id, entry.size, directory, to_name, applied, level, plain, reason
    )


def _codec(draft: Draft, archive: Archive, index: int) -> Codec:
    """What is compressed already stays so, whatever the setting is by now."""
    if archive.name.codec is not Codec.NONE or index < draft.facts.spec.keep_uncompressed:
        return archive.name.codec
    return draft.facts.spec.compress


def _place(draft: Draft, archive: Archive) -> str:
    """What lies in an archive directory stays there, also after ``archive_dir`` was switched off or changed."""
    beside = draft.facts.directory.resolved
    return (draft.facts.archive_dir or beside) if archive.directory == beside else archive.directory


def _dated(name: ArchiveName, stamp: str, older: Sequence[ArchiveName], names: set[ArchiveName]) -> ArchiveName:
    """The stamp is the last write, which the file itself tells, so a crash cannot change it.

    Or that of the archive before, where it is later: its writer was slow, or the clock was ahead. With an earlier one
    the newest archive would count as an older one, and retention would remove it.
    Of one date, its -n comes after those of the older ones, in whatever directory; if a newer one has that by now, it
    counts as the newest.
    """
    taken = {known.copy for known in names if known.stamp == stamp}
    copy = max((known.copy + 1 for known in older if known.stamp == stamp), default=0)
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
