"""Read the ``[reopen.NAME]`` tables: which keys a manager needs, and which it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from logrotor.config.document import Document
from logrotor.config.keys import FUNCTION, REOPEN, Key
from logrotor.config.tables import Problems, Read, Section, read_table
from logrotor.config.values import name as parse_name
from logrotor.config.values import shown
from logrotor.model import Manager, ReopenTarget


class Targets(Struct, frozen=True):
    """The targets that are right, and those that are not; a rule that uses the latter is left out."""

    known: dict[str, ReopenTarget] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)  # name: where the problem stands
    repeated: set[tuple[str, str]] = field(default_factory=set)  # (file, name): defined a second time there


def read_targets(documents: Iterable[Document], problems: Problems) -> Targets:
    """All targets of all files. A name that stands in two files is the first one's."""
    targets = Targets()
    for document in documents:
        for name, table in _tables(document, problems):
            _add(targets, document, name, table, problems)
        for key, target in _built_targets(document):
            _add_built(targets, Section(document, key, problems), target)
    return targets


def _tables(document: Document, problems: Problems) -> Iterator[tuple[str, Any]]:
    reopen = document.table.get("reopen", {})
    if isinstance(reopen, Mapping):
        yield from ((str(name), table) for name, table in reopen.items())
    else:
        Section(document, "reopen", problems).wrong("", f"{shown(reopen)} is no table; accepted: [reopen.NAME]")


def _add(targets: Targets, document: Document, name: str, table: object, problems: Problems) -> None:
    section = Section(document, f"reopen.{name}", problems)
    if name in targets.known or name in targets.wrong:
        section.wrong("", "is defined a second time; the first one stands, rules of this file that use it do not run")
        targets.repeated.add((document.file, name))
        return
    target = _read_target(section, name, table)
    if target is None:
        targets.wrong[name] = f"{section.path} in {document.file}"
    else:
        targets.known[name] = target


def _read_target(section: Section, name: str, table: object) -> ReopenTarget | None:
    before = len(section.problems)
    try:
        parse_name(name)
    except ValueError as error:
        section.wrong("", f'{name!r} {error}; accepted: a name without "/" that is not "off"')
    if isinstance(table, ReopenTarget):
        return replace(table, name=name) if len(section.problems) == before else None
    if not isinstance(table, Mapping):
        section.wrong("", f"{shown(table)} is no table; accepted: [{section.path}] with manager = ...")
        return None
    read = read_table(section, table, _keys(section.document))
    _check_manager(section, read)
    return ReopenTarget(name=name, **read.values) if len(section.problems) == before else None


def _keys(document: Document) -> Mapping[str, Key]:
    return {**REOPEN, FUNCTION.name: FUNCTION} if document.is_dict else REOPEN


def _check_manager(section: Section, read: Read) -> None:
    manager = read.values.get("manager")
    if manager is None:
        if "manager" not in read.failed:
            section.wrong("manager", f"is required; accepted: {REOPEN['manager'].accepted}")
        return
    if manager is Manager.CALLABLE and not section.document.is_dict:
        message = "'callable' works only from the library, where a dict can hold the function"
        section.wrong("manager", f"{message}; accepted: {REOPEN['manager'].accepted}")
        return
    for key in _keys(section.document).values():
        _check_key(section, key, manager, read)


def _check_key(section: Section, key: Key, manager: Manager, read: Read) -> None:
    is_set = key.name in read.values or key.name in read.failed
    if is_set and manager not in key.allowed:
        section.wrong(key.name, f"is not used with manager = {manager.value!r}; {_why_not(key, manager)}")
    elif not is_set and manager in key.required:
        section.wrong(key.name, f"is required with manager = {manager.value!r}; accepted: {key.accepted}")


def _why_not(key: Key, manager: Manager) -> str:
    if key.name == "signal" and manager is Manager.SUPERVISORD:
        return "supervisord reopens its logs on USR2, always (HUP would restart all its children): leave it out"
    return "leave it out, or use " + " or ".join(repr(m.value) for m in Manager if m in key.allowed)


def _built_targets(document: Document) -> Iterator[tuple[str, ReopenTarget]]:
    """Targets that stand, built, in place of a name: from a dict only."""
    if not document.is_dict:
        return
    logs = document.table.get("log")
    numbered = [(f"log[{n}]", log) for n, log in enumerate(logs, 1)] if isinstance(logs, (list, tuple)) else []
    for key, table in [("defaults", document.table.get("defaults")), *numbered]:
        if isinstance(table, Mapping) and isinstance(table.get("reopen"), ReopenTarget):
            yield key, table["reopen"]


def _add_built(targets: Targets, section: Section, target: ReopenTarget) -> None:
    known = targets.known.setdefault(target.name, target)
    if known is not target and (known != target or known.function is not target.function):
        section.wrong("reopen", f"another target is named {target.name!r} already; accepted: a name of its own")
