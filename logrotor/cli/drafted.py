"""The configuration that ``logrotor init`` writes: logs in rules, and what was found out, as TOML with comments."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from logrotor import text
from logrotor.model import ReopenTarget
from logrotor.observe.behaviour import ANY_DATE, DAEMONS, Kind, Log


class Answers(Struct, frozen=True):
    """What was asked, or what holds without a question."""

    size: str = "10MB"
    count: int = 7
    state: str = ""  # a state directory, where the default one cannot be used


class Rule(Struct, frozen=True):
    """Logs of one directory whose writers do the same."""

    name: str
    logs: tuple[Log, ...]
    paths: tuple[str, ...]

    @property
    def first(self) -> Log:
        return self.logs[0]


def rules(logs: Iterable[Log]) -> list[Rule]:
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
    path = log.pattern.replace(ANY_DATE, "*") if log.is_proposed and log.pattern else log.path
    folder, stem = os.path.split(os.path.splitext(path)[0])
    several = log.target.name if log.target is not None else os.path.basename(folder)
    word = several if len(group) > 1 and several not in ("log", "logs") else stem
    word = "".join(char if char.isalnum() or char in "_." else "-" for char in word).strip("-.") or "logs"
    number = next(n for n in range(1, len(names) + 2) if (word if n == 1 else f"{word}-{n}") not in names)
    names.add(word if number == 1 else f"{word}-{number}")
    return word if number == 1 else f"{word}-{number}"


def document(logs: Sequence[Log], answers: Answers, notes: Iterable[str]) -> str:
    """The text of the file. ``notes``: what is to be known of all of it."""
    made = rules(logs)
    targets = {rule.first.target.name: rule.first.target for rule in made if rule.first.target is not None
               and rule.first.is_proposed}  # fmt: skip
    parts = [
        "\n".join(_head(notes)),
        *([f"state_dir = {_toml(answers.state)}"] if answers.state else []),
        f"[defaults]\nmax_size     = {_toml(answers.size)}\nbackup_count = {answers.count}",
        *("\n".join(_reopen(target)) for target in targets.values()),
        *("\n".join(_rule(rule)) for rule in made),
    ]
    return "\n\n".join(parts) + "\n"


def _head(notes: Iterable[str]) -> Iterator[str]:
    yield "# Written by logrotor init. Look at it with: logrotor check, logrotor plan."
    yield "# Every key: logrotor reference, or logrotor man logrotor.toml.5 | man -l -."
    for note in notes:
        yield from _comment(note)


def _reopen(target: ReopenTarget) -> Iterator[str]:
    keys = {key: _toml(value) for key in ("pidfile", "unit", "signal") if (value := getattr(target, key)) is not None}
    yield f"[reopen.{target.name}]"
    yield from _aligned({"manager": _toml(target.manager.value), **keys})


def _rule(rule: Rule) -> Iterator[str]:
    log = rule.first
    for line in told(log):
        yield from _comment(line)
    lines = ["[[log]]", *_aligned(_keys(rule))]
    if log.is_proposed:
        yield from lines
        return
    yield from _comment(f"Left out: {why(log)}")
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


def told(log: Log) -> Iterator[str]:
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
    daemon = os.path.basename(os.path.dirname(log.path))
    if log.kind in (Kind.APPENDS, Kind.UNSEEN) and daemon in DAEMONS:
        yield f"If {daemon} writes it: it reopens its logs on {DAEMONS[daemon]}, so add a table [reopen.{daemon}]."


def _comment(line: str) -> list[str]:
    from textwrap import wrap

    return [f"# {each}" for each in wrap(text.printable(line), 110, break_on_hyphens=False, break_long_words=False)]


def _toml(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def why(log: Log) -> str:
    """Why it is left out."""
    if log.why is not None:
        return str(log.why if log.why.subject else replace(log.why, subject=log.path))
    return f"{log.path}: {'; '.join(told(log))}"
