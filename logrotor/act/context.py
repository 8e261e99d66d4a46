"""What the steps of a run work with: one frozen value, which every function of this room is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.disk.snapshot import file_system
from logrotor.disk.writers import Processes
from logrotor.model import LogHistories, LogPlan, ReopenTarget, Step

if TYPE_CHECKING:
    from logrotor.disk.history import RunHistory

Job = tuple[LogPlan, Step]
Details = dict[str, Any]  # of an outcome
Stop = Callable[[], bool]
Tell = Callable[[bytes], object]

_BYTES_PER_SECOND = 50 * 1024 * 1024  # compressed and verified on one core, a cautious guess (zstd 3: 140 MB/s here)
_GRACE = 0.5  # seconds


class Helper(Protocol):
    """A process that does a share of the work."""

    def finish(self, stop: Stop, most: int) -> tuple[list[bytes], str | None]:
        """Wait until it has ended, asking it to stop once ``stop`` says so.

        Returns what it told, ``most`` bytes or less, and why it ended before it was done, or None.
        """
        ...

    def kill(self) -> None:
        """End it at once; nothing if it has ended."""
        ...


Fork = Callable[[Callable[[Stop, Tell], object]], Helper | None]
"""Start a helper: it gets a ``stop`` of its own, and tells lines of ASCII. None where that is not possible."""


def _never() -> bool:
    return False


class Deadline(Struct, frozen=True):
    """When a run should have ended: nothing long is begun that would not fit, and what is too slow is put off.

    ``at``: a moment of :func:`time.monotonic`; None: there is no hurry. ``pressed``: whether something else waits for
    the lock of this run, so that what would keep it for long is put off at once.
    """

    at: float | None = None
    pressed: Callable[[], bool] = _never

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        return cls(None if seconds is None else time.monotonic() + seconds)

    def passed(self) -> bool:
        return self.pressed() or (self.at is not None and time.monotonic() >= self.at)

    def overdue(self) -> bool:
        """Has the time that a run may take longer to reach a good end passed as well, for all logs together?"""
        return self.at is not None and time.monotonic() >= self.at + _GRACE

    def why_not(self, size: int) -> str | None:
        """Why ``size`` bytes are not compressed any more."""
        if self.pressed():
            return "another log is due, and is taken first"
        if self.at is None or time.monotonic() + size / _BYTES_PER_SECOND <= self.at:
            return None
        return f"{size} bytes would not be compressed within the run's time limit; give it more time"


class Context(Struct, frozen=True, kw_only=True):
    """The world of one run."""

    dirs: Directories
    history: RunHistory
    known: LogHistories  # of the logs, at the beginning of the phase
    targets: Mapping[str, ReopenTarget]
    emit: Callable[..., object]
    stop: Stop
    clock: Callable[[], float]
    deadline: Deadline
    processes: Callable[[], Processes]  # one look for all
    jobs: int  # how many archives are compressed at a time
    progress: Callable[[int, int], object] | None = None
    fork: Fork | None = None
    unasked: frozenset[str] = frozenset()  # logs whose reopen request failed: their writers may still have them
    kinds: dict[int, str] = field(default_factory=dict)  # of file systems, by device

    def no_time(self) -> bool:
        return self.stop() or self.deadline.passed()

    def kind_of(self, logdir: LogDir) -> str:
        """The type of its file system."""
        kind = self.kinds.get(logdir.id.device)
        if kind is None:
            kind = self.kinds[logdir.id.device] = file_system(logdir.fd, logdir.id.device).type
        return kind
