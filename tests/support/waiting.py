"""Wait for descriptors of any number: select(2) takes none above 1023, and a test process may have as many open."""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any


def readable(sources: Sequence[Any], seconds: float | None = None) -> list[Any]:
    """Those of ``sources`` (descriptors, or what has one) that can be read, or have ended; none after that time."""
    poll = select.poll()
    numbers = {each if isinstance(each, int) else each.fileno(): each for each in sources}
    for number in numbers:
        poll.register(number, select.POLLIN)
    found = poll.poll(None if seconds is None else max(0, seconds) * 1000)
    return [numbers[number] for number, _ in found]
