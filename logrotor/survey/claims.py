"""Which rule has which log: the first that names it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from glob import has_magic
from typing import TYPE_CHECKING

from msgspec import Struct, field

from logrotor.decide.facts import Directory, Family, LogFacts
from logrotor.decide.naming import is_ours
from logrotor.disk import discover, state
from logrotor.errors import UnknownSelection
from logrotor.model import FileId, LogSpec, Missing, Note, Problem
from logrotor.survey.names import meant
from logrotor.survey.places import Places, id_of

if TYPE_CHECKING:
    from logrotor.disk.memory import Recollection


class Survey(Struct):
    """What was found. ``problems``: rules and directories that failed, each alone."""

    logs: list[LogFacts] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    required: list[Note] = field(default_factory=list)  # what is missing and must not; in ``problems`` as well
    unmatched: list[Note] = field(default_factory=list)  # rules with globs of which no path matches a log
    skipped: list[Note] = field(default_factory=list)
    shadowed: list[Note] = field(default_factory=list)
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


class Claims:
    """All logs of the rules ``specs``, as an iterable; what is wrong with rules and directories goes to ``found``.

    ``state_dir``: a rule may reach it, but never has what logrotor itself keeps there. ``known``: tells of logs that
    are gone whose archives lie elsewhere.
    """

    def __init__(
        self,
        specs: tuple[LogSpec, ...],
        places: Places,
        found: Survey,
        *,
        state_dir: str,
        known: Recollection | None,
    ) -> None:
        self._specs, self._places, self._found, self._known = specs, places, found, known
        self._state = id_of(state_dir)
        self._sources: dict[FileId, set[FileId | None]] = {}  # archive directory -> directories of its logs
        self._selectors: list[discover.Selector] = []
        self._unusable: list[discover.Selector] = []  # globs in directories with a problem
        self._matching: set[tuple[str, str]] = set()  # rules, each with a path of it that has a log

    def __iter__(self) -> Iterator[Claim]:
        claimed: dict[tuple[object, str], LogSpec] = {}
        self._selectors = list(discover.discover(self._specs))
        self._note_archive_dirs()
        for selector in self._selectors:
            directory = self._places.look(selector.directory)
            if directory.problem is not None and selector.name is None:
                self._unusable.append(selector)
                self._matching.add((selector.spec.name, selector.path))  # nobody knows
                if directory.problem not in self._found.problems:
                    self._found.problems.append(directory.problem)
                continue
            excludes, place = selector.spec.exclude, os.path.join(directory.resolved or directory.path, "")
            bases = self._bases(selector, directory)
            if self._state is not None and directory.id == self._state:
                bases = [base for base in bases if not self._is_state(place + base)]
            which = selector.spec.name, selector.path
            if which not in self._matching and any(_is_there(selector, directory, base) for base in bases):
                self._matching.add(which)
            for base in bases:
                if excludes and discover.is_excluded(selector.spec, os.path.join(selector.directory, base)):
                    continue
                claim = Claim(selector.spec, directory, base, place + base, selector.name is not None)
                key = (directory.id or directory.path, base)
                if key not in claimed:
                    claimed[key] = selector.spec
                    yield claim
                elif claimed[key] is not selector.spec:
                    reason = f"rule {claimed[key].name} has it; {selector.spec.name} names it too"
                    self._found.shadowed.append(Note(claim.path, reason))

    def _bases(self, selector: discover.Selector, directory: Directory) -> list[str]:
        """Names of logs: those that are there, and those of which only archives or temps are left."""
        if selector.name is not None:
            return [selector.name]
        families: Mapping[str, Family] = directory.families
        if directory.id is not None and self._sources.get(directory.id, set()) - {directory.id}:
            families = self._of_its_own(directory)
        if archived := self._archived(selector.spec, directory):
            families = {**archived, **families}
        # The name of a live log that is there was taken for no archive: only of others it has to be asked.
        return sorted(
            base
            for base, family in families.items()
            if selector.takes(base) and not (_is_directory(family) if family.live is not None else is_ours(base))
        )

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

    def _is_state(self, path: str) -> bool:
        if not state.is_own(os.path.basename(path)):
            return False
        skipped = Note(path, "logrotor keeps its state in it")
        if skipped not in self._found.skipped:
            self._found.skipped.append(skipped)
        return True

    def _note_archive_dirs(self) -> None:
        """Which directories have their archives in which archive directory?"""
        for selector in self._selectors:
            live = self._places.look(selector.directory)
            found = self._places.look_for_archives(selector.spec, live)
            if found is not None and found.id is not None:
                self._sources.setdefault(found.id, set()).add(live.id)

    def _of_its_own(self, directory: Directory) -> Mapping[str, Family]:
        """Without archives that are those of logs in other directories, as far as anybody knows."""
        return {
            base: family
            for base, family in directory.families.items()
            if family.live is not None or family.replacement is not None or self._was_rotated(directory, base)
        }

    def _was_rotated(self, directory: Directory, base: str) -> bool:
        if self._known is None or self._keeper(directory, base) is not None:
            return False
        return self._known.of(os.path.join(directory.resolved, base)).last_rotation is not None

    def _archived(self, spec: LogSpec, directory: Directory) -> Mapping[str, Family]:
        """Logs that are gone and have archives in an archive directory.

        Other programs may have theirs there. So it is the history that knows; without it they are taken for ours
        only in a folder within the directory of the logs, as they would be beside them.
        """
        found = self._places.look_for_archives(spec, directory)
        if found is None or found.id is None:
            return {}
        place = os.path.join(directory.resolved or directory.path, "")
        is_within = found.resolved.startswith(place) and len(self._sources[found.id]) == 1

        gone = set(self._kept.get((found.resolved, place), ()))
        if is_within:
            families = found.families.items()
            gone |= {base for base, family in families if family.live is None and self._keeper(found, base) is None}
        return {base: Family() for base in gone if base in found.families and base not in directory.families}

    @cached_property
    def _kept(self) -> Mapping[tuple[str, str], list[str]]:
        """By the history: archive directory and directory of the logs (with a slash) -> names of logs."""
        kept: dict[tuple[str, str], list[str]] = {}
        for (where, base), path in self._known.keepers.items() if self._known is not None else ():
            kept.setdefault((where, path.removesuffix(base)), []).append(base)
        return kept

    def _keeper(self, directory: Directory, base: str) -> str | None:
        return None if self._known is None else self._known.keepers.get((directory.resolved, base))

    def select(self, claims: Sequence[Claim], only: Sequence[str]) -> list[Claim]:
        """Those of which ``only`` has the rule, the path, or a name that no other has. Raises UnknownSelection."""
        names = {claim.spec.name for claim in claims} | {spec.name for spec in self._specs}
        paths = {name: os.path.abspath(name) for name in only}
        for name in only:
            if "/" not in name and name not in names and not any(_same(c, paths[name]) for c in claims):
                paths[name] = meant(name, (claim.path for claim in claims)) or paths[name]
        chosen = [c for c in claims if c.spec.name in only or any(_same(c, path) for path in paths.values())]
        for name in only:
            if name not in names and not any(_same(c, paths[name]) for c in claims) and not self._is_lost(paths[name]):
                raise UnknownSelection(
                    f"{name}: neither a rule nor a log of this configuration; rules: {', '.join(sorted(names))}"
                )
        return chosen

    def is_named(self, path: str) -> bool:
        """Do the rules name this log, be it there or not, and its directory usable or not?"""
        directory, base = os.path.split(path)
        return any(selector.takes(base) for selector in self._by_place.get(os.path.realpath(directory), ()))

    @cached_property
    def _by_place(self) -> Mapping[str, list[discover.Selector]]:
        found: dict[str, list[discover.Selector]] = {}
        for selector in self._selectors:
            found.setdefault(os.path.realpath(selector.directory), []).append(selector)
        return found

    def _is_lost(self, path: str) -> bool:
        """Would it be a log, were its directory not refused? ``problems`` says why that is."""
        return _is_named(path, self._unusable)


def rule_for(specs: tuple[LogSpec, ...], path: str) -> str | None:
    """The rule that would have a log at ``path``, were there one."""
    base = os.path.basename(path)
    for selector in discover.discover(specs):
        is_archive = selector.name is None and is_ours(base)
        if not is_archive and not discover.is_excluded(selector.spec, path) and _is_named(path, [selector]):
            return selector.spec.name
    return None


def _is_named(path: str, selectors: Iterable[discover.Selector]) -> bool:
    directory, base = os.path.split(path)
    place = os.path.realpath(directory)
    return any(s.takes(base) and os.path.realpath(s.directory) == place for s in selectors)


def _same(claim: Claim, path: str) -> bool:
    directory, name = os.path.split(path)
    return name == claim.base and os.path.realpath(directory) == os.path.realpath(os.path.dirname(claim.path))


def _is_directory(family: Family) -> bool:
    """A glob for logs means files: directories that match it are passed over."""
    return family.live is not None and family.live.kind == "directory"


def _is_there(selector: discover.Selector, directory: Directory, base: str) -> bool:
    if selector.name is not None and directory.problem is not None:
        return True  # nobody knows, and its refusal is told
    family = directory.families.get(base)
    is_live = family is not None and family.live is not None
    return is_live and not discover.is_excluded(selector.spec, os.path.join(selector.directory, base))
