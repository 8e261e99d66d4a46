"""When something is tried again, and when the next slot of a schedule comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime

from logrotor.decide.looks import LONGEST, next_try
from logrotor.decide.schedule import next_slot
from logrotor.model import Config

_LEAP = 2.0  # seconds by which the time of day may go astray from the time that passes


class Retries:
    """Logs that are tried again, each after pauses of its own, until whole runs come as soon."""

    def __init__(self) -> None:
        self._at: dict[str, tuple[float, int]] = {}  # when, and how often so far

    def begin(self, path: str, now: float) -> None:
        self._at[path] = now, 0

    def begin_all(self, paths: Iterable[str], now: float) -> None:
        for path in paths:
            self._at[path] = now, self._at.get(path, (now, 0))[1]

    def again(self, paths: Iterable[str], now: float) -> None:
        for path in paths:
            tries = self._at.get(path, (now, 0))[1] + 1
            self._at[path] = now + next_try(tries), tries
            if next_try(tries) >= LONGEST:
                del self._at[path]

    def forget(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._at.pop(path, None)

    def ready(self, now: float) -> tuple[str, ...]:
        return tuple(path for path, (at, _) in self._at.items() if now >= at)

    def next(self) -> float:
        return min([at for at, _ in self._at.values()], default=float("inf"))


class Slots:
    """When the next slot of any schedule comes, whatever is done to the clock meanwhile."""

    def __init__(self, config: Config, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self._schedules = {spec.schedule for spec in config.logs if spec.schedule is not None}
        self._clock, self._now = clock, now
        self._find()

    def has_come(self) -> bool:
        """Whether a slot has come since it was asked last, or may have, as the clock was set or the zone changed."""
        moment = self._clock()
        if self._schedules and (moment >= self._next or self._is_astray(moment)):
            self._find()
            return True
        return False

    def _is_astray(self, moment: float) -> bool:
        return abs(moment - time.monotonic() - self._offset) > _LEAP

    def _find(self) -> None:
        now = self._now()
        slots = [next_slot(each, now) for each in self._schedules]
        self._next = min([slot.timestamp() for slot in slots if slot is not None], default=float("inf"))
        self._offset = self._clock() - time.monotonic()
