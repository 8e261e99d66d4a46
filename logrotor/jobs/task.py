"""The body of the rotation job, the same on every engine.

Judge the payload, count the attempt in the history, carry it out as a child process, decide what follows. Stale is a
success, and so is busy, unless nothing is done for several jobs in a row. What no further attempt can make right is not
tried again. Only the first job that fails for a cause is a failed one for the engine; those after it join its fault.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from logrotor import events
from logrotor.disk import holders, state
from logrotor.disk.attempts import MISSENT
from logrotor.disk.history import History
from logrotor.errors import ConfigError, LogrotorError, StateError
from logrotor.jobs import payload
from logrotor.jobs.engine import Site, open_site
from logrotor.model import Attempt, Ending, JobSettings
from logrotor.text import ours

VERBOSITY = "LOGROTOR_VERBOSITY"  # of a worker: -1 errors, 0 warnings, 1 info (the default), 2 debug
ONCE = "LOGROTOR_ONCE"  # of a worker that is to do one job: its process, which then takes no other
SUCCESSES = frozenset({Ending.DONE, Ending.BUSY, Ending.STALE})
_AGAIN = frozenset({Ending.FAILED, Ending.TIMEOUT, Ending.LOST})
_OFTEN = 3  # jobs in a row that find another run at work
_ENDINGS = {0: Ending.DONE, 1: Ending.FAILED, 2: Ending.REFUSED, 3: Ending.BUSY}  # by exit code


class Result(Struct, frozen=True):
    """How an attempt ended, and why."""

    ending: Ending
    detail: str = ""
    lasting: bool = False  # no retry can change it
    cause: str = ""  # the same for the same fault, whatever its words; "": its words


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


def rotate(text: str, known: Site, *, run: Runner | None = None, clock: Clock = time.time) -> str:
    """One attempt of the job ``text``; returns how it ended, if well. Raises TryAgain or JobFailed.

    ``known``: the configuration that the worker started with. It is read again, so that a changed one holds.
    """
    if last := os.environ.get(ONCE, ""):
        os.kill(int(last), signal.SIGTERM)  # now, while it waits for this one
    site, refused = _reread(known)
    attempt, earlier = _begin(site, text, clock())
    result = refused or _judged(text, site, attempt, earlier, clock()) or _tried(text, site, attempt, run, clock)
    if result.ending is Ending.BUSY:
        result = _often_busy(site, attempt, result, clock())
    ended = replace(attempt, ended=clock(), ending=result.ending, detail=result.detail)
    ended = replace(ended, final=result.lasting or not _may_try_again(ended, earlier, site.settings.job))
    return _told(ended, site.settings.job, _remember(site, ended, result.cause))


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


def _remember(site: Site, attempt: Attempt, cause: str = "") -> str | None:
    """The first job of the fault that the attempt is one more of, if it is."""
    if not attempt.id:
        return None
    kept = payload.kept(attempt.payload, attempt.ending)
    try:
        logs = payload.selection(attempt.payload)
        return History(site.config.state_dir).end_attempt(replace(attempt, payload=kept), cause=cause, logs=logs)
    except OSError as error:
        tell("problem.found", error=str(error))
        return None


def _often_busy(site: Site, attempt: Attempt, result: Result, now: float) -> Result:
    """Another run does the work, once; if several jobs in a row find one, it is named."""
    history, cause = History(site.config.state_dir), "busy"
    try:
        faults = history.faults(site.queue)
        past = [a for a in history.attempts_since(now - 86400.0) if a.queue == site.queue and a.id != attempt.id]
    except OSError:
        return result
    is_known = any(fault.cause == cause and fault.settled is None for fault in faults)
    if not is_known and [a.ending for a in past[1 - _OFTEN :]] != [Ending.BUSY] * (_OFTEN - 1):
        return result
    found = holders.run_at_work(site.config.state_dir, now)
    why = str(found) if found is not None else "which one cannot be seen from here"
    return Result(Ending.FAILED, f"for {_OFTEN} jobs in a row another run held the lock: {why}", True, cause)


def _tried(text: str, site: Site, attempt: Attempt, run: Runner | None, clock: Clock) -> Result:
    job = payload.decode(text)
    try:
        result = (run or partial(carry_out, attempt=attempt))(site, job.logs)
    except OSError as error:
        return Result(Ending.FAILED, f"could not be started: {error}")
    except Exception as error:  # the engine's own limit
        took = clock() - attempt.started
        why = f"the engine ended it after {took:.0f} s, by a limit of its own: {type(error).__name__}"
        return Result(Ending.LOST, why, cause="lost")
    except BaseException as error:  # a worker that is stopped hard
        reason = f"interrupted by the engine: {type(error).__name__}"
        _remember(site, replace(attempt, ended=clock(), ending=Ending.LOST, detail=reason))
        raise
    if result.ending is Ending.DONE and job.config_sha256 != site.sha256:
        return Result(Ending.DONE, "the configuration has changed since the job was queued; the new one was used")
    return result


# ---------------------------------------------------------------- judging


def _judged(text: str, site: Site, attempt: Attempt, earlier: list[Attempt], now: float) -> Result | None:
    """What is known without trying; None: try."""
    try:
        job = payload.decode(text)
    except payload.Stale as error:
        return Result(Ending.STALE, str(error))
    except payload.Unacceptable as error:
        kind = "version" if isinstance(error, payload.Newer) else "format"
        return Result(Ending.REFUSED, str(error), cause=MISSENT + kind)
    limits = site.settings.job
    if job.host != site.host:
        return Result(Ending.REFUSED, f"the job is for host {job.host!r}, and this is {site.host!r}: give each host a "
                      "[queue] host of its own, and a worker on its own queue; "
                      f"after a change of the host's name: {ours('queue restart')}",
                      cause=MISSENT + "host")  # fmt: skip
    if os.path.realpath(job.config) != os.path.realpath(site.file):
        return Result(Ending.REFUSED, f"the job is for {job.config}, and this worker has {site.file}: give each "
                      "configuration a [queue] name of its own", cause=MISSENT + "configuration")  # fmt: skip
    if any(a.ending in SUCCESSES for a in earlier):
        return Result(Ending.STALE, "is done already; the engine delivered it once more")
    if not earlier and now > job.expires:
        return Result(Ending.STALE, f"waited {now - job.enqueued:.0f} s for its first attempt; the next job does its "
                      "work")  # fmt: skip
    if attempt.number > limits.tries:
        ends = ", ".join(a.ending.value for a in earlier)
        return Result(Ending.REFUSED, f"was tried {len(earlier)} times (ended: {ends}); [queue.job] tries is "
                      f"{limits.tries}", cause="tries")  # fmt: skip
    return None


def _may_try_again(attempt: Attempt, earlier: Iterable[Attempt], limits: JobSettings) -> bool:
    if attempt.ending not in _AGAIN or attempt.number >= limits.tries:
        return False
    raised = sum(1 for a in (*earlier, attempt) if a.ending is Ending.FAILED)
    return raised < limits.max_exceptions


def _told(attempt: Attempt, limits: JobSettings, first: str | None) -> str:
    """Say what became of the attempt, to the worker's log and to the engine. ``first``: the failed job it joins."""
    fields = {"job": attempt.job, "attempt": attempt.number, "tries": limits.tries}
    if attempt.ending in SUCCESSES:
        if attempt.ending is not Ending.DONE:
            tell("job.skipped", **fields, reason=attempt.detail or "another run holds the lock and does the work")
        return attempt.ending.value
    if not attempt.final:
        delay = limits.delay(attempt.number)
        tell("job.retried", **fields, error=attempt.detail, delay=delay)
        raise TryAgain(attempt.detail, delay)
    tell("job.failed", **fields, error=attempt.detail, **({} if first is None else {"first": first}))
    if first is not None:
        return attempt.ending.value
    raise JobFailed(f"attempt {attempt.number} of {limits.tries}: {attempt.detail}")


