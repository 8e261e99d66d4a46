"""What the planner decides by: directories as they were found, and what else is known of one log. No calls here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field

from logrotor.model import (
    Archive,
    Codec,
    CopyInFlight,
    Due,
    Entry,
    FileId,
    FileSystem,
    LogHistory,
    LogPlan,
    LogSpec,
    Method,
    NotDue,
    Problem,
    Writers,
)


class Family(Struct):
    """All files of one log in one directory, as found."""

    live: Entry | None = None
    replacement: Entry | None = None  # .BASE.new
    temps: list[Entry] = field(default_factory=list)  # .ARCHIVE.tmp
    archives: list[Archive] = field(default_factory=list)

    @property
    def newest_plain(self) -> list[Entry]:
        """What may be the copy of a copytruncate that is at work; two where a crash left two."""
        slot_1 = (a for a in self.archives if a.name.slot == 1 and a.name.codec is Codec.NONE)
        return [archive.entry for archive in slot_1 if archive.entry.is_regular]


class Directory(Struct):
    """A directory as found. ``problem``: why it cannot be used at all."""

    path: str
    resolved: str = ""
    id: FileId | None = None
    families: dict[str, Family] = field(default_factory=dict)
    file_system: FileSystem | None = None
    closed: Problem | None = None  # why we may not create files there
    problem: Problem | None = None
    missing: bool = False
    barrier: str | None = None  # of a missing one: the directory above it in which we may not make it
    locked: bool = False  # a run works there, or was killed
    is_torn: bool = False  # a name was listed, and gone before its file could be looked at: it may have another by now


class LogFacts(Struct, frozen=True, kw_only=True):
    """Everything that decides about one log."""

    spec: LogSpec
    path: str
    base: str
    directory: Directory
    family: Family
    elsewhere: tuple[Directory, ...] = ()  # archive_dir first if it is set, then those that once held archives
    archive_dir: str | None = None  # where finished archives go, if not beside the log
    history: LogHistory = field(default_factory=LogHistory)
    writers: Mapping[FileId, Writers] = field(default_factory=dict)  # of plain archives and the replacement
    duplicates: Mapping[str, str] = field(default_factory=dict)  # path -> that of a file that holds every byte of it
    birth: Callable[[], float | None] = lambda: None  # of the live log
    made: Callable[[Archive], float | None] = lambda archive: None  # when it was taken, or made at the latest
    may_be_linked: Callable[[str], bool] = lambda path: False  # may an archive have other names, or may it be a trap?
    since: float = 0.0  # no archive counts as older than from here: see LastRun
    strangers: Callable[[float], Mapping[str, str]] = lambda now: {}  # path -> why it is no archive after all
    live_writers: Callable[[], Writers | None] = lambda: None  # of the live log; None: it cannot be opened
    is_alone: Callable[[], bool] = lambda: False  # has nobody the live log open, not even to read it?
    is_append_only: Callable[[], bool] = lambda: False  # the live log: chattr +a
    held: Callable[[frozenset[str]], Mapping[int, int]] = lambda directories: {}  # device -> bytes of archives that
    # were removed from these directories and that somebody has open
    why_not_cut: Callable[[], Problem | None] = lambda: None  # by a copytruncate: its writers overwrite, say
    noted: Callable[[], CopyInFlight | Problem | None] = lambda: None  # what its newest archive says is to be cut off
    # the live log; or why nobody can tell
    literal: bool = True  # named by a path, not by a glob
    resting: str = ""  # why it is not taken again so soon
    refusal: Problem | None = None  # bind mount, owner who could not write, supervisord rotates it ...
    proof: str = ""
    loses: Problem | None = None  # who loses access, where create_mode was given all the same
    widens: str = ""  # how create_mode opens the log to more than now

    @property
    def changeable(self) -> tuple[Directory, ...]:
        """The log's directory, and of the others those in which files may be renamed and removed.

        What lies in a read-only one keeps its name, and must not keep the log from being taken.
        """
        return (self.directory, *(each for each in self.elsewhere if each.closed is None))

    @property
    def protocol(self) -> str:
        """How the log would be taken: "exchange", "link", "rename", "collapse", "truncate"; "" if nobody knows."""
        system = self.directory.file_system
        if system is None:
            return ""
        if self.spec.method is Method.COPYTRUNCATE:
            return "collapse" if system.collapse else "truncate"
        return system.protocol if self.spec.create else "rename"

    def planned(self, due: Due | NotDue, **decided: Any) -> LogPlan:
        """A plan with what is known of the log, and what was decided about it."""
        live, protocol = self.family.live, self.protocol
        if protocol in ("collapse", "truncate") and isinstance(due, Due) and self.is_alone():
            protocol = "whole"
        return LogPlan(
            path=self.path,
            rule=self.spec.name,
            due=due,
            size=live.size if live is not None else None,
            missing=live is None,
            protocol=protocol,
            proof=self.proof,
            loses=self.loses,
            widens=self.widens,
            **decided,
        )
