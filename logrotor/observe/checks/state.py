"""The state directory, its lock and its history: there, ours, private, whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial

from logrotor.disk import access, discover, state
from logrotor.disk.history import History
from logrotor.disk.walk import user_name
from logrotor.errors import StateError
from logrotor.model import Check, FileId, Finding
from logrotor.observe.site import Site

_OURS = re.compile(rf"{state.LOCK}|{state.LAST_RUN}|({re.escape(state.HISTORY)}|queue\.sqlite)([.-].*)?")
_PRIVATE = "what lies there is trusted: whoever may write it decides what is rotated, and may hold the lock for ever"


def checks(site: Site) -> list[Check]:
    return [
        Check(id="state.directory", title="the state directory is ours alone", look=lambda: directory(site)),
        Check(id="state.files", title="lock, history and last-run are ours alone", look=lambda: files(site)),
        Check(id="state.history", title="the history is whole", look=lambda: whole(site)),
    ]


def directory(site: Site) -> Iterator[Finding]:
    path, origin = site.config.state_dir, site.config.state_dir_origin
    try:
        if os.path.isdir(path) and os.stat(path).st_mode & 0o077:
            others = _others_in(site, path)
            yield _shared(path, others) if others else too_open(path, 0o700)
            return
        state.refuse_unusable(path, origin)
    except FileNotFoundError:
        yield from _creatable(path, origin)
    except StateError as error:
        yield _unusable(path, str(error))


def _others_in(site: Site, path: str) -> str:
    """What else the directory holds or is for, in words: who comes for that must not be locked out."""
    if os.path.realpath(path) in {os.path.realpath(s.directory) for s in discover.discover(site.config.logs)}:
        return "the logs of a rule"
    strange = sorted(name for name in _names(path) if not _OURS.fullmatch(name))
    return ", ".join(strange[:3]) + (f" and {len(strange) - 3} more" if strange[3:] else "")


def _shared(path: str, others: str) -> Finding:
    return Finding(
        subject=path,
        problem=f"mode {os.stat(path).st_mode & 0o777:04o}, and not for logrotor alone: {others}",
        why=_PRIVATE,
        advice=f'give logrotor a directory of its own: state_dir = "{os.path.join(path, "logrotor-state")}"',
    )


def _creatable(path: str, origin: str) -> Iterator[Finding]:
    try:
        state.refuse_uncreatable(path, origin)
    except StateError as error:
        yield _unusable(path, str(error))


def _unusable(path: str, problem: str) -> Finding:
    what, _, advice = problem.rpartition("; ")
    return Finding(
        subject=path, problem=what or problem, why="no run can begin: every one ends with exit 2", advice=advice
    )


def files(site: Site) -> Iterator[Finding]:
    for name in (state.LOCK, state.HISTORY, state.LAST_RUN):
        path = os.path.join(site.config.state_dir, name)
        try:
            status = os.lstat(path)
            state.refuse_odd(path)
        except FileNotFoundError:
            continue
        except StateError as error:
            yield _unusable(path, str(error))
            continue
        if status.st_uid not in (0, os.geteuid()):
            yield _strangers(path, status.st_uid)
        elif status.st_mode & 0o077 and name != state.LAST_RUN:
            yield too_open(path, 0o600)


def _strangers(path: str, owner: int) -> Finding:
    us = user_name(os.geteuid())
    return Finding(
        subject=path,
        problem=f"belongs to {user_name(owner)}, but logrotor runs as {us} now",
        why="the one who owns it and the others lock each other out, and know nothing of each other's rotations",
        advice=f"run logrotor always as one user; as root, give it back: chown {us} {path}",
    )


def too_open(path: str, mode: int) -> Finding:
    """Others may do too much with it; we can mend it if it is ours."""
    status = os.lstat(path)
    command = f"chmod {mode:04o} {path}"
    ours = status.st_uid == os.geteuid()
    return Finding(
        subject=path,
        problem=f"mode {status.st_mode & 0o777:04o}: others may come in",
        why=_PRIVATE,
        advice=command,
        would=command,
        mend=partial(access.set_mode, path, mode, FileId(status.st_dev, status.st_ino)) if ours else None,
    )


def whole(site: Site) -> Iterator[Finding]:
    path = os.path.join(site.config.state_dir, state.HISTORY)
    why = "without it the time of the last rotation is guessed, and what happened before is not known; no log is lost"
    try:
        state.refuse_odd(path)
    except (StateError, OSError):
        return  # told by state.files
    problem, advice = _problem(site)
    if advice is not None:
        yield Finding(subject=path, problem=problem, why="no run can begin: every one ends with exit 2", advice=advice)
    elif problem:
        again = "nothing: the next run that has something to do sets it aside and begins a new one"
        yield Finding(subject=path, problem=problem.removeprefix(f"{path}: "), why=why, advice=again)
    for name in sorted(_names(site.config.state_dir)):
        if name.startswith(f"{state.HISTORY}.damaged-"):
            aside = os.path.join(site.config.state_dir, name)
            advice = f"find out why (a full disk? a broken one?), then: rm {aside}"
            yield Finding(subject=aside, problem="a damaged history that a run set aside", why=why, advice=advice)


def _problem(site: Site) -> tuple[str, str | None]:
    """What is wrong with the history, or nothing; and what to do, if no run can mend it."""
    try:
        History(site.config.state_dir).recall()
    except StateError as error:
        what, _, advice = str(error).rpartition("; ")
        return what, advice
    try:
        return site.memory.note or History(site.config.state_dir).damage() or "", None
    except StateError as error:
        return str(error), None


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, PermissionError):
        return []
