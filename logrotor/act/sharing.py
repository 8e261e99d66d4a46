"""Divide the work on very many logs among processes. Who forks is the caller's business; what they do is told here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from logrotor.model import Compress, LogPlan

S = TypeVar("S")
R = TypeVar("R")
Job = tuple[LogPlan, Compress]
Stop = Callable[[], bool]
Tell = Callable[[Any], object]


class Helper(Protocol):
    """A process that does a share of the work."""

    def finish(self, stop: Stop) -> tuple[list[Any], str | None]:
        """Wait until it has ended, asking it to stop once ``stop`` says so.

        Returns what it told, and why it ended before it was done, or None.
        """
        ...

    def kill(self) -> None:
        """End it at once; nothing if it has ended."""
        ...


Fork = Callable[[Callable[[Stop, Tell], object]], Helper | None]
"""Start a helper: it gets a ``stop`` of its own, and tells values that pickle. None where that is not possible."""


def divided(jobs: Sequence[Job], shares: int) -> list[list[Job]]:
    """Shares of about the same size. All archives of a log are in the same one: it is locked while one is worked on."""
    logs = dict.fromkeys(log.path for log, _ in jobs)
    share_of = {path: number * shares // len(logs) for number, path in enumerate(logs)}
    divided: list[list[Job]] = [[] for _ in range(shares)]
    for job in jobs:
        divided[share_of[job[0].path]].append(job)
    return divided


def carry_out(
    shares: Sequence[S],
    fork: Fork | None,
    here: Callable[[S], R],
    there: Callable[[S, Stop, Tell], object],
    collect: Callable[[Helper, S], R],
) -> list[R]:
    """The first share in this process, each other one in a helper, or here as well where none can be had."""
    helpers = [fork(partial(there, share)) if fork is not None else None for share in shares[1:]]
    try:
        done = [here(share) for share in shares[:1]]
        for share, helper in zip(shares[1:], helpers, strict=True):
            done.append(here(share) if helper is None else collect(helper, share))
        return done
    finally:
        for helper in helpers:
            if helper is not None:
                helper.kill()


def processors() -> int:
    return len(os.sched_getaffinity(0))
