"""``logrotor watch``: the process around :meth:`Rotator.watch`. Its signals, its manager, its sign of life."""

from __future__ import annotations

import gc
import os
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import click

from logrotor.cli import output
from logrotor.cli.options import announce, config_option, config_path
from logrotor.cli.session import Entered, Session, enter, exit_codes
from logrotor.cli.supervision import Bell, Manager
from logrotor.cli.voice import Voice, problems_of
from logrotor.errors import ConfigError, Locked, LogrotorError
from logrotor.watch.loop import Outside, Standing, Wish

if TYPE_CHECKING:
    from logrotor.disk.heartbeat import Heart
    from logrotor.model import Config, Report

_BEAT = 5.0  # seconds between two signs of life in the state directory
_CODE = 30.0  # seconds between two looks whether there is a new logrotor
_TRIAL = 20.0  # seconds for it to start
_CODES = {
    "0": "was asked to stop, by SIGTERM or Ctrl-C",
    "2": "usage, or a configuration with which nothing can run",
    "3": "another watch has the same state directory",
    "130/143": "ended at once, by a second Ctrl-C or SIGTERM",
}
_EPILOG = f"""\
\b
Signals:
  HUP   read the configuration again; a wrong one is reported, and the old one stays in force
  USR1  look at everything now
  TERM  stop; what is under way is finished or undone

\b
Examples:
  logrotor watch                        in a terminal; Ctrl-C ends it
  logrotor watch -c /etc/logrotor.toml  in a container, or under supervisord
  logrotor status --check               is all well, the watch included? (a health check)
  kill -HUP $(jq .pid STATE_DIR/watch.json)

Under systemd it is a service with Type=notify, which reports when it is ready, how it stands, and that it is alive
(WatchdogSec=).

{exit_codes(_CODES)}
"""


@click.command(epilog=_EPILOG)
@config_option
@click.option("-v", "--verbose", count=True, help="Print each run, also one that finds nothing to do; -vv: each step.")
@click.option("-q", "--quiet", count=True, help="Print warnings and errors only; -qq errors only.")
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    show_default=True,
    help="Of the messages on stderr; auto: for people on a terminal, else JSON, one object a line.",
)
@click.option("--trial", is_flag=True, hidden=True, help="Would it start? Exit 0 if so.")
@click.pass_context
def watch(ctx: click.Context, /, config: str | None, verbose: int, quiet: int, log_format: str, trial: bool) -> int:
    """Stay, and rotate each log as soon as it is due; in place of a cron line, a timer or a queue.

    A log that grows is looked at again by the time that it may reach max_size, and taken within half a second of it; a
    schedule is kept at its slot. Every minute, or up to five where that would cost more than 0.1 % of a processor,
    everything is looked at as "logrotor run" does: retention, deferred archives, hooks that failed. Runs of others
    beside it do no harm.
    """
    session = ctx.ensure_object(Session)
    session.verbosity = min(2, 1 + verbose) - quiet
    session.json_messages = log_format == "json" or (log_format == "auto" and not output.is_terminal(sys.stderr))
    with Bell() as bell:  # before the configuration is read: a signal is no reason to die, as soon as that can be said
        entered = enter(config_path(ctx), asks=False)
        announce(entered)
        from logrotor.disk import state

        state.prepare(entered.config.state_dir, entered.config.state_dir_origin)
        return 0 if trial else _serve(session, entered, bell, all_of_it=verbose > 0)


def _serve(session: Session, entered: Entered, bell: Bell, *, all_of_it: bool) -> int:
    from logrotor.cli.output import EventPrinter
    from logrotor.disk.heartbeat import Heart

    printer = EventPrinter(session.verbosity, as_json=session.json_messages, bound=session.bound)
    manager, voice = Manager(os.environ), Voice(printer, entered.config, all_of_it=all_of_it)
    heart = Heart(entered.config.state_dir)
    with closing(_Process(entered.config, heart, bell, manager, voice)) as process:
        try:
            return process.serve()
        except KeyboardInterrupt:
            return 128 + bell.signum


