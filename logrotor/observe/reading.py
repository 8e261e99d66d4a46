"""Read what a log holds, byte for byte across its archives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from glob import has_magic

from logrotor.decide.facts import LogFacts
from logrotor.disk import codecs
from logrotor.errors import UnknownSelection
from logrotor.model import Codec, Method, Problem
from logrotor.observe.deployment import Deployment, archives_of
from logrotor.observe.view import Piece, View, odd
from logrotor.survey import find_path, real_path
from logrotor.text import ours

EMPTY = "damaged archive: it is empty"


def find(here: Deployment, given: str) -> LogFacts:
    """The log of that path or, if only one has it, that file name. Raises UnknownSelection."""
    known = {facts.path: facts for facts in here.listing.logs}
    path = find_path(given, known)
    if path is not None:
        return known[path]
    raise UnknownSelection(_what_else(here, given))


def of_rule(here: Deployment, name: str) -> tuple[list[str], list[Problem]]:
    """The paths of a rule's logs, and where there may be more that cannot be seen. Raises UnknownSelection."""
    specs = {spec.name: spec for spec in here.config.logs}
    if name not in specs:
        what = Problem(subject=name, problem="no such rule", advice=f"the rules are: {', '.join(specs)}")
        raise UnknownSelection(what)
    found = [facts.path for facts in here.listing.logs if facts.spec.name == name]
    roots = [_without_wildcards(path) for path in specs[name].paths]
    unseen = [each for each in here.listing.problems if any(_is_near(each.subject, root) for root in roots)]
    if not found and not unseen:
        raise UnknownSelection(Problem(subject=name, problem="is a rule, and has no log yet"))
    return found, unseen


def _without_wildcards(path: str) -> str:
    while has_magic(path):
        path = os.path.dirname(path)
    return path


def _is_near(path: str, root: str) -> bool:
    """Is one of them below the other?"""
    return os.path.commonpath((path, root)) in (path, root) if path.startswith("/") else False


def _what_else(here: Deployment, given: str) -> Problem:
    """What a name is that is none of a log."""

    def found(problem: str, advice: str = "") -> Problem:
        return Problem(subject=given, problem=problem, advice=advice)

    if any(spec.name == given for spec in here.config.logs):
        logs = ", ".join(facts.path for facts in here.listing.logs if facts.spec.name == given)
        return found("is a rule", f"name one of its logs: {logs}") if logs else found("is a rule, and has no log yet")
    path = real_path(given)
    for facts in here.listing.logs:
        for archive in archives_of(facts):
            if archive.path == path or archive.entry.name == given:
                return found(f"is an archive of {facts.path}", "name that log")
    other = "".join(f"; {problem}" for problem in here.listing.problems)
    return found(f"no log of this configuration, nor are there archives of one{other}", f"see {ours('status')}")


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
    ``damaged`` is told of an archive that cannot be read to its end, or is no file, as soon as that is known; the
    others follow.
    Raises UnknownSelection, Refused, OSError.
    """
    with ExitStack() as opened:
        view = View(look, lambda here: find(here, given), opened)
        for problem in odd(view.facts):
            damaged(problem)
        for piece in _chosen(view.pieces, since, until):
            if piece.rotated is None and view.facts.spec.method is Method.COPYTRUNCATE:
                yield from _live(view, piece, damaged)
                continue
            with view.opened(piece) as found:
                if found is None:
                    gone = "was removed while the log was read; what follows is from the next file"
                    damaged(Problem(subject=piece.path, problem=gone, kind="removed"))
                else:
                    yield from _contents(piece, *found, damaged)


def _contents(piece: Piece, fd: int, codec: Codec, damaged: Callable[[Problem], None]) -> Iterator[bytes]:
    try:
        if codec is not Codec.NONE and os.fstat(fd).st_size == 0:
            raise ValueError(EMPTY)
        yield from codecs.decompressed(fd, codec)
    except (ValueError, OSError) as error:  # EIO: the disk itself is damaged
        why = getattr(error, "strerror", None) or str(error)
        rest = "the rest of it is left out, and what follows is from the next file"
        damaged(Problem(subject=piece.path, problem=f"{why}; {rest}"))


def _live(view: View, live: Piece, damaged: Callable[[Problem], None]) -> Iterator[bytes]:
    """A live log that is copied and cut: what it had at its beginning goes on in a new archive then.

    A copy is published before anything is cut, so whatever was read before there was one was read of a whole log.
    """
    with view.opened(live) as found:
        fd, offset = (found or (-1, Codec.NONE))[0], 0
        while True:
            data = os.pread(fd, codecs.CHUNK, offset)
            if view.has_changed():
                for copy in view.newer():
                    with view.opened(copy) as archive:
                        assert archive is not None
                        for chunk in _contents(copy, *archive, damaged):
                            if chunk[offset:]:
                                yield chunk[offset:]
                            offset = max(0, offset - len(chunk))
            elif data:
                yield data
                offset += len(data)
            else:
                return


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
