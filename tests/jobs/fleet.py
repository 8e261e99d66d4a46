"""Many hosts whose queues are on one server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from msgspec.structs import replace

from logrotor.jobs.dispatch import dispatch
from logrotor.jobs.engine import Engine, QueueCount, Site, open_engine

HOSTS = 500


@dataclass(frozen=True)
class Fleet:
    """Hosts with a queue name of their own, so that other tests on the server are not counted."""

    hosts: list[tuple[Site, Engine]]

    @classmethod
    def of(cls, site: Site, number: int = HOSTS) -> Fleet:
        settings = replace(site.settings, name=f"fleet-{uuid4().hex[:8]}")
        sites = [replace(site, settings=settings, host=f"host-{index:03}") for index in range(number)]
        return cls([(each, open_engine(each)) for each in sites])

    def dispatch(self, jobs: int) -> None:
        """So many jobs in all, one host after the other."""
        for index in range(jobs):
            site, engine = self.hosts[index % len(self.hosts)]
            dispatch(site, engine, datetime.now(UTC))

    def counts(self) -> list[QueueCount]:
        """What one host sees of all."""
        site, engine = self.hosts[0]
        return engine.counts(f"{site.settings.name}-")

    def clear(self) -> int:
        """Each host forgets its own; returns how many."""
        return sum(
            engine.forget(site.queue, [job.key for job in engine.pending(site.queue)]) for site, engine in self.hosts
        )
