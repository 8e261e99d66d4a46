"""Counts numbered lines over all files of a directory. Knows nothing of logrotor, and must never import it.

A line is ``WRITER N K===#N`` with K times "=": the number at both ends and the length of the padding show every byte
that was cut out or glued in. Each writer numbers its lines from 1.
Archives are read by the real ``zstd``, ``gzip``, ``xz`` and ``bzip2`` programs, never by a library.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PathLike = str | os.PathLike[str]

_LINE = re.compile(rb"([^ \n\x00]+) ([1-9]\d{0,17}) (\d+)(=*)#(\d+)")
_SUFFIX = r"(?:\.(?:gz|bz2|xz|zst))?"
_SLOT = re.compile(rf"\.([1-9]\d*)({_SUFFIX})", re.DOTALL)
_STAMP = re.compile(rf"-(\d{{8}}T\d{{6}}Z)(?:-([1-9]\d*))?({_SUFFIX})", re.DOTALL)
_PROGRAMS = {".zst": "zstd", ".gz": "gzip", ".xz": "xz", ".bz2": "bzip2"}
_SHOWN = 12
_SMALL = 1 << 16


class Line(NamedTuple):
    """The ``number``-th line of ``writer``."""

    writer: str
    number: int


class Torn(NamedTuple):
    """Bytes between two newlines that are no line: cut, glued or foreign."""

    path: str
    offset: int
    data: bytes  # the first 200 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What was found. ``lost`` and ``doubled`` name every line concerned; doubled: once for each copy too many."""

    lost: tuple[Line, ...] = ()
    doubled: tuple[Line, ...] = ()
    torn: tuple[Torn, ...] = ()
    disorder: tuple[Line, ...] = ()  # follows, in the same file, a later line of its writer
    unexpected: tuple[Line, ...] = ()  # of an unknown writer, or past the last line that its writer reported
    broken: tuple[str, ...] = ()  # archives that their own program could not read, and why
    strays: tuple[str, ...] = ()  # paths of names that no rotation should leave behind
    nuls: int = 0  # NUL bytes in front of lines (a writer without O_APPEND, or a punched hole)
    total: int = 0  # whole lines, each copy counted; unfinished archives (``*.tmp``) are left out
    per_file: Mapping[str, int] = field(default_factory=dict)  # whole lines in each file, ``*.tmp`` included

    @property
    def whole(self) -> bool:
        """Nothing lost, doubled, torn, out of order, unexpected or unreadable. Strays and NULs are not judged."""
        return not (self.lost or self.doubled or self.torn or self.disorder or self.unexpected or self.broken)

    @property
    def clean(self) -> bool:
        """``whole``, and neither strays nor NULs."""
        return self.whole and not self.strays and not self.nuls

    def check(self, *, strays: bool = False) -> Tally:
        """Itself if it is clean (with ``strays``: if whole without NULs), else AssertionError with what is wrong."""
        if not (self.whole and not self.nuls and (strays or not self.strays)):
            raise AssertionError(str(self))
        return self

    def __str__(self) -> str:
        lists = {
            "lost": _ranges(self.lost),
            "doubled": _ranges(self.doubled),
            "torn": [f"{t.path}@{t.offset} {t.data[:60]!r}" for t in self.torn],
            "out of order": _ranges(self.disorder),
            "unexpected": _ranges(self.unexpected),
            "broken": self.broken,
            "strays": self.strays,
        }
        counts = f"{self.total} lines, {len(self.lost)} lost, {len(self.doubled)} doubled, {len(self.torn)} torn"
        shown = [f"{word}: {_first(items)}" for word, items in lists.items() if items]
        shown += [f"NULs: {self.nuls}"] if self.nuls else []
        return "\n  ".join([counts, *shown, f"files: {dict(self.per_file)}"])


def line(writer: str, number: int, width: int = 80) -> bytes:
    """The ``number``-th line of ``writer``, about ``width`` bytes with its newline, or more if that is too few."""
    head, tail = f"{writer} {number} ", f"#{number}\n"
    room = max(1, width - len(head) - len(tail))
    padding = room - len(str(room))
    return f"{head}{padding}{'=' * padding}{tail}".encode()


def lines(writer: str, first: int, last: int, width: int = 80) -> bytes:
    """Lines ``first`` to ``last`` of ``writer``."""
    return b"".join(line(writer, number, width) for number in range(first, last + 1))


