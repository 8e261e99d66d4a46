"""The queue itself: is it within reach, and are the jobs on it ours to read?"""

from __future__ import annotations

from collections.abc import Iterator

from logrotor.errors import ConfigError
from logrotor.jobs import payload
from logrotor.jobs.engine import QueueUnreachable, Site, open_engine
from logrotor.model import Check, Finding


def checks(site: Site) -> list[Check]:
    return [
        Check(id="queue.reachable", title="the queue is within reach", look=lambda: reachable(site)),
        Check(id="queue.format", title="the jobs on the queue can be read", look=lambda: readable(site)),
    ]


def reachable(site: Site) -> Iterator[Finding]:
    try:
        open_engine(site).counts(site.queue)
    except (QueueUnreachable, ConfigError) as error:
        yield Finding(
            subject=f"{site.settings.engine}, {site.shown_url}",
            problem=str(error),
            why="no job can be queued, so nothing is rotated unless cron does it",
            advice="start the server, or set [queue] url to where it is",
        )


def readable(site: Site) -> Iterator[Finding]:
    """Both sides must write JSON: a job of another serializer is one that no worker can read."""
    try:
        engine = open_engine(site)
        waiting = engine.pending(site.queue)
    except (QueueUnreachable, ConfigError):
        return  # told by the check before
    odd = [entry for entry in waiting if not _is_readable(entry.payload)]
    if odd:
        yield Finding(
            subject=site.queue,
            problem=f"{len(odd)} of {len(waiting)} waiting jobs cannot be read",
            why="whoever queued them uses another format or a newer logrotor; the worker refuses them",
            advice="queue with: logrotor queue dispatch; and use one version on both sides",
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
