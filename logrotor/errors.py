"""The error tree. Errors carry a :class:`Problem`, as fields; they never print, and they pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from logrotor.model.problem import Problem

if TYPE_CHECKING:
    from logrotor.model import ConfigProblem


HELD = "held"  # the kind of a problem: it is free once its holder lets go
CLOSED = "closed"  # the kind of a problem: another user may do what we may not


class LogrotorError(Exception):
    """Every error that logrotor raises on purpose. Its arguments are exactly those of ``__init__``, so it pickles.

    Given a string, it is a problem without a subject or an advice.
    """

    def __init__(self, problem: Problem | str) -> None:
        super().__init__(problem)
        self.problem = problem if isinstance(problem, Problem) else Problem(subject="", problem=problem)

    def __str__(self) -> str:
        return str(self.problem)


class ConfigError(LogrotorError):
    """A configuration with which nothing can run. ``problems`` holds all of them, each with its place."""

    def __init__(self, problems: tuple[ConfigProblem, ...]) -> None:
        Exception.__init__(self, problems)
        self.problems = problems

    @property
    def problem(self) -> Problem:  # type: ignore[override]
        return Problem(subject="", problem=str(self))

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class StateError(LogrotorError):
    """The state directory cannot be used; nothing ran."""


class Locked(LogrotorError):
    """Another run holds the lock of the state directory."""


class InsecureDirectory(LogrotorError):
    """A directory that somebody else could change under our hands."""


class Refused(LogrotorError):
    """A log, archive or temp that is not what it should be; it was left alone."""


class Stale(LogrotorError):
    """The disk is no longer what the plan saw; plan again."""


class Busy(LogrotorError):
    """Another rotator works on this log right now. The subject of its problem is the lock or temp, kind ``HELD``."""


class ReopenFailed(LogrotorError):
    """A reopen request that was not delivered; the message says what to do."""


class HookFailed(LogrotorError):
    """``on_archive`` did not succeed for an archive; it is tried again at the next run."""


class VerifyFailed(LogrotorError):
    """A finished archive does not hold the bytes of its original; the original stays."""


class Interrupted(LogrotorError):
    """The caller asked the run to stop; what had begun was finished or undone."""


class StoppedLooking(Interrupted):
    """The same while the logs were looked at: nothing was done."""


class UnknownSelection(LogrotorError):
    """``only`` names neither a rule nor a log."""


MAKE_ROOM = "make room there, or free inodes: df, df -i; lower backup_count, or set keep_free"


def problem_of(error: BaseException, path: str) -> Problem:
    """An error as a problem: the file that it names, else ``path``, and the errno by its name."""
    if isinstance(error, LogrotorError):
        return error.problem
    if isinstance(error, OSError) and error.errno is not None:
        import errno

        name = error.filename if isinstance(error.filename, str) and "/" in error.filename else path
        what = f"{error.strerror or type(error).__name__} ({errno_name(error.errno)})"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return Problem(subject=name, problem=what, advice=MAKE_ROOM if full else "", kind=errno_name(error.errno))
    return Problem(subject=path, problem=str(error) or type(error).__name__)


def errno_name(number: int) -> str:
    """``EACCES``."""
    import errno

    return errno.errorcode.get(number, str(number))


def message(error: BaseException, path: str) -> str:
    """An error in one line, with the file and the errno's name."""
    if isinstance(error, OSError) and error.errno is not None:
        return str(problem_of(error, path))
    return str(error) or type(error).__name__
