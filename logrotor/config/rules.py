"""Read the ``[[log]]`` rules, the defaults merged in, and check what holds between keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from logrotor.config.apart import StateDir, shared_places
from logrotor.config.document import Document
from logrotor.config.keys import LEVELS, LOG
from logrotor.config.tables import Problems, Read, Section, read_table
from logrotor.config.targets import Targets
from logrotor.config.values import did_you_mean, shown
from logrotor.model import Codec, LogSpec, Method, ReopenTarget

_BARE = LogSpec(name="", paths=())  # what holds where a rule and [defaults] say nothing
_SAMPLE = '[[log]] with name = "app", paths = ["app.log"] and max_size = "10MB"'

Conflict = tuple[str, str]  # the key that it is reported at, and the message


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
    else:
        accepted = "[[log]], with two brackets each side" if isinstance(logs, Mapping) else _SAMPLE
        value = "[log] is one table" if isinstance(logs, Mapping) else f"{shown(logs)} is no list of tables"
        Section(document, "log", problems, fatal=True).wrong("", f"{value}; accepted: {accepted}")


def _name_of(table: object, number: int) -> str:
    name = table.get("name") if isinstance(table, Mapping) else None
    return name if isinstance(name, str) and name else f"log[{number}]"


def _read_rule(
    section: Section, table: object, defaults: Read, targets: Targets, state: StateDir, names: dict[str, str]
) -> LogSpec | None:
    before = len(section.problems)
    if not isinstance(table, Mapping):
        section.wrong("", f"{shown(table)} is no table; accepted: {_SAMPLE}")
        return None
    rule = Rule(read_table(section, table, LOG), defaults, section.document.file)
    for key, message in (*_required(rule), *_repeated_name(rule, section, names), *_conflicts(rule, targets, state)):
        section.wrong(key, message)
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


def _required(rule: Rule) -> Iterator[Conflict]:
    for name in ("name", "paths"):
        if not rule.says(name) and rule.is_known(name):
            yield name, f"is required; accepted: {LOG[name].accepted}"


def _repeated_name(rule: Rule, section: Section, names: dict[str, str]) -> Iterator[Conflict]:
    if not rule.says("name"):
        return
    name, here = rule["name"], f"{section.path} in {section.document.file}"
    first = names.setdefault(name, here)
    if first != here:
        yield "name", f"{name!r} is the name of {first} too; accepted: {LOG['name'].accepted}"


def _conflicts(rule: Rule, targets: Targets, state: StateDir) -> Iterator[Conflict]:
    yield from _never_due(rule)
    yield from level_conflict(rule)
    yield from create_conflict(rule)
    yield from _reopen_conflict(rule, targets)
    yield from shared_places(rule["paths"], rule["archive_dir"], state)


def _never_due(rule: Rule) -> Iterator[Conflict]:
    if rule["max_size"] is None and rule["schedule"] is None and rule.is_known("max_size", "schedule"):
        yield "", 'has neither max_size nor schedule; accepted: max_size = "10MB", schedule = "daily", or both'


def level_conflict(rule: Rule) -> Iterator[Conflict]:
    """A compression level that the codec does not have."""
    codec, level = rule["compress"], rule["compress_level"]
    if level is None or not rule.is_known("compress", "compress_level"):
        return
    if codec is Codec.NONE and rule.says("compress_level"):
        yield "compress_level", f"{level} has no use with compress = 'none'; accepted: \"off\", or another compress"
    elif codec in LEVELS and level not in LEVELS[codec]:
        levels = LEVELS[codec]
        origin = "" if rule.says("compress_level") else " (from [defaults])"
        accepted = f'{levels[0]} to {levels[-1]}, or "off"'
        yield "compress_level", f"{level}{origin} is no level of {codec.value}; accepted: {accepted}"


def create_conflict(rule: Rule) -> Iterator[Conflict]:
    """Logs that are not to be created, and to be created when they are missing."""
    if rule["create_missing"] and not rule["create"] and rule.is_known("create", "create_missing"):
        origin = "" if rule.says("create_missing") else " (from [defaults])"
        yield "create_missing", f"true{origin} contradicts create = false; accepted: false, or create = true"


def _reopen_conflict(rule: Rule, targets: Targets) -> Iterator[Conflict]:
    name = _target_name(rule["reopen"])
    if name is None or not rule.is_known("reopen", "method"):
        return
    if rule["method"] is Method.COPYTRUNCATE:
        if rule.says("reopen"):
            message = "is not used with method = 'copytruncate', where the writer keeps its file"
            yield "reopen", f'{name!r} {message}; accepted: "off", or method = "rename"'
    elif (rule.file, name) in targets.repeated:
        yield "reopen", f"{name!r} is defined a second time in this file; accepted: another name for it"
    elif name in targets.wrong:
        yield "reopen", f"{name!r} cannot be used: see {targets.wrong[name]}"
    elif name not in targets.known:
        yield "reopen", unknown_target(name, targets)


def unknown_target(name: str, targets: Targets) -> str:
    """The message for a target that no table defines."""
    names = [*targets.known, *targets.wrong]
    known = ", ".join(map(repr, names)) or f"none; add a table [reopen.{name}]"
    return f"{name!r} is no reopen target{did_you_mean(name, names)}; known: {known}"
