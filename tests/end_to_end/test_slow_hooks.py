"""A slow on_archive holds up no log but its own: other runs rotate the others meanwhile, and none calls it twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import command
from tests.support.deployment import rule, toml
from tests.support.supervisor import wait_for


class Site:
    """Two logs; the archives of one are handed to a hook that goes on until it is let go."""

    def __init__(self, root: Path, timeout: str = "60s") -> None:
        self.root, self.logs, self.config = root, root / "logs", root / "logrotor.toml"
        self.logs.mkdir()
        os.mkfifo(root / "go")
        script = f"echo $$ $1 >> {root}/called; read answer < {root}/go; exit $answer"
        slow = {"on_archive": ["/bin/sh", "-c", script, "sh", "{archive}"], "on_archive_timeout": timeout}
        rules = [
            rule({"name": name, "paths": [self.logs / f"{name}.log"], "max_size": 100, "compress": "gzip"} | more)
            for name, more in (("slow", slow), ("quick", {}))
        ]
        self.config.write_text("\n".join([f"state_dir = {toml(root / 'state')}", *rules]))
        self.runs: list[subprocess.Popen[bytes]] = []

    def write(self, *names: str) -> None:
        for name in names:
            with (self.logs / f"{name}.log").open("ab") as file:
                file.write(f"{name}\n".encode() * 100)

    def begin(self) -> subprocess.Popen[bytes]:
        """A run that is at its hook."""
        before = len(self.called())
        self.runs.append(subprocess.Popen(command.arguments("run", "-q", "-c", self.config), env=command.environment()))
        wait_for(lambda: len(self.called()) > before)
        return self.runs[-1]

    def run(self) -> int:
        run = subprocess.run(command.arguments("run", "-q", "-c", self.config), env=command.environment(), check=False)
        return run.returncode

    def let_go(self, answer: int = 0) -> None:
        (self.root / "go").write_text(f"{answer}\n")

    def called(self) -> list[str]:
        called = self.root / "called"
        return called.read_text().splitlines() if called.exists() else []

    def names(self) -> list[str]:
        return sorted(os.listdir(self.logs))

    def outcomes(self) -> list[tuple[int, str, str]]:
        with sqlite3.connect(self.root / "state" / "history.sqlite") as connection:
            found = connection.execute("SELECT run, status, log FROM outcomes WHERE action = 'hook' ORDER BY id")
            return [(run, status, os.path.basename(os.fsdecode(log))) for run, status, log in found]

    def exits(self) -> list[int]:
        with sqlite3.connect(self.root / "state" / "history.sqlite") as connection:
            return [code for (code,) in connection.execute("SELECT exit FROM runs ORDER BY id")]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    for run in site.runs:
        if run.poll() is None:
            run.terminate()
            run.wait(20)


def test_other_logs_are_rotated_while_a_hook_runs(site: Site) -> None:
    """The second run rotates the other log, leaves the one whose archive is being handed over, and calls nothing."""
    site.write("slow")
    first = site.begin()
    site.write("slow", "quick")
    assert site.run() == 0
    assert first.poll() is None
    assert site.names() == [".logrotor.lock", "quick.log", "quick.log.1.gz", "slow.log", "slow.log.1.gz"]
    site.let_go()
    assert first.wait(20) == 0
    assert len(site.called()) == 1
    assert site.outcomes() == [(1, "done", "slow.log")]
    assert site.exits() == [0, 0]


def test_a_hook_that_fails_after_another_run_is_the_failure_of_its_own(site: Site) -> None:
    """Its exit code and its outcome belong to the run that called it."""
    site.write("slow")
    first = site.begin()
    site.write("quick")
    assert site.run() == 0
    site.let_go(7)
    assert first.wait(20) == 1
    assert site.outcomes()[-1] == (1, "failed", "slow.log")
    assert site.exits() == [1, 0]


def test_a_hook_that_hangs_costs_its_timeout_once(tmp_path: Path) -> None:
    """Of many archives the first alone is handed to it in a run; the others are put off."""
    site = Site(tmp_path, timeout="1s")
    site.write("slow")
    for slot in (1, 2, 3):
        (site.logs / f"slow.log.{slot}").write_bytes(b"%d\n" % slot)
    assert site.run() == 1
    assert len(site.called()) == 1
    assert sorted(status for _, status, _ in site.outcomes()) == ["deferred", "deferred", "deferred", "failed"]


def test_killed_in_a_hook(site: Site) -> None:
    """The log is free at once, and the next run calls the hook again, once."""
    site.write("slow")
    first = site.begin()
    first.kill()
    first.wait(20)
    os.kill(int(site.called()[0].split()[0]), signal.SIGKILL)  # the orphan
    again = site.begin()
    site.let_go()
    assert again.wait(20) == 0
    assert site.run() == 0
    assert len(site.called()) == 2
    assert site.names() == ["slow.log", "slow.log.1.gz"]


def test_a_hook_that_hangs_costs_its_own_timeout(tmp_path: Path) -> None:
    """It is killed and counts as failed; the other log was rotated before."""
    site = Site(tmp_path, timeout="1s")
    site.write("slow", "quick")
    first = site.begin()
    assert first.poll() is None and "quick.log.1.gz" in site.names()
    assert first.wait(30) == 1
    assert site.outcomes() == [(1, "failed", "slow.log")]
