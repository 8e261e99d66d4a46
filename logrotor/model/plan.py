"""Plans with their reasons, and reports of what came of them."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict

from msgspec import Struct, field

from logrotor.model.entries import FileId
from logrotor.model.problem import Problem
from logrotor.model.records import Action
from logrotor.model.steps import Compress, Remove, RunHook, Step


class Due(Struct, frozen=True):
    """The log is rotated now, because ..."""

    reason: str


class NotDue(Struct, frozen=True):
    """The log is left alone, because ...; ``next_slot``: when its schedule will make it due."""

    reason: str
    next_slot: datetime | None = None


class Note(Struct, frozen=True):
    """What is said of a file or a rule that nothing is done to now: kept, deferred, skipped, shadowed, unmatched."""

    name: str
    reason: str


class Vanished(Struct, frozen=True):
    """A directory from which earlier runs rotated logs, and which has none of them any more, nor an archive of one."""

    directory: str
    rule: str
    logs: tuple[str, ...]
    is_there: bool  # the directory itself

    @property
    def problem(self) -> Problem:
        names = ", ".join(map(os.path.basename, self.logs[:3])) + (", ..." if self.logs[3:] else "")
        where = "holds none of its logs any more" if self.is_there else "is gone with its logs"
        what = f"{where} that rule {self.rule} has rotated: {names}"
        advice = "mount or restore it; nothing, if they are gone for good"
        return Problem(subject=self.directory, problem=what, advice=advice, kind="vanished")


class Plain(Struct, frozen=True):
    """An uncompressed archive, which somebody may still write, under the name that it has after the take."""

    directory: str
    name: str
    id: FileId


class LogPlan(Struct, frozen=True, kw_only=True):
    """What happens to one log, and why. Steps stand in the order in which they are carried out."""

    path: str
    rule: str
    due: Due | NotDue
    size: int | None = None  # of the live log; None: missing
    recover: tuple[Step, ...] = ()
    take: tuple[Step, ...] = ()
    reopen: str | None = None  # a target that is asked after the take
    reopen_reason: str = ""
    awaited: tuple[Plain, ...] = ()  # what the writers are asked to let go of
    retire: tuple[Remove, ...] = ()
    compress: tuple[Compress, ...] = ()
    hooks: tuple[RunHook, ...] = ()
    deferred: tuple[Note, ...] = ()
    kept: tuple[Note, ...] = ()  # archives that stay, newest first, each with the reason
    strangers: tuple[Note, ...] = ()  # paths with an archive's name that are none, as somebody writes them
    refused: Problem | None = None  # why nothing is done at all: an error
    missing: bool = False
    protocol: str = ""  # "exchange", "link", "rename", "whole", "collapse", "truncate"
    proof: str = ""  # "lease", "/proc", "unknown: ..."
    loses: Problem | None = None  # who loses access by a rotation, where create_mode was given all the same
    widens: str = ""  # "0640 -> 0664": create_mode opens the log to more than can read or write it now

    @property
    def steps(self) -> tuple[Step, ...]:
        return (*self.recover, *self.take, *self.retire, *self.compress, *self.hooks)

    @property
    def is_idle(self) -> bool:
        return not (self.recover or self.take or self.reopen or self.retire or self.compress or self.hooks)


class Plan(Struct, frozen=True, kw_only=True):
    """The whole run before it happens. ``run`` carries out exactly this."""

    now: datetime
    logs: tuple[LogPlan, ...]
    missing: tuple[str, ...] = ()  # literal paths that do not exist and may be missing
    unmatched: tuple[Note, ...] = ()  # rules whose globs match no log, which may be
    skipped: tuple[Note, ...] = ()  # logs that are no business of ours, say a link to /dev/stdout
    shadowed: tuple[Note, ...] = ()  # files that a second rule names too; the first in file order has them
    vanished: tuple[Vanished, ...] = ()  # directories whose logs were there in earlier runs
    unclear: tuple[Problem, ...] = ()  # files that may be logs or archives, so nothing is done to them
    problems: tuple[Problem, ...] = ()  # rules and directories that failed, each alone
    notes: tuple[str, ...] = ()
    directories: Mapping[str, FileId] = field(default_factory=dict)  # by path: no other one is touched
    locked: tuple[str, ...] = ()  # directories in which a run works, or was killed

    @property
    def due(self) -> int:
        """How many logs are due, refused ones among them."""
        return sum(isinstance(log.due, Due) for log in self.logs)

    @property
    def is_idle(self) -> bool:
        return all(log.is_idle for log in self.logs)


class Status(enum.StrEnum):
    """How a step ended."""

    DONE = "done"
    DEFERRED = "deferred"
    SKIPPED = "skipped"
    FAILED = "failed"


_From = TypedDict("_From", {"from": str}, total=False)  # the directory in which an archive lay before


class Details(_From, total=False):
    """What is known of an outcome beside its reason: whichever of these apply. Sizes are bytes, durations seconds."""

    seconds: float  # how long the step took
    protocol: str  # of a take: "exchange", "link", "rename"; of copytruncate: "whole", "collapse", "truncate"
    guarantee: str  # "lossless", or what may be lost
    bytes: int  # size of the log or archive before
    bytes_out: int  # size of the finished archive
    bytes_left: int  # of a copy that the next run continues
    to: str  # path of the finished archive
    directory: str  # where an archive lay that was removed
    inode: int  # of the archive; ``source``: of what it was made from
    source: int
    born: float | None  # birth times by the file system, epoch seconds
    source_born: float | None
    taken: float | None  # when the log was taken, epoch seconds
    mtime_ns: int
    lines: int | None  # of the content that was compressed
    xxh128: str | None
    logs: list[str]  # of a reopen request: the logs that it was for
    pids: list[int]  # and the processes that were signalled
    children: list[int]  # of the process whose function was called: it did not reopen for them


class Outcome(Struct, frozen=True, kw_only=True):
    """How one step of one log ended."""

    log: str  # path of the live log
    action: Action
    status: Status
    name: str = ""  # the file (or target) that it was about
    reason: str = ""  # why it was done, or was not
    errno: int | None = None
    details: Details = field(default_factory=Details)
    problem: Problem | None = None  # why it failed, as fields; ``reason`` says the same in one line

    @property
    def record(self) -> Mapping[str, Any]:
        """What the history keeps beside the reason."""
        if self.problem is None:
            return self.details
        kept = {name: getattr(self.problem, name) for name in ("subject", "problem", "advice")}
        return {**self.details, "problem": kept}


class Report(Struct, frozen=True, kw_only=True):
    """What a run did.

    A log that was due and rotated has an outcome "take" or "copytruncate"; each archive that was compressed, moved or
    removed, each reopen request and each hook has one of its own; a log with nothing to do has none. The counts are of
    outcomes, and those of the event run.completed are the same.
    """

    started: datetime
    duration: float
    outcomes: tuple[Outcome, ...]
    plan: Plan
    problems: tuple[Problem, ...] = ()
    interrupted: bool = False

    def count(self, action: Action, status: Status = Status.DONE) -> int:
        """How many steps of this kind ended so."""
        return sum(1 for o in self.outcomes if o.action == action and o.status is status)

    @property
    def rotated(self) -> int:
        """How many logs were taken or copied and cut."""
        return self.count("take") + self.count("copytruncate")

    @property
    def compressed(self) -> int:
        """How many archives reached their final form and place, those with ``compress = "none"`` included."""
        return self.count("compress")

    @property
    def removed(self) -> int:
        """How many archives retention removed."""
        return self.count("remove")

    @property
    def deferred(self) -> tuple[Outcome, ...]:
        """What was put off, each with its ``reason``: a later run does it. A log that another run has, an archive that
        its writer still writes, a compression that would not fit into ``time_limit``."""
        return tuple(o for o in self.outcomes if o.status is Status.DEFERRED)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """What failed, each with its ``problem`` or ``reason``; refused logs included."""
        return tuple(o for o in self.outcomes if o.status is Status.FAILED)

    @property
    def exit_code(self) -> int:
        """0: all well, nothing due and deferred included; 1: some log, rule or reopen request failed."""
        return 1 if self.failed or self.problems else 0
