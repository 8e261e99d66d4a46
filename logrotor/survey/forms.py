"""Which archives are forms of one generation: what a crash leaves between making one and removing the other.

Told by times and names at first, which cost nothing; then by what is noted on them (:mod:`~logrotor.disk.descent`); and
by their bytes at last.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from logrotor.decide.facts import Directory
from logrotor.decide.naming import is_dated_by, parse_temp
from logrotor.disk import descent
from logrotor.disk.logdir import LogDir
from logrotor.errors import LogrotorError
from logrotor.model import Archive, Codec, Entry
from logrotor.survey.proofs import Names

_COARSE = (100, 1_000, 10_000_000, 1_000_000_000, 2_000_000_000)  # nanoseconds that some file systems cut times to
_Key = tuple[str, object]


class Duplicates(Mapping[str, str]):
    """Archives of which another file holds every byte, by their paths: what a crash between two steps leaves.

    Found out when it is asked for: nobody asks about a log whose archives are in order at a glance.
    """

    __slots__ = ("_archives", "_beside", "_found", "_names")

    def __init__(self, archives: Sequence[Archive], beside: str, names: Names) -> None:
        self._archives, self._beside, self._names = archives, beside, names
        self._found: Mapping[str, str] | None = None

    def _look(self) -> Mapping[str, str]:
        if self._found is None:
            self._found = _duplicates(self._archives, self._beside, self._names)
        return self._found

    def __getitem__(self, path: str) -> str:
        return self._look()[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._look())

    def __len__(self) -> int:
        return len(self._look())


def _duplicates(archives: Sequence[Archive], beside: str, names: Names) -> Mapping[str, str]:
    ranked = [a for a in archives if a.entry.is_regular and a.entry.stat.st_nlink <= names.of(a.entry.id)]
    ranked.sort(key=lambda archive: _rank(archive, beside))
    if not any(map(_is_plain, ranked)) and len(set(map(_moment, ranked))) == len(ranked):
        return {}  # every form of a generation has its time
    groups: dict[_Key, list[int]] = defaultdict(list)  # not each with each: a log may have thousands of archives
    for number, archive in enumerate(ranked):
        for key in _keys(archive, beside):
            groups[key].append(number)
    found: dict[str, str] = {}
    for number, one in enumerate(ranked):
        later = {other for key in _keys_of_forms(one, beside) for other in groups.get(key, ()) if other > number}
        for form in (ranked[other] for other in sorted(later, reverse=True)):
            longer = _longer(one, form, beside, names)
            if longer == 1:
                found[form.path] = one.path
            elif longer is not None:
                found[one.path] = form.path
                break
    return found


def _keys(archive: Archive, beside: str) -> Iterator[_Key]:
    yield "time", _moment(archive)
    yield "name", _names_of(archive)
    yield "moved", archive.directory != beside
    yield "dated", archive.name.slot is None


def _keys_of_forms(one: Archive, beside: str) -> Iterator[_Key]:
    """Of archives that may be forms of this one: of the same time, or made of it before it has grown."""
    yield "time", _moment(one)
    if _is_plain(one):
        yield "name", _names_of(one)
        if one.directory == beside:
            yield "moved", True
        if one.name.slot is not None:
            yield "dated", True


def _is_plain(archive: Archive) -> bool:
    return archive.name.codec is Codec.NONE


def _moment(archive: Archive) -> int:
    """As exactly as the coarsest file system keeps it."""
    return archive.entry.stat.st_mtime_ns // _COARSE[-1]


def _longer(one: Archive, form: Archive, beside: str, names: Names) -> int | None:
    """As of :func:`longer`; opens nothing where times and names tell that they are two generations."""
    if one.entry.id == form.entry.id:
        return None
    one_time = _moment(one) == _moment(form) and _have_one_time(one, form)
    if not one_time and not _may_have_grown(one, form, beside):
        return None
    one_place = _share_place(one, form, beside)
    most = max(names.of(one.entry.id), names.of(form.entry.id))
    return longer(one, form, most, one_time=one_time, one_place=one_place)


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


def longer(one: Archive, form: Archive, names: int, *, one_time: bool, one_place: bool) -> int | None:
    """Is the second archive a form of the first, each with at most ``names`` names? A damaged one is of none.

    0: it is, with the same bytes; 1: the first has grown since, -1: the second has; None: two generations.
    ``one_time``, ``one_place``: do their times, and their names, say so?
    """
    from logrotor.disk import codecs

    try:
        with LogDir(one.directory) as here, LogDir(form.directory) as there, contextlib.ExitStack() as opened:
            first = here.open_file(one.entry.name, one.entry.id, names=names)
            opened.callback(os.close, first)
            second = there.open_file(form.entry.name, form.entry.id, names=names)
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

    It is known by the archive that was made of it, and noted its inode.
    """
    families = [(d.resolved, d.families[base]) for d in directories if base in d.families]
    for directory, family in families:
        for temp in list(family.temps):
            name = parse_temp(temp.name)
            if name is None or name.codec is not Codec.NONE or not temp.is_regular:
                continue
            if any(_is_made_of(archive, temp) for _, other in families for archive in other.archives):
                family.temps.remove(temp)
                family.archives.append(Archive(name, temp, directory))


def _is_made_of(archive: Archive, original: Entry) -> bool:
    """Is it noted on the archive that it was made of this file? The file may have grown since."""
    try:
        with LogDir(archive.directory) as logdir:
            fd = logdir.open_file(archive.entry.name, archive.entry.id)
            try:
                return archive.entry.id != original.id and descent.inode(fd) == original.stat.st_ino
            finally:
                os.close(fd)
    except (LogrotorError, OSError, ValueError):
        return False
