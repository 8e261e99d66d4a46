"""What is asked of few logs, and costs more than a look at their directory: found out when it is asked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from logrotor.decide.facts import Directory, Family
from logrotor.decide.naming import is_dated_by, parse_temp
from logrotor.disk import snapshot, writers
from logrotor.disk.calls import birth_time
from logrotor.disk.directories import Directories
from logrotor.errors import LogrotorError
from logrotor.model import Archive, Codec, Entry, FileId, Writers, Written
from logrotor.survey.listings import Listings

_COARSE = (100, 1_000, 10_000_000, 1_000_000_000, 2_000_000_000)  # nanoseconds that some file systems cut times to


class Prover:
    """Finds out who writes a file, as long as ``dirs`` are open; the processes are looked at once."""

    def __init__(self, listings: Listings, dirs: Directories) -> None:
        self._listings, self._dirs = listings, dirs
        self._processes: writers.Processes | None = None

    def prove(self, directory: str, entry: Entry, names: int) -> Writers | None:
        """Who writes this file; None where it cannot be opened."""
        known = self._listings.look(directory)
        kind = known.file_system.type if known.file_system is not None else "unknown"
        processes = self._look_at_processes() if entry.stat.st_uid != os.geteuid() else None
        try:
            with self._dirs.use(directory) as logdir:
                found = snapshot.writers_of(logdir, entry, kind, processes, names)
        except (LogrotorError, OSError):
            return None
        if isinstance(found, Written) and not found.pids:  # the lease tells that somebody writes; /proc tells who
            return self._look_at_processes().writing(entry.id, found.proof)
        return found

    def _look_at_processes(self) -> writers.Processes:
        if self._processes is None:
            self._processes = writers.Processes.look()
        return self._processes


class Proofs(Mapping[FileId, Writers]):
    """Who writes the replacement and each plain archive of a log: everything that somebody could still write.

    Each is proved when it is asked for: of most logs nobody asks, and a proof takes six system calls.
    """

    __slots__ = ("_archives", "_beside", "_family", "_found", "_names", "_prover")

    def __init__(self, prover: Prover, beside: str, family: Family, archives: Sequence[Archive], names: Names) -> None:
        self._prover, self._beside, self._family = prover, beside, family
        self._archives, self._names = archives, names
        self._found: dict[FileId, Writers | None] | None = None

    def __getitem__(self, file: FileId) -> Writers:
        if self._found is None:
            self._found = {}
        if file not in self._found:
            self._found[file] = self._prove(file)
        found = self._found[file]
        if found is None:
            raise KeyError(file)
        return found

    def __iter__(self) -> Iterator[FileId]:
        return (file for file in dict.fromkeys(entry.id for _, entry in self._wanted()) if self.get(file) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _wanted(self) -> Iterator[tuple[str, Entry]]:
        for archive in self._archives:
            if archive.name.codec is Codec.NONE and archive.entry.is_regular:
                yield archive.directory, archive.entry
        if self._family.replacement is not None and self._family.replacement.is_regular:
            yield self._beside, self._family.replacement

    def _prove(self, file: FileId) -> Writers | None:
        """A file with two names of ours is proved by the last of them that opens."""
        found = None
        for directory, entry in self._wanted():
            if entry.id == file:
                found = self._prover.prove(directory, entry, self._names.of(file)) or found
        return found


class Names:
    """How many names of ours each file of a log has: two, where a crash came between a link and an unlink."""

    __slots__ = ("_base", "_directories", "_found")

    def __init__(self, base: str, directories: tuple[Directory, ...]) -> None:
        self._base, self._directories = base, directories
        self._found: Counter[FileId] | None = None

    def of(self, file: FileId) -> int:
        if self._found is None:
            self._found = Counter()
            for directory in self._directories:
                family = directory.families.get(self._base) or Family()
                entries = [family.live, family.replacement, *family.temps, *(a.entry for a in family.archives)]
                self._found.update(entry.id for entry in entries if entry is not None)
        return self._found[file]


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
            if any(snapshot.is_made_of(archive, temp) for _, other in families for archive in other.archives):
                family.temps.remove(temp)
                family.archives.append(Archive(name, temp, directory))


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
    known = [a for a in archives if a.entry.is_regular and a.entry.stat.st_nlink <= names.of(a.entry.id)]
    known.sort(key=lambda archive: _rank(archive, beside))
    plain = [archive.name.codec is Codec.NONE for archive in known]
    if not any(plain) and len({_moment(archive) for archive in known}) == len(known):
        return {}  # every form of a generation has its time
    found: dict[str, str] = {}
    for number, one in enumerate(known):
        for form in reversed(known[number + 1 :]):
            if not plain[number] and _moment(one) != _moment(form):
                continue
            longer = _longer(one, form, beside, names)
            if longer == 1:
                found[form.path] = one.path
            elif longer is not None:
                found[one.path] = form.path
                break
    return found


def _moment(archive: Archive) -> int:
    """As exactly as the coarsest file system keeps it."""
    return archive.entry.stat.st_mtime_ns // _COARSE[-1]


def _longer(one: Archive, form: Archive, beside: str, names: Names) -> int | None:
    """As of :func:`snapshot.longer`; opens nothing where times and names tell that they are two generations."""
    if one.entry.id == form.entry.id:
        return None
    one_time = _moment(one) == _moment(form) and _have_one_time(one, form)
    if not one_time and not _may_have_grown(one, form, beside):
        return None
    one_place = _share_place(one, form, beside)
    most = max(names.of(one.entry.id), names.of(form.entry.id))
    return snapshot.longer(one, form, most, one_time=one_time, one_place=one_place)


def _may_have_grown(one: Archive, form: Archive, beside: str) -> bool:
    """Is the form where a run would leave it that was killed before the plain one went, and has that a later time?"""
    if one.name.codec is not Codec.NONE or (form.name.codec is not Codec.NONE and form.entry.mtime > one.entry.mtime):
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
    compressed = one.name.codec is Codec.NONE and form.name.codec is not Codec.NONE
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


def birth(path: str) -> float | None:
    """When a file was born (epoch seconds), if it can be opened and its file system knows."""
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return birth_time(fd)
    finally:
        os.close(fd)
