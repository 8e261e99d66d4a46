"""From the paths of the rules to directories and the names wanted in them. Lists directories, opens no log."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterator

from msgspec import Struct

from logrotor.model import LogSpec


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


def discover(specs: tuple[LogSpec, ...]) -> Iterator[Selector]:
    """Selectors in the order of the rules and of their paths; directories of a glob sorted."""
    for spec in specs:
        for path in spec.paths:
            yield from _selectors(spec, path)


def is_excluded(spec: LogSpec, path: str) -> bool:
    """Is the log left out by ``exclude``? A pattern without "/" is matched against the name."""
    name = os.path.basename(path)
    return any(fnmatch.fnmatchcase(path if "/" in pattern else name, pattern) for pattern in spec.exclude)


def _selectors(spec: LogSpec, path: str) -> Iterator[Selector]:
    head, tail = os.path.split(path)
    if tail == "**":
        head, tail = path, "*"
    if not glob.has_magic(path):
        yield Selector(spec, path, head, tail)
        return
    # "*/app.log" is a glob as well: in a folder without that log nothing is missing, and nothing to be created.
    pattern = re.compile(fnmatch.translate(tail))
    for directory in sorted(_expand(head)) if glob.has_magic(head) else [head]:
        yield Selector(spec, path, directory, None, pattern, tail.startswith("."))


def _expand(pattern: str) -> set[str]:
    """The directories that a pattern names; ``**`` goes down any number of levels, not into links and hidden ones."""
    found = {"/"}
    for part in pattern.strip("/").split("/"):
        if part == "**":
            found = {path for top in found for path in _below(top)}
        elif glob.has_magic(part):
            found = {path for top in found for path in _matching(top, part)}
        else:
            found = {path for top in found if os.path.isdir(path := os.path.join(top, part))}
    return found


def _below(top: str) -> Iterator[str]:
    todo = [top]
    while todo:  # os.walk calls itself for each level, and a thousand are too many for it
        path = todo.pop()
        yield path
        todo += _matching(path, "*", links=False)


def _matching(top: str, part: str, *, links: bool = True) -> Iterator[str]:
    try:
        with os.scandir(top) as entries:
            for entry in entries:
                visible = part.startswith(".") or not entry.name.startswith(".")
                if visible and fnmatch.fnmatchcase(entry.name, part) and entry.is_dir(follow_symlinks=links):
                    yield entry.path
    except OSError:  # not listable: whatever it holds is not found, as with every glob
        return
