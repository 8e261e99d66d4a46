"""``logrotor queue`` retry, clear, restart: what an operator does with the jobs, and with what works on them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import Age, config_option, json_option, load
from logrotor.cli.session import exit_codes
from logrotor.errors import LogrotorError

if TYPE_CHECKING:
    from logrotor.jobs.engine import Engine, Site


def enter(ctx: click.Context) -> Site:
    """The site of the configuration, as the user that it names. Raises ConfigError, StateError."""
    from logrotor.jobs.engine import site_of

    return site_of(load(ctx, ours_alone=True), os.environ)


def engine_of(site: Site) -> Engine:
    """Raises ConfigError, QueueUnreachable."""
    from logrotor.jobs.engine import open_engine

    return open_engine(site)


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
        output.write(
            "\n".join([f"{text.count(len(fresh), 'job')} re-queued{':' if fresh else '.'}", *(j.id for j in fresh)])
        )
    return 0


# ---------------------------------------------------------------- clear


_CLEAR_EPILOG = f"""\
\b
Examples:
  logrotor queue clear 3f2a                   one job, failed or waiting; the first letters of its id are enough
  logrotor queue clear --failed               all failed jobs
  logrotor queue clear --older-than 7d        failed jobs and attempts older than a week
  logrotor queue clear --stale                waiting jobs whose time has passed
  logrotor queue clear --host web-7           all jobs of a host that is gone

{exit_codes({"1": "no such job, or the queue is out of reach"})}
"""


@click.command(epilog=_CLEAR_EPILOG)
@click.argument("jobs", metavar="[ID]", nargs=-1)
@config_option
@click.option("--failed", "all_failed", is_flag=True, help="Forget all failed jobs.")
@click.option("--stale", is_flag=True, help="Remove jobs that waited too long for their first attempt.")
@click.option("--older-than", metavar="AGE", type=Age(), help="Forget failed jobs and attempts older than 7d, say.")
@click.option("--host", metavar="HOST", help="Remove all waiting and failed jobs of another host, which is gone.")
@json_option("Print the numbers as JSON.")
@click.pass_context
def clear(
    ctx: click.Context,
    config: str | None,
    jobs: tuple[str, ...],
    all_failed: bool,
    stale: bool,
    older_than: float | None,
    host: str | None,
    as_json: bool,
) -> int:
    """Remove jobs of this host, or of one that is gone, that nobody needs any more. No log and no archive is touched.

    A job at work is left to its worker.
    """
    from logrotor.disk.history import History
    from logrotor.jobs import backlog

    if not (jobs or all_failed or stale or host is not None or older_than is not None):
        raise click.UsageError("say what to clear: an ID, --failed, --stale, --older-than AGE or --host HOST")
    site = enter(ctx)
    if host is not None and host == site.host:
        raise click.UsageError(
            f"{host} is this host: --host is for one that is gone; here take --failed, --stale or an ID"
        )
    engine, now = engine_of(site), time.time()
    gone = {"failed": 0, "stale": 0, "attempts": 0}
    if jobs:
        gone["jobs"] = backlog.clear_jobs(site, engine, jobs)
    if host is not None:
        gone["jobs"] = gone.get("jobs", 0) + backlog.clear_host(site, engine, host)
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


_WORDS = {"failed": "failed job", "stale": "stale job", "attempts": "old attempt", "jobs": "chosen job"}


# ---------------------------------------------------------------- restart


_RESTART_CODES = {
    "1": "nothing runs, something could not be had to begin anew, or what has cannot do its work: its queue is out of "
    "reach, or a rule is wrong; stderr says what to do"
}
_RESTART_EPILOG = f"""\
\b
Examples:
  logrotor queue restart               after a deploy, or a change of the configuration

{exit_codes(_RESTART_CODES)}
"""


@click.command(epilog=_RESTART_EPILOG)
@config_option
@json_option("Print what was done as JSON.")
@click.pass_context
def restart(ctx: click.Context, config: str | None, as_json: bool) -> int:
    """Have the workers and schedules of this configuration begin anew, and wait until they have signed in.

    Each lets the job at work end, then executes itself, with the code and the configuration of now: its process id
    stays, no process manager is needed, and one that would not start again goes on as it was. A process that cannot be
    asked so is restarted by its manager, supervisord or systemd, where this user may; else nothing is ended.
    """
    from logrotor.errors import problem_of
    from logrotor.jobs.processes import look
    from logrotor.jobs.progress import workers
    from logrotor.jobs.renewal import renew

    site = enter(ctx)
    site.url  # noqa: B018  # raises
    done, failed = [], []
    for head in look(site).of(site).heads:
        try:
            done.append(renew(site, head, say))
        except (LogrotorError, OSError) as error:
            failed.append(str(problem_of(error, head.words)))
    if not done and not failed:
        beyond = any(each.seen is not None for each in workers(site))
        where = "runs here, but in another pid namespace: ask there, in that container say" if beyond else "runs here"
        failed.append(f"no worker and no schedule of {site.file} {where}")
    wrong = list(_hindered(site)) if done else []
    if as_json:
        output.write_json({"queue": site.queue, "restarted": done, "failed": failed, "problems": wrong})
    else:
        if done:
            output.write("\n".join(done))
        for line in (*failed, *wrong):
            say(line)
    return 1 if failed or wrong else 0


def say(line: str) -> None:
    """On stderr."""
    click.echo(f"logrotor: {text.lines(line)}", err=True)


def _hindered(site: Site) -> Iterator[str]:
    """Why what has begun anew cannot do all of its work."""
    for problem in site.config.problems:
        yield f"left out: {problem}"
    try:
        engine_of(site).counts(site.queue)
    except LogrotorError as error:
        yield f"no job can be done until the queue is within reach: {error}"
