"""A Redis that is restarted under workers: they go on, and nothing that waits is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.jobs.bench import Host
from tests.jobs.servers import PASSWORD, await_port, free_port
from tests.support.need import need

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(180),
    pytest.mark.parametrize("engine", ["rq", "celery"]),
]


@dataclass
class Server:
    """One that writes all down, as in the examples."""

    folder: Path
    port: int = field(default_factory=free_port)

    def start(self) -> None:
        conf = self.folder / "redis.conf"
        conf.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {PASSWORD}\ndir {self.folder}\nappendonly yes\n"
        )
        self.process = subprocess.Popen(["redis-server", str(conf)], stdout=subprocess.DEVNULL)
        await_port(self.port, self.process)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    need(shutil.which("redis-server"), "redis-server")
    (tmp_path / "redis").mkdir()
    made = Server(tmp_path / "redis")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def host(server: Server, engine: str, tmp_path: Path) -> Host:
    return Host(tmp_path / "alpha", engine, f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0")


def test_workers_outlive_a_restart_of_their_server(host: Host, server: Server) -> None:
    """Away for two seconds: the worker goes on with new jobs and with retries, and no password is told."""
    host.grow()
    with host.working() as worker:
        host.dispatch()
        host.wait_for_endings("done")
        server.stop()
        time.sleep(2)
        server.start()
        host.log.unlink(missing_ok=True)
        job = host.dispatch()
        host.wait_for_endings("done", "failed", "failed", "failed")
        assert worker.poll() is None
    assert {attempt.job for attempt in host.attempts()[1:]} == {job}
    assert PASSWORD not in host.said()


def test_jobs_that_wait_outlive_a_restart_of_their_server(host: Host, server: Server) -> None:
    """What was queued is there again, and is done once."""
    host.grow()
    jobs = [host.dispatch() for _ in range(3)]
    server.stop()
    server.start()
    kept = host.engine.pending(host.site.queue)
    assert [json.loads(entry.payload)["id"] for entry in kept] == jobs
    with host.working():
        host.wait_for_endings("done", "done", "done")
    assert [attempt.job for attempt in host.attempts()] == jobs
