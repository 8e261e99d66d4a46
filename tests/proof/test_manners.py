"""A guest in somebody else's process: after a thousand calls nothing of it is left, wherever it is called from."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from logrotor.errors import LogrotorError
from tests.proof import interfere
from tests.support import command, oracle, users


class Traces:
    """What a careless library leaves behind."""

    def __init__(self) -> None:
        gc.collect()
        self.fds = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if self._is_open(fd)}
        self.threads = {thread.ident for thread in threading.enumerate()}
        self.handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.logging = [
            (logger.level, list(logger.handlers)) for logger in (logging.root, logging.getLogger("logrotor"))
        ]
        self.directory = os.getcwd()
        self.umask = os.umask(0o077)
        os.umask(self.umask)
        self.environment = dict(os.environ)
        self.filters = list(warnings.filters)
        self.children = self._children()

    @staticmethod
    def _is_open(fd: str) -> bool:
        return os.path.lexists(f"/proc/self/fd/{fd}")

    @staticmethod
    def _children() -> str:
        return Path(f"/proc/self/task/{os.getpid()}/children").read_text()

    def differences(self, other: Traces) -> list[str]:
        return [key for key in vars(self) if getattr(self, key) != getattr(other, key)]


class Guest:
    """Calls of every kind: idle, rotating, failing. Each rotation has something to compress and to remove."""

    def __init__(self, root: Path) -> None:
        self.logs, self.bad = root / "logs", root / "bad"
        self.logs.mkdir()
        self.bad.mkdir()
        rule = {"name": "app", "paths": [str(self.logs / "*.log")], "max_size": 100, "backup_count": 2}
        self.rotator = interfere.rotator(root / "state", rule, compress_jobs=4)
        (self.bad / "b.log").symlink_to("/nowhere")
        failing = {"name": "bad", "paths": [str(self.bad / "b.log")], "max_size": 1}
        self.failing = interfere.rotator(root / "state", failing)
        root.joinpath("file").touch()
        self.impossible = interfere.rotator(root / "file", failing)
        self.written = 0

    def idle(self) -> None:
        assert self.rotator.run().exit_code == 0

    def rotate(self) -> None:
        for name in ("a.log", "b.log"):
            with open(self.logs / name, "ab") as log:
                log.write(oracle.lines(name, self.written + 1, self.written + 5))
        self.written += 5
        report = self.rotator.run()
        assert (report.exit_code, report.rotated) == (0, 2), report.failed

    def plan(self) -> None:
        self.rotator.plan(force=True)

    def fail(self) -> None:
        assert self.failing.run().exit_code == 1

    def raise_error(self) -> None:
        with pytest.raises(LogrotorError):
            self.impossible.run()

    def fail_in_the_middle(self) -> None:
        """An exception that nobody expects, at one of the changes of a rotation."""

        def explode() -> None:
            raise MemoryError

        nth = 3 + self.written % 20
        with interfere.before(nth, explode):
            try:
                self.rotate()
            except MemoryError:
                return
            except AssertionError:  # it was noted as a failure of one step
                return

    def calls(self) -> list[Callable[[], None]]:
        return [self.idle, self.rotate, self.plan, self.fail, self.raise_error, self.fail_in_the_middle]


@pytest.fixture
def guest(tmp_path: Path) -> Any:
    with interfere.memory_folder(lambda: tmp_path) as root:
        yield Guest(root)


@pytest.mark.parametrize("rounds", [30, pytest.param(167, marks=pytest.mark.long)])
def test_nothing_is_left_behind(guest, rounds):
    """After a thousand calls there is no descriptor, thread, handler, child, umask or directory of ours."""
    for call in guest.calls():  # what is imported or cached for good is so by now
        call()
    before = Traces()
    for _ in range(rounds):
        for call in guest.calls():
            call()
    after = Traces()
    assert before.differences(after) == [], (before.fds, after.fds)


def test_in_threads(guest):
    """Called from other threads it works as well, and they leave nothing behind either."""
    guest.rotate()
    before = Traces()
    with ThreadPoolExecutor(4) as pool:
        for call in (guest.rotate, guest.idle, guest.plan, guest.fail) * 5:
            pool.submit(call).result(60)
    assert before.differences(Traces()) == []


def test_after_a_fork(guest):
    """A rotator that was made, and used, before a fork works in the child and goes on in the parent."""
    guest.rotate()
    for _ in range(3):
        assert users.in_fork(lambda: (guest.rotate(), guest.written)[1]) == guest.written + 5
        guest.written += 5
        guest.rotate()
    archives = oracle.archives(guest.logs, "a.log")
    assert [Path(path).name for path in archives] == ["a.log.2.zst", "a.log.1.zst"]


def test_in_a_thread_after_a_fork(guest):
    """Also a child that was forked from a process with threads rotates, in a thread of its own."""
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()

    def in_thread() -> bool:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(guest.rotate).result(60)
        return True

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork with threads
            assert users.in_fork(in_thread)
    finally:
        stop.set()
        other.join()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", [("run",), ("run", "-vv"), ("run", "--json"), ("plan",), ("check",)])
def test_closed_streams(tmp_path, closed, arguments):
    """Without stdin, stdout or stderr the command does its work, and no log is taken for one of them."""
    log, file = tmp_path / "app.log", tmp_path / "logrotor.toml"
    log.write_bytes(oracle.lines("w1", 1, 50))
    file.write_text(f'state_dir = "{tmp_path}/state"\n[[log]]\nname = "app"\npaths = ["{log}"]\nmax_size = 100\n')
    argv = command.arguments(*arguments, "-c", file)
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *argv],
        env=command.environment(), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0 or (">&-" in closed and arguments != ("run",)), done
    assert b"Traceback" not in done.stderr
    rotated = arguments[0] == "run"
    assert (tmp_path / "app.log.1.zst").exists() is rotated
    oracle.count_joined(tmp_path, "app.log", {"w1": 50}).check()
