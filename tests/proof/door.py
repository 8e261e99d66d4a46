"""Faults at the one door to the kernel: ``logrotor.disk.calls.invoke``, through which every changing call passes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from logrotor.disk import calls
from tests.proof.scenarios import Lacks

Moment = Callable[[int, str], object]  # the number of the call, from 1, and what it does ("rename")


@dataclass(slots=True)
class Door:
    """Stands in for ``invoke``. Both functions may kill, raise, or do something behind the run's back."""

    lacks: Lacks = Lacks.NOTHING
    before: Moment | None = None
    after: Moment | None = None
    operations: list[str] = field(default_factory=list)

    def __call__(self, operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.operations.append(operation)
        number = len(self.operations)
        if self.before is not None:
            self.before(number, operation)
        self._refuse(operation, function)
        result = function(*args, **kwargs)
        if self.after is not None:
            self.after(number, operation)
        return result

    def _refuse(self, operation: str, function: Callable[..., Any]) -> None:
        if self.lacks is not Lacks.NOTHING and function is calls.renameat2:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if self.lacks is Lacks.LINKS and operation == "link":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@contextmanager
def through(door: Door) -> Iterator[Door]:
    """Every changing call of this process goes through ``door``."""
    real = calls.invoke
    calls.invoke = door  # type: ignore[assignment]
    try:
        yield door
    finally:
        calls.invoke = real
