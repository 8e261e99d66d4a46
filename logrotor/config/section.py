"""Check one table of a configuration against its keys, and collect what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from logrotor.config.document import Document
from logrotor.config.keys import DEFAULTS, JOB, LOG, METRICS, MONITOR, NO_OFF, PAGE, QUEUE, REOPEN, TABLES, TOP, Key
from logrotor.config.paths import Place
from logrotor.config.values import Invalid, shown
from logrotor.errors import InsecureDirectory
from logrotor.model import ConfigProblem


class Problems(Struct):
    """What was found wrong so far. ``fatal``: with this nothing can run."""

    found: list[ConfigProblem] = field(default_factory=list)
    fatal: bool = False

    def __len__(self) -> int:
        return len(self.found)


class Read(Struct, frozen=True):
    """The values of a table that are right, and the names of the keys that are not."""

    values: dict[str, Any]
    failed: frozenset[str] = frozenset()


class Section(Struct, frozen=True):
    """One table of a document, and what a problem in it switches off: a rule, or (``fatal``) everything."""

    document: Document
    path: str  # "log[2]"; "" for the top level
    problems: Problems
    rule: str | None = None
    fatal: bool = False

    def wrong(self, name: str, problem: str, advice: str = "") -> None:
        """Collect a problem of the key ``name``; an empty name is the table itself."""
        key = ".".join(filter(None, (self.path, name)))
        line = self.document.line(key)
        self.problems.found.append(ConfigProblem(self.document.file, key, problem, line, self.rule, advice))
        self.problems.fatal |= self.fatal

    def table(self, value: object, sample: str) -> Mapping[Any, Any] | None:
        """``value`` if it is a table, else None, and a problem."""
        if isinstance(value, Mapping):
            return value
        self.wrong("", f"{shown(value)} is not a table", f"accepted: {sample}")
        return None

    def read(self, table: Mapping[Any, Any], keys: Mapping[str, Key], *, tables: tuple[str, ...] = ()) -> Read:
        """Parse each key of ``table`` and collect what is wrong. ``tables``: those that it holds besides."""
        values: dict[str, Any] = {}
        failed: set[str] = set()
        for name, value in table.items():
            key = keys.get(name)
            if key is None:
                failed.add(self._refuse_unknown(str(name), keys, tables))
                continue
            try:
                values[name] = _parsed(key, value, self.document.place)
            except Invalid as error:
                failed.add(name)
                advice = "; ".join(filter(None, (error.advice, f"accepted: {key.accepted}")))
                self.wrong(name, f"{shown(value)} {error.problem}", advice)
            except InsecureDirectory as error:
                failed.add(name)
                found = error.problem
                self.wrong(name, f"{shown(value)} is not run: {found.subject}: {found.problem}", found.advice)
        return Read(values, frozenset(failed))

    def _refuse_unknown(self, name: str, keys: Mapping[str, Key], tables: tuple[str, ...]) -> str:
        """Say where the key belongs, or which one was meant; returns the key that was meant, else its own name."""
        from logrotor.text import closest

        word = name.lower().replace("-", "_")
        alias = next((key.name for key in keys.values() if word in key.aliases), None)
        meant = alias or closest(word, (*keys, *tables))
        if homes := _homes(name):
            self.wrong(name, "does not belong here", f"it belongs in {homes}")
        elif meant:
            self.wrong(name, "unknown key", f"did you mean {meant!r}?")
        else:
            self.wrong(name, "unknown key", f"accepted: {', '.join(sorted((*keys, *tables)))}")
        return meant or name


def _parsed(key: Key, value: object, place: Place) -> Any:
    """The value of one key, paths made absolute. Raises :class:`Invalid`."""
    if isinstance(value, str) and value == "off" and key.off is not NO_OFF:
        return key.off
    if value is False and key.off is not NO_OFF:
        raise Invalid("does not switch it off", 'write "off"')
    parsed = key.kind.parse(value)
    return key.kind.locate(place, parsed) if key.kind.locate else parsed


def _homes(name: str) -> str:
    """The tables that have the key."""
    places = {
        "the top level": {*TOP, *TABLES},
        "[defaults]": DEFAULTS,
        "[[log]]": LOG,
        "[reopen.NAME]": REOPEN,
        "[queue]": QUEUE,
        "[queue.job]": JOB,
        "[queue.monitor]": MONITOR,
        "[metrics]": METRICS,
        "[page]": PAGE,
    }
    return " or ".join(place for place, keys in places.items() if name in keys)
