"""How fast logs grow, from their samples: against a world that is simulated, and knows when the log will be full.

The samples are taken by the very statements that runs use, in memory, at the times of a world with rotations,
truncations, hours in which the host is off, and a clock that is wrong for a while; what they forecast is compared with
what that world does.
"""

from __future__ import annotations

import math
import random
import sqlite3
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logrotor.disk import sampled, samples
from logrotor.model import LogSize
from logrotor.observe.pace import Pace, Span, paces

BEGIN, HOUR, DAY, MB = 1_700_000_000.0, 3600.0, 86400.0, 1 << 20
LOG = "/logs/app.log"


def tables() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    samples.make_tables(connection)
    return connection


@dataclass
class World:
    """A log that a program writes: ``written(t)`` are the bytes since the beginning, which the forecast never sees."""

    written: Callable[[float], float]
    now: float = BEGIN
    limit: float = math.inf  # it is rotated where a run finds it larger
    cut: float = 0.0  # bytes that are no longer in it
    archives: int = 0
    wrong: float = 0.0  # seconds that the clock is ahead
    truncations: set[int] = field(default_factory=set)  # numbers of the samples before which it is truncated by hand
    number: int = 0
    tables: sqlite3.Connection = field(default_factory=tables)

    @property
    def size(self) -> int:
        return int(self.written(self.now - BEGIN) - self.cut)

    def run(self) -> None:
        """One run of logrotor: a sample, and a rotation where it is due."""
        if self.number in self.truncations:
            self.cut += self.size
        self.number += 1
        clock = self.now + self.wrong
        samples.add_sample(self.tables, clock, [LogSize(LOG, self.size, self.archives)], [], whole=True)
        if (taken := self.size) > self.limit:
            self.cut += taken
            self.archives += taken
            samples.add_taken(self.tables, {LOG: taken})

    def live(self, seconds: float, *, every: float = 300.0, off: tuple[float, float] = (0.0, 0.0)) -> None:
        """``off``: between these moments no run takes place, and nothing is written."""
        end = self.now + seconds
        while self.now < end:
            self.now += every
            if not off[0] <= self.now - BEGIN < off[1]:
                self.run()

    def pace(self) -> Pace:
        found = sampled.Reading(self.tables, 0.0, self.now).all()
        assert list(found.times) == sorted(set(found.times))
        return paces(found.times, found.logs)[LOG]

    def until(self, grown: float) -> float:
        """Seconds from now on until it has really grown by so many bytes."""
        begin = self.now - BEGIN
        wanted = self.written(begin) + grown
        step = 60.0
        times = range(int(60 * DAY / step))
        return bisect_left(times, wanted, key=lambda n: self.written(begin + n * step)) * step


def world(rate: Callable[[float], float] | float, **more: object) -> World:
    """``rate``: bytes a second, at each moment or always."""
    if not callable(rate):
        return World(lambda t: rate * t, **more)  # type: ignore[arg-type]
    sums = [0.0]

    def written(t: float) -> float:
        minute, rest = divmod(t, 60.0)
        while len(sums) <= minute + 1:
            sums.append(sums[-1] + 60.0 * rate(60.0 * (len(sums) - 0.5)))
        return sums[int(minute)] + rest / 60.0 * (sums[int(minute) + 1] - sums[int(minute)])

    return World(written, **more)  # type: ignore[arg-type]


def sine(rate: float, swing: float, phase: float = 0.0) -> Callable[[float], float]:
    return lambda t: rate * (1 + swing * math.sin(2 * math.pi * (t / DAY + phase)))


def holds(span: Span | None, truth: float, slack: float = 0.05) -> bool:
    return span is not None and span.first - slack * truth - 600 <= truth <= span.last + slack * truth + 600


@given(
    rate=st.floats(10, 1e6),
    after=st.integers(2, 40),
    ahead=st.floats(600, 30 * DAY),
    every=st.sampled_from([300, 420, 3600]),
)
def test_constant_growth_within_ten_percent(rate: float, after: int, ahead: float, every: int) -> None:
    """From the third sample on, for a log that was never rotated."""
    one = world(rate)
    one.run()
    one.live(after * every, every=every)
    span = one.pace().until(rate * ahead, one.now)
    assert span is not None and abs(span.likely - ahead) <= 0.1 * ahead
    assert span.first <= span.likely <= span.last


