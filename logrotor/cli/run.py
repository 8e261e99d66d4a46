"""``logrotor run``: carry out what is due."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from logrotor.cli import streams
from logrotor.cli.events import EventPrinter
from logrotor.cli.options import become, config_option, force_option, json_option, load, only_option, selection
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
def run(ctx: click.Context, /, dry_run: bool, verbose: int, quiet: int, log_format: str, **options: Any) -> int:
    """Rotate what is due, retire and compress archives.

    Logs that are too large or whose time has come are moved aside, their writers are asked to reopen them, archives
    that nobody writes any more are compressed, and those that retention no longer keeps are removed. A run with
    nothing to do changes nothing and prints nothing, and so does a success; a missing log is mentioned with -vv only.
    Another run at the same time is waited for, then exit 3. Killed at any point, the next run finishes the work.
    """
    session = ctx.ensure_object(Session)
    session.verbosity = verbose - quiet
    if dry_run:
        from logrotor.cli.plan import show

        return show(ctx, verbose=session.verbosity > 0, **_plan_options(options))
    session.json_messages = log_format == "json" or (log_format == "auto" and not streams.is_terminal(sys.stderr))
    return _carry_out(ctx, session, **_plan_options(options))


def _plan_options(options: dict[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in ("force", "only", "as_json")}


def _carry_out(ctx: click.Context, session: Session, *, force: bool, only: tuple[str, ...], as_json: bool) -> int:
    progress = Progress()
    printer = EventPrinter(session, before=progress.clear)
    has_bar = streams.is_terminal(sys.stderr) and not as_json and session.verbosity >= 0
    with Stop() as stop:
        config = load(ctx)
        become(config)
        try:
            report = _rotate(config, printer, progress if has_bar else None, stop, force=force, only=only)
        except (KeyboardInterrupt, Interrupted, Locked):
            if not stop():  # a lock that we were told to stop waiting for is no failure to get it
                raise
            return stop.exit_code
        finally:
            progress.clear()
    code = stop.exit_code if report.interrupted else report.exit_code
    if as_json:
        streams.write_json(_report(report, code))
    return code


def _rotate(
    config: Config, printer: EventPrinter, progress: Progress | None, stop: Stop, *, force: bool, only: tuple[str, ...]
) -> Report:
    from logrotor.rotator import Rotator

    rotator = Rotator(config, on_event=printer, on_progress=progress, stop=stop)
    return rotator.run(force=force, only=selection(config, only))


def _report(report: Report, code: int) -> dict[str, Any]:
    from logrotor.model import as_json

    return {**as_json(report), "exit_code": code}
