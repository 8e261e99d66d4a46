"""Carry out what is due, as ``logrotor run`` does with and without options. Knows nothing of click."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from logrotor.cli import output
from logrotor.cli.damping import Damper
from logrotor.cli.output import EventPrinter, Progress
from logrotor.cli.session import Session, Stop, enter, exit_code, fail, fail_with, notice_of, selection
from logrotor.errors import ConfigError, Interrupted, Locked, LogrotorError, StateError, UnknownSelection
from logrotor.events import Event, Level, OnEvent, made

if TYPE_CHECKING:
    from logrotor.cli.helper import Helper, Work
    from logrotor.model import Config, Problem, Report

_HOUR = 3600.0
_LONGEST = 500  # characters of the cause of a failed job


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """A run keeps what it imports and makes: searching it took half of an idle pass over 10,000 logs."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@_no_search_for_garbage()
def rotate(
    session: Session,
    config_file: str | None,
    *,
    log_format: str = "auto",
    force: bool = False,
    only: tuple[str, ...] = (),
    as_json: bool = False,
    time_limit: float | None = None,
    attempt: int | None = None,
) -> int:
    """Returns the exit code. ``log_format``: "auto", "console" or "json". ``attempt``: the process for whose attempt of
    a job this is; it gets a short report as JSON."""
    sums_up = attempt is not None
    session.json_messages = log_format == "json" or (log_format == "auto" and not output.is_terminal(sys.stderr))
    progress = Progress()
    printer = EventPrinter(session.verbosity, as_json=session.json_messages, before=progress.clear, bound=session.bound)
    has_bar = output.is_terminal(sys.stderr) and not as_json and session.verbosity >= 0
    from logrotor.rotator import Rotator

    is_damped = session.verbosity <= 0 and not (as_json or sums_up or output.is_terminal(sys.stderr))
    scope = (*["--force"] * force, *sorted(only))
    damper = None
    ends: list[Event] = []
    with Stop() as stop:
        try:
            entered = enter(config_file)
        except ConfigError as error:
            if sums_up:  # its caller tells the job why
                raise
            damper = _damper_of_broken(config_file, scope) if is_damped else None
            return _fail_once(error, session, damper)
        config = entered.config
        if is_damped:
            damper = Damper(config.state_dir, (*config.files[:1], *scope), time.time())
            printer.filter = damper.filter

        def tell(event: Event) -> None:
            ends.append(event) if event.name == "run.completed" else printer(event)

        if (notice := notice_of(entered)) is not None:
            printer(notice)
        shown = progress if has_bar else None
        rotator = Rotator(config, on_event=tell, on_progress=shown, stop=stop, fork=_fork)
        try:
            report = rotator.run(force=force, only=selection(config, only), time_limit=time_limit)
        except (LogrotorError, KeyboardInterrupt) as error:
            ended = _code_of(error, session, config, stop, printer, damper, sums_up=sums_up)
            if ended is None:
                raise
            return ended
        finally:
            progress.clear()
    report = tell_others(config, report, printer, attempt)
    code = stop.exit_code if report.interrupted else report.exit_code
    for event in ends:
        printer(replace(event, fields={**event.fields, "exit_code": code}))
    if damper is not None:
        damper.settle(printer.show, whole=not report.interrupted)
    if as_json:
        output.write_json(_report(report, code))
    elif sums_up:
        output.write_json(_summary(report, config))
    return code


def _code_of(
    error: BaseException, session: Session, config: Config, stop: Stop, printer: EventPrinter, damper: Damper | None,
    *, sums_up: bool,
) -> int | None:  # fmt: skip
    """The exit code of a run that did not take place, with what there was to say said; None: it is an error as any."""
    if isinstance(error, StateError | UnknownSelection):
        return None if sums_up else _fail_once(error, session, damper)
    if not isinstance(error, KeyboardInterrupt | Interrupted | Locked):
        return None
    if stop():  # a lock that we were told to stop waiting for is no failure to get it
        return stop.exit_code
    if isinstance(error, Locked) and not sums_up and _is_told(error, config.state_dir, printer, damper):
        return exit_code(error)
    return None


