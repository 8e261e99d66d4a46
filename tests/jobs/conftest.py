"""Servers that live as long as the tests of a worker process, and hosts on them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.jobs import servers
from tests.jobs.bench import Host
from tests.support.need import need

MakeHost = Callable[[str], Host]

SERVERS = {"procrastinate": servers.postgresql, "rq": servers.redis, "celery": servers.redis}


@pytest.fixture(scope="session")
def urls() -> Iterator[Callable[[str], str | None]]:
    """The URL of an engine's server, which is started when it is first asked for; None: needs none."""
    with ExitStack() as stack:
        known: dict[object, str] = {}

        def url(engine: str) -> str | None:
            start = SERVERS.get(engine)
            if start is None:
                return None
            if start not in known:
                known[start] = stack.enter_context(start())
            return known[start]

        yield url


@pytest.fixture
def make_host(engine: str, urls: Callable[[str], str | None], tmp_path: Path) -> Iterator[MakeHost]:
    """Hosts of one deployment: they share the queue's server, or for huey the file. Their workers are ended."""
    need(importlib.util.find_spec(engine), f"the package {engine}")
    url = urls(engine) or str(tmp_path / "queue.sqlite")
    hosts: list[Host] = []

    def make(name: str) -> Host:
        # Two tests on one server do not meet.
        own = f"log-rotation-{hashlib.sha256(bytes(tmp_path)).hexdigest()[:6]}"
        host = Host(tmp_path / name, engine, url, f"{name}-{tmp_path.name}-{tmp_path.parent.name}", queue_name=own)
        hosts.append(host)
        return host

    yield make


@pytest.fixture
def host(make_host: MakeHost) -> Host:
    return make_host("alpha")
