"""The running workers and schedules, as they have signed in and as /proc shows them, against the configuration."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator

from msgspec.structs import replace

from logrotor.clock import local_now
from logrotor.disk import proc
from logrotor.disk.history import History
from logrotor.errors import ConfigError, LogrotorError
from logrotor.jobs import progress
from logrotor.jobs.dispatch import period
from logrotor.jobs.engine import QueueUnreachable, Site, mask, open_engine
from logrotor.jobs.processes import Running, look
from logrotor.jobs.renewal import managed, renew
from logrotor.jobs.serving import program
from logrotor.model import Check, Finding
from logrotor.text import ours

_YOUNG = 15.0  # seconds in which a process may still be about to sign in
_OLD = (
    "an attempt runs with the code and the configuration of now, but the worker around it does not: engine, URL, queue "
    "and limits are those of then"
)


def checks(site: Site) -> list[Check]:
    return [
        Check(id="queue.fresh", title="what runs has loaded the configuration and the code of now",
              look=lambda: fresh(site)),
        Check(id="queue.agreement", title="workers name the engine and the queue of the configuration",
              look=lambda: agreement(site)),
        Check(id="queue.arguments", title="workers run with the arguments that the configuration asks for",
              look=lambda: arguments(site)),
        Check(id="queue.single", title="one worker and one schedule", look=lambda: single(site)),
    ]  # fmt: skip


def fresh(site: Site) -> Iterator[Finding]:
    """Old code ran old jobs after a deploy. What was loaded counts, not when a file was touched."""
    code = program(site.settings.engine)
    for head in look(site).of(site).heads:
        if head.signed is not None:
            problem = _changed(site, head, code)
            advice = ours("queue restart")
        else:
            young = time.time() - head.process.started < _YOUNG
            problem = "" if young else "has not signed in, so it is unknown which configuration and code it has"
            advice = managed(site, head).command
        if problem:
            yield _renewable(site, head, problem, why=_OLD, advice=advice)


def _changed(site: Site, head: Running, code: str) -> str:
    """What it has loaded and what is there now; empty: the same."""
    assert head.signed is not None
    named = site.config.queue.host or socket.gethostname() if site.config.queue is not None else site.host
    if head.signed.loaded != site.loaded:
        return "the configuration, or the URL of the queue, has changed since it was loaded"
    if head.signed.program != code:
        return "logrotor, or its engine, has changed since it was loaded"
    if head.signed.host != named:
        return f"has the queue of the host {head.signed.host}, and this host is {named} by now"
    return ""


def _renewable(site: Site, head: Running, problem: str, *, why: str, advice: str) -> Finding:
    """A process that runs as it should once it has begun anew; where nobody could have it, nothing is done."""
    manager = managed(site, head)
    can = head.signed is not None or manager.argv
    how = "have it begin anew after the job at work" if head.signed is not None else manager.command
    return Finding(
        subject=head.words, problem=problem, why=why, advice=advice, would=f"process {head.pid}: {how}" if can else "",
        mend=(lambda: renew(site, head)) if can else None,
    )  # fmt: skip


def agreement(site: Site) -> Iterator[Finding]:
    """The application queued to Redis while the worker read from the database: nobody saw it for days.

    A worker belongs to this queue by engine, URL and name, and to this configuration by its file. Another application's
    with the same name on another server is neither.
    """
    seen = look(site)
    for worker in seen.workers:
        other = worker.site()
        if other is not None:
            yield from _differences(site, worker, other)
        elif worker.config is None and worker.process.uid == os.geteuid():
            yield _hidden(worker)
    for head in seen.heads:
        if head.is_of(site) and not (head.signed or head.process.is_believed):
            yield Finding(
                subject=head.words, problem=f"works with this configuration as {head.user}",
                why="two users lock each other out of the state directory and of the logs",
                advice=f"stop it, and start it as the one who owns {site.config.state_dir}",
            )  # fmt: skip


def _differences(site: Site, worker: Running, other: Site) -> Iterator[Finding]:
    found = replace(other, settings=replace(other.settings, engine=worker.engine or other.settings.engine))
    if worker.is_of(site):
        if found.settings.engine != site.settings.engine:
            problem = f"works with {found.settings.engine}, and jobs are queued with {site.settings.engine}"
        elif _url(other) != _url(site):
            problem = f"works on {mask(_url(other))}, and jobs are queued to {site.shown_url}"
        else:
            return
        advice = 'start it with the same environment as what dispatches, or name the URL for both: url = "file:PATH"'
    elif (found.settings.engine, other.queue, _place(other)) == (site.settings.engine, site.queue, _place(site)):
        problem = f"works on the queue {site.queue} with another configuration, {other.file}"
        advice = "give each configuration a [queue] name of its own"
    else:
        return
    yield Finding(
        subject=worker.words, problem=problem, advice=advice,
        why="jobs that are queued here never reach it, or reach it and are refused",
    )  # fmt: skip


def _url(site: Site) -> str:
    try:
        return site.url
    except LogrotorError as error:
        return str(error)


def _place(site: Site) -> str:
    """Where the queue is, whoever logs in there, and however."""
    url = _url(site)
    return re.sub(r"(?<=://).*@", "", url.partition("?")[0]) if "://" in url else os.path.realpath(url)


def _hidden(worker: Running) -> Finding:
    return Finding(
        subject=worker.words,
        problem="its environment may not be seen, so it is unknown which configuration it has",
        why="a worker on another queue would go unseen",
        advice="run the doctor as its user, or as root",
    )


def arguments(site: Site) -> Iterator[Finding]:
    """Limits, queue, serializer and concurrency stand in the arguments; all are generated from the configuration."""
    try:
        wanted = tuple(open_engine(site).worker().argv)
    except (QueueUnreachable, ConfigError):
        return  # reported by queue.reachable
    for worker in look(site).of(site).workers:
        found = worker.process.argv
        if worker.engine != site.settings.engine or found[1:] == wanted[1:]:
            continue
        extra = [word for word in found[1:] if word not in wanted]
        lacking = [word for word in wanted[1:] if word not in found]
        yield Finding(
            subject=worker.words,
            problem=mask(f"its arguments differ; too many: {' '.join(extra) or 'none'}; "
                         f"lacking: {' '.join(lacking) or 'none'}"),
            why="a limit of the worker below that of the job ends it half-way, another serializer cannot read it, and "
            "more tries than the job has are never made",
            advice=f"start it with: {ours('queue worker')}; logrotor queue unit prints a program for it",
        )  # fmt: skip


def single(site: Site) -> Iterator[Finding]:
    seen = look(site).of(site)
    workers, schedules, hiding = seen.workers, seen.schedules, proc.why_hiding()
    beyond = {each.role for each in progress.workers(site) if each.seen is not None}  # in another pid namespace
    if not workers and "worker" not in beyond:
        hidden = f"no worker of this queue can be seen on this host, since /proc does not show every process: {hiding}"
        yield Finding(
            subject=site.queue, problem="no worker of this queue runs on this host" if hiding is None else hidden,
            why="jobs are queued, and nobody does them", advice=f"{ours('queue unit --supervisor')} (or --systemd) "
            "prints the program that runs one",
        )  # fmt: skip
    if len(workers) > 1:
        yield _several(site, "worker", workers, "one job is done at a time in any case; the others only find it busy")
    if len(schedules) > 1:
        yield _several(site, "schedule", schedules, "each tick is queued several times")
    if not schedules and "schedule" not in beyond and not _has_ticked(site):
        runs = "runs" if hiding is None else f"can be seen ({hiding})"
        yield Finding(
            subject=site.queue, problem=f"no schedule {runs}, and no job has come for two ticks",
            why="nothing is rotated", advice=f"run the worker with --schedule, or {ours('queue schedule')}, or "
            f"{ours('queue dispatch')} from cron",
        )  # fmt: skip


def _several(site: Site, noun: str, found: list[Running], why: str) -> Finding:
    told = ", ".join(each.words for each in found)
    return Finding(subject=site.queue, problem=f"several {noun}s: {told}", why=why, advice="stop all but one")


def _has_ticked(site: Site) -> bool:
    """Whether a job has come lately: a schedule may run on another machine, or in cron."""
    now = local_now()
    horizon = 2 * period(site.settings.schedule, now) + site.settings.job.timeout
    return bool(History(site.config.state_dir).attempts_since(now.timestamp() - horizon))
