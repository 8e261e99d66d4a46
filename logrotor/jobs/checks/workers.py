"""The running workers and schedules, as /proc shows them, against the configuration."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

import logrotor
from logrotor.clock import local_now
from logrotor.config.find import named_config
from logrotor.disk import proc
from logrotor.disk.history import History
from logrotor.errors import ConfigError, LogrotorError
from logrotor.jobs.dispatch import period
from logrotor.jobs.engine import CONFIG_VARIABLE, QueueUnreachable, Site, mask, open_engine, open_site
from logrotor.model import Check, Finding, Problem
from logrotor.text import ours

_MODULE = re.compile(r"logrotor\.jobs\.engines\.([a-z]+)")  # of rq it is rq_settings


def checks(site: Site) -> list[Check]:
    return [
        Check(id="queue.agreement", title="workers name the engine and the queue of the configuration",
              look=lambda: agreement(site)),
        Check(id="queue.arguments", title="workers run with the arguments that the configuration asks for",
              look=lambda: arguments(site)),
        Check(id="queue.single", title="one worker and one schedule", look=lambda: single(site)),
        Check(id="queue.fresh", title="no worker is older than the configuration or the package",
              look=lambda: fresh(site)),
    ]  # fmt: skip


def agreement(site: Site) -> Iterator[Finding]:
    """The application queued to Redis while the worker read from the database: nobody saw it for days."""
    for worker in look()[0]:
        other = _site_of(worker)
        if other is None:
            if worker.config is None and worker.process.uid == os.geteuid():
                yield _hidden(worker)
        elif other.queue == site.queue or _is_ours(worker, site):
            yield from _differences(site, worker, other)


def arguments(site: Site) -> Iterator[Finding]:
    """Limits, queue, serializer and concurrency stand in the arguments; all are generated from the configuration."""
    try:
        wanted = tuple(open_engine(site).worker().argv)
    except (QueueUnreachable, ConfigError):
        return  # reported by queue.reachable
    for worker in _ours(site)[0]:
        found = worker.process.argv
        if worker.engine != site.settings.engine or found[1:] == wanted[1:]:
            continue
        extra = [word for word in found[1:] if word not in wanted]
        lacking = [word for word in wanted[1:] if word not in found]
        yield _outdated(
            site, worker,
            mask(f"its arguments differ; too many: {' '.join(extra) or 'none'}; "
                 f"lacking: {' '.join(lacking) or 'none'}"),
            why="a limit of the worker below that of the job ends it half-way, another serializer cannot read it, and "
            "more tries than the job has are never made",
            advice=f"start it with: {ours('queue worker')}; logrotor queue unit prints a program for it",
        )  # fmt: skip


def single(site: Site) -> Iterator[Finding]:
    workers, schedules = _ours(site)
    hiding = proc.why_hiding()
    if not workers:
        hidden = f"no worker of this queue can be seen on this host, since /proc does not show every process: {hiding}"
        yield Finding(
            subject=site.queue, problem="no worker of this queue runs on this host" if hiding is None else hidden,
            why="jobs are queued, and nobody does them", advice=f"{ours('queue unit --supervisor')} (or --systemd) "
            "prints the program that runs one",
        )  # fmt: skip
    if len(workers) > 1:
        yield Finding(
            subject=site.queue, problem="several workers: " + ", ".join(worker.words for worker in workers),
            why="one job is done at a time in any case; the others only find it busy", advice="stop all but one",
        )  # fmt: skip
    if len(schedules) > 1:
        yield Finding(
            subject=site.queue, problem="several schedules: " + ", ".join(each.words for each in schedules),
            why="each tick is queued several times", advice="stop all but one",
        )  # fmt: skip
    if not schedules and not _has_ticked(site):
        runs = "runs" if hiding is None else f"can be seen ({hiding})"
        yield Finding(
            subject=site.queue, problem=f"no schedule {runs}, and no job has come for two ticks",
            why="nothing is rotated", advice=f"run the worker with --schedule, or {ours('queue schedule')}, or "
            f"{ours('queue dispatch')} from cron",
        )  # fmt: skip


def fresh(site: Site) -> Iterator[Finding]:
    """Old code ran old jobs after a deploy."""
    package = os.stat(logrotor.__file__).st_mtime
    config = max((os.stat(file).st_mtime for file in site.config.files), default=0.0)
    workers, schedules = _ours(site)
    both = {each.pid for each in schedules}  # a worker that its schedule has started ends with it
    for each in (*schedules, *(worker for worker in workers if worker.process.parent not in both)):
        newer = "the package" if package > each.process.started + 1 else "the configuration"
        if max(package, config) > each.process.started + 1:
            yield _outdated(
                site, each, f"was started before {newer} changed",
                why="a job runs with the code and the configuration of now, but the worker around it does not: "
                "engine, URL, queue and limits are those of then",
                advice="restart it: it reads [queue] when it starts (--fix asks it to end, and its manager starts it "
                "again)",
            )  # fmt: skip


def _outdated(site: Site, process: Running, problem: str, *, why: str, advice: str) -> Finding:
    """A process that runs as it should once its manager has started it again."""
    return Finding(
        subject=process.words, problem=problem, why=why, advice=advice, would=f"ask process {process.pid} to end",
        mend=lambda: restart(process, site.settings.job.stop_wait),
    )  # fmt: skip


# ---------------------------------------------------------------- whose they are


def _ours(site: Site) -> tuple[list[Running], list[Running]]:
    workers, schedules = look()
    return [w for w in workers if _is_ours(w, site)], [s for s in schedules if _is_ours(s, site)]


def _is_ours(process: Running, site: Site) -> bool:
    return process.config is not None and os.path.realpath(process.config) == os.path.realpath(site.file)


def _site_of(worker: Running) -> Site | None:
    """The queue that it was started for, in its own environment."""
    if worker.config is None or worker.environ is None:
        return None
    try:
        return open_site(worker.config, worker.environ)
    except (LogrotorError, OSError):
        return None


def _differences(site: Site, worker: Running, other: Site) -> Iterator[Finding]:
    found = replace(other, settings=replace(other.settings, engine=worker.engine or other.settings.engine))
    if found.settings.engine != site.settings.engine:
        problem = f"works with {found.settings.engine}, and jobs are queued with {site.settings.engine}"
    elif _url(other) != _url(site):
        problem = f"works on {mask(_url(other))}, and jobs are queued to {site.shown_url}"
    elif not _is_ours(worker, site):
        problem = f"works on the queue {site.queue} with another configuration, {other.file}"
    else:
        return
    yield _outdated(
        site, worker, problem, why="jobs that are queued here never reach it, or reach it and are refused",
        advice=f"start it with the configuration {site.file} and the same environment as what dispatches",
    )  # fmt: skip


def _url(site: Site) -> str:
    try:
        return site.url
    except LogrotorError as error:
        return str(error)


def _hidden(worker: Running) -> Finding:
    return Finding(
        subject=worker.words,
        problem="its environment may not be seen, so it is unknown which configuration it has",
        why="a worker on another queue would go unseen",
        advice="run the doctor as its user, or as root",
    )


def _has_ticked(site: Site) -> bool:
    """Whether a job has come lately: a schedule may run on another machine, or in cron."""
    now = local_now()
    horizon = 2 * period(site.settings.schedule, now) + site.settings.job.timeout
    return bool(History(site.config.state_dir).attempts_since(now.timestamp() - horizon))


# ---------------------------------------------------------------- processes


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
        """The configuration that it was started with; None if that is unknown."""
        named = (self.environ or {}).get(CONFIG_VARIABLE)
        if "queue" in self.process.argv:  # logrotor's own command line; an engine's has a -c of another meaning
            named = named_config(self.process.argv) or named
        if named is None or os.path.isabs(named):
            return named
        folder = proc.cwd(self.pid)
        return os.path.join(folder, named) if folder else None

    def belongs_to(self, site: Site) -> bool:
        return self.config is not None and os.path.realpath(self.config) == os.path.realpath(site.file)

    @property
    def words(self) -> str:
        """How it is called in a finding."""
        return f"process {self.pid} ({' '.join(self.process.argv)[:120]})"


def look() -> tuple[list[Running], list[Running]]:
    """Our workers and schedules, and root's: what another user's process names is not read, and it is not ours to end.

    Of a worker with children only the first process.
    """
    workers: dict[int, Running] = {}
    schedules: list[Running] = []
    for process in filter(lambda process: process.is_believed, proc.running(b"logrotor")):
        engine = _engine(process.argv)
        if engine is not None:
            workers[process.pid] = Running(process, engine, proc.environ(process.pid))
        elif _is_schedule(process.argv):
            schedules.append(Running(process, None, proc.environ(process.pid)))
    return [w for _, w in sorted(workers.items()) if w.process.parent not in workers], schedules


def restart(running: Running, patience: float) -> str:
    """Ask it to end, once its job is done, so that its manager starts it again. Raises LogrotorError, OSError."""
    ended = f"process {running.pid} was asked to stop and has ended; its manager starts it again"
    os.kill(running.pid, signal.SIGTERM)
    until = time.monotonic() + patience
    while time.monotonic() < until:
        try:
            now = proc.look(running.pid)
        except proc.GONE:
            return ended
        if now.dead or abs(now.started - running.process.started) > 1:
            return ended
        time.sleep(0.05)
    still = f"was asked to stop, and still runs after {patience:g} s"
    raise LogrotorError(Problem(subject=f"process {running.pid}", problem=still))


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
