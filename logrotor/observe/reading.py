"""Read a log across its archives, oldest first, byte for byte; and find the log that a name means."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from msgspec import Struct

from logrotor.decide.facts import LogFacts
from logrotor.decide.slots import newest_first, time_of
from logrotor.disk import codecs
from logrotor.disk.logdir import LogDir
from logrotor.errors import Refused, Stale, UnknownSelection
from logrotor.model import Codec, Entry, Method
from logrotor.observe.site import Site
from logrotor.observe.status import archives_of
from logrotor.survey import find_path, real_path

_TRIES = 5  # a run may rename everything while the files are opened
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


def find(site: Site, given: str) -> LogFacts:
    """The log of that path or, if only one has it, that file name. Raises UnknownSelection."""
    known = {facts.path: facts for facts in site.survey.logs}
    path = find_path(given, known)
    if path is not None:
        return known[path]
    raise UnknownSelection(f"{given}: {_what_else(site, given)}")


def _what_else(site: Site, given: str) -> str:
    """What a name is that is none of a log."""
    if any(spec.name == given for spec in site.config.logs):
        logs = ", ".join(facts.path for facts in site.survey.logs if facts.spec.name == given)
        return f"is a rule; name one of its logs: {logs}" if logs else "is a rule, and has no log yet"
    path = real_path(given)
    for facts in site.survey.logs:
        for archive in archives_of(facts):
            if archive.path == path or archive.entry.name == given:
                return f"is an archive of {facts.path}; name that log"
    why = "; ".join([*map(str, site.survey.problems), "see logrotor status"])
    return f"no log of this configuration, nor are there archives of one; {why}"


def read(
    look: Callable[[], Site],
    given: str,
    *,
    since: float | None,
    until: float | None,
    damaged: Callable[[str], None],
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
                raise Refused(f"{facts.path}: was cut by a rotation while it was read; read it again")


def _contents(piece: Piece, fd: int, damaged: Callable[[str], None]) -> Iterator[bytes]:
    try:
        if piece.codec is not Codec.NONE and piece.entry.size == 0:
            raise ValueError("damaged archive: it is empty")
        yield from codecs.decompressed(fd, piece.codec)
    except (ValueError, OSError) as error:  # EIO: the disk itself is damaged
        why = getattr(error, "strerror", None) or error
        damaged(f"{piece.path}: {why}; the rest of it is left out, and what follows is from the next file")


def _opened(
    look: Callable[[], Site], given: str, opened: ExitStack, since: float | None, until: float | None
) -> tuple[LogFacts, list[Piece], list[tuple[Piece, int]]]:
    """The newest files at once, so that no rotation can come between them; the old ones only change their names."""
    for _ in range(_TRIES):
        site = look()
        facts = find(site, given)
        if facts.directory.problem is not None:
            raise Refused(facts.directory.problem)
        if facts.memory.in_flight is not None:
            raise Refused(f"{facts.path}: a copytruncate is at work, or was interrupted: logrotor run, then again")
        chosen = _chosen(pieces(facts, site.now.timestamp()), since, until)
        with ExitStack() as attempt:
            try:
                files = [(piece, _open(piece, attempt)) for piece in chosen[-_AT_ONCE:]]
            except (Stale, FileNotFoundError):
                continue
            opened.push(attempt.pop_all())
            return facts, chosen[:-_AT_ONCE], files
    raise Refused(f"{given}: is rotated again and again while it is opened; try again")


def _open(piece: Piece, opened: ExitStack) -> int:
    try:
        with LogDir(piece.directory) as logdir:
            fd = logdir.open_file(piece.entry.name, piece.entry.id, names=2)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Refused(f"{piece.path}: {error.strerror}; ask as the user who runs logrotor") from error
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
            raise Refused(f"{piece.path}: was removed while the log was read; read it again") from None
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
