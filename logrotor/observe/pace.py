"""How fast a log grows, and how long it takes to grow by so many bytes, from its samples. Pure.

Only what lies between two samples that follow one another closely counts: not the time in which no run took place, nor
a leap of the clock. What grew there is looked at by the hour, and by the day, from the last sample backwards: block 1
are the last 24 hours. A day that is to come is taken to be like one of the last seven; how far these are apart is the
spread of the forecast.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, median

from msgspec import Struct

from logrotor.model import LogPoint

_HOUR, _DAY = 3600.0, 24
_DAYS = 7  # that are looked back on
_POINTS = 3  # samples; fewer tell nothing
_GAP = 4  # times as long as the usual pause between two samples
_NEAR = 6  # pauses before and after it that tell what is usual
_KNOWN = 600.0  # seconds of an hour that were watched, at least, to say how much grew in it
_MOST_UNKNOWN = 6  # hours of a day
_BEYOND = 3.0  # times as fast or as slow as it may get beyond what was seen, in less than a day
_FAR = 10 * 365 * 86400.0  # a date beyond is no forecast


class Span(Struct, frozen=True):
    """Seconds from now on: the most likely, the least and the most. ``last`` may be infinite: it may never be."""

    likely: float
    first: float
    last: float


class Watched:
    """The time in which samples were taken, the gaps left out. The same for all logs."""

    def __init__(self, times: Sequence[float]) -> None:
        self.times = times
        pauses = [after - before for before, after in itertools.pairwise(times)]
        self._gaps = {times[n + 1] for n in range(len(pauses)) if _is_gap(pauses, n)}
        self._seen = [0.0]  # seconds until each sample
        for after, pause in zip(times[1:], pauses, strict=True):
            self._seen.append(self._seen[-1] + (0.0 if after in self._gaps else pause))
        self._hours: dict[int, float] = {}

    def is_gap(self, end: float) -> bool:
        """Does a gap end with the sample of this time?"""
        return end in self._gaps

    def seconds(self, begin: float, end: float) -> float:
        """How much of this time was watched."""
        return max(0.0, self._until(end) - self._until(begin)) if self.times else 0.0

    def hour(self, hour: int) -> float:
        """How much of an hour was watched, counted backwards from the last sample."""
        found = self._hours.get(hour)
        if found is None:
            end = self.times[-1] - hour * _HOUR
            found = self._hours[hour] = self.seconds(end - _HOUR, end)
        return found

    def samples(self, begin: float) -> int:
        """How many there are from this one on, but for gaps."""
        later = self.times[bisect_right(self.times, begin) :]
        return 1 + sum(time not in self._gaps for time in later)

    def _until(self, moment: float) -> float:
        place = bisect_right(self.times, moment)
        if not place or place == len(self.times):
            return self._seen[place - 1] if place else 0.0
        inside = 0.0 if self.times[place] in self._gaps else moment - self.times[place - 1]
        return self._seen[place - 1] + inside


def _is_gap(pauses: Sequence[float], n: int) -> bool:
    """Younger samples follow one another more closely than older ones."""
    sides = (pauses[max(0, n - _NEAR) : n], pauses[n + 1 : n + 1 + _NEAR])
    usual = max((median(side) for side in sides if side), default=math.inf)
    return pauses[n] > _GAP * usual


class Pace:
    """How one log grows."""

    def __init__(self, watched: Watched, points: Sequence[LogPoint]) -> None:
        self._watched = watched
        self._begin = points[0].time if points else math.inf
        self._end = watched.times[-1] if watched.times else 0.0
        self._grown = dict(self._by_hour(points))
        self.seen = watched.seconds(self._begin, self._end)  # seconds over which it was measured
        self.is_known = bool(points) and watched.samples(self._begin) >= _POINTS and self.seen > 0
        known = self._grown and self.is_known
        self._days = [day for day in map(self._day, range(_DAYS)) if day is not None] if known else []

    @property
    def rate(self) -> float | None:
        """Bytes a second; the last days count most. None: unknown."""
        if not self.is_known:
            return None
        if self._days:
            return sum(_profile(self._days)) / _DAY
        return sum(self._grown.values()) / self.seen

    @property
    def extremes(self) -> tuple[float, float] | None:
        """Bytes a second on the slowest and on the fastest of the last days, or parts of one; None: unknown."""
        if not self.is_known:
            return None
        rates = [mean(day) for day in self._days] or [each for each in self._parts() if each is not None]
        return (min(rates), max(rates)) if rates else None

    @property
    def recent(self) -> float | None:
        """Bytes a second in the last hour; None where too little of it was watched."""
        return self._rate(0) if self.is_known else None

    @property
    def usual(self) -> float | None:
        """Bytes a second at this time of the day, in the last week; None with less than a day of samples.

        The median of the days, or what there was a week ago, if that is more.
        """
        if not self._days:
            return None
        days = [found for found in map(self._around, range(1, _DAYS + 1)) if found is not None]
        if not days:
            return None
        weekly = self._around(_DAYS)
        return max(median(days), weekly or 0.0)

    def until(self, grown: float, now: float) -> Span | None:
        """How long it takes from ``now`` on until it has grown by so many bytes; None: unknown, or never."""
        if not self.is_known:
            return None
        if not self._days:
            return self._until_soon(grown)
        offset = max(0.0, now - self._end)
        likely = _time(_profile(self._days), offset, grown)
        times = [_time(day, offset, grown) for day in self._days]
        recent = self.recent
        if recent and grown / recent <= _HOUR:  # for so short a while it goes on as it does
            likely = grown / recent
            times.append(likely)
        return _span(likely, times, 1 + self._unsteadiness(), likely / (_DAY * _HOUR))

    def _until_soon(self, grown: float) -> Span | None:
        """With less than a day of samples: nobody has seen what else may come."""
        rate, rates = self.rate or 0.0, self._parts()
        if not rate:
            return None
        likely = grown / rate
        beyond = max(0.0, likely - self.seen)
        times = [grown / each if each else math.inf for each in rates if each is not None]
        times += [likely - beyond + beyond / _BEYOND, likely - beyond + beyond * _BEYOND]
        return _span(likely, times, 1.0, likely * len(rates) / self.seen)

    def _parts(self) -> list[float | None]:
        """Bytes a second in each quarter of the time; None where it was not watched."""
        step = (self._end - self._begin) / 4
        return [self._between(self._begin + n * step, self._begin + (n + 1) * step) for n in range(4)]

    def _unsteadiness(self) -> float:
        """How far the hours of the days are from those of the usual day, at most a half: 0 where all days are alike.

        Of a single day nobody knows that; it is 0 where all of its hours are.
        """
        usual = _profile(self._days)
        average = mean(usual)
        if len(self._days) == 1:
            usual = [average] * _DAY
        apart = mean(abs(rate - as_usual) for day in self._days for rate, as_usual in zip(day, usual, strict=True))
        return 0.5 * min(1.0, apart / average) if average else 0.0

    def _by_hour(self, points: Sequence[LogPoint]) -> Iterator[tuple[int, float]]:
        found: dict[int, float] = {}
        for before, point in itertools.pairwise(points):
            if not point.grown or self._watched.is_gap(point.time):
                continue
            old, new = (self._end - before.time) / _HOUR, (self._end - point.time) / _HOUR
            for hour in range(int(new), math.ceil(old)):
                share = (min(old, hour + 1) - max(new, hour)) / (old - new)
                found[hour] = found.get(hour, 0.0) + share * point.grown
        yield from found.items()

    def _rate(self, hour: int) -> float | None:
        """Bytes a second in one hour, counted backwards from the last sample."""
        begin, end = self._end - (hour + 1) * _HOUR, self._end - hour * _HOUR
        if begin >= self._begin:
            seconds = self._watched.hour(hour)
        else:
            seconds = self._watched.seconds(max(begin, self._begin), end) if end > self._begin else 0.0
        return self._grown.get(hour, 0.0) / seconds if seconds >= min(_KNOWN, self.seen) and seconds else None

    def _between(self, begin: float, end: float) -> float | None:
        seconds = self._watched.seconds(begin, end)
        if not seconds:
            return None
        grown = 0.0
        for hour, of in self._grown.items():
            low, high = self._end - (hour + 1) * _HOUR, self._end - hour * _HOUR
            low = max(low, self._begin)
            grown += of * max(0.0, min(high, end) - max(low, begin)) / (high - low) if high > low else 0.0
        return grown / seconds

    def _day(self, day: int) -> list[float] | None:
        """What grew a second in each hour of a day, the first one first; None where too much is unknown."""
        rates = [self._rate(hour) for hour in range(_DAY * (day + 1) - 1, _DAY * day - 1, -1)]
        known = [each for each in rates if each is not None]
        if len(rates) - len(known) > _MOST_UNKNOWN:
            return None
        return [mean(known) if each is None else each for each in rates]

    def _around(self, days: int) -> float | None:
        """Bytes a second in the hour so many days before the last one, and in those beside it."""
        rates = [self._rate(_DAY * days + hour) for hour in (-1, 0, 1)]
        known = [each for each in rates if each is not None]
        return mean(known) if known else None


def _profile(days: Sequence[Sequence[float]]) -> list[float]:
    """One day that is like all of these, the last ones most."""
    weights = [1 / (n + 1) for n in range(len(days))]
    return [sum(w * r for w, r in zip(weights, of, strict=True)) / sum(weights) for of in zip(*days, strict=True)]


def _time(day: Sequence[float], offset: float, grown: float) -> float:
    """Seconds from ``offset`` on, if it goes on as on this day, again and again."""
    total = sum(day) * _HOUR
    if total <= 0:
        return math.inf
    whole, left = divmod(grown, total)
    at = offset % (_DAY * _HOUR)
    passed = whole * _DAY * _HOUR
    while True:
        rate = day[int(at // _HOUR) % _DAY]
        step = _HOUR - at % _HOUR
        if rate * step >= left:
            return passed + (left / rate if rate else 0.0)
        left -= rate * step
        passed += step
        at += step


def _span(likely: float, times: Sequence[float], width: float, days: float) -> Span | None:
    """``times``: as on each of some days; the more of them it takes, the more they make up for one another."""
    if likely >= _FAR:
        return None
    calm = math.sqrt(max(1.0, days))
    first = likely + (min(*times, likely) - likely) / calm
    last = likely + (max(*times, likely) - likely) / calm
    return Span(likely, max(0.0, first / width), last * width)


def paces(times: Sequence[float], logs: Mapping[str, Sequence[LogPoint]]) -> dict[str, Pace]:
    """Of each log that has samples."""
    watched = Watched(times)
    return {path: Pace(watched, points) for path, points in logs.items()}