def test_two_samples_tell_nothing() -> None:
    one = world(100.0)
    one.run()
    one.live(300)
    assert one.pace().until(MB, one.now) is None and one.pace().rate is None and one.pace().usual is None
    one.live(300)
    assert one.pace().rate == pytest.approx(100.0)


@settings(max_examples=12)
@given(data=st.data())
def test_constant_growth_whatever_happens(data: st.DataObject) -> None:
    """Rotations at any size, a truncation, hours in which the host is off, a clock that is wrong for half an hour.

    Of a few hours each of these costs a part, so not within a tenth.
    """
    rate = data.draw(st.floats(100, 1e5), "rate")
    hours = data.draw(st.integers(3, 60), "hours")
    begin = data.draw(st.floats(1, hours * HOUR), "off from")
    off = (begin, begin + data.draw(st.floats(0, 10 * HOUR), "off for"))

    def written(t: float) -> float:
        return rate * (t - max(0.0, min(t, off[1]) - off[0]))

    one = World(written, limit=rate * data.draw(st.floats(60, 5 * HOUR), "limit"))
    one.truncations = {data.draw(st.integers(0, 12 * hours), "truncated")}
    one.run()
    before = data.draw(st.floats(0.1, 0.9), "step at") * hours * HOUR
    one.live(before, off=off)
    one.wrong = data.draw(st.sampled_from([0.0, 0.0, 3600.0, -3600.0, 1e7, -1e7, -1.6e9]), "clock")
    one.live(1800, off=off)
    one.wrong = 0.0
    one.live(hours * HOUR + off[1] - off[0], off=off)
    found = one.pace()
    assert found.rate == pytest.approx(rate, rel=0.2)
    span = found.until(rate * 2 * HOUR, one.now)
    assert span is not None and span.likely == pytest.approx(2 * HOUR, rel=0.25)


@pytest.mark.parametrize("seed", range(12))
def test_a_day_and_a_night(seed: int) -> None:
    """Two days are enough to know the next: the range holds what comes, at any hour, near or far."""
    draw = random.Random(seed)
    one = world(sine(draw.uniform(1e2, 1e5), draw.uniform(0.2, 1.0), draw.random()), limit=MB)
    one.run()
    one.live(draw.uniform(2, 4) * DAY)
    rate = one.pace().rate or 0.0
    for ahead in (HOUR, 4 * HOUR, 10 * HOUR, DAY, 3 * DAY, 20 * DAY):
        truth = one.until(rate * ahead)
        span = one.pace().until(rate * ahead, one.now)
        assert holds(span, truth), (span, truth)
        assert span is not None and span.last < 3 * span.likely + HOUR, "and says something"


def test_bursts_have_a_wide_range() -> None:
    """Of ten logs with bursts at any time, the range holds what comes of nearly all, and is none of a single number."""
    held = 0
    for seed in range(10):
        draw = random.Random(seed)
        busy = {n for n in range(24 * 14) if draw.random() < 0.2}
        one = world(lambda t, busy=busy: 5e4 if int(t // HOUR) in busy else 1e2)
        one.run()
        one.live(6 * DAY, every=900)
        grown = (one.pace().rate or 0.0) * 12 * HOUR
        span = one.pace().until(grown, one.now)
        assert span is not None and span.last > 1.25 * span.first
        held += holds(span, one.until(grown), 0.1)
    assert held >= 8


def test_what_is_usual() -> None:
    """At the same hours of the days before: a batch at night is usual at night, and not at noon."""
    one = world(lambda t: 1e4 if t % DAY < 2 * HOUR else 10.0)
    one.run()
    one.live(12 * HOUR)
    assert one.pace().usual is None, "less than a day is no rule"
    one.live(4 * DAY + 1.5 * HOUR - 12 * HOUR)
    night = one.pace()
    assert night.recent == pytest.approx(1e4, rel=0.1) and (night.usual or 0) > 0.3 * 1e4
    one.live(8 * HOUR)
    noon = one.pace()
    assert noon.recent == pytest.approx(10.0, rel=0.1) and noon.usual == pytest.approx(10.0, rel=0.1)
