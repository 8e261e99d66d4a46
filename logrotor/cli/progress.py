"""A progress bar for long compressions, on a terminal only."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 1.0  # seconds of compression before a bar is worth a line
LARGE = 64 * 1024 * 1024  # or bytes to compress


class Progress:
    """An ``on_progress`` for a rotator. It never raises, and leaves an empty line behind."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._began is None:
            self._began = self._clock()
        if self._bar is None and (total > LARGE or self._clock() - self._began > PATIENCE):
            import click

            # color=False: click then hides no cursor, which a kill would leave hidden.
            self._bar = click.progressbar(length=total, label="Compressing", file=sys.stderr, color=False)
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self._show(done, total)

    def _show(self, done: int, total: int) -> None:
        self._bar.length, self._bar.pos, self._bar.finished = total, done, False
        self._bar.make_step(0)
        self._bar.render_progress()

    def clear(self) -> None:
        """Take the bar off its line; the next call draws it again."""
        if self._bar is not None and self._bar.max_width:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write("\r" + " " * self._bar.max_width + "\r")
                sys.stderr.flush()
            self._bar._last_line = None
