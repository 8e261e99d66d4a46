"""One attempt as a process of its own: ``logrotor run`` in a process group that can be ended.

The lock is taken inside the child, so it is free as soon as the child is dead; and the child dies with its worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from msgspec import Struct

from logrotor.jobs.log import VERBOSITY
from logrotor.jobs.site import Site
from logrotor.model import Ending

_ENDINGS = {0: Ending.DONE, 1: Ending.FAILED, 2: Ending.REFUSED, 3: Ending.BUSY}  # by exit code


class Result(Struct, frozen=True):
    """How an attempt ended, and what to tell of it."""

    ending: Ending
    detail: str = ""


def attempt(site: Site, logs: Sequence[str]) -> Result:
    """Rotate, at most for the job's timeout: then TERM, a grace, KILL. Raises OSError if it cannot be started."""
    job = site.settings.job
    summary = os.memfd_create("logrotor-attempt", os.MFD_CLOEXEC)
    try:
        process = subprocess.Popen(_argv(site, logs), stdin=subprocess.DEVNULL, stdout=summary, process_group=0)
        try:
            is_late = not _ended(process, job.timeout)
            if is_late:
                _signal(process, signal.SIGTERM)
                _ended(process, job.grace)
        finally:  # the engine may interrupt the wait as well: nothing is left running
            _signal(process, signal.SIGKILL)
            process.wait()
        return _judged(process.returncode, summary, job.timeout if is_late else None)
    finally:
        os.close(summary)


def _argv(site: Site, logs: Sequence[str]) -> list[str]:
    # -P: a folder named logrotor in the worker's directory is not ours.
    argv = [sys.executable, "-P", "-m", "logrotor", "run", "-c", site.file, "--log-format", "json"]
    argv += ["--time-limit", f"{site.settings.job.time_limit:g}", "--attempt", str(os.getpid())]
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


def _judged(code: int, summary: int, timeout: float | None) -> Result:
    if timeout is not None and code != 0:
        advice = "raise [queue.job] timeout if the work needs longer"
        return Result(Ending.TIMEOUT, f"did not end within {timeout:g} s, and was ended; {advice}")
    if code < 0:
        return Result(Ending.FAILED, f"was killed by {signal.Signals(-code).name}; out of memory?")
    if code not in _ENDINGS:
        return Result(Ending.FAILED, f"ended with exit code {code}: it was interrupted from outside")
    return Result(_ENDINGS[code], _told(summary) if code in (1, 2) else "")


def _told(summary: int) -> str:
    """The errors that the run summed up."""
    size = os.fstat(summary).st_size
    try:
        said = json.loads(os.pread(summary, size, 0))
    except ValueError:
        return "see the worker's log, or run: logrotor run -v"
    more = f" (and {said['more']} more)" if said["more"] else ""
    return "; ".join(said["errors"]) + more
