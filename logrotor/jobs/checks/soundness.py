"""The queue and its jobs: within reach, readable, and with times that fit into each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from msgspec import to_builtins

from logrotor.act.context import Deadline
from logrotor.clock import local_now
from logrotor.disk.identity import set_mode
from logrotor.errors import ConfigError
from logrotor.jobs import payload
from logrotor.jobs.dispatch import lifetime, period
from logrotor.jobs.engine import QueueUnreachable, Site, open_engine
from logrotor.model import Check, Codec, FileId, Finding
from logrotor.text import ours, typed


def checks(site: Site) -> list[Check]:
    return [
        Check(
            id="queue.reachable",
            title="the queue is within reach",
            look=lambda: reachable(site),
            facts=lambda: health(site),
        ),
        Check(id="queue.secret", title="nobody else may read the URL", look=lambda: secret(site)),
        Check(id="queue.format", title="the jobs on the queue can be read", look=lambda: readable(site)),
        Check(id="queue.limits", title="each limit is below the next outer one", look=lambda: limits(site)),
        Check(id="queue.expiry", title="a job expires before the next one comes", look=lambda: expiry(site)),
    ]


def reachable(site: Site) -> Iterator[Finding]:
    try:
        open_engine(site).counts(site.queue)
    except (QueueUnreachable, ConfigError) as error:
        found = [each.as_problem for each in error.problems] if isinstance(error, ConfigError) else [error.problem]
        for problem in found:
            yield Finding(
                subject=f"{site.settings.engine}, {site.shown_url}",
                problem=problem.problem,
                why="no job can be queued, so nothing is rotated unless cron does it",
                advice=problem.advice or "start the server, or set [queue] url to where it is",
            )


def health(site: Site) -> dict[str, object]:
    """How the store of the queues stands, as far as it says so."""
    found = to_builtins(open_engine(site).health())
    return {name: value for name, value in found.items() if value is not None}


def secret(site: Site) -> Iterator[Finding]:
    """Of a file that holds the URL, and with it a password."""
    path = (site.settings.url or "").removeprefix("file:")
    if path == (site.settings.url or ""):
        return
    status = os.stat(path)
    if status.st_mode & 0o007:
        # Of another owner's file we may have the URL by its group.
        mode = status.st_mode & (0o700 if status.st_uid == os.geteuid() else 0o770)
        command = f"chmod {mode:04o} {typed(path)}"
        mend = partial(set_mode, path, mode, FileId(status.st_dev, status.st_ino))
        yield Finding(
            subject=path, problem=f"mode {status.st_mode & 0o777:04o}: anyone may read the URL of the queue",
            why="whoever has the password may queue jobs, and read and remove those of others",
            advice=command, would=command, mend=mend if status.st_uid == os.geteuid() else None,
        )  # fmt: skip


def readable(site: Site) -> Iterator[Finding]:
    """Both sides must write JSON: a job of another serializer is one that no worker can read."""
    try:
        engine = open_engine(site)
        waiting = engine.pending(site.queue)
    except (QueueUnreachable, ConfigError):
        return  # reported by the check before
    odd = [entry for entry in waiting if not _is_readable(entry.payload)]
    if odd:
        yield Finding(
            subject=site.queue,
            problem=f"{len(odd)} of {len(waiting)} waiting jobs cannot be read",
            why="whoever queued them uses another format or a newer logrotor; the worker refuses them",
            advice=f"queue with: {ours('queue dispatch')}; and use one version on both sides",
            would=f"remove {len(odd)} unreadable jobs from {site.queue}",
            mend=lambda: f"{engine.forget(site.queue, [entry.key for entry in odd])} removed",
        )


def _is_readable(text: str) -> bool:
    try:
        payload.decode(text)
    except payload.Unacceptable:
        return False
    except payload.Stale:
        return True
    return True


def limits(site: Site) -> Iterator[Finding]:
    job = site.settings.job
    chain = (job.timeout + job.grace, job.engine_timeout, job.reclaim_after, job.stuck_after)
    if sorted(chain) != list(chain):
        yield Finding(
            subject="[queue.job]",
            problem="timeout and grace, the engine's limit, its reclaim time and stuck_after are "
            + ", ".join(f"{seconds:g} s" for seconds in chain),
            why="a job would be given to a second worker, or be called stuck, while it still works",
            advice=f"set stuck_after above {job.reclaim_after:g}s",
        )
    for rule in site.config.logs:
        if rule.on_archive and rule.on_archive_timeout > job.time_limit:
            yield Finding(
                subject=f"rule {rule.name}: on_archive_timeout",
                problem=f"is {rule.on_archive_timeout:g} s, and an attempt has {job.time_limit:g} s",
                why="a command that needs its time is stopped each time, and its archive is never handed over",
                advice=f"raise [queue.job] timeout above {rule.on_archive_timeout:g}s, or lower on_archive_timeout",
            )
        late = None if rule.compress is Codec.NONE else Deadline.after(job.time_limit).why_not(rule.max_size or 0)
        if late is not None:
            yield Finding(
                subject=f"rule {rule.name}: max_size",
                problem=f"{late}: an attempt has {job.time_limit:g} s",
                why="such an archive is put off by every job, and stays as large as it is",
                advice="raise [queue.job] timeout, or lower max_size",
            )


def expiry(site: Site) -> Iterator[Finding]:
    now = local_now()
    lives, gap = lifetime(site, now), period(site.settings.schedule, now)
    if lives >= gap:
        yield Finding(
            subject="[queue.job] expires",
            problem=f"is {lives:g} s, and a job comes every {gap:g} s",
            why="behind a worker that was away, old jobs pile up and are all carried out",
            advice="leave it out (nine tenths of the period), or set it below the period",
        )
