"""Find the process that a pidfile names, make sure that it is the right one, and signal it.

The pidfd is opened first, then the process behind the number is looked at, then the signal goes through the
pidfd: if the process ends at any point in between, the signal reaches nobody, and never another process that got
its number (pidfd_open(2)).
"""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from msgspec import Struct

from logrotor.decide.naming import parse_archive, parse_replacement
from logrotor.disk import calls, mounts, proc
from logrotor.disk.walk import user_name
from logrotor.errors import ReopenFailed
from logrotor.model import ReopenTarget
from logrotor.notify.common import ABSENT, FORBIDDEN, STALE, Delivered, Stop, failure
from logrotor.text import typed

MAX_PIDFILE = 4096  # bytes
MAX_PID = 4_194_304  # PID_MAX_LIMIT, linux/threads.h
SLACK = 2.0  # seconds: btime is a whole second, and so is the mtime on some file systems
_NO_PIDFD = frozenset({errno.ENOSYS, errno.EPERM})  # before Linux 5.3; seccomp of old container engines
# The signals that ask for a reopen by custom. TERM and its like are sent to whoever the operator names.
_CUSTOMARY = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})


class Sought(Struct, frozen=True):
    """The process that a target means, the signal for it, and how the operator finds it; by default by a pidfile."""

    target: ReopenTarget
    number: signal.Signals
    noun: str = "the daemon"
    hint: str = "pidfile must name the file that the daemon writes its pid to"  # what to look at if it is not there
    permit: str = (  # the other way to be allowed to signal it
        'let the daemon run as the user of logrotor, or use manager = "command" with a helper that may signal it'
    )
    is_it: Callable[[tuple[str, ...]], bool] = lambda argv: True  # by its command line
    logs: tuple[str, ...] = ()  # that it is to reopen

    def refusal(self, what: str, do: str = "", kind: str = "unfit") -> ReopenFailed:
        return failure(self.target, what, do=do or self.hint, kind=kind)

    def absence(self, what: str, where: str = "") -> ReopenFailed:
        """It seems not to run."""
        return self.refusal(what, f"is {self.noun} running{where}? {self.hint}", ABSENT)


class Pidfile(Struct, frozen=True):
    """A pidfile as read."""

    path: str
    pid: int
    owner: int
    mtime: float


class Held(Struct, frozen=True):
    """A process that is the one sought, with its pidfd (None where the kernel has none)."""

    sought: Sought
    process: proc.Process
    pidfd: int | None

    def send(self) -> Delivered:
        """Send the signal, unless it would end the process. Raises ReopenFailed."""
        pid, name = self.process.pid, self.sought.number.name
        self._check_handled()
        try:
            self._deliver()
        except ProcessLookupError:
            raise _gone(self.sought, pid) from None
        except PermissionError:
            raise self._not_permitted() from None
        return Delivered(self.sought.target, (pid,), f"{name} to {self.sought.noun}, process {pid}")

    def check_permitted(self) -> None:
        """Everything that :meth:`send` needs, without sending. Raises ReopenFailed."""
        self._check_handled()
        try:  # signal 0 asks the kernel, which knows of capabilities and security modules (kill(2))
            if self.pidfd is None:
                os.kill(self.process.pid, 0)
            else:
                signal.pidfd_send_signal(self.pidfd, 0)
        except ProcessLookupError:
            raise _gone(self.sought, self.process.pid) from None
        except PermissionError:
            raise self._not_permitted() from None

    def _check_handled(self) -> None:
        # The default action of these signals is to end the process: a daemon that still starts up, or a wrong setting.
        number, caught = self.sought.number, self.process.caught
        if number in _CUSTOMARY and caught is not None and not caught >> (number - 1) & 1:
            what = f"process {self.process.pid} does not handle {number.name}, so it would be ended by it"
            do = "if it has only just started, the next run asks again; else name the right signal"
            raise self.sought.refusal(what, do)

    def _deliver(self) -> None:
        """The only place of this room where a process that is not our own child gets a signal."""
        if self.pidfd is None:
            calls.change("signal", os.kill, self.process.pid, self.sought.number)
        else:
            calls.change("signal", signal.pidfd_send_signal, self.pidfd, self.sought.number)

    def _not_permitted(self) -> ReopenFailed:
        pid, uid, name = self.process.pid, self.process.uid, self.sought.number.name
        user, us = user_name(uid), user_name(os.geteuid())
        what = f"{us} may not send {name} to process {pid}, which runs as {user} (uid {uid})"
        do = f'run logrotor as {user} (started as root: run_as = "{user}"), or {self.sought.permit}'
        return self.sought.refusal(what, do, FORBIDDEN)


