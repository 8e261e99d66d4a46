"""How old a page is, and when the next one should be there: a page keeps when it and those before it were written."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import median

from msgspec import Struct

from logrotor.decide import schedule
from logrotor.errors import Refused

KEPT = 10  # times of writing that a page holds
_POINTS = 3  # fewer tell nothing, as with a forecast
_HEAD = 4096  # bytes at the beginning that hold the marks
GENERATOR = "logrotor"
_OURS = re.compile(rf'<meta name="generator" content="{GENERATOR} [^"]*">')
_WRITTEN = re.compile(r'<meta name="written" content="([\d. ]*)">')


class Age(Struct, frozen=True):
    """When this page is written, and when the pages before it at the same place were (epoch seconds, oldest first)."""

    now: datetime
    before: tuple[float, ...] = ()
    schedule: str | None = None  # a cron expression by which the next one comes, if one is known
    once: bool = False  # to standard output: nothing renews it

    @property
    def times(self) -> tuple[float, ...]:
        return (*self.before, self.now.timestamp())[-KEPT:]

    @property
    def every(self) -> float | None:
        """Seconds from one page to the next, so far; None: not known."""
        gaps = [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]
        return median(gaps) if len(self.times) >= _POINTS else None

    @property
    def next(self) -> datetime | None:
        """When the next page should be there."""
        if self.once:
            return None
        if self.schedule is not None:
            return schedule.next_slot(self.schedule, self.now)
        return self.now + timedelta(seconds=self.every) if self.every else None


def earlier(path: str, now: float) -> tuple[float, ...]:
    """When the pages at ``path`` were written. Raises Refused where something lies that is no page of ours."""
    head = _head(path)
    if head is None:
        return ()
    if not _OURS.search(head):
        raise Refused(f"{path}: is no page of logrotor's, so it is not replaced; remove it, or give another name")
    found = _WRITTEN.search(head)
    return _times(found[1].split() if found else (), now)


def _head(path: str) -> str | None:
    """How the file begins; None: there is none, or an empty one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not hold us
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _odd(path) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _odd(path)
        return os.read(fd, _HEAD).decode(errors="replace") or None
    finally:
        os.close(fd)


def _odd(path: str) -> Refused:
    return Refused(f"{path}: is no regular file, so it is not replaced; give another name (- is standard output)")


def _times(written: Sequence[str], now: float) -> tuple[float, ...]:
    """Those that can be: the clock may have been set back."""
    try:
        return tuple(sorted(moment for moment in map(float, written) if moment <= now))[-KEPT:]
    except ValueError:
        return ()
