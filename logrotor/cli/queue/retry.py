"""``logrotor queue retry``: failed jobs, queued anew."""

from __future__ import annotations

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import config_option, json_option
from logrotor.cli.queue.site import engine_of, enter
from logrotor.cli.session import exit_codes

CODES = {"1": "no such failed job, or the queue is out of reach"}
EPILOG = f"""\
\b
Examples:
  logrotor queue retry 3f2a    the first letters of an id are enough
  logrotor queue retry all

{exit_codes(CODES)}
"""


@click.command(epilog=EPILOG)
@click.argument("jobs", metavar="ID|all", nargs=-1, required=True)
@config_option
@json_option("Print the new jobs as JSON.")
@click.pass_context
def retry(ctx: click.Context, config: str | None, jobs: tuple[str, ...], as_json: bool) -> int:
    """Queue failed jobs anew: the same logs, all tries, under the configuration as it is now."""
    from logrotor.clock import local_now
    from logrotor.jobs import failures

    site = enter(ctx)
    fresh = failures.retry(site, engine_of(site), jobs, local_now())
    if as_json:
        output.write_json({"queue": site.queue, "queued": [job.id for job in fresh]})
    else:
        output.write(f"{text.count(len(fresh), 'job')} queued anew.")
    return 0
