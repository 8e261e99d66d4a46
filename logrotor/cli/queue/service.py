"""``logrotor queue`` worker, schedule, unit: what runs for long, and what a process manager needs to start it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from logrotor.cli import output
from logrotor.cli.options import config_option, json_option
from logrotor.cli.queue.control import engine_of, enter
from logrotor.cli.session import Stop, exit_codes

if TYPE_CHECKING:
    from logrotor.jobs.engine import Site


def verbosity_options(command: Callable[..., object]) -> Callable[..., object]:
    """``-v`` and ``-q`` of what runs for long: info without them."""
    command = click.option("-q", "--quiet", count=True, help="Tell warnings and errors only; -qq errors only.")(command)
    return click.option("-v", "--verbose", count=True, help="Tell each step too.")(command)


def set_verbosity(verbose: int, quiet: int) -> None:
    """For this process and those that it starts."""
    from logrotor.jobs.task import VERBOSITY

    os.environ[VERBOSITY] = str(max(-1, min(2, 1 + verbose - quiet)))


# ---------------------------------------------------------------- worker


_WORKER_CODES = {
    "0": "was asked to stop, by SIGTERM or Ctrl-C",
    "1": "the worker has ended by itself, or the queue is out of reach",
    "130/143": "",
}
_WORKER_EPILOG = f"""\
\b
Examples:
  logrotor queue worker                work; something else dispatches
  logrotor queue worker --schedule     work and dispatch: a whole here in one process group
  logrotor queue unit --supervisor     the program that runs it under supervisord

{exit_codes(_WORKER_CODES)}
"""


@click.command(epilog=_WORKER_EPILOG)
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
        return _work_and__tick(site)
    command = engine_of(site).worker()
    os.environ.update(command.variables)
    return _become(command.argv)


def _become(argv: Sequence[str]) -> NoReturn:
    """Its command line is then the engine's own."""
    os.execvp(argv[0], list(argv))


def _work_and__tick(site: Site) -> int:
    """The worker as a child, the schedule here. If the worker ends, so do we: who started us starts both again."""
    from logrotor.jobs.dispatch import worker_beside

    with Stop() as stop:
        with worker_beside(site.file) as is_over:
            _tick(site, lambda seconds: is_over(seconds, stop))
        if stop():
            return 0
    click.echo("logrotor: the worker has ended; see its messages above", err=True)
    return 1


# ---------------------------------------------------------------- schedule


_SCHEDULE_EPILOG = f"""\
\b
Examples:
  logrotor queue schedule              beside a worker that runs elsewhere on this host
  logrotor queue worker --schedule     both in one

{exit_codes({"0": "was asked to stop, by SIGTERM or Ctrl-C", "130/143": ""})}
"""


@click.command(epilog=_SCHEDULE_EPILOG)
@config_option
@verbosity_options
@click.pass_context
def schedule(ctx: click.Context, config: str | None, verbose: int, quiet: int) -> int:
    """Queue a job at each tick of [queue] schedule, until it is asked to stop.

    One per host; a second one does no harm, its jobs find nothing to do. A queue out of reach is logged and tried again
    at the next tick.
    """
    set_verbosity(verbose, quiet)
    site = enter(ctx)
    with Stop() as stop:
        _tick(site, lambda seconds: _slept(seconds, stop))
    return 0


def _tick(site: Site, wait: Callable[[float], bool]) -> None:
    """The loop, until ``wait`` says that it is to end."""
    from logrotor.clock import local_now
    from logrotor.jobs.dispatch import by_schedule, dispatch_by

    dispatch_by(site, lambda: engine_of(site), ticks=by_schedule(site), now=local_now, wait=wait)


def _slept(seconds: float, stop: Stop) -> bool:
    until = time.monotonic() + seconds
    while not stop() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.5))
    return stop()


# ---------------------------------------------------------------- unit


_UNIT_EPILOG = f"""\
\b
Examples:
  logrotor queue unit --supervisor > /etc/supervisor/conf.d/log-rotation.conf && supervisorctl update
  logrotor queue unit --supervisor --log storage/logs/log-rotation-queue.log
  logrotor queue unit --systemd > /etc/systemd/system/log-rotation.service

{exit_codes({"1": "a name cannot be written in a unit"})}
"""


@click.command(epilog=_UNIT_EPILOG)
@config_option
@click.option("--supervisor", "kind", flag_value="supervisor", help="A program for supervisord.")
@click.option("--systemd", "kind", flag_value="systemd", help="A service for systemd.")
@click.option("--user", help="Who runs it; without it run_as, else the owner of the configuration.")
@json_option("Print the text as JSON.")
@click.option("--log", metavar="FILE", type=click.Path(), help="With --supervisor: its log, if logrotor rotates it.")
@click.pass_context
def unit(
    ctx: click.Context, config: str | None, kind: str | None, user: str | None, log: str | None, as_json: bool
) -> int:
    """Print what starts worker and schedule together, with the limits of the configuration.

    Printed, not installed. No password stands in it. "logrotor doctor --only queue" tells when it no longer fits.
    """
    from logrotor.jobs import units
    from logrotor.jobs.engine import find_engine

    if kind is None:
        raise click.UsageError("say for which manager: --supervisor or --systemd")
    if log is not None and kind != "supervisor":
        raise click.UsageError("--log is for --supervisor; systemd has the journal")
    site = enter(ctx)
    find_engine(site.file, site.settings.engine)  # one that is unknown would give a unit whose worker cannot start
    who = user or site.config.run_as or _owner(site.file)
    text = (
        units.supervisor_program(site, user=who, log=log)
        if kind == "supervisor"
        else units.systemd_unit(site, user=who)
    )
    if as_json:
        output.write_json({"manager": kind, "queue": site.queue, "user": who, "text": text})
    else:
        output.write(text.rstrip("\n"))
    return 0


def _owner(path: str) -> str:
    import pwd

    uid = os.stat(path).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
