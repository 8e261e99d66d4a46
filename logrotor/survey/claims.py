"""Which rule has which log: the first that names it. And which log the archives in an archive directory belong to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from glob import has_magic
from itertools import islice

from msgspec import Struct, field

from logrotor.decide.facts import Directory, LogFacts
from logrotor.decide.naming import is_in_progress
from logrotor.disk import discover, mounts, state
from logrotor.disk.mounts import Mounts
from logrotor.errors import UnknownSelection
from logrotor.model import FileId, LogHistories, LogSpec, Missing, Note, Problem, Vanished
from logrotor.survey.kinds import Kinds
from logrotor.survey.listings import Answers, Listings
from logrotor.survey.named import ArchiveOwners, NamedLogs, is_excluded

_MOST_GONE = 1000  # logs that are looked for where they were


class Survey(Struct):
    """What was found. ``problems``: rules and directories that failed, each alone."""

    logs: list[LogFacts] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    required: list[Note] = field(default_factory=list)  # what is missing and must not; in ``problems`` as well
    unmatched: list[Note] = field(default_factory=list)  # rules with globs of which no path matches a log
    skipped: list[Note] = field(default_factory=list)
    shadowed: list[Note] = field(default_factory=list)
    vanished: list[Vanished] = field(default_factory=list)
    unclear: list[Problem] = field(default_factory=list)  # files that may be logs or archives
    problems: list[Problem] = field(default_factory=list)
    directories: dict[str, FileId] = field(default_factory=dict)  # by their paths without symlinks
    locked: list[str] = field(default_factory=list)  # those of them in which a run works, or was killed

    def note(self, problem: Problem) -> None:
        """Once: of a directory, a rule, a file system."""
        if problem not in self.problems:
            self.problems.append(problem)

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
        table: Mounts,
        answers: Answers,
    ) -> None:
        self._specs, self._listings, self._found = specs, listings, found
        self._state = _id_of(state_dir)
        self.named = NamedLogs(specs, table)
        self._kinds = Kinds(self.named.says, history, found.unclear)
        self._settle(answers, history)
        self.owners = ArchiveOwners(self.named, listings, history)
        self._unusable: list[discover.Selector] = []  # globs in directories with a problem
        self._matching: set[tuple[str, str]] = set()  # rules, each with a path of it that has a log
        for unlisted in self.named.unlisted:
            self._matching.add((unlisted.spec.name, unlisted.path))
            found.note(unlisted.problem)

    def _settle(self, answers: Answers, history: LogHistories | None) -> None:
        """Which file is whose, before any of them is counted as an archive, or claimed as a log."""
        pairs = [(selector, self._listings.look(selector.directory)) for selector in self.named.selectors]
        stores = [self._listings.archive_dir(selector.spec, directory) for selector, directory in pairs]
        sought = {id(directory): directory for _, directory in pairs}
        if history is not None:
            history.want(selector.path for selector in self.named.selectors)
            history.want(path for each in (*sought.values(), *stores) if each is not None for path in _paths(each))
        for directory in sought.values():
            self._kinds.settle(directory)
        for selector, directory in pairs:
            if directory.problem is not None or directory.closed is not None:
                answers.give(directory, selector.spec)
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
                if not has_magic(os.path.dirname(selector.path)) or not discover.is_left_out(spec, selector.directory):
                    self._found.note(directory.problem)
                return []
        bases, place = self._bases(selector, directory), os.path.join(directory.resolved or directory.path, "")
        if spec.exclude:
            bases = [base for base in bases if not is_excluded(selector, base)]
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

    def note_vanished(self, rotated: Iterable[str]) -> None:
        """Once all were claimed: directories of which nothing is there of what earlier runs have ``rotated``.

        A single log that is gone may be meant so; all of a directory, with all archives, look like one that is not
        mounted. With create = false, it is the run that takes a log away.
        """
        gone = (path for path in rotated if not self.is_unseen(path))
        lost: dict[tuple[str, str], list[str]] = {}
        for path in islice(gone, _MOST_GONE):
            spec, directory = self.named.rule_meaning(path), self._listings.look(os.path.dirname(path))
            if directory.problem is not None and spec is not None:
                self._found.note(directory.problem)
            elif spec is not None and (spec.create or directory.missing):
                lost.setdefault((os.path.dirname(path), spec.name), []).append(path)
        for (place, rule), logs in lost.items():
            is_there = not self._listings.look(place).missing
            self._found.vanished.append(Vanished(place, rule, tuple(sorted(logs)), is_there))

    def select(self, claims: Sequence[Claim], only: Sequence[str]) -> list[Claim]:
        """Those of which ``only`` has the rule, the path, or a name that no other has. Raises UnknownSelection."""
        rules = {spec.name for spec in self._specs}
        paths = {self.named.real_path(claim.path): claim.path for claim in claims}
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
        unusable = any(selector is each for selector in self.named.naming(path) for each in self._unusable)
        return unusable or self.is_unseen(path)

    def is_unseen(self, path: str) -> bool:
        """Does it lie in or below a directory that a glob comes to and that could not be looked into?"""
        return any(path.startswith(os.path.join(each.directory, "")) for each in self.named.unlisted)


def real_path(given: str) -> str:
    """Absolute, without symlinks on the way to its last part."""
    head, name = os.path.split(os.path.abspath(given))
    return os.path.join(mounts.real_path(head), name)


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


def _paths(directory: Directory) -> Iterator[str]:
    """Of the logs whose files lie there, and of what has the name of an archive."""
    for base, family in directory.families.items():
        yield os.path.join(directory.resolved, base)
        yield from (archive.path for archive in family.archives)


def _has_live(directory: Directory, base: str) -> bool:
    family = directory.families.get(base)
    return family is not None and family.live is not None


def _id_of(path: str) -> FileId | None:
    """Which directory this is, whatever its path looks like; None: there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return FileId(status.st_dev, status.st_ino)
