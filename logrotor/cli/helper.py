"""Helpers: processes that share the work of a run. Only the command line forks: the process is its own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import BinaryIO, NoReturn

from logrotor.act.context import Stop, Tell
from logrotor.disk.calls import die_with
from logrotor.disk.proc import threads

Work = Callable[[Stop, Tell], object]
_PATIENCE = 0.1  # seconds between two looks whether we were asked to stop
_LAST_WORDS = 4096  # bytes
_TOLD, _ENDED = b"+", b"."  # each line begins with one of them; without the second the helper has not come to its end


def fork(work: Work) -> Helper | None:
    """Start a helper; None in a process with several threads, which must not fork, and where the system refuses.

    Too many processes or files, no memory, no /proc: one process does the work as well.
    """
    try:
        if threads() > 1 or not hasattr(os, "memfd_create"):
            return None
        return Helper(work)
    except OSError:
        return None


class Helper:
    """A forked process. It dies with us, and ends cleanly on SIGTERM or Ctrl-C."""

    def __init__(self, work: Work) -> None:
        parent = os.getpid()
        with contextlib.ExitStack() as opened:
            self._told = os.memfd_create("logrotor-helper")
            opened.callback(os.close, self._told)
            self._life, end_of_life = os.pipe()  # closed by the kernel however it ends
            opened.callback(os.close, self._life)
            try:
                self._pid: int | None = os.fork()
                if self._pid == 0:
                    _help(parent, work, self._told)
            finally:
                os.close(end_of_life)
            opened.pop_all()

    def finish(self, stop: Stop, most: int) -> tuple[list[bytes], str | None]:
        asked = False
        poll = select.poll()
        poll.register(self._life, select.POLLIN)
        while not poll.poll(_PATIENCE * 1000):
            if stop() and not asked:
                self._signal(signal.SIGTERM)
                asked = True
        how = self._collect()
        return _heard(self._read(most + _LAST_WORDS), f"ended early{how}")

    def answer(self, stop: Stop, patience: float, most: int) -> tuple[list[bytes], str | None] | None:
        """As :meth:`finish`, of one that has nothing to tidy up; None: it was killed, by ``stop`` or for its time."""
        poll, until = select.poll(), time.monotonic() + patience
        poll.register(self._life, select.POLLIN)
        while not poll.poll(_PATIENCE * 1000):
            if stop() or time.monotonic() > until:
                self.kill()
                return None
        return self.finish(stop, most)

    def _read(self, most: int) -> bytes:
        """What was told; no more than ``most`` bytes of it, whatever the helper did."""
        with os.fdopen(self._told, "rb") as file:
            file.seek(0)
            return file.read(most)

    def kill(self) -> None:
        if self._pid is not None:
            self._signal(signal.SIGKILL)
            self._collect()
            os.close(self._told)

    def _signal(self, signum: int) -> None:
        assert self._pid is not None
        with contextlib.suppress(ProcessLookupError):  # it has ended, and our caller has SIGCHLD ignored
            os.kill(self._pid, signum)

    def _collect(self) -> str:
        """Wait for its end and forget it; returns how it ended, as far as that is told."""
        assert self._pid is not None
        how = ""
        with contextlib.suppress(ChildProcessError):  # our caller had SIGCHLD ignored
            code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            how = f" (signal {-code})" if code < 0 else f" (exit code {code})"
        self._pid = None
        os.close(self._life)
        return how


def _help(parent: int, work: Work, told: int) -> NoReturn:
    """In the helper. It never returns, and tidies up nothing that is its parent's."""
    try:
        with contextlib.suppress(ProcessLookupError):
            die_with(parent, signal.SIGKILL)
            stop = _Stop()
            with os.fdopen(told, "wb") as out:
                why = ""
                try:
                    work(stop, lambda line: _write(out, _TOLD, line))
                except BaseException as error:
                    why = f"failed: {type(error).__name__}: {error}"
                _write(out, _ENDED, ascii(why)[1:-1].encode()[:_LAST_WORDS])
            os._exit(0)
    finally:
        os._exit(1)


class _Stop:
    """A flag that a signal sets."""

    def __init__(self) -> None:
        self._stopped = False
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup
                signal.signal(signum, self._arrived)

    def __call__(self) -> bool:
        return self._stopped

    def _arrived(self, *_: object) -> None:
        self._stopped = True


def _write(out: BinaryIO, kind: bytes, line: bytes) -> None:
    out.write(kind + line + b"\n")
    out.flush()


def _heard(told: bytes, otherwise: str) -> tuple[list[bytes], str | None]:
    """The lines, up to one that a kill cut short, and why the helper ended before it was done."""
    *lines, _ = told.split(b"\n")
    ended = [line[1:].decode("ascii", "replace") for line in lines if line[:1] == _ENDED]
    return [line[1:] for line in lines if line[:1] == _TOLD], (ended[-1] or None) if ended else otherwise
