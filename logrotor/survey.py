"""From the rules to the facts: which files there are, which rule has each, and what is known of it. Changes nothing."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from msgspec import Struct, field

from logrotor.decide.facts import Directory, Family, LogFacts
from logrotor.decide.naming import is_ours, stamp_of
from logrotor.disk import discover, ownership, snapshot, writers
from logrotor.disk.calls import birth_time
from logrotor.disk.directories import Directories
from logrotor.errors import LogrotorError, UnknownSelection
from logrotor.model import (
    Archive,
    Codec,
    Config,
    Entry,
    FileId,
    LogMemory,
    LogSpec,
    Method,
    Missing,
    Waiting,
    Writers,
    Written,
)

_STREAM = re.compile(r"/dev/(?!shm/)|/proc/[^/]+/fd/")
_NO_DUPLICATES: Mapping[str, str] = MappingProxyType({})  # one for all: there can be 100,000 logs
Remember = Callable[[str], LogMemory]


class Survey(Struct):
    """What was found. ``problems``: rules and directories that failed, each alone."""

    logs: list[LogFacts] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    skipped: list[Waiting] = field(default_factory=list)
    shadowed: list[Waiting] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    directories: dict[str, FileId] = field(default_factory=dict)  # by their paths without symlinks
    locked: list[str] = field(default_factory=list)  # those of them in which a run works, or was killed


class _Claim(Struct, frozen=True):
    """A log, and the rule that has it."""

    spec: LogSpec
    directory: Directory
    base: str
    path: str
    literal: bool


class Surveyor:
    """One survey of one configuration, used as a context manager. Directories are looked at once each."""

    def __init__(self, config: Config, remember: Remember, only: Sequence[str] = ()) -> None:
        self._config, self._remember, self._only = config, remember, tuple(only)
        self._looked: dict[str, Directory] = {}
        self._by_id: dict[FileId, Directory] = {}
        self._sources: dict[FileId, set[FileId | None]] = {}  # archive directory -> directories of its logs
        self._mounted = mount_points()
        self._processes: writers.Processes | None = None
        self._unusable: list[discover.Selector] = []  # globs in directories with a problem
        self.found = Survey()
        self._dirs = Directories(self.found.directories)

    def __enter__(self) -> Surveyor:
        return self

    def __exit__(self, *_: object) -> None:
        self._dirs.__exit__()
        self.found = Survey()  # its proofs know us: a circle, which would keep the facts of all logs in memory

    def survey(self) -> Survey:
        """What there is. Who writes an archive is found out when it is asked, as long as the surveyor is open."""
        for _ in self.walk():
            pass
        return self.found

    def walk(self) -> Iterator[LogFacts]:
        """The same, log by log: the rest of ``found`` is whole only at the end."""
        claims: Iterable[_Claim] = self._claims()
        places: dict[tuple[object, str], str] = {}
        if self._only:
            claims = self._selected(list(claims))
        if any(spec.archive_dir is not None for spec in self._config.logs):
            claims = list(claims)
            places = {(claim.directory.id or claim.path, claim.base): claim.path for claim in claims}
        for claim in claims:
            facts = self._facts(claim, places)
            if facts is not None:
                self.found.logs.append(facts)
                yield facts

    # ------------------------------------------------------------ claims

    def _claims(self) -> Iterable[_Claim]:
        claimed: dict[tuple[object, str], LogSpec] = {}
        selectors = list(discover.discover(self._config.logs))
        self._note_archive_dirs(selectors)
        for selector in selectors:
            directory = self._look(selector.directory)
            if directory.problem is not None and selector.name is None:
                self._unusable.append(selector)
                if directory.problem not in self.found.problems:
                    self.found.problems.append(directory.problem)
                continue
            excludes, place = selector.spec.exclude, os.path.join(directory.resolved or directory.path, "")
            for base in self._bases(selector, directory):
                if excludes and discover.is_excluded(selector.spec, os.path.join(selector.directory, base)):
                    continue
                claim = _Claim(selector.spec, directory, base, place + base, selector.name is not None)
                key = (directory.id or directory.path, base)
                if key not in claimed:
                    claimed[key] = selector.spec
                    yield claim
                elif claimed[key] is not selector.spec:
                    reason = f"rule {claimed[key].name} has it; {selector.spec.name} names it too"
                    self.found.shadowed.append(Waiting(claim.path, reason))

    def _bases(self, selector: discover.Selector, directory: Directory) -> list[str]:
        """Names of logs: those that are there, and those of which only archives or temps are left."""
        if selector.name is not None:
            return [selector.name]
        families: Mapping[str, Family] = directory.families
        if archived := self._archived(selector.spec, directory):
            families = {**archived, **families}
        # The name of a live log that is there was taken for no archive: only of others it has to be asked.
        return sorted(
            base
            for base, family in families.items()
            if selector.takes(base) and not (_is_directory(family) if family.live is not None else is_ours(base))
        )

    def _note_archive_dirs(self, selectors: Iterable[discover.Selector]) -> None:
        """Which directories have their archives in which archive directory?"""
        for selector in selectors:
            live = self._look(selector.directory)
            found = self._look_for_archives(selector.spec, live)
            if found is not None and found.id is not None:
                self._sources.setdefault(found.id, set()).add(live.id)

    def _archived(self, spec: LogSpec, directory: Directory) -> Mapping[str, Family]:
        """What an archive directory tells of logs that are gone, if it belongs to this one directory."""
        found = self._look_for_archives(spec, directory)
        if found is None or found.id is None or len(self._sources[found.id]) > 1:
            return {}
        return {base: Family() for base in found.families if base not in directory.families}

    def _look_for_archives(self, spec: LogSpec, directory: Directory) -> Directory | None:
        if spec.archive_dir is None:
            return None
        return self._look(os.path.join(directory.resolved or directory.path, spec.archive_dir))

    def _selected(self, claims: list[_Claim]) -> list[_Claim]:
        names = {claim.spec.name for claim in claims} | {spec.name for spec in self._config.logs}
        paths = {name: os.path.abspath(name) for name in self._only}
        chosen = [c for c in claims if c.spec.name in self._only or any(_same(c, path) for path in paths.values())]
        for name in self._only:
            if name not in names and not any(_same(c, paths[name]) for c in claims) and not self._is_lost(paths[name]):
                raise UnknownSelection(
                    f"{name}: neither a rule nor a log of this configuration; rules: {', '.join(sorted(names))}"
                )
        return chosen

    def _is_lost(self, path: str) -> bool:
        """Would it be a log, were its directory not refused? ``problems`` says why that is."""
        directory, base = os.path.split(path)
        place = os.path.realpath(directory)
        return any(os.path.realpath(s.directory) == place and s.takes(base) for s in self._unusable)

    # ------------------------------------------------------------ facts

    def _facts(self, claim: _Claim, places: dict[tuple[object, str], str]) -> LogFacts | None:
        spec, directory = claim.spec, claim.directory
        family = directory.families.get(claim.base) or Family()
        if self._is_none_of_ours(claim, family):
            return None
        memory = self._remember(claim.path)
        archive_dir, refusal = self._archive_dir(claim, places)
        elsewhere = self._elsewhere(directory, archive_dir, memory)
        if self._is_missing(claim, family) and not any(claim.base in d.families for d in (directory, *elsewhere)):
            return None
        archives = family.archives
        if elsewhere:
            archives = [*archives, *(a for d in elsewhere for a in _archives(d, claim.base))]
        names = _Names(claim.base, (directory, *elsewhere))
        return LogFacts(
            spec=spec,
            path=claim.path,
            base=claim.base,
            directory=directory,
            family=family,
            elsewhere=elsewhere,
            archive_dir=archive_dir,
            memory=memory,
            writers=_Proofs(self, directory.resolved, family, archives, names),
            duplicates=_duplicates(archives, directory.resolved, names),
            birth=partial(_birth, claim.path),
            literal=claim.literal,
            refusal=refusal or self._refusal(claim, family),
            proof=self._proof(claim, family),
        )

    def _is_none_of_ours(self, claim: _Claim, family: Family) -> bool:
        """A link to /dev/stdout, as in many containers, is no file to rotate; a stranger's link is an error."""
        live = family.live
        if live is None or not stat.S_ISLNK(live.stat.st_mode) or live.stat.st_uid not in (0, os.geteuid()):
            return False
        try:
            target = os.readlink(claim.path)
        except OSError:
            return False
        if not _STREAM.match(os.path.normpath(target)):
            return False
        self.found.skipped.append(Waiting(claim.path, f"links to {target}"))
        return True

    def _is_missing(self, claim: _Claim, family: Family) -> bool:
        if family.live is not None or not claim.literal or claim.directory.problem is not None:
            return False
        if claim.spec.missing is Missing.ERROR:
            self.found.problems.append(f"{claim.path}: does not exist, and rule {claim.spec.name} says missing = error")
        elif not claim.spec.create_missing:
            self.found.missing.append(claim.path)
        return not claim.spec.create_missing

    def _archive_dir(self, claim: _Claim, places: dict[tuple[object, str], str]) -> tuple[str | None, str | None]:
        """Where finished archives go (None: beside the log), and why that cannot be."""
        directory = self._look_for_archives(claim.spec, claim.directory)
        if directory is None:
            return None, None
        if directory.problem is not None:
            return None, directory.problem
        if directory.id is not None and directory.id == claim.directory.id:
            return None, None
        path = directory.resolved or os.path.normpath(directory.path)
        owner = places.setdefault((directory.id or path, claim.base), claim.path)
        if owner != claim.path:
            why = f"{path}: archives of {owner} and of {claim.path} would have the same names there"
            return None, f"{why}; give one of the two rules another archive_dir"
        return path, None

    def _elsewhere(self, beside: Directory, archive_dir: str | None, memory: LogMemory) -> tuple[Directory, ...]:
        if not archive_dir and not memory.archive_dirs:
            return ()
        paths = dict.fromkeys(([archive_dir] if archive_dir else []) + list(memory.archive_dirs))
        found = [self._look(path) for path in paths if path is not None]
        return tuple(d for d in found if not d.missing and (d.id is None or d.id != beside.id))

    def prove(self, directory: str, entry: Entry, names: int) -> Writers | None:
        """Who writes this file; None where it cannot be opened."""
        known = self._look(directory)
        kind = known.file_system.type if known.file_system is not None else "unknown"
        processes = self._look_at_processes() if entry.stat.st_uid != os.geteuid() else None
        try:
            with self._dirs.use(directory) as logdir:
                found = snapshot.writers_of(logdir, entry, kind, processes, names)
        except (LogrotorError, OSError):
            return None
        if isinstance(found, Written) and not found.pids:  # the lease tells that somebody writes; /proc tells who
            return Written(found.proof, self._look_at_processes().pids(entry.id))
        return found

    def _look_at_processes(self) -> writers.Processes:
        if self._processes is None:
            self._processes = writers.Processes.look()
        return self._processes

    def _refusal(self, claim: _Claim, family: Family) -> str | None:
        if family.live is None or claim.spec.method is Method.COPYTRUNCATE:
            return None
        if claim.path in self._mounted:
            return (
                f"{claim.path}: is mounted by itself (a bind-mounted file) and cannot be renamed; "
                'mount its directory, or set method = "copytruncate"'
            )
        if claim.spec.create and family.live.stat.st_uid != os.geteuid():
            directory = os.stat(claim.directory.resolved)
            return ownership.why_locked_out(claim.path, family.live.stat, directory, claim.spec.create_mode)
        return None

    def _proof(self, claim: _Claim, family: Family) -> str:
        system = claim.directory.file_system
        if family.live is None or system is None:
            return ""
        return writers.expected_proof(family.live.stat.st_uid, system.type)

    # ------------------------------------------------------------ directories

    def _look(self, path: str) -> Directory:
        found = self._looked.get(path)
        if found is None:
            found = snapshot.look(path)
            if found.id is not None:
                self.found.directories[found.resolved] = found.id
                if found.locked and found.resolved not in self.found.locked:
                    self.found.locked.append(found.resolved)
                found = self._by_id.setdefault(found.id, found)
                self._looked[found.resolved] = found
            self._looked[path] = found
        return found