def held(target: ReopenTarget, stop: Stop, logs: tuple[str, ...] = ()) -> AbstractContextManager[Held]:
    """The process in the target's pidfile. Raises ReopenFailed."""
    return by_pidfile(Sought(target, signal_of(target), logs=logs))


@contextmanager
def by_pidfile(sought: Sought) -> Iterator[Held]:
    """The process that the target's pidfile names. Raises ReopenFailed if it is gone or another one."""
    pidfile = _read_pidfile(sought)
    with opened(sought, pidfile.pid) as found:
        _check_owner(sought, pidfile, found.process)
        _check_age(sought, pidfile, found.process)
        yield found


@contextmanager
def opened(sought: Sought, pid: int) -> Iterator[Held]:
    """Hold on to process ``pid``, look at it, close. Raises ReopenFailed if it is dead or not the one sought."""
    check_pid(sought, pid)
    pidfd = _open(sought, pid)
    try:
        yield Held(sought, _living(sought, pid, pidfd), pidfd)
    finally:
        if pidfd is not None:
            os.close(pidfd)


def signal_of(target: ReopenTarget) -> signal.Signals:
    """The target's signal by name, "USR1" or "SIGUSR1". Raises ReopenFailed."""
    if target.signal is None:
        raise failure(target, "no signal is set", do='say which one makes it reopen its logs: signal = "USR1"')
    try:
        return signal.Signals[f"SIG{target.signal.upper().removeprefix('SIG')}"]
    except KeyError:
        raise failure(target, f"there is no signal {target.signal!r}", do='use a name such as "USR1"') from None


# ---------------------------------------------------------------- the pidfile


def _read_pidfile(sought: Sought) -> Pidfile:
    """Read and check the target's pidfile: a regular file whose first line is a pid. Raises ReopenFailed."""
    path = sought.target.pidfile
    if path is None:
        raise sought.refusal("no pidfile is set", f"set pidfile in [reopen.{sought.target.name}]; {sought.hint}")
    silent = mounts.lately().why_silent(path)
    if silent is not None:
        raise sought.refusal(f"{path}: the pidfile lies on {silent.problem}", silent.advice, silent.kind)
    try:
        _check_link(sought, path)
        # O_NONBLOCK: a FIFO without a writer would hold the run for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise sought.absence(f"{path}: no such pidfile") from None
    except OSError as error:
        what = f"{path}: the pidfile cannot be read: {error.strerror}"
        raise sought.refusal(what, f"let {user_name(os.geteuid())} read it") from error
    try:
        status = os.fstat(fd)
        _check_file(sought, path, status)
        data = os.read(fd, MAX_PIDFILE)
    finally:
        os.close(fd)
    return Pidfile(path, _number_in(sought, path, data), status.st_uid, status.st_mtime)


def _check_link(sought: Sought, path: str) -> None:
    # Whoever owns a link chooses which root-owned pidfile is read, and so who is signalled.
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, os.geteuid()):
        what = f"{path}: the pidfile is a symlink that belongs to {user_name(status.st_uid)}"
        raise sought.refusal(what, "name the real file in pidfile")


