"""Asked to stop, or interrupted by an exception, at any changing call, a run meets the bar of the kill sweep."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from logrotor import cli
from logrotor.cli.session import Entered
from tests.proof.places import Places, places
from tests.proof.sampling import is_chosen
from tests.proof.scenarios import EMPTY_WRITER, SCENARIOS, WRITER, Company, Scenario
from tests.proof.trial import Trial, verdict

__all__ = ["places"]

QUICK = {"numbered-nth-zstd-full", "rename-dated-none", "collapse-first-none"}


def cases(turn: int, *more: str) -> list[Any]:
    """The quick scenarios, and by turns one half of the others, each followed by ``more``."""
    return [
        pytest.param(scenario, company, *more, marks=[] if quick and company is WRITER else pytest.mark.long)
        for number, scenario in enumerate(SCENARIOS)
        for quick in (scenario.name in QUICK,)
        for company in ((WRITER, EMPTY_WRITER) if quick else (WRITER,))
        if quick or is_chosen(number, 2, turn)
    ]


class _Interrupt:
    """Ctrl-C right before or right after the ``nth`` changing call. One that fails by itself has no after.

    Nor has one that gives a descriptor: right after it nobody knows that one yet, and so nobody could close it.
    """

    def __init__(self, nth: int, when: str) -> None:
        self.nth, self.when, self.met = nth, when, False

    def before(self, number: int, operation: str) -> None:
        self.met = self.met or number == self.nth
        self._strike(number, "before")

    def after(self, number: int, operation: str) -> None:
        if operation != "create":
            self._strike(number, "after")

    def _strike(self, number: int, when: str) -> None:
        if (number, when) == (self.nth, self.when):
            raise KeyboardInterrupt


@pytest.mark.parametrize(("scenario", "company", "when"), [*cases(0, "before"), *cases(1, "after")], ids=str)
def test_keyboard_interrupt_at_each_change(scenario: Scenario, company: Company, when: str, places: Places) -> None:
    """It is not swallowed, leaves no descriptor open, and the next ordinary run finishes the work."""
    found: list[str] = []
    with Trial(scenario, company, places) as trial:
        for nth in itertools.count(1):
            trial.reset()
            descriptors, interrupt = _descriptors(), _Interrupt(nth, when)
            with contextlib.suppress(KeyboardInterrupt):
                trial.first(before=interrupt.before, after=interrupt.after)
            if not interrupt.met:
                break
            if _descriptors() != descriptors:
                found.append(f"interrupted {when} {nth}: {_descriptors()} open descriptors, were {descriptors}")
            found += trial.recover(f"interrupted {when} {nth}")
    verdict(trial, nth - 1, found)


@pytest.mark.parametrize(("scenario", "company"), cases(0), ids=str)
def test_stopped_at_each_change(scenario: Scenario, company: Company, places: Places) -> None:
    """``stop`` says so from some call on: the run ends in order, having announced what it took."""
    found: list[str] = []
    with Trial(scenario, company, places) as trial:
        for nth in itertools.count(1):
            trial.reset()
            passed: list[int] = []
            report = trial.first(
                before=lambda number, _, passed=passed: passed.append(number),  # type: ignore[misc]
                stop=lambda nth=nth, passed=passed: nth in passed,  # type: ignore[misc]
            )
            if not report.interrupted:
                break
            if report.exit_code:
                found.append(f"stopped at {nth}: {report}")
            found += _not_announced(trial, f"stopped at {nth}") + trial.recover(f"stopped at {nth}")
    verdict(trial, nth - 1, found)


@pytest.mark.parametrize(("scenario", "company"), cases(1), ids=str)
def test_sigterm_at_each_change(
    scenario: Scenario, company: Company, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line ends with 143, having announced what it took, and the next ordinary run finishes the work."""
    found: list[str] = []
    with Trial(scenario, company, places) as trial:
        monkeypatch.setattr("logrotor.cli.rotation.enter", lambda *_: Entered(trial.config))
        for nth in itertools.count(1):
            trial.reset()
            code = os.waitstatus_to_exitcode(trial.in_fork(_command_with_sigterm(trial, nth)))
            if code == 0:
                break
            assert code == 143, f"SIGTERM at {nth}"
            found += _not_announced(trial, f"SIGTERM at {nth}") + trial.recover(f"SIGTERM at {nth}")
    verdict(trial, nth - 1, found)


def _command_with_sigterm(trial: Trial, nth: int) -> Callable[[], object]:
    def terminate(number: int, operation: str) -> None:
        if number == nth:
            os.kill(os.getpid(), signal.SIGTERM)

    def command() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # xdist's workers ignore it
        with trial.through_door(before=terminate):
            os._exit(cli.call(["run", "--quiet", *(["--force"] if trial.company.empty else [])]))

    return command


def _not_announced(trial: Trial, stage: str) -> list[str]:
    if _asks(trial) and not trial.asked_after_take:
        return [f"{stage}: the log was taken, and no reopen request was made in the same run"]
    return []


def _asks(trial: Trial) -> bool:
    return not trial.scenario.copytruncate and any(trial.has_left(log) for log in trial.scenario.logs)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
