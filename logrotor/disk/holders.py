"""Who keeps others away for longer than any step takes: a run that was stopped, or another user's lock or temp.

A healthy run beside ours is not worth a word. Whether it is healthy is seen in /proc; where its process may not be
seen, nobody knows, and that is said after a minute.
"""

from __future__ import annotations

import os

from logrotor.disk import proc, signin, state
from logrotor.disk.calls import birth_time
from logrotor.disk.walk import user_name
from logrotor.disk.writers import Processes
from logrotor.model import FileId, KeptOut, Problem
from logrotor.text import span, typed

PATIENCE = 60.0  # seconds; no step holds a log's turn for longer, except while a hook runs
_TRIES = 5  # runs in a row; two configurations that begin in the same minute may meet now and then
_LONG = 3600.0  # seconds; hardly a run works so long in one directory


def stuck(path: str, now: float, processes: Processes, met: KeptOut | None = None) -> Problem | None:
    """Why a lock or temp that cannot be had will not be free in a moment; None: its run is at work, or it has gone.

    ``met``: since when our runs could not get it. Its own age tells less: whoever makes it anew can keep us out for
    ever, and it may be where we may not look.
    """
    held, long = _how_long(path, now, met)
    return _why_held(path, held, long, processes) if long >= PATIENCE else None


def is_old(path: str, now: float, met: KeptOut | None) -> bool:
    """Has somebody had it for longer than any step takes?"""
    return _how_long(path, now, met)[1] >= PATIENCE


def _how_long(path: str, now: float, met: KeptOut | None) -> tuple[float | None, float]:
    """How old the file is (None: nobody knows), and for how long we could not get it."""
    held: float | None = 0.0
    try:
        held = age(path, now)
    except FileNotFoundError:
        pass
    except OSError:
        held = None
    outside = now - met.since if met is not None and met.runs >= (_TRIES if held is not None else 2) else 0.0
    return held, max(held or 0.0, outside)


def _why_held(path: str, age: float | None, long: float, processes: Processes) -> Problem | None:
    how = (
        f"held for {span(long)}" if age is not None and age >= long else f"was never free for our runs for {span(long)}"
    )
    try:
        status = os.lstat(path)
    except OSError as error:
        seen = "" if isinstance(error, FileNotFoundError) else f", and cannot be looked at: {error.strerror}"
        advice = "look who makes it: its user's runs, or anybody who may write there"
        return Problem(subject=path, problem=f"{how}{seen}", advice=advice, kind="unseen")
    pids = [pid for pid in processes.pids(FileId(status.st_dev, status.st_ino)) if pid != os.getpid()]
    stopped = [pid for pid in pids if is_stopped(pid)]
    if stopped:
        return _of_stopped(path, stopped[0], long)
    if pids:
        what = f"{how}, now by process {pids[0]} ({proc.program(pids[0])})"
        advice = f"see what it waits for; to end it: kill {pids[0]}"
        return Problem(subject=path, problem=what, advice=advice, kind="slow") if long >= _LONG else None
    if status.st_uid == os.geteuid() or processes.unseen is None:  # nobody has it: a killed run's, which ours takes
        return None
    owner = user_name(status.st_uid)
    what = f"{how}, as far as can be seen from here; it belongs to {owner}"
    advice = f"if no run of {owner} is at work, remove it: rm {typed(path)}"
    return Problem(subject=path, problem=what, advice=advice, kind="unseen")


def lives(state_dir: str, pid: int, began: float, now: float) -> bool | None:
    """Whether the process that had this number at that time is still there; None: that cannot be seen from here."""
    found = _lives(pid, began)
    return None if found is False and signin.elsewhere(state_dir, now) else found


def _lives(pid: int, began: float) -> bool | None:
    if not proc.exists(pid):
        return False
    try:
        found = proc.look(pid)
    except OSError:
        return None
    return not found.dead and found.started <= began + 1  # right within a second


def run_at_work(state_dir: str, now: float) -> Problem | None:
    """Who holds the lock of a state directory, since when, and in which state; None: that cannot be seen."""
    pid, stopped = state.holder(state_dir), state.stopped_run(state_dir)
    if pid is None or stopped is not None:
        return stopped
    path = os.path.join(state_dir, state.LOCK)
    try:
        held = now - proc.look(pid).started
        what = f"process {pid} ({proc.program(pid)}), which began {span(held)} ago, is at work: {proc.state(pid)}"
    except OSError:
        what = f"process {pid}"
    return Problem(subject=path, problem=what, advice=f"see what it waits for; to end it: kill {pid}", kind="slow")


def _of_stopped(path: str, pid: int, held: float) -> Problem:
    what = f"held for {span(held)} by process {pid} ({proc.program(pid)}), which is stopped"
    return Problem(
        subject=path,
        problem=what,
        advice=state.way_on(pid),
        kind=state.STOPPED,
    )


def is_stopped(pid: int) -> bool:
    try:
        return proc.state(pid) == state.STOPPED
    except OSError:
        return False


def age(path: str, now: float) -> float:
    """Seconds since the file was made, as its other times may be set by its owner. Raises OSError."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        born = birth_time(fd)
        return now - (os.fstat(fd).st_mtime if born is None else born)
    finally:
        os.close(fd)
