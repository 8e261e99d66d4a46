"""The body of the rotation job, the same on every engine.

Judge the payload, count the attempt in the history, run it as a child, decide what follows. Busy and stale are
successes; what no further attempt can make right is not tried again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from logrotor.disk import state
from logrotor.disk.history import History
from logrotor.errors import ConfigError, LogrotorError, StateError
from logrotor.jobs import child, payload
from logrotor.jobs.child import Result
from logrotor.jobs.log import tell
from logrotor.jobs.payload import Payload
from logrotor.jobs.site import Site, open_site
from logrotor.model import Attempt, Ending, JobSettings

SUCCESSES = frozenset({Ending.DONE, Ending.BUSY, Ending.STALE})
_AGAIN = frozenset({Ending.FAILED, Ending.TIMEOUT})
Runner = Callable[[Site, tuple[str, ...]], Result]
Clock = Callable[[], float]


class TryAgain(Exception):
    """This attempt failed; the engine is to deliver the job once more after ``delay`` seconds."""

    def __init__(self, message: str, delay: float) -> None:
        super().__init__(message, delay)
        self.delay = delay

    def __str__(self) -> str:
        return str(self.args[0])


class JobFailed(LogrotorError):
    """The job failed for good."""


def rotate(text: str, known: Site, *, run: Runner = child.attempt, clock: Clock = time.time) -> str:
    """One attempt of the job ``text``; returns how it ended, if well. Raises TryAgain or JobFailed.

    ``known``: the configuration that the worker started with. It is read again, so that a changed one holds.
    """
    site, refused = _reread(known)
    job, unreadable = _decoded(text)
    attempt, earlier = _begin(site, text, clock())
    result = refused or unreadable
    if job is not None and result is None:
        result = _judged(job, site, attempt, earlier, clock()) or _tried(job, site, attempt, run, clock)
    assert result is not None  # without a job there is a reason
    ended = replace(attempt, ended=clock(), ending=result.ending, detail=result.detail)
    ended = replace(ended, final=not _may_try_again(ended, earlier, site.settings.job))
    _remember(site, ended)
    return _told(ended, site.settings.job)


def _reread(known: Site) -> tuple[Site, Result | None]:
    """The configuration as it is now, or why it cannot be used."""
    site, refused = known, None
    try:
        site = open_site(known.file, known.environ)
    except ConfigError as error:
        refused = Result(Ending.REFUSED, str(error))
    try:
        state.prepare(site.config.state_dir, site.config.state_dir_origin)
    except StateError as error:
        refused = refused or Result(Ending.REFUSED, str(error))
    return site, refused


def _decoded(text: str) -> tuple[Payload | None, Result | None]:
    try:
        return payload.decode(text), None
    except payload.Stale as error:
        return None, Result(Ending.STALE, str(error))
    except payload.Unacceptable as error:
        return None, Result(Ending.REFUSED, str(error))


def _begin(site: Site, text: str, now: float) -> tuple[Attempt, list[Attempt]]:
    """The attempt as the history has it, and the earlier ones of this job."""
    attempt = Attempt(
        id=0, job=payload.identify(text), number=site.settings.job.tries,
        engine=site.settings.engine, queue=site.queue, host=site.host, started=now, ended=None,
        ending=Ending.RUNNING, final=False, detail="", pid=os.getpid(), payload=payload.excerpt(text),
    )  # fmt: skip
    history = History(site.config.state_dir)
    try:
        attempt = history.begin_attempt(attempt, overdue=now - site.settings.job.reclaim_after)
        return attempt, [a for a in history.attempts_of(attempt.job) if a.id != attempt.id]
    except OSError as error:
        # A full disk must not stop the rotation that would empty it; but what is not counted is not tried again.
        tell("problem.found", error=str(error))
        return attempt, []


def _remember(site: Site, attempt: Attempt) -> None:
    if attempt.id:
        try:
            History(site.config.state_dir).end_attempt(attempt)
        except OSError as error:
            tell("problem.found", error=str(error))


def _tried(job: Payload, site: Site, attempt: Attempt, run: Runner, clock: Clock) -> Result:
    try:
        result = run(site, job.logs)
    except OSError as error:
        return Result(Ending.FAILED, f"could not be started: {error}")
    except BaseException as error:  # the engine's own limit, or a worker that is stopped hard
        reason = f"interrupted by the engine: {type(error).__name__}"
        _remember(site, replace(attempt, ended=clock(), ending=Ending.LOST, detail=reason))
        raise
    if result.ending is Ending.DONE and job.config_sha256 != site.sha256:
        return Result(Ending.DONE, "the configuration has changed since the job was queued; the new one was used")
    return result


# ---------------------------------------------------------------- judging


def _judged(job: Payload, site: Site, attempt: Attempt, earlier: list[Attempt], now: float) -> Result | None:
    """What is known without trying; None: try."""
    limits = site.settings.job
    if job.host != site.host:
        return Result(Ending.REFUSED, f"the job is for host {job.host!r}, and this is {site.host!r}: give each host a "
                      "[queue] host of its own, and a worker on its own queue")  # fmt: skip
    if os.path.realpath(job.config) != os.path.realpath(site.file):
        return Result(Ending.REFUSED, f"the job is for {job.config}, and this worker has {site.file}: give each "
                      "configuration a [queue] name of its own")  # fmt: skip
    if not earlier and now > job.expires:
        return Result(Ending.STALE, f"waited {now - job.enqueued:.0f} s for its first attempt; the next job does its "
                      "work")  # fmt: skip
    if attempt.number > limits.tries:
        ends = ", ".join(a.ending.value for a in earlier)
        return Result(Ending.REFUSED, f"was tried {len(earlier)} times (ended: {ends}); [queue.job] tries is "
                      f"{limits.tries}")  # fmt: skip
    return None


def _may_try_again(attempt: Attempt, earlier: Iterable[Attempt], limits: JobSettings) -> bool:
    if attempt.ending not in _AGAIN or attempt.number >= limits.tries:
        return False
    raised = sum(1 for a in (*earlier, attempt) if a.ending is Ending.FAILED)
    return raised < limits.max_exceptions


def _told(attempt: Attempt, limits: JobSettings) -> str:
    """Say what became of the attempt, to the worker's log and to the engine."""
    fields = {"job": attempt.job, "attempt": attempt.number, "tries": limits.tries}
    if attempt.ending in SUCCESSES:
        if attempt.ending is not Ending.DONE:
            tell("job.skipped", **fields, reason=attempt.detail or "another run holds the lock and does the work")
        return attempt.ending.value
    if not attempt.final:
        delay = limits.delay(attempt.number)
        tell("job.retried", **fields, error=attempt.detail, delay=delay)
        raise TryAgain(attempt.detail, delay)
    tell("job.failed", **fields, error=attempt.detail)
    raise JobFailed(f"attempt {attempt.number} of {limits.tries}: {attempt.detail}")
