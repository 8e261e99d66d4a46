"""The samples as they are read: for each log, file system and queue a series in which time goes on."""

from __future__ import annotations

import os
import sqlite3
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import closing

from logrotor.disk import database, mounts, samples, state
from logrotor.model import LogPoint, Problem, QueuePoint, Samples, SpacePoint

_Point = tuple[float, int | None, int | None, int | None]


def read(state_dir: str, *, since: float = 0.0, until: float = float("inf")) -> Samples:
    """The samples of a time; ``until`` should be now: what lies in the future was taken by a wrong clock.

    Never raises: ``problem`` says what cannot be read. A millisecond for a thousand points.
    """
    path = os.path.join(state_dir, state.SAMPLES)
    silent = mounts.lately().why_silent(path)
    try:
        if silent is not None:
            return Samples(problem=silent)
        os.lstat(path)  # SQLite would say that it is unable to open it
        with closing(database.to_look(path)) as connection:
            connection.text_factory = samples.shown
            found = samples.version(connection)
            if found > samples.FORMAT:
                return Samples(problem=_unread(path, "a newer logrotor wrote them", "upgrade logrotor"))
            return Reading(connection, since, until).all() if found else Samples()
    except (FileNotFoundError, NotADirectoryError):
        return Samples()
    except samples.ODD as error:
        why = getattr(error, "strerror", None) or str(error)
        return Samples(problem=_unread(path, why, f"if that stays so for a day, remove {path}"))


def _unread(path: str, why: str, advice: str) -> Problem:
    what = f"the samples cannot be read ({why}): how fast logs grow is unknown"
    return Problem(subject=path, problem=what, advice=advice)


class Reading:
    """One look at the tables, with an order in which time goes on."""

    def __init__(self, connection: sqlite3.Connection, since: float, until: float) -> None:
        self._connection, self._since, self._until = connection, since, until
        rows = connection.execute("SELECT id, time, last FROM samples ORDER BY id").fetchall()
        found = [tuple(row) for row in rows if samples.are_whole(*row)]
        inside = [n for n, (_, time, _) in enumerate(found) if since <= time <= until]
        order = [inside[n] for n in _rising([found[n][1] for n in inside])]
        self._times = [float(found[n][1]) for n in order]
        self._first = found[order[0] - 1][2] if order and order[0] else 0  # the last point before
        numbers = [found[n][0] for n in order]
        # What is left out is added up in the next one.
        self._place = {number: bisect_left(numbers, number) for number, _, _ in found[order[0] :]} if order else {}

    def all(self) -> Samples:
        ask = "SELECT id, kind, path, value, more, sample FROM subjects"
        subjects = {row[0]: row for row in self._connection.execute(ask)} if self._times else {}
        series = self._series()
        logs, systems = {}, {}
        for number, (_, kind, path, value, more, _) in subjects.items():
            points = series.get(number) or self._unchanged(value, more)
            if points and type(path) is bytes and b"\0" not in path:
                if kind == samples.LOG:
                    logs[os.fsdecode(path)] = tuple(LogPoint(t, v, m or 0, g) for t, v, m, g in points)
                elif kind == samples.SYSTEM:
                    systems[os.fsdecode(path)] = tuple(SpacePoint(t, v or 0, m) for t, v, m, _ in points)
        return Samples(times=tuple(self._times), logs=logs, systems=systems, queues=self._queues())

    def _series(self) -> dict[int, list[_Point]]:
        """The points of each subject, those between which nothing changed included."""
        series: dict[int, list[_Point]] = {}
        places: dict[int, int] = {}
        times, end = self._times, len(self._times) - 1
        ask = "SELECT sample, subject, value, more, grown FROM points WHERE id > ? ORDER BY id"
        for sample, subject, value, more, grown in self._connection.execute(ask, (self._first,)):
            place = self._place.get(sample, end + 1)
            if place > end or not _are_sizes(value, more, grown):
                continue
            points, before = series.setdefault(subject, []), places.get(subject, place)
            if points and before == place:
                _, _, _, earlier = points.pop()
                grown = None if earlier is None or grown is None else earlier + grown
            elif place - before > 1:
                points.append((times[place - 1], *points[-1][1:3], 0))
            points.append((times[place], value, more, grown))
            places[subject] = place
        for subject, points in series.items():
            if places[subject] < end and points[-1][1] is not None:
                points.append((times[end], *points[-1][1:3], 0))
        return series

    def _unchanged(self, value: object, more: object) -> list[_Point]:
        if (value, more) == samples.GONE or not _are_sizes(value, more, 0):
            return []
        first: _Point = (self._times[0], value, more, None)  # type: ignore[assignment]
        return [first, (self._times[-1], *first[1:3], 0)] if self._times[1:] else [first]

    def _queues(self) -> dict[str, tuple[QueuePoint, ...]]:
        found: dict[str, list[QueuePoint]] = {}
        ask = f"SELECT queue, time, {', '.join(samples.COUNTS)} FROM queues WHERE time >= ? AND time <= ? ORDER BY id"
        for queue, *numbers in self._connection.execute(ask, (self._since, min(self._until, 2.0**62))):
            if type(queue) is str and _are_sizes(*numbers) and None not in (numbers[0], numbers[1], numbers[3]):
                points = found.setdefault(queue, [])
                if not points or numbers[0] > points[-1].time:
                    points.append(QueuePoint(float(numbers[0]), *numbers[1:]))
        return {queue: tuple(points) for queue, points in found.items()}


def _are_sizes(*found: object) -> bool:
    return all(each is None or (type(each) is int and each >= 0) for each in found)


def _rising(times: Sequence[int]) -> list[int]:
    """The places of the longest row in which time goes on: a clock that was wrong is outvoted by the others."""
    ends: list[int] = []  # of the rows of each length the least last time
    places: list[int] = []
    before: list[int] = []
    for place, time in enumerate(times):
        length = bisect_left(ends, time)
        before.append(places[length - 1] if length else -1)
        ends[length:] = [time, *ends[length + 1 :]]
        places[length:] = [place, *places[length + 1 :]]
    found = []
    at = places[-1] if places else -1
    while at >= 0:
        found.append(at)
        at = before[at]
    return found[::-1]
