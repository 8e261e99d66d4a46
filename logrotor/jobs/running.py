"""The processes of the queue that run on this machine, as /proc shows them: workers and schedules."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping

from msgspec import Struct

from logrotor.disk import proc
from logrotor.errors import LogrotorError
from logrotor.jobs.site import CONFIG_VARIABLE

_MODULE = re.compile(r"logrotor\.jobs\.engines\.([a-z]+)")  # of rq it is rq_settings


class Running(Struct, frozen=True, dict=True):
    """A process that works on a queue, or dispatches to one. ``environ`` is None where it may not be seen."""

    process: proc.Process
    engine: str | None  # of a worker; None for a schedule
    environ: Mapping[str, str] | None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def config(self) -> str | None:
        """The configuration that it was started with; None if that cannot be told."""
        named = _after(self.process.argv, "-c", "--config") or (self.environ or {}).get(CONFIG_VARIABLE)
        if named is None or os.path.isabs(named):
            return named
        folder = proc.cwd(self.pid)
        return os.path.join(folder, named) if folder else None

    @property
    def words(self) -> str:
        """How it is called in a finding."""
        return f"process {self.pid} ({' '.join(self.process.argv)[:120]})"


def look() -> tuple[list[Running], list[Running]]:
    """The workers and the schedules. Of a worker with children only the first process."""
    workers: dict[int, Running] = {}
    schedules: list[Running] = []
    for process in proc.running(b"logrotor"):
        engine = _engine(process.argv)
        if engine is not None:
            workers[process.pid] = Running(process, engine, proc.environ(process.pid))
        elif _is_schedule(process.argv):
            schedules.append(Running(process, None, proc.environ(process.pid)))
    return [w for _, w in sorted(workers.items()) if w.process.parent not in workers], schedules


def restart(running: Running, patience: float) -> str:
    """Ask it to end, once its job is done, so that its manager starts it anew. Raises LogrotorError, OSError."""
    os.kill(running.pid, signal.SIGTERM)
    until = time.monotonic() + patience
    while time.monotonic() < until:
        try:
            now = proc.look(running.pid)
        except proc.GONE:
            return f"process {running.pid} was asked to stop and has ended; its manager starts it anew"
        if now.dead or abs(now.started - running.process.started) > 1:
            return f"process {running.pid} was asked to stop and has ended; its manager starts it anew"
        time.sleep(0.05)
    raise LogrotorError(f"process {running.pid} was asked to stop, and still runs after {patience:g} s")


def _engine(argv: tuple[str, ...]) -> str | None:
    """The engine of a worker: its own command line names our module. A shell that quotes it is none."""
    if not argv or os.path.basename(argv[0]) in ("sh", "bash", "dash", "grep"):
        return None
    return next((found[1] for word in argv[1:] if (found := _MODULE.search(word))), None)


def _is_schedule(argv: tuple[str, ...]) -> bool:
    words = list(argv)
    if "queue" not in words or not any("logrotor" in word for word in words[: words.index("queue")]):
        return False
    after = words[words.index("queue") + 1 :]
    return "schedule" in after or ("worker" in after and "--schedule" in after)


def _after(argv: tuple[str, ...], *options: str) -> str | None:
    """The value of an option, as ``-c FILE`` or ``--config=FILE``; only of logrotor's own command lines."""
    if "queue" not in argv:
        return None
    for place, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name in options:
            return value if equals else next(iter(argv[place + 1 : place + 2]), None)
    return None
