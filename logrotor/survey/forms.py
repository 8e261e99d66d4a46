"""Which archives are forms of one generation: what a crash leaves between making one and removing the other.

Told by times and names at first, which cost nothing; then by what is noted on them (:mod:`~logrotor.disk.descent`); and
by their bytes at last.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect, bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from logrotor.decide.facts import Directory
from logrotor.decide.naming import is_dated_by, parse_temp
from logrotor.disk import descent, files
from logrotor.disk.logdir import LogDir
from logrotor.errors import Interrupted, LogrotorError
from logrotor.model import Archive, ArchiveName, Codec, Entry

_COARSE = (100, 1_000, 10_000_000, 1_000_000_000, 2_000_000_000)  # nanoseconds that some file systems cut times to
_CROWD = 16  # more forms of one generation than any crash leaves
_BEGIN = 64  # bytes by which the archives of a crowd are told apart at first, and so many times more after that
_Key = tuple[str, object]
Stop = Callable[[], bool]


class Duplicates(Mapping[str, str]):
    """Archives of which another file holds every byte, by their paths: what a crash between two steps leaves.

    Found out when it is asked for: nobody asks about a log whose archives are in order at a glance. Whoever asks gets
    Interrupted once ``stop`` says so.
    """

    __slots__ = ("_archives", "_beside", "_found", "_stop")

    def __init__(self, archives: Sequence[Archive], beside: str, stop: Stop = lambda: False) -> None:
        self._archives, self._beside, self._stop = archives, beside, stop
        self._found: Mapping[str, str] | None = None

    def _look(self) -> Mapping[str, str]:
        if self._found is None:
            self._found = _duplicates(self._archives, self._beside, self._stop)
        return self._found

    def __getitem__(self, path: str) -> str:
        return self._look()[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._look())

    def __len__(self) -> int:
        return len(self._look())


def _duplicates(archives: Sequence[Archive], beside: str, stop: Stop) -> Mapping[str, str]:
    ranked = sorted((a for a in archives if a.entry.is_regular), key=lambda archive: _rank(archive, beside))
    if not any(map(_is_plain, ranked)) and len(set(map(_moment, ranked))) == len(ranked):
        return {}  # every form of a generation has its time
    candidates = _Candidates(ranked, _notes(ranked, beside), stop)
    found: dict[str, str] = {}
    for number, one in enumerate(ranked):
        for form in (ranked[other] for other in candidates.of(number)):
            longer = _longer(one, form, beside, stop)
            if longer == 1:
                found[form.path] = one.path
            elif longer is not None:
                found[one.path] = form.path
                break
    return found


class _Candidates:
    """Which of thousands of archives may be forms of one generation, by what they have in common: their keys.

    A crash leaves a few forms of a generation. If a crowd has a key in common, as where somebody copied archives with
    their times and notes, each of the crowd is read once, and compared only with a few that hold the same.
    """

    def __init__(self, ranked: Sequence[Archive], notes: Sequence[bytes], stop: Stop) -> None:
        self._ranked, self._notes, self._stop = ranked, notes, stop
        self._forms: dict[_Key, list[int]] = defaultdict(list)  # the last to stay comes last
        self._others: dict[_Key, list[int]] = defaultdict(list)
        for number, (archive, note) in enumerate(zip(ranked, notes, strict=True)):
            for key in _keys(archive, note, form=True):
                self._forms[key].append(number)
            for key in _keys(archive, note, form=False):
                self._others[key].append(number)
        self._alike: dict[_Key, dict[int, list[int]]] = {}
        self._births: dict[_Key, list[tuple[float, int]]] = {}

    def of(self, number: int) -> list[int]:
        """The later ones that may be forms of this one, the last to stay first."""
        found: set[int] = set()
        for key in _keys(self._ranked[number], self._notes[number], form=False):
            forms = self._forms.get(key, [])
            found.update(forms if len(forms) <= _CROWD else self._of_crowd(key, number))
        return sorted((other for other in found if other > number), reverse=True)

    def _of_crowd(self, key: _Key, number: int) -> Sequence[int]:
        if key[0] == "inode":  # it is used again and again, and what a file was made into is younger than the file
            younger = self._younger(key, number)
            if len(younger) <= _CROWD:
                return younger
        if key not in self._alike:
            self._alike[key] = self._told_apart(key)
        alike = self._alike[key].get(number, [])
        return alike[max(bisect(alike, number), len(alike) - _CROWD) :]

    def _younger(self, key: _Key, number: int) -> list[int]:
        if key not in self._births:
            self._births[key] = sorted((_birth(self._ranked[form]), form) for form in self._forms[key])
        births = self._births[key]
        return [form for _, form in births[bisect_left(births, (_birth(self._ranked[number]), -1)) :][: _CROWD + 1]]

    def _told_apart(self, key: _Key) -> dict[int, list[int]]:
        """For each of a crowd the forms that hold what it holds: by the first bytes if these tell, else by all."""
        found: dict[int, list[int]] = {}
        forms = set(self._forms[key])
        crowds = [(_BEGIN, sorted(forms.union(self._others.get(key, ()))))]
        while crowds:
            length, crowd = crowds.pop()
            by_begin: dict[tuple[bytes, bool], list[int]] = defaultdict(list)
            for number in crowd:
                by_begin[_begin(self._ranked[number], length, self._stop)].append(number)
            for (_, is_whole), members in by_begin.items():
                if len(members) > _CROWD and not is_whole:
                    crowds.append((length * _BEGIN, members))
                else:
                    alike = [number for number in members if number in forms]
                    found.update((number, alike) for number in members)
        return found


def _birth(archive: Archive) -> float:
    return files.birth(archive.path) or 0.0


def _begin(archive: Archive, length: int, stop: Stop) -> tuple[bytes, bool]:
    """What an archive begins with, as a digest, and whether that is all of it; a damaged one is like no other."""
    from hashlib import blake2b

    from logrotor.disk import codecs

    digest, left = blake2b(digest_size=16), length
    try:
        with LogDir(archive.directory) as here, contextlib.ExitStack() as opened:
            fd = here.open_archive(archive.entry.name, archive.entry.id)
            opened.callback(os.close, fd)
            for data in codecs.decompressed(fd, archive.name.codec):
                if stop():
                    raise Interrupted("stopped while archives were compared")
                digest.update(data[:left])
                left -= len(data)
                if left < 0:
                    break
    except Interrupted:
        raise
    except (LogrotorError, OSError, EOFError, ValueError):
        return os.fsencode(archive.path), True
    return digest.digest(), left >= 0


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


def _longer(one: Archive, form: Archive, beside: str, stop: Stop) -> int | None:
    """As of :func:`longer`; opens nothing where times and names tell that they are two generations."""
    if one.entry.id == form.entry.id:
        return None
    one_time = _moment(one) == _moment(form) and _have_one_time(one, form)
    if not one_time and not _may_have_grown(one, form, beside):
        return None
    one_place = _share_place(one, form, beside)
    return longer(one, form, stop=stop, one_time=one_time, one_place=one_place)


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


def longer(one: Archive, form: Archive, *, one_time: bool, one_place: bool, stop: Stop = lambda: False) -> int | None:
    """Is the second archive a form of the first? A damaged one is of none.

    0: it is, with the same bytes; 1: the first has grown since, -1: the second has; None: two generations.
    ``one_time``, ``one_place``: do their times, and their names, say so? Raises Interrupted.
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
            found = codecs.longer((first, one.name.codec), (second, form.name.codec), stop=stop)
            return found if (found == 0 and same) or (found is not None and grown) else None
    except Interrupted:
        raise
    except (LogrotorError, OSError, EOFError, ValueError):
        return None