# ---------------------------------------------------------------- the attempt itself


def carry_out(site: Site, logs: Sequence[str], *, attempt: Attempt | None = None) -> Result:
    """One attempt as a process of its own, ``logrotor run``, in a process group that can be ended.

    It takes at most the job's timeout; then TERM, a grace, KILL. The lock is taken inside the child, so it is free as
    soon as the child is dead; and the child dies with its worker. Raises OSError if it cannot be started.
    """
    job = site.settings.job
    summary = os.memfd_create("logrotor-attempt", os.MFD_CLOEXEC)
    try:
        process = subprocess.Popen(
            _argv(site, logs, attempt), stdin=subprocess.DEVNULL, stdout=summary, process_group=0
        )
        try:
            is_late = not _ended(process, job.timeout)
            if is_late:
                _signal(process, signal.SIGTERM)
                _ended(process, job.grace)
        finally:  # the engine may interrupt the wait as well: nothing is left running
            _signal(process, signal.SIGKILL)
            process.wait()
        return _exited(process.returncode, summary, job.timeout if is_late else None)
    finally:
        os.close(summary)


def _argv(site: Site, logs: Sequence[str], attempt: Attempt | None) -> list[str]:
    # -P: a folder named logrotor in the worker's directory must not stand in for the package.
    argv = [sys.executable, "-P", "-m", "logrotor", "run", "-c", site.file, "--log-format", "json"]
    argv += ["--time-limit", f"{site.settings.job.time_limit:g}", "--attempt", str(os.getpid())]
    if attempt is not None:  # each line that it logs names them
        argv += ["--job", attempt.job, str(attempt.number)]
    level = int(site.environ.get(VERBOSITY, "1"))
    argv += ["-" + "v" * level] if level > 0 else ["-q"] * -level
    for name in logs if "*" not in logs else ():
        argv.append(f"--only={name}")
    return argv


