"""``logrotor queue dispatch``: one job, now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from logrotor.cli import output
from logrotor.cli.options import config_option, json_option, only_option
from logrotor.cli.queue.site import engine_of, enter
from logrotor.cli.session import exit_codes, selection

if TYPE_CHECKING:
    from logrotor.model import Config

CODES = {"1": "the queue is out of reach"}
EPILOG = f"""\
\b
Examples:
  logrotor queue dispatch                        a job for all logs
  logrotor queue dispatch --only queue-workers   a job for one rule
  * * * * *  /path/to/logrotor queue dispatch -c /path/to/logrotor.toml     (crontab: the work is in the queue)

{exit_codes(CODES)}
"""


@click.command(epilog=EPILOG)
@config_option
@only_option
@json_option("Print the job as JSON.")
@click.pass_context
def dispatch(ctx: click.Context, config: str | None, only: tuple[str, ...], as_json: bool) -> int:
    """Queue one rotation job for this host, and print its id.

    The job is dropped if it waits for its first attempt longer than [queue.job] expires; the next one does its work.
    """
    from logrotor.clock import local_now
    from logrotor.jobs.dispatch import dispatch as queue_job

    site = enter(ctx)
    logs = selection(site.config, only)
    if logs:
        _refuse_unknown(site.config, logs)
    job = queue_job(site, engine_of(site), local_now(), logs=logs)
    if as_json:
        facts = {name: getattr(job, name) for name in job.__struct_fields__}
        output.write_json({"queue": site.queue, "engine": site.settings.engine, "job": facts})
    else:
        output.write(job.id)
    return 0


def _refuse_unknown(config: Config, logs: tuple[str, ...]) -> None:
    """Here somebody sees it; the job would fail hours later. Raises UnknownSelection."""
    from logrotor.rotator import Rotator

    Rotator(config).plan(only=logs)
