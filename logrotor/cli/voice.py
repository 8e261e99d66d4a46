"""What a watch prints: of each run what is new in it, and of one that had nothing to do nothing."""

from __future__ import annotations

import threading
import time

from msgspec import Struct

from logrotor.cli.damping import Damper
from logrotor.cli.output import EventPrinter
from logrotor.errors import ConfigError
from logrotor.events import Event, made
from logrotor.model import Config, Problem

_COUNTS = ("rotated", "compressed", "removed", "failed")
_END = ("run.completed", "run.interrupted")


class _Run(Struct):
    """A run whose events come."""

    damper: Damper
    started: Event | None = None  # and not printed yet


class Voice:
    """An ``on_event`` for the two threads of a watch. A problem that lasts is printed as by a cron line: see damping.

    ``all_of_it``: each run is printed whole, also one that finds nothing to do.
    """

    def __init__(self, printer: EventPrinter, config: Config, *, all_of_it: bool) -> None:
        self._printer, self._all = printer, all_of_it
        self._lock = threading.Lock()
        self._runs: dict[int, _Run] = {}
        self.config = config

    def __call__(self, event: Event) -> None:
        with self._lock:
            if self._all:
                self._printer(event)
            else:
                self._hear(event)

    def _hear(self, event: Event) -> None:
        run = self._run()
        if event.name == "run.started":
            run.started = event
        elif event.name in _END:
            if run.started is None or event.name != "run.completed" or _is_news(event):
                self._print(run, event)
        elif (shown := run.damper.filter(event)) is not None and event.level >= self._printer.level:
            self._print(run, shown)

    def _print(self, run: _Run, event: Event) -> None:
        if run.started is not None:
            self._printer(run.started)
            run.started = None
        self._printer(event)

    def _run(self) -> _Run:
        """That of the thread which asks."""
        files = self.config.files[:1]
        return self._runs.setdefault(
            threading.get_ident(), _Run(Damper(self.config.state_dir, (*files, "watch"), time.time()))
        )

    def settle(self, *, whole: bool) -> None:
        """A run has ended in this thread: print what is no longer wrong, and remember the rest."""
        with self._lock:
            run = self._runs.pop(threading.get_ident(), None)
            if run is not None:
                run.damper.settle(self._printer.show, whole=whole)

    def say(self, name: str, **fields: object) -> None:
        """Something of the watch itself."""
        with self._lock:
            self._printer(made(name, fields))

    def complain(self, error: Exception) -> None:
        """A run could not take place."""
        for problem in problems_of(error):
            self(made("run.failed", {"error": str(problem)}, problem.subject, problem.problem))
        self.settle(whole=False)


def problems_of(error: Exception) -> list[Problem]:
    if isinstance(error, ConfigError):
        return [each.as_problem for each in error.problems]
    found = getattr(error, "problem", None)
    if isinstance(found, Problem):
        return [found]
    what = f"unexpected {type(error).__name__}: {error}"
    return [Problem(subject="", problem=what, advice="this is a bug, please report it")]


def _is_news(event: Event) -> bool:
    return any(event.fields.get(name) for name in _COUNTS)
