"""Read every archive through, and compare what it holds with the record of its rotation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from logrotor.decide.slots import newest_first
from logrotor.disk import codecs
from logrotor.disk.logdir import LogDir
from logrotor.disk.snapshot import message
from logrotor.errors import LogrotorError, Stale
from logrotor.model import Archive, Codec, PastOutcome
from logrotor.observe.reading import find
from logrotor.observe.site import Site
from logrotor.observe.status import archives_of


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
    problem: str | None = None


def verify(site: Site, given: str | None = None) -> Iterator[Verdict]:
    """Every archive of every log, or of one. Raises UnknownSelection, StateError."""
    records = records_of(site.outcomes)
    if given is None:
        for problem in site.survey.problems:
            yield Verdict(path=problem.subject, log="", problem=str(problem))
    for facts in site.survey.logs if given is None else [find(site, given)]:
        if facts.directory.problem is not None:
            yield Verdict(path=facts.path, log=facts.path, problem=str(facts.directory.problem))
        for archive in newest_first(archives_of(facts), site.now.timestamp()):
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
    except PermissionError as error:
        return Verdict(
            path=archive.path, log=log, problem=f"{message(error, archive.path)}; ask as the user who runs logrotor"
        )
    except (LogrotorError, OSError, ValueError) as error:
        return Verdict(path=archive.path, log=log, problem=message(error, archive.path))
    problem = None
    if record is not None and (size, lines) != (record.bytes, record.lines):
        problem = f"holds {size} bytes in {lines} lines, but {record.bytes} bytes in {record.lines} lines went into it"
    return Verdict(path=archive.path, log=log, bytes=size, lines=lines, recorded=record is not None, problem=problem)


def _measured(archive: Archive) -> tuple[int, int]:
    """Bytes and lines. Raises ValueError for a damaged archive."""
    if archive.name.codec is not Codec.NONE and archive.entry.size == 0:
        raise ValueError("damaged archive: it is empty")
    size = lines = 0
    with LogDir(archive.directory) as logdir:
        fd = logdir.open_file(archive.entry.name, archive.entry.id, names=2)
    try:
        for chunk in codecs.decompressed(fd, archive.name.codec):
            size += len(chunk)
            lines += chunk.count(b"\n")
    finally:
        os.close(fd)
    return size, lines
