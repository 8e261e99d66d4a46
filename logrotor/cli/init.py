"""``logrotor init``: write a configuration for the logs that are found, with what was found out about their writers."""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

import click
from msgspec import Struct
from msgspec.structs import replace

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import config_option, config_path
from logrotor.cli.session import exit_codes
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


class Answers(Struct, frozen=True):
    """What was asked, or what holds without a question."""

    size: str = "10MB"
    count: int = 7


class Rule(Struct, frozen=True):
    """Logs of one directory whose writers do the same."""

    name: str
    logs: tuple[Log, ...]
    paths: tuple[str, ...]

    @property
    def first(self) -> Log:
        return self.logs[0]


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
    from logrotor.errors import LogrotorError
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
    _write(file, _document(logs, answers, found.unseen), logs)
    return 0


def _nothing(logs: Sequence[Log], unseen: Iterable[str]) -> str:
    if not logs:
        hint = "name files or directories: logrotor init /var/log/app"
        return "; ".join(["no log was found", *(f"not seen: {text.printable(what)}" for what in unseen), hint])
    return "\n  ".join(["no log was found that logrotor could rotate:", *(text.lines(_why(log)) for log in logs)])


def _why(log: Log) -> str:
    if log.why is not None:
        return str(log.why if log.why.subject else replace(log.why, subject=log.path))
    return f"{log.path}: {'; '.join(_told(log))}"


def _write(file: str, document: str, logs: Sequence[Log]) -> None:
    from logrotor.disk.publish import create
    from logrotor.errors import LogrotorError

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
    for rule in _rules(found):
        click.echo(f"\n{', '.join(map(text.printable, rule.paths))}")
        for line in _told(rule.first):
            click.echo(f"  {text.printable(line)}")
        if not rule.first.is_proposed:
            click.echo(f"  left out: {text.lines(_why(rule.first))}")
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
    table = tomllib.loads(_document(logs, answers, ()))
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


# ---------------------------------------------------------------- the file


def _rules(logs: Iterable[Log]) -> list[Rule]:
    """One for the logs of a directory whose writers do the same; those with a date in their name come first."""
    groups: dict[tuple[object, ...], list[Log]] = {}
    for log in logs:
        target = log.target.name if log.target is not None and log.is_proposed else ""
        dated = log.pattern if log.is_proposed else ""
        why = (log.why.problem, log.why.advice) if log.why is not None else None
        groups.setdefault((not dated, dated, os.path.dirname(log.path), log.kind, target, why), []).append(log)
    names: set[str] = set()
    ordered = sorted(groups.values(), key=lambda group: (not group[0].pattern, not group[0].is_proposed))
    every = [log for group in ordered for log in group]
    return [Rule(_name(group, names), tuple(group), _paths(group, every)) for group in ordered]


def _paths(group: Sequence[Log], every: Sequence[Log]) -> tuple[str, ...]:
    """A glob where it matches these alone, else each by its name."""
    if group[0].is_proposed and group[0].pattern:
        return (group[0].pattern,)
    pattern = os.path.join(glob.escape(os.path.dirname(group[0].path)), "*.log")
    members, matched = {log.path for log in group}, set(glob.glob(pattern))
    elsewhere = {log.path for log in every if log.pattern and log.is_proposed}
    if len(members) > 1 and matched - elsewhere == members and not elsewhere & matched:
        return (pattern,)
    return tuple(glob.escape(path) for path in sorted(members))


def _name(group: Sequence[Log], names: set[str]) -> str:
    log = group[0]
    folder, stem = os.path.split(os.path.splitext(log.pattern if log.is_proposed and log.pattern else log.path)[0])
    several = log.target.name if log.target is not None else os.path.basename(folder)
    word = several if len(group) > 1 and several not in ("log", "logs") else stem
    word = "".join(char if char.isalnum() or char in "_." else "-" for char in word).strip("-.") or "logs"
    number = next(n for n in range(1, len(names) + 2) if (word if n == 1 else f"{word}-{n}") not in names)
    names.add(word if number == 1 else f"{word}-{number}")
    return word if number == 1 else f"{word}-{number}"


