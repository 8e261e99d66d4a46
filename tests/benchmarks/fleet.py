"""500 hosts on one server: what dispatching, the status and clearing cost, at 50, 500 and 5,000 jobs.

    python -m tests.benchmarks.fleet [procrastinate] [rq] [celery]

Starts real servers on loopback in temp folders. Rows are made by real dispatch through the engine's own API.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.jobs.bench import Host
from tests.jobs.conftest import SERVERS
from tests.jobs.fleet import Fleet

SIZES = (50, 500, 5_000)


def main() -> None:
    """Print a table for each engine."""
    for engine in sys.argv[1:] or SERVERS:
        with SERVERS[engine]() as url, tempfile.TemporaryDirectory() as folder:
            fleet = Fleet.of(Host(Path(folder) / "host", engine, url, "host").site)
            print(f"{engine}, {len(fleet.hosts)} hosts\n{'jobs':>6} {'dispatch s':>11} {'status s':>9} {'clear s':>8}")
            for jobs in SIZES:
                dispatched = measure(partial(fleet.dispatch, jobs))
                asked = min(measure(fleet.counts) for _ in range(3))
                print(f"{jobs:>6,} {dispatched:>11.2f} {asked:>9.3f} {measure(fleet.clear):>8.2f}")


def measure(work: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
