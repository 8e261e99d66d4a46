"""Real processes that write numbered lines to a log, each kind the way some daemon does."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.support import users

DEADLINE = 60.0
_SCRIPT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "_writer.py")
_LINES, _MISSED, _REOPENED, _READY = range(4)


class Kind(StrEnum):
    """How a writer treats its log. Whoever creates a file creates it with mode 0600."""

    SIGNAL = "signal"  # reopens by name on a signal (SIGUSR1), as nginx does
    FOLLOW = "follow"  # looks whether the name is still its file, as WatchedFileHandler does
    PER_LINE = "per_line"  # opens by name, writes one line, closes
    HOLD = "hold"  # never reopens
    NO_APPEND = "no_append"  # never reopens and keeps its own offset: no O_APPEND


class Writer:
    """A running writer. Use it as a context manager: it is stopped at the end, and it stops if the tests die.

    It writes freely (``rate`` lines a second, 0: at full speed) until it is stopped or has written ``lines``, then it
    ends; or, with ``on_order``, it keeps its log open and writes what :meth:`write` asks for.
    ``strict``: it never creates the log, and counts each open that found no file in :meth:`missed`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kind: Kind | str,
        *,
        name: str = "w1",
        lines: int | None = None,
        rate: float = 0,
        on_order: bool = False,
        strict: bool = False,
        width: int = 80,
        check_every: int = 1,
        reopen_signal: int = signal.SIGUSR1,
        user: str | int | users.User | None = None,
        wait_ready: bool = True,
    ) -> None:
        self.name = name
        self.reopen_signal = reopen_signal
        counts = os.memfd_create("writer")
        os.ftruncate(counts, 32)
        self._counts = mmap.mmap(counts, 32)
        options = {
            "path": os.fspath(path), "kind": Kind(kind), "name": name, "width": width, "strict": int(strict),
            "check_every": check_every, "rate": rate, "counts": counts, "signal": int(reopen_signal),
            "lines": lines or 0, "on_order": int(on_order),
        }  # fmt: skip
        python = os.path.realpath(sys.executable)
        argv = [python, "-S", "-E", _SCRIPT, *(f"{key}={value}" for key, value in options.items())]
        self._process = subprocess.Popen(
            argv if user is None else users.as_argv(user, argv),
            stdin=subprocess.PIPE,
            pass_fds=[counts],
            cwd="/",
            start_new_session=True,
        )
        os.close(counts)
        if wait_ready:
            self._until(lambda: self._count(_READY) == 1, "to open its log")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def program(self) -> str:
        """As ps shows it."""
        return Path(f"/proc/{self.pid}/comm").read_text().rstrip("\n")

    @property
    def expected(self) -> dict[str, int]:
        """For the oracle: the writer's name and the last line it has written."""
        return {self.name: self.lines_written()}

    def lines_written(self) -> int:
        """Whole lines so far; also after its end, whatever ended it (SIGKILL: one line more may be in the log)."""
        return self._count(_LINES)

    def missed(self) -> int:
        """Opens that found no file."""
        return self._count(_MISSED)

    def reopened(self) -> int:
        """How often it reopened its log (by signal or because the name had moved on)."""
        return self._count(_REOPENED)

    def running(self) -> bool:
        return self._process.poll() is None

    def write(self, lines: int = 1) -> None:
        """Have ``lines`` more lines written (only with ``on_order``); return when they are."""
        goal = self.lines_written() + lines
        self._stdin().write(b"+" * lines)
        self._stdin().flush()
        self._until(lambda: self.lines_written() >= goal, f"to write line {goal}")

    def reopen(self) -> None:
        """Send the signal and wait until it has reopened."""
        goal = self.reopened() + 1
        os.kill(self.pid, self.reopen_signal)
        self._until(lambda: self.reopened() >= goal, "to reopen")

    def wait_for(self, lines: int) -> None:
        """Wait until ``lines`` have been written in all."""
        self._until(lambda: self.lines_written() >= lines, f"to write line {lines}")

    def wait_for_more(self, lines: int = 1) -> None:
        """Wait until ``lines`` more have been written than now."""
        self.wait_for(self.lines_written() + lines)

    def wait(self) -> int:
        """Wait for its own end (with ``lines``); give back the number of lines written."""
        self._process.wait(DEADLINE)
        return self.stop()

    def stop(self) -> int:
        """Stop it after its current line; give back the number of lines written."""
        if self.running():
            self._process.terminate()
        try:
            code = self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        if code not in (0, -signal.SIGKILL):
            raise ChildProcessError(f"writer {self.name} ended with {code}")
        self._close()
        return self.lines_written()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()

    def _count(self, which: int) -> int:
        return int(struct.unpack_from("=Q", self._counts, 8 * which)[0])

    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _close(self) -> None:
        with suppress(BrokenPipeError):
            self._stdin().close()

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            if not self.running() and not condition():
                raise ChildProcessError(f"writer {self.name} ended with {self._process.returncode}, expected it {what}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"writer {self.name} had {DEADLINE} s {what}")
            time.sleep(0.001)
