"""What a page shows, gathered once. Knows no markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from logrotor.decide.slots import time_of
from logrotor.model import Finding, LogPoint, PastTake, Problem
from logrotor.observe.attention import Thresholds, attention, notes
from logrotor.observe.causes import Attention, Cause, causes
from logrotor.observe.deployment import Deployment, archives_of
from logrotor.observe.doctor import Examined
from logrotor.observe.rotations import Rotation
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
    causes: tuple[Cause, ...]  # what is wrong, the worst first, and the notes
    concerned: frozenset[str]  # whatever one of them but a note is about: logs and others
    checks: int  # of the doctor, that were made
    rotations: tuple[Rotation, ...]  # the latest of each log, the oldest first
    by_log: Mapping[str, Sequence[Rotation]]  # the same of each log, by its path
    samples: Mapping[str, Sequence[LogPoint]]  # how large each log was, by its path
    takes: tuple[PastTake, ...]  # all of the last days
    archives: tuple[Stored, ...]  # the largest first
    queues: Queues | None

    def count(self, level: str) -> int:
        """How many causes there are of a level."""
        return sum(cause.level == level for cause in self.causes)


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
    told = [*attention(found, Thresholds()), *troubles]
    findings = [(each.check.id, finding) for each in examined for finding in each.findings]
    done = sorted((each for of_log in here.rotations.values() for each in of_log), key=lambda each: each.time)
    return Facts(
        origin=origin,
        status=found,
        causes=tuple(causes(told, findings, notes(found, told))),
        concerned=frozenset({each.subject for each in told}.union(*(_subjects(finding) for _, finding in findings))),
        checks=len(examined),
        rotations=tuple(done),
        by_log=here.rotations,
        samples=here.samples.logs,
        takes=tuple(here.takes(DAYS + 1)),
        archives=tuple(sorted(_archives(here), key=lambda each: (-each.size, each.path))),
        queues=queues,
    )


def _subjects(finding: Finding) -> tuple[str, ...]:
    return () if finding.note else finding.subjects or (finding.subject,)


def _archives(here: Deployment) -> list[Stored]:
    return [
        Stored(archive.path, facts.path, archive.entry.size, time_of(archive))
        for facts in here.survey.logs
        for archive in archives_of(facts)
    ]
