"""Read what logs and archives hold: a log byte for byte across its archives, or every archive to verify it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack

from msgspec import Struct
from msgspec.structs import replace

from logrotor.decide.facts import LogFacts
from logrotor.decide.slots import newest_first, time_of
from logrotor.disk import codecs
from logrotor.disk.logdir import LogDir
from logrotor.errors import LogrotorError, Refused, Stale, UnknownSelection, problem_of
from logrotor.model import Archive, Codec, Entry, Method, PastOutcome, Problem
from logrotor.observe.deployment import Deployment, archives_of
from logrotor.survey import find_path, real_path

_TRIES = 5  # a run may rename everything while the files are opened
_EMPTY = "damaged archive: it is empty"
_OWNER = "ask as the user who runs logrotor"
_AT_ONCE = 200  # files that are held open: a process may have 1024, and a log thousands of archives


class Piece(Struct, frozen=True):
    """A file that holds a part of the log. ``rotated``: when it was set aside; None for the live log."""

    directory: str
    entry: Entry
    codec: Codec
    rotated: float | None

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.entry.name)


def find(here: Deployment, given: str) -> LogFacts:
    """The log of that path or, if only one has it, that file name. Raises UnknownSelection."""
    known = {facts.path: facts for facts in here.survey.logs}
    path = find_path(given, known)
    if path is not None:
        return known[path]
    raise UnknownSelection(_what_else(here, given))


def _what_else(here: Deployment, given: str) -> Problem:
    """What a name is that is none of a log."""

    def found(problem: str, advice: str = "") -> Problem:
        return Problem(subject=given, problem=problem, advice=advice)

    if any(spec.name == given for spec in here.config.logs):
        logs = ", ".join(facts.path for facts in here.survey.logs if facts.spec.name == given)
        return found("is a rule", f"name one of its logs: {logs}") if logs else found("is a rule, and has no log yet")
    path = real_path(given)
    for facts in here.survey.logs:
        for archive in archives_of(facts):
            if archive.path == path or archive.entry.name == given:
                return found(f"is an archive of {facts.path}", "name that log")
    other = "".join(f"; {problem}" for problem in here.survey.problems)
    return found(f"no log of this configuration, nor are there archives of one{other}", "see logrotor status")


def read(
    look: Callable[[], Deployment],
    given: str,
    *,
    since: float | None,
    until: float | None,
    damaged: Callable[[Problem], None],
) -> Iterator[bytes]:
    """The bytes of a log in the order in which they were written.

    ``since``, ``until``: only files that can hold what was written then, by the times of their rotations.
    ``damaged`` is told of an archive that cannot be read to its end, as soon as that is known; the others follow.
    Raises UnknownSelection, Refused, OSError.
    """
    with ExitStack() as opened:
        facts, old, files = _opened(look, given, opened, since, until)
        for piece in old:
            with ExitStack() as alone:
                yield from _contents(piece, _open_moved(piece, alone), damaged)
        for piece, fd in files:
            yield from _contents(piece, fd, damaged)
        if facts.spec.method is Method.COPYTRUNCATE:
            after = find(look(), given)
            if {a.entry.id for a in archives_of(after)} - {a.entry.id for a in archives_of(facts)}:
                cut = "was cut by a rotation while it was read"
                raise Refused(Problem(subject=facts.path, problem=cut, advice="read it again"))


def _contents(piece: Piece, fd: int, damaged: Callable[[Problem], None]) -> Iterator[bytes]:
    try:
        if piece.codec is not Codec.NONE and piece.entry.size == 0:
            raise ValueError(_EMPTY)
        yield from codecs.decompressed(fd, piece.codec)
    except (ValueError, OSError) as error:  # EIO: the disk itself is damaged
        why = getattr(error, "strerror", None) or str(error)
        rest = "the rest of it is left out, and what follows is from the next file"
        damaged(Problem(subject=piece.path, problem=f"{why}; {rest}"))


def _opened(
    look: Callable[[], Deployment], given: str, opened: ExitStack, since: float | None, until: float | None
) -> tuple[LogFacts, list[Piece], list[tuple[Piece, int]]]:
    """The newest files at once, so that no rotation can come between them; the old ones only change their names."""
    for _ in range(_TRIES):
        here = look()
        facts = find(here, given)
        if facts.directory.problem is not None:
            raise Refused(facts.directory.problem)
        if facts.history.in_flight is not None:
            cut = "a copytruncate is at work, or was interrupted"
            raise Refused(Problem(subject=facts.path, problem=cut, advice="logrotor run, then again"))
        chosen = _chosen(pieces(facts, here.now.timestamp()), since, until)
        with ExitStack() as attempt:
            try:
                files = [(piece, _open(piece, attempt)) for piece in chosen[-_AT_ONCE:]]
            except (Stale, FileNotFoundError):
                continue
            opened.push(attempt.pop_all())
            return facts, chosen[:-_AT_ONCE], files
    raise Refused(Problem(subject=given, problem="is rotated again and again while it is opened", advice="try again"))


def _open(piece: Piece, opened: ExitStack) -> int:
    try:
        with LogDir(piece.directory) as logdir:
            fd = logdir.open_archive(piece.entry.name, piece.entry.id)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Refused(Problem(subject=piece.path, problem=error.strerror or str(error), advice=_OWNER)) from error
    opened.callback(os.close, fd)
    return fd


def _open_moved(piece: Piece, opened: ExitStack) -> int:
    """An old archive, which may have a higher slot by now."""
    try:
        return _open(piece, opened)
    except (Stale, FileNotFoundError):
        with LogDir(piece.directory) as logdir:
            moved = next((entry for entry in logdir.scan() if entry.id == piece.entry.id), None)
        if moved is None:
            gone = "was removed while the log was read"
            raise Refused(Problem(subject=piece.path, problem=gone, advice="read it again")) from None
        return _open(Piece(piece.directory, moved, piece.codec, piece.rotated), opened)


def pieces(facts: LogFacts, now: float) -> list[Piece]:
    """The files that make up the log, oldest first, each of its bytes in one of them only."""
    found: list[Piece] = []
    for archive in reversed(newest_first(archives_of(facts), now)):
        if archive.path not in facts.duplicates:
            found.append(Piece(archive.directory, archive.entry, archive.name.codec, time_of(archive)))
    beside, family = facts.directory.resolved, facts.family
    if family.replacement is not None and family.replacement.size:  # a taken log that a crash left
        found.append(Piece(beside, family.replacement, Codec.NONE, family.replacement.mtime))
    if family.live is not None:
        found.append(Piece(beside, family.live, Codec.NONE, None))
    once = {piece.entry.id: piece for piece in reversed(found) if piece.entry.is_regular}
    return [piece for piece in found if once.get(piece.entry.id) is piece]


def _chosen(found: list[Piece], since: float | None, until: float | None) -> list[Piece]:
    """Those between the rotation before ``since`` and the one after ``until``."""
    chosen: list[Piece] = []
    before: float | None = None
    for piece in found:
        too_old = since is not None and piece.rotated is not None and piece.rotated < since
        # One whose last write came before it is not: the clock of the one before it was ahead.
        ended = piece.rotated is not None and until is not None and piece.rotated <= until
        too_new = until is not None and before is not None and before > until and not ended
        if not too_old and not too_new:
            chosen.append(piece)
        before = piece.rotated
    return chosen


def lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines, also where one begins in one file and ends in the next; each keeps its newline."""
    rest: list[bytes] = []
    for chunk in chunks:
        *whole, last = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*rest, line, b"\n"])
            rest = []
        if last:
            rest.append(last)
    if rest:
        yield b"".join(rest)


