"""A server that cannot be used is named by its cause, in time: refused connections, locked tables, a silent DNS."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from logrotor.jobs.engine import QueueUnreachable
from tests.jobs.bench import Host, worker_pids
from tests.jobs.servers import PASSWORD, free_port
from tests.support import command
from tests.support.need import need

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

Url = Callable[[str], str]
BOUND = 5.0  # seconds for any command, beside what it takes to start


def refused(host: Host) -> tuple[str, str]:
    """The kind of the problem, and the advice."""
    with pytest.raises(QueueUnreachable) as caught:
        host.engine.counts(host.site.queue)
    assert PASSWORD not in str(caught.value)
    return caught.value.problem.kind, caught.value.problem.advice


@pytest.mark.parametrize("engine", ["procrastinate"])
def test_why_postgresql_refuses_a_connection(host: Host, urls: Url) -> None:
    """By the server's code, whatever its language: who must correct a password is not told to raise a limit."""
    import psycopg

    url, told = urls("procrastinate"), {}
    with psycopg.connect(url, autocommit=True) as admin:
        for role, more in (("few", "LOGIN CONNECTION LIMIT 0"), ("idle", "NOLOGIN")):
            admin.execute(f"DROP ROLE IF EXISTS {role}".encode())
            admin.execute(f"CREATE ROLE {role} PASSWORD '{PASSWORD}' {more}".encode())
        cases = {
            "word": url.replace(PASSWORD, "other"), "user": url.replace("logrotor:", "nobody:"),
            "idle": url.replace("logrotor:", "idle:"), "few": url.replace("logrotor:", "few:"),
            "database": url.replace("/postgres", "/nowhere"), "away": f"postgresql://a:b@127.0.0.1:{free_port()}/c",
            "several": url.replace(PASSWORD, "other").replace("@", f"@127.0.0.1:{free_port()},"),
        }  # fmt: skip
        for name, host.url in cases.items():
            told[name] = refused(host)
    kinds = {name: kind for name, (kind, _) in told.items()}
    assert kinds == {"word": "denied", "user": "denied", "idle": "denied", "few": "full", "database": "missing",
                     "away": "away", "several": "denied"}  # fmt: skip
    assert len({advice for _, advice in told.values()}) == 5, told


@pytest.mark.parametrize("engine", ["procrastinate"])
def test_a_postgresql_without_room_for_one_more(host: Host, urls: Url) -> None:
    """Before it has looked at a password."""
    import psycopg

    with ExitStack() as held, psycopg.connect(urls("procrastinate")) as admin:
        with pytest.raises(psycopg.OperationalError):
            while True:
                held.enter_context(psycopg.connect(urls("procrastinate")))
        assert refused(host)[0] == "full" and admin.closed is False


# ---------------------------------------------------------------- locked tables


@pytest.mark.parametrize("engine", ["procrastinate"])
@pytest.mark.long
def test_a_schedule_beside_locked_tables(host: Host, urls: Url) -> None:
    """An open migration: it says so at each tick and goes on; commands answer; TERM ends it, also in the midst."""
    import psycopg

    host.dispatch()
    argv = command.arguments("queue", "schedule", "-c", host.config)

    def told() -> int:
        return sum(event["event"] == "job.undelivered" for event in host.events())

    with psycopg.connect(urls("procrastinate")) as migration, scheduling(host, argv) as process:
        for table in ("procrastinate_jobs", "procrastinate_events", "procrastinate_periodic_defers"):
            migration.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        for words in (["dispatch"], ["status", "--check"], ["failed"], ["clear", "--failed"]):
            assert bounded(host, *words) == (1, True), words
        host.wait_for(lambda: told() == 1)
        assert process.poll() is None and "locked" in host.said()
        migration.rollback()
        before = host.engine.counts(host.site.queue)[0].pending
        host.wait_for(lambda: host.engine.counts(host.site.queue)[0].pending > before)  # the next tick
        migration.execute("LOCK TABLE procrastinate_jobs IN ACCESS EXCLUSIVE MODE")
        process.terminate()
        assert process.wait(10) == 0


