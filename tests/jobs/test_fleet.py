"""500 hosts on one server; what it costs is measured by ``python -m tests.benchmarks.fleet``."""

from __future__ import annotations

import time

import pytest

from tests.jobs.bench import Host
from tests.jobs.fleet import HOSTS, Fleet

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("engine", ["procrastinate", "rq", "celery"]),
]


def test_a_fleet_is_counted_and_cleared_whole(host: Host) -> None:
    """Every queue of every host is seen from each, with its number of jobs and its oldest; clearing leaves none."""
    fleet, began = Fleet.of(host.site), time.time()
    fleet.dispatch(HOSTS + 100)
    counts = fleet.counts()
    assert sorted(count.pending for count in counts) == [1] * (HOSTS - 100) + [2] * 100
    assert {count.queue for count in counts} == {site.queue for site, _ in fleet.hosts}
    assert all(count.oldest is not None and began - 1 <= count.oldest <= time.time() for count in counts)
    assert fleet.clear() == HOSTS + 100
    assert sum(count.pending for count in fleet.counts()) == 0
