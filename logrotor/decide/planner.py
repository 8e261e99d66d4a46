"""Decide what happens to each log, and why. Pure: the facts and the time are arguments, the plan is the answer.

Of most logs a glance tells that nothing happens; what does is drafted in :mod:`~logrotor.decide.drafting`, which is
imported only if there is such a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from logrotor.decide import idle
from logrotor.decide.due import is_due, last_rotation
from logrotor.decide.facts import LogFacts
from logrotor.model import Archive, Due, LogPlan, Method, NotDue


def plan_logs(known: Iterable[LogFacts], now: datetime, *, force: bool = False) -> tuple[LogPlan, ...]:
    """The plans of all logs, in the given order. One that must not be touched gets a plan with ``refused``."""
    return _completed([(facts, _at_a_glance(facts, now, force)) for facts in known], now, force)


def plan_idle_logs(
    known: Iterable[LogFacts], now: datetime, *, force: bool = False, unsure: Callable[[LogPlan], bool]
) -> tuple[LogPlan, ...] | None:
    """The same, or None as soon as a log has something to do by itself, and is not ``unsure``: the others are not
    looked at any more.
    """
    found = []
    for facts in known:
        plan = _at_a_glance(facts, now, force)
        if plan is None and _has_work(facts, now, force, unsure):
            return None
        found.append((facts, plan))
    return _completed(found, now, force)


def _has_work(facts: LogFacts, now: datetime, force: bool, unsure: Callable[[LogPlan], bool]) -> bool:
    from logrotor.decide.drafting import draft_plans

    (plan,) = draft_plans([facts], now, force)
    return not plan.is_idle and not unsure(plan)


def _completed(found: Sequence[tuple[LogFacts, LogPlan | None]], now: datetime, force: bool) -> tuple[LogPlan, ...]:
    """The plans that were found at a glance, and those of the other logs, which can depend on one another."""
    rest = [facts for facts, plan in found if plan is None]
    drafted: Iterator[LogPlan] = iter(())
    if rest:
        from logrotor.decide.drafting import draft_plans

        drafted = iter(draft_plans(rest, now, force))
    return tuple([next(drafted) if plan is None else plan for _, plan in found])


def _at_a_glance(facts: LogFacts, now: datetime, force: bool) -> LogPlan | None:
    kept = idle.kept(facts, now)
    if kept is None:
        return None
    due = due_or_not(facts, facts.family.archives, now, force)
    return shown(facts, due, kept=kept) if isinstance(due, NotDue) else None


def due_or_not(facts: LogFacts, archives: Sequence[Archive], now: datetime, force: bool) -> Due | NotDue:
    live = facts.family.live
    if live is not None and facts.spec.method is Method.COPYTRUNCATE and not _can_cut(facts):
        return NotDue("within one block of the file system: nothing to cut off")

    def last() -> float | None:
        remembered = facts.memory.last_rotation
        guesses = [remembered, facts.birth()]
        if remembered is None and archives:
            from logrotor.decide.slots import time_of

            guesses += [time_of(archive) for archive in archives]
        return last_rotation(guesses, now)

    return is_due(facts.spec, live, now, last=last, force=force)


def _can_cut(facts: LogFacts) -> bool:
    live, system = facts.family.live, facts.directory.file_system
    if live is None or system is None or not system.collapse:
        return live is not None and live.size > 0
    return live.size > system.block


def shown(facts: LogFacts, due: Due | NotDue, **rest: Any) -> LogPlan:
    live = facts.family.live
    return LogPlan(
        path=facts.path,
        rule=facts.spec.name,
        due=due,
        size=live.size if live is not None else None,
        missing=live is None,
        protocol=_protocol(facts),
        proof=facts.proof,
        **rest,
    )


def _protocol(facts: LogFacts) -> str:
    system = facts.directory.file_system
    if system is None:
        return ""
    if facts.spec.method is Method.COPYTRUNCATE:
        return "collapse" if system.collapse else "truncate"
    return system.protocol if facts.spec.create else "rename"
