"""What the history knows of earlier runs."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, convert, field

from logrotor.model.problem import Problem

Count = Annotated[int, Meta(ge=0)]
Moment = Annotated[float, Meta(ge=0, lt=250_000_000_000)]  # epoch seconds, which a calendar has: before the year 9892


# "take" and "copytruncate" rotate a log; "plan" is a refusal, or what is wrong with a rule or a directory.
Action = Literal["take", "copytruncate", "create", "recover", "reopen", "remove", "compress", "hook", "plan"]


class CopyInFlight(Struct, frozen=True):
    """The one record that recovery needs: a copytruncate between publishing its archive and cutting the log."""

    path: str  # of the live log
    inode: Count
    birth: Moment
    archive_inode: Count
    length: Count  # bytes at the head of the log that the archive holds
    # "copied": the head may still be there whole; "marked": its first block is a hole until cut
    stage: Annotated[str, Meta(pattern="^(copied|marked)$")]
    protocol: Annotated[str, Meta(pattern="^(collapse|truncate)$")]
    archive_mtime_ns: int = 0  # by which the archive is known again once another configuration has compressed it
    head: Annotated[int, Meta(ge=0, le=255)] = 0  # the first byte of the log, which is inverted while it is truncated


class LogHistory(Struct, frozen=True):
    """What the history knows of one log."""

    last_rotation: float | None = None
    request_delivered: float | None = None  # the last reopen request that was delivered
    request_failed: float | None = None  # set while the last request is a failed one
    archive_dirs: tuple[str, ...] = ()  # directories that have held archives of it
    hooked: frozenset[tuple[int, int]] = frozenset()  # (inode, mtime_ns) of archives whose on_archive succeeded
    in_flight: CopyInFlight | None = None
    begun: bool = False  # a run has taken it, or was about to
    unclear: int | None = None  # inode of a file of that name of which a run could not tell whether it is a log


class KeptOut(Struct, frozen=True):
    """Since when one run after the other could not get a lock or a temp, the last one, and how many that were."""

    since: Moment
    last: Moment
    runs: Count


class LastRun(Struct, frozen=True):
    """When a run was (epoch seconds), and what tells the next one whether the clock has leapt since."""

    at: float
    gap: float = 0.0  # the longest pause between two runs lately, in seconds
    since: float = 0.0  # by no archive's time: the first run, or the first one after a leap


class Look(Struct, frozen=True):
    """When a run last looked at these rules and logs (epoch seconds); none are named: at all."""

    only: tuple[str, ...]  # as UTF-8 has them: the next run may have another locale
    at: Moment

    @classmethod
    def of(cls, only: Iterable[str], at: float) -> Look:
        return cls(tuple(map(_in_utf8, only)), at)

    def covers(self, only: Collection[str]) -> bool:
        """Has it looked at all of these?"""
        return not self.only or (bool(only) and {*map(_in_utf8, only)} <= {*self.only})

    def concerns(self, names: Iterable[str]) -> bool:
        """Has it looked at one of these?"""
        return not self.only or not {*map(_in_utf8, names)}.isdisjoint(self.only)


def _in_utf8(name: str) -> str:
    """What is none is shown as escapes."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


_LOOKS, _NAMES = 16, 100  # that are remembered, and how many rules and logs they name


def looked(before: Sequence[Look], this: Look) -> tuple[Look, ...]:
    """What is remembered of the runs before ``this`` one and of itself, the newest first."""
    found, names = [this], len(this.only)
    if names > _NAMES:
        return tuple(before)
    for each in before:
        names += len(each.only)
        if len(found) < _LOOKS and names <= _NAMES and not this.covers(each.only):
            found.append(each)
    return tuple(found)


class LastReport(Struct, frozen=True, kw_only=True):
    """The last run in numbers, also an idle one. Seconds and bytes; moments are epoch seconds."""

    ended: Moment
    duration: float
    exit_code: Count
    succeeded: Moment | None = None  # when the last run without a failure ended
    due: Count
    rotated: Count
    failed: Count
    deferred: Count
    removed: Count
    rotated_bytes: Count
    compressed_input_bytes: Count
    compressed_output_bytes: Count
    compression_seconds: float
    sampled: Moment | None = None  # when a run last took a sample, or tried to
    looks: tuple[Look, ...] = ()  # of runs that were not interrupted, the newest first


