"""``logrotor run``: carry out what is due."""

from __future__ import annotations

from typing import Any

import click

from logrotor.cli.options import Duration, config_option, config_path, force_option, json_option, only_option
from logrotor.cli.rotation import rotate
from logrotor.cli.session import EXIT_CODES, Session

EPILOG = f"""\
\b
Examples:
  * * * * *  /opt/logrotor/bin/logrotor run -c /etc/logrotor.toml     (crontab)
  logrotor run -vv                       tell every step
  logrotor run --only queue-workers      one rule
  logrotor run --force --only logs/app.log    one log, due or not

{EXIT_CODES}
"""


@click.command(epilog=EPILOG)
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
    try:
        return rotate(
            session,
            config_path(ctx),
            log_format=log_format,
            sums_up=attempt is not None,
            time_limit=options["time_limit"],
            **_plan_options(options),
        )
    except Exception as error:
        if attempt is not None:
            _sum_up(error)
        raise


def _sum_up(error: Exception) -> None:
    """As after a run, so that the history of the job has the reason too."""
    from logrotor.cli import streams
    from logrotor.cli.failures import messages

    streams.write_json({"errors": messages(error), "more": 0})


def _tie_to(parent: int) -> None:
    """A run for a worker ends with it: killed, as by any crash, and the next run finishes the work."""
    import signal

    from logrotor.disk.calls import die_with

    die_with(parent, signal.SIGKILL)


def _plan_options(options: dict[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in ("force", "only", "as_json")}
