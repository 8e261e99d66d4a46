"""A log's plan in the making."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, field

from logrotor.decide import proof
from logrotor.decide.facts import LogFacts
from logrotor.decide.recovery import Recovery
from logrotor.model import Archive, Codec, Compress, Due, NotDue, Note, Remove, RunHook, Step


class Draft(Struct):
    """What is decided so far."""

    facts: LogFacts
    now: datetime
    due: Due | NotDue
    recovery: Recovery
    archives: list[Archive]  # as named after recovery and take, newest first
    taken: Archive | None = None  # the one of them that is the live log until it is taken
    take: list[Step] = field(default_factory=list)
    reopen_reason: str = ""
    retire: list[Remove] = field(default_factory=list)
    compress: list[Compress] = field(default_factory=list)
    hooks: list[RunHook] = field(default_factory=list)
    deferred: list[Note] = field(default_factory=list)
    kept: list[Note] = field(default_factory=list)

    def why_wait(self, archive: Archive) -> str | None:
        """Why a plain archive has to wait, as far as the plan can see.

        Nothing is certain for one that is about to be taken, or whose writers are about to be asked: the run
        looks again after the request.
        """
        if archive.name.codec is not Codec.NONE or archive is self.taken or self.reopen_reason:
            return None
        writers = self.facts.writers.get(archive.entry.id)
        return proof.why_not(writers, archive.entry, self.facts.memory.request_delivered, self.now.timestamp())

    def is_hooked(self, archive: Archive) -> bool:
        """Has on_archive succeeded for it?"""
        return (archive.entry.stat.st_ino, archive.entry.stat.st_mtime_ns) in self.facts.memory.hooked
