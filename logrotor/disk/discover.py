"""From the paths of the rules to directories and the names wanted in them. Lists directories, opens no log."""

from __future__ import annotations

import errno
import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from logrotor.disk.mounts import Mounts
from logrotor.disk.snapshot import why_closed_to_us
from logrotor.errors import Refused
from logrotor.model import LogSpec, Problem


class Selector(Struct, frozen=True):
    """The logs of one rule in one directory: one literal name, or a pattern. ``path``: as the rule has it."""

    spec: LogSpec
    path: str
    directory: str
    name: str | None  # literal
    pattern: re.Pattern[str] | None = None
    hidden: bool = False  # the pattern itself begins with a dot

    def takes(self, name: str) -> bool:
        """Is ``name`` selected? As in a shell, a pattern finds a hidden name only if it begins with a dot itself."""
        if self.pattern is None:
            return name == self.name
        return (self.hidden or not name.startswith(".")) and self.pattern.match(name) is not None


class Unlisted(Struct, frozen=True):
    """A directory that a glob comes to and that could not be looked into: nobody knows which logs it holds."""

    spec: LogSpec
    path: str  # the glob
    directory: str
    problem: Problem


class Search:
    """Selectors in the order of the rules and of their paths, directories of a glob sorted; and what was not seen."""

    def __init__(self, specs: Sequence[LogSpec], mounts: Mounts | None = None) -> None:
        self.selectors: list[Selector] = []
        self.unlisted: list[Unlisted] = []
        self._mounts = mounts or Mounts()
        for spec in specs:
            for path in spec.paths:
                self.selectors += self._selectors(spec, path)

    def _selectors(self, spec: LogSpec, path: str) -> Iterator[Selector]:
        head, tail = os.path.split(path)
        if tail == "**":
            head, tail = path, "*"
        if not glob.has_magic(path):
            yield Selector(spec, path, head, tail)
            return
        # "*/app.log" is a glob as well: in a folder without that log nothing is missing, and nothing to be created.
        pattern = re.compile(fnmatch.translate(tail))
        for directory in sorted(_Expansion(self, spec, path).of(head)) if glob.has_magic(head) else [head]:
            yield Selector(spec, path, directory, None, pattern, tail.startswith("."))

    def note(self, spec: LogSpec, path: str, directory: str, problem: Problem) -> None:
        if not is_left_out(spec, directory):
            self.unlisted.append(Unlisted(spec, path, directory, problem))

    def refuse_silent(self, path: str) -> None:
        why_not = self._mounts.why_silent(path)
        if why_not is not None:
            raise Refused(why_not)


def is_excluded(spec: LogSpec, path: str) -> bool:
    """Is the log left out by ``exclude``? A pattern without "/" is matched against the name."""
    name = os.path.basename(path)
    return any(fnmatch.fnmatchcase(path if "/" in pattern else name, pattern) for pattern in spec.exclude)


def is_left_out(spec: LogSpec, directory: str) -> bool:
    """Does ``exclude`` leave out the directory, or all that is in it? Nobody logs to where fsck puts what it found."""
    patterns = [pattern for pattern in spec.exclude if "/" in pattern]
    excluded = any(fnmatch.fnmatchcase(each, p) for p in patterns for each in (directory, directory + "/"))
    return excluded or os.path.basename(directory) == "lost+found"


def fits(pattern: str, path: str) -> bool:
    """Would the glob find a log of this path, were its directories there?"""
    parts = pattern.strip("/").split("/")
    parts += ["*"] if parts[-1] == "**" else []
    reached = _past_stars({0}, parts)
    for name in path.strip("/").split("/"):
        below = {at for at in reached if parts[at : at + 1] == ["**"] and not name.startswith(".")}
        beside = {at + 1 for at in reached if at < len(parts) and parts[at] != "**" and _is_meant(name, parts[at])}
        reached = _past_stars(below | beside, parts)
    return len(parts) in reached


def _past_stars(reached: set[int], parts: list[str]) -> set[int]:
    """``**`` stands for no folder as well."""
    found = set(reached)
    for at in reached:
        while parts[at : at + 1] == ["**"]:
            at += 1
            found.add(at)
    return found


class _Expansion:
    """The directories that a pattern names; ``**`` goes down any number of levels, not into links and hidden ones."""

    def __init__(self, search: Search, spec: LogSpec, path: str) -> None:
        self._search, self._spec, self._path = search, spec, path

    def of(self, pattern: str) -> set[str]:
        found = {"/"}
        for part in pattern.strip("/").split("/"):
            if part == "**":
                found = {path for top in found for path in self._below(top)}
            elif glob.has_magic(part):
                found = {path for top in found for path in self._matching(top, part) or ()}
            else:
                found = {path for top in found if self._is_directory(path := os.path.join(top, part))}
        return found

    def _below(self, top: str) -> Iterator[str]:
        todo = [top]
        while todo:  # os.walk calls itself for each level, and a thousand are too many for it
            path = todo.pop()
            inside = self._matching(path, "*", links=False)
            if inside is not None:
                yield path
                todo += inside

    def _matching(self, top: str, part: str, *, links: bool = True) -> list[str] | None:
        """The directories in ``top`` whose names match; None: it is none, or could not be listed."""
        with self._looking(top):
            self._search.refuse_silent(top)
            with os.scandir(top) as entries:
                return [entry.path for entry in entries if _is_meant(entry.name, part) and self._leads_on(entry, links)]
        return None

    def _leads_on(self, entry: os.DirEntry[str], links: bool) -> bool:
        if entry.is_symlink():
            return links and self._is_directory(entry.path)
        return entry.is_dir(follow_symlinks=False)

    def _is_directory(self, path: str) -> bool:
        with self._looking(path):
            self._search.refuse_silent(path)
            return stat.S_ISDIR(os.stat(path).st_mode)
        return False

    @contextmanager
    def _looking(self, path: str) -> Iterator[None]:
        """What is not there is not found. What cannot be looked at is unknown, and noted."""
        try:
            yield
        except (Refused, OSError) as error:
            if not (isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)):
                self._search.note(self._spec, self._path, path, why_closed_to_us(error, path))


def _is_meant(name: str, part: str) -> bool:
    return (part.startswith(".") or not name.startswith(".")) and fnmatch.fnmatchcase(name, part)
