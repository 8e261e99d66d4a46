"""Gather from several rooms: the checks of all, the state of the queue where there is one, the content of the page."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from msgspec import Struct

from logrotor.errors import ConfigError, LogrotorError
from logrotor.model import Problem

if TYPE_CHECKING:
    from logrotor.jobs.backlog import Status
    from logrotor.model import Check, Config
    from logrotor.observe.causes import Attention
    from logrotor.observe.deployment import Deployment
    from logrotor.observe.metrics import Metric
    from logrotor.observe.page.content import Facts, Queues


# THE LIST OF ROOMS THAT HAVE CHECKS: each gives a list, and the report has them in this order.
def all_checks(here: Deployment) -> list[Check]:
    """The doctor's, of all rooms."""
    config = here.config
    found: list[Check] = import_module("logrotor.observe.checks").checks(here)
    if config.queue is not None or any(problem.is_of_queue for problem in config.problems):
        found += import_module("logrotor.jobs.checks").checks(config, os.environ)
    return found


class Asked(Struct, frozen=True):
    """What the engine answered, or why it did not; nothing of it where there is no queue, or no file of it yet."""

    status: Status | None = None
    problem: Problem | None = None
    troubles: Sequence[Attention] = ()  # what a monitoring system should be told
    reached: bool | None = True  # None: something else was wrong first


def ask_queue(config: Config, now: datetime, *, asking: int | None = None) -> Asked:
    """Ask the engine, once: one that is not there takes its time to say so. ``asking``: see ``backlog.status``."""
    if config.queue is None or not config.files:
        return Asked()
    from logrotor.errors import problem_of
    from logrotor.jobs.engine import QueueUnreachable
    from logrotor.observe.attention import of_problem

    try:
        status, troubles = _asked(config, now, asking)
    except (LogrotorError, OSError) as error:
        problem = problem_of(error, "queue")
        reached = False if isinstance(error, QueueUnreachable | ConfigError) else None
        return Asked(problem=problem, troubles=[of_problem(problem.under("queue"), "queue")], reached=reached)
    return Asked(status=status, troubles=[of_problem(each, "queue") for each in troubles])


def _asked(config: Config, now: datetime, asking: int | None) -> tuple[Status | None, list[Problem]]:
    from logrotor.disk.files import is_there
    from logrotor.jobs import backlog, progress
    from logrotor.jobs.engine import open_engine, site_of

    site = site_of(config, os.environ)
    if os.path.isabs(site.url) and not is_there(site.url):  # looking must not create it
        found = progress.stopped(site, progress.progress(site, now), progress.workers(site), now.timestamp())
        return None, [found] if found is not None else []
    status = backlog.status(site, open_engine(site), now, asking=asking)
    return status, backlog.troubles(site, status, now)


def sample_queue(config: Config, *, asking: int | None = None) -> None:
    """Add the counts of this host's queue to the samples; nothing where the engine does not answer."""
    from logrotor.clock import local_now
    from logrotor.disk import samples

    now = local_now()
    found = ask_queue(config, now, asking=asking).status
    if found is not None:
        counts = {q.queue: (q.pending, q.reserved, q.scheduled, q.failed, q.stuck) for q in found.queues if q.is_ours}
        samples.keep_queues(config.state_dir, now.timestamp(), counts)


# ---------------------------------------------------------------- metrics


def write_metrics(path: str, config: Config, *, asking: int | None = None) -> None:
    """The metrics, in place of those that are there. ``asking``: see ``backlog.status``.

    Raises Busy where somebody writes them just now, another LogrotorError, or OSError.
    """
    from logrotor.clock import local_now
    from logrotor.observe import metrics

    now = local_now()
    metrics.write(path, config, now, more=queue_metrics(config, now, asking))


def render_metrics(config: Config) -> bytes:
    """The metrics for standard output. Raises LogrotorError or OSError."""
    from logrotor.clock import local_now
    from logrotor.observe import metrics

    now = local_now()
    return metrics.text(config, now, more=queue_metrics(config, now)).encode()


def queue_metrics(config: Config, now: datetime, asking: int | None = None) -> list[Metric]:
    """The queue of this host, its attempts and its worker; what is not known is left out, and one metric says so."""
    if config.queue is None or not config.files:
        return []
    from logrotor.jobs import measures
    from logrotor.jobs.engine import site_of
    from logrotor.observe.metrics import Metric

    asked = ask_queue(config, now, asking=asking)
    found = measures.of(site_of(config, os.environ), now, asked.status, asked.reached)
    return [Metric(each.name, each.help, each.samples, each.kind) for each in found]


# ---------------------------------------------------------------- the page


def render_page(config: Config, now: datetime) -> bytes:
    """The page for standard output. Raises LogrotorError or OSError."""
    from logrotor.observe.page.render import render

    with _uncollected():
        return render(_facts(config, now)).encode()


def write_page(path: str, config: Config, now: datetime) -> None:
    """The page, in place of the one that is there. Raises LogrotorError or OSError."""
    from logrotor.disk.publish import PAGE, Output
    from logrotor.observe.page.render import write

    with Output(os.path.abspath(path), PAGE) as output, _uncollected():
        write(output, _facts(config, now))


@contextmanager
def _uncollected() -> Iterator[None]:
    """All that is made for a page lives until it is written: to search it took 40 % of the time of 10,000 logs."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _facts(config: Config, now: datetime) -> Facts:
    import logrotor
    from logrotor.observe.deployment import Deployment
    from logrotor.observe.doctor import examine
    from logrotor.observe.page.content import Origin, gather

    asked, here = ask_queue(config, now), Deployment(config, now)  # one look, for status and doctor
    configuration = config.files[0] if config.files else "given as a dict"
    return gather(
        here,
        Origin(os.uname().nodename, configuration, config.state_dir, logrotor.__version__),
        queues=_queues(config.queue.engine, asked) if config.queue is not None else None,
        troubles=list(asked.troubles),
        examined=list(examine(all_checks(here))),
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