class _Process(Outside):
    """This process while it watches."""

    def __init__(self, config: Config, heart: Heart, bell: Bell, manager: Manager, voice: Voice) -> None:
        self._config, self._heart, self._bell, self._manager, self._voice = config, heart, bell, manager, voice
        self._since, self._beat_at = time.time(), float("-inf")
        self._next: Config | None = None  # that was read again
        self._program, self._program_at = _program(), time.monotonic() + _CODE
        self._seen = self._program
        self._begins_anew = False
        self._untidy = 0  # beats until the memory of the last run is given back

    def serve(self) -> int:
        """Until it is asked to stop."""
        from logrotor.rotator import Rotator

        self._say_started()
        while not self._bell.is_set():
            Rotator(self._config, on_event=self._voice).watch(self._bell, self)
            if self._begins_anew and not self._bell.is_set():
                self._begin_anew()
            elif self._next is not None:
                self._config, self._next = self._next, None
                self._voice.config, self._since = self._config, time.time()
                self._say_started()
        self._manager.send("STOPPING=1")
        self._voice.say("watch.ended", reason="was asked to stop")
        return 0

    def close(self) -> None:
        self._heart.stop()

    def _say_started(self) -> None:
        rules = [spec.name for spec in self._config.logs]
        file = self._config.files[0] if self._config.files else ""
        self._voice.say("watch.started", config=file, process=os.getpid(), rules=len(rules))
        self._manager.ready(f"Watching the logs of {len(rules)} rules")

    # ------------------------------------------------------------ asked, and told, by the watch

    def beat(self, standing: Standing) -> Wish:
        now = time.monotonic()
        if now - self._beat_at >= _BEAT:
            self._beat_at = now
            self._sign(standing)
        failed = f", {standing.failed} problems" if standing.failed else ""
        self._manager.beat(f"{standing.logs} logs, {standing.taken} rotations since the start{failed}")
        self._tidy()
        if self._bell.wants_reload:
            self._bell.wants_reload = False
            self._read_again()
        if now >= self._program_at or self._bell.wants_look:
            self._program_at = now + _CODE
            self._look_for_new_program()
        if self._next is not None or self._begins_anew:
            return Wish.LEAVE
        looks, self._bell.wants_look = self._bell.wants_look, False
        return Wish.LOOK if looks else Wish.GO_ON

    def ended(self, report: Report, *, whole: bool) -> None:
        self._voice.settle(whole=whole and not report.interrupted)
        if whole:
            from logrotor.cli.rotation import tell_others

            tell_others(self._config, report, self._voice, None)
            self._voice.settle(whole=False)

        self._untidy = 2  # by then nobody has its report any more

    def _tidy(self) -> None:
        """A survey of many logs is large, and the next one mostly a minute away."""
        if self._untidy == 1:
            from logrotor.disk import calls

            gc.collect()
            calls.trim_memory()
        self._untidy = max(0, self._untidy - 1)

    def failed(self, error: Exception) -> None:
        if not isinstance(error, Locked):
            self._voice.complain(error)
        elif error.problem.kind == "stopped":
            from logrotor.cli.rotation import tell_held

            tell_held(error.problem, self._voice)
            self._voice.settle(whole=False)

    def _sign(self, standing: Standing) -> None:
        from logrotor.disk import signin
        from logrotor.disk.heartbeat import Beat

        with suppress(OSError):  # without /proc nobody could tell by it whether we live
            pid, born, space = signin.itself()
            self._heart.beat(
                Beat(pid=pid, born=born, space=space, since=self._since, at=time.time(), logs=standing.logs)
            )

    # ------------------------------------------------------------ the configuration, and the program, of now

    def _read_again(self) -> None:
        """Have the new one, or say what is wrong with it and keep the old one."""
        self._manager.reloading()
        try:
            self._next = self._read()
        except LogrotorError as error:
            for problem in problems_of(error):
                self._voice.say("watch.refused", error=str(problem))
            self._manager.ready("Goes on with the old configuration: the new one is wrong")

    def _read(self) -> Config:
        from logrotor.config import load_config
        from logrotor.disk import state
        from logrotor.disk.heartbeat import Heart

        read = load_config(self._config.files[0], environ=os.environ)
        if read.problems:  # a run would leave out those rules; here all of them are in force as they were
            raise ConfigError(read.problems)
        state.prepare(read.state_dir, read.state_dir_origin)
        if os.path.realpath(read.state_dir) != os.path.realpath(self._config.state_dir):
            heart = Heart(read.state_dir)
            self._heart.stop()
            self._heart, self._beat_at = heart, float("-inf")
        return read

    def _look_for_new_program(self) -> None:
        """What a running program has not imported yet would come from files of another version."""
        found = _program()
        is_settled, self._seen = found == self._seen, found  # else it is being installed just now
        if found == self._program or not is_settled:
            return
        why_not = _why_not(self._config)
        if why_not:
            self._voice.say("watch.refused", error=f"logrotor has changed on the disk and would not start: {why_not}")
            self._program = found
        else:
            self._begins_anew = True

    def _begin_anew(self) -> None:
        """Become the program of now, with the same pid and arguments."""
        self._manager.reloading()
        self._voice.say("watch.ended", reason="begins anew, since logrotor has changed on the disk")
        Bell.hold()
        with suppress(OSError):
            os.execv(sys.executable, sys.orig_argv)
        Bell.release()
        self._begins_anew, self._program = False, _program()


def _program() -> float:
    """Changes whenever a file of logrotor does."""
    import logrotor

    total = 0
    for folder, _, names in os.walk(os.path.dirname(logrotor.__file__)):
        for name in names:
            if name.endswith(".py"):
                with suppress(OSError):
                    status = os.stat(os.path.join(folder, name))
                    total ^= hash((folder, name, status.st_mtime_ns, status.st_size, status.st_ino))
    return total


def _why_not(config: Config) -> str:
    from logrotor.disk import programs

    argv = [*programs.ourselves(), "watch", "--trial", "-c", config.files[0]]
    try:
        tried = programs.run(argv, timeout=_TRIAL, stop=lambda: False)
    except OSError as error:
        return str(error)
    return "" if tried.status == 0 else tried.output or tried.cut_short or f"it ended with {tried.status}"
