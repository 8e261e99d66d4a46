"""The files that logrotor itself writes: the state directory with lock and history, the metrics, the page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from logrotor.disk import identity, mounts, state
from logrotor.disk.files import is_gone
from logrotor.disk.history import History
from logrotor.disk.identity import why_closed
from logrotor.disk.publish import METRICS, PAGE, Mark, refuse_other
from logrotor.disk.walk import user_name
from logrotor.errors import LogrotorError, StateError
from logrotor.model import Check, Config, FileId, Finding, Problem
from logrotor.observe.deployment import Deployment
from logrotor.text import names, ours, typed

_NO_RUN = "no run can begin: every one ends with exit 2"
_PRIVATE = "what lies there is trusted: whoever may write it decides what is rotated, and may hold the lock for ever"
_SLACK = 60.0  # seconds; it is written right after last-run


def checks(here: Deployment) -> list[Check]:
    found = [
        Check(id="state.directory", title="the state directory is ours alone", look=lambda: directory(here)),
        Check(id="state.files", title="lock, history and last-run are ours alone", look=lambda: files(here)),
        Check(id="state.history", title="the history is whole", look=lambda: whole(here)),
    ]
    if here.config.metrics_textfile is not None:
        found.append(Check(id="metrics.textfile", title="metrics are written and found", look=lambda: textfile(here)))
    if here.config.page_file is not None:
        found.append(Check(id="page.file", title="the page can be written", look=lambda: page(here)))
    return found


# ---------------------------------------------------------------- the state directory


def directory(here: Deployment) -> Iterator[Finding]:
    path, origin = here.config.state_dir, here.config.state_dir_origin
    try:
        if os.path.isdir(path) and os.stat(path).st_mode & 0o077:
            others = _others_in(here, path)
            yield _shared(path, others) if others else too_open(path, 0o700)
            return
        state.refuse_unusable(path, origin)
    except FileNotFoundError:
        yield from _creatable(path, origin)
    except StateError as error:
        yield _unusable(path, error)


def _others_in(here: Deployment, path: str) -> str:
    """What else the directory holds or is for, in words: who comes for that must not be locked out."""
    if os.path.realpath(path) in {here.mounts.real_path(s.directory) for s in here.named.selectors}:
        return "the logs of a rule"
    strange = sorted(name for name in _names(path) if not state.is_own(name))
    return names(strange)


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
        yield _unusable(path, error)


def _unusable(path: str, error: StateError) -> Finding:
    found = error.problem
    advice = found.advice or "correct that, or set another state_dir"
    return Finding(subject=path, problem=found.problem, why=_NO_RUN, advice=advice)


def files(here: Deployment) -> Iterator[Finding]:
    for name in (state.LOCK, state.HISTORY, state.SAMPLES, state.LAST_RUN, state.PROBLEMS):
        path = os.path.join(here.config.state_dir, name)
        try:
            status = os.lstat(path)
            state.refuse_odd(path)
        except FileNotFoundError:
            continue
        except StateError as error:
            if name not in (state.HISTORY, state.SAMPLES):  # a run sets that one aside: told by state.history
                yield _unusable(path, error)
            continue
        if status.st_uid != os.geteuid() and not (status.st_uid == 0 and _is_open(path)):
            yield _strangers(path, status.st_uid)
        elif status.st_mode & 0o077 and name != state.LAST_RUN:
            yield too_open(path, 0o600)


def _is_open(path: str) -> bool:
    return os.access(path, os.R_OK | os.W_OK, effective_ids=True)


def _strangers(path: str, owner: int) -> Finding:
    """The directory says who the user is: whoever asks here is that one, and the file came from elsewhere."""
    us, other = user_name(os.geteuid()), user_name(owner)
    return Finding(
        subject=path,
        problem=f"belongs to {other}, but logrotor runs as {us} now",
        why="the one who owns it and the others lock each other out, and know nothing of each other's rotations",
        advice=f"run logrotor always as one user; once nothing runs as {other}: rm {typed(path)}",
    )


def too_open(path: str, mode: int) -> Finding:
    """Others may do too much with it; we can mend it if it is ours."""
    status = os.lstat(path)
    command = f"chmod {mode:04o} {typed(path)}"
    ours = status.st_uid == os.geteuid()
    return Finding(
        subject=path,
        problem=f"mode {status.st_mode & 0o777:04o}: others may come in",
        why=_PRIVATE,
        advice=command,
        would=command,
        mend=partial(identity.set_mode, path, mode, FileId(status.st_dev, status.st_ino)) if ours else None,
    )


def whole(here: Deployment) -> Iterator[Finding]:
    path = os.path.join(here.config.state_dir, state.HISTORY)
    why = "without it the time of the last rotation is guessed, and what happened before is not known; no log is lost"
    try:
        History(here.config.state_dir).recall()
    except StateError as error:
        yield _unusable(path, error)
    else:
        problem = _damage(here)
        if problem is not None:
            again = "nothing: the next run that has something to do repairs it or sets it aside"
            found = problem.under(path)
            yield Finding(subject=path, problem=found.problem, why=why, advice=found.advice or again)
    for name in sorted(_names(here.config.state_dir)):
        if name.startswith(f"{state.HISTORY}.damaged-"):
            aside = os.path.join(here.config.state_dir, name)
            advice = f"find out why (a full disk? a broken one?), then: rm {typed(aside)}"
            yield Finding(subject=aside, problem="a damaged history that a run set aside", why=why, advice=advice)


def _damage(here: Deployment) -> Problem | None:
    """What is wrong with the history, by what is read of it and by SQLite's own check."""
    try:
        found = History(here.config.state_dir).damage()
    except StateError as error:
        return error.problem
    return here.blind or (Problem(subject="", problem=found) if found else here.left_out)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


