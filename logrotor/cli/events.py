"""Bind the events of a run to structlog, on stderr: for people on a terminal, as JSON lines otherwise.

structlog costs 30 ms to import and a quiet run prints nothing, so it comes with the first event that is shown.
It is never configured globally: a library that hosts us keeps its own set-up.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from logrotor.cli.session import Session
from logrotor.cli.streams import is_terminal
from logrotor.cli.text import printable
from logrotor.events import Event, Level

_LEVELS = {-1: Level.ERROR, 0: Level.WARNING, 1: Level.INFO, 2: Level.DEBUG}


class EventPrinter:
    """An ``on_event`` for a rotator. It never raises: a message nobody can read must not stop a rotation."""

    def __init__(self, session: Session, before: Callable[[], object] = lambda: None) -> None:
        self.level = _LEVELS[max(-1, min(2, session.verbosity))]
        self._json = session.json_messages
        self._before = before  # clears a progress bar from the line
        self._logger: Any = None

    def __call__(self, event: Event) -> None:
        if event.level < self.level:
            return
        # A closed pipe or a full disk behind stderr; the report and the exit code still tell.
        with contextlib.suppress(OSError, ValueError):
            self._before()
            self._logger = self._logger or _logger(as_json=self._json)
            getattr(self._logger, event.level.name.lower())(event.name, **_safe(event.fields))


def _safe(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields under names that structlog does not use itself."""
    taken = ("self", "event", "level", "timestamp")
    return {f"{key}_" if key in taken else key: value for key, value in fields.items()}


def _logger(*, as_json: bool) -> Any:
    import structlog

    return structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(0),
        processors=_json_processors() if as_json else _console_processors(),
        context_class=dict,
    )


def _json_processors() -> list[Any]:
    from structlog.processors import JSONRenderer, TimeStamper, add_log_level

    from logrotor.model import as_json

    # as_json: values such as paths in tuples or enums; ASCII: file names of any bytes come through.
    return [add_log_level, TimeStamper(fmt="iso", utc=True), lambda _, __, e: as_json(e), JSONRenderer(default=str)]


def _console_processors() -> list[Any]:
    from structlog.dev import ConsoleRenderer
    from structlog.processors import TimeStamper, add_log_level

    stamper = TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False)
    return [_shown_values, add_log_level, stamper, ConsoleRenderer(colors=has_colours(), sort_keys=False)]


def has_colours() -> bool:
    """Whether stderr may get ANSI codes (https://no-color.org)."""
    return is_terminal(sys.stderr) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _shown_values(_: Any, __: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {key: value if key == "event" else _Value(value) for key, value in fields.items()}


class _Value:
    """A field on the console: escaped, and quoted where it has blanks."""

    def __init__(self, value: Any) -> None:
        text = value if isinstance(value, str) else str(value)
        shown = printable(text)
        self._text = f'"{shown}"' if " " in shown or not shown else shown

    def __repr__(self) -> str:
        return self._text
