"""``logrotor queue schedule``: a job at each tick."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from logrotor.cli.options import config_option
from logrotor.cli.queue.site import engine_of, enter, set_verbosity, verbosity_options
from logrotor.cli.session import Stop, exit_codes

if TYPE_CHECKING:
    from logrotor.jobs.site import Site

CODES = {"0": "was asked to stop, by SIGTERM or Ctrl-C", "130/143": ""}
EPILOG = f"""\
\b
Examples:
  logrotor queue schedule              beside a worker that runs elsewhere on this host
  logrotor queue worker --schedule     both in one

{exit_codes(CODES)}
"""


@click.command(epilog=EPILOG)
@config_option
@verbosity_options
@click.pass_context
def schedule(ctx: click.Context, config: str | None, verbose: int, quiet: int) -> int:
    """Queue a job at each tick of [queue] schedule, until it is asked to stop.

    One per host; a second one does no harm, its jobs find nothing to do. A queue out of reach is told and tried again
    at the next tick.
    """
    set_verbosity(verbose, quiet)
    site = enter(ctx)
    with Stop() as stop:
        tick(site, lambda seconds: _slept(seconds, stop))
    return 0


def tick(site: Site, wait: Callable[[float], bool]) -> None:
    """The loop, until ``wait`` says that it is to end."""
    from logrotor.clock import local_now
    from logrotor.jobs import scheduler

    scheduler.run(site, lambda: engine_of(site), ticks=scheduler.by_schedule(site), now=local_now, wait=wait)


def _slept(seconds: float, stop: Stop) -> bool:
    until = time.monotonic() + seconds
    while not stop() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.5))
    return stop()
