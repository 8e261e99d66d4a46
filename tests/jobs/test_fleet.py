"""500 hosts on one server: what a dispatch, the status and clearing cost, and that none gets worse than linear."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from logrotor.jobs.dispatch import dispatch
from logrotor.jobs.engine import Engine, open_engine
from logrotor.jobs.site import Site
from tests.jobs.bench import Host

ENGINES = ["procrastinate", "rq", "celery"]
HOSTS = 500
SIZES = (50, 500, 5_000)
FACTOR = 20  # at ten times the jobs: loose, because the machine is shared
LEAST = 0.02  # seconds: a smaller figure is noise

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("engine", ENGINES),
]


@dataclass(frozen=True)
class Cost:
    """Seconds for ``jobs`` jobs in all."""

    jobs: int
    dispatch: float
    status: float
    clear: float


def test_a_fleet_costs_no_more_than_in_proportion(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten times the jobs cost about ten times as much, and the status of all hosts is one quick question."""
    fleet = _fleet(host.site)
    costs = [_measure(fleet, jobs) for jobs in SIZES]
    with capsys.disabled():
        print(_table(host.engine_name, costs))
    _, few, many = costs
    for name in ("dispatch", "status", "clear"):
        assert getattr(many, name) <= FACTOR * max(getattr(few, name), LEAST), _table(host.engine_name, costs)
    assert many.status < 5


def _fleet(site: Site) -> list[tuple[Site, Engine]]:
    """Hosts with names of their own, so that other tests on the server are not counted."""
    settings = replace(site.settings, name=f"fleet-{uuid4().hex[:8]}")
    sites = [replace(site, settings=settings, host=f"host-{number:03}") for number in range(HOSTS)]
    return [(each, open_engine(each)) for each in sites]


def _measure(fleet: list[tuple[Site, Engine]], jobs: int) -> Cost:
    first, engine = fleet[0]
    prefix = f"{first.settings.name}-"
    with _Watch() as dispatching:
        for number in range(jobs):
            site, own = fleet[number % HOSTS]
            dispatch(site, own, datetime.now(UTC))
    asked = []
    for _ in range(3):
        with _Watch() as asking:
            counts = engine.counts(prefix)
        asked.append(asking.seconds)
    assert sum(count.pending for count in counts) == jobs
    assert len([count for count in counts if count.pending]) == min(jobs, HOSTS)
    assert all(count.oldest is None or count.oldest <= time.time() for count in counts)
    with _Watch() as clearing:
        gone = sum(_clear(site, own) for site, own in fleet[:jobs])
    assert gone == jobs and sum(count.pending for count in engine.counts(prefix)) == 0
    return Cost(jobs, dispatching.seconds, min(asked), clearing.seconds)


def _clear(site: Site, engine: Engine) -> int:
    return engine.forget(site.queue, [job.key for job in engine.pending(site.queue)])


class _Watch(AbstractContextManager["_Watch"]):
    """How long the block took."""

    seconds: float

    def __enter__(self) -> _Watch:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began


def _table(name: str, costs: list[Cost]) -> str:
    rows = [f"{c.jobs:>6,} {c.dispatch:>12.2f} {c.status:>12.3f} {c.clear:>12.2f}" for c in costs]
    head = f"{'jobs':>6} {'dispatch s':>12} {'status s':>12} {'clear s':>12}"
    return "\n".join([f"\n{name}, {HOSTS} hosts", head, *rows])
