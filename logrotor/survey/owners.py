"""Whose archives lie in an archive directory? Two logs of one name cannot share one: nobody could tell them apart."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from logrotor.decide.facts import Directory
from logrotor.survey.claims import Claim, Claims
from logrotor.survey.places import Places

if TYPE_CHECKING:
    from logrotor.disk.memory import Recollection


class Owners:
    """Told of all logs of the configuration, whichever of them a run is asked for.

    The archives of one name in a directory belong to the log that lies there, be it in a rule or somebody else's; else
    to the one whose archives they are by the history, as long as it has some there, and the rules name it or it still
    exists, as the log of another configuration with this state directory; else to the first that would have them there.
    """

    def __init__(self, every: Claims, claims: Iterable[Claim], places: Places, known: Recollection | None) -> None:
        self._every, self._known = every, known
        self._beside: dict[tuple[object, str], str] = {}
        self._first: dict[tuple[object, str], str] = {}
        for claim in claims:
            self._beside.setdefault((_key(claim.directory), claim.base), claim.path)
            directory = places.look_for_archives(claim.spec, claim.directory)
            if directory is not None:
                self._first.setdefault((_key(directory), claim.base), claim.path)

    def owner(self, directory: Directory, base: str) -> str:
        """The path of the log. ``directory``: the archive directory of some log of this name."""
        key = (_key(directory), base)
        return self._log_there(directory, base) or self._keeper(directory, base) or self._first[key]

    def is_ours(self, path: str) -> bool:
        """Do the rules name it?"""
        return self._every.is_named(path)

    def has_archives(self, path: str, directory: Directory) -> bool:
        """Are the archives in a directory, which the history names for the log ``path``, still its own?"""
        base = os.path.basename(path)
        return self._log_there(directory, base) in (None, path) and self._keeper(directory, base) == path

    def _log_there(self, directory: Directory, base: str) -> str | None:
        family = directory.families.get(base)
        is_live = family is not None and family.live is not None and family.live.is_regular
        there = os.path.join(directory.resolved, base) if is_live else None
        return self._beside.get((_key(directory), base)) or there

    def _keeper(self, directory: Directory, base: str) -> str | None:
        if self._known is None or base not in directory.families:
            return None
        path = self._known.keepers.get((directory.resolved, base))
        return path if path is not None and (self._every.is_named(path) or _exists(path)) else None


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # nobody knows
        return True
    return True


def _key(directory: Directory) -> object:
    return directory.id or directory.resolved or os.path.normpath(directory.path)
