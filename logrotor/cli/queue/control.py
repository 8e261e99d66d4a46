"""``logrotor queue`` dispatch, retry, clear: what an operator, or a cron line, does with the jobs."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import Age, config_option, json_option, load, only_option
from logrotor.cli.session import exit_codes, selection

if TYPE_CHECKING:
    from logrotor.jobs.engine import Engine, Site
    from logrotor.model import Config


def enter(ctx: click.Context) -> Site:
    """The site of the configuration, as the user that it names. Raises ConfigError, StateError."""
    from logrotor.jobs.engine import site_of

    return site_of(load(ctx), os.environ)


def engine_of(site: Site) -> Engine:
    """Raises ConfigError, QueueUnreachable."""
    from logrotor.jobs.engine import open_engine

    return open_engine(site)


# ---------------------------------------------------------------- dispatch


_DISPATCH_EPILOG = f"""\
\b
Examples:
  logrotor queue dispatch                        a job for all logs
  logrotor queue dispatch --only queue-workers   a job for one rule
  * * * * *  /path/to/logrotor queue dispatch -c /path/to/logrotor.toml     (crontab: the work is in the queue)

{exit_codes({"1": "the queue is out of reach"})}
"""


@click.command(epilog=_DISPATCH_EPILOG)
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


# ---------------------------------------------------------------- retry


_RETRY_EPILOG = f"""\
\b
Examples:
  logrotor queue retry 3f2a    the first letters of an id are enough
  logrotor queue retry all

{exit_codes({"1": "no such failed job, or the queue is out of reach"})}
"""


@click.command(epilog=_RETRY_EPILOG)
@click.argument("jobs", metavar="ID|all", nargs=-1, required=True)
@config_option
@json_option("Print the new jobs as JSON.")
@click.pass_context
def retry(ctx: click.Context, config: str | None, jobs: tuple[str, ...], as_json: bool) -> int:
    """Re-queue failed jobs: the same logs, all tries, under the configuration as it is now.

    However many failed for the same logs, one job is queued. "all": those that no later job has made up for.
    """
    from logrotor.clock import local_now
    from logrotor.jobs import backlog

    site = enter(ctx)
    fresh = backlog.retry(site, engine_of(site), jobs, local_now())
    if as_json:
        output.write_json({"queue": site.queue, "queued": [job.id for job in fresh]})
    else:
        output.write(f"{text.count(len(fresh), 'job')} re-queued.")
    return 0


# ---------------------------------------------------------------- clear


_CLEAR_EPILOG = f"""\
\b
Examples:
  logrotor queue clear --failed               all failed jobs
  logrotor queue clear --older-than 7d        failed jobs and attempts older than a week
  logrotor queue clear --stale                waiting jobs whose time has passed

{exit_codes({"1": "the queue is out of reach"})}
"""


@click.command(epilog=_CLEAR_EPILOG)
@config_option
@click.option("--failed", "all_failed", is_flag=True, help="Forget all failed jobs.")
@click.option("--stale", is_flag=True, help="Remove jobs that waited too long for their first attempt.")
@click.option("--older-than", metavar="AGE", type=Age(), help="Forget failed jobs and attempts older than 7d, say.")
@json_option("Print the numbers as JSON.")
@click.pass_context
def clear(
    ctx: click.Context, config: str | None, all_failed: bool, stale: bool, older_than: float | None, as_json: bool
) -> int:
    """Remove jobs of this host that nobody needs any more. No log and no archive is touched."""
    from logrotor.disk.history import History
    from logrotor.jobs import backlog

    if not (all_failed or stale or older_than is not None):
        raise click.UsageError("say what to clear: --failed, --stale or --older-than AGE")
    site = enter(ctx)
    engine, now = engine_of(site), time.time()
    gone = {"failed": 0, "stale": 0, "attempts": 0}
    if all_failed or older_than is not None:
        before = None if all_failed else now - (older_than or 0)
        gone["failed"] = backlog.clear_failed(site, engine, before=before)
    if stale:
        gone["stale"] = backlog.clear_stale(site, engine, now)
    if older_than is not None:
        gone["attempts"] = History(site.config.state_dir).prune_attempts(now - older_than)
    if as_json:
        output.write_json({"queue": site.queue, "removed": gone})
    else:
        output.write(", ".join(text.count(number, _WORDS[name]) for name, number in gone.items()) + " removed.")
    return 0


_WORDS = {"failed": "failed job", "stale": "stale job", "attempts": "old attempt"}
