"""Read the ``[[log]]`` rules, the defaults merged in, and check what holds between keys."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from logrotor.config.document import Document
from logrotor.config.keys import LOG
from logrotor.config.section import Problems, Read, Section
from logrotor.config.tables import Targets
from logrotor.config.values import did_you_mean, shown
from logrotor.disk import mounts
from logrotor.model import Codec, LogSpec, Method, ReopenTarget

_BARE = LogSpec(name="", paths=())  # what holds where a rule and [defaults] say nothing
SAMPLE = '[[log]] with name = "app", paths = ["app.log"] and max_size = "10MB"'

Conflict = tuple[str, str, str]  # the key that it is reported at, the problem and the advice


class StateDir(Struct, frozen=True):
    """The state directory, and where it was set; an empty path where it is not known."""

    path: str
    origin: str
    document: Document | None = None  # that sets it

    def holds(self, directory: str) -> bool:
        """Is it the same directory, by whatever path?"""
        return bool(self.path) and _identity(directory) == _identity(self.path)

    @property
    def shown(self) -> str:
        line = self.document.line("state_dir") if self.document else None
        return f"{self.path} ({self.origin}{f', line {line}' if line else ''})"


def _identity(path: str) -> object:
    if mounts.lately().why_silent(path) is not None:
        return path
    try:
        status = os.stat(path)
    except OSError:  # not there yet
        return os.path.realpath(path)
    except ValueError:  # not a name that the system takes
        return path
    return status.st_dev, status.st_ino


class Rule(Struct, frozen=True):
    """What a rule says itself, and what it inherits."""

    own: Read
    defaults: Read
    file: str = ""

    def __getitem__(self, name: str) -> Any:
        return self.own.values.get(name, self.defaults.values.get(name, getattr(_BARE, name)))

    def says(self, name: str) -> bool:
        return name in self.own.values

    def is_known(self, *names: str) -> bool:
        """Whether none of these keys has a problem already; a second message about it would only be noise."""
        return not any(
            name in self.own.failed or (name in self.defaults.failed and not self.says(name)) for name in names
        )

    def origin(self, name: str) -> str:
        return "" if self.says(name) else " (from [defaults])"


def read_rules(
    documents: Iterable[Document], defaults: Read, targets: Targets, state: StateDir, problems: Problems
) -> list[LogSpec]:
    """The rules that are right, in file order; the others are left out, each with its problems."""
    specs: list[LogSpec] = []
    names: dict[str, str] = {}
    for document in documents:
        for number, table in _tables(document, problems):
            section = Section(document, f"log[{number}]", problems, rule=_name_of(table, number))
            spec = _read_rule(section, table, defaults, targets, state, names)
            specs += [spec] if spec else []
    return specs


def _tables(document: Document, problems: Problems) -> Iterator[tuple[int, Any]]:
    logs = document.table.get("log", [])
    if isinstance(logs, (list, tuple)):
        yield from enumerate(logs, 1)
        return
    section = Section(document, "log", problems, fatal=True)
    if isinstance(logs, Mapping):
        section.wrong("", "[log] is one table", "accepted: [[log]], with two brackets each side")
    else:
        section.wrong("", f"{shown(logs)} is not a list of tables", f"accepted: {SAMPLE}")


def _name_of(table: object, number: int) -> str:
    name = table.get("name") if isinstance(table, Mapping) else None
    return name if isinstance(name, str) and name else f"log[{number}]"


def _read_rule(
    section: Section, value: object, defaults: Read, targets: Targets, state: StateDir, names: dict[str, str]
) -> LogSpec | None:
    before = len(section.problems)
    table = section.table(value, SAMPLE)
    if table is None:
        return None
    rule = Rule(section.read(table, LOG), defaults, section.document.file)
    for conflict in (*_required(rule), *_repeated_name(rule, section, names), *_conflicts(rule, targets, state)):
        section.wrong(*conflict)
    return _spec(rule) if len(section.problems) == before else None


def _spec(rule: Rule) -> LogSpec:
    values = {name: rule[name] for name in LOG}
    schedule, target = values.pop("schedule"), values.pop("reopen")
    if values["compress"] is Codec.NONE:
        values["compress_level"] = None
    if rule["method"] is Method.COPYTRUNCATE:
        target = None
    return LogSpec(
        **values,
        schedule=schedule.expression if schedule else None,
        schedule_name=schedule.name if schedule else None,
        reopen=_target_name(target),
    )


def _target_name(target: str | ReopenTarget | None) -> str | None:
    return target.name if isinstance(target, ReopenTarget) else target


# ---------------------------------------------------------------- what holds between keys


def _required(rule: Rule) -> Iterator[Conflict]:
    for name in ("name", "paths"):
        if not rule.says(name) and rule.is_known(name):
            yield name, "is required", f"accepted: {LOG[name].accepted}"


def _repeated_name(rule: Rule, section: Section, names: dict[str, str]) -> Iterator[Conflict]:
    if not rule.says("name"):
        return
    name, here = rule["name"], f"{section.path} in {section.document.file}"
    first = names.setdefault(name, here)
    if first != here:
        yield "name", f"{name!r} is also the name of {first}", f"accepted: {LOG['name'].accepted}"


def _conflicts(rule: Rule, targets: Targets, state: StateDir) -> Iterator[Conflict]:
    if rule["max_size"] is None and rule["schedule"] is None and rule.is_known("max_size", "schedule"):
        yield "", "has neither max_size nor schedule", 'accepted: max_size = "10MB", schedule = "daily", or both'
    yield from size_conflict(rule)
    yield from level_conflict(rule)
    yield from create_conflict(rule)
    yield from _reopen_conflict(rule, targets)
    yield from _archives_in_state(rule["paths"], rule["archive_dir"], state)


def size_conflict(rule: Rule) -> Iterator[Conflict]:
    """A ``min_size`` that no log meets before ``max_size`` makes it due, or that has no schedule to hold back."""
    low, high = rule["min_size"], rule["max_size"]
    if low is None or not rule.is_known("min_size", "max_size", "schedule"):
        return
    if rule["schedule"] is None:
        if rule.says("min_size"):
            yield "min_size", f"{low} has no use without schedule", 'accepted: "off", or a schedule'
    elif high is not None and low >= high:
        problem = f"{low}{rule.origin('min_size')} is not less than max_size {high}{rule.origin('max_size')}"
        yield "min_size", f"{problem}, so schedule would do nothing", 'accepted: less than max_size, or "off"'


def level_conflict(rule: Rule) -> Iterator[Conflict]:
    """A compression level that the codec does not have."""
    codec, level = rule["compress"], rule["compress_level"]
    if level is None or not rule.is_known("compress", "compress_level"):
        return
    if codec is Codec.NONE:
        if rule.says("compress_level"):
            advice = 'accepted: "off", or another compress'
            yield "compress_level", f"{level} has no use with compress = 'none'", advice
    elif level not in codec.levels:
        problem = f"{level}{rule.origin('compress_level')} is not a level of {codec.value}"
        yield "compress_level", problem, f'accepted: {codec.levels[0]} to {codec.levels[-1]}, or "off"'


def create_conflict(rule: Rule) -> Iterator[Conflict]:
    """Logs that are not to be created, and to be created when they are missing."""
    if rule["create_missing"] and not rule["create"] and rule.is_known("create", "create_missing"):
        problem = f"true{rule.origin('create_missing')} contradicts create = false"
        yield "create_missing", problem, "accepted: false, or create = true"


def _reopen_conflict(rule: Rule, targets: Targets) -> Iterator[Conflict]:
    name = _target_name(rule["reopen"])
    if name is None or not rule.is_known("reopen", "method"):
        return
    if rule["method"] is Method.COPYTRUNCATE:
        if rule.says("reopen"):
            problem = f"{name!r} is not used with method = 'copytruncate', where the writer keeps its file"
            yield "reopen", problem, 'accepted: "off", or method = "rename"'
    elif (rule.file, name) in targets.repeated:
        yield "reopen", f"{name!r} is defined a second time in this file", "accepted: another name for it"
    elif name in targets.wrong:
        yield "reopen", f"{name!r} cannot be used", f"see {targets.wrong[name]}"
    elif name not in targets.known:
        yield "reopen", *unknown_target(name, targets)


def unknown_target(name: str, targets: Targets) -> tuple[str, str]:
    """The problem and the advice for a target that no table defines."""
    names = [*targets.known, *targets.wrong]
    known = f"known: {', '.join(map(repr, names))}" if names else f"known: none; add a table [reopen.{name}]"
    return f"{name!r} is not a reopen target", "; ".join(filter(None, (did_you_mean(name, names), known)))


def _archives_in_state(paths: Iterable[str], archive_dir: str | None, state: StateDir) -> Iterator[Conflict]:
    """A rule that would have its archives in the state directory, whose files are logrotor's own.

    ``paths``: absolute globs. Logs may lie there, as in systemd's StateDirectory; the plan leaves out what is ours.
    """
    directories = {directory for head in {os.path.dirname(path) for path in paths} if (directory := _literal(head))}
    if archive_dir is not None and any(state.holds(os.path.join(d, archive_dir)) for d in directories):
        problem = f"{archive_dir!r} is the state directory {state.shown}"
        yield "archive_dir", problem, "accepted: a place of its own for one of the two"


def _literal(directory: str) -> str | None:
    """A directory without wildcards, as a path."""
    escaped = r"\[([*?[])\]"  # as glob.escape writes a character that stands for itself
    return None if glob.has_magic(re.sub(escaped, "", directory)) else re.sub(escaped, r"\1", directory)
