"""The directories of one survey, each listed once, by however many paths it is named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache

from logrotor.decide.facts import Directory
from logrotor.disk import snapshot
from logrotor.disk.mounts import Mounts
from logrotor.disk.walk import user_name
from logrotor.errors import CLOSED
from logrotor.model import FileId, LogSpec, Method, Problem, ReopenTarget
from logrotor.notify import Asked, answer, asked
from logrotor.text import typed


class Listings:
    """``ids``: of the directories that were found, by their paths without symlinks; ``locked``: see Survey."""

    def __init__(self, mounts: Mounts | None = None) -> None:
        self._mounts = mounts or Mounts()
        self.ids: dict[str, FileId] = {}
        self.locked: list[str] = []
        self._by_path: dict[str, Directory] = {}
        self._by_id: dict[FileId, Directory] = {}

    def look(self, path: str) -> Directory:
        """The directory as it was found the first time."""
        found = self._by_path.get(path)
        if found is None:
            found = snapshot.look(path, self._mounts)
            if found.id is not None:
                self.ids[found.resolved] = found.id
                if found.locked and found.resolved not in self.locked:
                    self.locked.append(found.resolved)
                found = self._by_id.setdefault(found.id, found)
                self._by_path[found.resolved] = found
            self._by_path[path] = found
        return found

    def archive_dir(self, spec: LogSpec, directory: Directory) -> Directory | None:
        """The archive directory of a rule for the logs in ``directory``; None: beside them."""
        if spec.archive_dir is None:
            return None
        return self.look(os.path.join(directory.resolved or directory.path, spec.archive_dir))


class Answers:
    """What helps where another user may do what we may not: one who may also ask the writers to reopen their logs."""

    def __init__(self, targets: Mapping[str, ReopenTarget]) -> None:
        self._targets = targets
        self._whom = cache(asked)

    def give(self, directory: Directory, spec: LogSpec) -> None:
        """Put it into the problem that a directory is to the logs of a rule."""
        directory.problem = self.of(directory.problem, directory.path, spec)
        directory.closed = self.of(directory.closed, directory.path, spec)

    def of(self, problem: Problem | None, directory: str, spec: LogSpec) -> Problem | None:
        if problem is None or problem.kind != CLOSED:
            return problem
        return answer(problem, directory, self._asked(spec))

    def asked(self, spec: LogSpec) -> int | None:
        """The user of the process that is asked to reopen the logs of a rule; None: none is, or nobody knows."""
        whom = self._asked(spec)
        return None if whom is None else whom.user

    def _asked(self, spec: LogSpec) -> Asked | None:
        if spec.reopen is None or spec.method is Method.COPYTRUNCATE:
            return None
        return self._whom(self._targets[spec.reopen])


def path_of(directory: Directory) -> str:
    """Without symlinks, also where it is missing or refused."""
    return directory.resolved or os.path.normpath(directory.path)


def why_no_archives(spec: LogSpec, directory: Directory) -> Problem | None:
    """Why finished archives cannot go to the archive directory of a rule, with what to do; None: they can."""
    path = path_of(directory)
    if directory.problem is not None:
        found = directory.problem
        what = found.problem if found.subject == path else f"{found.subject}: {found.problem}"
        advice = found.advice or "name a directory that logrotor can make or use"
    elif directory.barrier is not None:
        us = user_name(os.geteuid())
        what = f"cannot be made by {us}: {directory.barrier} may not be written"
        advice = f"as root: install -d -o {us} {typed(path)}"
    elif directory.closed is not None:
        what, advice = directory.closed.problem, directory.closed.advice
    else:
        return None
    return Problem(subject=path, problem=f"cannot be the archive_dir of rule {spec.name}: {what}", advice=advice)