def _same(claim: _Claim, path: str) -> bool:
    directory, name = os.path.split(path)
    return name == claim.base and os.path.realpath(directory) == os.path.realpath(os.path.dirname(claim.path))


def _is_directory(family: Family) -> bool:
    """A glob for logs means files: directories that match it are passed over."""
    return family.live is not None and family.live.kind == "directory"


def _archives(directory: Directory, base: str) -> list[Archive]:
    family = directory.families.get(base)
    return family.archives if family is not None else []


class _Proofs(Mapping[FileId, Writers]):
    """Who writes the replacement and each plain archive of a log: everything that somebody could still write.

    Each is proved when it is asked for: of most logs nobody asks, and a proof takes six system calls.
    """

    __slots__ = ("_archives", "_beside", "_family", "_found", "_names", "_surveyor")

    def __init__(
        self, surveyor: Surveyor, beside: str, family: Family, archives: Sequence[Archive], names: _Names
    ) -> None:
        self._surveyor, self._beside, self._family = surveyor, beside, family
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
                found = self._surveyor.prove(directory, entry, self._names.of(file)) or found
        return found


class _Names:
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


def _duplicates(archives: Sequence[Archive], beside: str, names: _Names) -> Mapping[str, str]:
    """Archives whose finished form is published already: what a crash between the two steps leaves."""
    if len(archives) < 2:
        return _NO_DUPLICATES
    if len({(a.directory, a.name.codec is Codec.NONE) for a in archives}) < 2:  # none is another one's finished form
        return _NO_DUPLICATES
    known = [a for a in archives if a.entry.is_regular and a.entry.stat.st_nlink <= names.of(a.entry.id)]
    found: dict[str, str] = {}
    for one in known if len(known) > 1 else ():
        for twin in known:
            most = max(names.of(one.entry.id), names.of(twin.entry.id))
            if _could_be_twins(one, twin, beside) and snapshot.are_equal(one, twin, most):
                found[one.path] = twin.path
                break
    return found


def _could_be_twins(one: Archive, twin: Archive, beside: str) -> bool:
    """Could ``twin`` be the finished form of ``one``? Only then are their bytes compared."""
    compressed = one.name.codec is Codec.NONE and twin.name.codec is not Codec.NONE
    relocated = one.name.codec is twin.name.codec and one.directory == beside != twin.directory
    if one.entry.id == twin.entry.id or not (compressed or relocated):
        return False
    if one.name.slot is not None and twin.name.slot is None:
        # The same second is not enough: two generations of a log that repeats itself could have the same bytes.
        same_time = one.entry.stat.st_mtime_ns == twin.entry.stat.st_mtime_ns
        return same_time and twin.name.stamp == stamp_of(one.entry.mtime)
    return (one.name.slot, one.name.stamp, one.name.copy) == (twin.name.slot, twin.name.stamp, twin.name.copy)


def _birth(path: str) -> float | None:
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return birth_time(fd)
    finally:
        os.close(fd)


def mount_points() -> frozenset[str]:
    """Every mount point: a file among them is bind-mounted (proc(5), mountinfo; octal escapes for odd characters)."""
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            points = [line.split(b" ")[4] for line in table]
    except OSError:
        return frozenset()
    return frozenset(os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), p)) for p in points)
