"""A worker under supervisord, and the faults of its server one after the other: it is back without a person.

Each fault begins while a job is at work, so that the job's end finds the server gone, and lasts longer than the
manager's patience, which is none: one end before ``startsecs`` is FATAL, for ever.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from logrotor.jobs.engine import QueueUnreachable
from tests.jobs.bench import Host, attempt_pids
from tests.jobs.servers import PASSWORD, PostgreSQL, forwarded, free_port, redis_in
from tests.support import command, supervisor

LASTING = 12.0  # seconds: longer than startsecs and than the pauses of the engines
Do = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """How it begins and ends. ``kind``: of the problem that every command names; "": over before anybody looks."""

    name: str
    kind: str
    begin: Do
    end: Do


@pytest.fixture
def server(engine: str, tmp_path: Path) -> Iterator[tuple[str, list[Fault]]]:
    """A URL, and what may befall the server there."""
    with SERVERS[engine](tmp_path) as made:
        yield made


@contextmanager
def redis(tmp_path: Path) -> Iterator[tuple[str, list[Fault]]]:
    from redis import Redis

    (tmp_path / "redis").mkdir()
    server = redis_in(tmp_path / "redis", "appendonly yes\n")
    url = f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"

    def word(word: str) -> None:
        with Redis.from_url(url) as admin:
            admin.ping()
            admin.config_set("requirepass", word)
            admin.client_kill_filter(_type="normal", skipme=True)

    def told(*words: object) -> Do:
        return lambda: Redis.from_url(url).execute_command(*words)

    def forgive() -> None:
        Redis.from_url(url.replace(PASSWORD, "other")).config_set("requirepass", PASSWORD)

    try:
        yield (
            url,
            [
                Fault("away", "away", server.stop, server.start),
                Fault("full", "full", told("CONFIG", "SET", "maxmemory", 1), told("CONFIG", "SET", "maxmemory", 0)),
                Fault(
                    "silent",
                    "silent",
                    lambda: os.kill(server.process.pid, signal.SIGSTOP),
                    lambda: os.kill(server.process.pid, signal.SIGCONT),
                ),
                Fault(
                    "replica",
                    "read-only",
                    told("REPLICAOF", "127.0.0.1", free_port()),
                    told("REPLICAOF", "NO", "ONE"),
                ),
                Fault("denied", "denied", lambda: word("other"), forgive),
            ],
        )
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
        server.stop()


@contextmanager
def postgresql(tmp_path: Path) -> Iterator[tuple[str, list[Fault]]]:
    import psycopg

    with tempfile.TemporaryDirectory(prefix="postgres-") as folder, ExitStack() as stack:
        server = PostgreSQL(folder)
        stack.callback(server.stop)
        port = free_port()
        proxy = stack.enter_context(forwarded(port, server.port))
        held: list[Any] = []

        def told(*statements: str) -> Do:
            def tell() -> None:
                with psycopg.connect(server.url, autocommit=True) as admin:
                    for statement in statements:
                        admin.execute(statement.encode())

            return tell

        def lock() -> None:
            held.append(psycopg.connect(server.url))
            held[0].execute("LOCK TABLE procrastinate_jobs IN ACCESS EXCLUSIVE MODE")

        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        reload = "SELECT pg_reload_conf()"

        def forgive() -> None:
            with psycopg.connect(server.url.replace(PASSWORD, "other"), autocommit=True) as admin:
                admin.execute(f"ALTER ROLE logrotor PASSWORD '{PASSWORD}'".encode())

        yield (
            server.url.replace(str(server.port), str(port)),
            [
                Fault("away", "away", server.stop, server.start),
                Fault("locked", "locked", lock, lambda: held.pop().close()),
                Fault(
                    "silent",
                    "silent",
                    lambda: proxy.send_signal(signal.SIGSTOP),
                    lambda: proxy.send_signal(signal.SIGCONT),
                ),
                Fault(
                    "read-only",
                    "read-only",
                    told("ALTER SYSTEM SET default_transaction_read_only = on", reload, kill),
                    told("ALTER SYSTEM RESET default_transaction_read_only", reload),
                ),
                Fault("denied", "denied", told("ALTER ROLE logrotor PASSWORD 'other'", kill), forgive),
            ],
        )


@contextmanager
def sqlite(tmp_path: Path) -> Iterator[tuple[str, list[Fault]]]:
    file = tmp_path / "queue.sqlite"
    held: list[sqlite3.Connection] = []

    def lock() -> None:
        held.append(sqlite3.connect(file, isolation_level=None))
        held[0].execute("BEGIN EXCLUSIVE")

    def damage() -> None:
        file.write_bytes(b"x" * file.stat().st_size)

    yield (
        str(file),
        [
            Fault("removed", "", file.unlink, lambda: None),
            Fault("locked", "locked", lock, lambda: held.pop().close()),
            Fault("damaged", "damaged", damage, lambda: file.rename(f"{file}.damaged")),
        ],
    )


SERVERS: Mapping[str, Callable[[Path], Any]] = {
    "huey": sqlite, "procrastinate": postgresql, "rq": redis, "celery": redis,
}  # fmt: skip


@dataclass
class Deployment:
    """A host whose worker supervisord runs; this test is its schedule."""

    host: Host
    jobs: list[str] = field(default_factory=list)

    def tick(self) -> str:
        """The id of the job."""
        self.host.grow()
        self.jobs.append(self.host.dispatch())
        return self.jobs[-1]

    def is_back(self) -> None:
        """The next tick's job is done."""
        job = self.tick()
        self.host.wait_for(lambda: job in self.done())

    def done(self) -> Counter[str]:
        return Counter(a.job for a in self.host.attempts() if a.ending.value == "done")

    def commands(self) -> tuple[float, list[command.Result]]:
        """What an operator asks, all at once; and the seconds until the last has answered."""
        began = time.monotonic()
        with ThreadPoolExecutor() as pool:
            asked = [
                pool.submit(self.host.queue, "status", "--check", check=None),
                pool.submit(self.host.queue, "dispatch", check=None),
                pool.submit(self._doctor),
            ]
            results = [each.result() for each in asked]
        return time.monotonic() - began, results

    def _doctor(self) -> command.Result:
        return command.logrotor(
            "doctor", "-c", self.host.config, "--only", "queue", env=self.host.variables, check=None
        )


