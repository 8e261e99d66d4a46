"""Ask by running a command: an argument list without a shell, in a process group of its own, with a timeout.

The command gets LOGROTOR_TARGET, the target's name, and LOGROTOR_LOGS, a JSON list of the paths (bytes that are no
UTF-8 as lone surrogates, as Python's os.fsdecode gives them). A list of over 120,000 characters is left out: Linux
takes no longer variable (MAX_ARG_STRLEN, execve(2)).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from logrotor.disk import calls
from logrotor.model import ReopenTarget
from logrotor.notify import Delivered, Stop, failure

TAIL = 2048  # bytes of output that stand in the error
STOP_GRACE = 2.0  # seconds that a command still gets once the run is asked to stop
MAX_VARIABLE = 120_000
_TICK = 0.02  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended. ``status`` as in Popen: negative for a signal, None if somebody else collected it."""

    status: int | None
    output: str
    cut_short: str = ""  # why its process group was killed


def request(target: ReopenTarget, paths: tuple[str, ...], *, stop: Stop) -> Delivered:
    """Run the target's command. Anything but exit status 0 within the timeout raises ReopenFailed."""
    if not target.command:
        raise failure(target, "no command is set", do='set command = ["/path/to/program", "argument"]')
    finished = run(target, target.command, stop=stop, variables=_variables(target, paths))
    check(target, target.command, finished)
    return Delivered(target, (), f"{target.command[0]} ended with 0")


def run(
    target: ReopenTarget,
    argv: Sequence[str],
    *,
    stop: Stop,
    variables: Mapping[str, str | None] | None = None,
    do: str = "correct the command",
) -> Finished:
    """Run ``argv``, at most ``target.timeout`` seconds; then its whole process group is killed.

    ``variables`` are added to the environment; None takes one away. Raises ReopenFailed if it cannot be started.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb", buffering=0) as output:
        try:
            child = calls.change("spawn", _spawn, argv, writer, variables or {})
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise failure(target, f"{argv[0]} could not be started: {why}", do=do) from error
        finally:
            os.close(writer)
        os.set_blocking(output.fileno(), False)
        return _attend(child, output.fileno(), target.timeout, stop)


def check(
    target: ReopenTarget, argv: Sequence[str], finished: Finished, *, do: str = "run it by hand to see why"
) -> None:
    """Raises ReopenFailed unless the command ended by itself with 0."""
    said = f"; its last output: {finished.output}" if finished.output else "; it printed nothing"
    if finished.cut_short:
        what = f"{argv[0]} {finished.cut_short}, and its process group was killed{said}"
        raise failure(target, what, do="make it faster, or raise timeout; the next run asks again")
    if finished.status is None:
        what = f"how {argv[0]} ended cannot be known, since this process does not keep its children (SIGCHLD){said}"
        raise failure(target, what, do="set SIGCHLD to its default in the program that uses logrotor")
    if finished.status:
        how = f"exit status {finished.status}" if finished.status > 0 else f"signal {-finished.status}"
        raise failure(target, f"{argv[0]} ended with {how}{said}", do=do)


def _variables(target: ReopenTarget, paths: tuple[str, ...]) -> dict[str, str | None]:
    logs = json.dumps(paths)
    return {"LOGROTOR_TARGET": target.name, "LOGROTOR_LOGS": logs if len(logs) <= MAX_VARIABLE else None}


def _spawn(argv: Sequence[str], writer: int, variables: Mapping[str, str | None]) -> subprocess.Popen[bytes]:
    merged = {**os.environ, **variables}
    # Not subprocess.DEVNULL: that opens /dev/null for writing, and the law says that only disk/ writes.
    stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=writer,
            stderr=writer,
            close_fds=True,
            start_new_session=True,
            env={key: value for key, value in merged.items() if value is not None},
        )
    finally:
        os.close(stdin)


def _attend(child: subprocess.Popen[bytes], output: int, timeout: float, stop: Stop) -> Finished:
    """Collect the tail of the output until the command ends or has to be ended.

    The end of the output is not the end of the command, nor the other way round: a daemon that it leaves behind
    may hold the pipe for ever.
    """
    tail = b""
    why = ""
    began = time.monotonic()
    asked: float | None = None
    try:
        while not why and not _ended(child.pid):
            tail = (tail + _read(output, _TICK))[-TAIL:]
            now = time.monotonic()
            asked = now if asked is None and stop() else asked
            why = _overdue(now - began, timeout, None if asked is None else now - asked)
    finally:  # an exception in stop(), or KeyboardInterrupt, leaves nothing running
        if why or not _ended(child.pid):
            _kill_group(child.pid)
        collected = _collect(child)
    tail = (tail + _read(output, 0))[-TAIL:]
    return Finished(collected, tail.decode(errors="replace").strip(), why)


def _overdue(elapsed: float, timeout: float, since_stop: float | None) -> str:
    if elapsed >= timeout:
        return f"did not end within {timeout:g} s"
    if since_stop is not None and since_stop >= STOP_GRACE:
        return f"still ran {STOP_GRACE:g} s after the run was asked to stop"
    return ""


def _ended(pid: int) -> bool:
    """Whether the child has ended. It is not collected yet, so that its number and group cannot be recycled."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # SIGCHLD is ignored, or somebody else in this process collects all children
        return True


def _collect(child: subprocess.Popen[bytes]) -> int | None:
    """The exit status; None where it cannot be had."""
    last = time.monotonic() + STOP_GRACE
    while not _ended(child.pid):
        if time.monotonic() > last:  # sudo and its like cannot be killed by us: not waited for
            return None
        time.sleep(_TICK)
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        child.wait()  # for itself: it would say 0
        return None
    return child.wait()


def _kill_group(pid: int) -> None:
    """KILL at once: the command had its time. The group is the child's own, so it can hit nobody else."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # all gone; all run as another user (sudo)
        calls.change("signal", os.killpg, pid, signal.SIGKILL)


def _read(fd: int, wait: float) -> bytes:
    """What the pipe holds now, after at most ``wait`` seconds; the wait is kept at the end of the output too."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if not poll.poll(wait * 1000):
        return b""
    data = os.read(fd, 65536)
    if not data and wait:
        time.sleep(wait)
    return data
