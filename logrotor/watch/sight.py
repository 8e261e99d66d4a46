"""What a watch knows between two runs: of each log little more than its size, of each directory when it last changed.

It comes from the last plan of a whole run; what is new since is found by the times of the directories. A mistake costs
a run that finds nothing to do: what a log is, and whether it is due, the run decides.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from glob import has_magic

from msgspec import Struct

from logrotor.decide.looks import MOST, growth, next_look, next_try
from logrotor.decide.naming import parse_archive
from logrotor.disk import discover, mounts
from logrotor.model import Config, LogSpec, Plan

_UNSEEN = -1  # a directory whose files are looked through at the first look


class Log(Struct):
    """One log. Moments are those of a clock that nobody sets."""

    path: str
    limit: int | None
    interval: float
    next: float  # look
    seen: float = 0.0  # last look
    size: int | None = None
    inode: int = 0
    held: float = 0.0  # not taken before
    failures: int = 0  # in a row

    def look(self, now: float) -> bool:
        """Whether it is due by its size, and may be taken."""
        try:
            found = os.lstat(self.path)
        except OSError:
            self.size, self.next = None, now + MOST
            return False
        before, size = self.size, found.st_size
        if size == before and found.st_ino == self.inode and (self.limit is None or size <= self.limit):  # as most are
            self.seen, self.next = now, now + MOST
            return False
        if found.st_ino != self.inode or (before is not None and size < before):  # taken, by whomever
            if self.inode:
                self.held, self.failures = max(self.held, now + self.interval), 0
            self.inode = found.st_ino
        rate = growth(before, size, now - self.seen) if before is not None else 0.0
        self.size, self.seen = size, now
        due = self.limit is not None and size > self.limit and stat.S_ISREG(found.st_mode)
        self.next = max(self.held, now) if due and self.held > now else now + next_look(size, self.limit, rate)
        return due and now >= self.held


class Sight:
    """The logs and directories of one configuration."""

    def __init__(self, config: Config) -> None:
        self._specs = {spec.name: spec for spec in config.logs}
        self._heads = [(spec, *os.path.split(_whole(path))) for spec in config.logs for path in spec.paths]
        self._real = {head: mounts.real_path(head) for _, head, _ in self._heads if not has_magic(head)}
        self._changed: dict[str, int | None] = {}  # directories -> their time; None: it is not there
        self._leading: frozenset[str] = frozenset()  # those in which a directory may come that matters
        self._rules: dict[str, list[tuple[LogSpec, re.Pattern[str]]]] = {}
        self._places_at = 0.0
        self.logs: dict[str, Log] = {}

    def renew(self, plan: Plan, now: float) -> None:
        """By what a run has found, which has looked at everything."""
        before, self.logs = self.logs, {}
        for log in plan.logs:
            known = before.get(log.path)
            self.logs[log.path] = known if known is not None else self._log(log.path, self._specs[log.rule], now)
        tops = {_still(head) for _, head, _ in self._heads if has_magic(head)}
        places = {*self._real.values(), *tops, *plan.directories}
        above = {each for place in plan.directories for each in _up_to(place, tops)}
        self._leading = frozenset(tops | above)
        self._changed = {place: self._changed.get(place, _UNSEEN) for place in places | above}
        self._rules.clear()

    def _log(self, path: str, spec: LogSpec, now: float) -> Log:
        return Log(path, spec.max_size, spec.min_interval, next=now)

    def due(self, now: float, *, all_of_them: bool = False) -> list[str]:
        """The logs that are due by their size, of those whose time to be looked at has come."""
        table = mounts.lately()
        logs = [log for log in self.logs.values() if all_of_them or log.next <= now]
        if not table.are_all_local:  # whoever looked there might wait for ever
            for log in logs:
                log.next = now + MOST
            logs = [log for log in logs if table.why_silent(log.path) is None]
        return [log.path for log in logs if log.look(now)]

    def next(self) -> float:
        """When the next log is to be looked at."""
        return min([log.next for log in self.logs.values()], default=self._places_at)

    def has_new_places(self, now: float) -> bool:
        """Look at the directories, and take up the logs that are new there. Whether there may be a new directory."""
        if now < self._places_at:
            return False
        self._places_at, found = now + MOST, False
        table = mounts.lately()
        for place, before in self._changed.items():
            after = before if table.why_silent(place) is not None else _changed(place)
            if after != before:
                self._changed[place] = after
                found |= before is None or (before != _UNSEEN and place in self._leading)
                for path, spec in self._new(place):
                    self.logs[path] = self._log(path, spec, now)
        return found

    def _new(self, place: str) -> Iterator[tuple[str, LogSpec]]:
        """Names there that a rule means and that are not known. The first rule that means one has it."""
        if place not in self._rules:
            self._rules[place] = list(self._means(place))
        rules = self._rules[place]
        with suppress(OSError):
            for name in os.listdir(place) if rules else ():
                path = os.path.join(place, name)
                if path in self.logs or name.startswith(".") or parse_archive(name) is not None:
                    continue
                spec = next((spec for spec, pattern in rules if pattern.match(name)), None)
                if spec is not None and not discover.is_excluded(spec, path):
                    yield path, spec

    def _means(self, place: str) -> Iterator[tuple[LogSpec, re.Pattern[str]]]:
        for spec, head, tail in self._heads:
            if self._real[head] == place if head in self._real else discover.fits(head, place):
                yield spec, re.compile(fnmatch.translate(tail) if has_magic(tail) else re.escape(tail) + r"\Z")

    def taken(self, path: str, now: float) -> None:
        """By us, just now."""
        log = self.logs.get(path)
        if log is not None:
            log.held, log.failures, log.next, log.inode, log.size = now + log.interval, 0, now, 0, None

    def put_off(self, paths: Iterable[str], now: float) -> None:
        """They could not be taken. An error of one log slows down that log alone."""
        for path in paths:
            log = self.logs.get(path)
            if log is not None:
                log.failures += 1
                log.held = log.next = now + next_try(log.failures)

    def look_again(self, paths: Iterable[str], at: float) -> None:
        for path in paths:
            if path in self.logs:
                self.logs[path].next = at

    def forget(self, paths: Collection[str]) -> None:
        """Some of them are no logs, or have gone."""
        gone = [path for path in paths if not os.path.lexists(path)]
        for path in gone or paths:
            self.logs.pop(path, None)

    def resting(self, now: float) -> dict[str, str]:
        """The logs that were taken so recently that no run takes them again, and why."""
        return {
            log.path: f"taken less than min_interval = {log.interval:g} s ago"
            for log in self.logs.values()
            if log.held > now and not log.failures
        }


def _whole(pattern: str) -> str:
    """A ``**`` at the end stands for all files below."""
    return os.path.join(pattern, "*") if os.path.basename(pattern) == "**" else pattern


def _still(head: str) -> str:
    """The part of a glob that names one directory."""
    while has_magic(head):
        head = os.path.dirname(head)
    return mounts.real_path(head)


def _up_to(place: str, tops: set[str]) -> Iterator[str]:
    """The directories above a place, if it lies below one of ``tops``, itself included."""
    way = [place]
    while way[-1] not in tops:
        above = os.path.dirname(way[-1])
        if above == way[-1]:
            return
        way.append(above)
    yield from way


def _changed(place: str) -> int | None:
    try:
        return os.stat(place).st_mtime_ns
    except OSError:
        return None