@pytest.fixture
def deployment(
    server: tuple[str, list[Fault]], engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    # A name of its own: doctor looks at the workers of all tests that run beside this one.
    host = Host(tmp_path / "host", engine, server[0], f"{engine}-{tmp_path.parent.name}")
    text = host.config.read_text().replace("[queue.job]", 'schedule = "0 0 1 1 *"\n[queue.job]')
    host.config.write_text(text.replace("backup_count = 5", "backup_count = 500"))
    for name, value in host.environ.items():
        monkeypatch.setenv(name, value)
    program = re.sub("startretries = .*", "startretries = 0", host.queue("unit", "--supervisor").stdout)
    program = re.sub("stdout_logfile = .*", f"stdout_logfile = {host.folder}/worker.log", program)
    (tmp_path / "supervisord").mkdir()
    with supervisor.running(program, tmp_path / "supervisord") as running:
        yield Deployment(host)
        assert "FATAL" not in running.log, f"{running.log}\n{host.said()}"


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", SERVERS)
def test_rotation_is_back_after_every_fault(deployment: Deployment, server: tuple[str, list[Fault]]) -> None:
    """No job is done twice or lost silently; every command answers and names the cause, and --check is red."""
    host = deployment.host
    deployment.is_back()
    usual, results = deployment.commands()
    assert [result.code for result in results] == [0, 0, 0], results
    for fault in server[1]:
        host.slow.write_text("3")
        deployment.tick()
        host.wait_for(lambda: attempt_pids(host))
        fault.begin()
        host.slow.unlink()
        until = time.monotonic() + LASTING
        while fault.kind and time.monotonic() < until:
            seconds, results = deployment.commands()
            assert [result.code for result in results] == [1, 1, 1], (fault.name, results)
            assert seconds < 5 + 3 * usual, (fault.name, seconds, usual)
            with pytest.raises(QueueUnreachable) as caught:
                host.engine.counts(host.site.queue)
            assert caught.value.problem.kind == fault.kind, (fault.name, caught.value)
        fault.end()
        deployment.is_back()
    host.wait_for(lambda: "running" not in host.endings())
    assert set(deployment.done().values()) == {1}
    _nothing_is_lost(deployment)
    assert "Traceback" not in host.said()
    host.wait_for(lambda: deployment.commands()[1][0].code == 0)


def _nothing_is_lost(deployment: Deployment) -> None:
    """A job that was queued has an attempt, is on the queue, or was on the file that somebody removed."""
    host = deployment.host
    if host.engine_name == "huey":
        return
    seen = {attempt.job for attempt in host.attempts()}
    host.wait_for(lambda: host.engine.counts(host.site.queue)[0].pending == 0)
    assert set(deployment.jobs) - seen == set()
