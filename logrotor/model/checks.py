"""What a check is, and what it finds. The doctor runs checks of several rooms; each room knows its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from logrotor.model.problem import Problem


class Finding(Problem, frozen=True, kw_only=True):
    """A problem that a check found, and how it is repaired."""

    mend: Callable[[], str] | None = None  # does it, says what was done
    # Said, and no fault of this deployment: something of others' could not be looked at, or what failed is made up for.
    note: bool = False
    would: str = ""  # what ``mend`` would do, for the question: "remove /var/log/.app.log.new"
    subjects: tuple[str, ...] = ()  # all of them, where several have the very same finding; ``subject`` is the first


class Check(Struct, frozen=True, kw_only=True):
    """One named check. ``look`` changes nothing; it raises LogrotorError or OSError if it cannot look."""

    id: str  # "queue.timeouts"; ``doctor --only queue`` runs all that begin with "queue"
    title: str  # what holds when nothing is found: "the worker's limits are above the job's"
    look: Callable[[], Iterable[Finding]]
    facts: Callable[[], Mapping[str, Any]] = dict  # of what was looked at, where it is sound; for -v and --json
