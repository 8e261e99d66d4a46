"""What the fault sweeps rotate: directories in which something is due, and who writes meanwhile."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import StrEnum


class Lacks(StrEnum):
    """What the file system is made to refuse, so that another way to take a log must do."""

    NOTHING = "nothing"
    RENAMEAT2 = "renameat2"  # EINVAL, as FUSE and NFS
    LINKS = "renameat2 and link"  # and EPERM, as some FUSE file systems


@dataclass(frozen=True, slots=True)
class Scenario:
    """One rule, and the archives that are there before. Each log is larger than ``max_size``."""

    name: str
    _: KW_ONLY
    archives: tuple[str, ...] = ()  # what follows the log's name, newest first; any: the history exists as well
    archive_dir: str | None = None  # "same" or "other": on the file system of the logs, or on another
    archives_there: bool = False  # the archives lie in archive_dir already
    compress: str = "none"
    copytruncate: bool = False
    collapses: bool = True  # the file system can collapse a range (matters for copytruncate alone)
    lacks: Lacks = Lacks.NOTHING
    logs: tuple[str, ...] = ("app.log",)
    rest: str = "backup_count = 9"  # more lines of the rule
    hook: bool = False
    acl: bool = False  # somebody else is let in by the log's ACL

    def __str__(self) -> str:
        return self.name


_OLD = "-20010101T000000Z"  # before the last write of those in slots
_OLDER = "-20001231T000000Z"
_AHEAD = "-20990101T000000Z"  # of a clock that was ahead
_CHAIN = (".1.zst", ".2.zst", ".3.zst")

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("numbered-first-none"),
    Scenario("numbered-first-zstd", compress="zstd"),
    Scenario("numbered-nth-none", archives=(".1", ".2")),
    Scenario("numbered-nth-gzip", compress="gzip", archives=(".1", ".2.gz", ".3.gz")),
    Scenario("numbered-nth-zstd-full", compress="zstd", archives=_CHAIN, rest="backup_count = 3"),
    Scenario("numbered-hole", compress="zstd", archives=(".1.zst", ".3.zst", ".4"), rest="backup_count = 3"),
    Scenario("numbered-keep-plain", compress="zstd", archives=(".1", ".2.zst"), rest="keep_uncompressed = 1"),
    Scenario("dated-first-none", rest='naming = "dated"'),
    Scenario("dated-nth-zstd", compress="zstd", archives=(f"{_OLD}-1.zst", f"{_OLD}.zst"), rest='naming = "dated"'),
    Scenario(
        "dated-full-gzip", compress="gzip", archives=(f"{_OLD}.gz", f"{_OLDER}.gz"),
        rest='naming = "dated"\nbackup_count = 2',
    ),
    Scenario("numbered-to-dated", compress="zstd", archives=(".1", ".2", ".3.zst"), rest='naming = "dated"'),
    Scenario(
        "link-nth-zstd-full", compress="zstd", archives=_CHAIN, rest="backup_count = 3", lacks=Lacks.RENAMEAT2
    ),
    Scenario("link-dated-none", archives=(".1", _OLD), rest='naming = "dated"', lacks=Lacks.RENAMEAT2),
    Scenario("rename-nth-zstd-full", compress="zstd", archives=_CHAIN, rest="backup_count = 3", lacks=Lacks.LINKS),
    Scenario("rename-dated-none", archives=(".1", _OLD), rest='naming = "dated"', lacks=Lacks.LINKS),
    Scenario("collapse-first-none", copytruncate=True),
    Scenario("collapse-nth-zstd-full", compress="zstd", archives=_CHAIN, rest="backup_count = 3", copytruncate=True),
    Scenario("collapse-dated-gzip", compress="gzip", archives=(_OLD,), rest='naming = "dated"', copytruncate=True),
    Scenario("collapse-link-none", archives=(".1", ".2"), copytruncate=True, lacks=Lacks.RENAMEAT2),
    Scenario("collapse-rename-none", archives=(".1", ".2"), copytruncate=True, lacks=Lacks.LINKS),
    Scenario("archive-same-none", archives=(".1",), archive_dir="same"),
    Scenario(
        "archive-same-zstd-full", compress="zstd", archives=_CHAIN, rest="backup_count = 3", archive_dir="same",
        archives_there=True,
    ),
    Scenario("archive-other-none", archives=(".1",), archive_dir="other"),
    Scenario(
        "archive-other-zstd-full", compress="zstd", archives=_CHAIN, rest="backup_count = 3", archive_dir="other",
        archives_there=True,
    ),
    Scenario(
        "archive-other-dated-gzip", compress="gzip", archives=(_OLD,), rest='naming = "dated"', archive_dir="other"
    ),
    Scenario("archive-same-link-zstd", compress="zstd", archives=(".1",), archive_dir="same", lacks=Lacks.RENAMEAT2),
    Scenario("archive-same-rename-none", archives=(".1",), archive_dir="same", lacks=Lacks.LINKS),
    Scenario("collapse-archive-other", archives=(".1.zst",), compress="zstd", archive_dir="other", copytruncate=True),
    Scenario("hook-zstd", compress="zstd", archives=(".1.zst",), hook=True),
    Scenario("acl-none", acl=True),
    Scenario("acl-rename-none", acl=True, lacks=Lacks.LINKS),
    Scenario("two-logs-zstd", compress="zstd", archives=(".1",), logs=("app.log", "web.log")),
    Scenario("dated-ahead-zstd", compress="zstd", archives=(".1", _AHEAD), rest='naming = "dated"'),
)  # fmt: skip

LOSSY = Scenario(
    "truncate-nth-none", archives=(".1", ".2"), copytruncate=True, collapses=False, rest="accept_loss = true"
)


@dataclass(frozen=True, slots=True)
class Company:
    """Who has the log open while it is rotated."""

    name: str
    _: KW_ONLY
    empty: bool = False  # the log is empty, and rotated by --force and rotate_empty
    writes: bool = False  # somebody holds it and writes after each fault
    obeys: bool = True  # and reopens it when asked; else it holds on until the end
    busy: bool = False  # and also writes a line before each changing call of ours
    appends: bool = False  # somebody opens the newest plain archive by its name and appends, when told to

    def __str__(self) -> str:
        return self.name


NOBODY = Company("nobody")
WRITER = Company("writer", writes=True, busy=True)
HOLDER = Company("holder", writes=True, busy=True, obeys=False)
CALM = Company("calm", writes=True)
EMPTY = Company("empty", empty=True)
EMPTY_WRITER = Company("empty-writer", empty=True, writes=True)
EMPTY_HOLDER = Company("empty-holder", empty=True, writes=True, obeys=False)
APPENDER = Company("appender", appends=True)
HELD_APPENDER = Company("holder-and-appender", writes=True, obeys=False, appends=True)
COMPANIES = (NOBODY, WRITER, HOLDER, EMPTY, EMPTY_WRITER, EMPTY_HOLDER)