def _damper_of_broken(config_file: str | None, scope: tuple[str, ...]) -> Damper | None:
    """Where the state directory that it names can be used as it is; else each run prints what is wrong."""
    from logrotor.config.find import find_config, state_of_broken
    from logrotor.disk import identity, state

    with suppress(LogrotorError, OSError):
        file = find_config(config_file, os.environ).file
        place, user = state_of_broken(file, os.environ, os.geteuid())
        if place is not None:
            if user is not None:
                identity.become(user)
            state.refuse_unusable(place, "")
            return Damper(place, (file, *scope), time.time())
    return None


def _fail_once(error: LogrotorError, session: Session, damper: Damper | None) -> int:
    """Nothing could run: print what was not printed within the hour. Returns the exit code."""
    if damper is None:
        return fail(error, session)
    found = [each.as_problem for each in error.problems] if isinstance(error, ConfigError) else [error.problem]
    events = [(damper.filter(_failure(problem)), problem) for problem in found]
    fail_with(((str(problem), event.fields) for event, problem in events if event is not None), session)
    damper.settle(lambda event: _show_failure(event, session), whole=False)
    return exit_code(error)


def _show_failure(event: Event, session: Session) -> None:
    """What has ended is not worth a line where something else of the kind has begun."""
    if event.name == "run.failed":
        fail_with([(str(event.fields["error"]), {})], session)


def _failure(problem: Problem) -> Event:
    return made("run.failed", {"error": str(problem)}, problem.subject, problem.problem)


def _is_told(error: Locked, state_dir: str, printer: EventPrinter, damper: Damper | None) -> bool:
    """Is there no more to say of a lock that another run holds? A stopped one is named."""
    if error.problem.kind == "stopped":
        tell_held(error.problem, printer)
        if damper is not None:
            damper.settle(printer.show, whole=False)
        return damper is not None or printer.level <= Level.WARNING
    return damper is not None and _is_well(state_dir, time.time())


def tell_held(found: Problem, printer: OnEvent) -> None:
    printer(made("lock.held", {"error": str(found), "waiting": 1}, found.subject, found.kind))


def _is_well(state_dir: str, now: float) -> bool:
    """Has a run ended within the hour, or did the one that is at work begin within it?"""
    from logrotor.disk import state

    ended = state.last_run(state_dir)
    if ended is not None and abs(now - ended) < _HOUR:
        return True
    pid = state.holder(state_dir)
    return pid is not None and abs(now - _began(state_dir, pid)) < _HOUR


def _began(state_dir: str, pid: int) -> float:
    """When the run of this process began, which may be older by far than its run; 0: not known."""
    from logrotor.disk import proc
    from logrotor.disk.history import History

    with suppress(StateError):
        open_ones = [run.started for run in History(state_dir).runs() if run.ended is None and run.pid == pid]
        if open_ones:
            return open_ones[-1]
    with suppress(OSError):
        return proc.look(pid).started
    return 0.0


def _fork(work: Work) -> Helper | None:
    """Imported only where there is so much to do."""
    from logrotor.cli import helper

    return helper.fork(work)


def tell_others(config: Config, report: Report, printer: OnEvent, attempt: int | None) -> Report:
    """Page and metrics, where the configuration has them; the page not where we were asked to stop.

    The report is that of the run with what could not be written: the metrics, which come last, have its exit code.
    ``attempt``: the process whose attempt this run is.
    """
    if config.queue is not None and not report.interrupted and _has_sampled(config, report):
        from logrotor.cli.gather import sample_queue

        sample_queue(config, asking=attempt)
    if config.page_file is not None and not report.interrupted:
        place = config.page_file
        report = _attempt("page", place, lambda: _write_page(place, config), report, printer, config)
    if config.metrics_textfile is not None:
        from logrotor.cli.gather import write_metrics

        path = config.metrics_textfile
        report = _attempt("metrics", path, lambda: write_metrics(path, config, asking=attempt), report, printer, config)
    return report


