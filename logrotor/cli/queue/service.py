"""``logrotor queue`` worker, schedule, unit: what runs for long, and what a process manager needs to start it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import Duration, config_option, json_option, load
from logrotor.cli.queue.control import engine_of, enter, say
from logrotor.cli.queue.entering import enter_to_serve, enter_when_usable, try_to_serve
from logrotor.cli.session import Stop, exit_codes

if TYPE_CHECKING:
    from logrotor.jobs.engine import Site
    from logrotor.jobs.serving import Duties
    from logrotor.jobs.units import Runner


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
    "0": "was asked to stop, by SIGTERM or Ctrl-C; with --once: the job was done, or none waited",
    "1": "the worker has ended by itself; with --once: the attempt failed, or the queue is out of reach",
    "2": "usage; with --once also a configuration with which nothing can run",
    "130/143": "",
}
_WORKER_EPILOG = f"""\
\b
Examples:
  logrotor queue worker                work; something else dispatches
  logrotor queue worker --schedule     work and dispatch: a whole here in one process group
  logrotor queue worker --once         do one job that waits, and end
  logrotor queue unit --supervisor     the program that runs it under supervisord

{exit_codes(_WORKER_CODES)}
"""


@click.command(epilog=_WORKER_EPILOG)
@config_option
@click.option("--schedule", "with_schedule", is_flag=True, help="Queue a job at each tick of [queue] schedule too.")
@click.option("--once", is_flag=True, help="Do one job that waits, and end; exit 0 if none does.")
@click.option("--max-time", metavar="TIME", type=Duration(), help="Begin anew after this long, between two jobs.")
@click.option("--max-jobs", metavar="N", type=click.IntRange(min=1), help="Begin anew after this many attempts.")
@click.option(
    "--tied-to", metavar="PID", type=int, hidden=True, help="Become the engine's worker; stop when this ends."
)
@click.option("--trial", is_flag=True, hidden=True, help="Would it start? Exit 0 if so.")
@verbosity_options
@click.pass_context
def worker(
    ctx: click.Context,
    config: str | None,
    with_schedule: bool,
    once: bool,
    max_time: float | None,
    max_jobs: int | None,
    tied_to: int | None,
    trial: bool,
    verbose: int,
    quiet: int,
) -> int:
    """Run the engine's own worker on the queue of this host, one job at a time.

    SIGTERM lets the job at work end, at most for [queue.job] timeout and a grace. The engine's worker is a child whose
    command line shows what is really used; "logrotor doctor --only queue" compares it with the configuration. "logrotor
    queue restart" has it begin anew, with the code and the configuration of now, under the same process id.

    A worker that cannot work yet, since its configuration, state directory or queue cannot be used, logs why, waits and
    tries again.
    """
    if once and (with_schedule or max_time is not None or max_jobs is not None):
        raise click.UsageError(
            "--once does one job and ends: it goes with neither --schedule nor --max-time, --max-jobs"
        )
    if tied_to is not None:  # its messages are those of who started it
        _become_engine(enter_to_serve(ctx), tied_to, once)
    set_verbosity(verbose, quiet)
    if trial:
        try_to_serve(ctx)
        return 0
    if once:
        return _work_once(enter_to_serve(ctx))
    from logrotor.jobs.serving import Duties

    return _serve(ctx, Duties(works=True, ticks=with_schedule, max_time=max_time, max_jobs=max_jobs))


def _become_engine(site: Site, parent: int, once: bool) -> NoReturn:
    """The engine's own worker takes our place, so its command line is the engine's own."""
    from logrotor.disk.calls import die_with
    from logrotor.jobs.task import ONCE

    die_with(parent, signal.SIGTERM)
    # Ctrl-C goes to the whole group, and engines end their job at once: the first process gets it, and sends us TERM.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # exec keeps it; a handler would be replaced
    command = engine_of(site).worker()
    os.environ.update(command.variables)
    if once:
        os.environ[ONCE] = str(os.getpid())
    os.execvp(command.argv[0], list(command.argv))


def _serve(ctx: click.Context, duties: Duties) -> int:
    """Until it is asked to stop. If the worker ends, so do we: who started us starts both again."""
    from logrotor.clock import local_now
    from logrotor.jobs.serving import End, begin_anew, serve
    from logrotor.jobs.task import tell

    with Stop() as stop:
        site = enter_when_usable(ctx, stop)
        if site is None:
            return 0
        end = serve(site, duties, stop, lambda: engine_of(site), local_now)
        if end is End.RENEWED and not stop():
            begin_anew()
    if end is End.STOPPED or stop():
        return 0
    if end is End.RENEWED:
        tell("problem.found", error="cannot begin anew: its program is gone")
    return 1


def _work_once(site: Site) -> int:
    from logrotor.jobs.serving import serve_once
    from logrotor.jobs.task import SUCCESSES

    with Stop() as stop:
        attempt = serve_once(site, engine_of(site), stop)
    if attempt is None:
        click.echo("logrotor: no job waits" if not stop() else "logrotor: stopped before a job began", err=True)
        return 0
    return 0 if attempt.ending in SUCCESSES else 1


# ---------------------------------------------------------------- schedule


_SCHEDULE_EPILOG = f"""\
\b
Examples:
  logrotor queue schedule              beside a worker that runs elsewhere on this host
  logrotor queue schedule --list       when does it tick?
  logrotor queue worker --schedule     both in one

