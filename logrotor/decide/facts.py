"""What the planner is told: directories as they were found, and what else is known of one log. No calls here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from logrotor.model import Archive, Entry, FileId, FileSystem, LogMemory, LogSpec, Writers


class Family(Struct):
    """All files of one log in one directory, as found."""

    live: Entry | None = None
    replacement: Entry | None = None  # .BASE.new
    temps: list[Entry] = field(default_factory=list)  # .ARCHIVE.tmp
    archives: list[Archive] = field(default_factory=list)


class Directory(Struct):
    """A directory as found. ``problem``: why it cannot be used at all."""

    path: str
    resolved: str = ""
    id: FileId | None = None
    families: dict[str, Family] = field(default_factory=dict)
    file_system: FileSystem | None = None
    closed: str | None = None  # why we may not create files there, and what helps
    problem: str | None = None
    missing: bool = False
    barrier: str | None = None  # of a missing one: the directory above it in which we may not make it
    locked: bool = False  # a run works there, or was killed


class LogFacts(Struct, frozen=True, kw_only=True):
    """Everything that decides about one log."""

    spec: LogSpec
    path: str
    base: str
    directory: Directory
    family: Family
    elsewhere: tuple[Directory, ...] = ()  # archive_dir first if it is set, then those that once held archives
    archive_dir: str | None = None  # where finished archives go, if not beside the log
    memory: LogMemory = field(default_factory=LogMemory)
    writers: Mapping[FileId, Writers] = field(default_factory=dict)  # of plain archives and the replacement
    duplicates: Mapping[str, str] = field(default_factory=dict)  # path -> that of a file that holds every byte of it
    birth: Callable[[], float | None] = lambda: None  # of the live log
    literal: bool = True  # named by a path, not by a glob
    refusal: str | None = None  # found on the way: bind mount, owner who could not write, supervisord rotates it ...
    proof: str = ""