@contextmanager
def scheduling(host: Host, argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with (host.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(argv, env=command.environment(host.environ), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def bounded(host: Host, *words: str, before: tuple[str, ...] = ()) -> tuple[int, bool]:
    """The exit code, and whether the answer came in time, over what the help of the same command takes."""
    took = []
    for more in (["--help"], []):
        began = time.monotonic()
        argv = [*before, *command.arguments("queue", *words, "-c", host.config, *more)]
        result = command.run(argv, env=host.variables)
        took.append(time.monotonic() - began)
    return result.code, took[1] - took[0] < BOUND


# ---------------------------------------------------------------- names


@pytest.fixture
def without_dns(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """How a command is begun whose resolver asks a server that takes every question and answers none."""
    need(os.geteuid() == 0 and shutil.which("unshare"), "root, and unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((f"127.{os.getpid() % 250 + 2}.{os.getpid() // 250 % 250}.53", 53))
        (tmp_path / "resolv.conf").write_text(f"nameserver {server.getsockname()[0]}\n")
        (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
        binds = [f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("resolv.conf", "nsswitch.conf")]
        done = subprocess.run(["unshare", "--mount", "sh", "-ec", "; ".join(binds)], capture_output=True, check=False)
        need(done.returncode == 0, "mount namespaces")
        yield "unshare", "--mount", "sh", "-ec", f'{"; ".join(binds)}; exec "$@"', "sh"


URLS = {
    "rq": "redis://:{word}@queue.example:6379/0", "celery": "redis://:{word}@queue.example:6379/0",
    "procrastinate": "postgresql://logrotor:{word}@queue.example/postgres",
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("engine", URLS)
def test_a_dns_that_is_silent(engine: str, tmp_path: Path, without_dns: tuple[str, ...]) -> None:
    """Every command answers in time and names the cause; worker and schedule say so, wait, and end as asked."""
    need(importlib.util.find_spec(engine), f"the package {engine}")
    host = Host(tmp_path / "host", engine, URLS[engine].format(word=PASSWORD), f"dns-{engine}")
    for words in (["dispatch"], ["status", "--check"], ["failed"], ["retry", "all"], ["clear", "--stale"]):
        needs_none = engine == "celery" and words[0] in ("failed", "retry")  # the history has them all
        assert bounded(host, *words, before=without_dns) == (0 if needs_none else 1, True), words
    asked = command.arguments("doctor", "-c", host.config, "--only", "queue.reachable", "--json")
    ((found,),) = [c["findings"] for c in command.run([*without_dns, *asked], env=host.variables).json["checks"]]
    assert "queue.example" in found["problem"] and "getent" in found["advice"]
    for words in (["worker"], ["schedule"]):
        (host.folder / "worker.log").unlink(missing_ok=True)
        event = {"worker": "worker.waiting", "schedule": "job.undelivered"}[words[0]]
        argv = [*without_dns, *command.arguments("queue", *words, "-c", host.config)]
        with scheduling(host, argv) as process:
            host.wait_for(lambda event=event: any(told["event"] == event for told in host.events()))
            assert "queue.example" in json.dumps(host.events()) and PASSWORD not in host.said()
            process.terminate()
            assert process.wait(20) == 0
        assert not worker_pids(host)


@pytest.mark.parametrize("engine", URLS)
def test_a_name_that_nobody_has(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the name that is wrong, not the server; and the library's user has its own lookups back."""
    need(importlib.util.find_spec(engine), f"the package {engine}")

    def unknown(*args: Any, **options: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("logrotor.jobs.engine._lookup", unknown)
    before, host = socket.getaddrinfo, Host(tmp_path / "host", engine, URLS[engine].format(word=PASSWORD))
    kind, advice = refused(host)
    assert kind == "unresolved" and str(host.config) in advice and socket.getaddrinfo is before
    assert urlsplit(host.url).hostname == "queue.example"
