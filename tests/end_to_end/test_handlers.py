"""Eight processes log through the standard library into one file, as fast as they can, while it is rotated.

What is counted: each line once, in the order in which its process wrote it, in the log and its archives. The same is
asked of concurrent-log-handler, which rotates in the writers themselves, under a lock, and promises to lose no line.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from logrotor import Configuration, Rotator, load_config
from tests.support import oracle
from tests.support.command import environment
from tests.support.need import need

PROCESSES, LINES, SIZE = 8, 20_000, 256 * 1024

WRITER = """\
import logging, sys
kind, path, name, count, size = sys.argv[1:]
if kind == "watched":
    from logging.handlers import WatchedFileHandler
    handler = WatchedFileHandler(path)
else:
    from concurrent_log_handler import ConcurrentRotatingFileHandler
    handler = ConcurrentRotatingFileHandler(path, "a", int(size), 9999)
handler.setFormatter(logging.Formatter("%(message)s"))
log = logging.getLogger()
log.addHandler(handler)
log.setLevel(logging.INFO)
logging.raiseExceptions = True

def line(number):  # as tests/support/oracle.py has it
    head, tail = f"{name} {number} ", f"#{number}\\n"
    room = max(1, 80 - len(head) - len(tail))
    padding = room - len(str(room))
    return f"{head}{padding}{'=' * padding}#{number}"

for number in range(1, int(count) + 1):
    log.info("%s", line(number))
"""


@contextmanager
def writing(kind: str, path: Path, lines: int = LINES) -> Iterator[list[subprocess.Popen[bytes]]]:
    """All of them at once; what one says on stderr is a failure of its logging."""
    argv = [sys.executable, "-c", WRITER, kind, str(path)]
    processes = [
        subprocess.Popen([*argv, f"w{n}", str(lines), str(SIZE)], env=environment(), stderr=subprocess.PIPE)
        for n in range(PROCESSES)
    ]
    try:
        yield processes
        for process in processes:
            _, said = process.communicate(timeout=240)
            assert (process.returncode, said) == (0, b"")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def rotate_beside(processes: list[subprocess.Popen[bytes]], path: Path) -> int:
    """Runs without a pause, until all writers have ended. Returns how often the log was rotated."""
    config: Configuration = {
        "state_dir": path.parent.parent / "state",
        "log": [{"name": "app", "paths": [path], "max_size": SIZE}],
    }
    rotator, rotated = Rotator(load_config(config)), 0
    while any(process.poll() is None for process in processes):
        report = rotator.run()
        assert report.exit_code == 0, (report.failed, report.problems)
        rotated += report.rotated
    assert rotator.run().exit_code == 0
    return rotated


@pytest.mark.long
def test_watched_file_handlers(tmp_path: Path) -> None:
    """The recipe: a WatchedFileHandler in each process, and a Rotator, or logrotor from cron, beside them."""
    (tmp_path / "logs").mkdir()
    path, began = tmp_path / "logs/app.log", time.monotonic()
    with writing("watched", path) as processes:
        rotated = rotate_beside(processes, path)
    print(f"WatchedFileHandler and logrotor: {PROCESSES * LINES} lines, {rotated} rotations, "
          f"{PROCESSES * LINES / (time.monotonic() - began):,.0f} lines/s")  # fmt: skip
    expected = {f"w{n}": LINES for n in range(PROCESSES)}
    tally = oracle.count_joined(path.parent, "app.log", expected).check()
    assert tally.total == PROCESSES * LINES and rotated >= 3
    assert oracle.strays(path.parent, "app.log") == []


@pytest.mark.long
def test_concurrent_log_handler(tmp_path: Path) -> None:
    """The rival in the same test: it keeps its promise as well; each of its lines costs a lock."""
    need(importlib.util.find_spec("concurrent_log_handler") is not None, "concurrent-log-handler")
    (tmp_path / "logs").mkdir()
    path, began = tmp_path / "logs/app.log", time.monotonic()
    with writing("concurrent", path):
        pass
    print(f"concurrent-log-handler: {PROCESSES * LINES / (time.monotonic() - began):,.0f} lines/s")
    tally = oracle.count(path.parent, "app.log", expected={f"w{n}": LINES for n in range(PROCESSES)})
    assert tally.whole and tally.total == PROCESSES * LINES
