"""``logrotor run``: carry out what is due."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from logrotor.cli import streams
from logrotor.cli.events import EventPrinter
from logrotor.cli.options import (
    Duration,
    become,
    config_option,
    force_option,
    json_option,
    load,
    only_option,
    selection,
)
from logrotor.cli.progress import Progress
from logrotor.cli.session import EXIT_CODES, Session
from logrotor.cli.signals import Stop
from logrotor.errors import Interrupted, Locked

if TYPE_CHECKING:
    from logrotor.model import Config, Report

EPILOG = f"""\
\b
Examples:
  * * * * *  /opt/logrotor/bin/logrotor run -c /etc/logrotor.toml     (crontab)
  logrotor run -vv                       tell every step
  logrotor run --only queue-workers      one rule
  logrotor run --force --only logs/app.log    one log, due or not

{EXIT_CODES}
"""


@click.command(epilog=EPILOG, short_help="Rotate what is due.")
@config_option
@force_option
@only_option
@click.option("--dry-run", is_flag=True, help='Only show what would happen: the same as "logrotor plan".')
@click.option(
    "--time-limit", metavar="TIME", type=Duration(), help="Put off compressions that would end later, such as 50s."
)
@click.option("--attempt", metavar="PID", type=int, hidden=True, help="The attempt of a job: dies with PID, sums up.")
@json_option("Print the report as JSON on stdout.")
@click.option("-v", "--verbose", count=True, help="Tell more on stderr: -v start, requests, end; -vv each step.")
@click.option("-q", "--quiet", count=True, help="Tell errors only.")
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    help="Messages on stderr; auto: for people on a terminal, else a JSON object a line.",
)
@click.pass_context
def run(
    ctx: click.Context, /, dry_run: bool, verbose: int, quiet: int, log_format: str, attempt: int | None, **options: Any
) -> int:
    """Rotate what is due, retire and compress archives.

    Logs that are too large or whose time has come are moved aside, their writers are asked to reopen them, archives
    that nobody writes any more are compressed, and those that retention no longer keeps are removed. A run with
    nothing to do changes nothing and prints nothing, and so does a success; a missing log is mentioned with -vv only.
    Another run at the same time is waited for, then exit 3. Killed at any point, the next run finishes the work.
    """
    session = ctx.ensure_object(Session)
    session.verbosity = verbose - quiet
    if attempt is not None:
        _tie_to(attempt)
    if dry_run:
        from logrotor.cli.plan import show

        return show(ctx, verbose=session.verbosity > 0, **_plan_options(options))
    session.json_messages = log_format == "json" or (log_format == "auto" and not streams.is_terminal(sys.stderr))
    return _carry_out(
        ctx, session, sums_up=attempt is not None, time_limit=options["time_limit"], **_plan_options(options)
    )


def _tie_to(parent: int) -> None:
    """A run for a worker ends with it: killed, as by any crash, and the next run finishes the work."""
    import signal

    from logrotor.disk.calls import die_with

    die_with(parent, signal.SIGKILL)


def _plan_options(options: dict[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in ("force", "only", "as_json")}


def _carry_out(
    ctx: click.Context,
    session: Session,
    *,
    force: bool,
    only: tuple[str, ...],
    as_json: bool,
    time_limit: float | None,
    sums_up: bool,
) -> int:
    progress = Progress()
    printer = EventPrinter(session, before=progress.clear)
    has_bar = streams.is_terminal(sys.stderr) and not as_json and session.verbosity >= 0
    from logrotor.rotator import Rotator

    with Stop() as stop:
        config = load(ctx)
        become(config)
        try:
            rotator = Rotator(config, on_event=printer, on_progress=progress if has_bar else None, stop=stop)
            with _no_search_for_garbage():
                report = rotator.run(force=force, only=selection(config, only), time_limit=time_limit)
        except (KeyboardInterrupt, Interrupted, Locked):
            if not stop():  # a lock that we were told to stop waiting for is no failure to get it
                raise
            return stop.exit_code
        finally:
            progress.clear()
    _tell_others(config, report, printer)
    code = stop.exit_code if report.interrupted else report.exit_code
    if as_json:
        streams.write_json(_report(report, code))
    elif sums_up:
        streams.write_json(_summary(report))
    return code


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """A run keeps what it makes: to search it for garbage took half of an idle pass over 10,000 logs."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _tell_others(config: Config, report: Report, printer: EventPrinter) -> None:
    """Metrics and page, where the configuration has them; the page not where we were asked to stop."""
    if config.metrics_textfile is not None:
        path = config.metrics_textfile
        _attempt("metrics", path, lambda: _write_metrics(path, config, report), printer)
    if config.page_file is not None and not report.interrupted:
        place = config.page_file
        _attempt("page", place, lambda: _write_page(place, config), printer)


def _attempt(what: str, path: str, write: Callable[[], None], printer: EventPrinter) -> None:
    """Rotation comes first: what cannot be written is told, and fails nothing."""
    from logrotor.disk.snapshot import message
    from logrotor.errors import LogrotorError
    from logrotor.events import Event, Level

    try:
        write()
    except (LogrotorError, OSError) as error:
        why = message(error, path)
    except Exception as error:
        why = f"unexpected {type(error).__name__}: {error}: this is a bug, please report it"
    else:
        return
    printer(Event("problem.found", Level.ERROR, {"error": f"the {what} cannot be written: {why}"}))


def _write_metrics(path: str, config: Config, report: Report) -> None:
    from logrotor.cli.rooms import queue_gauges
    from logrotor.clock import local_now
    from logrotor.observe import metrics

    now = local_now()
    metrics.write(path, config, report, now, more=queue_gauges(config, now.timestamp()))


def _write_page(path: str, config: Config) -> None:
    from logrotor.cli.rooms import write_page
    from logrotor.clock import local_now

    write_page(path, config, local_now())


def _report(report: Report, code: int) -> dict[str, Any]:
    from logrotor.model import as_json

    return {**as_json(report), "exit_code": code}


def _summary(report: Report) -> dict[str, Any]:
    """What a job keeps of its attempt; the whole plan of many logs would be megabytes."""
    errors = [*(f"{o.log}: {o.reason}" for o in report.failed), *report.problems]
    deferred = sum(1 for o in report.outcomes if o.status == "deferred")
    return {"rotated": report.rotated, "deferred": deferred, "errors": errors[:20], "more": max(0, len(errors) - 20)}
