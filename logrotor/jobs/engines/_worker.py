"""What the process of an engine's worker does before the engine's own code: wait for a server that cannot be used."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from logrotor.jobs.engine import QueueUnreachable, Site, bound_lookups, one_line
from logrotor.jobs.task import tell

_PAUSE = 5.0  # seconds between two looks for a server that cannot be used


def begin(site: Site, look: Callable[[], object], quiet: tuple[type[BaseException], ...]) -> None:
    """Return when a job could be taken: ``look`` raises QueueUnreachable until then. Each reason is told once.

    ``quiet``: exceptions of the server's, which the engine would log with a traceback of a page.
    """
    bound_lookups()
    logging.setLogRecordFactory(_in_one_line(logging.getLogRecordFactory(), quiet))
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