def _has_sampled(config: Config, report: Report) -> bool:
    """Did this run take a sample? The engine is asked as seldom."""
    from logrotor.disk import state

    last = state.last_report(config.state_dir)
    return last is not None and last.sampled is not None and last.sampled >= report.started.timestamp()


def _attempt(
    what: str, path: str, write: Callable[[], None], report: Report, printer: OnEvent, config: Config
) -> Report:
    """Rotation comes first: what cannot be written stops nothing, and fails the run."""
    from logrotor.errors import Busy, problem_of
    from logrotor.model import Problem

    try:
        write()
    except Busy as error:
        from logrotor.disk.holders import stuck
        from logrotor.disk.writers import Processes

        holder = stuck(error.problem.subject, time.time(), Processes.look())
        if holder is not None:
            tell_held(holder, printer)
        return report
    except (LogrotorError, OSError) as error:
        found = problem_of(error, path).under(path)
        why, advice = found.problem, found.advice or f"correct that, or name another file in [{what}]"
    except Exception as error:
        why, advice = f"unexpected {type(error).__name__}: {error}", "this is a bug, please report it"
    else:
        return report
    problem = Problem(subject=path, problem=f"the {what} cannot be written: {why}", advice=advice, kind=what)
    printer(made("problem.found", {"error": str(problem)}, path, what))
    from logrotor.act.report import remember

    report = replace(report, problems=(*report.problems, problem))
    remember(report, config.state_dir, time.time())
    return report


def _write_page(path: str, config: Config) -> None:
    from logrotor.cli.gather import write_page
    from logrotor.clock import local_now

    write_page(path, config, local_now())


def _report(report: Report, code: int) -> dict[str, Any]:
    from logrotor.model import as_json

    return {**as_json(report), "exit_code": code}


# What fails again at once, and until somebody changes it: by errno(3), or a file for others that cannot be written.
_LASTING = frozenset(
    [
        "EACCES",
        "EPERM",
        "EROFS",
        "ENAMETOOLONG",
        "ELOOP",
        "ENOTDIR",
        "EISDIR",
        "ENODEV",
        "EOPNOTSUPP",
        "ENOSYS",
        "metrics",
        "page",
    ]
)


def _summary(report: Report, config: Config) -> dict[str, Any]:
    """What a job keeps of its attempt; the whole plan of many logs would be megabytes."""
    from logrotor.errors import errno_name

    wrong = {each.as_problem for each in config.problems}
    errors = [*(f"{o.log}: {o.reason}" for o in report.failed), *map(str, report.problems)]
    causes: list[tuple[Problem | None, str, str]] = [
        (each, "problem", each.identity or each.problem) for each in report.problems
    ]
    for o in report.failed:
        kind = errno_name(o.errno) if o.errno is not None else o.problem.identity if o.problem is not None else ""
        causes.append((o.problem, o.action, kind or o.reason))
    lasting = all(p in wrong or action == "plan" or kind in _LASTING for p, action, kind in causes)
    return sums_of(errors, (f"{action} {kind}" for _, action, kind in causes), lasting=lasting)


def sums_of(errors: list[str], causes: Iterable[str], *, lasting: bool) -> dict[str, Any]:
    """The summary of an attempt, see ``jobs.task.Summary``; the cause has one text for one set of causes."""
    cause = "; ".join(sorted(set(causes)))
    if len(cause) > _LONGEST:
        from hashlib import sha256

        cause = sha256(cause.encode(errors="surrogateescape")).hexdigest()
    return {"errors": errors[:20], "more": max(0, len(errors) - 20), "lasting": lasting, "cause": cause}