def _was_source(plain: int, form: int, *, one_place: bool) -> bool:
    """Was the form made of this very file? By what is noted on it; where nothing is, by their names."""
    older = descent.outlives(plain, form)
    if descent.has_noted(form):
        return descent.inode(form) == descent.inode(plain) and (one_place if older is None else older)
    return one_place and older is not False


# ---------------------------------------------------------------- set aside by an older logrotor


def find_set_aside(base: str, directories: Sequence[Directory], stop: Stop = lambda: False) -> None:
    """Take what an older logrotor had set aside, by the name of an unfinished archive, for the archive that it is.

    It is known by the archive that was made of it: that noted its inode, is younger, and holds its first bytes. The
    inode alone tells nothing: a copy in the making may have got that of an archive which was compressed and removed.
    Raises Interrupted.
    """
    families = [(d.resolved, d.families[base]) for d in directories if base in d.families]
    temps = [(*found, temp, name) for found in families for temp in found[1].temps if (name := _set_aside(temp))]
    made_of: dict[bytes, list[Archive]] = defaultdict(list)
    for archive in [archive for _, family in families for archive in family.archives] if temps else ():
        made_of[descent.source_of(archive.path, archive.entry.stat).split()[0]].append(archive)
    known: set[int] = set()
    for directory, family, temp, name in temps:
        forms = made_of.get(b"%d" % temp.id.inode, [])
        if any(_is_made_of(archive, directory, temp, stop) for archive in forms):
            family.archives.append(Archive(name, temp, directory))
            known.add(id(temp))
    for _, family in families if known else ():
        family.temps = [temp for temp in family.temps if id(temp) not in known]


def _set_aside(temp: Entry) -> ArchiveName | None:
    """The name that a temp had if it was set aside: only a plain archive can have been."""
    name = parse_temp(temp.name) if temp.is_regular else None
    return name if name is not None and name.codec is Codec.NONE else None


def _is_made_of(form: Archive, directory: str, original: Entry, stop: Stop) -> bool:
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
            return codecs.longer((plain, Codec.NONE), (made, form.name.codec), stop=stop) in (0, 1)
    except Interrupted:
        raise
    except (LogrotorError, OSError, EOFError, ValueError):
        return False
