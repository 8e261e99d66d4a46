"""The state directory: ours alone (0700), with the lock, the history, the samples and the mark of the last run."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

import msgspec
from msgspec.structs import replace

from logrotor.disk import files, heartbeat, mounts, proc, signin, walk
from logrotor.disk.calls import birth_time, change
from logrotor.disk.publish import publish
from logrotor.errors import Interrupted, Locked, LogrotorError, StateError
from logrotor.model import LastReport, LastRun, Problem
from logrotor.text import typed

LOCK = "lock"
HISTORY = "history.sqlite"
SAMPLES = "samples.sqlite"
LAST_RUN = "last-run"
_RECORD = 64  # bytes of the mark of the last run
_REPORT = 576  # bytes behind it: its report, padded
PROBLEMS = "problems.json"  # those of the last runs that were printed, so that each run need not print them again
STOPPED = "stopped"  # the state of a process, and the kind of a problem with one
_POLL = 0.1  # seconds between two looks at a lock
QUEUE = "queue.sqlite"  # of the engine huey, where its url does not say otherwise


def is_own(name: str) -> bool:
    """Is it a file that logrotor itself keeps in the state directory? SQLite has files beside each of its own."""
    if name in (LOCK, LAST_RUN, PROBLEMS, f".{PROBLEMS}.tmp", heartbeat.NAME) or signin.NAME.fullmatch(name):
        return True
    return name.startswith((HISTORY, SAMPLES, QUEUE))


def refuse_silent(path: str, origin: str) -> None:
    """Whoever looked there would wait for ever, where its file system does not answer. Raises StateError."""
    silent = mounts.lately().why_silent(path)
    if silent is not None:
        found = _unusable(path, origin, f"{silent.subject}: {silent.problem}", silent.advice).problem
        raise StateError(replace(found, kind=silent.kind))


def prepare(path: str, origin: str) -> None:
    """Create the state directory if need be (0700), and refuse one that others could tamper with."""
    refuse_silent(path, origin)
    try:
        _refuse_insecure(path, origin)
    except FileNotFoundError:
        _create(path, origin)
        _refuse_insecure(path, origin)
    _refuse_closed(path, origin)
    for name in (LOCK, LAST_RUN):  # an odd history is set aside
        refuse_odd(os.path.join(path, name))
    _hide_lock(os.path.join(path, LOCK))


@contextlib.contextmanager
def locked(path: str, timeout: float, stop: Callable[[], bool]) -> Iterator[None]:
    """Hold the one lock of the state directory (mode 0600: no stranger gets it). Raises Interrupted, or Locked: after
    ``timeout`` seconds, or at once where the run that holds it is stopped."""
    from filelock import FileLock, Timeout

    lock, stopped = FileLock(os.path.join(path, LOCK), mode=0o600, fallback_to_soft=False, thread_local=False), None

    def is_useless() -> bool:
        nonlocal stopped
        stopped = stopped_run(path)
        return stopped is not None or stop()

    try:
        lock.acquire(timeout=timeout, poll_interval=_POLL, cancel_check=is_useless)
    except Timeout:
        if stop():
            raise Interrupted(_problem(path, "asked to stop while another run held the lock")) from None
        stopped = stopped or stopped_run(path)
        if stopped is not None:
            raise Locked(stopped) from None
        held = f"another run holds the lock (waited {timeout:g} s)"
        raise Locked(_problem(path, held, "it is free as soon as that run ends")) from None
    except OSError as error:
        raise StateError(_problem(os.path.join(path, LOCK), f"cannot be locked: {error.strerror}")) from error
    try:
        yield
    finally:
        lock.release()


def holder(path: str) -> int | None:
    """The process whose run holds the lock just now, as far as /proc/locks shows it (proc(5)).

    Nothing is taken: a run that began at this moment would find the lock held by whoever only looks.
    """
    try:
        return proc.lock_holder(os.stat(os.path.join(path, LOCK)))
    except OSError:
        return None


def stopped_run(path: str) -> Problem | None:
    """The run that holds the lock and is stopped, by Ctrl-Z for one; None: nobody holds it, or it works."""
    pid = holder(path)
    with contextlib.suppress(OSError):
        if pid is not None and proc.state(pid) == STOPPED:
            what = f"held by process {pid} ({proc.program(pid)}), which is {STOPPED}, so no run can begin"
            return Problem(subject=os.path.join(path, LOCK), problem=what, advice=way_on(pid), kind=STOPPED)
    return None


def notes_of_run(path: str) -> list[str]:
    """What a plan has to say of a run that holds the lock meanwhile."""
    pid, stopped = holder(path), stopped_run(path)
    if pid is None or stopped is not None:
        return [str(stopped)] if stopped is not None else []
    return [f"a run is under way (process {pid}): what it works on is shown as it was found in between"]


def way_on(pid: int) -> str:
    """What to do with a process that is stopped."""
    return f"let it go on: kill -CONT {pid}; or end it: kill -KILL {pid}"


def known_run(path: str) -> LastRun | None:
    """The last run, also an idle one. Where it could not be written, the file itself tells when; None: there was none.

    Before the first run nobody has seen an archive: the file was born with it.
    """
    file = os.path.join(path, LAST_RUN)
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with contextlib.suppress(ValueError, TypeError):
            return LastRun(*map(float, os.pread(fd, _RECORD, 0).split()))
        return LastRun(os.fstat(fd).st_mtime, 0.0, birth_time(fd) or 0.0)
    except OSError:
        return None
    finally:
        os.close(fd)


def remember_last_run(path: str, run: LastRun, report: LastReport | None = None) -> None:
    """Mark that a run took place, also an idle one, and what it did. What cannot be written is not worth an error."""
    with contextlib.suppress(OSError):
        data = f"{run.at:.6f} {run.gap:.6f} {run.since:.6f}".ljust(_RECORD - 1).encode() + b"\n"
        if report is not None:
            data += msgspec.json.encode(report).ljust(_REPORT - 1) + b"\n"
        files.rewrite(os.path.join(path, LAST_RUN), data)


def remember_report(path: str, report: LastReport) -> None:
    """What the last run did, behind its mark, which is there. What cannot be written is not worth an error."""
    last = known_run(path)
    if last is not None:
        remember_last_run(path, last, report)


def last_report(path: str) -> LastReport | None:
    """What :func:`remember_report` wrote; None: an older logrotor ran last, or none."""
    try:
        data = files.read(os.path.join(path, LAST_RUN), flags=os.O_NOFOLLOW)[0]
        return msgspec.json.decode(data[_RECORD:], type=LastReport)
    except (OSError, ValueError):
        return None


def known_problems(path: str) -> bytes:
    """What :func:`keep_problems` wrote last; nothing if there is none. Raises LogrotorError, OSError."""
    refuse_silent(path, "")
    try:
        return files.read(os.path.join(path, PROBLEMS), flags=os.O_NOFOLLOW)[0]
    except FileNotFoundError:
        return b""


def keep_problems(path: str, data: bytes) -> None:
    """Replace it at once, without the lock: of two runs the later one wins. Raises LogrotorError, OSError."""
    refuse_silent(path, "")
    publish(os.path.join(path, PROBLEMS), data, 0o600)


def last_aside(path: str) -> str | None:
    """The damaged history that was set aside last in this state directory."""
    begin, found = f"{HISTORY}.damaged-", []
    with contextlib.suppress(OSError):
        found = [name.removeprefix(begin) for name in os.listdir(path) if name.startswith(begin)]
    numbers = [int(number) for number in found if number.isdecimal()]
    return os.path.join(path, f"{begin}{max(numbers)}") if numbers else None


def last_run(path: str) -> float | None:
    """When the last run ended, also one that had nothing to do; None: not known."""
    try:
        return os.stat(os.path.join(path, LAST_RUN)).st_mtime
    except OSError:
        return None


def refuse_unusable(path: str, origin: str) -> None:
    """As :func:`prepare`, but nothing is created or changed. Raises FileNotFoundError, StateError."""
    _refuse_insecure(path, origin)
    _refuse_closed(path, origin)


def refuse_uncreatable(path: str, origin: str) -> None:
    """Could a missing state directory be created? Raises StateError."""
    above = walk.barrier_to(path)
    if above is not None:
        raise _unwritable(path, origin, f"{above} may not be written")


def refuse_impossible(path: str, origin: str) -> None:
    """Could a run use it, and create it if it is missing? Nothing is changed. Raises StateError."""
    try:
        refuse_unusable(path, origin)
    except FileNotFoundError:
        refuse_uncreatable(path, origin)
        _refuse_insecure_above(path, origin)


def _refuse_insecure_above(path: str, origin: str) -> None:
    """A place for a missing one that would be refused as soon as it is made."""
    above = os.path.dirname(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    try:
        if os.geteuid() == 0:  # only for root does it matter who owns the directories above
            walk.resolve_private(above)
        else:
            walk.resolve_missing(path)
    except LogrotorError as error:
        raise _because(path, origin, error) from None
    except OSError as error:
        raise _unusable(path, origin, str(error), "") from None


def _refuse_insecure(path: str, origin: str) -> None:
    """What lies in the state directory is trusted. Raises FileNotFoundError, StateError."""
    with contextlib.suppress(OSError):  # what cannot be looked at is reported below
        _refuse_open(path, origin, path)
    try:
        resolved = walk.resolve_private(path)
    except FileNotFoundError:
        raise
    except LogrotorError as error:
        raise _because(path, origin, error) from None
    except NotADirectoryError as error:
        raise _unusable(path, origin, f"{error.filename or path} is a file", _own_directory()) from None
    except OSError as error:
        why = f"cannot be used by uid {os.geteuid()}: {error.strerror or error}"
        raise _unusable(path, origin, why, _own_directory()) from None
    _refuse_open(path, origin, resolved)


def _refuse_open(path: str, origin: str, place: str) -> None:
    """The sticky bit is no help here, as it is for logs: it lets others put files among ours."""
    status = os.stat(place)
    if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o022:
        # A shared place such as /tmp is not ours to close.
        ours = status.st_uid == os.geteuid() and not status.st_mode & stat.S_ISVTX
        advice = _own_directory(path)
        if ours:
            advice = f"chmod 0700 {typed(path)} if it is logrotor's alone, else {advice}"
        raise _unusable(path, origin, "others may write there", advice)


def _refuse_closed(path: str, origin: str) -> None:
    """One that is there, and that we may not write."""
    if os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        return
    status, user = os.stat(path), os.geteuid()
    if status.st_uid != user:
        why, advice = f"it belongs to {walk.user_name(status.st_uid)}", _own_directory(path)
    elif status.st_mode & 0o300 != 0o300:
        why, advice = f"its mode is {stat.S_IMODE(status.st_mode):04o}", f"chmod 0700 {typed(path)}"
    else:
        why, advice = "permission denied, or mounted read-only", _own_directory()
    raise _unusable(path, origin, f"cannot be written by uid {user}: {why}", advice)


def _own_directory(above: str | None = None) -> str:
    """What to do; the example is below ``above``, if we can get there."""
    example = "/path/of/yours"
    if above is not None and os.access(above, os.X_OK, effective_ids=True):
        example = os.path.join(above, "state")
    return (
        f'name a directory of its own, such as state_dir = "{example}" in the configuration, or by the variable '
        "STATE_DIRECTORY"
    )


def _create(path: str, origin: str) -> None:
    try:
        walk.make_directories(walk.resolve_missing(path), 0o700)
    except LogrotorError as error:
        raise _because(path, origin, error) from None
    except OSError as error:
        raise _unwritable(path, origin, error.strerror or str(error)) from None


def _unwritable(path: str, origin: str, why: str) -> StateError:
    """For one that is missing: install(1) would change the owner of one that is there."""
    user = os.geteuid()
    advice = f"{_own_directory()}, or as root: install -d -m 0700 -o {user} {typed(path)}"
    return _unusable(path, origin, f"cannot be written by uid {user}: {why}", advice)


def _because(path: str, origin: str, error: LogrotorError) -> StateError:
    found = error.problem
    return _unusable(
        path, origin, f"{found.subject}: {found.problem}" if found.subject else found.problem, found.advice
    )


def _unusable(path: str, origin: str, problem: str, advice: str) -> StateError:
    return StateError(_problem(f"state_dir {path} ({origin})", problem, advice))


def _problem(subject: str, problem: str, advice: str = "") -> Problem:
    return Problem(subject=subject, problem=problem, advice=advice)


def _hide_lock(path: str) -> None:
    """A lock that others may open (a restored backup?) could be taken by them (CVE-2022-1348)."""
    with contextlib.suppress(OSError):
        if os.lstat(path).st_mode & 0o077:
            change("chmod", os.chmod, path, 0o600)


def refuse_odd(path: str) -> None:
    """Refuse a lock or history that is not a regular file with one name only: somebody has planted it."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise StateError(_problem(path, "not a regular file with one name only", "look at it, then remove it"))