_NOTHING = LogHistory()


class LogHistories:
    """What the history knows of all logs. ``note``: why nothing is known, if something went wrong."""

    def __init__(self, logs: Mapping[str, LogHistory], note: str | None = None) -> None:
        self._logs = logs
        self.note = note

    def of(self, path: str) -> LogHistory:
        return self._logs.get(path, _NOTHING)

    def want(self, paths: Iterable[str]) -> None:
        """Many are about to be asked for: a large history is not read for each of them."""

    def rotated_outside(self, places: Collection[str]) -> Iterator[str]:
        """The logs that were ever rotated, but for those in these directories."""
        rotated = (path for path, log in self._logs.items() if log.last_rotation is not None)
        return (path for path in rotated if os.path.dirname(path) not in places)

    @property
    def has_keepers(self) -> bool:
        return bool(self._keepers)

    def keeper(self, directory: str, base: str, among: Collection[str]) -> str | None:
        """Which log has archives of the name ``base`` in a directory other than its own; None: no such log is known.

        ``among``: all names for which this may be asked there.
        """
        return self._keepers.get((directory, base))

    @cached_property
    def _keepers(self) -> Mapping[tuple[str, str], str]:
        return {(d, os.path.basename(path)): path for path, log in self._logs.items() for d in log.archive_dirs}


class ArchiveRecord(Struct, frozen=True, kw_only=True):
    """What is recorded of one archive. ``xxh128`` None: nobody has read it yet."""

    id: int  # 0: not recorded yet
    log: str
    directory: str
    name: str  # at the time of the record; numbers change
    inode: Count
    born: Moment | None = None  # of what was read
    taken: Moment | None = None  # as noted on what was not read yet
    ordered: bool = False  # of two that are, the one with the greater id was rotated later
    bytes: Count | None = None  # uncompressed
    lines: Count | None = None
    xxh128: str | None = None
    leaving: bool = False  # a run was about to remove it


class PastRun(Struct, frozen=True, kw_only=True):
    """A run that had something to do. ``ended``, ``exit``: None while it goes on, and for ever if it was killed.

    ``exit`` is 130 or 143 where it was interrupted, as of the command.
    """

    id: int
    started: Moment
    ended: Moment | None = None
    pid: Count = 0
    forced: bool = False
    exit: Annotated[int, Meta(ge=0, le=255)] | None = None
    rotated: Count = 0
    failed: Count = 0
    deferred: Count = 0
    removed: Count = 0


class PastTake(Struct, frozen=True, kw_only=True, gc=False):
    """When a log was taken, or should have been, and how large it was: all that totals need, of very many."""

    time: float
    status: str
    bytes: int | None = None


class PastOutcome(Struct, frozen=True, kw_only=True):
    """How one step of a run ended; as :class:`Outcome`, with the time of the end of its run."""

    run: int
    time: Moment
    log: str
    action: str
    status: Literal["done", "deferred", "skipped", "failed"]
    name: str = ""
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def problem(self) -> Problem | None:
        """Why it failed; an older logrotor kept the sentence only."""
        if self.status != "failed":
            return None
        kept = self.details.get("problem")
        return convert(kept, Problem) if isinstance(kept, dict) else Problem(subject="", problem=self.reason)

    @property
    def runs(self) -> int:
        """For how many runs in a row it stands: the same refusal again and again is kept once."""
        found = self.details.get("runs")
        return found if isinstance(found, int) and found > 1 else 1

    @property
    def anew(self) -> bool:
        """Did a run of which there was nothing to record, thus a good one, come before the first of these?"""
        return self.details.get("anew") is True

    @property
    def logs(self) -> tuple[str, ...]:
        """The logs that it is about: one reopen request is for all logs of its target."""
        return tuple(dict.fromkeys((self.log, *self.details.get("logs", ()))))
