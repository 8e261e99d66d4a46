"""How large logs were, and what was free, at the moments of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct

from logrotor.model.problem import Problem

SAMPLE_EVERY = 300.0  # seconds between two samples
_EARLY = 5.0  # seconds: a cron line that starts each minute is not on the second


def is_sample_due(sampled: float | None, now: float) -> bool:
    """``sampled``: when the last one was taken. One of the future was taken by a clock that has been set back."""
    return sampled is None or not 0 <= now - sampled < SAMPLE_EVERY - _EARLY


class LogSize(NamedTuple):
    """A log as one run found it, before it took anything."""

    path: str
    size: int | None  # bytes of the live log; None: missing
    archives: int  # bytes of all of its archives


class Space(NamedTuple):
    """A file system as one run found it."""

    mount: str
    free: int  # bytes
    inodes: int | None  # free ones; None: it has no fixed number


class LogPoint(Struct, frozen=True, gc=False):
    """A log in one sample."""

    time: float  # epoch seconds
    size: int | None  # bytes of the live log; None: missing
    archives: int  # bytes of all of its archives
    grown: int | None  # bytes that were written since the point before, across rotations; None: the first one


class SpacePoint(Struct, frozen=True, gc=False):
    """A file system in one sample."""

    time: float
    free: int
    inodes: int | None


class QueuePoint(Struct, frozen=True, gc=False):
    """A queue, when it was asked after a sample: numbers of jobs; None: its engine does not know."""

    time: float
    pending: int
    reserved: int | None
    scheduled: int
    failed: int | None
    stuck: int | None


class Samples(Struct, frozen=True, kw_only=True):
    """What :func:`logrotor.disk.sampled.read` found, each series the oldest first.

    ``times``: of all samples; where two are far apart, no run took place. A log or file system has a point only where
    something of it changed, and one at the sample before, as it was until then, and one at the last sample: a line
    through the points is true. A fall of ``size`` is a rotation or a truncation; when exactly, and which, the history
    knows (``History.takes``, ``rotations``).
    """

    times: tuple[float, ...] = ()
    logs: Mapping[str, tuple[LogPoint, ...]] = {}
    systems: Mapping[str, tuple[SpacePoint, ...]] = {}  # by mount point
    queues: Mapping[str, tuple[QueuePoint, ...]] = {}  # by name
    problem: Problem | None = None  # why nothing of it can be read, or not all
