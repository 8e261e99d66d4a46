"""Find the process that a pidfile names, make sure that it is the right one, and signal it.

The pidfd is opened first, then the process behind the number is looked at, then the signal goes through the
pidfd: if the process ends at any point in between, the signal reaches nobody, and never another process that got
its number (pidfd_open(2)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import signal
import stat
from collections.abc import Callable, Iterator

from msgspec import Struct

from logrotor.disk import calls, proc
from logrotor.disk.walk import user_name
from logrotor.errors import ReopenFailed
from logrotor.model import ReopenTarget
from logrotor.notify import failure

MAX_PIDFILE = 4096  # bytes
MAX_PID = 4_194_304  # PID_MAX_LIMIT, linux/threads.h
SLACK = 2.0  # seconds: btime is a whole second, and so is the mtime on some file systems
_NO_PIDFD = frozenset({errno.ENOSYS, errno.EPERM})  # before Linux 5.3; seccomp of old container engines
# The signals that ask for a reopen by custom. TERM and its like are sent to whoever the operator names.
_CUSTOMARY = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})


class Expected(Struct, frozen=True):
    """What should be behind a pid, and how the operator finds it."""

    noun: str  # "supervisord"
    hint: str  # what to look at if it is not there
    permit: str = "give it the user of logrotor"  # the other way to be allowed to signal it
    is_it: Callable[[tuple[str, ...]], bool] = lambda argv: True  # by its command line


class Pidfile(Struct, frozen=True):
    """A pidfile as read."""

    path: str
    pid: int
    owner: int
    mtime: float


class Found(Struct, frozen=True):
    """A process that is the right one, with its pidfd (None where the kernel has none)."""

    process: proc.Process
    pidfd: int | None


@contextlib.contextmanager
def by_pidfile(target: ReopenTarget, expected: Expected) -> Iterator[Found]:
    """The process that the target's pidfile names. Raises ReopenFailed if it is gone or another one."""
    pidfile = read_pidfile(target, expected)
    with opened(target, pidfile.pid, expected) as found:
        check_owner(target, pidfile, found.process, expected)
        check_age(target, pidfile, found.process, expected)
        yield found


@contextlib.contextmanager
def opened(target: ReopenTarget, pid: int, expected: Expected) -> Iterator[Found]:
    """Hold on to process ``pid``, look at it, close. Raises ReopenFailed if it is dead or not what is expected."""
    check_pid(target, pid, expected)
    pidfd = _open(target, pid, expected)
    try:
        yield Found(_living(target, pid, pidfd, expected), pidfd)
    finally:
        if pidfd is not None:
            os.close(pidfd)


def send(target: ReopenTarget, found: Found, number: signal.Signals, expected: Expected) -> None:
    """Send the signal, unless it would end the process. Raises ReopenFailed."""
    process = found.process
    _check_handled(target, process, number, expected)
    try:
        _deliver(found, number)
    except ProcessLookupError:
        raise _gone(target, process.pid, expected) from None
    except PermissionError:
        raise _not_permitted(target, process, number, expected) from None


def check_permitted(target: ReopenTarget, found: Found, number: signal.Signals, expected: Expected) -> None:
    """Everything that :func:`send` needs, without sending. Raises ReopenFailed."""
    _check_handled(target, found.process, number, expected)
    if os.geteuid() not in (0, found.process.uid):
        raise _not_permitted(target, found.process, number, expected)


def number_of(target: ReopenTarget) -> signal.Signals:
    """The target's signal by name, "USR1" or "SIGUSR1"."""
    if target.signal is None:
        raise failure(target, "no signal is set", do='say which one makes it reopen its logs: signal = "USR1"')
    try:
        return signal.Signals[f"SIG{target.signal.upper().removeprefix('SIG')}"]
    except KeyError:
        raise failure(target, f"there is no signal {target.signal!r}", do='use a name such as "USR1"') from None


# ---------------------------------------------------------------- the pidfile


def read_pidfile(target: ReopenTarget, expected: Expected) -> Pidfile:
    """Read and check the target's pidfile: a regular file whose first line is a pid. Raises ReopenFailed."""
    path = target.pidfile
    if path is None:
        raise failure(target, "no pidfile is set", do=f"set pidfile in [reopen.{target.name}]; {expected.hint}")
    try:
        _check_link(target, path)
        # O_NONBLOCK: a FIFO without a writer would hold the run for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise failure(target, f"{path}: no such pidfile", do=f"is {expected.noun} running? {expected.hint}") from None
    except OSError as error:
        do = f"let {user_name(os.geteuid())} read it"
        raise failure(target, f"{path}: the pidfile cannot be read: {error.strerror}", do=do) from error
    try:
        status = os.fstat(fd)
        _check_file(target, path, status, expected)
        data = os.read(fd, MAX_PIDFILE)
    finally:
        os.close(fd)
    return Pidfile(path, _number_in(target, path, data, expected), status.st_uid, status.st_mtime)


def _check_link(target: ReopenTarget, path: str) -> None:
    # Whoever owns a link chooses which root-owned pidfile is read, and so who is signalled.
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, os.geteuid()):
        what = f"{path}: the pidfile is a symlink that belongs to {user_name(status.st_uid)}"
        raise failure(target, what, do="name the real file in pidfile")


