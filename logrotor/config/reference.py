"""Render the table of keys as Markdown, for the README."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import NODEFAULT

from logrotor import text
from logrotor.config.keys import JOB, LOG, MANAGERS, METRICS, MONITOR, NO_OFF, PAGE, QUEUE, REOPEN, TOP, Key
from logrotor.config.values import mode
from logrotor.model import Manager


def reference() -> str:
    """The reference of all keys; the same text for the same table of keys."""
    return "\n\n".join(
        [
            _section("Top level", TOP, "Stand at the head of the file, before the first table."),
            _section(
                "`[[log]]` and `[defaults]`",
                LOG,
                "Every key but `name` and `paths` may stand in `[defaults]`, for all rules; "
                '`"off"` in a rule unsets what it would inherit.',
            ),
            _section(
                "`[reopen.NAME]`",
                REOPEN,
                "Who is asked to reopen logs; a rule names it with `reopen`. The last column: who needs the key.",
                managers=True,
            ),
            _section("`[queue]`", QUEUE, "The rotation as a job on a queue; see [On a queue](#on-a-queue)."),
            _section("`[queue.job]`", JOB, "How often and how long a job is tried: the same on every engine."),
            _section("`[queue.monitor]`", MONITOR, "From when on a queue needs attention."),
            _section("`[metrics]`", METRICS, "For Prometheus; see [See what is](#see-what-is)."),
            _section("`[page]`", PAGE, "For a browser; see [A page](#a-page)."),
        ]
    )


def _section(title: str, keys: Mapping[str, Key], about: str, *, managers: bool = False) -> str:
    head = ["Key", "Accepted", "Default", "What it does", *(["Managers"] if managers else [])]
    rows = [_row(key) + ([_used_by(key)] if managers else []) for key in keys.values()]
    return f"### {title}\n\n{about}\n\n" + "\n".join(_line(row) for row in [head, ["---"] * len(head), *rows])


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


def _used_by(key: Key) -> str:
    if key.allowed == frozenset(Manager):
        return "all"
    return ", ".join(
        f"{m.value} ({'required' if m in key.required else 'optional'})" for m in MANAGERS if m in key.allowed
    )


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
