"""Run a program: an argument list without a shell, in a process group of its own, with a timeout."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from logrotor.disk import calls, mounts, proc
from logrotor.disk.trust import can_be_started, places_of

Stop = Callable[[], bool]
TAIL = 2048  # bytes of output that are kept
STOP_GRACE = 0.5  # seconds that a program still gets once the run is asked to stop
_TICK = 0.02  # seconds between two looks


class Finished(Struct, frozen=True):
    """How a program ended. ``status`` as in Popen: negative for a signal, None if somebody else collected it."""

    status: int | None
    output: str
    cut_short: str = ""  # why its process group was killed
    stopped: bool = False  # it was cut short because the run was asked to stop

    @property
    def said(self) -> str:
        """What it printed last, for messages."""
        return f"; its last output: {self.output}" if self.output else "; it printed nothing"


def ourselves() -> list[str]:
    """How logrotor is started where ``$PATH`` is another: in a unit, or by cron."""
    script = os.path.join(os.path.dirname(sys.executable), "logrotor")
    return [script] if os.access(script, os.X_OK) else [sys.executable, "-P", "-m", "logrotor"]


def is_there(name: str) -> bool:
    """Could the program be started, as a path or by ``$PATH``? Nothing is run."""
    return can_be_started(places_of(name)[-1])


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    stop: Stop,
    variables: Mapping[str, str | None] | None = None,
    keep: int = TAIL,
) -> Finished:
    """Run ``argv``, at most ``timeout`` seconds; then its whole process group is killed.

    ``variables`` are added to the environment; None takes one away. Of the output the last ``keep`` bytes are kept.
    Raises OSError, ValueError or
    subprocess.SubprocessError if it cannot be started.
    """
    if argv and "/" in argv[0]:
        mounts.refuse_silent(os.path.abspath(argv[0]))
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb", buffering=0) as output:
        try:
            child = calls.change("spawn", _spawn, argv, writer, variables or {})
        finally:
            os.close(writer)
        os.set_blocking(output.fileno(), False)
        return _attend(child, output.fileno(), timeout, stop, keep)


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


def _attend(child: subprocess.Popen[bytes], output: int, timeout: float, stop: Stop, keep: int) -> Finished:
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
            tail = (tail + _read(output, _TICK))[-keep:]
            now = time.monotonic()
            asked = now if asked is None and stop() else asked
            why = _overdue(now - began, timeout, None if asked is None else now - asked)
    finally:  # an exception in stop(), or KeyboardInterrupt, leaves nothing running
        if why or not _ended(child.pid):
            _kill_group(child.pid)
        collected = _collect(child)
    tail = (tail + _read(output, 0))[-keep:]
    return Finished(collected, tail.decode(errors="replace").strip(), why, bool(why) and asked is not None)


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


def send(process: proc.Process, signum: signal.Signals) -> None:
    """Send a signal to this very process, and never to another one that has got its number since (pidfd_open(2)).

    Raises ProcessLookupError if it has ended, or another OSError.
    """
    try:
        held: int | None = os.pidfd_open(process.pid)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        held = None
    try:
        if proc.look(process.pid).started > process.started + 1:  # right within a second
            raise ProcessLookupError(errno.ESRCH, "it has ended, and another process has its number")
        if held is None:
            calls.change("signal", os.kill, process.pid, signum)
        else:
            calls.change("signal", signal.pidfd_send_signal, held, signum)
    finally:
        if held is not None:
            os.close(held)
