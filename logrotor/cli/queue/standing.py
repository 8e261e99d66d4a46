"""``logrotor queue`` status, failed: how the queues stand, and what has failed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import Duration, config_option, json_option
from logrotor.cli.queue.control import engine_of, enter
from logrotor.cli.session import exit_codes

if TYPE_CHECKING:
    from logrotor.jobs.backlog import Failure, Processing, QueueStatus, Status
    from logrotor.jobs.progress import Progress, Worker

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
    help="With --check, per queue; in place of [queue.monitor].",
)
@click.option("--max-age", metavar="TIME", type=Duration(), help="With --check; in place of [queue.monitor].")
@click.option("-v", "--verbose", is_flag=True, help="List also hosts with nothing to see to.")
@json_option("Print everything as JSON.")
@click.pass_context
def status(
    ctx: click.Context,
    config: str | None,
    check: bool,
    max_pending: int | None,
    max_age: float | None,
    verbose: bool,
    as_json: bool,
) -> int:
    """Show the queues of all hosts, and the attempts of this one.

    pending: ready to be taken. reserved: at work. scheduled: waits for its next attempt. failed: see "queue failed".
    stuck: at work for longer than [queue.job] stuck_after. Throughput and times are those of this host in the last
    24 hours, from its history. A dash: not known here.

    --check judges what was done: it fails when no job was done for three ticks of [queue] schedule, whoever is to
    blame, and for failed and stuck jobs and queues over a limit of [queue.monitor]. The first job ever is awaited until
    the first tick of its worker. Where no job was done it also tries whether one can be queued.
    """
    from logrotor.clock import local_now
    from logrotor.jobs import backlog

    site, now = enter(ctx), local_now()
    found = backlog.status(site, engine_of(site), now)
    told = backlog.troubles(site, found, now, max_pending=max_pending, max_age=max_age)
    if check and any(each.kind == "stopped" for each in told):  # nothing is done: can a job be queued at all?
        undelivered = backlog.why_undelivered(site, engine_of(site), now)
        told += [undelivered] if undelivered is not None else []
    wrong = [str(each) for each in told]
    if as_json:
        from logrotor.model import as_json as plain

        output.write_json({**plain(found), "troubles": wrong})
    elif check:
        told_lines = (output.paint(text.printable(each), "bad") for each in wrong)
        output.write("\n".join(told_lines) or output.paint("All well.", "good"))
    else:
        output.write("\n".join(_status_lines(found, now, verbose)))
    return 1 if check and wrong else 0


def _status_lines(found: Status, now: datetime, verbose: bool) -> Iterator[str]:
    yield f"engine  {found.engine}, {text.printable(found.url)}"
    shown = [queue for queue in found.queues if verbose or queue.is_ours or _is_of_note(queue)]
    head = ("host", "pending", "reserved", "scheduled", "failed", "stuck", "oldest")
    rows = [head, *map(_row, shown)]
    if len(found.queues) > 1:
        rows.append(_sums(found))
    lines = output.table(rows, right=frozenset({1, 2, 3, 4, 5, 6}))
    yield output.paint(lines[0], "head")
    for queue, line in zip_longest(shown, lines[1:]):  # the sums have no queue
        yield output.paint(line, "bad") if queue is not None and (queue.failed or queue.stuck) else line
    if len(shown) < len(found.queues):
        yield f"{text.count(len(found.queues) - len(shown), 'host')} with nothing to see to (-v lists them)"
    yield _processing(found.processing)
    yield _progress(found.progress, now)
    yield from map(_worker, found.workers)


def _progress(found: Progress, now: datetime) -> str:
    def moment(seconds: float | None, otherwise: str) -> str:
        return otherwise if seconds is None else text.distance(datetime.fromtimestamp(seconds, now.tzinfo), now)

    last, tick = found.last_attempt, moment(found.next_tick, "none")
    ended = "none" if last is None else f"{last.ending}, {moment(last.ended, '-')}"
    which = "first" if last is None and found.deadline is not None else "next"
    return f"last attempt: {ended}; last job done: {moment(found.last_done, 'never')}; {which} tick: {tick}"


def _worker(found: Worker) -> str:
    engine = f" of {found.engine}" if found.engine else ""
    age = text.span(max(0.0, time.time() - found.since))
    if found.seen is not None:
        ago = text.span(max(0.0, time.time() - found.seen))
        return f"{found.role}{engine}: process {found.pid} of another pid namespace, up {age}, seen {ago} ago"
    memory = "-" if found.memory is None else text.size(found.memory)
    state = output.paint(found.state, "bad") if found.state == "stopped" else found.state
    return (
        f"{found.role}{engine}: process {found.pid}, {text.printable(found.user or '-')}, up {age}, {memory}, {state}"
    )


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
    rate = "" if times.per_hour is None else f"{times.per_hour:.0f} an hour, "
    return (
        f"last 24 h on this host: {text.count(times.attempts, 'attempt')} ({endings}), {rate}"
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
@click.option("-n", "--last", type=click.IntRange(0), default=20, show_default=True, help="Show only N causes; 0: all.")
@json_option("Print all of them as JSON, with their payloads.")
@click.pass_context
def failed(ctx: click.Context, config: str | None, last: int, as_json: bool) -> int:
    """List why jobs of this host failed for good: all attempts used up, or an error that another try cannot fix.

    Jobs that failed for one cause are one entry, the newest cause first. It is settled when a later job for the same
    logs was done, and forgotten a week after that. A failed job loses no line: the next one does its work.
    """
    from logrotor.clock import local_now
    from logrotor.jobs.backlog import failures

    site = enter(ctx)
    found = failures(site, engine_of(site))
    if as_json:
        from logrotor.model import as_json as plain

        output.write_json({"queue": site.queue, "failed": plain(found)})
    elif found:
        shown = found[:last] if last else found
        lines = [line for failure in shown for line in _failed_lines(failure, local_now())]
        more = [f"({text.count(len(found) - len(shown), 'more cause')}; -n 0 shows all)"] if found[len(shown) :] else []
        output.write("\n".join([*lines, *more]))
    else:
        output.write("No failed job.")
    return 0


def _failed_lines(failure: Failure, now: datetime) -> list[str]:
    def moment(seconds: float | None) -> str:
        if seconds is None:
            return "at an unknown time"
        return text.moment(datetime.fromtimestamp(seconds, now.tzinfo), now)

    when = moment(failure.last)
    if failure.count > 1:
        when = f"{text.count(failure.count, 'job')}, the first {moment(failure.first)}, the last {when}"
    tried = f"{text.count(failure.attempts, 'attempt')}, " if failure.attempts else ""
    settled = f"; settled {moment(failure.settled)}" if failure.settled is not None else ""
    head = f"{text.printable(failure.job)}  {when}, {tried}{failure.ending}{settled}"
    return [head, f"    {text.lines(failure.detail)}"]
