"""The examples with a queue as they stand: a real PostgreSQL or Redis, a real supervisord, one job."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from logrotor.jobs.engine import open_site
from tests.jobs.servers import PASSWORD, RedisServer, free_port
from tests.papers.story import Reader
from tests.papers.test_examples import PHP, large
from tests.support import oracle, supervisor
from tests.support.command import CHECKOUT
from tests.support.fixtures import world_tree
from tests.support.need import need

ENGINES = {"queue-postgresql": "procrastinate", "queue-redis": "rq", "queue-celery": "celery"}
pytestmark = [pytest.mark.servers, pytest.mark.timeout(180), pytest.mark.parametrize("name", ENGINES)]
WORD = "herring-" + secrets.token_hex(8)


@dataclass(frozen=True)
class Example:
    """The folder of an example, and the URL of its supervisord.conf with the real password and place."""

    name: str
    port: int

    @property
    def folder(self) -> Path:
        return CHECKOUT / "examples" / self.name

    @property
    def programs(self) -> str:
        return (self.folder / "supervisord.conf").read_text()

    @property
    def url(self) -> str:
        (url,) = re.findall(r"LOGROTOR_QUEUE_URL=(\S+)", self.programs)
        return re.sub("5432|6379", str(self.port), str(url).replace("PASSWORD", WORD))


@pytest.fixture
def example(name: str, urls: Callable[[str], str]) -> Iterator[Example]:
    """With the database of its database.sql, or the server of its redis.conf."""
    with _postgresql(name, urls) if name == "queue-postgresql" else _redis(name) as made:
        yield made


@contextmanager
def _postgresql(name: str, urls: Callable[[str], str]) -> Iterator[Example]:
    need(shutil.which("psql"), "psql")
    made = Example(name, urlsplit(urls("procrastinate")).port or 0)
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(made.port), "PGUSER": "logrotor", "PGDATABASE": "postgres"}
    (said,) = re.findall(r"^--     (psql .*)$", (made.folder / "database.sql").read_text(), re.MULTILINE)
    subprocess.run(
        ["sh", "-ec", said], cwd=made.folder, check=True, input=f"{WORD}\n", text=True, stdout=subprocess.DEVNULL,
        env={**os.environ, **place, "PGPASSWORD": PASSWORD},
    )  # fmt: skip
    yield made


@contextmanager
def _redis(name: str) -> Iterator[Example]:
    made = Example(name, free_port())
    with tempfile.TemporaryDirectory(prefix="redis-") as place:
        conf = (made.folder / "redis.conf").read_text().replace("PASSWORD", WORD).replace("6379", str(made.port))
        server = RedisServer(Path(place), conf.replace("/var/lib/redis", place), made.port)
        yield made
        server.stop()


@pytest.fixture
def reader(example: Example, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """www-data's application with the files of the example, and php and logrotor in the PATH."""
    with world_tree() as folder:
        made = Reader(folder)
        (made.app / "storage/logs").mkdir(parents=True)
        (made.app / "storage/logs/default-queue.log").write_bytes(large("default-queue.log"))
        shutil.copy(example.folder / "logrotor.toml", made.app)
        (made.bin / "php.py").write_text(PHP)
        (made.bin / "php").write_text(f'#!/bin/sh\nexec {sys.executable} {made.bin}/php.py {CHECKOUT} "$@"\n')
        (made.bin / "php").chmod(0o755)
        (made.app / "supervisord.pid").symlink_to("storage/supervisord.pid")
        made.own()
        monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
        monkeypatch.setenv("LOGROTOR_QUEUE_URL", example.url)
        yield made


def test_a_job_rotates_a_supervised_log(reader: Reader, example: Example) -> None:
    """`logrotor queue dispatch` while all runs: the log over 10 MB is rotated, no line is lost, no password is told.

    The doctor has nothing to say of the worker that runs.
    """
    app = reader.app
    logs = app / "storage/logs"
    started = supervisor.start(example.programs, app, reader.user)
    try:
        supervisor.wait_for((logs / "default-queue.log").exists)
        _logrotor(reader, example, "queue dispatch")
        supervisor.wait_for((logs / "default-queue.log.1.zst").exists)
        assert "://" in (told := _logrotor(reader, example, "queue status")) and ":***@" in told
        _logrotor(reader, example, "doctor --only queue")
        (app / "storage/stop").touch()
        supervisor.wait_for((app / "storage/default.count").exists)
        number = int((app / "storage/default.count").read_text())
        supervisor.wait_for(lambda: oracle.line("default", number) in (logs / "default-queue.log").read_bytes())
        commands = "\n".join(started.children().values())
        assert "queue worker --schedule" in commands and WORD not in commands
    finally:
        started.stop()
    expected = {"default": number, "default-error": number, "history-default-queue.log": 10_600}
    oracle.count(logs, "default-queue.log", expected=expected).check()
    told = (logs / "log-rotation.log").read_text()
    assert '"run.completed"' in told and WORD not in told and "Traceback" not in told, told


def _logrotor(reader: Reader, example: Example, command: str) -> str:
    line = f"LOGROTOR_QUEUE_URL={example.url} logrotor {command} -c logrotor.toml"
    code, output = reader.shell(line, terminal=False)
    assert code == 0 and WORD not in output, output
    return output


def test_what_stands_in_the_files(name: str) -> None:
    """supervisord is more patient than an attempt may take long, and the password is in the environment only."""
    folder = CHECKOUT / "examples" / name
    site = open_site(str(folder / "logrotor.toml"), {"LOGROTOR_QUEUE_URL": "redis://127.0.0.1/0"})
    (seconds,) = re.findall(r"^stopwaitsecs +=+ (\d+)$", (folder / "supervisord.conf").read_text(), re.MULTILINE)
    assert int(seconds) >= site.settings.job.stop_wait
    assert (site.settings.engine, site.settings.url) == (ENGINES[name], "env:LOGROTOR_QUEUE_URL")
