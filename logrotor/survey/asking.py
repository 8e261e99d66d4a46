"""The plans of a survey, once the managers of the writers have been asked what they rotate themselves."""

from __future__ import annotations

import os
from datetime import datetime

from msgspec.structs import replace

from logrotor.decide.facts import LogFacts
from logrotor.decide.planner import plan_logs
from logrotor.model import Config, LogPlan, Problem
from logrotor.survey.claims import Survey


def plan_asking(
    config: Config, survey: Survey, now: datetime, *, force: bool = False, logs: tuple[LogPlan, ...] | None = None
) -> tuple[tuple[LogPlan, ...], tuple[str, ...]]:
    """The plans of a survey that is still open (``logs``: as they are without that), and notes.

    The reopen targets of logs that are about to be taken are asked: what supervisord rotates itself, and what would be
    taken from a writer who can never be asked to reopen it, is refused.
    """
    logs = plan_logs(survey.logs, now, force=force) if logs is None else logs
    refusals: dict[str, Problem] = {}
    notes: list[str] = []
    taken = [log for log in logs if log.reopen is not None and _is_taken(log)]
    for name in sorted({log.reopen for log in taken if log.reopen}):
        from logrotor import notify

        target = config.targets[name]
        paths = tuple(log.path for log in taken if log.reopen == name)
        forbidden = notify.why_forbidden(target, paths)
        if forbidden is not None:
            refusals.update(notify.held_back(forbidden, target, (each for each in survey.logs if each.path in paths)))
        found = notify.self_rotation(target, paths)
        refusals.update(found.files)
        notes += map(str, found.unknown)
    if refusals:
        survey.logs = [_refused(facts, refusals) for facts in survey.logs]
        logs = plan_logs(survey.logs, now, force=force)
    return logs, tuple(notes)


def _is_taken(log: LogPlan) -> bool:
    from logrotor.model import Take

    return any(isinstance(step, Take) for step in log.take)


def _refused(facts: LogFacts, refusals: dict[str, Problem]) -> LogFacts:
    why = None if facts.directory.problem is not None else refusals.get(os.path.realpath(facts.path))
    if why is None:
        return facts
    return replace(facts, refusal=facts.refusal or replace(why, subject=facts.path))
