"""Decide how the debris of an interrupted run is finished or dropped. Any debris is a normal input."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from logrotor.decide import proof
from logrotor.decide.facts import Directory, Family, LogFacts
from logrotor.decide.naming import (
    format_archive,
    is_aside,
    is_unfinished,
    parse_archive,
    replacement_name,
    slot_name,
)
from logrotor.decide.slots import by_slot, make_way, moved
from logrotor.model import (
    Archive,
    Codec,
    Copy,
    CopyInFlight,
    CreateLive,
    DropAlias,
    DropDuplicate,
    DropTemp,
    Entry,
    FileId,
    FinishCopytruncate,
    FinishTake,
    Method,
    Move,
    Nobody,
    PutBack,
    Shift,
    Step,
    Written,
)


class Recovery(Struct):
    """The steps, and the archives as they will be named afterwards."""

    is_held: Callable[[int], bool]  # has somebody else's file the name of that slot?
    steps: list[Step] = field(default_factory=list)
    archives: list[Archive] = field(default_factory=list)
    took: bool = False  # an interrupted rotation is finished: the log is not rotated once more in this run

    def forget(self, gone: Iterable[Archive]) -> None:
        """These are no archives any more. All at once, for there may be thousands."""
        if apart := {id(archive) for archive in gone}:
            self.archives = [archive for archive in self.archives if id(archive) not in apart]


def recover(facts: LogFacts, now: float, strangers: Collection[str] = ()) -> Recovery:
    """In the order in which it is carried out: what is certain first, the taken log last.

    ``strangers``: paths of files that are no archives after all.
    """
    found = Recovery(partial(_is_held, facts, frozenset(map(os.path.basename, strangers))))
    for directory in facts.changeable:
        if facts.base in directory.families:
            found.archives += [a for a in directory.families[facts.base].archives if a.path not in strangers]
    _drop_reserved_names(facts, found)
    _drop_aliases(facts, found)
    _put_back(found)
    _drop_temps(facts, found)
    _finish_copytruncate(facts, found)
    _drop_duplicates(facts, found, now)
    _restore_live(facts, found)
    _finish_replacement(facts, found)
    if not found.took:
        _separate(found)
    return found


def _is_held(facts: LogFacts, strangers: frozenset[str], slot: int) -> bool:
    """``strangers``: names."""
    names = [slot_name(facts.base, slot, codec) for codec in Codec]
    for directory in facts.changeable:
        if any(name in directory.families and directory.families[name].live is not None for name in names):
            return True
    return not strangers.isdisjoint(names)


def _finish_copytruncate(facts: LogFacts, found: Recovery) -> None:
    """By what is noted on the copy, whoever made it; else by our own history, which may not know how it went on."""
    noted = facts.noted()
    record = noted if isinstance(noted, CopyInFlight) else facts.history.in_flight
    if record is None:
        return
    copies = _copies(found.archives, record)
    found.took = bool(copies) or record.stage == "marked"
    reason = "a copytruncate was interrupted"
    accept_loss = facts.spec.accept_loss and facts.protocol != "collapse"
    where = facts.directory.resolved, facts.base
    found.steps.append(FinishCopytruncate(*where, record, copies, reason, accept_loss, record is noted))


def _copies(archives: list[Archive], record: CopyInFlight) -> tuple[Copy, ...]:
    """The file that was published, and each that another configuration may have made of it: it keeps the time."""
    return tuple(
        Copy(archive.directory, archive.entry.name, archive.entry.id, archive.name.codec)
        for archive in archives
        if record.archive_inode == archive.entry.id.inode or record.archive_mtime_ns == archive.entry.stat.st_mtime_ns
    )


def _drop_reserved_names(facts: LogFacts, found: Recovery) -> None:
    """A reservation never had a writer; but somebody else may have renamed a log that lacks its mode."""
    gone = []
    for archive in found.archives:
        if _is_reserved(archive.entry) and not isinstance(facts.writers.get(archive.entry.id), Written):
            reason = "an interrupted run had reserved the name"
            found.steps.append(DropTemp(archive.directory, archive.entry.name, archive.entry.id, reason))
            gone.append(archive)
    found.forget(gone)


def _is_reserved(entry: Entry) -> bool:
    return entry.size == 0 and is_unfinished(entry.stat.st_mode)


def _drop_aliases(facts: LogFacts, found: Recovery) -> None:
    """An interrupted link + unlink left a file with two of our names; the one it came from goes.

    A log that has the name of slot 1 as well was about to be taken: it keeps its own name and is taken anew.
    """
    kept: dict[FileId, str] = {}
    live, replacement = facts.family.live, facts.family.replacement
    if live is not None and live.stat.st_nlink > 1:
        kept[live.id] = live.name
    by_target = sorted(
        (a for a in found.archives if a.entry.stat.st_nlink > 1),
        key=lambda a: (a.directory != facts.directory.resolved, a.name.slot is None, a.name.slot or 0, not is_aside(a)),
        reverse=True,
    )
    found.forget([a for a in by_target if _is_alias(found, kept, a.directory, a.entry)])
    if replacement is not None and replacement.stat.st_nlink > 1:
        _is_alias(found, kept, facts.directory.resolved, replacement)


def _is_alias(found: Recovery, kept: dict[FileId, str], directory: str, entry: Entry) -> bool:
    """Is it the second name of a file? Then it goes."""
    other = kept.setdefault(entry.id, entry.name)
    if other is entry.name:
        return False
    reason = "an interrupted rename left a second name"
    found.steps.append(DropAlias(directory, entry.name, entry.id, other, reason))
    return True


def _put_back(found: Recovery) -> None:
    """An archive that was set aside is as whole as any other, and somebody may have written it since.

    It gets its own name; or if somebody created that anew meanwhile, one that is free, once others have moved.
    """
    asides = [archive for archive in found.archives if is_aside(archive)]
    if not asides:
        return
    names = {(archive.directory, archive.entry.name) for archive in found.archives}
    copies: dict[str | None, int] = {}
    for archive in found.archives:
        copies[archive.name.stamp] = max(archive.name.copy, copies.get(archive.name.stamp, 0))
    back: list[tuple[Archive, Move]] = []
    blocked: set[int] = set()
    for aside in asides:
        name = aside.name
        if (aside.directory, format_archive(name)) in names and name.slot is not None:
            blocked.add(id(aside))
            continue
        if (aside.directory, format_archive(name)) in names:
            copies[name.stamp] += 1
            name = replace(name, copy=copies[name.stamp])
        names.add((aside.directory, format_archive(name)))
        back.append((aside, _put(found, aside, format_archive(name), ())))
    found.archives = moved(found.archives, back)
    if blocked:
        found.archives = moved(found.archives, _way_back(found, blocked))


def _way_back(found: Recovery, blocked: Collection[int]) -> list[tuple[Archive, Move]]:
    """Return the moves, highest slot first, after which those that were set aside, and are ``blocked``, have a slot."""
    moves = {id(archive): move for archive, move in make_way(found.archives, 1, found.is_held)}
    made: list[tuple[Archive, Move]] = []
    way: list[tuple[Archive, Move]] = []
    for archive in reversed(by_slot(found.archives)):
        move = moves.get(id(archive))
        if id(archive) in blocked:
            target = format_archive(archive.name) if move is None else move.target
            made += [*way, (archive, _put(found, archive, target, tuple(each for _, each in way)))]
            way = []
        elif move is not None:
            way.append((archive, move))
    return made


def _put(found: Recovery, aside: Archive, target: str, way: tuple[Move, ...]) -> Move:
    name, file, reason = aside.entry.name, aside.entry.id, "an interrupted run had set it aside"
    found.steps.append(PutBack(aside.directory, name, file, target, way, reason))
    return Move(aside.directory, name, target, file)


def _drop_temps(facts: LogFacts, found: Recovery) -> None:
    for directory in facts.changeable:
        for temp in directory.families[facts.base].temps if facts.base in directory.families else ():
            found.steps.append(DropTemp(directory.resolved, temp.name, temp.id, "an unfinished archive"))


def _drop_duplicates(facts: LogFacts, found: Recovery, now: float) -> None:
    """One that may still be written stays, as the next line would be in it alone; what was made of it goes then."""
    by_file = {(archive.directory, archive.entry.id): archive for archive in found.archives}
    gone = []
    for one_key, twin_key in _files(facts):
        one, twin = by_file.get(one_key), by_file.get(twin_key)
        if one is None or twin is None:
            continue
        if _is_plain(one) and _may_be_written(facts, one.entry, now):
            if _is_plain(twin):  # a copy of it, which may have grown as well
                continue
            one, twin = twin, one
        gone.append(by_file.pop((one.directory, one.entry.id)))
        found.steps.append(
            DropDuplicate(
                one.directory, one.entry.name, one.entry.id, _is_plain(one), one.entry.size, one.entry.stat.st_mtime_ns,
                twin.directory, twin.entry.name, twin.entry.id,
                f"{twin.entry.name} holds the same bytes{_more(one, twin)}",
            )
        )  # fmt: skip
    found.forget(gone)


def _more(one: Archive, twin: Archive) -> str:
    return ", and may get more" if _is_plain(twin) and not _is_plain(one) else ""


def _files(facts: LogFacts) -> Iterator[tuple[tuple[str, FileId], tuple[str, FileId]]]:
    """The duplicates by what does not change with their names."""
    every = [*facts.changeable]
    known = {a.path: (a.directory, a.entry.id) for d in every for f in _family(d, facts.base) for a in f.archives}
    return ((known[path], known[twin]) for path, twin in facts.duplicates.items())


def _family(directory: Directory, base: str) -> Iterator[Family]:
    if base in directory.families:
        yield directory.families[base]


def _is_plain(archive: Archive) -> bool:
    return archive.name.codec is Codec.NONE


def _may_be_written(facts: LogFacts, entry: Entry, now: float) -> bool:
    return proof.why_not(facts.writers.get(entry.id), entry, facts.history.request_delivered, now) is not None


def _finish_replacement(facts: LogFacts, found: Recovery) -> None:
    """``.BASE.new`` is an unused replacement if it is empty and surely nobody writes it; else it is a taken log."""
    entry, directory = facts.family.replacement, facts.directory.resolved
    if entry is None or _is_dropped(entry, found):
        return
    writers = facts.writers.get(entry.id)
    if entry.size == 0 and isinstance(writers, Nobody):
        found.steps.append(DropTemp(directory, entry.name, entry.id, "an unused replacement"))
        return
    _separate(found)
    moves = make_way(found.archives, 2, found.is_held)
    found.archives = moved(found.archives, moves)
    taken = slot_name(facts.base, 1)
    reason = "a taken log that an interrupted run left"
    found.steps.append(FinishTake(directory, facts.base, entry.id, tuple(m for _, m in moves), reason))
    found.archives.append(renamed_entry(entry, directory, taken))
    found.took = True


def _is_dropped(replacement: Entry, found: Recovery) -> bool:
    return any(isinstance(step, DropAlias) and step.name == replacement.name for step in found.steps)


def _restore_live(facts: LogFacts, found: Recovery) -> None:
    """It is dressed as the run that was interrupted would have done it: by the log that it took, if that is there."""
    spec, live, replacement = facts.spec, facts.family.live, facts.family.replacement
    if live is None and replacement is not None and spec.create and spec.method is Method.RENAME:
        reason = "an interrupted run left no live log"
    elif live is not None and is_unfinished(live.stat.st_mode):
        reason = "an interrupted run left the live log without its mode"
    else:
        return
    like = replacement_name(facts.base) if replacement is not None and not _is_dropped(replacement, found) else None
    like = like or _taken(facts, found) or _itself(facts)
    found.steps.append(CreateLive(facts.directory.resolved, facts.base, spec.create_mode, reason, like=like))


def _taken(facts: LogFacts, found: Recovery) -> str | None:
    """The log that the exchange brought to slot 1."""
    beside = (a for a in found.archives if a.directory == facts.directory.resolved and _is_plain(a))
    return next((archive.entry.name for archive in beside if archive.name.slot == 1), None)


def _itself(facts: LogFacts) -> str | None:
    """What was made in the place of a log has all but its mark; one that was missing may lack all of its mode."""
    live = facts.family.live
    if live is None or (live.stat.st_mode & 0o077 == 0 and facts.spec.create_missing):
        return None
    return live.name


def _separate(found: Recovery) -> None:
    """Two generations in one slot (their bytes differ) get a slot each."""
    moves = make_way(found.archives, 1, found.is_held)
    if moves:
        found.steps.append(Shift(tuple(m for _, m in moves), "two generations share a slot"))
        found.archives = moved(found.archives, moves)


def renamed_entry(entry: Entry, directory: str, name: str) -> Archive:
    """A file that is no archive yet, as the archive ``name``."""
    parsed = parse_archive(name)
    assert parsed is not None, name
    return Archive(parsed, Entry(name, entry.stat), directory)