{exit_codes({"0": "was asked to stop, by SIGTERM or Ctrl-C", "2": "usage", "130/143": ""})}
"""


@click.command(epilog=_SCHEDULE_EPILOG)
@config_option
@click.option("--list", "as_list", is_flag=True, help="Print the next ticks, and do nothing.")
@click.option(
    "-n", "--last", type=click.IntRange(1), default=5, show_default=True, help="With --list: how many of them."
)
@verbosity_options
@click.pass_context
def schedule(ctx: click.Context, config: str | None, verbose: int, quiet: int, as_list: bool, last: int) -> int:
    """Queue a job at each tick of [queue] schedule, until it is asked to stop.

    One per host; a second one does no harm, its jobs find nothing to do. A queue out of reach is logged and tried again
    at the next tick; a configuration or state directory that cannot be used is waited for.
    """
    if as_list:
        return _list(enter(ctx), last)
    from logrotor.jobs.serving import Duties

    set_verbosity(verbose, quiet)
    return _serve(ctx, Duties(works=False, ticks=True))


def _list(site: Site, number: int) -> int:
    """Print the ticks to come."""
    from logrotor.clock import local_now
    from logrotor.decide.schedule import next_slot

    now = tick = local_now()
    for _ in range(number):
        if (found := next_slot(site.settings.schedule, tick)) is None:
            break
        tick = found
        output.write(text.moment(tick, now))
    return 0


# ---------------------------------------------------------------- unit


_UNIT_EPILOG = f"""\
\b
Examples:
  logrotor queue unit --supervisor > /etc/supervisor/conf.d/log-rotation.conf && supervisorctl update
  logrotor queue unit --supervisor --log storage/logs/log-rotation-queue.log
  logrotor queue unit --systemd > /etc/systemd/system/log-rotation.service
  logrotor queue unit --systemd --template > /etc/systemd/system/logrotor-worker@.service

{exit_codes({"1": "a name cannot be written in a unit"})}
"""


@click.command(epilog=_UNIT_EPILOG)
@config_option
@click.option("--supervisor", "kind", flag_value="supervisor", help="A program for supervisord.")
@click.option("--systemd", "kind", flag_value="systemd", help="A service for systemd.")
@click.option(
    "--template", is_flag=True, help="With --systemd: logrotor-worker@NAME, for each NAME.toml in the folder."
)
@click.option("--user", help="Who runs it; without it run_as, else the owner of the configuration.")
@json_option("Print the text as JSON.")
@click.option("--log", metavar="FILE", type=click.Path(), help="With --supervisor: the file of its log.")
@click.pass_context
def unit(
    ctx: click.Context,
    config: str | None,
    kind: str | None,
    template: bool,
    user: str | None,
    log: str | None,
    as_json: bool,
) -> int:
    """Print what starts worker and schedule together, with the limits of the configuration.

    Printed, not installed. It names the user's HOME and the state directory, which supervisord would leave to chance.
    No password stands in it. "logrotor doctor --only queue" tells when it no longer fits.
    """
    from logrotor.jobs import units
    from logrotor.jobs.engine import find_engine, site_of

    if kind is None:
        raise click.UsageError("say for which manager: --supervisor or --systemd")
    if log is not None and kind != "supervisor":
        raise click.UsageError("--log is for --supervisor; systemd has the journal")
    if template and kind != "systemd":
        raise click.UsageError("--template is for --systemd; supervisord has none")
    site = site_of(load(ctx), os.environ)
    find_engine(site.file, site.settings.engine)  # one that is unknown would give a unit whose worker cannot start
    who = _runner(site, user or site.config.run_as or _owner(site))
    if kind == "supervisor":
        told = units.supervisor_program(site, who, log=log)
        if log is not None and (why := units.unclaimed(site, log)) is not None:
            say(str(why))
    else:
        told = units.systemd_template(site, who) if template else units.systemd_unit(site, who)
    if as_json:
        output.write_json({"manager": kind, "queue": site.queue, "user": who.user, "text": told})
    else:
        output.write(told.rstrip("\n"))
    return 0


def _runner(site: Site, user: str) -> Runner:
    """The user's home, and the state directory that the configuration means there."""
    from logrotor.config import load_config
    from logrotor.disk.identity import find_user
    from logrotor.errors import ConfigError
    from logrotor.jobs.units import Runner

    record = find_user(user)
    if record is None:
        return Runner(user)
    try:
        there = load_config(site.file, environ={"HOME": record.pw_dir}, euid=record.pw_uid)
    except ConfigError:  # of a user who may not read it; whoever starts it then says so
        return Runner(user, record.pw_dir)
    return Runner(user, record.pw_dir, there.state_dir)


def _owner(site: Site) -> str:
    """Of the state directory, where it is an ordinary user's; else of the configuration."""
    from logrotor.disk.trust import owner_of
    from logrotor.disk.walk import user_name

    uid = owner_of(site.config.state_dir)
    return user_name(os.stat(site.file).st_uid if uid is None else uid)
