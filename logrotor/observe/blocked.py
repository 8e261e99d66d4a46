"""What keeps every run away: locks and temps of processes that do not go on. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from logrotor.decide.facts import Directory, Family, LogFacts
from logrotor.decide.naming import LOCK
from logrotor.disk import holders, state
from logrotor.disk.logdir import LogDir
from logrotor.errors import Busy, LogrotorError, Refused
from logrotor.model import Problem
from logrotor.observe.deployment import Deployment


def held(here: Deployment) -> Iterator[tuple[str, Problem]]:
    """Locks that no run can use, and locks and temps that somebody holds for over a minute; each with what is wrong."""
    for directory in here.survey.locked:
        path = os.path.join(directory, LOCK)
        try:
            with LogDir(directory) as logdir:
                if not logdir.is_writable():  # it keeps nobody away: we do not rotate there
                    continue
                logdir.turns.look()
        except (Busy, Refused) as error:
            yield path, error.problem
        except (LogrotorError, OSError):  # it has gone, or the directory itself is a finding
            continue
        else:
            yield from _stuck(here, path)
    families = ((d.resolved, f) for facts in here.survey.logs for d, f in _families(facts))
    for path in dict.fromkeys(os.path.join(place, temp.name) for place, family in families for temp in family.temps):
        yield from _stuck(here, path)
    run = state.stopped_run(here.config.state_dir)
    if run is not None:
        yield run.subject, run


def _families(facts: LogFacts) -> Iterator[tuple[Directory, Family]]:
    yield facts.directory, facts.family
    yield from ((each, each.families[facts.base]) for each in facts.elsewhere if facts.base in each.families)


def _stuck(here: Deployment, path: str) -> Iterator[tuple[str, Problem]]:
    found = holders.stuck(path, here.now.timestamp(), here.processes, here.kept_out.get(path))
    if found is not None:
        yield path, found


def problems(here: Deployment) -> Iterator[Problem]:
    """A younger one is of a run, more likely, but for one that is stopped."""
    for path, why in held(here):
        if path == os.path.join(here.config.state_dir, state.LOCK) or holders.is_old(
            path, here.now.timestamp(), here.kept_out.get(path)
        ):
            yield why.under(path)