def count(paths: PathLike | Iterable[PathLike], *bases: str, expected: Mapping[str, int] | None = None) -> Tally:
    """Count the lines in ``paths`` (files, or all files of directories, hidden ones too, not recursive).

    ``bases`` limits it to the files of these logs, whatever follows the base in the name. ``expected`` maps each writer
    to the last line that it reported as written; without it the highest line found is taken: a lost end goes unseen.
    """
    counter = _Counter()
    left_behind: list[str] = []
    for path in _files(paths, bases):
        name = os.path.basename(path)
        stray = not _accounted(name, bases) if bases else (name.startswith(".") or name.endswith(".tmp"))
        if stray:
            left_behind.append(path)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            continue
        unfinished = name.endswith(".tmp")
        data, error = read(path)
        counter.add(path, data, counted=not unfinished)
        if error and not unfinished:
            counter.broken.append(f"{path}: {error}")
    return counter.tally(expected, left_behind)


def strays(directory: PathLike, *bases: str) -> list[str]:
    """Names in ``directory`` that are neither a live log, ``BASE.N[.ext]`` nor ``BASE-YYYYmmddTHHMMSSZ[-n][.ext]``."""
    return sorted(name for name in os.listdir(directory) if not _accounted(name, bases))


def archives(directories: PathLike | Iterable[PathLike], base: str) -> list[str]:
    """Paths of the archives of ``base``, oldest first.

    Slots by falling number (``.1.zst`` beside ``.1``: the plain one is newer), dated ones by stamp. Where both kinds
    lie, the two rows are merged by modification time, for the names alone do not tell.
    """
    slots, dated = [], []
    for directory in _listed(directories):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if not name.startswith(base):
                continue
            if match := _SLOT.fullmatch(name, len(base)):
                slots.append(((-int(match[1]), not match[2]), path))
            elif match := _STAMP.fullmatch(name, len(base)):
                dated.append(((match[1], int(match[2] or 0), not match[3]), path))
    return _merged([path for _, path in sorted(slots)], [path for _, path in sorted(dated)])


def joined(directories: PathLike | Iterable[PathLike], base: str) -> bytes:
    """Archives of ``base`` from the oldest to the newest and then the live log, byte for byte.

    ``directories``: the log's own first, then an archive directory if there is one. An unreadable archive raises
    ValueError.
    """
    found = _listed(directories)
    pieces = []
    for path in [*archives(found, base), os.path.join(found[0], base)]:
        if not os.path.lexists(path):
            continue
        data, error = read(path)
        if error:
            raise ValueError(f"{path}: {error}")
        pieces.append(data)
    return b"".join(pieces)


def count_joined(
    directories: PathLike | Iterable[PathLike], base: str, expected: Mapping[str, int] | None = None
) -> Tally:
    """As :func:`count`, over :func:`joined`: a line split over two archives is whole, and order is judged overall."""
    found = _listed(directories)
    counter = _Counter()
    counter.add(os.path.join(found[0], base) + " (joined)", joined(found, base), counted=True)
    left = [p for p in _files(found, (base,)) if not _accounted(os.path.basename(p), (base,))]
    return counter.tally(expected, left)


def read(path: PathLike) -> tuple[bytes, str]:
    """The content of a log or archive and, where its program failed, what it said; then the content is what it gave."""
    name = os.fspath(path).removesuffix(".tmp").removesuffix(".aside")
    program = _PROGRAMS.get(os.path.splitext(name)[1])
    if program is None:
        with open(path, "rb") as file:
            return file.read(), ""
    if os.path.getsize(path) <= _SMALL:
        with open(path, "rb") as file:
            return _unpacked(program, file.read())
    with open(path, "rb") as file:
        return _output(program, stdin=file)


@functools.lru_cache(maxsize=256)
def _unpacked(program: str, packed: bytes) -> tuple[bytes, str]:
    """A fault sweep meets the same few small archives thousands of times."""
    return _output(program, input=packed)


def _output(program: str, **source: Any) -> tuple[bytes, str]:
    done = subprocess.run([program, "-dc"], capture_output=True, check=False, **source)
    if done.returncode:
        return done.stdout, f"{program} -dc: exit {done.returncode}: {done.stderr.decode(errors='replace').strip()}"
    return done.stdout, ""


