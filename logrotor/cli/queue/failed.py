"""``logrotor queue failed``: the jobs that failed for good."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import config_option, json_option
from logrotor.cli.queue.site import engine_of, enter
from logrotor.cli.session import exit_codes

if TYPE_CHECKING:
    from logrotor.jobs.failures import FailedJob

CODES = {"1": "the queue is out of reach"}
EPILOG = f"""\
\b
Examples:
  logrotor queue failed
  logrotor queue retry 3f2a             the first letters of an id are enough
  logrotor queue clear --failed

{exit_codes(CODES)}
"""


@click.command(epilog=EPILOG)
@config_option
@json_option("Print them as JSON, with their payloads.")
@click.pass_context
def failed(ctx: click.Context, config: str | None, as_json: bool) -> int:
    """List the jobs of this host that failed for good: all attempts used up, or an error that no attempt mends.

    They stay until they are retried or cleared. A failed job loses no line: the next one does its work.
    """
    from logrotor.clock import local_now
    from logrotor.jobs.failures import failed_jobs

    site = enter(ctx)
    found = failed_jobs(site, engine_of(site))
    if as_json:
        output.write_json({"queue": site.queue, "failed": [_as_json(job) for job in found]})
    elif found:
        output.write("\n".join(line for job in found for line in _lines(job, local_now())))
    else:
        output.write("No failed job.")
    return 0


def _lines(job: FailedJob, now: datetime) -> list[str]:
    when = text.moment(datetime.fromtimestamp(job.when, now.tzinfo), now) if job.when else "at an unknown time"
    tried = f"{text.count(job.attempts, 'attempt')}, " if job.attempts else ""
    return [f"{text.printable(job.job)}  {when}, {tried}{job.ending}", f"    {text.lines(job.detail)}"]


def _as_json(job: FailedJob) -> dict[str, Any]:
    names = ("job", "queue", "attempts", "ending", "detail", "when", "payload")
    return {name: getattr(job, name) for name in names}
