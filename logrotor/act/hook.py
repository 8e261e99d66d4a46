"""Run ``on_archive`` for a finished archive: an argument list, no shell, a timeout, a documented environment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable

from logrotor.disk.calls import change
from logrotor.errors import Interrupted, LogrotorError
from logrotor.model import RunHook

_TICK = 0.1
_TAIL = 2000


class HookFailed(LogrotorError):
    """``on_archive`` did not succeed for an archive; it is tried again at the next run."""


def run_hook(step: RunHook, log: str, rule: str, *, stop: Callable[[], bool]) -> None:
    """Run the command; ``{archive}`` and ``{log}`` in its arguments are replaced by the paths.

    Environment: LOGROTOR_ARCHIVE, LOGROTOR_LOG, LOGROTOR_RULE besides our own. Raises HookFailed, Interrupted.
    """
    archive = os.path.join(step.directory, step.name)
    argv = [part.replace("{archive}", archive).replace("{log}", log) for part in step.argv]
    environment = {**os.environ, "LOGROTOR_ARCHIVE": archive, "LOGROTOR_LOG": log, "LOGROTOR_RULE": rule}
    try:
        process = change("spawn", _spawn, argv, environment)
    except OSError as error:
        raise HookFailed(f"{archive}: on_archive: {argv[0]}: {error.strerror}") from error
    output = _wait(process, step.timeout, archive, stop)
    if process.returncode != 0:
        raise HookFailed(f"{archive}: on_archive: {argv[0]} ended with {process.returncode}: {output[-_TAIL:].strip()}")


def _spawn(argv: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _wait(process: subprocess.Popen[bytes], timeout: float, archive: str, stop: Callable[[], bool]) -> str:
    left = timeout
    while True:
        try:
            output, _ = process.communicate(timeout=_TICK)
            return output.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            left -= _TICK
            if stop():
                _kill(process)
                raise Interrupted(f"{archive}: stopped while on_archive ran") from None
            if left <= 0:
                _kill(process)
                raise HookFailed(f"{archive}: on_archive took longer than {timeout:g} s and was killed") from None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The whole process group, so that nothing it started stays behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
