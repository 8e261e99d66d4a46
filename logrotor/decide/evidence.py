"""Decide which record is whose, and what that says of each archive of a log. Knows nothing about directories or hashes.

A file is first known by inode and birth, which renames leave as they are; then by what it holds, as a compression or a
copy does; at last by the inode of what it was made of, where a run was killed before it could record that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from logrotor.decide.naming import parse_archive
from logrotor.model import Archive, ArchiveRecord, Codec, Problem


class State(StrEnum):
    """What an archive turned out to be."""

    SOUND = "sound"  # as recorded
    GROWN = "grown"  # a plain one that begins with what is recorded
    UNRECORDED = "no record"  # nobody has read it before: it can be read, and no more is known
    DAMAGED = "damaged"  # its own checksums, or its end, are wrong
    CHANGED = "changed"  # it can be read, and holds something else than what is recorded
    MISPLACED = "misplaced"  # as recorded, under the name of another generation
    MISSING = "missing"  # recorded, and not removed by retention
    UNREADABLE = "unreadable"  # it cannot be opened or read
    UNKNOWN = "unknown"  # it could not be looked at in peace


class Measured(Struct, frozen=True):
    """What a file holds. ``head``: the hash of as many bytes as are recorded of it.

    ``failure``: it could not be read, or not to its end, and ``problem`` says why.
    """

    born: float | None = None
    taken: float | None = None  # as noted on it
    source: int = 0  # inode of what it was made of
    bytes: int = 0
    lines: int = 0
    xxh128: str = ""
    head: str = ""
    failure: State | None = None
    problem: Problem | None = None


class Found(Struct):
    """A file under judgement, and the record that is taken for its own."""

    archive: Archive
    held: Measured
    record: ArchiveRecord | None = None
    state: State = State.UNRECORDED
    by_content: bool = False

    def is_settled(self, *, accept: bool) -> bool:
        """Is it to be recorded as it is? A compressed one had a record: if that is lost, nobody knows what it held."""
        if self.state is State.UNRECORDED:
            return accept or self.record is not None or self.archive.name.codec is Codec.NONE
        return self.state in (State.SOUND, State.GROWN) or (accept and self.state in (State.CHANGED, State.MISPLACED))

    def renewed(self, log: str) -> ArchiveRecord:
        """Its record, as it should be by now."""
        old = self.record or ArchiveRecord(id=0, log=log, directory="", name="", inode=0)
        held, archive = self.held, self.archive
        is_moved = old.inode != archive.entry.id.inode
        return replace(
            old, directory=archive.directory, name=archive.entry.name if is_moved else old.name,
            inode=archive.entry.id.inode, born=held.born, taken=held.taken,
            ordered=old.ordered and self.state is not State.MISPLACED,
            bytes=held.bytes, lines=held.lines, xxh128=held.xxh128,
        )  # fmt: skip


class Judgement(Struct):
    """Of one log: its files, newest first, the records without one, and what is to be recorded."""

    files: list[Found] = field(default_factory=list)
    missing: list[ArchiveRecord] = field(default_factory=list)
    gone: list[ArchiveRecord] = field(default_factory=list)  # that retention has removed


def judge(files: list[Found], records: Sequence[ArchiveRecord]) -> Judgement:
    """Find the record of each file, newest first, and what it says. Changes and returns ``files``."""
    rest = {record.id: record for record in records}
    readable = [found for found in files if found.held.failure is None]
    for found in files:
        _match_identity(found, rest)
    _match_content(readable, rest)
    for found in [each for each in readable if each.record is None]:  # a run was killed before it recorded that
        origins = [record for record in rest.values() if _is_origin(record, found.held)]
        if origins:
            found.record = rest.pop(origins[-1].id)
            if found.record.xxh128 is not None and found.held.bytes <= (found.record.bytes or 0):
                found.state = State.CHANGED  # else it may have grown before it was compressed
    gone = [record for record in map(partial(_superseded, readable, rest), list(rest.values())) if record is not None]
    _find_misplaced(readable)
    missing = [record for record in rest.values() if not record.leaving]
    unread = [record for record in reversed(missing) if record.xxh128 is None]
    for found, record in zip([each for each in files if each.record is None], unread, strict=False):
        found.record = replace(record, ordered=False)  # where nothing can be noted on a file, it may be that one
        missing.remove(record)
    return Judgement(files, missing, [*gone, *(record for record in rest.values() if record.leaving)])


def _is_origin(record: ArchiveRecord, held: Measured) -> bool:
    """Was the archive made of that one, which may have grown since? By what the take has noted, where it has."""
    if None not in (record.taken, held.taken):
        return record.taken == held.taken
    return record.inode == held.source and record.xxh128 is None


def _superseded(files: Sequence[Found], rest: dict[int, ArchiveRecord], record: ArchiveRecord) -> ArchiveRecord | None:
    """The record to be forgotten where another form, which has one as well, holds every byte of what this one is of.

    A run that finishes the work of a killed one drops the plain form then. The record that has an order stays.
    """
    for found in files:
        same = (found.held.bytes, found.held.xxh128) == (record.bytes, record.xxh128)
        is_form = found.held.source in (record.inode, found.archive.entry.id.inode)
        if same and is_form and found.archive.name.codec is not Codec.NONE and found.record is not None:
            del rest[record.id]
            other = found.record
            if record.ordered and not other.ordered:
                found.record = record
                return other
            return record
    return None


def _match_identity(found: Found, rest: dict[int, ArchiveRecord]) -> None:
    inode, born = found.archive.entry.id.inode, found.held.born
    own = [r for r in rest.values() if r.inode == inode]  # in any directory: a run may have been killed in between
    here = [r for r in own if r.directory == found.archive.directory]
    if found.held.failure is not None:  # it was not even opened, say
        known = here
    else:
        # A row of a take has no more than the inode, which another one may have by now, and what the take has noted.
        is_original = found.archive.name.codec is Codec.NONE and found.held.source == inode
        taken = [r for r in here if r.born is None and r.xxh128 is None and is_original]
        if found.held.taken is not None:
            taken = [r for r in taken if r.taken in (None, found.held.taken)]
        known = [r for r in own if r.born is not None and r.born == born] + taken
    if known:
        found.record = max(known, key=lambda r: (r.born is not None, r.ordered, r.id))
        found.state = _compared(found.held, found.record)
        for record in known:  # more than one: recorded by a run and by a verify
            del rest[record.id]


def _compared(held: Measured, record: ArchiveRecord) -> State:
    if held.failure is not None:
        return held.failure
    if record.xxh128 is None or record.bytes is None:
        return State.UNRECORDED
    if (held.bytes, held.xxh128) == (record.bytes, record.xxh128):
        return State.SOUND
    return State.GROWN if held.head == record.xxh128 and held.bytes > record.bytes else State.CHANGED


def _match_content(files: Sequence[Found], rest: dict[int, ArchiveRecord]) -> None:
    """What holds exactly what is recorded of another one is that one: compressed, copied, put back, or swapped."""
    unsettled = [found for found in files if found.record is None or found.state is State.CHANGED]
    own = {found.record.id: found.record for found in unsettled if found.record is not None}
    pool = {**rest, **own}
    by_content: dict[tuple[int | None, str | None], list[int]] = {}
    for record in pool.values():
        by_content.setdefault((record.bytes, record.xxh128), []).append(record.id)
    left = dict(own)
    for found in reversed(unsettled):  # of several that are alike the newest has no record yet
        same = by_content.get((found.held.bytes, found.held.xxh128))
        if same:
            number = same.pop(0)
            found.record, found.state, found.by_content = pool[number], State.SOUND, True
            rest.pop(number, None)
            left.pop(number, None)
    still = {found.record.id for found in unsettled if found.record is not None and found.state is State.CHANGED}
    rest.update({number: record for number, record in left.items() if number not in still})
    for found in unsettled:
        if found.state is State.CHANGED and found.record is not None and found.record.id not in left:
            found.record = None  # that one has been found elsewhere


def _find_misplaced(files: Sequence[Found]) -> None:
    """By their numbers newer ones have been rotated later; a date never changes."""
    alike = Counter((found.held.bytes, found.held.xxh128) for found in files)
    clear = [found for found in files if not found.by_content or alike[found.held.bytes, found.held.xxh128] == 1]
    numbered = [f for f in clear if f.archive.name.slot is not None and f.record is not None and f.record.ordered]
    ids = [found.record.id for found in numbered if found.record is not None]
    wrong = [f for f, is_, should in zip(numbered, ids, sorted(ids, reverse=True), strict=True) if is_ != should]
    for found in files:
        now, then = found.archive.name, parse_archive(found.record.name) if found.record is not None else None
        if now.stamp is not None and then is not None and then.stamp is not None:
            wrong += [found] if (now.stamp, now.copy) != (then.stamp, then.copy) else []
    for found in wrong:
        if found.state is not State.CHANGED:
            found.state = State.MISPLACED
