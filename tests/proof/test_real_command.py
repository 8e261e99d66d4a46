"""The same bar without any hook of ours: the real command, killed or stopped by strace at system calls.

strace sees what the door does not, above all each write that SQLite makes for the history.
"""

from __future__ import annotations

import random

import pytest

from tests.proof.places import Places, places
from tests.proof.sampling import EXHAUSTIVE, is_chosen
from tests.proof.scenarios import CALM, EMPTY_WRITER, NOBODY, SCENARIOS, Lacks, Scenario
from tests.proof.trial import Trial, verdict
from tests.support import strace

__all__ = ["places"]

SEED = 20_261_122
QUICK, FEW, MORE = 2, 2, 8  # points in each scenario; more in those of MANY
MANY = {"dated-full-gzip", "collapse-nth-zstd-full", "archive-other-zstd-full"}
DOUBLE = 10  # double kills in each of twenty scenarios
Point = tuple[str, int]

by_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=str)


def lacking(scenario: Scenario) -> list[strace.Inject]:
    """What the file system refuses, refused by strace."""
    if scenario.lacks is Lacks.NOTHING:
        return []
    refused = [strace.fail("renameat2", "EINVAL", persistent=True)]
    return refused + ([strace.fail("linkat", "EPERM", persistent=True)] if scenario.lacks is Lacks.LINKS else [])


def points_of(trial: Trial) -> list[Point]:
    """Every changing system call of an undisturbed command that strace may still meddle with."""
    refused = {inject.names for inject in lacking(trial.scenario)}
    trial.reset()
    with trial.served() as argv:
        result, calls = strace.changes(argv, *lacking(trial.scenario), timeout=60)
    assert result.code == 0, result
    return [point for point in strace.points(call for call in calls if call.first_thread) if point[0] not in refused]


def struck(trial: Trial, inject: strace.Inject, *, again: bool = False) -> int:
    """The exit code of the command with ``inject``; ``again``: of an ordinary run on what is there."""
    if not again:
        trial.reset()
    with trial.served() as argv:
        argv = [part for part in argv if not again or part != "--force"]
        return strace.run(argv, *lacking(trial.scenario), inject, timeout=60).code


def swept(trial: Trial, points: list[Point]) -> list[str]:
    found: list[str] = []
    for name, when in points:
        code = struck(trial, strace.kill(name, when))
        found += [f"not killed at {name} {when}: {code}"] if code != -9 and not was_missed(name, code) else []
        found += trial.recover(f"killed at {name} {when}")
    return found


def was_missed(name: str, code: int) -> bool:
    """A look at /proc opens a file for each process of the machine: the last opens of a run come now and then only."""
    return name == "openat" and code == 0


@pytest.mark.parametrize("scenario", SCENARIOS[::6], ids=str)
def test_killed_at_some_system_calls(scenario: Scenario, places: Places) -> None:
    """One of six scenarios, with a few points chosen by a seed; the long part has them all."""
    chance = random.Random(f"{SEED} {scenario}")
    with Trial(scenario, CALM, places) as trial:
        points = chance.sample(points_of(trial), QUICK)
        verdict(trial, trial.points, swept(trial, points))


@pytest.mark.long
@pytest.mark.timeout(1800)
@by_scenario
def test_killed_at_each_system_call(scenario: Scenario, places: Places) -> None:
    """Each scenario at some points, chosen by a seed; with LOGROTOR_EXHAUSTIVE=1 at every one."""
    chance = random.Random(f"{SEED} more {scenario}")
    company = chance.choice([NOBODY, CALM, EMPTY_WRITER]) if not scenario.copytruncate else CALM
    with Trial(scenario, company, places) as trial:
        points = points_of(trial)
        if not EXHAUSTIVE:
            points = chance.sample(points, MORE if scenario.name in MANY else FEW)
        verdict(trial, trial.points, swept(trial, points))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", SCENARIOS[:: len(SCENARIOS) // 20 or 1][:20], ids=str)
def test_killed_twice(scenario: Scenario, places: Places) -> None:
    """The command is killed, and the next one too: two hundred times in all."""
    chance = random.Random(f"{SEED} twice {scenario}")
    found: list[str] = []
    with Trial(scenario, CALM, places) as trial:
        points, done = points_of(trial), 0
        for _ in range(20 * DOUBLE):
            (name, when), again = two_kills(points, chance)
            struck(trial, strace.kill(name, when))
            expected = trial.expectation()
            if struck(trial, again, again=True) != -9:
                continue  # the second run had no such call
            found += trial.recover(f"killed at {name} {when}, then by {again.option}", expected)
            done += 1
            if done == DOUBLE:
                break
        assert done == DOUBLE
        verdict(trial, trial.points, found)


def two_kills(points: list[Point], chance: random.Random) -> tuple[Point, strace.Inject]:
    """A point, and one of those behind it, counted from there: the next run does what the first one left undone."""
    first = chance.randrange(len(points))
    name, when = chance.choice(points[first:])
    done = max((number for other, number in points[:first] if other == name), default=0)
    return points[first], strace.kill(name, when - done)


def terminated(trial: Trial, points: list[Point]) -> list[str]:
    found: list[str] = []
    for name, when in points:
        code = struck(trial, strace.Inject(name, "signal=TERM", str(when)))
        if (code != 143 and not was_missed(name, code)) or (_asks(trial) and not trial.asked_after_take):
            found.append(f"SIGTERM at {name} {when}: exit code {code}, asked {trial.asked_after_take}")
        found += trial.recover(f"SIGTERM at {name} {when}")
    return found


def _asks(trial: Trial) -> bool:
    return not trial.scenario.copytruncate and any(trial.has_left(log) for log in trial.scenario.logs)


def test_sigterm_at_some_system_calls(places: Places) -> None:
    """SIGTERM ends the real command with 143, and the next ordinary run finishes the work."""
    with Trial(SCENARIOS[4], CALM, places) as trial:
        points = random.Random(SEED).sample(points_of(trial), 4)
        verdict(trial, trial.points, terminated(trial, points))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_sigterm_at_each_system_call(places: Places) -> None:
    """SIGTERM at every fifth changing call of a full chain; with LOGROTOR_EXHAUSTIVE=1 at every one."""
    with Trial(SCENARIOS[4], CALM, places) as trial:
        points = [point for number, point in enumerate(points_of(trial)) if is_chosen(number, 5)]
        verdict(trial, trial.points, terminated(trial, points))
