"""What a page shows, gathered once. Knows no markup."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from msgspec import Struct

from logrotor.decide.slots import time_of
from logrotor.model import PastTake, Problem
from logrotor.observe.attention import Attention, Thresholds, attention
from logrotor.observe.deployment import Deployment, archives_of
from logrotor.observe.doctor import Examined
from logrotor.observe.rotations import Rotation, rotations
from logrotor.observe.status import Status, status

DAYS = 30  # of which it shows the totals


class Stored(Struct, frozen=True):
    """An archive: where, of which log, how large, and of when (epoch seconds)."""

    path: str
    log: str
    size: int
    time: float


class Queue(Struct, frozen=True):
    """One queue; None: not known. ``oldest_age``: seconds that its oldest job waits."""

    queue: str  # its name
    host: str
    is_ours: bool
    pending: int
    reserved: int | None
    scheduled: int
    failed: int | None
    stuck: int | None
    oldest_age: float | None


class Queues(Struct, frozen=True):
    """What the queue's room says; ``problem``: why it cannot."""

    engine: str
    rows: Sequence[Queue] = ()
    attempts: str = ""  # what became of them lately, in words
    problem: Problem | None = None


class Origin(Struct, frozen=True):
    """Where the page comes from."""

    host: str
    configuration: str
    state_dir: str
    version: str


class Facts(Struct, frozen=True, kw_only=True):
    """What a page shows."""

    origin: Origin
    status: Status
    attention: tuple[Attention, ...]  # what passes a threshold
    rotations: tuple[Rotation, ...]  # the latest of each log, the oldest first
    takes: tuple[PastTake, ...]  # all of the last days
    archives: tuple[Stored, ...]  # the largest first
    queues: Queues | None
    examined: tuple[Examined, ...]

    @property
    def by_log(self) -> dict[str, list[Rotation]]:
        """The rotations of each log, by its path."""
        found: dict[str, list[Rotation]] = defaultdict(list)
        for rotation in self.rotations:
            found[rotation.log].append(rotation)
        return found


def gather(
    here: Deployment,
    origin: Origin,
    *,
    queues: Queues | None,
    troubles: Sequence[Attention],
    examined: Sequence[Examined],
) -> Facts:
    """Look at everything; ``troubles`` are those of other rooms. Raises LogrotorError or OSError."""
    found = status(here)
    return Facts(
        origin=origin,
        status=found,
        attention=(*attention(found, Thresholds()), *troubles),
        rotations=tuple(rotations(here.outcomes)),
        takes=tuple(here.takes(DAYS + 1)),
        archives=tuple(sorted(_archives(here), key=lambda each: (-each.size, each.path))),
        queues=queues,
        examined=tuple(examined),
    )


def _archives(here: Deployment) -> list[Stored]:
    return [
        Stored(archive.path, facts.path, archive.entry.size, time_of(archive))
        for facts in here.survey.logs
        for archive in archives_of(facts)
    ]
