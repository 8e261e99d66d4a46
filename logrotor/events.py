"""Events, and their names. ``Rotator`` hands each to ``on_event``; where they are printed is not decided here.

Whoever prints them, a command or a worker, uses :func:`json_line`, or on a terminal structlog bound to one stream;
it is never configured globally, since a program that hosts us keeps its own set-up.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, TypedDict, cast

from msgspec import Meta, Struct, field


class Level(enum.IntEnum):
    """How much an event matters; the numbers are those of :mod:`logging`."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Fields(TypedDict, total=False):
    """All fields that events have; :data:`NAMES` says which event has which. Durations are seconds."""

    log: Annotated[str, Meta(description="path of the live log")]
    logs: Annotated[int, Meta(description="how many logs")]
    name: Annotated[str, Meta(description="name of the file that it is about")]
    rule: Annotated[str, Meta(description="name of the rule")]
    target: Annotated[str, Meta(description="name of the reopen target")]
    subject: Annotated[str, Meta(description="what it is about: a directory, a file, a target")]
    reason: Annotated[str, Meta(description="why it was done, or put off")]
    error: Annotated[str, Meta(description="what failed, why, and what to do")]
    problem: Annotated[str, Meta(description="what is wrong; of problem.ended: the event that has stopped")]
    detail: Annotated[str, Meta(description="how, in words")]
    advice: Annotated[str, Meta(description="what to do")]
    user: Annotated[str, Meta(description="name of the user")]
    due: Annotated[int, Meta(description="how many logs are due, refused ones among them")]
    waiting: Annotated[int, Meta(description="how many steps it keeps waiting")]
    protocol: Annotated[
        str, Meta(description="how the log was taken: exchange, link, rename, whole, collapse, truncate")
    ]
    guarantee: Annotated[str, Meta(description="what that guarantees: lossless, or less")]
    to: Annotated[str, Meta(description="path of the finished archive")]
    bytes: Annotated[int, Meta(description="size of the log or archive before the step")]
    bytes_left: Annotated[int, Meta(description="bytes of the log that the next run copies")]
    bytes_out: Annotated[int, Meta(description="size of the finished archive")]
    seconds: Annotated[float, Meta(description="how long it took")]
    pids: Annotated[list[int], Meta(description="processes that were signalled")]
    children: Annotated[
        list[int], Meta(description="child processes, for which a function that was called does not reopen")
    ]
    rotated: Annotated[int, Meta(description="logs that were rotated")]
    compressed: Annotated[int, Meta(description="archives that reached their final form and place")]
    removed: Annotated[int, Meta(description="archives that retention removed")]
    deferred: Annotated[int, Meta(description="logs and archives that were put off")]
    failed: Annotated[int, Meta(description="steps that failed")]
    exit_code: Annotated[int, Meta(description="exit code of the run, or of the worker")]
    signal: Annotated[str, Meta(description="signal that ended the worker")]
    since: Annotated[str, Meta(description="when it began; printed by `logrotor run` alone")]
    runs: Annotated[int, Meta(description="how many runs it has lasted; printed by `logrotor run` alone")]
    job: Annotated[str, Meta(description="id of the job")]
    attempt: Annotated[int, Meta(description="number of the attempt, from 1 on")]
    tries: Annotated[int, Meta(description="how many attempts the job gets")]
    delay: Annotated[float, Meta(description="time until the next attempt")]
    first: Annotated[str, Meta(description="id of the failed job of the same cause, where there is one")]
    queue: Annotated[str, Meta(description="name of the queue of this host")]
    engine: Annotated[str, Meta(description="queue engine")]
    config: Annotated[str, Meta(description="configuration file")]
    rules: Annotated[int, Meta(description="how many rules the configuration has")]
    process: Annotated[int, Meta(description="process id of logrotor")]
    worker: Annotated[int, Meta(description="process id of the engine's worker")]
    schedule: Annotated[bool, Meta(description="whether it dispatches jobs, too")]
    anew: Annotated[bool, Meta(description="whether it began anew by itself")]
    pending: Annotated[int, Meta(description="jobs that wait")]
    stopped: Annotated[list[int], Meta(description="processes that a signal has stopped")]


