"""Somebody appends to an archive by its name while a run is killed: no line is lost, none is doubled.

Neither a lease nor /proc tells of it before it comes, nor after it has gone again. So each point of the kill sweep is
met with lines that come before the killed call, and before the ones that led there: whatever a slow disk puts between.
"""

from __future__ import annotations

import itertools

import pytest

from tests.proof.places import Places, places
from tests.proof.sampling import EXHAUSTIVE
from tests.proof.scenarios import APPENDER, HELD_APPENDER, SCENARIOS, Company, Scenario
from tests.proof.trial import Trial

__all__ = ["places"]

QUICK = ("numbered-first-zstd", "link-dated-none", "collapse-dated-gzip")
# How many calls before the killed one the lines come, and whether another comes before the next run.
MOMENTS = ((0, False), (3, True), (1, True), (2, False)) if EXHAUSTIVE else ((0, False), (3, True))
PAIRS = [
    pytest.param(
        scenario,
        company,
        marks=[] if company is APPENDER and scenario.name in QUICK else pytest.mark.long,
    )
    for scenario in SCENARIOS
    for company in (APPENDER, HELD_APPENDER)
]


@pytest.mark.parametrize(("scenario", "company"), PAIRS, ids=str)
def test_killed_while_somebody_appends_by_name(scenario: Scenario, company: Company, places: Places) -> None:
    """Each line that was written stands in one file, one ordinary run later."""
    found: list[str] = []
    with Trial(scenario, company, places) as trial:
        for back, again in MOMENTS:
            found += _swept(trial, back, again)
    assert not found, f"{len(found)} faults:\n" + "\n".join(found[:6])


def _swept(trial: Trial, back: int, again: bool) -> list[str]:
    found: list[str] = []
    for nth in itertools.count(1):
        trial.reset()
        operation = trial.first_killed(nth, late=range(max(nth - back, 1), nth + 1))
        if again:
            trial.append()
        found += trial.recover(f"a line {back} calls before, killed before {nth} ({operation})")
        if operation is None:
            assert nth > trial.points
            return found
    raise AssertionError("never")
