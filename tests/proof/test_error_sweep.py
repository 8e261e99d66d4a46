"""Whatever call fails, and with whatever error: nothing is lost, the error is told, and the next run completes."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterable, Iterator

import pytest

from logrotor.errors import LogrotorError
from logrotor.model import Report
from tests.proof.door import failing
from tests.proof.places import Places, places
from tests.proof.scenarios import EMPTY_HOLDER, NOBODY, SCENARIOS, WRITER, Company, Scenario
from tests.proof.trial import Trial, verdict

__all__ = ["places"]

CODES = (
    errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EXDEV, errno.EINTR, errno.EMFILE
)  # fmt: skip
QUICK = {
    "numbered-nth-zstd-full", "dated-full-gzip", "link-nth-zstd-full", "rename-dated-none", "collapse-nth-zstd-full",
    "archive-other-zstd-full", "hook-zstd", "acl-rename-none",
}  # fmt: skip


@pytest.mark.parametrize("scenario", [scenario for scenario in SCENARIOS if scenario.name in QUICK], ids=str)
def test_each_change_fails_once_and_for_good(scenario: Scenario, places: Places) -> None:
    """Each changing call with one of the errors, in turn."""
    _sweep(Trial(scenario, WRITER, places), lambda nth: (CODES[nth % len(CODES)],))


@pytest.mark.long
@pytest.mark.parametrize("company", [NOBODY, WRITER, EMPTY_HOLDER], ids=str)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_each_change_fails_with_each_error(scenario: Scenario, company: Company, places: Places) -> None:
    """Each changing call with every error."""
    codes = CODES if company is WRITER else (errno.ENOSPC, errno.EXDEV)
    _sweep(Trial(scenario, company, places), lambda nth: codes)


def _sweep(trial: Trial, codes: Callable[[int], Iterable[int]]) -> None:
    found: list[str] = []
    with trial:
        for nth in itertools.count(1):
            reached = True
            for code, persistent in itertools.product(codes(nth), (False, True)):
                trial.reset()
                reached, wrong = _failed(trial, code, nth, persistent)
                found += wrong
            if not reached:
                break
    verdict(trial, nth - 1, found)


def _failed(trial: Trial, code: int, nth: int, persistent: bool) -> tuple[bool, list[str]]:
    """Whether there was an ``nth`` call, and what was wrong after it had failed."""
    met = ""

    def before(number: int, operation: str) -> None:
        nonlocal met
        met = operation if number == nth else met

    outcome: Report | Exception
    try:
        outcome = trial.first(before=before, fault=failing(code, nth, persistent=persistent))
    except Exception as error:
        outcome = error
    stage = f"{errno.errorcode[code]} at {nth} ({met}){' and after' if persistent else ''}"
    if not isinstance(outcome, Exception) and outcome.exit_code == 0:
        return bool(met), trial.judge(outcome, trial.expectation(), stage)
    expected = trial.expectation()
    found = [f"{stage}: {what}" for what in _wrong_report(trial, outcome, code, met)]
    found += [f"{stage}: at once: {what}" for what in trial.wrong_lines(expected, unfinished=True)]
    return bool(met), found + trial.recover(stage)


def _wrong_report(trial: Trial, outcome: Report | Exception, code: int, operation: str) -> Iterator[str]:
    if code == errno.EINTR:
        yield f"EINTR was not got round: {_told(outcome)}"
    if isinstance(outcome, Exception) and not isinstance(outcome, LogrotorError):
        yield f"raised {outcome!r}"
    told = _told(outcome)
    names = (errno.errorcode[code], os.strerror(code), "database", "disk I/O error")  # SQLite has words of its own
    if not any(name in message and "/" in message for message in told for name in names):
        yield f"the message names neither file nor errno: {told}"


def _told(outcome: Report | Exception) -> list[str]:
    if isinstance(outcome, Exception):
        return [str(outcome)]
    return [*(failed.reason for failed in outcome.failed), *outcome.problems]
