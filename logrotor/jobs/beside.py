"""A worker beside the schedule, so that one process group is a whole deployment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK = 0.2  # seconds between two looks at the worker

IsOver = Callable[[float, Callable[[], bool]], bool]  # seconds to wait, stop -> the worker has ended, or we are to stop


@contextmanager
def worker_beside(config: str) -> Iterator[IsOver]:
    """Start ``logrotor queue worker`` as a child; at the end it is asked to stop, and waited for.

    It is tied to this process: killed -9 in our place, it still ends its job and stops.
    """
    argv = [sys.executable, "-P", "-m", "logrotor", "queue", "worker", "-c", config, "--tied-to", str(os.getpid())]
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL)

    def is_over(seconds: float, stop: Callable[[], bool]) -> bool:
        until = time.monotonic() + seconds
        while child.poll() is None and not stop() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK))
        return stop() or child.poll() is not None

    try:
        yield is_over
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        child.wait()
