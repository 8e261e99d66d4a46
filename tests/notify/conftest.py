"""Processes, pidfiles and targets for the tests of this room."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from logrotor import notify
from logrotor.errors import ReopenFailed
from logrotor.model import Manager, Problem, ReopenTarget
from tests.support.fixtures import world
from tests.support.supervisor import wait_for

__all__ = ["world"]

# Notes each signal in a file, by name.
DAEMON = """
import os, signal, sys
def note(number, frame):
    with open(sys.argv[1], "a") as file:
        file.write(signal.Signals(number).name + "\\n")
for name in sys.argv[2:]:
    signal.signal(getattr(signal, name), note)
open(sys.argv[1], "w").close()
while True:
    signal.pause()
"""


def refusal(target: ReopenTarget, paths: tuple[str, ...] = ("/var/log/app.log",), **more: notify.Stop) -> Problem:
    """Why a request is not made. Whatever it is, it names the target and says what to do, and it pickles."""
    with pytest.raises(ReopenFailed) as caught:
        notify.request(target, paths, **more)
    found = caught.value.problem
    assert found.subject == f"reopen target {target.name!r} ({target.manager})"
    assert found.problem and found.advice
    assert pickle.loads(pickle.dumps(caught.value)).problem == found
    return found


class Daemon:
    """A process of ours that notes its signals, and the pidfile that names it."""

    def __init__(self, folder: Path, *signals: str, stdout: IO[bytes] | None = None) -> None:
        self.noted = folder / "signals"
        self.noted.unlink(missing_ok=True)
        argv = [sys.executable, "-S", "-E", "-c", DAEMON, str(self.noted), *signals]
        self.process = subprocess.Popen(argv, stdout=stdout)
        wait_for(self.noted.exists)
        self.pid = self.process.pid
        self.pidfile = folder / "daemon.pid"
        self.pidfile.write_text(f"{self.pid}\n")

    def signals(self) -> list[str]:
        return self.noted.read_text().split()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def daemon(world: Path) -> Iterator[Daemon]:
    """A daemon that handles USR1, USR2 and HUP; its folder can be reached by every user."""
    found = Daemon(world, "SIGUSR1", "SIGUSR2", "SIGHUP")
    yield found
    found.end()


@pytest.fixture
def by_pidfile() -> Callable[[Path], ReopenTarget]:
    def target(path: Path, signal: str = "USR1") -> ReopenTarget:
        return ReopenTarget(name="daemon", manager=Manager.PIDFILE, pidfile=str(path), signal=signal)

    return target
