"""What a process that serves a queue looks after at each tick: the metrics where no run writes them, and its worker.

Nothing here waits: what takes long, or might hang, is a process of its own that is looked at again later.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from msgspec import Struct

from logrotor.decide.schedule import next_slot
from logrotor.jobs.dispatch import period
from logrotor.jobs.engine import Site
from logrotor.jobs.progress import deadline, progress

_LATER = 10.0  # seconds after a tick, by when the run of its job has mostly written the metrics itself
_MOST = 60.0  # seconds that a command may take


class Watch:
    """``works``: there is a worker to look after; ``now``: the time, also of the ticks."""

    def __init__(self, site: Site, now: Callable[[], datetime], *, works: bool) -> None:
        self._site, self._now, self._works = site, now, works
        self._since = self._seen = now().timestamp()
        self._due = self._after(now())
        self._metrics: _Command | None = None
        self._asked: _Command | None = None
        self.waiting = 0  # jobs, as the engine told last

    def is_idle(self) -> bool:
        """Whether the worker does nothing although jobs wait. Called often; it looks after each tick."""
        now = self._now()
        if self._due is None or now.timestamp() < self._seen:  # the clock was set back
            self._due = self._after(now)
        self._seen = now.timestamp()
        if self._due is not None and self._seen >= self._due:
            tick, self._due = self._due, self._after(now)
            self._write_metrics(tick)
            self._ask(now)
        answer = self._asked.answer() if self._asked is not None else None
        self.waiting = 0 if answer is None else _waiting(answer, self._site.queue)
        return self.waiting > 0

    def close(self) -> None:
        """What is still under way is nobody's business any more."""
        for command in (self._metrics, self._asked):
            if command is not None:
                command.end()

    def _after(self, now: datetime) -> float | None:
        tick = next_slot(self._site.settings.schedule, now)
        return None if tick is None else tick.timestamp() + min(_LATER, period(self._site.settings.schedule, now) / 4)

    def _write_metrics(self, tick: float) -> None:
        path = self._site.config.metrics_textfile
        if path is None or (self._metrics is not None and self._metrics.is_under_way()):
            return
        with suppress(OSError):
            if os.stat(path).st_mtime > tick - _LATER:  # a run has just written them
                return
        self._metrics = _Command(["metrics", "-c", self._site.file])

    def _ask(self, now: datetime) -> None:
        """Only where nothing was begun for some ticks: the engine's answer takes a process, and a connection."""
        self._asked = None
        with suppress(OSError):  # of a history that cannot be read nobody can tell
            if self._works and self._is_quiet(now):
                self._asked = _Command(["queue", "status", "-c", self._site.file, "--json"])

    def _is_quiet(self, now: datetime) -> bool:
        found = progress(self._site, now)
        last = found.last_attempt
        since = max(self._since, *([last.started, last.ended or 0.0] if last is not None else [0.0]))
        until = deadline(self._site, since, now)
        return found.at_work is None and until is not None and now.timestamp() >= until


class _Command:
    """A command of ours that runs beside us."""

    def __init__(self, words: Sequence[str]) -> None:
        self._said = os.memfd_create("logrotor-watch", os.MFD_CLOEXEC)
        argv = [sys.executable, "-P", "-m", "logrotor", *words]
        self._until = time.monotonic() + _MOST
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=self._said, stderr=subprocess.DEVNULL
            )
        except OSError:
            os.close(self._said)
            raise

    def is_under_way(self) -> bool:
        if self._process.poll() is None and time.monotonic() > self._until:
            self._process.kill()
            self._process.wait()
        return self._process.returncode is None

    def answer(self) -> bytes | None:
        """What it has said; None as long as it has not ended, or if it failed."""
        if self.is_under_way() or self._process.returncode != 0:
            return None
        return os.pread(self._said, os.fstat(self._said).st_size, 0)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self._said)


class _Queue(Struct):
    queue: str
    pending: int


class _Status(Struct):
    queues: list[_Queue]


def _waiting(answer: bytes, queue: str) -> int:
    """How many jobs wait, as ``queue status --json`` tells."""
    import msgspec

    with suppress(ValueError):
        return sum(q.pending for q in msgspec.convert(json.loads(answer), _Status).queues if q.queue == queue)
    return 0
