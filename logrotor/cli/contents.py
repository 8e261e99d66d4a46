"""``logrotor cat``, ``grep`` and ``verify``: what logs and their archives hold."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import F, complete_logs, config_option, json_option, load, moment_or_age
from logrotor.cli.session import Session, exit_codes, fail

if TYPE_CHECKING:
    from logrotor.model import Problem
    from logrotor.observe.deployment import Deployment
    from logrotor.observe.verifying import Verdict

CAT_CODES = {
    "1": "some archive is damaged, cannot be read, or was removed before it was",
    "2": "usage, no such log, or a configuration with which nothing can run",
}
CAT_EPILOG = f"""\
\b
Examples:
  logrotor cat storage/logs/laravel.log | less
  logrotor cat laravel.log --since 2d                    what was written in the last two days, and a bit more
  logrotor cat laravel.log --until "2026-11-20 08:00"

{exit_codes(CAT_CODES)}
"""


def reading_options(command: F) -> F:
    """What cat and grep have in common."""
    since = click.option("--since", metavar="TIME|AGE", help="Leave out archives rotated before this time or age (2d).")
    until = click.option("--until", metavar="TIME|AGE", help="Leave out what was begun after this time or age.")
    for decorate in (until, since, config_option):
        command = decorate(command)
    return command


class Damaged:
    """Tells of each damaged archive at once, and counts them."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, what: Problem) -> None:
        self.number += 1
        click.echo(f"logrotor: {text.lines(str(what))}", err=True)


class _Opened:
    """The deployment as it is, and its logs between two moments."""

    def __init__(self, ctx: click.Context, since: str | None, until: str | None) -> None:
        from logrotor.clock import local_now

        self._now = local_now()
        self._since = None if since is None else moment_or_age(since, self._now, "--since")
        self._until = None if until is None else moment_or_age(until, self._now, "--until")
        self._config = load(ctx)

    def look(self) -> Deployment:
        from logrotor.observe.deployment import Deployment

        return Deployment(self._config, self._now)

    def contents(self, log: str, damaged: Callable[[Problem], None]) -> Iterator[bytes]:
        """The bytes of a log, in order; ``damaged`` is told of archives that cannot be read to their end."""
        from logrotor.observe.reading import read

        return read(self.look, log, since=self._since, until=self._until, damaged=damaged)


@click.command(epilog=CAT_EPILOG)
@click.argument("log", shell_complete=complete_logs)
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
    output.pour(_Opened(ctx, since, until).contents(log, damaged))
    return 1 if damaged.number else 0


# ---------------------------------------------------------------- grep


GREP_EPILOG = """\
\b
Examples:
  logrotor grep 'MaxAttempts' laravel.log
  logrotor grep -i --count 'timeout|refused' default-queue.log --since 1d
  logrotor grep -F '[error]' storage/logs/laravel.log
  logrotor grep --rule workers ' (ERROR|CRITICAL) ' --since 1h       all logs of that rule

\b
Exit codes, as those of grep:
  0        some line was printed
  1        none was
  2        usage, or a log could not be read; the others were searched all the same
  130/143  interrupted by Ctrl-C or SIGTERM
"""


class _Grep(click.Command):
    """Whoever knows grep counts with -c."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, args)
            if not ctx.params["logs"] and not ctx.params["rule"] and not ctx.resilient_parsing:
                raise click.MissingParameter(ctx=ctx, param_type="argument", param_hint="'LOG' (or --rule NAME)")
            return rest
        except click.MissingParameter as error:
            given = ctx.params.get("config")
            if given is None:
                raise
            told = f"-c is the configuration ({given!r} here), as everywhere; to count lines: --count"
            raise click.UsageError(f"{error.format_message()} {told}", ctx) from None


@click.command(cls=_Grep, epilog=GREP_EPILOG)
@click.argument("pattern")
@click.argument("logs", nargs=-1, metavar="LOG...", shell_complete=complete_logs)
@reading_options
@click.option("--rule", metavar="NAME", multiple=True, help="All logs of this rule; may be given several times.")
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
    logs: tuple[str, ...],
    rule: tuple[str, ...],
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
    next, as after a copytruncate, is one line. A damaged archive is told and searched as far as it can be read. With
    several logs, or --rule, each line begins with the path of its log, as from grep.
    """
    ctx.ensure_object(Session).verbosity = verbose
    wanted = _compiled(pattern, ignore_case=ignore_case, fixed=fixed)
    search = _Search(ctx, _Opened(ctx, since, until), partial(_Matches, wanted, invert=invert, numbered=numbered))
    with search.told():
        named = [*logs, *search.of_rules(rule)]
        for log in dict.fromkeys(named):
            search.one(log, count=count, head=f"{log}:" if len(named) > 1 or rule else "")
    return 2 if search.failed else 0 if search.found else 1


