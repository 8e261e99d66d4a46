"""Gather from several rooms: the checks of all, the state of the queue where there is one, the content of the page."""

from __future__ import annotations

import os
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from msgspec import Struct

from logrotor.errors import LogrotorError
from logrotor.model import Problem

if TYPE_CHECKING:
    from logrotor.jobs.backlog import Status
    from logrotor.model import Check, Config
    from logrotor.observe.attention import Attention
    from logrotor.observe.metrics import Gauge
    from logrotor.observe.page.content import Facts, Queues

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
    from logrotor.jobs.backlog import status
    from logrotor.jobs.engine import open_engine, open_site

    site = open_site(config.files[0], os.environ)
    if os.path.isabs(site.url):  # looking must not create it
        try:
            os.stat(site.url)
        except FileNotFoundError:
            return None
    return status(site, open_engine(site), now)


class Asked(Struct, frozen=True):
    """What the engine answered, or why it did not; both None where there is nothing to ask."""

    status: Status | None = None
    problem: Problem | None = None

    @property
    def troubles(self) -> list[Attention]:
        """Failed and stuck jobs, jobs that nobody takes, or that the engine cannot be asked."""
        from logrotor.jobs.backlog import troubles
        from logrotor.observe.attention import of_problem

        if self.problem is not None:
            return [of_problem(self.problem.under("queue"), "queue")]
        found = troubles(self.status, max_pending=MAX_PENDING, max_age=MAX_AGE) if self.status is not None else []
        return [of_problem(each, "queue") for each in found]


def ask_queue(config: Config, now: float) -> Asked:
    """Ask the engine, once: one that is not there takes its time to say so."""
    try:
        return Asked(status=queue_status(config, now))
    except (LogrotorError, OSError) as error:
        from logrotor.errors import problem_of

        return Asked(problem=problem_of(error, "queue"))


def queue_troubles(config: Config, now: float) -> list[Attention]:
    """What a monitoring system should be told of the queue."""
    return ask_queue(config, now).troubles if config.queue is not None else []


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


# ---------------------------------------------------------------- the page


def render_page(config: Config, now: datetime) -> bytes:
    """The page for standard output. Raises LogrotorError or OSError."""
    from logrotor.observe.page.render import render

    return render(_facts(config, now)).encode()


def write_page(path: str, config: Config, now: datetime) -> None:
    """The page, in place of the one that is there. Raises LogrotorError or OSError."""
    from logrotor.disk.publish import PAGE, Output
    from logrotor.observe.page.render import write

    with Output(os.path.abspath(path), PAGE) as output:
        write(output, _facts(config, now))


def _facts(config: Config, now: datetime) -> Facts:
    import logrotor
    from logrotor.observe.deployment import Deployment
    from logrotor.observe.doctor import examine
    from logrotor.observe.page.content import Origin, gather

    asked = ask_queue(config, now.timestamp())
    configuration = config.files[0] if config.files else "given as a dict"
    return gather(
        Deployment(config, now),
        Origin(os.uname().nodename, configuration, config.state_dir, logrotor.__version__),
        queues=_queues(config.queue.engine, asked) if config.queue is not None else None,
        troubles=asked.troubles if config.queue is not None else [],
        examined=list(examine(all_checks(config, now))),
    )


def _queues(engine: str, asked: Asked) -> Queues:
    from msgspec import convert

    from logrotor.observe.page.content import Queue, Queues

    found = asked.status
    if found is None:
        return Queues(engine, problem=asked.problem)
    rows = convert(found.queues, list[Queue], from_attributes=True)
    return Queues(f"{found.engine}, {found.url}", rows, _processing(found))


def _processing(found: Status) -> str:
    from logrotor import text

    done = found.processing
    if not done.attempts:
        return "No attempt on this host in 24 hours."
    endings = ", ".join(f"{number} {ending}" for ending, number in done.endings.items())
    times = "" if done.mean is None else f", mean {text.brief(done.mean)}, longest {text.brief(done.longest or 0.0)}"
    return f"Last 24 hours on this host: {text.count(done.attempts, 'attempt')} ({endings}){times}"