def _document(logs: Sequence[Log], answers: Answers, unseen: Iterable[str]) -> str:
    rules = _rules(logs)
    targets = {rule.first.target.name: rule.first.target for rule in rules if rule.first.target is not None
               and rule.first.is_proposed}  # fmt: skip
    parts = [
        "\n".join(_head(unseen)),
        f"[defaults]\nmax_size     = {_toml(answers.size)}\nbackup_count = {answers.count}",
        *("\n".join(_reopen(target)) for target in targets.values()),
        *("\n".join(_rule(rule)) for rule in rules),
    ]
    return "\n\n".join(parts) + "\n"


def _head(unseen: Iterable[str]) -> Iterator[str]:
    yield "# Written by logrotor init. Look at it with: logrotor check, logrotor plan."
    yield "# Every key: logrotor reference, or man logrotor.toml."
    for what in unseen:
        yield from _comment(f"Not seen, so a writer may be missing below: {what}.")


def _reopen(target: ReopenTarget) -> Iterator[str]:
    keys = {key: _toml(value) for key in ("pidfile", "unit", "signal") if (value := getattr(target, key)) is not None}
    yield f"[reopen.{target.name}]"
    yield from _aligned({"manager": _toml(target.manager.value), **keys})


def _rule(rule: Rule) -> Iterator[str]:
    log = rule.first
    for line in _told(log):
        yield from _comment(line)
    lines = ["[[log]]", *_aligned(_keys(rule))]
    if log.is_proposed:
        yield from lines
        return
    yield from _comment(f"Left out: {_why(log)}")
    yield from (f"# {line}".encode(errors="backslashreplace").decode() for line in lines)


def _keys(rule: Rule) -> dict[str, str]:
    log = rule.first
    keys = {"name": _toml(rule.name), "paths": f"[{', '.join(map(_toml, rule.paths))}]"}
    if log.pattern and log.is_proposed:
        return {**keys, "schedule": '"daily"', "max_size": '"off"', "backup_count": '"off"', "max_age": '"30d"',
                "create": "false"}  # fmt: skip
    if log.target is not None and log.is_proposed:
        keys["reopen"] = _toml(log.target.name)
    return {**keys, "method": '"copytruncate"'} if log.kind is Kind.STAYS else keys


def _aligned(keys: dict[str, str]) -> Iterator[str]:
    width = max(map(len, keys))
    yield from (f"{key:{width}} = {value}" for key, value in keys.items())


def _told(log: Log) -> Iterator[str]:
    """What was found out, in sentences."""
    who = ", ".join(f"{writer.program} (process {writer.pid})" for writer in log.writers[:3])
    who += f" and {len(log.writers) - 3} more" if log.writers[3:] else ""
    if log.pattern and log.is_proposed:
        yield "Its name has a date: each is compressed once nobody writes it, and removed after 30 days."
    elif log.kind is Kind.REOPENS and log.target is not None:
        how = f"on {log.target.signal}" if log.target.signal else "when logrotor asks it to"
        yield f"Written by {who}, which reopens it {how}."
    elif log.kind is Kind.FOLLOWS:
        yield f"Written by {who}, whose script has a {log.evidence}: it follows the name by itself."
    elif log.kind is Kind.APPENDS:
        yield "No process has it open now: its writer opens it for each line, or does not run."
    elif log.kind is Kind.UNSEEN:
        yield 'Who writes it could not be seen. If its writer keeps it open, set reopen, or method = "copytruncate".'
    elif log.kind is Kind.STAYS:
        yield f"Written by {who}, which appends and, as far as can be seen, stays with its file: so its copy is taken."
        if log.handles:
            signals = ", ".join(log.handles)
            yield f"It handles {signals}: if it reopens its logs on one of them, use a table [reopen.NAME] instead."
    elif log.kind is Kind.OVERWRITES:
        yield f"Written by {who} without append mode: neither a copy nor another name would end that. Have it append."
    elif who:
        yield f"Written by {who}."


def _comment(line: str) -> list[str]:
    from textwrap import wrap

    return [f"# {each}" for each in wrap(text.printable(line), 110, break_on_hyphens=False, break_long_words=False)]


def _toml(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
