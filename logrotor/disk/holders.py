"""Who keeps others away for longer than any step takes: a run that was stopped, or another user's lock or temp.

A healthy run beside ours is not worth a word. Whether it is healthy is seen in /proc; where its process may not be
seen, nobody knows, and that is said after a minute.
"""

from __future__ import annotations

import contextlib
import os

from logrotor.disk import proc, state
from logrotor.disk.calls import birth_time
from logrotor.disk.walk import user_name
from logrotor.disk.writers import Processes
from logrotor.model import FileId, Problem
from logrotor.text import span, typed

PATIENCE = 60.0  # seconds; no step holds a log's turn for longer, except while a hook runs
_LONG = 3600.0  # seconds; hardly a run works so long in one directory


def stuck(path: str, now: float, processes: Processes) -> Problem | None:
    """Why a lock or temp that cannot be had will not be free in a moment; None: its run is at work, or it has gone."""
    held = age(path, now)
    if held < PATIENCE:
        return None
    try:
        status = os.lstat(path)
    except OSError:
        return None
    pids = [pid for pid in processes.pids(FileId(status.st_dev, status.st_ino)) if pid != os.getpid()]
    stopped = [pid for pid in pids if _is_stopped(pid)]
    if stopped:
        return _of_stopped(path, stopped[0], held)
    if pids:
        what = f"process {pids[0]} ({proc.program(pids[0])}) has held it for {span(held)}"
        advice = f"see what it waits for; to end it: kill {pids[0]}"
        return Problem(subject=path, problem=what, advice=advice, kind="slow") if held >= _LONG else None
    if status.st_uid == os.geteuid() or processes.unseen is None:  # nobody has it: a killed run's, which ours takes
        return None
    owner = user_name(status.st_uid)
    what = f"belongs to {owner}, who has held it for {span(held)}, as far as can be seen from here"
    advice = f"if no run of {owner} is at work, remove it: rm {typed(path)}"
    return Problem(subject=path, problem=what, advice=advice, kind="unseen")


def stuck_run(state_dir: str, now: float) -> Problem | None:
    """The stopped run that holds the lock of a state directory; None: nobody does, or it works."""
    pid = state.holder(state_dir)
    if pid is None or not _is_stopped(pid):
        return None
    with contextlib.suppress(OSError):
        held = now - proc.look(pid).started
        if held >= PATIENCE:
            return _of_stopped(os.path.join(state_dir, state.LOCK), pid, held)
    return None


def run_at_work(state_dir: str, now: float) -> Problem | None:
    """Who holds the lock of a state directory, since when, and in which state; None: that cannot be seen."""
    pid = state.holder(state_dir)
    if pid is None:
        return None
    path = os.path.join(state_dir, state.LOCK)
    try:
        held = now - proc.look(pid).started
        if _is_stopped(pid):
            return _of_stopped(path, pid, held)
        what = f"process {pid} ({proc.program(pid)}), which began {span(held)} ago, is at work: {proc.state(pid)}"
    except OSError:
        what = f"process {pid}"
    return Problem(subject=path, problem=what, advice=f"see what it waits for; to end it: kill {pid}", kind="slow")


def _of_stopped(path: str, pid: int, held: float) -> Problem:
    what = f"held for {span(held)} by process {pid} ({proc.program(pid)}), which is stopped"
    return Problem(
        subject=path,
        problem=what,
        advice=f"let it go on: kill -CONT {pid}; or end it: kill -KILL {pid}",
        kind="stopped",
    )


def _is_stopped(pid: int) -> bool:
    try:
        return proc.state(pid) == "stopped"
    except OSError:
        return False


def age(path: str, now: float) -> float:
    """Seconds since the file was made, as its other times may be set by its owner; 0 where it cannot be looked at."""
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0.0
    try:
        born = birth_time(fd)
        return now - (os.fstat(fd).st_mtime if born is None else born)
    finally:
        os.close(fd)
