"""``logrotor queue worker``: the engine's own worker with the arguments that fit; with --schedule also the ticks."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from logrotor.cli.options import config_option
from logrotor.cli.queue.schedule import tick
from logrotor.cli.queue.site import engine_of, enter, set_verbosity, verbosity_options
from logrotor.cli.session import Stop, exit_codes

if TYPE_CHECKING:
    from logrotor.jobs.site import Site

CODES = {
    "0": "was asked to stop, by SIGTERM or Ctrl-C",
    "1": "the worker has ended by itself, or the queue is out of reach",
    "130/143": "",
}
EPILOG = f"""\
\b
Examples:
  logrotor queue worker                work; something else dispatches
  logrotor queue worker --schedule     work and dispatch: a whole deployment in one process group
  logrotor queue unit --supervisor     the program that runs it under supervisord

{exit_codes(CODES)}
"""


@click.command(epilog=EPILOG)
@config_option
@click.option("--schedule", "with_schedule", is_flag=True, help="Queue a job at each tick of [queue] schedule too.")
@click.option("--tied-to", metavar="PID", type=int, hidden=True, help="Stop when this process is gone.")
@verbosity_options
@click.pass_context
def worker(
    ctx: click.Context, config: str | None, with_schedule: bool, tied_to: int | None, verbose: int, quiet: int
) -> int:
    """Run the engine's own worker on the queue of this host, one job at a time.

    SIGTERM lets the job at work end, at most for [queue.job] timeout and a grace. The process becomes the engine's
    worker, so its command line shows what is really used; "logrotor doctor --only queue" compares it with the
    configuration.
    """
    set_verbosity(verbose, quiet)
    site = enter(ctx)
    if tied_to is not None:
        from logrotor.disk.calls import die_with

        die_with(tied_to, signal.SIGTERM)
        # Ctrl-C goes to the whole group, and engines end their job at once: the schedule gets it, and sends us TERM.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # exec keeps it; a handler would be replaced
    if with_schedule:
        return _work_and_tick(site)
    command = engine_of(site).worker()
    os.environ.update(command.variables)
    return _become(command.argv)


def _become(argv: Sequence[str]) -> NoReturn:
    """Its command line is then the engine's own."""
    os.execvp(argv[0], list(argv))


def _work_and_tick(site: Site) -> int:
    """The worker as a child, the schedule here. If the worker ends, so do we: who started us starts both again."""
    from logrotor.jobs.beside import worker_beside

    with Stop() as stop:
        with worker_beside(site.file) as is_over:
            tick(site, lambda seconds: is_over(seconds, stop))
        if stop():
            return 0
    click.echo("logrotor: the worker has ended; see its messages above", err=True)
    return 1
