"""What becomes of archives: the proof that nobody writes one, retention, duplicates, debris, hooks.

A file that somebody could still write is judged right before it is changed, by a fresh proof, and looked at once more
when it has lost its name: whoever has it open then is seen, and nobody else can open it any more.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from logrotor.act.context import Context, Details
from logrotor.decide import proof
from logrotor.disk import calls, descent, files, programs, writers
from logrotor.disk.logdir import LogDir
from logrotor.disk.trust import refuse_command
from logrotor.errors import Busy, HookFailed, InsecureDirectory, Interrupted, LogrotorError, Stale
from logrotor.model import (
    Compress,
    DropAlias,
    DropDuplicate,
    DropTemp,
    Entry,
    FileId,
    LogPlan,
    Nobody,
    Plain,
    Problem,
    Remove,
    RunHook,
    Writers,
    Written,
)

_UNASKED = "the reopen request failed, so its writer may still have it"
HUNG = "hung"  # the kind of a problem: a command that did not end within its time
_PLACE = re.compile(r"\{(?:archive|log)\}")


# ---------------------------------------------------------------- who writes it


def await_writers(context: Context, logs: Iterable[LogPlan], patience: float) -> None:
    """Give the processes that were asked a moment to let go; what they still hold then is deferred."""
    waiting: list[Compress | Remove] = []
    for log in logs:
        waiting += [step for step in log.compress if step.plain]
        waiting += [step for step in log.retire if step.plain]
    deadline, pause = time.monotonic() + patience, 0.002
    while waiting and not context.no_time():
        waiting = [step for step in waiting if not context.stop() and isinstance(_writers(context, step), Written)]
        if not waiting or time.monotonic() > deadline:
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def is_let_go(context: Context, log: LogPlan) -> bool:
    """Is it proved that nobody writes any of the archives that its reopen request is for?"""
    return bool(log.awaited) and all(isinstance(_writers(context, each), Nobody) for each in log.awaited)


def _writers(context: Context, step: Compress | Remove | Plain) -> Writers | None:
    try:
        with context.dirs.use(step.directory) as logdir:
            fd = logdir.open_archive(step.name, step.id)
            try:
                return writers.prove(fd, context.kind_of(logdir))
            finally:
                os.close(fd)
    except (LogrotorError, OSError):
        return None


def open_plain(logdir: LogDir, name: str, file: FileId) -> int:
    """Open an archive that somebody may still write. Raises Busy where it cannot be opened: who knows?"""
    try:
        return logdir.open_archive(name, file)
    except (Stale, FileNotFoundError):
        raise
    except (LogrotorError, OSError):
        raise Busy("it cannot be opened") from None


def permit(context: Context, log: LogPlan, logdir: LogDir, name: str, fd: int) -> None:
    """Raises Busy if this plain archive, open at ``fd``, has to wait."""
    found = writers.prove(fd, context.kind_of(logdir))
    if isinstance(found, Nobody):
        return
    if log.path in context.unasked and not isinstance(found, Written):
        raise Busy(_UNASKED)
    entry = Entry(name, os.fstat(fd))
    if isinstance(found, Written) and not found.pids:  # the lease tells that somebody writes; /proc tells who
        found = context.processes().writing(entry.id, found.proof)
    why_not = proof.why_not(found, entry, context.known.of(log.path).request_delivered, context.clock())
    if why_not is not None:
        raise Busy(why_not)


def last_look(
    context: Context,
    logdir: LogDir,
    fd: int,
    step: Remove | DropDuplicate | Compress,
    size: int,
    mtime_ns: int | None = None,
) -> None:
    """Look at an archive that is set aside: it had this size, and this time, when it was judged.

    Raises Busy if a process has a plain one open for writing, Stale if it was written. What cannot be known was judged
    before: it depends on the last rename, and there was one since.
    """
    if step.plain:
        try:
            calls.take_read_lease(fd)
        except OSError:
            if isinstance(writers.prove(fd, context.kind_of(logdir)), Written):
                raise Busy("a process still writes it") from None
    status = os.fstat(fd)  # last: who had it open until just now may have written
    if status.st_size != size or mtime_ns not in (None, status.st_mtime_ns):
        raise Stale(f"{step.name}: was written since it was judged")


@contextlib.contextmanager
def _proved(context: Context, log: LogPlan, logdir: LogDir, name: str, file: FileId) -> Iterator[int]:
    """Proves that nobody writes the archive, and gives it open. Raises Busy."""
    fd = open_plain(logdir, name, file)
    try:
        permit(context, log, logdir, name, fd)
        yield fd
    finally:
        os.close(fd)


# ---------------------------------------------------------------- what goes


def retire(context: Context, log: LogPlan, step: Remove) -> Details:
    """Remove one archive, and surely this one, that retention no longer keeps."""
    source, taken = descent.origin(step.directory, step.name)
    with context.dirs.use(step.directory) as logdir:
        if step.plain:
            with _proved(context, log, logdir, step.name, step.id) as fd:
                logdir.remove(step.name, step.id, lambda: last_look(context, logdir, fd, step, step.size))
        else:
            logdir.remove(step.name, step.id)
    context.history.forget_hooks(log.path, step.id.inode)
    found = {"directory": step.directory, "inode": step.id.inode, "source": source, "taken": taken}
    return {"bytes": step.size, "reason": step.reason, **found}


def drop_temp(context: Context, log: LogPlan, step: DropTemp) -> Details:
    """Remove a temp that nobody works on. Raises Busy, Stale or OSError."""
    try:
        with context.dirs.use(step.directory) as logdir:
            logdir.drop(step.name, step.id)
    except FileNotFoundError:
        return {"skipped": "another run has finished or dropped it meanwhile"}
    return {"reason": step.reason}


def drop_alias(context: Context, log: LogPlan, step: DropAlias) -> Details:
    """Remove the second name of a file."""
    with context.dirs.use(step.directory) as logdir:
        logdir.drop_alias(step.name, step.id)
    return {"reason": step.reason}


def drop_duplicate(context: Context, log: LogPlan, step: DropDuplicate) -> Details:
    """Remove an archive of which another file holds every byte. Raises Stale, Busy or OSError.

    Whoever made one of the other is gone, for we have the log's turn; it may have been killed before the name of the
    other file was durable, as it has to be before this one goes.
    """
    use = context.dirs.use
    with use(step.directory) as logdir, use(step.twin_directory) as other, ExitStack() as opened:
        fd = other.open_archive(step.twin, step.twin_id)
        opened.callback(os.close, fd)
        for _, end in files.strides(0, os.fstat(fd).st_size):
            if context.stop():
                raise Interrupted(f"{step.name}: stopped while {step.twin} was made durable")
            files.settle(fd, end)
        files.sync(fd)
        other.sync()
        one = logdir.open_archive(step.name, step.id)
        opened.callback(os.close, one)
        judged = step.size, step.mtime_ns
        logdir.remove(step.name, step.id, lambda: last_look(context, logdir, one, step, *judged))
    return {"reason": step.reason}


# ---------------------------------------------------------------- hooks


def run_hook(context: Context, log: LogPlan, step: RunHook) -> Details:
    """Run ``on_archive`` for a finished archive, once that is proved to be one."""
    with context.dirs.use(step.directory) as logdir:
        entry = logdir.stat(step.name)
        if entry is None or (step.id is not None and entry.id != step.id):
            return {"skipped": "not there in its final form yet"}
        if context.history.is_hooked(log.path, entry.id.inode, entry.stat.st_mtime_ns):  # by now
            return {"skipped": "another run has done it meanwhile"}
        with _proved(context, log, logdir, step.name, entry.id):
            pass
    _call(context, log, step)
    context.history.hooked(log.path, entry.id.inode, entry.stat.st_mtime_ns)
    return {}


def _call(context: Context, log: LogPlan, step: RunHook) -> None:
    """An argument list, no shell; ``{archive}`` and ``{log}`` in it are replaced by the paths.

    Environment: LOGROTOR_ARCHIVE, LOGROTOR_LOG, LOGROTOR_RULE besides our own. Raises HookFailed, Interrupted.
    """
    archive = os.path.join(step.directory, step.name)
    paths = {"{archive}": archive, "{log}": log.path}
    # In one pass: a log may be named "{log}.log", and its own name is not to be replaced in turn.
    argv = [_PLACE.sub(lambda found: paths[found[0]], part) for part in step.argv]
    variables = {"LOGROTOR_ARCHIVE": archive, "LOGROTOR_LOG": log.path, "LOGROTOR_RULE": log.rule}
    try:
        refuse_command(argv[0])  # again: the program may have come since the configuration was read
        finished = programs.run(argv, timeout=step.timeout, stop=context.no_time, variables=variables)
    except (OSError, ValueError, subprocess.SubprocessError, InsecureDirectory) as error:
        raise HookFailed(
            f"{archive}: on_archive: {argv[0]} could not be started: {error}; correct on_archive in rule {log.rule}; "
            "archives that it has not had stay until then, unless keep_free needs the room"
        ) from error
    if finished.stopped:
        raise Interrupted(f"{archive}: stopped while on_archive ran")
    if finished.cut_short or finished.status != 0:
        how = finished.cut_short or f"ended with {finished.status}"
        what = f"on_archive: {argv[0]} {how}{finished.said}; the next run tries again"
        raise HookFailed(Problem(subject=archive, problem=what, kind=HUNG if finished.cut_short else ""))


def keep_hooked(context: Context, log: LogPlan, step: Compress) -> None:
    """What on_archive has had is not handed to it again because a changed setting made a new file of it."""
    hooked = context.known.of(log.path).hooked
    if not hooked:
        return
    entry = None
    with contextlib.suppress(LogrotorError, OSError), context.dirs.use(step.to_directory) as logdir:
        entry = logdir.stat(step.to_name)
    if entry is None or entry.id.inode == step.id.inode:
        return
    if (step.id.inode, entry.stat.st_mtime_ns) in hooked:
        context.history.hooked(log.path, entry.id.inode, entry.stat.st_mtime_ns)
        context.history.forget_hooks(log.path, step.id.inode)
