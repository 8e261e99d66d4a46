"""Killed once more while it finishes what a first kill left, a run is finished by the one after it."""

from __future__ import annotations

import itertools

import pytest

from tests.proof.places import Places, places
from tests.proof.sampling import is_chosen
from tests.proof.scenarios import EMPTY_WRITER, NOBODY, SCENARIOS, WRITER, Company, Scenario
from tests.proof.trial import Trial, verdict

__all__ = ["places"]


# Each way to take a log, to name and to place an archive; the strace sweep kills the others twice at random.
BUSY = {
    "numbered-nth-zstd-full", "numbered-hole", "dated-full-gzip", "numbered-to-dated", "link-nth-zstd-full",
    "rename-dated-none", "collapse-nth-zstd-full", "collapse-link-none", "archive-other-zstd-full",
    "archive-same-rename-none", "hook-zstd",
}  # fmt: skip
OTHERS = {"numbered-nth-gzip": NOBODY, "archive-other-dated-gzip": NOBODY, "numbered-nth-none": EMPTY_WRITER}
CASES = [(scenario, WRITER) for scenario in SCENARIOS if scenario.name in BUSY]
CASES += [(scenario, OTHERS[scenario.name]) for scenario in SCENARIOS if scenario.name in OTHERS]
QUICK = {"numbered-first-none", "rename-dated-none"}  # here from one first point only


@pytest.mark.parametrize("scenario", [scenario for scenario in SCENARIOS if scenario.name in QUICK], ids=str)
def test_killed_again_after_one_kill(scenario: Scenario, places: Places) -> None:
    """The first kill comes in the middle of the run, the second at each point of the recovery."""
    found: list[str] = []
    with Trial(scenario, WRITER, places) as trial:
        points = _killed_again(trial, trial.points // 2, found)
        assert points > 5
        verdict(trial, trial.points, found)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("scenario", "company"), CASES, ids=str)
def test_killed_again_at_each_point_of_the_recovery(scenario: Scenario, company: Company, places: Places) -> None:
    """The first run is killed at each point, the second at every other; first kills that leave the same state are
    continued once.
    """
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
                points += _killed_again(trial, nth, found, every=2)
    print(f"{len(seen)} states, {points} second points")
    verdict(trial, nth - 1, found)


def _killed_again(trial: Trial, nth: int, found: list[str], every: int = 1) -> int:
    """The recovery after a kill before ``nth`` is killed at one of ``every`` of its points; how many they were."""
    points = 0
    for again in itertools.count(1):
        if not is_chosen(again, every, nth):
            continue
        trial.reset()
        first = trial.first_killed(nth)
        expected = trial.expectation()
        trial.write(2)
        second = trial.killed(again)
        found += trial.recover(f"killed before {nth} ({first}), then before {again} ({second})", expected)
        if second is None:
            return points
        points += 1
    raise AssertionError
