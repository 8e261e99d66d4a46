"""examples/queue-postgresql as it stands: a real PostgreSQL, a real supervisord, one job."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from logrotor.jobs.engine import open_site
from tests.jobs.servers import PASSWORD
from tests.papers.story import Reader
from tests.papers.test_examples import PHP, large
from tests.support import oracle, supervisor
from tests.support.command import CHECKOUT
from tests.support.fixtures import world_tree
from tests.support.need import need

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

EXAMPLE = CHECKOUT / "examples" / "queue-postgresql"
WORD = "herring-" + secrets.token_hex(8)


@pytest.fixture
def database(urls: Callable[[str], str]) -> str:
    """The database of database.sql, made as it says; its URL is that of supervisord.conf, with the real place."""
    need(shutil.which("psql"), "psql")
    server = urlsplit(urls("procrastinate"))
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "logrotor", "PGDATABASE": "postgres"}
    (said,) = re.findall(r"^--     (psql .*)$", (EXAMPLE / "database.sql").read_text(), re.MULTILINE)
    subprocess.run(
        ["sh", "-ec", said], cwd=EXAMPLE, check=True, input=f"{WORD}\n", text=True, stdout=subprocess.DEVNULL,
        env={**os.environ, **place, "PGPASSWORD": PASSWORD},
    )  # fmt: skip
    (url,) = re.findall(r"LOGROTOR_QUEUE_URL=(\S+)", (EXAMPLE / "supervisord.conf").read_text())
    return str(url).replace("PASSWORD", WORD).replace("5432", str(server.port))


@pytest.fixture
def reader(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """www-data's application with the files of the example, and php and logrotor in the PATH."""
    with world_tree() as folder:
        made = Reader(folder)
        (made.app / "storage/logs").mkdir(parents=True)
        (made.app / "storage/logs/default-queue.log").write_bytes(large("default-queue.log"))
        shutil.copy(EXAMPLE / "logrotor.toml", made.app)
        (made.bin / "php.py").write_text(PHP)
        (made.bin / "php").write_text(f'#!/bin/sh\nexec {sys.executable} {made.bin}/php.py {CHECKOUT} "$@"\n')
        (made.bin / "php").chmod(0o755)
        (made.app / "supervisord.pid").symlink_to("storage/supervisord.pid")
        made.own()
        monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
        monkeypatch.setenv("LOGROTOR_QUEUE_URL", database)
        yield made


def test_a_job_rotates_a_supervised_log(reader: Reader, database: str) -> None:
    """`logrotor queue dispatch` while all runs: the log over 10 MB is rotated, no line is lost, no password is told."""
    app = reader.app
    logs = app / "storage/logs"
    started = supervisor.start((EXAMPLE / "supervisord.conf").read_text(), app, reader.user)
    try:
        supervisor.wait_for((logs / "default-queue.log").exists)
        _logrotor(reader, database, "queue dispatch")
        supervisor.wait_for((logs / "default-queue.log.1.zst").exists)
        assert "procrastinate, postgresql://rotation:***@" in _logrotor(reader, database, "queue status")
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


def _logrotor(reader: Reader, url: str, command: str) -> str:
    code, output = reader.shell(f"LOGROTOR_QUEUE_URL={url} logrotor {command} -c logrotor.toml", terminal=False)
    assert code == 0 and WORD not in output, output
    return output


def test_the_stop_is_waited_for() -> None:
    """supervisord's patience is longer than an attempt, as "logrotor queue unit --supervisor" has it."""
    site = open_site(str(EXAMPLE / "logrotor.toml"), {"LOGROTOR_QUEUE_URL": "postgresql://127.0.0.1/rotation"})
    (seconds,) = re.findall(r"^stopwaitsecs +=+ (\d+)$", (EXAMPLE / "supervisord.conf").read_text(), re.MULTILINE)
    assert int(seconds) >= site.settings.job.stop_wait


def test_the_configuration_names_no_password() -> None:
    """It stands in the environment only."""
    assert "env:LOGROTOR_QUEUE_URL" in Path(EXAMPLE / "logrotor.toml").read_text()