def _ended(process: subprocess.Popen[bytes], patience: float) -> bool:
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        return False
    return True


def _signal(process: subprocess.Popen[bytes], signum: int) -> None:
    """To the whole group: commands that the run has started are in it unless they left it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signum)


def _exited(code: int, summary: int, timeout: float | None) -> Result:
    if timeout is not None and code != 0:
        advice = "raise [queue.job] timeout if the work needs longer"
        return Result(Ending.TIMEOUT, f"did not end within {timeout:g} s, and was ended; {advice}", cause="timeout")
    if code < 0:
        return Result(Ending.FAILED, f"was killed by {signal.Signals(-code).name}; out of memory?")
    if code not in _ENDINGS:
        return Result(Ending.FAILED, f"ended with exit code {code}: it was interrupted from outside")
    return _summed_up(_ENDINGS[code], summary) if code in (1, 2) else Result(_ENDINGS[code])


class Summary(Struct, frozen=True):
    """What a run that is an attempt prints at its end: no more than the job needs of it."""

    errors: list[str]
    more: int = 0  # errors that are left out
    lasting: bool = False
    cause: str = ""


def _summed_up(ending: Ending, summary: int) -> Result:
    try:
        # The standard library reads it: a name may have any bytes.
        said = msgspec.convert(json.loads(os.pread(summary, os.fstat(summary).st_size, 0)), Summary)
    except ValueError:  # msgspec's own error is one
        return Result(ending, f"see the worker's log, or run: {ours('run -v')}")
    more = f" (and {said.more} more)" if said.more else ""
    return Result(ending, "; ".join(said.errors) + more, said.lasting, said.cause)


# ---------------------------------------------------------------- what the worker logs


def tell(name: str, /, **fields: Any) -> None:
    """Log one event of a job on the worker's stderr, as one JSON object like those of the runs.

    Engines set up logging each in its own way, and two of them for their own names only; so this does not rely on it.
    It never raises: a message that nobody can read must not fail a job.
    """
    level = events.NAMES[name][0]
    wanted = os.environ.get(VERBOSITY, "1")
    if level < events.shown_from(int(wanted) if wanted.lstrip("-").isdigit() else 1):
        return
    with contextlib.suppress(OSError, ValueError):
        stream = sys.stderr
        stream.write(events.json_line(name, fields, datetime.now(UTC)))
        stream.flush()
