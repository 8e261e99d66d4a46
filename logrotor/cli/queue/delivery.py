"""``logrotor queue dispatch``: queue one job, and wait for its end if that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import config_option, json_option, only_option
from logrotor.cli.queue.control import engine_of, enter
from logrotor.cli.session import exit_codes, selection

if TYPE_CHECKING:
    from logrotor.model import Attempt, Config

_CODES = {"1": "the queue is out of reach; with --wait also: the job failed for good, or nobody took it in time"}
_EPILOG = f"""\
\b
Examples:
  logrotor queue dispatch                        a job for all logs
  logrotor queue dispatch --only queue-workers   a job for one rule
  logrotor queue dispatch --wait                 and see that it is done
  * * * * *  /path/to/logrotor queue dispatch -c /path/to/logrotor.toml     (crontab: the work is in the queue)

{exit_codes(_CODES)}
"""


@click.command(epilog=_EPILOG)
@config_option
@only_option
@click.option("--wait", is_flag=True, help="Wait for its end; exit 0 if it was done, 1 if it was not.")
@json_option("Print the job as JSON.")
@click.pass_context
def dispatch(ctx: click.Context, config: str | None, only: tuple[str, ...], wait: bool, as_json: bool) -> int:
    """Queue one rotation job for this host, and print its id.

    The job is dropped if it waits for its first attempt longer than [queue.job] expires; the next one does its work.
    With --wait its last attempt decides the exit code: done, busy and stale are well.
    """
    from logrotor.clock import local_now
    from logrotor.jobs.dispatch import await_end
    from logrotor.jobs.dispatch import dispatch as queue_job
    from logrotor.jobs.task import SUCCESSES

    site = enter(ctx)
    logs = selection(site.config, only)
    if logs:
        _refuse_unknown(site.config, logs)
    job = queue_job(site, engine_of(site), local_now(), logs=logs)
    if not as_json:
        output.write(job.id)
    last = await_end(site, job) if wait else None
    if as_json:
        facts = {name: getattr(job, name) for name in job.__struct_fields__}
        ended = {"ending": last.ending if last else None, "detail": last.detail if last else ""} if wait else {}
        output.write_json({"queue": site.queue, "engine": site.settings.engine, "job": facts, **ended})
    elif wait:
        click.echo(f"logrotor: {_ended(last)}", err=True)
    return 0 if not wait or (last is not None and last.ending in SUCCESSES) else 1


def _ended(last: Attempt | None) -> str:
    if last is None:
        return "no worker took the job in time: does one run here? (logrotor doctor --only queue)"
    more = f": {text.lines(last.detail)}" if last.detail else ""
    return f"{last.ending} at attempt {last.number}{more}"


def _refuse_unknown(config: Config, logs: tuple[str, ...]) -> None:
    """Here somebody sees it; the job would fail hours later. Raises UnknownSelection."""
    from logrotor.rotator import Rotator

    Rotator(config).plan(only=logs)
