"""Whatever call fails, and with whatever error: nothing is lost, the error is told, and the next run completes."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator
from logrotor.disk.calls import birth_time
from logrotor.errors import LogrotorError
from logrotor.model import Report
from tests.proof.door import Door, Fault, failing, through
from tests.proof.places import Places, places
from tests.proof.sampling import EXHAUSTIVE
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
    _sweep(Trial(scenario, WRITER, places), lambda nth: (_turn(nth),))


# Each way to take, name, compress and place: every errno at every changing call. The other scenarios meet one errno
# at each call, also where nobody writes or somebody holds an empty log: the next one at the next call.
WHOLE = {
    "numbered-nth-gzip", "numbered-nth-zstd-full", "dated-nth-zstd", "dated-full-gzip", "link-nth-zstd-full",
    "link-dated-none", "rename-nth-zstd-full", "rename-dated-none", "collapse-first-none", "archive-same-zstd-full",
    "archive-other-zstd-full", "archive-other-none",
}  # fmt: skip
ALONE = [
    pytest.param(scenario, company, number)
    for number, scenario in enumerate(SCENARIOS)
    for turn, company in enumerate((NOBODY, EMPTY_HOLDER))
    if EXHAUSTIVE or number % 2 == turn
]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", [scenario for scenario in SCENARIOS if scenario.name in WHOLE], ids=str)
def test_each_change_fails_with_each_error(scenario: Scenario, places: Places) -> None:
    """Each changing call with every error, once and for good, under a writer."""
    _sweep(Trial(scenario, WRITER, places), lambda nth: CODES)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", [scenario for scenario in SCENARIOS if scenario.name not in WHOLE], ids=str)
def test_each_change_fails_with_some_errors(scenario: Scenario, places: Places) -> None:
    """Each changing call with one of the errors by turns, once and for good, under a writer."""
    offset = SCENARIOS.index(scenario)
    _sweep(Trial(scenario, WRITER, places), lambda nth: CODES if EXHAUSTIVE else (_turn(nth + offset),))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("scenario", "company", "number"), ALONE, ids=str)
def test_each_change_fails_with_an_error(scenario: Scenario, company: Company, number: int, places: Places) -> None:
    """Each changing call with one of the errors by turns, once and for good, without lines that come meanwhile."""
    _sweep(Trial(scenario, company, places), lambda nth: CODES if EXHAUSTIVE else (_turn(nth + number),))


def _turn(number: int) -> int:
    return CODES[number % len(CODES)]


Identity = tuple[int, float | None]


def _identity(file: int | Path) -> Identity:
    """The inode and when it was made: ext4 gives the number of a removed file to the next one."""
    fd = os.dup(file) if isinstance(file, int) else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.fstat(fd).st_ino, birth_time(fd)
    finally:
        os.close(fd)


class _SyncsOf(Door):
    """Writes down of which file each fsync and each checked close is."""

    def __init__(self, fault: Fault | None = None) -> None:
        super().__init__(fault=fault)
        self.synced: list[tuple[int, Identity]] = []  # the number of the call, and which regular file

    def __call__(self, operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if operation in ("sync", "close"):
            fd = args[0] if operation == "sync" else function.__self__.fileno()  # type: ignore[attr-defined]
            if stat.S_ISREG(os.fstat(fd).st_mode):
                self.synced.append((len(self.operations) + 1, _identity(fd)))
        return super().__call__(operation, function, *args, **kwargs)


@pytest.mark.parametrize("name", ["numbered-first-zstd", "archive-other-none", "collapse-first-none"])
def test_a_copy_that_cannot_be_synced_is_thrown_away(name: str, places: Places) -> None:
    """A failed fsync or close leaves unknown what is on the disk: the original stays, the copy is not tried again."""
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    with Trial(scenario, NOBODY, places) as trial:
        trial.reset()
        with through(_SyncsOf()) as undisturbed:
            Rotator(trial.config).run()
        copies = [number for number, (inode, _) in undisturbed.synced if inode not in trial.originals.values()]
        assert len(copies) >= 2
        for nth in copies:
            trial.reset()
            with through(_SyncsOf(failing(errno.EIO, nth, persistent=False))) as door:
                report = Rotator(trial.config).run()
            failed = next(file for number, file in door.synced if number == nth)
            assert [number for number, file in door.synced if file == failed][-1] == nth
            assert report.exit_code == 1
            assert failed not in {_identity(path) for folder in trial.folders for path in folder.iterdir()}
            assert not trial.wrong_lines(trial.rotated)
            assert not trial.recover(f"after a failed sync at {nth}")


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
    return [*(failed.reason for failed in outcome.failed), *map(str, outcome.problems)]
