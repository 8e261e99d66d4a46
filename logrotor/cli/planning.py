"""``logrotor run`` and ``logrotor plan``: carry out what is due, or show what a run would do, and why."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from logrotor.cli import output
from logrotor.cli.options import (
    Duration,
    complete_names,
    config_option,
    config_path,
    force_option,
    json_option,
    load,
    moment,
    only_option,
)
from logrotor.cli.rotation import rotate
from logrotor.cli.session import EXIT_CODES, Session, exit_codes, messages, selection, why_no_run

if TYPE_CHECKING:
    from logrotor.model import Config, Plan

CODES = {"1": "a run would fail for some log or rule, or PATH belongs to no rule"}
PLAN_EPILOG = f"""\
\b
Examples:
  logrotor plan                             all logs
  logrotor plan /var/log/app/app.log        why is this log (not) rotated, and when?
  logrotor plan /var/log/app/app.log.3.zst  why is this archive still there?
  logrotor plan --at "2026-11-22 03:00"     what would a run do at that time?
  logrotor plan --json | jq '.logs[] | select(.due.type == "due") | .path'

{exit_codes(CODES)}
"""


@click.command(epilog=PLAN_EPILOG)
@click.argument("path", required=False, metavar="[PATH|NAME]", shell_complete=complete_names)
@config_option
@force_option
@only_option
@click.option("--at", metavar="TIME", help='Plan for this moment, local time: "2026-11-22 03:00".')
@json_option("Print the plan as JSON.")
@click.option("-v", "--verbose", count=True, help="List idle and missing logs too; -vv: a traceback if logrotor fails.")
@click.pass_context
def plan(ctx: click.Context, /, config: str | None, verbose: int, **options: Any) -> int:
    """Show what a run would do and why; nothing is changed.

    Lists each log with something to do: whether it is due and why, the steps in their order with their reasons, what is
    deferred and why; for each directory how a log is taken there and how it is proved that nobody writes the old file
    any more. With a PATH (or the NAME of a rule) more about that one: which rule holds it, when it will be due, and
    which archives go next and why. PATH may be an archive too.
    """
    ctx.ensure_object(Session).verbosity = verbose
    return show(ctx, verbose=verbose > 0, **options)


def show(
    ctx: click.Context,
    *,
    force: bool,
    only: tuple[str, ...],
    as_json: bool,
    verbose: bool,
    at: str | None = None,
    path: str | None = None,
) -> int:
    """Make the plan and print it; ``run --dry-run`` comes here too."""
    now = None if at is None else moment(at)
    config = load(ctx, ours_alone=True)
    made = _plan(config, now, force=force, only=selection(config, only))
    if path is not None:
        from logrotor.cli.plan_path import show_path

        return show_path(config, made, path, as_json=as_json)
    return _show_all(config, made, as_json=as_json, verbose=verbose)


def _plan(config: Config, now: datetime | None, *, force: bool, only: tuple[str, ...]) -> Plan:
    from msgspec.structs import replace

    from logrotor.rotator import Rotator

    made = Rotator(config).plan(now=now, force=force, only=only)
    problem = why_no_run(config)
    return made if problem is None else replace(made, problems=(*made.problems, problem))


def _show_all(config: Config, made: Plan, *, as_json: bool, verbose: bool) -> int:
    if as_json:
        from logrotor.model import as_json as in_json

        output.write_json(in_json(made))
    else:
        from logrotor.cli.plan_table import overview

        output.write("\n".join(overview(config, made, verbose=verbose)))
    return exit_code(config, made)


def exit_code(config: Config, made: Plan) -> int:
    """1 if the run would fail for some log or rule."""
    return 1 if config.problems or made.problems or any(log.refused for log in made.logs) else 0


# ---------------------------------------------------------------- run


RUN_EPILOG = f"""\
\b
Examples:
  * * * * *  /opt/logrotor/bin/logrotor run --log-format=console -c /etc/logrotor.toml     (crontab)
  logrotor run -vv                       tell every step
  logrotor run --only queue-workers      one rule
  logrotor run --force --only logs/app.log    one log, due or not

{EXIT_CODES}
"""


@click.command(epilog=RUN_EPILOG)
@config_option
@force_option
@only_option
@click.option("--dry-run", is_flag=True, help='Only show what would happen: the same as "logrotor plan".')
@click.option(
    "--time-limit", metavar="TIME", type=Duration(), help="Put off compressions that would end later, such as 50s."
)
@click.option("--attempt", metavar="PID", type=int, hidden=True, help="The attempt of a job: dies with PID, sums up.")
@click.option("--job", metavar="ID NUMBER", type=(str, int), hidden=True, help="Which job, and which attempt of it.")
@json_option("Print the report as JSON on stdout.")
@click.option("-v", "--verbose", count=True, help="Print more on stderr: -v start, requests, end; -vv each step.")
@click.option("-q", "--quiet", count=True, help="Print errors only.")
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    help="Messages on stderr; auto: for people on a terminal, else a JSON object a line.",
)
@click.pass_context
def run(
    ctx: click.Context,
    /,
    dry_run: bool,
    verbose: int,
    quiet: int,
    log_format: str,
    attempt: int | None,
    job: tuple[str, int] | None,
    **options: Any,
) -> int:
    """Rotate what is due, retire and compress archives.

    Logs that are too large or whose time has come are moved aside, their writers are asked to reopen them, archives
    that nobody writes any more are compressed, and those that retention no longer keeps are removed. A run with
    nothing to do changes nothing and prints nothing, and so does a success; a missing log is mentioned with -vv only.
    Another run at the same time is waited for, then exit 3. Killed at any point, the next run finishes the work.

    Where stderr is not a terminal, a problem is printed when it begins, changes or ends, and once an hour; with -v or
    --json it is printed each time. The exit code is 1 as long as it lasts.
    """
    session = ctx.ensure_object(Session)
    session.verbosity = verbose - quiet
    if attempt is not None:
        _tie_to(attempt)
    if job is not None:
        session.bound = {"job": job[0], "attempt": job[1]}
    if dry_run:
        return show(ctx, verbose=session.verbosity > 0, **_plan_options(options))
    try:
        return rotate(
            session,
            config_path(ctx),
            log_format=log_format,
            attempt=attempt,
            time_limit=options["time_limit"],
            **_plan_options(options),
        )
    except Exception as error:
        if attempt is not None:
            _sum_up(error)
        raise


def _sum_up(error: Exception) -> None:
    """As after a run, so that the history of the job has the reason too."""
    from logrotor.cli.rotation import sums_of
    from logrotor.errors import ConfigError, problem_of

    found = [p.as_problem for p in error.problems] if isinstance(error, ConfigError) else [problem_of(error, "")]
    causes = (f"{type(error).__name__} {each.identity or each.problem}" for each in found)
    output.write_json(sums_of(messages(error), causes, lasting=False))  # exit 2 is, and nothing else


def _tie_to(parent: int) -> None:
    """A run for a worker ends with it: killed, as by any crash, and the next run finishes the work."""
    import signal

    from logrotor.disk.calls import die_with

    die_with(parent, signal.SIGKILL)


def _plan_options(options: dict[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in ("force", "only", "as_json")}
