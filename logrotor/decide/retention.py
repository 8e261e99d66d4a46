"""Decide which archives stay. Knows nothing about directories, writers or clocks: ages and sizes are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from msgspec import Struct

from logrotor import text
from logrotor.model import LastRun, LogSpec

_DAY = 86400.0
IF_IT_RUNS = (  # of a plan for a moment that no run would reach from the last one without a leap
    "removals by max_age hold if logrotor runs as usual until then: a run after a pause that long takes it for a leap "
    "of the clock, and removes nothing for its age"
)


class Generation(Struct, frozen=True):
    """One archive as retention sees it. ``size`` None: it is being taken now, its final size is not known yet."""

    age: float  # seconds
    size: int | None


def decide(spec: LogSpec, generations: Sequence[Generation]) -> tuple[str | None, ...]:
    """For each generation, newest first: the reason to remove it, or None to keep it.

    The newest is never removed for its size: it is what the operator came to read.
    """
    reasons: list[str | None] = []
    total = 0
    for index, generation in enumerate(generations):
        total += generation.size or 0
        reasons.append(_reason(spec, index, generation, total))
    return tuple(reasons)


def _reason(spec: LogSpec, index: int, generation: Generation, total: int) -> str | None:
    if spec.backup_count is not None and index >= spec.backup_count:
        return f"more than backup_count = {spec.backup_count}"
    if spec.max_age is not None and generation.age > spec.max_age and generation.size is not None:
        return f"older than max_age = {text.duration(spec.max_age)}"
    if spec.max_total_size is not None and index > 0 and total > spec.max_total_size:
        return f"more than max_total_size = {spec.max_total_size} bytes"
    return None


def next_run(last: LastRun | None, now: float, period: Callable[[], float]) -> LastRun:
    """A run at ``now`` as the next one will remember it. ``period``: the longest of the schedules, in seconds.

    A pause that neither the schedules nor earlier pauses explain is a leap of the clock, or may be one: no archive
    counts as older than from there, so that one run with a wrong clock removes nothing. Nor if the clock was set back.
    """
    if last is None:
        return LastRun(now, 0.0, now)
    pause = now - last.at
    if pause < -_DAY:
        return LastRun(now, 0.0, now)
    leapt = pause > max(_DAY, 2 * last.gap) and pause > 2 * period()
    gap = max(pause, last.gap * 0.5 ** (max(pause, 0.0) / (30 * _DAY)))
    return LastRun(now, gap, now if leapt else last.since)


def why_kept(spec: LogSpec, index: int) -> str:
    """Why a generation stays: which limits it is within."""
    return _within(spec.backup_count, spec.max_age, spec.max_total_size, index)


@lru_cache(maxsize=256)
def _within(backup_count: int | None, max_age: float | None, max_total_size: int | None, index: int) -> str:
    limits = [
        f"{index + 1} of backup_count = {backup_count}" if backup_count is not None else "",
        f"within max_age = {text.duration(max_age)}" if max_age is not None else "",
        "within max_total_size" if max_total_size is not None else "",
    ]
    return ", ".join(filter(None, limits)) or "no count, age or size limit: everything is kept"