def _check_file(target: ReopenTarget, path: str, status: os.stat_result, expected: Expected) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise failure(target, f"{path}: the pidfile is no regular file", do=expected.hint)
    if status.st_mode & stat.S_IWOTH:
        raise failure(target, f"{path}: anyone may write this pidfile, so it proves nothing", do=f"chmod o-w {path}")
    if status.st_size > MAX_PIDFILE:
        raise failure(target, f"{path}: {status.st_size} bytes are too many for a pidfile", do=expected.hint)


def _number_in(target: ReopenTarget, path: str, data: bytes, expected: Expected) -> int:
    lines = [line.strip() for line in data.splitlines() if line.strip()]
    if not lines:
        raise failure(target, f"{path}: the pidfile is empty", do=f"is {expected.noun} running? {expected.hint}")
    if not re.fullmatch(rb"[+-]?[0-9]{1,10}", lines[0]):
        raise failure(target, f"{path}: the pidfile begins with {lines[0][:40]!r}, which is no pid", do=expected.hint)
    return int(lines[0])


# ---------------------------------------------------------------- identity


def check_pid(target: ReopenTarget, pid: int, expected: Expected) -> None:
    """Refuse numbers that no process has or that mean something else to kill(2). 1 is legal: containers."""
    if pid == os.getpid():
        raise failure(target, f"pid {pid} is logrotor itself, not {expected.noun}", do=expected.hint)
    if not 0 < pid <= MAX_PID:
        raise failure(target, f"{pid} is no pid", do=expected.hint)


def check_owner(target: ReopenTarget, pidfile: Pidfile, process: proc.Process, expected: Expected) -> None:
    """The pidfile belongs to the user of the process, or to root: masters drop their privileges."""
    if pidfile.owner not in (0, process.uid):
        owner, user = user_name(pidfile.owner), user_name(process.uid)
        what = f"{pidfile.path} belongs to {owner}, but its process {process.pid} runs as {user}: not the one meant"
        raise failure(target, what, do=f"remove the stale pidfile and restart {expected.noun}; {expected.hint}")


def check_age(target: ReopenTarget, pidfile: Pidfile, process: proc.Process, expected: Expected) -> None:
    """A process that started after the pidfile was written only got its number."""
    late = process.started - pidfile.mtime
    if late > SLACK:
        what = f"{pidfile.path} is stale: process {process.pid} started {late:.0f} s after it was written"
        do = (
            f"is {expected.noun} running? {expected.hint}; if {process.pid} is the right process all the same "
            f"(the clock was set forward), touch {pidfile.path}"
        )
        raise failure(target, what, do=do)


def _living(target: ReopenTarget, pid: int, pidfd: int | None, expected: Expected) -> proc.Process:
    try:
        process = proc.look(pid)
    except proc.GONE:
        if _runs(pid, pidfd):
            what = (
                f"process {pid} runs, but /proc does not show what it is: {proc.why_hiding() or 'it may not be seen'}"
            )
            raise failure(target, what, do="run logrotor as the user of that process, or mount a whole /proc") from None
        raise _gone(target, pid, expected) from None
    except OSError as error:
        what = f"process {pid} cannot be looked at in /proc: {error.strerror}"
        raise failure(target, what, do="run logrotor as the user of that process") from error
    if process.dead:
        what = f"process {pid} is dead (a zombie whose parent has not collected it)"
        raise failure(target, what, do=f"restart {expected.noun}; {expected.hint}")
    if not expected.is_it(process.argv):
        what = f"process {pid} is not {expected.noun} but {' '.join(process.argv)[:200]!r}"
        raise failure(target, what, do=f"the pidfile is stale or of another program: {expected.hint}")
    return process


def _runs(pid: int, pidfd: int | None) -> bool:
    """A pidfd becomes readable when its process ends."""
    if pidfd is None:
        return proc.exists(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def _check_handled(target: ReopenTarget, process: proc.Process, number: signal.Signals, expected: Expected) -> None:
    # The default action of these signals is to end the process: a daemon that still starts up, or a wrong setting.
    if number in _CUSTOMARY and process.caught is not None and not process.caught >> (number - 1) & 1:
        do = "if it has only just started, the next run asks again; else name the signal by which it reopens its logs"
        what = f"process {process.pid} does not handle {number.name}, so it would be ended by it"
        raise failure(target, what, do=do)


# ---------------------------------------------------------------- system calls and what they answer


def _open(target: ReopenTarget, pid: int, expected: Expected) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise _gone(target, pid, expected) from None
    except OSError as error:
        if error.errno in _NO_PIDFD:
            return None
        raise failure(target, f"{pid} is no process: {error.strerror}", do=expected.hint) from error


def _deliver(found: Found, number: signal.Signals) -> None:
    """The only place of this room where a process that is not our own child gets a signal."""
    if found.pidfd is None:
        calls.change("signal", os.kill, found.process.pid, number)
    else:
        calls.change("signal", signal.pidfd_send_signal, found.pidfd, number)


def _gone(target: ReopenTarget, pid: int, expected: Expected) -> ReopenFailed:
    what = f"there is no process {pid}"
    return failure(
        target, what, do=f"is {expected.noun} running, and in the same container as logrotor? {expected.hint}"
    )


def _not_permitted(
    target: ReopenTarget, process: proc.Process, number: signal.Signals, expected: Expected
) -> ReopenFailed:
    user, us = user_name(process.uid), user_name(os.geteuid())
    what = f"{us} may not send {number.name} to process {process.pid}, which runs as {user} (uid {process.uid})"
    return failure(
        target, what, do=f'run logrotor as {user} (started as root: run_as = "{user}"), or {expected.permit}'
    )
