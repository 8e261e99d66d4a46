"""The reference of all keys and events: from the tables that the code itself works by, as Markdown for the README."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import NODEFAULT, Struct

from logrotor import events, text
from logrotor.config.keys import JOB, LOG, MANAGERS, METRICS, MONITOR, NO_OFF, PAGE, QUEUE, REOPEN, TOP, Key
from logrotor.config.values import mode
from logrotor.model import Manager


class Table(Struct, frozen=True):
    """One table of a configuration. ``word``: how it is asked for; ``see``: the section of the README on it."""

    word: str
    names: tuple[str, ...]
    keys: Mapping[str, Key]
    about: str
    see: str = ""

    @property
    def title(self) -> str:
        return " and ".join(self.names)


TABLES = (
    Table("top", ("Top level",), TOP, "These go before the first table."),
    Table(
        "log",
        ("[[log]]", "[defaults]"),
        LOG,
        "Every key but `name` and `paths` may also be in `[defaults]`, for all rules; "
        '`"off"` in a rule unsets what it would inherit.',
    ),
    Table(
        "reopen",
        ("[reopen.NAME]",),
        REOPEN,
        "Who is asked to reopen logs; a rule names it with `reopen`. Managers: who needs the key.",
    ),
    Table("queue", ("[queue]",), QUEUE, "The rotation as a job on a queue", "On a queue"),
    Table("queue.job", ("[queue.job]",), JOB, "How often and how long a job is tried: the same on every engine."),
    Table("queue.monitor", ("[queue.monitor]",), MONITOR, "From when on a queue needs attention."),
    Table("metrics", ("[metrics]",), METRICS, "For Prometheus", "See what is"),
    Table("page", ("[page]",), PAGE, "For a browser", "A page"),
)


def reference() -> str:
    """The reference of all keys; the same text for the same table of keys."""
    return "\n\n".join(map(_section, TABLES))


def event_table() -> str:
    """Every event with its level, meaning and fields."""
    rows = [[f"`{name}`", kind.level.name.lower(), kind.meaning, kind.fields] for name, kind in events.NAMES.items()]
    return _lines(["Event", "Level", "Meaning", "Fields"], rows)


def _section(table: Table) -> str:
    managers = table.keys is REOPEN
    head = ["Key", "Accepted", "Default", "What it does", *(["Managers"] if managers else [])]
    rows = [_row(key) + ([used_by(key)] if managers else []) for key in table.keys.values()]
    title = " and ".join(f"`{name}`" if name.startswith("[") else name for name in table.names)
    link = f"; see [{table.see}](#{table.see.lower().replace(' ', '-')})." if table.see else ""
    return f"### {title}\n\n{table.about}{link}\n\n{_lines(head, rows)}"


def _lines(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    return "\n".join(_line(row) for row in [head, ["---"] * len(head), *rows])


def _row(key: Key) -> list[str]:
    return [f"`{key.name}`", key.accepted, default_of(key), key.doc]


def default_of(key: Key) -> str:
    """What holds without the key, as one would write it."""
    value = key.value
    if key.without:
        return key.without
    if value is NODEFAULT:
        return "required"
    if value is None or value == ():
        return "none" if key.off is NO_OFF else "off"
    return f'"{value:04o}"' if key.kind.parse is mode else _spelled(value)


def _spelled(value: Any) -> str:
    import json

    if isinstance(value, tuple):
        return f"[{', '.join(json.dumps(_spelled(item)) for item in value)}]"
    if isinstance(value, float):
        return text.duration(value)
    if isinstance(value, (enum.Enum, bool)):
        return str(value).lower()
    return json.dumps(value)


def used_by(key: Key) -> str:
    """The managers of a reopen target that need the key, or may have it."""
    if key.allowed == frozenset(Manager):
        return "all"
    return ", ".join(
        f"{m.value} ({'required' if m in key.required else 'optional'})" for m in MANAGERS if m in key.allowed
    )


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
