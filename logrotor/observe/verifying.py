"""Every archive against its record: is it what went into it, in its place, and is none missing?

What a run does meanwhile moves files and records: nothing is called wrong before a second look at both shows the same.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from logrotor.decide.evidence import Found, Judgement, Measured, State, judge
from logrotor.decide.facts import Directory, LogFacts
from logrotor.decide.naming import is_unfinished, parse_archive, slot_name
from logrotor.decide.slots import newest_first
from logrotor.disk import calls, codecs, descent, snapshot, state
from logrotor.disk.archived import Records
from logrotor.errors import LogrotorError, Stale, problem_of
from logrotor.model import Archive, ArchiveRecord, Codec, FileId, Problem
from logrotor.observe.deployment import Deployment, archives_of
from logrotor.observe.reading import EMPTY, find
from logrotor.observe.view import OWNER, PATIENCE, is_torn, names_of, open_piece, piece_of
from logrotor.survey.named import NamedLogs
from logrotor.text import count, ours, typed

# Of a file that is listed: inode, size, time of the last write, and as many bytes as are recorded.
Key = tuple[FileId, int, int, int | None]

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

    ``accept``: what is changed, missing or misplaced is recorded as it is, and a compressed archive that has no record.
    Raises UnknownSelection.
    """
    here = look()
    records = Records(os.path.join(here.config.state_dir, state.HISTORY))
    blind = _why_blind(records)
    if blind is not None:
        yield _closed("", blind)
    odd = [] if blind else records.odd()
    if odd and not accept:
        what = f"{count(len(odd), 'record')} of archives cannot be read: what these held is not known"
        advice = f"to forget them: {ours('verify --accept')}"
        yield _closed("", Problem(subject=records.path, problem=what, advice=advice))
    if given is None:
        for problem in here.listing.problems:
            yield _closed("", problem)
    asked = here.listing.logs if given is None else [find(here, given)]
    done: list[_Examination] = []
    for examined in _examined(look, here, asked, None if blind else records):
        yield from examined.verdicts
        done.append(examined)
    if given is None and blind is None:
        for examined in _gone(look, records):
            yield from examined.verdicts
            done.append(examined)
    if blind is None:
        yield from _recorded(records, done, odd, accept=accept)


def _examined(
    look: Callable[[], Deployment], here: Deployment, logs: Iterable[LogFacts], records: Records | None
) -> Iterator[_Examination]:
    """All logs, and those with something wrong until two looks show the same: one look serves all of them."""
    waiting: dict[str, _Examination] = {}
    for facts in logs:
        examined = _Examination(facts.path, records)
        if examined.settles(facts, here.now.timestamp()):
            yield examined
        else:
            waiting[facts.path] = examined
    began = time.monotonic()
    while waiting:
        here = look()
        known = {facts.path: facts for facts in here.listing.logs}
        for path, examined in list(waiting.items()):
            is_late = time.monotonic() - began > PATIENCE
            if path not in known:  # the log is gone, with all of its archives
                del waiting[path]
            elif examined.settles(known[path], here.now.timestamp()):
                del waiting[path]
                yield examined
            elif is_late:
                examined.give_up()
                del waiting[path]
                yield examined


def _gone(look: Callable[[], Deployment], records: Records) -> Iterator[_Examination]:
    """Logs of which nothing is there but records."""
    here = look()
    known, named = {facts.path for facts in here.listing.logs}, NamedLogs(here.config.logs)
    gone = [log for log in records.logs() if log not in known and named.rule_for(log) is not None]
    for log in gone if any(map(records.of, gone)) else ():
        directory = snapshot.look(os.path.dirname(log))
        if directory.problem is None and os.path.basename(log) not in directory.families:
            examined = _Examination(log, records)
            examined.judge([], (directory,))
            yield examined


def _recorded(records: Records, done: Sequence[_Examination], odd: Sequence[int], *, accept: bool) -> Iterator[Verdict]:
    learned = [pair for examined in done for pair in examined.learned(accept=accept)]
    forgotten = [record.id for examined in done for record in examined.judged.gone]
    forgotten += [record.id for examined in done for record in examined.judged.missing if accept]
    forgotten += odd if accept else ()
    try:
        if learned or forgotten:
            records.learn(learned, forgotten)
    except OSError as error:
        what = f"cannot be written, so nothing was recorded: {error.strerror}"
        yield _closed("", Problem(subject=records.path, problem=what, advice=f"{ours('verify')} again"))


