"""Decide when a log is looked at next, from its size, growth and limit, and when something that failed is tried again.

Pure: sizes in bytes, times in seconds, and nobody's clock.
"""

from __future__ import annotations

MOST = 1.0  # between two looks at a log
GROWING = 0.5  # the same where it grows
LEAST = 0.05  # a log that is nearly due is looked at no more often
LONGEST = 60.0  # between two tries of what fails: by then everything is looked at


def next_look(size: int | None, limit: int | None, rate: float) -> float:
    """Seconds until a log is looked at again: by then it has about reached its limit, if it grows on as it does.

    ``rate``: bytes a second since the last look. ``size`` None: there is no such log now. ``limit`` None: its size
    never makes it due. A log that was at rest may begin to grow at any moment, so it is found within ``MOST``.
    """
    if size is None or limit is None or rate <= 0:
        return MOST
    return min(GROWING, max(LEAST, (limit + 1 - size) / rate))


def growth(before: int | None, size: int, seconds: float) -> float:
    """Bytes a second between two looks; a log that was taken in between has grown from nothing."""
    grown = size - before if before is not None and before <= size else size
    return grown / seconds if seconds > 0 else 0.0


def next_try(failures: int, first: float = MOST) -> float:
    """Seconds until something is tried again that has failed so many times in a row."""
    return min(LONGEST, first * 2.0 ** min(max(0, failures - 1), 16))
