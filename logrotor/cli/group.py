"""The commands of the command line. Each is a module that is imported when it is called, and pays for itself only."""

from __future__ import annotations

from collections.abc import Sequence

import click

import logrotor
from logrotor.cli.options import LazyGroup, config_option
from logrotor.cli.session import EXIT_CODES, Session

# name -> (module, its line in the list of commands); the module holds the command under that name
COMMANDS = {
    "run": ("logrotor.cli.planning", "Rotate what is due, retire and compress archives."),
    "watch": ("logrotor.cli.watching", "Stay, and rotate each log as soon as it is due."),
    "plan": ("logrotor.cli.planning", "Show what a run would do and why; changes nothing."),
    "queue": ("logrotor.cli.queue", "Rotate as a job on a queue: worker, status, failed jobs, units."),
    "init": ("logrotor.cli.init", "Write a configuration for the logs that are found."),
    "check": ("logrotor.cli.check", "Check the configuration and show which one is used."),
    "status": ("logrotor.cli.overview", "Show how every log stands; --check for a monitoring system."),
    "history": ("logrotor.cli.past_runs", "Show what past runs did, and why."),
    "verify": ("logrotor.cli.contents", "Read every archive through, and report the damaged."),
    "cat": ("logrotor.cli.contents", "Print a log across its archives, the oldest first."),
    "grep": ("logrotor.cli.contents", "Search a log across its archives."),
    "metrics": ("logrotor.cli.overview", "Write the metrics for Prometheus, whether a run takes place or not."),
    "page": ("logrotor.cli.overview", "Write a page that shows how everything stands."),
    "import": ("logrotor.cli.moving", "Make a configuration out of logrotate's."),
    "doctor": ("logrotor.cli.findings", "Find what is wrong, say what to do, and fix what is safe to fix."),
    "reference": ("logrotor.cli.manual", "Print what a key, an event or a metric means."),
    "man": ("logrotor.cli.manual", "Print the manual pages, logrotor(1) and logrotor.toml(5)."),
    "version": ("logrotor.cli.about", "Show the versions and the configuration that would be used."),
    "completion": ("logrotor.cli.about", "Print the completion script for bash, zsh or fish."),
    "help": ("logrotor.cli.about", "Show the help of a command."),
}

GROUP_EPILOG = f"""\
\b
Examples:
  logrotor init /srv/app/logs         write a configuration for the logs there
  logrotor check                      is the configuration right?
  logrotor plan                       what would happen now, and why?
  logrotor run                        do it (from cron, a timer or a queue)
  logrotor plan /var/log/app/app.log  why is this log (not) rotated?

{EXIT_CODES}
"""


@click.group(
    cls=LazyGroup, commands=COMMANDS, epilog=GROUP_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@config_option
@click.version_option(logrotor.__version__, "-V", "--version", prog_name="logrotor")
def cli(config: str | None) -> None:
    """Rotate log files without root, and lose no line whatever fails.

    logrotor moves a log aside when it is too large or its time has come, asks the writer to reopen it, compresses the
    archive once nobody writes it any more, and removes archives that retention no longer keeps. Killed at any point,
    the next run finishes the work. The configuration is the one given with -c, else $LOGROTOR_CONFIG, else the first of
    ./logrotor.toml, ~/.config/logrotor/logrotor.toml, /etc/logrotor/logrotor.toml and /etc/logrotor.toml;
    "logrotor check" says which one it is.
    """


def call(args: Sequence[str], session: Session) -> int:
    """Run one command line and return its exit code; usage errors are told on stderr, all others raised."""
    try:
        return int(cli.main(list(args), prog_name="logrotor", standalone_mode=False, obj=session) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
