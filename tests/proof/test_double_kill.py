"""Killed once more while it finishes what a first kill left, a run is finished by the one after it."""

from __future__ import annotations

import itertools

import pytest

from tests.proof.places import Places, places
from tests.proof.scenarios import EMPTY_WRITER, NOBODY, SCENARIOS, WRITER, Company, Scenario
from tests.proof.trial import Trial, verdict

__all__ = ["places"]


@pytest.mark.long
@pytest.mark.parametrize("company", [NOBODY, WRITER, EMPTY_WRITER], ids=str)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_killed_again_at_each_point_of_the_recovery(scenario: Scenario, company: Company, places: Places) -> None:
    """Both runs are killed at each point; first kills that leave the same state are continued once."""
    found: list[str] = []
    seen: set[object] = set()
    points = 0
    with Trial(scenario, company, places) as trial:
        for nth in itertools.count(1):
            trial.reset()
            if trial.first_killed(nth) is None:
                break
            state = trial.signature()
            if state not in seen:
                seen.add(state)
                points += _killed_again(trial, nth, found)
    print(f"{len(seen)} states, {points} second points")
    verdict(trial, nth - 1, found)


def _killed_again(trial: Trial, nth: int, found: list[str]) -> int:
    for again in itertools.count(1):
        trial.reset()
        first = trial.first_killed(nth)
        expected = trial.expectation()
        trial.write(2)
        second = trial.killed(again)
        found += trial.recover(f"killed before {nth} ({first}), then before {again} ({second})", expected)
        if second is None:
            return again
    raise AssertionError
