"""Check one table of a configuration against its keys, and collect what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from logrotor.config.document import Document
from logrotor.config.keys import DEFAULTS, JOB, LOG, METRICS, NO_OFF, PAGE, QUEUE, REOPEN, TABLES, TOP, Key
from logrotor.config.place import Place
from logrotor.config.values import shown
from logrotor.model import ConfigProblem


class Problems(Struct):
    """What was found wrong so far. ``fatal``: with this nothing can run."""

    found: list[ConfigProblem] = field(default_factory=list)
    fatal: bool = False

    def __len__(self) -> int:
        return len(self.found)

    def add(self, problem: ConfigProblem, *, fatal: bool = False) -> None:
        self.found.append(problem)
        self.fatal = self.fatal or fatal


class Section(Struct, frozen=True):
    """One table of a document, and what a problem in it switches off: a rule, or (``fatal``) everything."""

    document: Document
    path: str  # "log[2]"; "" for the top level
    problems: Problems
    rule: str | None = None
    fatal: bool = False

    def key(self, name: str) -> str:
        return ".".join(part for part in (self.path, name) if part)

    def wrong(self, name: str, message: str) -> None:
        """Collect a problem of the key ``name``; an empty name is the table itself."""
        key = self.key(name)
        line = self.document.line(key)
        self.problems.add(ConfigProblem(self.document.file, key, message, line, self.rule), fatal=self.fatal)


class Read(Struct, frozen=True):
    """The values of a table that are right, and the names of the keys that are not."""

    values: dict[str, Any]
    failed: frozenset[str] = frozenset()


def read_table(
    section: Section, table: Mapping[Any, Any], keys: Mapping[str, Key], *, tables: tuple[str, ...] = ()
) -> Read:
    """Parse each key of ``table``. What is wrong goes to the section's problems. ``tables`` may be meant too."""
    values: dict[str, Any] = {}
    failed: set[str] = set()
    for name, value in table.items():
        key = keys.get(name)
        if key is None:
            failed.add(_refuse_unknown(section, str(name), keys, tables))
            continue
        try:
            values[name] = parse(key, value, section.document.place)
        except ValueError as error:
            failed.add(name)
            section.wrong(name, f"{_value(value)} {error}; accepted: {key.accepted}")
    return Read(values, frozenset(failed))


def parse(key: Key, value: object, place: Place) -> Any:
    """The value of one key, paths made absolute. Raises ``ValueError``."""
    if isinstance(value, str) and value == "off" and key.off is not NO_OFF:
        return key.off
    if value is False and key.off is not NO_OFF:
        raise ValueError('is not how it is switched off; write "off"')
    parsed = key.parse(value)
    return key.locate(place, parsed) if key.locate else parsed


def _value(value: object) -> str:
    return shown(os.fspath(value) if isinstance(value, os.PathLike) else value)


def _refuse_unknown(section: Section, name: str, keys: Mapping[str, Key], tables: tuple[str, ...]) -> str:
    """Say where the key belongs, or which one was meant; returns the key that was meant, else its own name."""
    from logrotor.text import closest

    homes = _homes(name)
    meant = _alias(name, keys) or closest(name.lower().replace("-", "_"), (*keys, *tables))
    if homes:
        section.wrong(name, f"does not belong here but in {homes}")
    elif meant:
        section.wrong(name, f"unknown key; did you mean {meant!r}?")
    else:
        section.wrong(name, f"unknown key; accepted: {', '.join(sorted((*keys, *tables)))}")
    return meant or name


def _alias(name: str, keys: Mapping[str, Key]) -> str | None:
    """The key that other programs call ``name``."""
    word = name.lower().replace("-", "_")
    return next((key.name for key in keys.values() if word in key.aliases), None)


def _homes(name: str) -> str:
    places = {
        "the top level": TOP,
        "[defaults]": DEFAULTS,
        "[[log]]": LOG,
        "[reopen.NAME]": REOPEN,
        "[queue]": QUEUE,
        "[queue.job]": JOB,
        "[metrics]": METRICS,
        "[page]": PAGE,
    }
    homes = ["the top level"] if name in TABLES else [place for place, keys in places.items() if name in keys]
    return " or ".join(homes)