# ---------------------------------------------------------------- every archive against its record


class Record(Struct, frozen=True):
    """What a rotation put into an archive."""

    bytes: int
    lines: int


class Verdict(Struct, frozen=True, kw_only=True):
    """One archive, or a place where none can be read. ``problem`` None: it holds what was recorded, if ``recorded``."""

    path: str
    log: str
    bytes: int | None = None  # uncompressed
    lines: int | None = None
    recorded: bool = False
    problem: Problem | None = None


def verify(here: Deployment, given: str | None = None) -> Iterator[Verdict]:
    """Every archive of every log, or of one. Raises UnknownSelection, StateError."""
    records = records_of(here.outcomes)
    if given is None:
        for problem in here.survey.problems:
            yield Verdict(path=problem.subject, log="", problem=problem)
    for facts in here.survey.logs if given is None else [find(here, given)]:
        if facts.directory.problem is not None:
            yield Verdict(path=facts.path, log=facts.path, problem=facts.directory.problem)
        for archive in newest_first(archives_of(facts), here.now.timestamp()):
            if archive.entry.is_regular:
                entry = archive.entry
                yield _verdict(facts.path, archive, records.get((entry.stat.st_ino, entry.stat.st_mtime_ns)))


def records_of(outcomes: Iterable[PastOutcome]) -> Mapping[tuple[int, int], Record]:
    """By inode and time of the last write, which a rename leaves as they are."""
    found: dict[tuple[int, int], Record] = {}
    for outcome in outcomes:
        details = outcome.details
        if outcome.action != "compress" or outcome.status != "done" or "inode" not in details:
            continue
        key = details["inode"], details["mtime_ns"]
        if details.get("lines") is not None:
            found[key] = Record(details["bytes"], details["lines"])
        elif (details.get("source"), details["mtime_ns"]) in found:  # moved to another file system as it was
            found[key] = found[details["source"], details["mtime_ns"]]
    return found


def _verdict(log: str, archive: Archive, record: Record | None) -> Verdict:
    try:
        size, lines = _measured(archive)
    except (Stale, FileNotFoundError):
        return Verdict(path=archive.path, log=log)  # a run renamed or removed it meanwhile: no business of ours
    except (LogrotorError, OSError, ValueError) as error:
        problem = problem_of(error, archive.path)
        if isinstance(error, PermissionError):
            problem = replace(problem, advice=_OWNER)
        return Verdict(path=archive.path, log=log, problem=problem)
    verdict = Verdict(path=archive.path, log=log, bytes=size, lines=lines, recorded=record is not None)
    if record is None or (size, lines) == (record.bytes, record.lines):
        return verdict
    what = f"holds {size} bytes in {lines} lines, but {record.bytes} bytes in {record.lines} lines went into it"
    return replace(verdict, problem=Problem(subject=archive.path, problem=what))


def _measured(archive: Archive) -> tuple[int, int]:
    """Bytes and lines. Raises ValueError for a damaged archive."""
    if archive.name.codec is not Codec.NONE and archive.entry.size == 0:
        raise ValueError(_EMPTY)
    size = lines = 0
    with LogDir(archive.directory) as logdir:
        fd = logdir.open_archive(archive.entry.name, archive.entry.id)
    try:
        for chunk in codecs.decompressed(fd, archive.name.codec):
            size += len(chunk)
            lines += chunk.count(b"\n")
    finally:
        os.close(fd)
    return size, lines
