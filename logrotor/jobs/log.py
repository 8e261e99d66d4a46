"""Tell the events of jobs on the worker's stderr, one JSON object a line, as the runs do.

Engines set up logging each in its own way, and two of them for their own names only; so this does not rely on it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from logrotor import events

VERBOSITY = "LOGROTOR_VERBOSITY"  # of a worker: -1 errors, 0 warnings, 1 info (the default), 2 debug
_LEVELS = {-1: events.Level.ERROR, 0: events.Level.WARNING, 1: events.Level.INFO, 2: events.Level.DEBUG}


def tell(name: str, /, **fields: Any) -> None:
    """One event. It never raises: a message that nobody can read must not fail a job."""
    level = events.NAMES[name][0]
    wanted = os.environ.get(VERBOSITY, "1")
    if level < _LEVELS.get(int(wanted) if wanted.lstrip("-").isdigit() else 1, events.Level.INFO):
        return
    with contextlib.suppress(OSError, ValueError):
        getattr(_logger(), level.name.lower())(name, **fields)


def _logger() -> Any:
    import structlog
    from structlog.processors import JSONRenderer, TimeStamper, add_log_level

    return structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(0),
        processors=[add_log_level, TimeStamper(fmt="iso", utc=True), JSONRenderer(default=str)],
        context_class=dict,
    )
