"""Which rule has which log: the first that names it. And which log the archives in an archive directory belong to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from glob import has_magic

from msgspec import Struct, field

from logrotor.decide.facts import Directory, LogFacts
from logrotor.decide.naming import is_in_progress
from logrotor.decide.whose import Named
from logrotor.disk import discover, state
from logrotor.errors import UnknownSelection
from logrotor.model import FileId, LogHistories, LogSpec, Missing, Note, Problem
from logrotor.survey.kinds import Kinds
from logrotor.survey.listings import Listings, path_of


class Survey(Struct):
    """What was found. ``problems``: rules and directories that failed, each alone."""

    logs: list[LogFacts] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    required: list[Note] = field(default_factory=list)  # what is missing and must not; in ``problems`` as well
    unmatched: list[Note] = field(default_factory=list)  # rules with globs of which no path matches a log
    skipped: list[Note] = field(default_factory=list)
    shadowed: list[Note] = field(default_factory=list)
    unclear: list[Problem] = field(default_factory=list)  # files that may be logs or archives
    problems: list[Problem] = field(default_factory=list)
    directories: dict[str, FileId] = field(default_factory=dict)  # by their paths without symlinks
    locked: list[str] = field(default_factory=list)  # those of them in which a run works, or was killed

    def require(self, path: str, why: str) -> None:
        self.required.append(Note(path, why))
        self.problems.append(Problem(subject=path, problem=why))


class Claim(Struct, frozen=True):
    """A log, and the rule that has it."""

    spec: LogSpec
    directory: Directory
    base: str
    path: str
    literal: bool


class NamedLogs:
    """The logs that the rules name, whether or not they exist."""

    def __init__(self, specs: tuple[LogSpec, ...]) -> None:
        self.selectors = list(discover.discover(specs))
        self._real: dict[str, str] = {}

    def naming(self, path: str) -> list[discover.Selector]:
        """What selects a log of this path."""
        directory, base = os.path.split(path)
        globs = self._by_name.get((self._real_path(directory), None), ())
        return self.naming_literally(directory, base) + [each for each in globs if each.takes(base)]

    def naming_literally(self, directory: str, base: str) -> list[discover.Selector]:
        """What selects this log alone."""
        return self._by_name.get((self._real_path(directory), base), [])

    def says(self, directory: Directory, name: str) -> Named:
        """What the paths of the rules say of a name in a directory."""
        literal, globs = (self._by_name.get((directory.resolved, key), ()) for key in (name, None))
        if any(not _is_excluded(each, name) for each in literal):
            return Named.LITERALLY
        matched = any(each.takes(name) and not _is_excluded(each, name) for each in globs)
        return Named.MATCHED if matched else Named.NOT

    def _real_path(self, directory: str) -> str:
        if directory not in self._real:  # with what is known of the one above: they may be nested a thousand deep
            above, name = os.path.split(directory)
            is_below = above in self._real and name not in ("", ".", "..") and not os.path.islink(directory)
            self._real[directory] = os.path.join(self._real[above], name) if is_below else os.path.realpath(directory)
        return self._real[directory]

    def rule_for(self, path: str) -> str | None:
        """The rule that would have a log at ``path``, were there one."""
        is_no_log = is_in_progress(os.path.basename(path))
        found = [s for s in self.naming(path) if not (s.name is None and is_no_log) and not _is_excluded(s, path)]
        return min(found, key=self.selectors.index).spec.name if found else None

    @cached_property
    def _by_name(self) -> Mapping[tuple[str, str | None], list[discover.Selector]]:
        """By directory and name; all patterns of a directory under None."""
        found: dict[tuple[str, str | None], list[discover.Selector]] = {}
        for selector in self.selectors:
            found.setdefault((self._real_path(selector.directory), selector.name), []).append(selector)
        return found


class ArchiveOwners:
    """Which log the archives of one name in a directory belong to: to one only, since nobody could tell two apart.

    It is the log that lies there; else the log that the history names, as long as a rule names it or it exists; else,
    in an archive directory, the first log of that name, in file order, that is to have its archives there.
    """

    def __init__(self, named: NamedLogs, listings: Listings, history: LogHistories | None) -> None:
        self._named, self._history = named, history
        self._first: dict[tuple[object, str], str] = {}
        self._users: dict[object, set[str]] = {}  # archive directory -> the directories of its logs
        self._archived: dict[object, dict[str | None, list[str]]] = {}  # archive directory -> directory -> its logs
        for selector in named.selectors:
            directory = listings.look(selector.directory)
            if (archive_dir := listings.archive_dir(selector.spec, directory)) is not None:
                self._users.setdefault(_key(archive_dir), set()).add(path_of(directory))

    def add(self, path: str, archive_dir: Directory) -> None:
        """A log that is to have its archives there; in file order."""
        self._first.setdefault((_key(archive_dir), os.path.basename(path)), path)

    def owner(self, directory: Directory, base: str) -> str | None:
        """The path of the log; None: neither the history nor a rule names one."""
        if self._is_log(directory, base):
            return os.path.join(path_of(directory), base)
        return self._recorded(directory, base) or self._first.get((_key(directory), base))

    def is_of_gone_log(self, directory: Directory, base: str) -> bool:
        """Do archives or temps of a log that is not there belong to a log in this directory?"""
        return bool(directory.families[base].replacement) or self._origin(directory, base) == path_of(directory)

    def gone_logs(self, directory: Directory, archive_dir: Directory) -> list[str]:
        """Names of logs of a directory of which only archives are left, all of them in their archive directory."""
        key = _key(archive_dir)
        if key not in self._archived:
            found = self._archived[key] = {}
            for base in archive_dir.families:
                found.setdefault(self._origin(archive_dir, base), []).append(base)
        names = self._archived[key].get(path_of(directory), ())
        return [base for base in names if base not in directory.families and not self._is_log(archive_dir, base)]

    def _is_log(self, directory: Directory, base: str) -> bool:
        """Does a log lie there, a rule's or somebody else's, or does a rule name one by its path?"""
        family = directory.families.get(base)
        if family is not None and family.live is not None and family.live.is_regular:
            return True
        return any(not _is_excluded(each, base) for each in self._named.naming_literally(path_of(directory), base))

    def _origin(self, directory: Directory, base: str) -> str | None:
        """The directory of the log, which is gone; None: nobody knows.

        Without a record, archives belong to a log in their directory, or in the one above it whose logs alone have
        their archives here. In any other archive directory, another program may have put them.
        """
        path, here = self._recorded(directory, base), path_of(directory)
        if path is not None:
            return os.path.dirname(path)
        users = self._users.get(_key(directory), set()) - {here}
        if not users:
            return here
        above = next(iter(users))
        return above if len(users) == 1 and here.startswith(os.path.join(above, "")) else None

    def _recorded(self, directory: Directory, base: str) -> str | None:
        """The log that has archives there by the history: it put them there, or was rotated there itself."""
        if self._history is None or base not in directory.families:
            return None
        path = self._history.keepers.get((directory.resolved, base))
        if path is None:
            path = os.path.join(directory.resolved, base)
            if self._history.of(path).last_rotation is None:
                return None
        return path if self._named.naming(path) or _exists(path) else None


class Claims:
    """All logs of the rules ``specs``, as an iterable; what is wrong with rules and directories goes to ``found``.

    ``state_dir``: a rule may reach it, but never has what logrotor itself keeps there.
    """

    def __init__(
        self,
        specs: tuple[LogSpec, ...],
        listings: Listings,
        found: Survey,
        *,
        state_dir: str,
        history: LogHistories | None,
    ) -> None:
        self._specs, self._listings, self._found = specs, listings, found
        self._state = _id_of(state_dir)
        self.named = NamedLogs(specs)
        self._kinds = Kinds(self.named.says, history, found.unclear)
        self._settle()
        self.owners = ArchiveOwners(self.named, listings, history)
        self._unusable: list[discover.Selector] = []  # globs in directories with a problem
        self._matching: set[tuple[str, str]] = set()  # rules, each with a path of it that has a log

    def _settle(self) -> None:
        """Which file is whose, before any of them is counted as an archive, or claimed as a log."""
        pairs = [(selector, self._listings.look(selector.directory)) for selector in self.named.selectors]
        sought = {id(directory): directory for _, directory in pairs}
        for directory in sought.values():
            self._kinds.settle(directory)
        stores = [self._listings.archive_dir(selector.spec, directory) for selector, directory in pairs]
        for store in {id(store): store for store in stores if store is not None and id(store) not in sought}.values():
            self._kinds.settle_store(store)

    def __iter__(self) -> Iterator[Claim]:
        claimed: dict[tuple[object, str], LogSpec] = {}
        for selector in self.named.selectors:
            for claim in self._claims(selector, self._listings.look(selector.directory)):
                key = (claim.directory.id or claim.directory.path, claim.base)
                if key not in claimed:
                    claimed[key] = claim.spec
                    yield claim
                elif claimed[key] is not claim.spec:
                    reason = f"rule {claimed[key].name} has it; {claim.spec.name} names it too"
                    self._found.shadowed.append(Note(claim.path, reason))

    def _claims(self, selector: discover.Selector, directory: Directory) -> list[Claim]:
        spec, which = selector.spec, (selector.spec.name, selector.path)
        if directory.problem is not None:
            self._matching.add(which)  # nobody knows, and the refusal is reported
            if selector.name is None:
                self._unusable.append(selector)
                if directory.problem not in self._found.problems:
                    self._found.problems.append(directory.problem)
                return []
        bases, place = self._bases(selector, directory), os.path.join(directory.resolved or directory.path, "")
        if spec.exclude:
            bases = [base for base in bases if not _is_excluded(selector, base)]
        if self._state is not None and directory.id == self._state:
            bases = [base for base in bases if not self._is_state(place + base)]
        if which not in self._matching and any(_has_live(directory, base) for base in bases):
            self._matching.add(which)
        return [Claim(spec, directory, base, place + base, selector.name is not None) for base in bases]

    def _bases(self, selector: discover.Selector, directory: Directory) -> list[str]:
        """Names of logs: those that are there, and those of which only archives or temps are left."""
        if selector.name is not None:
            return [selector.name]
        bases, place = [], os.path.join(directory.resolved, "")
        for base, family in directory.families.items():
            if not selector.takes(base):
                continue
            if family.live is not None:  # a glob for logs means files: directories that match it are passed over
                is_log = family.live.kind != "directory" and self._kinds.is_log(directory, base, place + base)
            else:
                is_log = not is_in_progress(base) and self.owners.is_of_gone_log(directory, base)
            if is_log:
                bases.append(base)
        archive_dir = self._listings.archive_dir(selector.spec, directory)
        if archive_dir is not None:
            gone = filter(selector.takes, self.owners.gone_logs(directory, archive_dir))
            bases += [base for base in gone if not is_in_progress(base)]
        return sorted(bases)

    def _is_state(self, path: str) -> bool:
        if not state.is_own(os.path.basename(path)):
            return False
        skipped = Note(path, "logrotor keeps its state in it")
        if skipped not in self._found.skipped:
            self._found.skipped.append(skipped)
        return True

    def note_unmatched(self, only: Sequence[str]) -> None:
        """Once all were claimed: globs, and whole rules, that match no log; those of ``only`` if it names any."""
        for spec in self._specs:
            without = [path for path in spec.paths if (spec.name, path) not in self._matching]
            globs = [path for path in without if has_magic(path)]
            if not globs or (only and spec.name not in only):
                continue
            if spec.missing is Missing.ERROR:
                for path in globs:
                    self._found.require(path, f"matches no log, and rule {spec.name} says missing = error")
            elif len(without) == len(spec.paths):
                self._found.unmatched.append(Note(spec.name, f"nothing matches {', '.join(without)}"))

    def select(self, claims: Sequence[Claim], only: Sequence[str]) -> list[Claim]:
        """Those of which ``only`` has the rule, the path, or a name that no other has. Raises UnknownSelection."""
        rules = {spec.name for spec in self._specs}
        paths = {real_path(claim.path): claim.path for claim in claims}
        chosen = set()
        for given in only:
            path = None if given in rules else find_path(given, paths)
            if path is not None:
                chosen.add(paths[path])
            elif given not in rules and not self._is_lost(real_path(given)):
                raise UnknownSelection(
                    f"{given}: neither a rule nor a log of this configuration; rules: {', '.join(sorted(rules))}"
                )
        return [claim for claim in claims if claim.path in chosen or claim.spec.name in only]

    def _is_lost(self, path: str) -> bool:
        """Would it be a log, were its directory not refused? ``problems`` says why that is."""
        return any(selector is each for selector in self.named.naming(path) for each in self._unusable)


def real_path(given: str) -> str:
    """Absolute, without symlinks on the way to its last part."""
    head, name = os.path.split(os.path.abspath(given))
    return os.path.join(os.path.realpath(head), name)


def find_path(given: str, paths: Iterable[str]) -> str | None:
    """The one of ``paths`` (without symlinks) that a user means, by its path or by a file name that only one has.

    None: none is. Raises UnknownSelection where several may be.
    """
    known = list(dict.fromkeys(paths))
    path = real_path(given)
    if path in known:
        return path
    found = [each for each in known if os.path.basename(each) == given]
    if len(found) > 1:
        raise UnknownSelection(f"{given}: may be any of {', '.join(found)}; give the whole path")
    return found[0] if found else None


def _key(directory: Directory | None) -> object:
    assert directory is not None
    return directory.id or path_of(directory)


def _is_excluded(selector: discover.Selector, path: str) -> bool:
    """Is the log left out? Its directory is named as in the rule, for the patterns of ``exclude`` are."""
    return discover.is_excluded(selector.spec, os.path.join(selector.directory, os.path.basename(path)))


def _has_live(directory: Directory, base: str) -> bool:
    family = directory.families.get(base)
    return family is not None and family.live is not None


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # nobody knows
        return True
    return True


def _id_of(path: str) -> FileId | None:
    """Which directory this is, whatever its path looks like; None: there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return FileId(status.st_dev, status.st_ino)
