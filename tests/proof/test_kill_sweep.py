"""Killed before any of its changing calls, a run is finished by the next ordinary one, and nothing is lost."""

from __future__ import annotations

import itertools

import pytest

from tests.proof.places import Places, places
from tests.proof.sampling import EXHAUSTIVE
from tests.proof.scenarios import (
    CALM,
    COMPANIES,
    EMPTY,
    EMPTY_HOLDER,
    EMPTY_WRITER,
    HOLDER,
    LOSSY,
    NOBODY,
    SCENARIOS,
    WRITER,
    Company,
    Scenario,
)
from tests.proof.trial import Trial, verdict

__all__ = ["places"]


# Every scenario in one of the companies by turns (unmarked is a sample of them, see conftest.py); in the long part
# also with somebody who holds the log across the kill, with an empty log, and without either: one of each kind.
KINDS = ((HOLDER,), (NOBODY, WRITER), (EMPTY, EMPTY_WRITER, EMPTY_HOLDER))
PAIRS = [
    pytest.param(scenario, company, marks=[] if number % len(COMPANIES) == turn else pytest.mark.long)
    for number, scenario in enumerate(SCENARIOS)
    for turn, company in enumerate(COMPANIES)
    if number % len(COMPANIES) == turn or EXHAUSTIVE or company in [kind[number % len(kind)] for kind in KINDS]
]
# Where no range can be collapsed, what is written in the middle of a run may be lost; nothing else, and never twice.
PAIRS += [pytest.param(LOSSY, company, marks=pytest.mark.long) for company in (NOBODY, CALM)]


@pytest.mark.parametrize(("scenario", "company"), PAIRS, ids=str)
def test_killed_before_each_change(scenario: Scenario, company: Company, places: Places) -> None:
    """One ordinary run later: no line lost or doubled, no stray, the log there, its writers asked to reopen it."""
    found: list[str] = []
    with Trial(scenario, company, places) as trial:
        for nth in itertools.count(1):
            trial.reset()
            operation = trial.first_killed(nth)
            found += trial.recover(f"killed before {nth} ({operation})")
            if operation is None:
                break
    verdict(trial, nth - 1, found)
