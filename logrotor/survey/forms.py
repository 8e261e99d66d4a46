"""Which archives are forms of one generation: what a crash leaves between making one and removing the other.

Told by times and names at first, which cost nothing; then by what is noted on them (:mod:`~logrotor.disk.descent`); and
by their bytes at last.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from logrotor.decide.facts import Directory
from logrotor.decide.naming import is_dated_by, parse_temp
from logrotor.disk import descent
from logrotor.disk.logdir import LogDir
from logrotor.errors import LogrotorError
from logrotor.model import Archive, Codec, Entry

_COARSE = (100, 1_000, 10_000_000, 1_000_000_000, 2_000_000_000)  # nanoseconds that some file systems cut times to
_Key = tuple[str, object]


class Duplicates(Mapping[str, str]):
    """Archives of which another file holds every byte, by their paths: what a crash between two steps leaves.

    Found out when it is asked for: nobody asks about a log whose archives are in order at a glance.
    """

    __slots__ = ("_archives", "_beside", "_found")

    def __init__(self, archives: Sequence[Archive], beside: str) -> None:
        self._archives, self._beside = archives, beside
        self._found: Mapping[str, str] | None = None

    def _look(self) -> Mapping[str, str]:
        if self._found is None:
            self._found = _duplicates(self._archives, self._beside)
        return self._found

    def __getitem__(self, path: str) -> str:
        return self._look()[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._look())

    def __len__(self) -> int:
        return len(self._look())


def _duplicates(archives: Sequence[Archive], beside: str) -> Mapping[str, str]:
    ranked = sorted((a for a in archives if a.entry.is_regular), key=lambda archive: _rank(archive, beside))
    if not any(map(_is_plain, ranked)) and len(set(map(_moment, ranked))) == len(ranked):
        return {}  # every form of a generation has its time
    notes = _notes(ranked, beside)
    groups: dict[_Key, list[int]] = defaultdict(list)  # not each with each: a log may have thousands of archives
    for number, archive in enumerate(ranked):
        for key in _keys(archive, notes[number], form=True):
            groups[key].append(number)
    found: dict[str, str] = {}
    for number, one in enumerate(ranked):
        later = {n for key in _keys(one, notes[number], form=False) for n in groups.get(key, ()) if n > number}
        for form in (ranked[other] for other in sorted(later, reverse=True)):
            longer = _longer(one, form, beside)
            if longer == 1:
                found[form.path] = one.path
            elif longer is not None:
                found[one.path] = form.path
                break
    return found


def _notes(ranked: Sequence[Archive], beside: str) -> list[bytes]:
    """What each was made of, where that can matter: for those of one time, or that may be made of a plain one."""
    times = Counter(map(_moment, ranked))
    moves = any(_is_plain(archive) and archive.directory == beside for archive in ranked)
    dates = any(_is_plain(archive) and archive.name.slot is not None for archive in ranked)

    def matters(archive: Archive) -> bool:
        moved, dated = archive.directory != beside, archive.name.slot is None
        return times[_moment(archive)] > 1 or _is_plain(archive) or (moves and moved) or (dates and dated)

    return [descent.source_of(a.path, a.entry.stat) if matters(a) else b"" for a in ranked]


def _keys(archive: Archive, note: bytes, *, form: bool) -> Iterator[_Key]:
    """What two forms of one generation have in common, at least one of these: the later ``form``, and the other."""
    yield "name", _names_of(archive)
    if form == (archive.name.slot is None):  # a number becomes a date
        yield "date", archive.entry.stat.st_mtime_ns
    if note:
        yield "source", note
        if form or _is_plain(archive):  # which may have grown since
            yield "inode", note.split()[0]


def _is_plain(archive: Archive) -> bool:
    return archive.name.codec is Codec.NONE


def _moment(archive: Archive) -> int:
    """As exactly as the coarsest file system keeps it."""
    return archive.entry.stat.st_mtime_ns // _COARSE[-1]


def _longer(one: Archive, form: Archive, beside: str) -> int | None:
    """As of :func:`longer`; opens nothing where times and names tell that they are two generations."""
    if one.entry.id == form.entry.id:
        return None
    one_time = _moment(one) == _moment(form) and _have_one_time(one, form)
    if not one_time and not _may_have_grown(one, form, beside):
        return None
    one_place = _share_place(one, form, beside)
    return longer(one, form, one_time=one_time, one_place=one_place)


def _may_have_grown(one: Archive, form: Archive, beside: str) -> bool:
    """Is the form where a run would leave it that was killed before the plain one went, and has that a later time?"""
    if not _is_plain(one) or (not _is_plain(form) and form.entry.mtime > one.entry.mtime):
        return False
    moved, dated = one.directory == beside != form.directory, one.name.slot is not None and form.name.slot is None
    return moved or dated or _names_of(one) == _names_of(form)


def _rank(archive: Archive, beside: str) -> tuple[bool, bool, str, str, str]:
    """How far an archive has come. The last one stays, and every configuration has to see that alike."""
    codec = archive.name.codec
    return codec is not Codec.NONE, archive.directory != beside, codec.value, archive.directory, archive.entry.name


def _have_one_time(one: Archive, form: Archive) -> bool:
    """Every form keeps the time of the last write, as exactly as its file system can."""
    time, kept = one.entry.stat.st_mtime_ns, form.entry.stat.st_mtime_ns
    return time == kept or any(time // c * c == kept for c in _COARSE)


def _share_place(one: Archive, form: Archive, beside: str) -> bool:
    """Do their names say that they are the same generation?"""
    compressed = _is_plain(one) and not _is_plain(form)
    relocated = one.name.codec is form.name.codec and one.directory == beside != form.directory
    if not compressed and not relocated:
        return False  # whoever made one of them of the other has noted it
    if one.name.slot is not None and form.name.slot is None:
        # The same second is not enough: two generations of a log that repeats itself could have the same bytes.
        same_time = one.entry.stat.st_mtime_ns == form.entry.stat.st_mtime_ns
        return same_time and is_dated_by(form.name, one.entry.mtime)
    return _names_of(one) == _names_of(form)


def _names_of(archive: Archive) -> tuple[int | None, str | None, int]:
    return archive.name.slot, archive.name.stamp, archive.name.copy


# ---------------------------------------------------------------- by what they hold


def longer(one: Archive, form: Archive, *, one_time: bool, one_place: bool) -> int | None:
    """Is the second archive a form of the first? A damaged one is of none.

    0: it is, with the same bytes; 1: the first has grown since, -1: the second has; None: two generations.
    ``one_time``, ``one_place``: do their times, and their names, say so?
    """
    from logrotor.disk import codecs

    try:
        with LogDir(one.directory) as here, LogDir(form.directory) as there, contextlib.ExitStack() as opened:
            first = here.open_archive(one.entry.name, one.entry.id)
            opened.callback(os.close, first)
            second = there.open_archive(form.entry.name, form.entry.id)
            opened.callback(os.close, second)
            same = one_time and (one_place or descent.is_shared(first, second))
            grown = _is_plain(one) and _was_source(first, second, one_place=one_place)
            if not same and not grown:
                return None
            found = codecs.longer((first, one.name.codec), (second, form.name.codec))
            return found if (found == 0 and same) or (found is not None and grown) else None
    except (LogrotorError, OSError, EOFError, ValueError):
        return None


def _was_source(plain: int, form: int, *, one_place: bool) -> bool:
    """Was the form made of this very file? By what is noted on it; where nothing is, by their names."""
    older = descent.outlives(plain, form)
    if descent.has_noted(form):
        return descent.inode(form) == descent.inode(plain) and (one_place if older is None else older)
    return one_place and older is not False


# ---------------------------------------------------------------- set aside by an older logrotor


def find_set_aside(base: str, directories: Sequence[Directory]) -> None:
    """Take what an older logrotor had set aside, by the name of an unfinished archive, for the archive that it is.

    It is known by the archive that was made of it: that noted its inode, is younger, and holds its first bytes. The
    inode alone tells nothing: a copy in the making may have got that of an archive which was compressed and removed.
    """
    families = [(d.resolved, d.families[base]) for d in directories if base in d.families]
    for directory, family in families:
        for temp in list(family.temps):
            name = parse_temp(temp.name)
            if name is None or name.codec is not Codec.NONE or not temp.is_regular:
                continue
            if any(_is_made_of(archive, directory, temp) for _, other in families for archive in other.archives):
                family.temps.remove(temp)
                family.archives.append(Archive(name, temp, directory))


def _is_made_of(form: Archive, directory: str, original: Entry) -> bool:
    """Was the archive made of this file, which may have grown since?"""
    from logrotor.disk import codecs

    if form.entry.id == original.id:
        return False
    try:
        with LogDir(form.directory) as there, contextlib.ExitStack() as opened:
            made = there.open_archive(form.entry.name, form.entry.id)
            opened.callback(os.close, made)
            if descent.inode(made) != original.stat.st_ino:
                return False
            here = opened.enter_context(LogDir(directory))
            plain = here.open_archive(original.name, original.id)
            opened.callback(os.close, plain)
            if descent.outlives(plain, made) is False:
                return False
            return codecs.longer((plain, Codec.NONE), (made, form.name.codec)) in (0, 1)
    except (LogrotorError, OSError, EOFError, ValueError):
        return False
