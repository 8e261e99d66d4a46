"""``logrotor queue`` status, failed, retry, clear: what an operator does with the jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import Age, Duration, config_option, json_option, load
from logrotor.cli.session import exit_codes

if TYPE_CHECKING:
    from logrotor.jobs.backlog import FailedJob, Processing, QueueStatus, Status
    from logrotor.jobs.engine import Engine, Site


def enter(ctx: click.Context) -> Site:
    """The site of the configuration, as the user that it names. Raises ConfigError, StateError."""
    from logrotor.jobs.engine import site_of

    return site_of(load(ctx, ours_alone=True), os.environ)


def engine_of(site: Site) -> Engine:
    """Raises ConfigError, QueueUnreachable."""
    from logrotor.jobs.engine import open_engine

    return open_engine(site)


# ---------------------------------------------------------------- status


_STATUS_CODES = {
    "1": "the queue is out of reach; with --check also: a job failed or is stuck, or a queue is over a limit"
}
_STATUS_EPILOG = f"""\
\b
Examples:
  logrotor queue status
  logrotor queue status --check --max-pending 5 --max-age 10m    (Nagios and its like: exit 1 and why)
  logrotor queue status --json | jq '[.queues[].pending] | add'

{exit_codes(_STATUS_CODES)}
"""


@click.command(epilog=_STATUS_EPILOG)
@config_option
@click.option("--check", is_flag=True, help="For monitoring: print only what is wrong, and exit 1 if something is.")
@click.option(
    "--max-pending",
    metavar="N",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="With --check, per queue.",
)
@click.option("--max-age", metavar="TIME", type=Duration(), default="10m", show_default=True, help="With --check.")
@click.option("-v", "--verbose", is_flag=True, help="List also hosts with nothing to see to.")
@json_option("Print everything as JSON.")
@click.pass_context
def status(
    ctx: click.Context,
    config: str | None,
    check: bool,
    max_pending: int,
    max_age: float,
    verbose: bool,
    as_json: bool,
) -> int:
    """Show the queues of all hosts, and the attempts of this one.

    pending: ready to be taken. reserved: at work. scheduled: waits for its next attempt. failed: see "queue failed".
    stuck: at work for longer than [queue.job] stuck_after. Throughput and times are those of this host in the last
    24 hours, from its history. A dash: not known here.
    """
    from logrotor.jobs import backlog

    site = enter(ctx)
    found = backlog.status(site, engine_of(site), time.time())
    wrong = [str(problem) for problem in backlog.troubles(found, max_pending=max_pending, max_age=max_age)]
    if as_json:
        from logrotor.model import as_json as plain

        output.write_json({**plain(found), "troubles": wrong})
    elif check:
        output.write("\n".join(map(text.printable, wrong)) or "All well.")
    else:
        output.write("\n".join(_status_lines(found, verbose)))
    return 1 if check and wrong else 0


def _status_lines(found: Status, verbose: bool) -> Iterator[str]:
    yield f"engine  {found.engine}, {text.printable(found.url)}"
    shown = [queue for queue in found.queues if verbose or queue.is_ours or _is_of_note(queue)]
    head = ("host", "pending", "reserved", "scheduled", "failed", "stuck", "oldest")
    rows = [head, *map(_row, shown)]
    if len(found.queues) > 1:
        rows.append(_sums(found))
    yield from output.table(rows, right=frozenset({1, 2, 3, 4, 5, 6}))
    if len(shown) < len(found.queues):
        yield f"{text.count(len(found.queues) - len(shown), 'host')} with nothing to see to (-v lists them)"
    yield _processing(found.processing)


def _is_of_note(queue: QueueStatus) -> bool:
    return bool(queue.pending or queue.failed or queue.stuck or queue.scheduled)


def _row(queue: QueueStatus) -> tuple[str, ...]:
    numbers = (queue.pending, queue.reserved, queue.scheduled, queue.failed, queue.stuck)
    return queue.host, *("-" if number is None else str(number) for number in numbers), _age(queue.oldest_age)


def _sums(found: Status) -> tuple[str, ...]:
    """Over all hosts; what is not known counts as nothing."""
    names = ("pending", "reserved", "scheduled", "failed", "stuck")
    sums = [str(sum(getattr(queue, name) or 0 for queue in found.queues)) for name in names]
    ages = [queue.oldest_age for queue in found.queues if queue.oldest_age is not None]
    return f"all {len(found.queues)} hosts", *sums, _age(max(ages, default=None))


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else text.span(seconds)


def _processing(times: Processing) -> str:
    if times.last is None or times.mean is None or times.p95 is None:
        return "last 24 h on this host: no attempt"
    endings = ", ".join(f"{number} {ending}" for ending, number in sorted(times.endings.items()))
    return (
        f"last 24 h on this host: {text.count(times.attempts, 'attempt')} ({endings}), {times.per_hour:.0f} an hour, "
        f"mean {times.mean:.2f} s, 95 % within {times.p95:.2f} s"
    )


# ---------------------------------------------------------------- failed


_FAILED_EPILOG = f"""\
\b
Examples:
  logrotor queue failed
  logrotor queue retry 3f2a             the first letters of an id are enough
  logrotor queue clear --failed

{exit_codes({"1": "the queue is out of reach"})}
"""


@click.command(epilog=_FAILED_EPILOG)
@config_option
@json_option("Print them as JSON, with their payloads.")
@click.pass_context
def failed(ctx: click.Context, config: str | None, as_json: bool) -> int:
    """List the jobs of this host that failed for good: all attempts used up, or an error that another try cannot fix.

    They stay until they are retried or cleared. A failed job loses no line: the next one does its work.
    """
    from logrotor.clock import local_now
    from logrotor.disk.history import History
    from logrotor.jobs.backlog import failed_jobs

    site = enter(ctx)
    found, more = failed_jobs(site, engine_of(site)), History(site.config.state_dir).forgotten(site.queue)
    if as_json:
        output.write_json({"queue": site.queue, "failed": [_as_json(job) for job in found], "forgotten": more})
    elif found or more:
        lines = [line for job in found for line in _failed_lines(job, local_now())]
        counted = [f"and {text.count(more, 'refused job')} of which no more is kept"] if more else []
        output.write("\n".join([*lines, *counted]))
    else:
        output.write("No failed job.")
    return 0


def _failed_lines(job: FailedJob, now: datetime) -> list[str]:
    when = text.moment(datetime.fromtimestamp(job.when, now.tzinfo), now) if job.when else "at an unknown time"
    tried = f"{text.count(job.attempts, 'attempt')}, " if job.attempts else ""
    return [f"{text.printable(job.job)}  {when}, {tried}{job.ending}", f"    {text.lines(job.detail)}"]


def _as_json(job: FailedJob) -> dict[str, Any]:
    names = ("job", "queue", "attempts", "ending", "detail", "when", "payload")
    return {name: getattr(job, name) for name in names}


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
    """Re-queue failed jobs: the same logs, all tries, under the configuration as it is now."""
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