class _Search:
    """Log for log; one that cannot be read holds up no other."""

    def __init__(self, ctx: click.Context, opened: _Opened, matches: Callable[[str], _Matches]) -> None:
        self._session, self._opened, self._matches = ctx.ensure_object(Session), opened, matches
        self.found, self.failed = 0, False

    def of_rules(self, names: tuple[str, ...]) -> Iterator[str]:
        """The paths of their logs; where there may be more is told. Raises UnknownSelection."""
        from logrotor.observe.reading import of_rule

        damaged = Damaged()
        for name in names:
            found, unseen = of_rule(self._opened.look(), name)
            yield from found
            for problem in unseen:
                damaged(problem)
        self.failed = self.failed or damaged.number > 0

    def one(self, log: str, *, count: bool, head: str) -> None:
        damaged, found = Damaged(), self._matches("" if count else head)
        with self.told():
            matching = found.of(self._opened.contents(log, damaged))
            if count:
                output.write(f"{head}{sum(1 for _ in matching)}")
            else:
                output.pour(matching)
        self.found += found.number
        self.failed = self.failed or damaged.number > 0

    @contextmanager
    def told(self) -> Iterator[None]:
        """Exit 1 would say that nothing was found."""
        try:
            yield
        except click.UsageError:
            raise
        except click.ClickException as error:
            error.show()
            self.failed = True
        except Exception as error:
            fail(error, self._session)
            self.failed = True


def _compiled(pattern: str, *, ignore_case: bool, fixed: bool) -> re.Pattern[bytes]:
    raw = os.fsencode(pattern)
    try:
        return re.compile(re.escape(raw) if fixed else raw, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise click.BadParameter(
            f"{pattern!r}: {error}; correct it, or give -F for plain text", param_hint="PATTERN"
        ) from None


class _Matches:
    """Counts what it lets through, and puts ``head`` before it."""

    def __init__(self, wanted: re.Pattern[bytes], head: str, *, invert: bool, numbered: bool) -> None:
        self._wanted, self._head, self._invert, self._numbered = wanted, os.fsencode(head), invert, numbered
        self.number = 0

    def of(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        from logrotor.observe.reading import lines

        for at, line in enumerate(lines(chunks), 1):
            shown = line.removesuffix(b"\n")
            if (self._wanted.search(shown) is None) is self._invert:
                self.number += 1
                number = b"%d:" % at if self._numbered else b""
                yield self._head + number + shown + b"\n"  # the last one too, as grep does


# ---------------------------------------------------------------- verify


VERIFY_CODES = {
    "0": "no archive is damaged, changed, misplaced or missing; one without a record counts as none of them",
    "1": "some archive is, or cannot be read",
    "2": "usage, no such log, or a configuration with which nothing can run",
}
VERIFY_EPILOG = f"""\
\b
Examples:
  logrotor verify                      all archives; prints those that are not as recorded
  logrotor verify storage/logs/app.log -v
  logrotor verify --json | jq -r '.archives[] | select(.problem) | .path'
  logrotor verify --accept app.log     an archive was removed or changed on purpose

{exit_codes(VERIFY_CODES)}
"""


@click.command(epilog=VERIFY_EPILOG)
@click.argument("log", required=False, metavar="[LOG]", shell_complete=complete_logs)
@config_option
@json_option("Print a verdict on each archive as JSON.")
@click.option(
    "--accept", is_flag=True, help="Record what is changed, misplaced, missing or has no record as it is now."
)
@click.option("-v", "--verbose", count=True, help="List the sound ones too; -vv: a traceback if logrotor fails.")
@click.pass_context
def verify(
    ctx: click.Context, /, config: str | None, log: str | None, as_json: bool, accept: bool, verbose: int
) -> int:
    """Read every archive, or those of one LOG, and compare each with its record.

    The run that compresses an archive records its bytes, its lines and a hash of them (XXH3, 128 bits). A plain archive
    is recorded by the first verify that reads it; until then it has no record. A compressed one without a record, say
    as the history was lost, is recorded with --accept only. Archives that are missing, or have each other's names, are
    found as well. Files are not changed.
    """
    from logrotor.clock import local_now
    from logrotor.decide.evidence import State
    from logrotor.observe.deployment import Deployment
    from logrotor.observe.verifying import verify as verdicts

    ctx.ensure_object(Session).verbosity = verbose
    loaded = load(ctx)
    found: list[Verdict] = []
    for verdict in verdicts(lambda: Deployment(loaded, local_now()), log, accept=accept):
        found.append(verdict)
        if not as_json and (verdict.problem or verbose or verdict.state is not State.SOUND):
            output.write(_line(verdict))
    accepted = (State.CHANGED, State.MISPLACED, State.MISSING) if accept else ()
    code = 1 if any(verdict.problem and verdict.state not in accepted for verdict in found) else 0
    if as_json:
        output.write_json({"exit_code": code, "archives": [_in_json(verdict) for verdict in found]})
    else:
        output.write(_total(found))
    return code


def _line(verdict: Verdict) -> str:
    path = text.printable(verdict.path)
    if verdict.problem is not None:
        return f"{path}: {verdict.state.value}: {text.lines(verdict.problem.under(verdict.path).words)}"
    size = f"{text.size(verdict.bytes or 0)} in {text.count(verdict.lines or 0, 'line')}"
    return f"{path}: {verdict.state.value}: {size}"


def _total(found: list[Verdict]) -> str:
    """How many of each state, the good ones first."""
    from logrotor.decide.evidence import State

    counts = {state: sum(1 for verdict in found if verdict.state is state) for state in State}
    shown = [f"{number} {state.value}" for state, number in counts.items() if number or state is State.SOUND]
    archives = sum(1 for verdict in found if verdict.log)
    return f"{text.count(archives, 'archive')}: {', '.join(shown)}."


def _in_json(verdict: Verdict) -> dict[str, Any]:
    from logrotor.model import as_json

    problem = None if verdict.problem is None else verdict.problem.under(verdict.path).words
    advice = None if verdict.problem is None else verdict.problem.advice
    return {**as_json(verdict), "problem": problem, "advice": advice}
