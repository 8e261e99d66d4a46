"""What the commands that oversee everything take from several rooms: checks, and the queue where there is one."""

from __future__ import annotations

import os
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from logrotor.errors import LogrotorError

if TYPE_CHECKING:
    from logrotor.jobs.status import Status
    from logrotor.model import Check, Config
    from logrotor.observe.metrics import Gauge

MAX_PENDING, MAX_AGE = 10, 600.0  # as in "logrotor queue status --check"


# THE LIST OF ROOMS THAT HAVE CHECKS: each gives a list, and the report has them in this order.
def all_checks(config: Config, now: datetime) -> list[Check]:
    """The doctor's, of all rooms."""
    found: list[Check] = import_module("logrotor.observe.checks").checks(config, now)
    if config.queue is not None:
        found += import_module("logrotor.jobs.checks").checks(config, os.environ)
    return found


def queue_status(config: Config, now: float) -> Status | None:
    """How the queues are; None without a queue. Raises LogrotorError or OSError if the engine cannot be asked."""
    if config.queue is None or not config.files:
        return None
    from logrotor.jobs.engine import open_engine
    from logrotor.jobs.site import open_site
    from logrotor.jobs.status import look

    site = open_site(config.files[0], os.environ)
    if os.path.isabs(site.url) and not os.path.exists(site.url):  # looking must not create it
        return None
    return look(site, open_engine(site), now)


def queue_troubles(config: Config, now: float) -> list[str]:
    """Failed and stuck jobs, jobs that nobody takes, or that the engine cannot be asked."""
    try:
        found = queue_status(config, now)
    except (LogrotorError, OSError) as error:
        return [f"queue: {error}"]
    if found is None:
        return []
    from logrotor.jobs.status import troubles

    return troubles(found, max_pending=MAX_PENDING, max_age=MAX_AGE)


def queue_gauges(config: Config, now: float) -> list[Gauge]:
    """The counts of each queue, as metrics; an engine that cannot be asked is told by their absence."""
    from logrotor.observe.metrics import Gauge

    try:
        found = queue_status(config, now)
    except (LogrotorError, OSError):
        return []
    queues = found.queues if found is not None else ()
    told = {
        "pending": "Jobs that are ready to be taken.",
        "reserved": "Jobs at work.",
        "scheduled": "Jobs that wait for their next attempt.",
        "failed": "Jobs that failed for good.",
        "stuck": "Jobs at work for longer than stuck_after.",
    }
    return [
        Gauge(f"logrotor_queue_{key}_jobs", text, tuple(({"queue": q.queue}, getattr(q, key)) for q in queues))
        for key, text in told.items()
    ]
