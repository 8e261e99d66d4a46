"""What runs for long and is looked after by a process manager: signals as wishes, and sd_notify(3)."""

from __future__ import annotations

import os
import queue
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType
from typing import Any

_AGAIN = 10.0  # seconds between two lines of status
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_OTHERS = (signal.SIGHUP, signal.SIGUSR1)


class Bell:
    """Signals, as an event to wait for. As a context manager it holds the handlers and restores them.

    SIGTERM and SIGINT: stop, the second one at once; ``signum`` is the last of them. SIGHUP: ``wants_reload``.
    SIGUSR1: ``wants_look``. The latter two are for whoever answers them to take back.
    """

    def __init__(self) -> None:
        self.wants_reload = self.wants_look = False
        self._stopped, self.signum = False, int(signal.SIGINT)
        self._rung: queue.SimpleQueue[int] = queue.SimpleQueue()  # unlike an Event, it may be rung by a handler
        self._before: dict[int, Any] = {}

    def is_set(self) -> bool:
        return self._stopped

    def wait(self, timeout: float | None = None) -> bool:
        """Until any signal arrives, at most; whether it is to stop."""
        with suppress(queue.Empty):
            self._rung.get(timeout=timeout)
        return self._stopped

    def __enter__(self) -> Bell:
        for signum in (*_STOPPING, *_OTHERS):
            # nohup ignores SIGHUP for us, and "command &" in a script SIGINT.
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._before[signum] = signal.signal(signum, self._arrived)
        self.release()
        return self

    @staticmethod
    def hold() -> None:
        """Until :meth:`release`, also in the program that this process becomes, these signals wait."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _OTHERS)

    @staticmethod
    def release() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OTHERS)

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _arrived(self, signum: int, frame: FrameType | None) -> None:
        if signum in _STOPPING:
            self.signum = signum
            if self._stopped:
                raise KeyboardInterrupt
            self._stopped = True
        self.wants_reload |= signum == signal.SIGHUP
        self.wants_look |= signum == signal.SIGUSR1
        self._rung.put(signum)


class Manager:
    """The service manager that ``$NOTIFY_SOCKET`` names; without one nobody is told anything. It never raises."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name  # an abstract one
        self._every = _watchdog(environ)
        self._alive_at = self._status_at = float("-inf")
        self._status = ""

    def send(self, *lines: str) -> None:
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(errors="replace"), self._address)

    def ready(self, status: str) -> None:
        self.send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def beat(self, status: str) -> None:
        """Called often; it tells no more than is wanted."""
        now = time.monotonic()
        if self._every is not None and now - self._alive_at >= self._every:
            self._alive_at = now
            self.send("WATCHDOG=1")
        if status != self._status and now - self._status_at >= _AGAIN:
            self._status, self._status_at = status, now
            self.send(f"STATUS={status}")


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life: half of what the manager waits for; None: it does not watch us."""
    wanted, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
    return int(wanted) / 2e6 if wanted.isdecimal() and pid == str(os.getpid()) else None
