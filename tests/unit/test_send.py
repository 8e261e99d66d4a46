"""A signal reaches the process that was looked at, and nobody who has its number since."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from logrotor.disk import proc, programs


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as started:
        yield started
        started.kill()


def test_it_reaches_the_process(sleeper: subprocess.Popen[bytes]) -> None:
    """Stopped, and let go on."""
    seen = proc.look(sleeper.pid)
    programs.send(seen, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(sleeper.pid, os.WUNTRACED)[1])
    programs.send(seen, signal.SIGTERM)
    programs.send(seen, signal.SIGCONT)
    assert sleeper.wait(60) == -signal.SIGTERM


def test_whoever_has_the_number_by_now_gets_nothing(sleeper: subprocess.Popen[bytes]) -> None:
    """The process that was looked at began long before the one that has its number."""
    before = replace(proc.look(sleeper.pid), started=proc.look(sleeper.pid).started - 3600)
    with pytest.raises(ProcessLookupError):
        programs.send(before, signal.SIGKILL)
    assert sleeper.poll() is None


def test_one_that_has_ended(sleeper: subprocess.Popen[bytes]) -> None:
    """Nobody is there."""
    seen = proc.look(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(OSError):
        programs.send(seen, signal.SIGTERM)
