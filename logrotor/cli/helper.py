"""Helpers: processes that share the work of a run. Only the command line forks: the process is its own."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from logrotor.act.sharing import Stop, Tell
from logrotor.disk.calls import die_with
from logrotor.disk.proc import threads

Work = Callable[[Stop, Tell], object]
_PATIENCE = 0.1  # seconds between two looks whether we were asked to stop


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

    def finish(self, stop: Stop) -> tuple[list[Any], str | None]:
        asked = False
        poll = select.poll()
        poll.register(self._life, select.POLLIN)
        while not poll.poll(_PATIENCE * 1000):
            if stop() and not asked:
                self._signal(signal.SIGTERM)
                asked = True
        how = self._collect()
        told = list(_read(self._told))
        values = [value for kind, value in told if kind == "told"]
        return values, next((value for kind, value in told if kind == "ended"), f"ended early{how}")

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
                why = None
                try:
                    work(stop, lambda value: _write(out, "told", value))
                except BaseException as error:
                    why = f"failed: {type(error).__name__}: {error}"
                _write(out, "ended", why)
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


def _write(out: Any, kind: str, value: Any) -> None:
    pickle.dump((kind, value), out)
    out.flush()


def _read(told: int) -> Iterator[tuple[str, Any]]:
    """What was told, up to the first value that a kill cut short."""
    os.lseek(told, 0, os.SEEK_SET)
    with os.fdopen(told, "rb") as file, contextlib.suppress(EOFError, pickle.UnpicklingError):
        while True:
            yield pickle.load(file)
