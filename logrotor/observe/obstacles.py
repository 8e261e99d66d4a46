"""Lock files in log directories that no run of ours can use."""

from __future__ import annotations

import os
from collections.abc import Iterator

from logrotor.decide.naming import LOCK
from logrotor.disk.logdir import LogDir
from logrotor.errors import Busy, LogrotorError, Refused
from logrotor.model import Problem
from logrotor.observe.site import Site


def locks(site: Site) -> Iterator[tuple[str, Problem]]:
    """Each with what is wrong with it, and what to do."""
    for directory in site.survey.locked:
        path = os.path.join(directory, LOCK)
        try:
            with LogDir(directory) as logdir:
                if logdir.is_writable():  # else it keeps nobody away: we do not rotate there
                    logdir.turns.look()
        except (Busy, Refused) as error:
            yield path, error.problem
        except (LogrotorError, OSError):  # it has gone, or the directory itself is a finding
            continue


def old_locks(site: Site, age: float) -> Iterator[Problem]:
    """The same in words, of those made ``age`` seconds ago or before: younger ones are of a run, more likely."""
    for path, why in locks(site):
        try:
            made = os.stat(path, follow_symlinks=False).st_mtime
        except OSError:
            continue
        if site.now.timestamp() - made >= age:
            yield why
