"""Times that must fit into each other: own timeout, the engine's, reclaim, stuck, expiry, the commands of the run."""

from __future__ import annotations

from collections.abc import Iterator

from logrotor.act.deadline import Deadline
from logrotor.clock import local_now
from logrotor.jobs.dispatch import lifetime, period
from logrotor.jobs.engine import Site
from logrotor.model import Check, Codec, Finding


def checks(site: Site) -> list[Check]:
    return [
        Check(id="queue.limits", title="each limit is below the next outer one", look=lambda: limits(site)),
        Check(id="queue.expiry", title="a job expires before the next one comes", look=lambda: expiry(site)),
    ]


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
