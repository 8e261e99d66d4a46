"""When a run should have ended: nothing long is begun that would not fit, and what is too slow is put off."""

from __future__ import annotations

import time

from msgspec import Struct

_BYTES_PER_SECOND = 50 * 1024 * 1024  # compressed and verified on one core, a cautious guess (zstd 3: 140 MB/s here)


class Deadline(Struct, frozen=True):
    """``at``: a moment of :func:`time.monotonic`; None: there is no hurry."""

    at: float | None = None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        return cls(None if seconds is None else time.monotonic() + seconds)

    def passed(self) -> bool:
        return self.at is not None and time.monotonic() >= self.at

    def why_not(self, size: int) -> str | None:
        """Why ``size`` bytes are not compressed any more."""
        if self.at is None or time.monotonic() + size / _BYTES_PER_SECOND <= self.at:
            return None
        return f"{size} bytes would not be compressed within the run's time limit; give it more time"
