"""Events, and their names. ``Rotator`` hands each to ``on_event``; where they are printed is not decided here.

Whoever prints them, a command or a worker, uses :func:`logger`: structlog bound to one stream. structlog is never
configured globally, since a program that hosts us keeps its own set-up.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field


class Level(enum.IntEnum):
    """How much an event matters; the numbers are those of :mod:`logging`."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Event(Struct, frozen=True):
    """Something that happened: ``noun.verb`` and fields, never a sentence."""

    name: str
    level: Level
    fields: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""  # of a problem: what it is about, where no field "log" or "target" says it
    kind: str = ""  # and which one it is: the same again has the same name, subject and kind, whatever its words


_SHOWN = {-1: Level.ERROR, 0: Level.WARNING, 1: Level.INFO, 2: Level.DEBUG}


def shown_from(verbosity: int) -> Level:
    """The least level that is shown: -1 errors, 0 warnings, 1 info, 2 debug."""
    return _SHOWN[max(-1, min(2, verbosity))]


def logger(stream: Any, processors: Sequence[Any] | None = None) -> Any:
    """A structlog logger that writes to ``stream``: JSON, one object a line, or by ``processors`` of its own."""
    import structlog  # 30 ms, which a quiet run does not pay

    return structlog.wrap_logger(
        structlog.WriteLogger(stream),
        wrapper_class=structlog.make_filtering_bound_logger(0),
        processors=_json_processors() if processors is None else processors,
        context_class=dict,
    )


def _json_processors() -> list[Any]:
    from structlog.processors import JSONRenderer, TimeStamper, add_log_level

    from logrotor.model import as_json

    # as_json: values such as paths in tuples or enums; ASCII: file names of any bytes come through.
    return [add_log_level, TimeStamper(fmt="iso", utc=True), lambda _, __, e: as_json(e), JSONRenderer(default=str)]


OnEvent = Callable[[Event], object]

NAMES: Mapping[str, tuple[Level, str]] = {
    "user.changed": (
        Level.WARNING,
        "root has become the user who owns the configuration; printed by `logrotor run` alone",
    ),
    "run.started": (Level.INFO, "a run starts: number of logs found and due"),
    "log.missing": (Level.DEBUG, "a configured log does not exist"),
    "log.skipped": (
        Level.DEBUG,
        "a configured path is not a log file: a link to /dev/stdout, or one that a glob found",
    ),
    "log.shadowed": (Level.DEBUG, "a second rule names the file too; the first in file order has it"),
    "logs.vanished": (
        Level.WARNING,
        "a directory from which earlier runs rotated logs has none of them any more; `logrotor run` prints it once",
    ),
    "log.unclear": (Level.INFO, "a file may be a log or an archive, so nothing is done to it"),
    "log.refused": (Level.ERROR, "a log is not touched, why, and what to do"),
    "log.closed": (Level.WARNING, "somebody loses access to a log by its rotation, and create_mode accepts that"),
    "log.deferred": (Level.INFO, "a log is left alone in this run, say as another run works on it, and why"),
    "lock.held": (
        Level.WARNING,
        "a run that is stopped, or for over a minute another user, keeps logrotor from a log, an archive or its state",
    ),
    "log.created": (Level.DEBUG, "a missing live log was created"),
    "log.recovered": (Level.DEBUG, "what an interrupted run left was finished or dropped"),
    "rotation.completed": (Level.DEBUG, "a log was taken: protocol, guarantee, bytes"),
    "rotation.failed": (Level.ERROR, "a log could not be taken; it is due again at the next run"),
    "reopen.signalled": (Level.INFO, "a reopen request was delivered"),
    "reopen.unneeded": (Level.INFO, "a reopen request was not delivered, and nobody writes the archives of these logs"),
    "reopen.failed": (
        Level.ERROR,
        "a reopen request was not delivered to whoever writes, or may write: why, and what to do",
    ),
    "archive.removed": (Level.INFO, "retention removed an archive: its name, size and why"),
    "archive.compressed": (Level.DEBUG, "an archive reached its final form and place"),
    "archive.deferred": (Level.DEBUG, "an archive stays as it is for now, and why"),
    "archive.failed": (Level.ERROR, "an archive could not be compressed, moved or removed"),
    "hook.completed": (Level.DEBUG, "on_archive succeeded for an archive"),
    "hook.failed": (Level.ERROR, "on_archive failed for an archive; it is tried again at the next run"),
    "problem.found": (Level.ERROR, "a rule, a directory or the state file is wrong; the others went on"),
    "problem.ended": (Level.WARNING, "what was wrong in earlier runs is no longer; printed by `logrotor run` alone"),
    "state.repaired": (Level.WARNING, "rows of the history that could not be read were deleted; the others are kept"),
    "state.replaced": (Level.WARNING, "a damaged state file was set aside; a new one has what could still be read"),
    "run.completed": (Level.INFO, "a run ended: counts, duration, exit code"),
    "job.skipped": (Level.INFO, "a job had nothing to do: another run was at work, or it was too old"),
    "job.retried": (Level.WARNING, "an attempt of a job failed; the next one comes after the backoff"),
    "job.failed": (Level.ERROR, "a job failed for good, why, and what to do"),
    "worker.started": (
        Level.INFO,
        "a worker or schedule starts, or begins anew: its processes, queue and configuration",
    ),
    "worker.ended": (Level.ERROR, "the engine's worker has ended by itself: by which signal, or with which exit code"),
    "worker.waiting": (Level.ERROR, "a worker cannot reach its queue, why, and what to do; it tries again"),
    "worker.idle": (
        Level.ERROR,
        "a worker began no job for some ticks although jobs wait: why it is ended, and what was stopped",
    ),
    "job.undelivered": (Level.ERROR, "a job could not be queued; the next tick tries again"),
    "watch.started": (Level.INFO, "a watch starts, or has read its configuration again: its process, and the rules"),
    "watch.refused": (
        Level.ERROR,
        "a watch goes on as it was: a configuration that is wrong, or a program that would not start again",
    ),
    "watch.ended": (Level.INFO, "a watch ended: it was asked to stop, or begins anew with its program of now"),
    "run.interrupted": (Level.WARNING, "a run was asked to stop and stopped cleanly"),
    "run.failed": (Level.ERROR, "nothing could run, and why; printed by the commands, the library raises instead"),
}
