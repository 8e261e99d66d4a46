"""Ctrl-C and SIGTERM: the first asks the run to end cleanly, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """A flag that a signal sets; call it to read it. As a context manager it holds the handlers and restores them."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.signum is not None

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM, as a shell reports them."""
        return 128 + (self.signum or signal.SIGINT)

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:
                self._hold(signum)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _hold(self, signum: int) -> None:
        handler = signal.getsignal(signum)
        # nohup and "command &" in a script ignore SIGINT for us; None is a handler that was not set from Python.
        if handler is not signal.SIG_IGN and handler is not None:
            self._before[signum] = signal.signal(signum, self._arrived)

    def _arrived(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            raise KeyboardInterrupt
        self.signum = signum
