"""``logrotor plan``: what a run would do, and why."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from logrotor.cli import streams
from logrotor.cli.options import complete_names, config_option, force_option, json_option, load, only_option
from logrotor.cli.session import Session, become, exit_codes, selection, why_no_run

if TYPE_CHECKING:
    from logrotor.model import Config, Plan

CODES = {"1": "a run would fail for some log or rule, or PATH belongs to no rule"}
EPILOG = f"""\
\b
Examples:
  logrotor plan                             all logs
  logrotor plan /var/log/app/app.log        why is this log (not) rotated, and when?
  logrotor plan /var/log/app/app.log.3.zst  why is this archive still there?
  logrotor plan --at "2026-11-22 03:00"     what would a run do at that time?
  logrotor plan --json | jq '.logs[] | select(.due.type == "due") | .path'

{exit_codes(CODES)}
"""


@click.command(epilog=EPILOG)
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
    config = load(ctx)
    become(config)
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

        streams.write_json(in_json(made))
    else:
        from logrotor.cli.plan_table import overview

        streams.write("\n".join(overview(config, made, verbose=verbose)))
    return exit_code(config, made)


def exit_code(config: Config, made: Plan) -> int:
    """1 if the run would fail for some log or rule."""
    return 1 if config.problems or made.problems or any(log.refused for log in made.logs) else 0


def moment(given: str, option: str = "--at") -> datetime:
    """A moment in ISO 8601; without an offset it is local time."""
    try:
        parsed = datetime.fromisoformat(given)
    except ValueError:
        raise click.BadParameter(
            f'{given!r} is no time; accepted: "2026-11-22 03:00", "2026-11-22T03:00:00+01:00"', param_hint=option
        ) from None
    return parsed if parsed.tzinfo else _local(parsed)


def _local(naive: datetime) -> datetime:
    from logrotor.clock import local_now

    zone = local_now().tzinfo
    # A fixed offset is that of today, not that of the day asked for.
    return naive.astimezone() if zone is None or isinstance(zone, timezone) else naive.replace(tzinfo=zone)