# ---------------------------------------------------------------- metrics and page


def textfile(here: Deployment) -> Iterator[Finding]:
    path = here.config.metrics_textfile or ""
    wrong = _why_not(path, METRICS, "[metrics] textfile")
    if wrong is None and here.last_run is not None and _behind(path, here.last_run) > _SLACK:
        wrong = ("the last run did not write it", f"{ours('run')} tells why: it prints the error")
    yield from _output(path, wrong, "alerts and dashboards see nothing, or the past for the present")


def _behind(path: str, run: float) -> float:
    try:
        return run - os.stat(path).st_mtime
    except FileNotFoundError:
        return run


def page(here: Deployment) -> Iterator[Finding]:
    path = here.config.page_file or ""
    wrong = _why_not(path, PAGE, "[page] file")
    yield from _output(path, wrong, "who looks there sees an old page, or none")


def closed_outputs(config: Config) -> Iterator[Problem]:
    """Metrics and page that no run could write."""
    for path, mark, key in (
        (config.metrics_textfile, METRICS, "[metrics] textfile"),
        (config.page_file, PAGE, "[page] file"),
    ):
        wrong = _why_not(path, mark, key) if path is not None else None
        if wrong is not None:
            yield Problem(subject=f"{key} = {path}", problem=wrong[0], advice=wrong[1])


def _why_not(path: str, mark: Mark, key: str) -> tuple[str, str] | None:
    return _no_place(path, key) or _not_ours(path, mark, key)


def _no_place(path: str, key: str) -> tuple[str, str] | None:
    """Why nothing can be written at ``path``, and what to do."""
    directory = os.path.dirname(path)
    silent = mounts.lately().why_silent(directory)
    if silent is not None:
        return f"{silent.subject}: {silent.problem}", silent.advice
    if not os.path.isdir(directory):
        if is_gone(directory):
            return f"{directory} does not exist", f"create it, or correct {key}"
        us = user_name(os.geteuid())
        return f"{directory} is no directory that {us} can look at", f"let {us} enter it, or correct {key}"
    if os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return None
    closed = why_closed(directory)
    return f"{directory}: {closed.problem}", closed.advice


def _not_ours(path: str, mark: Mark, key: str) -> tuple[str, str] | None:
    """Why what lies there is not replaced, or the way there not taken."""
    try:
        refuse_other(path, mark)
    except LogrotorError as error:
        return error.problem.under(path).problem, f"give {key} a name of its own, in a folder of your own"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}", f"correct that, or give {key} another name"
    return None


def _output(path: str, wrong: tuple[str, str] | None, why: str) -> Iterator[Finding]:
    if wrong is not None:
        yield Finding(subject=path, problem=wrong[0], why=why, advice=wrong[1])
