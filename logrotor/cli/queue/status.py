"""``logrotor queue status``: what is pending, at work, failed or stuck."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import Duration, config_option, json_option
from logrotor.cli.queue.site import engine_of, enter
from logrotor.cli.session import exit_codes

if TYPE_CHECKING:
    from logrotor.jobs.status import Processing, QueueStatus, Status

CODES = {"1": "the queue is out of reach; with --check also: a job failed or is stuck, or a queue is over a limit"}
EPILOG = f"""\
\b
Examples:
  logrotor queue status
  logrotor queue status --check --max-pending 5 --max-age 10m    (Nagios and its like: exit 1 and why)
  logrotor queue status --json | jq '[.queues[].pending] | add'

{exit_codes(CODES)}
"""


@click.command(epilog=EPILOG)
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
    from logrotor.jobs.status import look, troubles

    site = enter(ctx)
    found = look(site, engine_of(site), time.time())
    wrong = troubles(found, max_pending=max_pending, max_age=max_age)
    if as_json:
        from logrotor.model import as_json as plain

        output.write_json({**plain(found), "troubles": wrong})
    elif check:
        output.write("\n".join(map(text.printable, wrong)) or "All well.")
    else:
        output.write("\n".join(_lines(found, verbose)))
    return 1 if check and wrong else 0


def _lines(found: Status, verbose: bool) -> Iterator[str]:
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