class Event(Struct, frozen=True):
    """Something that happened: ``noun.verb`` and fields, never a sentence."""

    name: str
    level: Level
    fields: Fields = field(default_factory=Fields)
    subject: str = ""  # of a problem: what it is about, where no field "log" or "target" says it
    kind: str = ""  # and which one it is: the same again has the same name, subject and kind, whatever its words


_SHOWN = {-1: Level.ERROR, 0: Level.WARNING, 1: Level.INFO, 2: Level.DEBUG}


def shown_from(verbosity: int) -> Level:
    """The least level that is shown: -1 errors, 0 warnings, 1 info, 2 debug."""
    return _SHOWN[max(-1, min(2, verbosity))]


def json_line(name: str, fields: Mapping[str, Any], moment: datetime) -> str:
    """An event as one JSON object on a line. structlog would do the same, and take 7 MB and 30 ms for that."""
    import json

    from logrotor.model import as_json

    # as_json: values such as paths in tuples or enums; ASCII: file names of any bytes come through.
    stamp = moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    told = {**as_json(fields), "event": name, "level": NAMES[name].level.name.lower(), "timestamp": stamp}
    return json.dumps(told, default=str) + "\n"


OnEvent = Callable[[Event], object]


class Kind(NamedTuple):
    """What is known of an event beforehand. ``fields``: those that it may have, of :class:`Fields`, in words."""

    level: Level
    meaning: str
    fields: str


