"""Faults at the one door to the kernel: ``logrotor.disk.calls.invoke``, through which every changing call passes."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from logrotor.disk import calls
from tests.proof.scenarios import Lacks

Moment = Callable[[int, str], object]  # the number of the call, from 1, and what it does ("rename")
Fault = Callable[[int, str], Exception | None]


@dataclass(slots=True)
class Door:
    """Stands in for ``invoke``. ``before`` and ``after`` may kill, raise, or do something behind the run's back.

    ``fault`` gives the error with which a call fails, instead of being made.
    """

    lacks: Lacks = Lacks.NOTHING
    before: Moment | None = None
    after: Moment | None = None
    fault: Fault | None = None
    operations: list[str] = field(default_factory=list)

    def __call__(self, operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.operations.append(operation)
        number = len(self.operations)
        if self.before is not None:
            self.before(number, operation)
        self._refuse(operation, function)
        error = self.fault(number, operation) if self.fault is not None else None
        if error is not None:
            if operation == "close":  # the descriptor is gone, whatever close(2) answers
                function(*args, **kwargs)
            raise error
        result = function(*args, **kwargs)
        if self.after is not None:
            self.after(number, operation)
        return result

    def _refuse(self, operation: str, function: Callable[..., Any]) -> None:
        if self.lacks is not Lacks.NOTHING and function is calls.renameat2:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if self.lacks is Lacks.LINKS and operation == "link":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def failing(code: int, nth: int, *, persistent: bool) -> Fault:
    """The ``nth`` call fails with the errno ``code``, or with ``persistent`` each from there on.

    A persistent EINTR meets each call once. What SQLite does is told by SQLite, which retries EINTR itself; the
    function that is called to reopen the logs is no system call.
    """
    interrupted = False

    def fault(number: int, operation: str) -> Exception | None:
        nonlocal interrupted
        if number < nth or (number > nth and not persistent) or operation == "call":
            return None
        if code == errno.EINTR:
            interrupted = not interrupted
            return InterruptedError(code, os.strerror(code)) if interrupted and operation != "commit" else None
        if operation == "commit":
            return _of_sqlite(code)
        return OSError(code, os.strerror(code))

    return fault


_FULL = sqlite3.SQLITE_FULL, "database or disk is full"
_CLOSED = sqlite3.SQLITE_CANTOPEN, "unable to open database file"
_SQLITE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: (sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
    errno.EACCES: _CLOSED,
    errno.EMFILE: _CLOSED,
}


def _of_sqlite(code: int) -> sqlite3.OperationalError:
    number, words = _SQLITE.get(code, (sqlite3.SQLITE_IOERR, "disk I/O error"))
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = number
    return error


@contextmanager
def through(door: Door) -> Iterator[Door]:
    """Every changing call of this process goes through ``door``."""
    real = calls.invoke
    calls.invoke = door  # type: ignore[assignment]
    try:
        yield door
    finally:
        calls.invoke = real