class _Counter:
    """Adds up files. Copies of a line are counted in one byte each, so millions of lines fit."""

    def __init__(self) -> None:
        self.copies: dict[str, bytearray] = {}
        self.far: dict[Line, int] = {}  # numbers that no dense table should be made for
        self.torn: list[Torn] = []
        self.disorder: list[Line] = []
        self.broken: list[str] = []
        self.per_file: dict[str, int] = {}
        self.nuls = 0
        self.total = 0

    def add(self, path: str, data: bytes, *, counted: bool) -> None:
        found = 0
        last: dict[str, int] = {}
        for offset, record in _records(data):
            bare = record.lstrip(b"\0")
            match = _LINE.fullmatch(bare)
            if counted:
                self.nuls += len(record) - len(bare)
            if match is None or not _intact(match) or offset + len(record) == len(data):
                if counted and bare:
                    self.torn.append(Torn(path, offset, record[:200]))
                continue
            found += 1
            if counted:
                self._line(match[1].decode(errors="backslashreplace"), int(match[2]), last)
        self.per_file[path] = found
        self.total += found if counted else 0

    def _line(self, writer: str, number: int, last: dict[str, int]) -> None:
        if number > 100_000_000:
            self.far[Line(writer, number)] = self.far.get(Line(writer, number), 0) + 1
            return
        copies = self.copies.setdefault(writer, bytearray(1024))
        if number >= len(copies):
            copies.extend(bytes(max(number + 1 - len(copies), len(copies))))
        copies[number] = min(255, copies[number] + 1)
        if number < last.get(writer, 0):
            self.disorder.append(Line(writer, number))
        last[writer] = number

    def tally(self, expected: Mapping[str, int] | None, left_behind: list[str]) -> Tally:
        lost, doubled, unexpected = [], [], [each for each, n in self.far.items() for _ in range(n)]
        ends = {w: len(copies.rstrip(b"\0")) - 1 for w, copies in self.copies.items()} if expected is None else expected
        for writer in sorted({*ends, *self.copies}):
            copies, end = self.copies.get(writer, bytearray()), ends.get(writer, 0)
            lost += [Line(writer, n) for n in _zeros(copies, end)]
            for number in _more(copies):
                doubled += [Line(writer, number)] * (copies[number] - 1)
            unexpected += [Line(writer, n) for n in range(end + 1, len(copies)) if copies[n]]
        return Tally(
            lost=tuple(lost),
            doubled=tuple(doubled),
            torn=tuple(self.torn),
            disorder=tuple(self.disorder),
            unexpected=tuple(unexpected),
            broken=tuple(self.broken),
            strays=tuple(left_behind),
            nuls=self.nuls,
            total=self.total,
            per_file=self.per_file,
        )


def _intact(match: re.Match[bytes]) -> bool:
    return match[2] == match[5] and int(match[3]) == len(match[4])


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The pieces between newlines with their offsets; a last piece without a newline comes too."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        yield start, data[start:end]
        start = end + 1


def _zeros(copies: bytearray, end: int) -> Iterator[int]:
    """The numbers from 1 to ``end`` that were never seen."""
    at = copies.find(0, 1, end + 1)
    while at >= 0:
        yield at
        at = copies.find(0, at + 1, end + 1)
    yield from range(max(1, len(copies)), end + 1)


def _more(copies: bytearray) -> Iterator[int]:
    return (match.start() for match in re.finditer(rb"[^\x00\x01]", copies))


def _files(paths: PathLike | Iterable[PathLike], bases: tuple[str, ...]) -> list[str]:
    """Each entry once, in order of its path. Directories inside the given ones are left out, other kinds are not."""
    found: dict[str, str] = {}
    for path in _listed(paths):
        if os.path.isdir(path):
            inside = [os.path.join(path, name) for name in os.listdir(path) if not bases or _belongs(name, bases)]
            entries = [each for each in inside if not stat.S_ISDIR(os.lstat(each).st_mode)]
        else:
            entries = [path]
        for each in entries:
            found.setdefault(os.path.join(os.path.realpath(os.path.dirname(each)), os.path.basename(each)), each)
    return sorted(found.values())


def _belongs(name: str, bases: tuple[str, ...]) -> bool:
    return any(name.startswith((base, "." + base)) for base in bases)


def _accounted(name: str, bases: tuple[str, ...]) -> bool:
    """Whether ``name`` is the live log or an archive of one of ``bases``."""
    return any(
        name == base
        or (name.startswith(base) and (_SLOT.fullmatch(name, len(base)) or _STAMP.fullmatch(name, len(base))))
        for base in bases
    )


def _listed(paths: PathLike | Iterable[PathLike]) -> list[str]:
    return [os.fspath(paths)] if isinstance(paths, (str, os.PathLike)) else [os.fspath(path) for path in paths]


def _merged(one: list[str], other: list[str]) -> list[str]:
    merged = []
    while one and other:
        merged.append((one if os.stat(one[0]).st_mtime_ns <= os.stat(other[0]).st_mtime_ns else other).pop(0))
    return merged + one + other


def _ranges(found: Iterable[Line]) -> list[str]:
    """``w1 5..7`` for three lines in a row."""
    runs: list[list[Line]] = []
    for each in found:
        if runs and runs[-1][-1] == (each.writer, each.number - 1):
            runs[-1].append(each)
        else:
            runs.append([each])
    return [f"{r[0].writer} {r[0].number}" + (f"..{r[-1].number}" if len(r) > 1 else "") for r in runs]


def _first(items: Iterable[str]) -> str:
    shown = list(items)
    return ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")
