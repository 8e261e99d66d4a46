"""Every archive against its record: is it what went into it, in its place, and is none missing?

What a run does meanwhile moves files and records: nothing is called wrong before a second look at both shows the same.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from logrotor.decide.evidence import Found, Judgement, Measured, State, judge
from logrotor.decide.facts import LogFacts
from logrotor.decide.naming import parse_archive, slot_name
from logrotor.decide.slots import newest_first
from logrotor.disk import calls, codecs, descent, state
from logrotor.disk.archived import Records
from logrotor.errors import LogrotorError, Refused, Stale, problem_of
from logrotor.model import Archive, ArchiveRecord, Codec, FileId, Problem
from logrotor.observe.deployment import Deployment, archives_of
from logrotor.observe.reading import EMPTY, find
from logrotor.observe.view import OWNER, PATIENCE, names_of, open_piece, piece_of, relisted
from logrotor.text import ours, typed

Key = tuple[FileId, int, int]  # of a file that is listed: inode, size, time of the last write

_DISK = "is the disk sound (dmesg, smartctl)? The archive stays as it is: put back a copy of it"
_DAMAGED = "put back a copy of it, or save with logrotor cat what can be read"
_COPY = "put back a copy of it, or if that was meant to be:"
_ORDER = "rename them, the oldest to the highest number, or if that was meant to be:"


class Verdict(Struct, frozen=True, kw_only=True):
    """One archive, or a place where none can be read. ``problem``: what is wrong with it."""

    path: str
    log: str
    state: State
    bytes: int | None = None  # uncompressed
    lines: int | None = None
    xxh128: str | None = None
    recorded: bool = False  # was it compared with a record?
    problem: Problem | None = None


def verify(look: Callable[[], Deployment], given: str | None = None, *, accept: bool = False) -> Iterator[Verdict]:
    """Every archive of every log, or of one; what was read for the first time is recorded at the end.

    ``accept``: what is changed, missing or misplaced is recorded as it is. Raises UnknownSelection.
    """
    here = look()
    records = Records(os.path.join(here.config.state_dir, state.HISTORY))
    learned: list[tuple[ArchiveRecord, str]] = []
    forgotten: list[int] = []
    blind = _why_blind(records)
    if blind is not None:
        yield Verdict(path=blind.subject, log="", state=State.UNREADABLE, problem=blind)
    if given is None:
        for problem in here.listing.problems:
            yield Verdict(path=problem.subject, log="", state=State.UNREADABLE, problem=problem)
    for facts in here.listing.logs if given is None else [find(here, given)]:
        if facts.directory.problem is not None:
            found = facts.directory.problem
            yield Verdict(path=facts.path, log=facts.path, state=State.UNREADABLE, problem=found)
        examined = _Examination(facts, records, blind=blind is not None)
        judged, verdicts = examined.judge(here.now.timestamp())
        yield from verdicts
        learned += chain.from_iterable(_learned(examined.facts, each, accept=accept) for each in judged.files)
        forgotten += [record.id for record in (*judged.gone, *(judged.missing if accept else ()))]
    if (learned or forgotten) and blind is None:
        try:
            records.learn(learned, forgotten)
        except OSError as error:
            what = f"cannot be written, so nothing was recorded: {error.strerror}"
            problem = Problem(subject=records.path, problem=what, advice=f"{ours('verify')} again")
            yield Verdict(path=records.path, log="", state=State.UNREADABLE, problem=problem)


def _why_blind(records: Records) -> Problem | None:
    try:
        records.check()
    except (LogrotorError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        return Problem(subject=records.path, problem=f"cannot be read, so no record is known ({reason})", advice=OWNER)
    return None


def _learned(facts: LogFacts, found: Found, *, accept: bool) -> Iterator[tuple[ArchiveRecord, str]]:
    """The record as it should be by now, and the path of the archive."""
    held, archive, record = found.held, found.archive, found.record
    settled = {State.SOUND, State.GROWN, State.UNRECORDED} | ({State.CHANGED, State.MISPLACED} if accept else set())
    if held.failure is not None or found.state not in settled or archive.path in facts.duplicates:
        return
    old = record or ArchiveRecord(id=0, log=facts.path, directory="", name="", inode=0)
    new = replace(
        old, directory=archive.directory, inode=archive.entry.id.inode, born=held.born, bytes=held.bytes,
        lines=held.lines, xxh128=held.xxh128, ordered=old.ordered and found.state is not State.MISPLACED,
        name=archive.entry.name if old.inode != archive.entry.id.inode else old.name,
    )  # fmt: skip
    if new != old:
        yield new, archive.path


class _Examination:
    """Of one log: its files are read once each, and judged again if a run moves them or records them meanwhile."""

    def __init__(self, facts: LogFacts, records: Records, *, blind: bool) -> None:
        self.facts = self._surveyed = facts
        self._records, self._blind = records, blind
        self._measured: dict[Key, Measured] = {}
        self._moved = False

    def judge(self, now: float) -> tuple[Judgement, list[Verdict]]:
        began, records = time.monotonic(), self._known()
        while True:
            archives = [a for a in newest_first(archives_of(self.facts), now) if a.entry.is_regular]
            judged = judge(self._look_at(archives, records), records)
            verdicts = list(_verdicts(self.facts, judged))
            if not self._moved and all(verdict.problem is None for verdict in verdicts):
                return judged, verdicts
            try:
                again, known = relisted(self._surveyed), self._known()
            except Refused:  # of a directory that cannot be listed, told before
                return judged, verdicts
            if not self._moved and names_of(again) == names_of(self.facts) and known == records:
                return judged, verdicts
            if time.monotonic() - began > PATIENCE:
                return Judgement(), list(_in_doubt(self.facts, verdicts))
            self.facts, records = again, known

    def _known(self) -> list[ArchiveRecord]:
        return [] if self._blind else self._records.of(self._surveyed.path)

    def _look_at(self, archives: Sequence[Archive], records: Sequence[ArchiveRecord]) -> list[Found]:
        sizes = {(r.directory, r.inode): r.bytes for r in records if r.bytes is not None}
        found: list[Found] = []
        self._moved = False
        for archive in archives:
            key = archive.entry.id, archive.entry.size, archive.entry.stat.st_mtime_ns
            try:
                if key not in self._measured:
                    size = sizes.get((archive.directory, archive.entry.id.inode))
                    self._measured[key] = self._measure(archive, size)
                found.append(Found(archive, self._measured[key]))
            except (Stale, FileNotFoundError):
                self._moved = True
        return found

    def _measure(self, archive: Archive, recorded: int | None) -> Measured:
        """Raises Stale, FileNotFoundError."""
        try:
            fd = open_piece(piece_of(archive))
            try:
                return _measured(fd, archive, recorded)
            finally:
                os.close(fd)
        except (Stale, FileNotFoundError):
            raise
        except (LogrotorError, OSError, ValueError) as error:
            return _failure(archive, error)


def _failure(archive: Archive, error: Exception) -> Measured:
    problem = problem_of(error, archive.path)
    if isinstance(error, ValueError):
        return Measured(failure=State.DAMAGED, problem=replace(problem, advice=_DAMAGED))
    if getattr(error, "errno", None) == errno.EIO:
        problem = replace(problem, advice=_DISK)
    return Measured(failure=State.UNREADABLE, problem=problem)


def _measured(fd: int, archive: Archive, recorded: int | None) -> Measured:
    """Raises ValueError for a damaged archive, Stale for one that is written meanwhile."""
    codec, before = archive.name.codec, os.fstat(fd)
    size = lines = 0
    head, digest = "", codecs.digest()
    try:
        if codec is not Codec.NONE and before.st_size == 0:
            raise ValueError(EMPTY)
        for chunk in codecs.decompressed(fd, codec):
            if recorded is not None and size <= recorded < size + len(chunk):
                first = digest.copy()
                first.update(chunk[: recorded - size])
                head = first.hexdigest()
            digest.update(chunk)
            size += len(chunk)
            lines += chunk.count(b"\n")
    except ValueError:
        after = os.fstat(fd)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):  # another program packs it
            raise Stale(f"{archive.path}: is being written") from None
        raise
    return Measured(calls.birth_time(fd), descent.inode(fd), size, lines, digest.hexdigest(), head)


# ---------------------------------------------------------------- what is said


def _verdicts(facts: LogFacts, judged: Judgement) -> Iterator[Verdict]:
    for found in judged.files:
        yield _verdict(facts.path, found)
    for record in judged.missing:
        held = f", which held {record.bytes} bytes in {record.lines} lines" if record.bytes is not None else ""
        what = f"is missing{held}; it was recorded as {record.name}, and no run has removed it"
        path = _place_of(record, judged.files, facts)
        problem = Problem(
            subject=path,
            problem=what,
            advice=_or_accept(_COPY, facts.path),
            kind=State.MISSING,
        )
        yield Verdict(
            path=path, log=facts.path, state=State.MISSING, bytes=record.bytes, lines=record.lines,
            xxh128=record.xxh128, recorded=True, problem=problem,
        )  # fmt: skip


def _verdict(log: str, found: Found) -> Verdict:
    held, path, is_known = found.held, found.archive.path, found.record is not None
    if held.failure is not None:
        failed = held.problem or Problem(subject=path, problem="cannot be read")
        return Verdict(path=path, log=log, state=held.failure, recorded=is_known, problem=failed.under(path))
    problem: Problem | None = None
    if found.state is State.CHANGED and found.record is not None:
        record = found.record
        recorded = f"{record.bytes} bytes in {record.lines} lines"
        what = f"holds {held.bytes} bytes in {held.lines} lines, but not the {recorded} on record"
        problem = Problem(subject=path, problem=what, advice=_or_accept(_COPY, log), kind=State.CHANGED)
    elif found.state is State.MISPLACED:
        what = "has the name of another archive: their names are not in the order of the rotations"
        problem = Problem(subject=path, problem=what, advice=_or_accept(_ORDER, log), kind=State.MISPLACED)
    return Verdict(
        path=path, log=log, state=found.state, bytes=held.bytes, lines=held.lines, xxh128=held.xxh128,
        recorded=found.state is not State.UNRECORDED, problem=problem,
    )  # fmt: skip


def _place_of(record: ArchiveRecord, files: Sequence[Found], facts: LogFacts) -> str:
    """Where it would be: a date stays, a number is one more than that of the next newer generation, if it is free."""
    name = parse_archive(record.name)
    newer = [
        f.archive.name.slot or 0
        for f in files
        if f.record is not None and f.record.ordered and record.ordered and f.record.id > record.id
    ]
    if name is None or name.slot is None:
        return os.path.join(record.directory, record.name)
    slot = max(newer, default=0) + 1
    taken = any(found.archive.name.slot == slot for found in files)
    return facts.path if taken else os.path.join(record.directory, slot_name(facts.base, slot, name.codec))


def _in_doubt(facts: LogFacts, verdicts: Sequence[Verdict]) -> Iterator[Verdict]:
    """What depends on a moment without a rotation is not told, as there was none."""
    shaky = (State.MISSING, State.MISPLACED, State.CHANGED)
    yield from (verdict for verdict in verdicts if verdict.state not in shaky)
    what = "is rotated again and again while its archives are read: whether one is missing is not known"
    problem = Problem(subject=facts.path, problem=what, advice="try again", kind=State.UNKNOWN)
    yield Verdict(path=facts.path, log=facts.path, state=State.UNKNOWN, problem=problem)


def _or_accept(repair: str, log: str) -> str:
    return f"{repair} {ours('verify --accept')} {typed(log)}"
