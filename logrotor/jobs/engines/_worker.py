"""What the process of every engine's worker does: wait for a server that cannot be used, not end too early, be brief.

A process manager gives up on a program that ends a few times soon after its start, for ever. So a worker that cannot
work waits, and one that ends by itself has lived for a while, and its exit code is 1.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from logrotor.jobs.engine import QueueUnreachable, Site, one_line
from logrotor.jobs.task import tell

LIFE = 10.0  # seconds that a worker lives at least: twice the startsecs of the programs that "queue unit" prints
_PAUSE = 5.0  # seconds between two looks for a server that cannot be used
_began = time.monotonic()
_is_asked = False


def begin(site: Site, look: Callable[[], object], quiet: tuple[type[BaseException], ...]) -> None:
    """Before the engine's own code runs. ``look`` raises QueueUnreachable as long as no job could be taken.

    ``quiet``: exceptions of the server's, which the engine would log with a traceback of a page.
    """
    _note_requests_to_stop()
    logging.setLogRecordFactory(_in_one_line(logging.getLogRecordFactory(), quiet))
    atexit.register(_end, os.getpid())
    wait_for(site, look)


def wait_for(site: Site, look: Callable[[], object]) -> None:
    """Until the queue can be used. Each reason is told once."""
    told = ""
    while True:
        try:
            look()
            return
        except QueueUnreachable as error:
            if str(error) != told:
                told = str(error)
                tell("worker.waiting", error=told, queue=site.queue)
        time.sleep(_PAUSE)


def ask() -> None:
    """The worker is to end: whatever follows is no failure."""
    global _is_asked
    _is_asked = True


def _note_requests_to_stop() -> None:
    """Engines have handlers of their own, each in its own place; what they are called for is noted before."""
    install = signal.signal

    def noted(signum: Any, handler: Any) -> Any:
        if signum not in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT) or not callable(handler):
            return install(signum, handler)

        def handle(*args: Any) -> None:
            ask()
            handler(*args)

        return install(signum, handle)

    signal.signal = noted  # type: ignore[assignment]


def _end(worker: int) -> None:
    """At the exit of the process that a manager knows, not of its children."""
    if _is_asked or os.getpid() != worker:
        return
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(signum, signal.SIG_DFL)
    time.sleep(max(0.0, _began + LIFE - time.monotonic()))
    os._exit(1)  # procrastinate ends with 0 when a task of its own has failed


def _in_one_line(
    make: Callable[..., logging.LogRecord], quiet: tuple[type[BaseException], ...]
) -> Callable[..., logging.LogRecord]:
    def record(*args: Any, **options: Any) -> logging.LogRecord:
        made = make(*args, **options)
        error = made.exc_info[1] if made.exc_info else None
        if isinstance(error, quiet):
            made.msg, made.args, made.exc_info = f"{made.getMessage()}: {one_line(error)}", (), None
        handled = sys.exc_info()[1]
        if isinstance(handled, quiet) and isinstance(made.args, tuple):  # rq writes a traceback as an argument
            pages = (isinstance(each, str) and len(each.splitlines()) > 1 for each in made.args)
            made.args = tuple(one_line(handled) if page else each for page, each in zip(pages, made.args, strict=True))
        return made

    return record
