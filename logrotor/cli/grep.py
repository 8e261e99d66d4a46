"""``logrotor grep``: lines of a log across its archives."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import click

from logrotor.cli import streams
from logrotor.cli.cat import Damaged, contents, reading_options
from logrotor.cli.session import Session

EPILOG = """\
\b
Examples:
  logrotor grep 'MaxAttempts' laravel.log
  logrotor grep -i --count 'timeout|refused' default-queue.log --since 1d
  logrotor grep -F '[error]' storage/logs/laravel.log

\b
Exit codes, as those of grep:
  0        some line was printed
  1        none was
  2        usage, or the log could not be read
  130/143  interrupted by Ctrl-C or SIGTERM
"""


@click.command(epilog=EPILOG)
@click.argument("pattern")
@reading_options
@click.option("-i", "--ignore-case", is_flag=True, help="Upper and lower case are the same (ASCII).")
@click.option("-F", "--fixed", is_flag=True, help="PATTERN is text, not an expression.")
@click.option("-n", "--line-number", "numbered", is_flag=True, help="The number of each line, from 1, in all of LOG.")
@click.option("-v", "--invert", is_flag=True, help="Lines that do not match.")
@click.option("--count", is_flag=True, help="Print only how many (-c is the configuration, here as everywhere).")
@click.option("--verbose", count=True, help="Twice: a traceback if logrotor fails.")
@click.pass_context
def grep(
    ctx: click.Context,
    /,
    pattern: str,
    log: str,
    since: str | None,
    until: str | None,
    verbose: int,
    ignore_case: bool,
    fixed: bool,
    numbered: bool,
    invert: bool,
    count: bool,
    **_: Any,
) -> int:
    """Print the lines of LOG and its archives that match PATTERN, the oldest first.

    PATTERN is a regular expression of Python, matched against bytes. A line that begins in one archive and ends in the
    next, as after a copytruncate, is one line. A damaged archive is told and searched as far as it can be read.
    """
    ctx.ensure_object(Session).verbosity = verbose
    wanted = _compiled(pattern, ignore_case=ignore_case, fixed=fixed)
    found, damaged = _Matches(wanted, invert=invert, numbered=numbered), Damaged()
    try:
        matching = found.of(contents(ctx, log, since, until, damaged))
        if count:
            streams.write(str(sum(1 for _ in matching)))
        else:
            streams.pour(matching)
    except click.UsageError:
        raise
    except click.ClickException as error:  # 1 would say that nothing was found
        error.show()
        return 2
    except Exception as error:
        from logrotor.cli.failures import tell

        tell(error, ctx.ensure_object(Session))
        return 2
    if damaged.number:
        return 2
    return 0 if found.number else 1


def _compiled(pattern: str, *, ignore_case: bool, fixed: bool) -> re.Pattern[bytes]:
    raw = os.fsencode(pattern)
    try:
        return re.compile(re.escape(raw) if fixed else raw, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise click.BadParameter(
            f"{pattern!r}: {error}; correct it, or give -F for plain text", param_hint="PATTERN"
        ) from None


class _Matches:
    """Counts what it lets through."""

    def __init__(self, wanted: re.Pattern[bytes], *, invert: bool, numbered: bool) -> None:
        self._wanted, self._invert, self._numbered = wanted, invert, numbered
        self.number = 0

    def of(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        from logrotor.observe.reading import lines

        for at, line in enumerate(lines(chunks), 1):
            text = line.removesuffix(b"\n")
            if (self._wanted.search(text) is None) is self._invert:
                self.number += 1
                yield (b"%d:" % at if self._numbered else b"") + text + b"\n"  # the last one too, as grep does