def _why_blind(records: Records) -> Problem | None:
    try:
        records.check()
    except (LogrotorError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        return Problem(subject=records.path, problem=f"cannot be read, so no record is known ({reason})", advice=OWNER)
    return None


class _Examination:
    """Of one log: each of its files is read once, and judged again if a run moves or records them meanwhile."""

    def __init__(self, path: str, records: Records | None) -> None:
        self._path, self._records = path, records
        self._measured: dict[Key, Measured] = {}
        self._moved = False
        self._before: object = None  # the names and records of the last look
        self._duplicates: Mapping[str, str] = {}
        self.judged = Judgement()
        self.verdicts: list[Verdict] = []

    def settles(self, facts: LogFacts, now: float) -> bool:
        """Judge the files as they are listed. Is nothing wrong, or is it the same as at the last look?"""
        archives = [a for a in newest_first(archives_of(facts), now) if a.entry.is_regular and not _is_reserved(a)]
        self._duplicates = facts.duplicates
        seen = names_of(facts), self.judge(archives, (facts.directory, *facts.elsewhere))
        is_whole = not self._moved and not is_torn(facts)  # from a torn look nothing that is not there is missing
        is_same, self._before = is_whole and seen == self._before, seen if is_whole else None
        return not self._moved and (is_same or all(verdict.problem is None for verdict in self.verdicts))

    def judge(self, archives: Sequence[Archive], directories: Sequence[Directory]) -> list[ArchiveRecord]:
        """Returns the records by which that was done."""
        known = self._records.of(self._path) if self._records is not None else []
        self.judged = judge(self._look_at(archives, known), known)
        unseen = [record for record in self.judged.missing if _is_unseen(record, directories)]
        self.judged.missing = [record for record in self.judged.missing if record not in unseen]
        self.verdicts = list(_verdicts(self._path, self.judged))
        for place in dict.fromkeys(record.directory for record in unseen):
            found = next((d.problem for d in directories if d.resolved == place or d.path == place), None)
            what = "has recorded archives that were not looked at: no rule leads there"
            problem = found or Problem(subject=place, problem=what, kind=State.UNKNOWN)
            self.verdicts.append(Verdict(path=place, log=self._path, state=State.UNKNOWN, problem=problem))
        for directory in directories[:1]:
            if directory.problem is not None:
                self.verdicts.append(_closed(self._path, directory.problem))
        return known

    def give_up(self) -> None:
        """There was no moment without a rotation: what depends on one is not told, nor recorded."""
        shaky = (State.MISSING, State.MISPLACED, State.CHANGED)
        what = "is rotated again and again while its archives are read: whether one is missing is not known"
        problem = Problem(subject=self._path, problem=what, advice="try again", kind=State.UNKNOWN)
        unknown = Verdict(path=self._path, log=self._path, state=State.UNKNOWN, problem=problem)
        self.verdicts = [verdict for verdict in self.verdicts if verdict.state not in shaky] + [unknown]
        self.judged = Judgement()

    def learned(self, *, accept: bool) -> Iterator[tuple[ArchiveRecord, str]]:
        """Records as they should be by now, and the paths of the archives."""
        for found in self.judged.files:
            if (
                found.held.failure is None
                and found.archive.path not in self._duplicates
                and found.is_settled(accept=accept)
            ):
                new = found.renewed(self._path)
                if new != found.record:
                    yield new, found.archive.path

    def _look_at(self, archives: Sequence[Archive], records: Sequence[ArchiveRecord]) -> list[Found]:
        sizes = {(r.directory, r.inode): r.bytes for r in records if r.bytes is not None}
        found: list[Found] = []
        self._moved = False
        for archive in archives:
            size = sizes.get((archive.directory, archive.entry.id.inode))
            key = archive.entry.id, archive.entry.size, archive.entry.stat.st_mtime_ns, size
            try:
                if key not in self._measured:
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


def _is_reserved(archive: Archive) -> bool:
    """An empty file that keeps a slot for a take, which was killed before it came there."""
    return archive.entry.size == 0 and is_unfinished(archive.entry.stat.st_mode)


def _is_unseen(record: ArchiveRecord, directories: Sequence[Directory]) -> bool:
    """Was the directory of the record not listed, though it is there, or may be?"""
    listed = {directory.resolved for directory in directories if directory.problem is None}
    if record.directory in listed:
        return False
    found = snapshot.look(record.directory)
    return not found.missing and (found.problem is not None or record.inode in _inodes(found))


def _inodes(directory: Directory) -> set[int]:
    families = directory.families.values()
    return {archive.entry.id.inode for family in families for archive in family.archives}


def _closed(log: str, problem: Problem) -> Verdict:
    return Verdict(path=problem.subject, log=log, state=State.UNREADABLE, problem=problem)


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
    born, taken = calls.birth_time(fd), descent.taken_at(fd)
    return Measured(born, taken, descent.inode(fd), size, lines, digest.hexdigest(), head)


# ---------------------------------------------------------------- what is said


def _verdicts(log: str, judged: Judgement) -> Iterator[Verdict]:
    for found in judged.files:
        yield _verdict(log, found)
    for record in judged.missing:
        held = f", which held {_extent(record.bytes, record.lines)}" if record.bytes is not None else ""
        what = f"is missing{held}; it was recorded as {record.name}, and no run has removed it"
        path = _place_of(record, judged.files, log)
        problem = Problem(subject=path, problem=what, advice=_or_accept(_COPY, log), kind=State.MISSING)
        yield Verdict(
            path=path, log=log, state=State.MISSING, bytes=record.bytes, lines=record.lines,
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
        what = f"holds {_extent(held.bytes, held.lines)}, but not the {_extent(record.bytes, record.lines)} on record"
        problem = Problem(subject=path, problem=what, advice=_or_accept(_COPY, log), kind=State.CHANGED)
    elif found.state is State.MISPLACED:
        what = "has the name of another archive: their names are not in the order of the rotations"
        problem = Problem(subject=path, problem=what, advice=_or_accept(_ORDER, log), kind=State.MISPLACED)
    return Verdict(
        path=path, log=log, state=found.state, bytes=held.bytes, lines=held.lines, xxh128=held.xxh128,
        recorded=found.state is not State.UNRECORDED, problem=problem,
    )  # fmt: skip


def _place_of(record: ArchiveRecord, files: Sequence[Found], log: str) -> str:
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
    return log if taken else os.path.join(record.directory, slot_name(os.path.basename(log), slot, name.codec))


def _or_accept(repair: str, log: str) -> str:
    return f"{repair} {ours('verify --accept')} {typed(log)}"


def _extent(size: int | None, lines: int | None) -> str:
    return f"{count(size or 0, 'byte')} in {count(lines or 0, 'line')}"
