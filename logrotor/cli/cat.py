"""``logrotor cat`` and what it shares with ``logrotor grep``: a log across its archives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from logrotor.cli import streams, text
from logrotor.cli.options import F, complete_logs, config_option, load
from logrotor.cli.session import Session, become, exit_codes

CODES = {
    "1": "some archive is damaged or cannot be read",
    "2": "usage, no such log, or a configuration with which nothing can run",
}
EPILOG = f"""\
\b
Examples:
  logrotor cat storage/logs/laravel.log | less
  logrotor cat laravel.log --since 2d                    what was written in the last two days, and a bit more
  logrotor cat laravel.log --until "2026-11-20 08:00"

{exit_codes(CODES)}
"""


def reading_options(command: F) -> F:
    """What cat and grep have in common."""
    since = click.option("--since", metavar="TIME|AGE", help="Leave out archives rotated before this time or age (2d).")
    until = click.option("--until", metavar="TIME|AGE", help="Leave out what was begun after this time or age.")
    argument = click.argument("log", shell_complete=complete_logs)
    for decorate in (until, since, config_option, argument):
        command = decorate(command)
    return command


class Damaged:
    """Tells of each damaged archive at once, and counts them."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, what: str) -> None:
        self.number += 1
        click.echo(f"logrotor: {text.lines(what)}", err=True)


def contents(
    ctx: click.Context, log: str, since: str | None, until: str | None, damaged: Callable[[str], None]
) -> Iterator[bytes]:
    """The bytes of the log, in order; ``damaged`` is told of archives that cannot be read to their end."""
    from logrotor.cli.history import moment_or_age
    from logrotor.clock import local_now
    from logrotor.observe.reading import read
    from logrotor.observe.site import Site

    now = local_now()
    first = None if since is None else moment_or_age(since, now, "--since")
    last = None if until is None else moment_or_age(until, now, "--until")
    loaded = load(ctx)
    become(loaded)
    return read(lambda: Site(loaded, now), log, since=first, until=last, damaged=damaged)


@click.command(epilog=EPILOG)
@reading_options
@click.option("-v", "verbose", count=True, help="-vv: a traceback if logrotor fails.")
@click.pass_context
def cat(ctx: click.Context, /, log: str, since: str | None, until: str | None, verbose: int, **_: Any) -> int:
    """Print LOG (its path or file name) with all its archives, the oldest first, byte for byte.

    With --since and --until whole files are left out, by the times of their rotations: what is printed begins with the
    archive that holds the first moment and ends with the one that holds the last. A damaged archive is told, printed as
    far as it can be read, and the next one follows; the exit code is 1 then.
    """
    ctx.ensure_object(Session).verbosity = verbose
    damaged = Damaged()
    streams.pour(contents(ctx, log, since, until, damaged))
    return 1 if damaged.number else 0
