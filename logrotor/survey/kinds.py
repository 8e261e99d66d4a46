"""Whose the files are whose names read as archives': by history and name at first, which cost nothing, then by marks.

The listing takes each for an archive. What turns out to be a log, or somebody else's, gets a family of its own here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from logrotor.decide.facts import Directory, Family
from logrotor.decide.naming import LOCK, is_packed, rotated_from
from logrotor.decide.proof import QUIET
from logrotor.decide.whose import Named, Whose, is_by_name, is_recorded, judge, last_in_row, was_taken
from logrotor.disk import descent, files
from logrotor.model import Archive, Codec, LogHistories, LogHistory, Nobody, Problem, Writers, Written

Naming = Callable[[Directory, str], Named]  # what the rules' paths say of a name


class Kinds:
    """Sorts out one directory after the other. ``unclear``: what nobody can tell, with what to do about it."""

    def __init__(self, named: Naming, history: LogHistories | None, unclear: list[Problem]) -> None:
        self._named, self._history, self._unclear = named, history, unclear
        self._left_alone: set[tuple[str, str]] = set()

    def settle(self, directory: Directory) -> None:
        """Leave in each family the archives that are its log's; a directory in which rules look for logs."""
        families = [found for found in directory.families.items() if found[1].archives]
        for base, family in sorted(families, key=lambda found: len(found[0])):  # a log comes before its archives
            is_there = family.live is not None and family.live.is_regular
            if not is_there or any(
                not is_by_name(archive) or self._named(directory, archive.entry.name) is not Named.NOT
                for archive in family.archives
            ):
                self._settle(directory, base, self._named, is_there=is_there)

    def settle_store(self, directory: Directory) -> None:
        """The same for a directory in which only archives are sought."""
        for base, family in list(directory.families.items()):
            if not all(map(is_by_name, family.archives)):
                self._settle(directory, base, lambda *_: Named.NOT, is_there=True)

    def is_log(self, directory: Directory, name: str, path: str) -> bool:
        """May a file be a log that a glob matches? Not what another program has packed, or rotated from a log here."""
        if (directory.resolved, name) in self._left_alone or is_packed(name):
            return False
        base = rotated_from(name)
        origin = directory.families.get(base) if base is not None else None
        if base is None or origin is None or origin.live is None or not origin.live.is_regular:
            return True
        if self._known(path).last_rotation is not None:
            return True
        self._leave_alone(directory, name, base)
        return False

    def _settle(self, directory: Directory, base: str, named: Naming, *, is_there: bool) -> None:
        family = directory.families[base]
        wanted = named(directory, base)
        expected = is_there or wanted is Named.LITERALLY or _is_worked_on(family)
        log, last_slot = self._known(self._keeper(directory, base)), last_in_row(family.archives)
        others: set[str] = set()
        for archive in family.archives:
            name = archive.entry.name
            said = named(directory, name)
            if name[0] == "." or (said is wanted is Named.NOT and not is_there):
                continue  # work in progress; or of no rule
            if not archive.entry.is_regular:
                whose = Whose.ARCHIVE if expected else Whose.OTHER  # something odd, which the log's own plan names
            else:
                whose = judge(
                    archive,
                    said,
                    is_there=is_there if said is Named.MATCHED else expected,
                    own=self._known(archive.path),
                    log=log,
                    last_slot=last_slot,
                    marked=partial(_is_marked, archive, self._known(archive.path), directory, family),
                )
            if whose is not Whose.ARCHIVE:
                others.add(name)
                directory.families.setdefault(name, Family()).live = archive.entry
            if whose is Whose.UNCLEAR or (whose is Whose.ARCHIVE and said is Named.LITERALLY):
                self._leave_alone(directory, name, base)
        if others:
            family.archives = [archive for archive in family.archives if archive.entry.name not in others]
        if family == Family():
            del directory.families[base]

    def _leave_alone(self, directory: Directory, name: str, base: str) -> None:
        if (directory.resolved, name) in self._left_alone:
            return
        self._left_alone.add((directory.resolved, name))
        log = os.path.join(directory.resolved, base)
        what = f"may be a log, or an archive of {log}: it is neither rotated nor removed"
        advice = "if it is an archive, add its name to exclude; if it is a log, add its path to paths"
        self._unclear.append(Problem(subject=os.path.join(directory.resolved, name), problem=what, advice=advice))

    def _known(self, path: str) -> LogHistory:
        return LogHistory() if self._history is None else self._history.of(path)

    def _keeper(self, directory: Directory, base: str) -> str:
        """The log that has its archives there."""
        found = self._history and self._history.keeper(directory.resolved, base, directory.families)
        return found or os.path.join(directory.resolved, base)


def _is_worked_on(family: Family) -> bool:
    """Has a run of ours left work in progress?"""
    return bool(family.replacement or family.temps or any(a.entry.name[0] == "." for a in family.archives))


def _is_marked(archive: Archive, own: LogHistory, directory: Directory, family: Family) -> bool:
    """Does it bear the mark of a take, or has it been taken by a run that was killed and could not mark it?

    ``own``: what is known of the file as a log itself.
    """
    if descent.is_noted(archive.path, archive.name.base):
        return True
    log = family.live or family.replacement
    if not directory.locked or log is None or archive.directory != directory.resolved:
        return False
    if archive.name.slot != 1 or archive.name.codec is not Codec.NONE or own.unclear == archive.entry.id.inode:
        return False
    lock, beside = (os.path.join(directory.resolved, name) for name in (LOCK, log.name))
    return _owner(lock) == log.stat.st_uid and was_taken(*map(files.birth, (archive.path, beside, lock)))


def _owner(path: str) -> int | None:
    try:
        return os.lstat(path).st_uid
    except OSError:
        return None


class Strangers:
    """Which archives of a log are none after all: somebody writes them, and nothing but their names speaks for them.

    Asked only where a plan would do something to the log; then once.
    """

    def __init__(
        self,
        base: str,
        history: LogHistory,
        archives: Sequence[Archive],
        *,
        own: Callable[[str], LogHistory],
        prove: Callable[[Archive], Writers | None],
        directory: Directory,
        family: Family,
    ) -> None:
        self._base, self._history, self._archives = base, history, archives
        self._own, self._prove, self._directory, self._family = own, prove, directory, family
        self._found: dict[str, str] | None = None

    def __call__(self, now: float) -> Mapping[str, str]:
        if self._found is None:
            last_slot = last_in_row(self._archives)
            found = {a.path: self._why(a, now) for a in self._archives if not self._is_ours(a, last_slot)}
            self._found = {path: why for path, why in found.items() if why}
        return self._found

    def _is_ours(self, archive: Archive, last_slot: int) -> bool:
        entry, live, own = archive.entry, self._family.live, self._own(archive.path)
        if entry.name[0] == "." or not entry.is_regular or (live is not None and entry.id == live.id):
            return True
        if is_recorded(archive, own, self._history, last_slot):
            return True
        if self._history.begun and archive.name.slot == 1 and own.unclear != entry.id.inode:
            return True  # a run was killed after it had taken the log
        return _is_marked(archive, own, self._directory, self._family)

    def _why(self, archive: Archive, now: float) -> str:
        found = self._prove(archive)
        if isinstance(found, Nobody):
            return ""
        if isinstance(found, Written):
            return f"a process writes it, so it is no archive of {self._base}"
        if archive.name.codec is Codec.NONE or now - archive.entry.mtime >= QUIET:
            return ""  # a new name harms no writer, and before anything else is done to it there is another proof
        return f"somebody may write it, so it may be no archive of {self._base}"
