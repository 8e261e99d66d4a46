"""``logrotor init``: write a configuration for the logs that are found, with what was found out about their writers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

import click
from msgspec.structs import replace

from logrotor import text
from logrotor.cli import output
from logrotor.cli.drafted import Answers, document, rules, told, why
from logrotor.cli.options import config_option, config_path
from logrotor.cli.session import exit_codes
from logrotor.errors import LogrotorError
from logrotor.model import ConfigProblem, Problem, ReopenTarget
from logrotor.observe.behaviour import Kind, Log

EPILOG = f"""\
\b
Examples:
  logrotor init                              what processes of this user append to
  logrotor init /srv/app/storage/logs        the logs of a directory, and of those below it
  logrotor init -c /etc/logrotor.toml --yes /var/log/nginx
  logrotor init -c - /var/log/nginx          to standard output

{exit_codes({"1": "no log was found, or the file exists or cannot be written"})}
"""
_TRIES = 5  # what a check refuses is taken out, and the rest is checked again


@click.command(epilog=EPILOG)
@click.argument("places", nargs=-1, metavar="[FILE|DIRECTORY]...", type=click.Path(exists=True))
@config_option
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@click.pass_context
def init(ctx: click.Context, places: tuple[str, ...], config: str | None, yes: bool) -> int:
    """Write a commented configuration for the logs that are found, by default ./logrotor.toml.

    Without arguments these are the files that processes of this user have open for appending and that look like logs.
    For each, /proc tells who writes it: a daemon that reopens its logs on a signal, supervisord, a program that stays
    with its file, one that rotates by itself. What would be refused is written as a comment that says why, so what is
    written passes "logrotor check". Asks on a terminal; never overwrites a file.
    """
    from logrotor.observe.scouting import scout

    file = config_path(ctx) or "logrotor.toml"
    if file != "-" and os.path.lexists(file):
        raise click.ClickException(f"{text.printable(file)} exists, and is not overwritten; name another with -c")
    try:
        found = scout(places)
    except (OSError, LogrotorError) as error:
        raise click.ClickException(f"cannot look for logs: {error}") from error
    logs = _with_targets_apart(found.logs)
    asks = not yes and file != "-" and output.is_terminal(sys.stdin) and output.is_terminal(sys.stdout)
    logs, answers = _asked(logs) if asks else (logs, Answers())
    logs = _refused(logs, answers)
    if not any(log.is_proposed for log in logs):
        raise click.ClickException(_nothing(logs, found.unseen))
    answers, notes = _surroundings(logs, answers)
    unseen = [f"Not seen, so a writer may be missing below: {what}." for what in found.unseen]
    _write(file, document(logs, answers, [*unseen, *notes]), logs)
    return 0


def _nothing(logs: Sequence[Log], unseen: Iterable[str]) -> str:
    if not logs:
        hint = "name files or directories: logrotor init /var/log/app"
        return "; ".join(["no log was found", *(f"not seen: {text.printable(what)}" for what in unseen), hint])
    return "\n  ".join(["no log was found that logrotor could rotate:", *(text.lines(why(log)) for log in logs)])


def _write(file: str, document: str, logs: Sequence[Log]) -> None:
    from logrotor.disk.publish import create

    if file == "-":
        output.write(document.rstrip("\n"))
        return
    try:
        create([(os.path.abspath(file), document.encode(), 0o644)], replace=False)
    except LogrotorError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot write {text.printable(file)}: {error.strerror}") from error
    left = [log for log in logs if not log.is_proposed]
    told = f"{text.printable(file)}: {text.count(len(logs) - len(left), 'log')}"
    told += f"; {len(left)} left out, each with the reason as a comment" if left else ""
    named = "" if file == "logrotor.toml" else f" -c {text.typed(file)}"
    output.write(f"{told}.\nRead it, then: logrotor check{named} && logrotor plan{named}")


# ---------------------------------------------------------------- questions


def _asked(found: Sequence[Log]) -> tuple[list[Log], Answers]:
    logs: list[Log] = []
    for rule in rules(found):
        click.echo(f"\n{', '.join(map(text.printable, rule.paths))}")
        for line in told(rule.first):
            click.echo(f"  {text.printable(line)}")
        if not rule.first.is_proposed:
            click.echo(f"  left out: {text.lines(why(rule.first))}")
            logs += rule.logs
        elif click.confirm(f"Rotate {text.count(len(rule.logs), 'log')}?", default=True):
            logs += rule.logs
    if not any(log.is_proposed for log in logs):
        return logs, Answers()
    return logs, Answers(
        click.prompt("Rotate a log when it is larger than", default=Answers().size, value_proc=_size),
        click.prompt("How many archives of a log stay", default=Answers().count, type=click.IntRange(1)),
    )


def _size(given: str) -> str:
    from logrotor.config.values import size

    try:
        size(given)
    except ValueError as error:
        raise click.BadParameter(f"{given!r} {error}; such as 10MB") from None
    return given


# ---------------------------------------------------------------- what a check would refuse


def _refused(logs: Sequence[Log], answers: Answers) -> list[Log]:
    """The logs, those with their reason that a check of the file would complain of."""
    logs = [_unnameable(log) for log in logs]
    for _ in range(_TRIES):
        found = _complaints(logs, answers)
        if not found:
            return logs
        logs = [replace(log, kind=Kind.REFUSED, why=found[log.path]) if log.path in found else log for log in logs]
    return logs


def _complaints(logs: Sequence[Log], answers: Answers) -> dict[str, Problem]:
    """Why a check would not be content, by the log that it is about."""
    import tomllib

    from logrotor.cli.check import look
    from logrotor.config import load_config
    from logrotor.errors import ConfigError

    proposed = {log.path: log for log in logs if log.is_proposed}
    if not proposed:
        return {}
    table = tomllib.loads(document(logs, answers, ()))
    try:
        config = load_config(table)  # type: ignore[arg-type]
    except ConfigError as error:
        return dict.fromkeys(proposed, _as_problem(error.problems[0]))
    if config.problems:
        return dict.fromkeys(proposed, _as_problem(config.problems[0]))
    looked = look(config)
    by_name = {os.path.realpath(path): path for path in proposed}
    found: dict[str, Problem] = {}
    for problem, named in looked.hindered.items():
        about = [by_name[real] for real in map(os.path.realpath, named) if real in by_name]
        found.update(dict.fromkeys(about if named else proposed, problem))
    return found


def _as_problem(found: ConfigProblem) -> Problem:
    return Problem(subject="", problem=f"{found.key}: {found.problem}", advice=found.advice)


def _with_targets_apart(logs: Iterable[Log]) -> list[Log]:
    """The logs, each target under a name of its own: there may be two supervisords."""
    names: dict[ReopenTarget, str] = {}
    made: list[Log] = []
    for log in logs:
        if log.target is not None:
            number = 1 + sum(each.name == log.target.name for each in names if each != log.target)
            name = names.setdefault(log.target, log.target.name if number == 1 else f"{log.target.name}-{number}")
            log = replace(log, target=replace(log.target, name=name))
        made.append(log)
    return made


def _unnameable(log: Log) -> Log:
    """TOML is UTF-8, and there are names that are not."""
    try:
        log.path.encode()
    except UnicodeEncodeError:
        why = Problem(subject=log.path, problem="its name is not UTF-8, so no file in TOML can name it")
        return replace(log, kind=Kind.REFUSED, why=why)
    return log


def _surroundings(logs: Sequence[Log], answers: Answers) -> tuple[Answers, list[str]]:
    """What a run of this configuration would meet: a state directory that cannot be used, another rotator."""
    import tomllib

    from logrotor.cli.session import why_no_run
    from logrotor.clock import local_now
    from logrotor.config import load_config
    from logrotor.observe.checks.setup import logrotate
    from logrotor.observe.deployment import Deployment

    try:
        config = load_config(tomllib.loads(document(logs, answers, ())))  # type: ignore[arg-type]
        rivals = [finding for finding in logrotate(Deployment(config, local_now())) if not finding.note]
        closed = why_no_run(config)
    except (LogrotorError, OSError):
        answers, rivals, closed = replace(answers, state="state"), [], None  # there is no default one
    alike: dict[tuple[str, str], list[str]] = {}
    for finding in rivals:
        alike.setdefault((finding.problem, finding.advice), []).append(finding.subject)
    notes = [f"{text.names(logs)}: {problem}: {advice}." for (problem, advice), logs in alike.items()]
    return (replace(answers, state="state") if closed is not None else answers), notes
