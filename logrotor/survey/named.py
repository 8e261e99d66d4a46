"""The logs that the rules name, and which of them the archives in an archive directory belong to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property

from logrotor.decide.facts import Directory
from logrotor.decide.naming import is_in_progress
from logrotor.decide.whose import Named
from logrotor.disk import discover, files
from logrotor.disk.mounts import Mounts
from logrotor.model import LogHistories, LogSpec
from logrotor.survey.listings import Listings, path_of


class NamedLogs:
    """The logs that the rules name, whether or not they exist."""

    def __init__(self, specs: tuple[LogSpec, ...], mounts: Mounts | None = None) -> None:
        self._specs, self._mounts = specs, mounts or Mounts()
        found = discover.Search(specs, self._mounts)
        self.selectors, self.unlisted = found.selectors, found.unlisted
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
        if any(not is_excluded(each, name) for each in literal):
            return Named.LITERALLY
        matched = any(each.takes(name) and not is_excluded(each, name) for each in globs)
        return Named.MATCHED if matched else Named.NOT

    def real_path(self, path: str) -> str:
        """Without symlinks on the way to its last part."""
        directory, name = os.path.split(path)
        return os.path.join(self._real_path(directory), name)

    def _real_path(self, directory: str) -> str:
        if directory not in self._real:  # with what is known of the one above: they may be nested a thousand deep
            above, name = os.path.split(directory)
            if self._mounts.why_silent(directory) is not None:
                self._real[directory] = directory
            elif above in self._real and name not in ("", ".", "..") and not os.path.islink(directory):
                self._real[directory] = os.path.join(self._real[above], name)
            else:
                self._real[directory] = os.path.realpath(directory)
        return self._real[directory]

    def rule_meaning(self, path: str) -> LogSpec | None:
        """The rule that would have a log at ``path``, were it there with its directory."""
        name = self.rule_for(path)
        for spec in self._specs:
            if spec.name == name or (name is None and self._means(spec, path)):
                return spec
        return None

    def _means(self, spec: LogSpec, path: str) -> bool:
        left_out = discover.is_excluded(spec, path) or discover.is_left_out(spec, os.path.dirname(path))
        return not left_out and any(discover.fits(each, path) for each in spec.paths)

    def may_exist(self, path: str) -> bool:
        return self._mounts.why_silent(path) is not None or not files.is_gone(path)

    def rule_for(self, path: str) -> str | None:
        """The rule that would have a log at ``path``, were there one."""
        is_no_log = is_in_progress(os.path.basename(path))
        found = [s for s in self.naming(path) if not (s.name is None and is_no_log) and not is_excluded(s, path)]
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
        return any(not is_excluded(each, base) for each in self._named.naming_literally(path_of(directory), base))

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
        path = self._history.keeper(directory.resolved, base, directory.families)
        if path is None:
            path = os.path.join(directory.resolved, base)
            if self._history.of(path).last_rotation is None:
                return None
        return path if self._named.naming(path) or self._named.may_exist(path) else None


def _key(directory: Directory | None) -> object:
    assert directory is not None
    return directory.id or path_of(directory)


def is_excluded(selector: discover.Selector, path: str) -> bool:
    """Is the log left out? Its directory is named as in the rule, for the patterns of ``exclude`` are."""
    return discover.is_excluded(selector.spec, os.path.join(selector.directory, os.path.basename(path)))
