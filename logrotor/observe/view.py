"""The files of one log as they are at one moment, open, while runs rename, compress and remove them.

What is listed is opened before anything is read, and a second listing that is like the first one proves that there was
no rename between; but none from which a name vanished before its file was looked at, for that file has another name by
then. An open file keeps its inode, so nothing else can get that. Of more files than may be open the oldest
are opened once, to be known again: by inode and birth after a rename, by the mark after a compression.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from msgspec import Struct
from msgspec.structs import replace

from logrotor.decide.facts import Directory, Family, LogFacts
from logrotor.decide.naming import parse_archive
from logrotor.decide.slots import newest_first, time_of
from logrotor.disk import calls, cuts, descent, snapshot, state
from logrotor.disk.logdir import LogDir
from logrotor.errors import Refused, Stale, UnknownSelection
from logrotor.model import Archive, Codec, CopyInFlight, Entry, FileId, Problem
from logrotor.observe.deployment import Deployment, archives_of
from logrotor.survey import forms
from logrotor.text import ours

PATIENCE = 10.0  # seconds for a moment between two renames
OWNER = "ask as the user who runs logrotor"
_BRIEF = 1.0  # the same for a copytruncate that no run is known to work on
_AT_ONCE = 900  # files that are held open: a process may have 1024, and a log thousands of archives
_PAUSE = 0.001  # seconds between two tries
_RECENT = 0.05  # seconds in which a directory may change again without getting another time

Look = Callable[[], Deployment]
Find = Callable[[Deployment], LogFacts]


class Piece(Struct, frozen=True):
    """A file that holds a part of the log. ``rotated``: when it was set aside; None for the live log."""

    directory: str
    entry: Entry
    codec: Codec
    rotated: float | None

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.entry.name)


class Trace(Struct, frozen=True):
    """By what a file is known again. ``source``: what it was made of, or itself; noted on it if ``is_noted``."""

    id: FileId
    born: float | None
    size: int
    mtime_ns: int
    source: bytes
    is_noted: bool

    @classmethod
    def of(cls, fd: int) -> Trace:
        s = os.fstat(fd)
        born, source = calls.birth_time(fd), descent.source(fd)
        return cls(FileId(s.st_dev, s.st_ino), born, s.st_size, s.st_mtime_ns, source, descent.has_noted(fd))

    def is_same(self, other: Trace) -> bool:
        """Is it this very file? Plain ones may have grown."""
        if self.id != other.id or self.born != other.born:
            return False
        return self.born is not None or (self.size, self.mtime_ns) <= (other.size, other.mtime_ns)

    def is_form(self, other: Trace) -> bool:
        """Are both of one generation?"""
        return self.source == other.source if other.is_noted else self.mtime_ns == other.mtime_ns


class View:
    """The log's ``pieces``, oldest first. Raises UnknownSelection, Refused or OSError."""

    def __init__(self, look: Look, find: Find, opened: ExitStack) -> None:
        self._look, self._find = look, find
        self._held: dict[FileId, tuple[int, Trace]] = {}  # what is open
        self._seen: dict[tuple[str, FileId, int], Trace] = {}  # the oldest, by path
        self._places: dict[FileId, Piece] = {}  # where they were seen since
        self._stamp = (0, 0.0)  # the time of the log's directory, and when that was first seen
        self.pieces: list[Piece] = []
        opened.callback(self._close, ())
        self.facts = self._surveyed = self._survey()
        self.settle()

    def _survey(self) -> LogFacts:
        try:
            return self._find(self._look())
        except UnknownSelection:  # listed in the instant in which its first rotation gave it another name
            return self._find(self._look())

    def settle(self) -> None:
        """See the log as it is now."""
        began = time.monotonic()
        while True:
            before = relisted(self._surveyed)
            found = pieces(before, self._look().now.timestamp())
            why_not = self._why_unsettled(found, before)
            if why_not is None and is_same_moment(before, relisted(self._surveyed)):
                self.facts, self.pieces = before, found
                return
            if why_not is not None and why_not.kind == "interrupted" and time.monotonic() - began > _BRIEF:
                raise Refused(why_not)
            if time.monotonic() - began > PATIENCE:
                again = "is rotated again and again while it is opened"
                raise Refused(why_not or Problem(subject=before.path, problem=again, advice="try again"))
            time.sleep(_PAUSE)

    def _why_unsettled(self, found: Sequence[Piece], before: LogFacts) -> Problem | None:
        try:
            self._hold(found)
        except (Stale, FileNotFoundError) as error:
            return Problem(subject=self._surveyed.path, problem=f"moved while it was opened: {error}")
        here, path = self._look(), self._surveyed.path
        if here.histories.of(path).in_flight is None and not _is_being_cut(before):
            return None
        kind = "busy" if state.holder(here.config.state_dir) is not None else "interrupted"
        cut, advice = "a copytruncate is at work, or was interrupted", f"{ours('run')}, then again"
        return Problem(subject=path, problem=cut, advice=advice, kind=kind)

    def _hold(self, found: Sequence[Piece]) -> None:
        """Open them: the newest are kept open."""
        limit = at_once()
        old, new = found[:-limit], found[-limit:]
        self._close({piece.entry.id for piece in new})
        with ExitStack() as used:
            places = {where: used.enter_context(LogDir(where)) for where in {piece.directory for piece in found}}
            for piece in new:
                if piece.entry.id not in self._held:
                    fd = _open(places[piece.directory], piece)
                    self._held[piece.entry.id] = fd, Trace.of(fd)
            for piece in old:
                key = piece.path, piece.entry.id, piece.entry.stat.st_mtime_ns
                if key not in self._seen:
                    fd = _open(places[piece.directory], piece)
                    try:
                        self._seen[key] = Trace.of(fd)
                    finally:
                        os.close(fd)

    def _close(self, but: Iterable[FileId]) -> None:
        for file in set(self._held).difference(but):
            os.close(self._held.pop(file)[0])

    def trace(self, piece: Piece) -> Trace:
        held = self._held.get(piece.entry.id)
        key = piece.path, piece.entry.id, piece.entry.stat.st_mtime_ns
        return held[1] if held is not None else self._seen[key]

    @contextmanager
    def opened(self, piece: Piece) -> Iterator[tuple[int, Codec] | None]:
        """The file open, whatever its name and form are by now; None: it was removed meanwhile."""
        held = self._held.get(piece.entry.id)
        found = (os.dup(held[0]), piece.codec) if held is not None else self._open_again(self.trace(piece), piece)
        try:
            yield found
        finally:
            if found is not None:
                os.close(found[0])

    def _open_again(self, trace: Trace, piece: Piece) -> tuple[int, Codec] | None:
        """Where it was seen last, or where it is by now: one listing serves all files that a rotation has moved."""
        found = self._opened_as(trace, self._places.get(trace.id, piece))
        began = time.monotonic()
        while found is None:
            before = relisted(self._surveyed)
            archives = archives_of(before)
            self._places = {archive.entry.id: piece_of(archive) for archive in archives}
            known = {each.entry.id for each in self.pieces} - {trace.id}
            places = [place for place in self._places.values() if place.entry.id not in known]
            found = next(filter(None, (self._opened_as(trace, place) for place in places)), None)
            if found is not None or is_same_moment(before, relisted(self._surveyed)):
                break
            if time.monotonic() - began > PATIENCE:
                again = "is rotated again and again while it is read"
                raise Refused(Problem(subject=piece.path, problem=again, advice="read it again"))
        return found

    def _opened_as(self, trace: Trace, place: Piece) -> tuple[int, Codec] | None:
        """The file that stands there, if it is that one, or a form of it."""
        try:
            fd = open_piece(place)
        except (Stale, FileNotFoundError):
            return None
        there = Trace.of(fd)
        if trace.is_same(there) or (there.id != trace.id and trace.is_form(there)):
            return fd, place.codec
        os.close(fd)
        return None

    # ------------------------------------------------------------ a log that is cut while it is read

    def has_changed(self) -> bool:
        """Have files of the log got other names, or has it got new ones?"""
        written, now = os.stat(self.facts.directory.resolved).st_mtime_ns, time.monotonic()
        if self._stamp[0] != written:
            self._stamp = written, now
        elif now - self._stamp[1] > _RECENT:
            return False
        return names_of(relisted(self._surveyed)) != names_of(self.facts)

    def newer(self) -> list[Piece]:
        """Settle again. Returns the archives of generations that were not there before, oldest first."""
        known = [self.trace(piece) for piece in self.pieces]
        files, sources = {trace.id for trace in known}, {trace.source for trace in known}
        times = {trace.mtime_ns for trace in known}
        self.settle()
        found = []
        for piece in self.pieces:
            trace = self.trace(piece)
            is_form = trace.source in sources if trace.is_noted else trace.mtime_ns in times
            if piece.rotated is not None and trace.id not in files and not (piece.codec is not Codec.NONE and is_form):
                found.append(piece)
        return found