NAMES: Mapping[str, Kind] = {
    "user.changed": Kind(
        Level.WARNING,
        "root has become the user who owns the configuration; printed by `logrotor run` alone",
        "user reason advice",
    ),
    "run.started": Kind(Level.INFO, "a run starts: number of logs found and due", "logs due"),
    "log.missing": Kind(Level.DEBUG, "a configured log does not exist", "log"),
    "log.skipped": Kind(
        Level.DEBUG,
        "a configured path is not a log file: a link to /dev/stdout, or one that a glob found",
        "log reason",
    ),
    "log.shadowed": Kind(
        Level.DEBUG,
        "a second rule names the file too; the first in file order has it",
        "log reason",
    ),
    "logs.vanished": Kind(
        Level.WARNING,
        "a directory from which earlier runs rotated logs has none of them any more; `logrotor run` prints it once",
        "rule logs problem since runs",
    ),
    "log.unclear": Kind(Level.INFO, "a file may be a log or an archive, so nothing is done to it", "log reason"),
    "log.refused": Kind(Level.ERROR, "a log is not touched, why, and what to do", "log logs subject error since runs"),
    "log.closed": Kind(
        Level.WARNING,
        "somebody loses access to a log by its rotation, and create_mode accepts that",
        "log problem since runs",
    ),
    "log.deferred": Kind(
        Level.INFO,
        "a log is left alone in this run, say as another run works on it, and why",
        "log name reason",
    ),
    "lock.held": Kind(
        Level.WARNING,
        "a run that is stopped, or for over a minute another user, keeps logrotor from a log, an archive or its state",
        "error waiting since runs",
    ),
    "log.created": Kind(Level.DEBUG, "a missing live log was created", "log name reason seconds"),
    "log.recovered": Kind(
        Level.DEBUG,
        "what an interrupted run left was finished or dropped",
        "log name reason bytes seconds",
    ),
    "rotation.completed": Kind(
        Level.DEBUG,
        "a log was taken: protocol, guarantee, bytes",
        "log name reason protocol guarantee bytes bytes_left seconds",
    ),
    "rotation.failed": Kind(
        Level.ERROR,
        "a log could not be taken; it is due again at the next run",
        "log name error since runs",
    ),
    "reopen.signalled": Kind(Level.INFO, "a reopen request was delivered", "target logs detail pids children"),
    "reopen.unneeded": Kind(
        Level.INFO,
        "a reopen request was not delivered, and nobody writes the archives of these logs",
        "target logs reason",
    ),
    "reopen.failed": Kind(
        Level.ERROR,
        "a reopen request was not delivered to whoever writes, or may write: why, and what to do",
        "target logs error since runs",
    ),
    "archive.removed": Kind(
        Level.INFO,
        "retention removed an archive: its name, size and why",
        "log name reason bytes seconds",
    ),
    "archive.compressed": Kind(
        Level.DEBUG,
        "an archive reached its final form and place",
        "log name to bytes bytes_out seconds",
    ),
    "archive.deferred": Kind(Level.DEBUG, "an archive stays as it is for now, and why", "log name reason"),
    "archive.failed": Kind(
        Level.ERROR,
        "an archive could not be compressed, moved or removed",
        "log name error since runs",
    ),
    "hook.completed": Kind(Level.DEBUG, "on_archive succeeded for an archive", "log name seconds"),
    "hook.failed": Kind(
        Level.ERROR,
        "on_archive failed for an archive; it is tried again at the next run",
        "log name error since runs",
    ),
    "problem.found": Kind(
        Level.ERROR,
        "a rule, a directory or the state file is wrong; the others went on",
        "error since runs",
    ),
    "problem.ended": Kind(
        Level.WARNING,
        "what was wrong in earlier runs is no longer; printed by `logrotor run` alone",
        "problem subject since runs",
    ),
    "state.repaired": Kind(
        Level.WARNING,
        "rows of the history that could not be read were deleted; the others are kept",
        "detail since runs",
    ),
    "state.replaced": Kind(
        Level.WARNING,
        "a damaged state file was set aside; a new one has what could still be read",
        "detail since runs",
    ),
    "run.completed": Kind(
        Level.INFO,
        "a run ended: counts, duration, exit code",
        "rotated compressed removed deferred failed exit_code seconds",
    ),
    "job.skipped": Kind(
        Level.INFO,
        "a job had nothing to do: another run was at work, or it was too old",
        "job attempt tries reason",
    ),
    "job.retried": Kind(
        Level.WARNING,
        "an attempt of a job failed; the next one comes after the backoff",
        "job attempt tries error delay",
    ),
    "job.failed": Kind(Level.ERROR, "a job failed for good, why, and what to do", "job attempt tries error first"),
    "worker.started": Kind(
        Level.INFO,
        "a worker or schedule starts, or begins anew: its processes, queue and configuration",
        "queue engine config process worker schedule anew",
    ),
    "worker.ended": Kind(
        Level.ERROR,
        "the engine's worker has ended by itself: by which signal, or with which exit code",
        "queue worker error exit_code signal",
    ),
    "worker.waiting": Kind(
        Level.ERROR,
        "a worker or schedule cannot work yet, why, and what to do; it tries again",
        "queue error config",
    ),
    "worker.idle": Kind(
        Level.ERROR,
        "a worker began no job for some ticks although jobs wait: why it is ended, and what was stopped",
        "queue error process pending stopped",
    ),
    "job.undelivered": Kind(Level.ERROR, "a job could not be queued; the next tick tries again", "queue error"),
    "run.interrupted": Kind(
        Level.WARNING,
        "a run was asked to stop and stopped cleanly",
        "rotated compressed removed deferred failed seconds",
    ),
    "run.failed": Kind(
        Level.ERROR,
        "nothing could run, and why; printed by the commands, the library raises instead",
        "error since runs",
    ),
    "watch.started": Kind(
        Level.INFO,
        "a watch starts, or has read its configuration again: its process, and how many rules it has",
        "config process rules",
    ),
    "watch.refused": Kind(
        Level.ERROR,
        "a watch goes on as it was: a configuration that is wrong, or a program that would not start again",
        "error",
    ),
    "watch.ended": Kind(
        Level.INFO,
        "a watch ended: it was asked to stop, or begins anew with its program of now",
        "reason",
    ),
}


def made(name: str, fields: Mapping[str, Any], subject: str = "", kind: str = "") -> Event:
    """The event of that name, with its level."""
    return Event(name, NAMES[name].level, cast(Fields, fields), subject, kind)