def _check_file(sought: Sought, path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise sought.refusal(f"{path}: the pidfile is not a regular file")
    if status.st_mode & stat.S_IWOTH:
        raise sought.refusal(f"{path}: anyone may write this pidfile, so it proves nothing", f"chmod o-w {typed(path)}")
    if status.st_size > MAX_PIDFILE:
        raise sought.refusal(f"{path}: {status.st_size} bytes are too many for a pidfile")


def _number_in(sought: Sought, path: str, data: bytes) -> int:
    lines = [line.strip() for line in data.splitlines() if line.strip()]
    if not lines:
        raise sought.absence(f"{path}: the pidfile is empty")
    if not re.fullmatch(rb"[+-]?[0-9]{1,10}", lines[0]):
        raise sought.refusal(f"{path}: the pidfile begins with {lines[0][:40]!r}, which is not a pid")
    return int(lines[0])


# ---------------------------------------------------------------- identity


def check_pid(sought: Sought, pid: int) -> None:
    """Refuse numbers that no process has or that mean something else to kill(2). 1 is legal: containers."""
    if pid == os.getpid():
        raise sought.refusal(f"pid {pid} is logrotor itself, not {sought.noun}")
    if not 0 < pid <= MAX_PID:
        raise sought.refusal(f"{pid} is not a pid")


def _check_owner(sought: Sought, pidfile: Pidfile, process: proc.Process) -> None:
    """The pidfile belongs to the user of the process, or to root: masters drop their privileges."""
    if pidfile.owner not in (0, process.uid):
        owner, user = user_name(pidfile.owner), user_name(process.uid)
        what = f"{pidfile.path} belongs to {owner}, but its process {process.pid} runs as {user}: not the one meant"
        raise sought.refusal(what, f"remove the stale pidfile and restart {sought.noun}; {sought.hint}")


def _check_age(sought: Sought, pidfile: Pidfile, process: proc.Process) -> None:
    """A process that started after the pidfile was written only got its number, unless the clock was set meanwhile."""
    late = process.started - pidfile.mtime
    if late > SLACK and not _writes_our_files(sought, pidfile, process.pid):
        what = f"{pidfile.path} is stale: process {process.pid} started {late:.0f} s after it was written"
        raise sought.refusal(
            what,
            f"is {sought.noun} running? {sought.hint}; if {process.pid} is the right process all the same "
            f"(the clock was set forward), touch {typed(pidfile.path)}",
            STALE,
        )


def _writes_our_files(sought: Sought, pidfile: Pidfile, pid: int) -> bool:
    """Has it the pidfile or a log that it is to reopen open for writing, under whatever name that has by now?"""
    logs = [os.path.realpath(log) for log in sought.logs]
    with suppress(OSError):
        for file in proc.opened(pid):
            with suppress(*proc.GONE):
                name = file.name if file.for_writing else ""
                if name == os.path.realpath(pidfile.path) or any(_is_of(name, log) for log in logs):
                    return True
    return False


def _is_of(name: str, log: str) -> bool:
    """The log, or what a take has made of it."""
    folder, file = os.path.split(name)
    archive = parse_archive(file)
    known = (file, archive.base if archive is not None else None, parse_replacement(file))
    return folder == os.path.dirname(log) and os.path.basename(log) in known


def _living(sought: Sought, pid: int, pidfd: int | None) -> proc.Process:
    try:
        process = proc.look(pid)
    except proc.GONE:
        if not _runs(pid, pidfd):
            raise _gone(sought, pid) from None
        what = f"process {pid} runs, but /proc does not show what it is: {proc.why_hiding() or 'it may not be seen'}"
        raise sought.refusal(
            what, "run logrotor as the user of that process, or mount a whole /proc", FORBIDDEN
        ) from None
    except OSError as error:
        what = f"process {pid} cannot be looked at in /proc: {error.strerror}"
        raise sought.refusal(what, "run logrotor as the user of that process") from error
    if process.dead:
        what = f"process {pid} is dead (a zombie whose parent has not collected it)"
        raise sought.refusal(what, f"restart {sought.noun}; {sought.hint}")
    if not sought.is_it(process.argv):
        what = f"process {pid} is not {sought.noun} but {' '.join(process.argv)[:200]!r}"
        raise sought.refusal(what, f"the pidfile is stale or of another program: {sought.hint}")
    return process


def _runs(pid: int, pidfd: int | None) -> bool:
    """A pidfd becomes readable when its process ends."""
    if pidfd is None:
        return proc.exists(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def _open(sought: Sought, pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise _gone(sought, pid) from None
    except OSError as error:
        if error.errno in _NO_PIDFD:
            return None
        raise sought.refusal(f"{pid} is not a process: {error.strerror}") from error


def _gone(sought: Sought, pid: int) -> ReopenFailed:
    return sought.absence(f"there is no process {pid}", ", and in the same container as logrotor")