def _is_being_cut(facts: LogFacts) -> bool:
    """Does the copy of its head say so? Whoever made it."""
    live, copies = facts.family.live, facts.family.newest_plain
    if live is None or not live.is_regular or not copies:
        return False
    with suppress(Stale, FileNotFoundError), LogDir(facts.directory.resolved) as here:
        return isinstance(cuts.find(here, live, copies), CopyInFlight)
    return False


def at_once() -> int:
    """How many files may be held open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _AT_ONCE if soft == resource.RLIM_INFINITY else max(1, min(_AT_ONCE, soft * 3 // 4))


def open_piece(piece: Piece) -> int:
    """Raises Stale, FileNotFoundError, Refused."""
    with LogDir(piece.directory) as logdir:
        return _open(logdir, piece)


def _open(logdir: LogDir, piece: Piece) -> int:
    try:
        return logdir.open_archive(piece.entry.name, piece.entry.id)
    except FileNotFoundError:
        raise
    except BlockingIOError:  # a run has a lease on it, for the instant in which it cuts the log
        raise Stale(f"{piece.path}: is being cut") from None
    except OSError as error:
        raise Refused(Problem(subject=piece.path, problem=error.strerror or str(error), advice=OWNER)) from error


def relisted(facts: LogFacts) -> LogFacts:
    """The files of the log as they are now, in the directories of an earlier survey. Raises Refused."""
    listed = [_relisted(directory, facts.base) for directory in (facts.directory, *facts.elsewhere)]
    if any(facts.base in d.families and d.families[facts.base].temps for d in listed):
        forms.find_set_aside(facts.base, listed)
    beside, elsewhere = listed[0], tuple(listed[1:])
    family = beside.families.get(facts.base) or Family()
    found = replace(facts, directory=beside, family=family, elsewhere=elsewhere)
    return replace(found, duplicates=forms.Duplicates(archives_of(found), beside.resolved))


def _relisted(directory: Directory, base: str) -> Directory:
    if directory.problem is not None:
        raise Refused(directory.problem)
    found = snapshot.look(directory.path)
    if found.problem is not None:
        raise Refused(found.problem)
    family = found.families.get(base)
    if family is not None:  # what the survey took for a log of its own is none of its archives
        family.archives = [a for a in family.archives if not _is_log(directory, a.entry.name)]
    return found


def _is_log(directory: Directory, name: str) -> bool:
    family = directory.families.get(name)
    return family is not None and family.live is not None and parse_archive(name) is not None


def is_same_moment(before: LogFacts, after: LogFacts) -> bool:
    """Do two listings show the same, and did no file get another name between them?"""
    return not is_torn(before) and not is_torn(after) and names_of(before) == names_of(after)


def is_torn(facts: LogFacts) -> bool:
    """Did a name vanish while the files of the log were looked at? Then one of them may not have been seen."""
    return any(directory.is_torn for directory in (facts.directory, *facts.elsewhere))


def names_of(facts: LogFacts) -> frozenset[tuple[str, str, FileId, int]]:
    """Of archives with the time of the last change (ns), which a rename renews: an inode alone may be used again."""
    found = {(a.directory, a.entry.name, a.entry.id, a.entry.stat.st_ctime_ns) for a in archives_of(facts)}
    others = [entry for entry in (facts.family.replacement, facts.family.live) if entry is not None]
    return frozenset(found | {(facts.directory.resolved, entry.name, entry.id, 0) for entry in others})


def odd(facts: LogFacts) -> list[Problem]:
    """What has the name of the log or of one of its archives and holds none of its lines that could be read."""
    beside, live = facts.directory.resolved, facts.family.live
    found = [(archive.directory, archive.entry) for archive in archives_of(facts)]
    found += [(beside, live)] if live is not None else []
    what, advice = "is a {}, so nothing of it is read", "look what it is; if an archive was moved, put it back"
    return [
        Problem(subject=os.path.join(place, entry.name), problem=what.format(entry.kind), advice=advice, kind="odd")
        for place, entry in found
        if not entry.is_regular
    ]


def piece_of(archive: Archive) -> Piece:
    return Piece(archive.directory, archive.entry, archive.name.codec, time_of(archive))


def pieces(facts: LogFacts, now: float) -> list[Piece]:
    """The files that make up the log, oldest first, each of its bytes in one of them only."""
    ranked = reversed(newest_first(archives_of(facts), now))
    found = [piece_of(archive) for archive in ranked if archive.path not in facts.duplicates]
    beside, family = facts.directory.resolved, facts.family
    if family.replacement is not None and family.replacement.size:  # a taken log that a crash left
        found.append(Piece(beside, family.replacement, Codec.NONE, family.replacement.mtime))
    if family.live is not None:
        found.append(Piece(beside, family.live, Codec.NONE, None))
    once = {piece.entry.id: piece for piece in reversed(found) if piece.entry.is_regular}
    return [piece for piece in found if once.get(piece.entry.id) is piece]
