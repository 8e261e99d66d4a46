"""The values that travel through the rooms. Frozen, printable, JSON-able; they touch nothing.

Paths and names are ``str`` as :func:`os.fsdecode` gives them (surrogateescape), because file names are bytes.
Sizes are bytes, durations seconds, moments epoch seconds (UTC) unless a field says otherwise.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import stat as stat_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple


class Codec(enum.StrEnum):
    """How an archive is stored. The configuration accepts none, gzip and zstd; the others are read only."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


class Method(enum.StrEnum):
    """How a log is rotated."""

    RENAME = "rename"
    COPYTRUNCATE = "copytruncate"


class Naming(enum.StrEnum):
    """How finished archives are named."""

    NUMBERED = "numbered"
    DATED = "dated"


class Missing(enum.StrEnum):
    """What a missing log means."""

    SKIP = "skip"
    ERROR = "error"


class Manager(enum.StrEnum):
    """Who is asked to reopen the logs."""

    SUPERVISORD = "supervisord"
    SYSTEMD = "systemd"
    PIDFILE = "pidfile"
    COMMAND = "command"
    CALLABLE = "callable"


# ---------------------------------------------------------------- configuration


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """Room to keep free on a file system: bytes, or a percentage of its size (one of the two is set)."""

    bytes: int | None = None
    percent: float | None = None

    def wanted(self, total: int) -> int:
        """The bytes to keep free on a file system of ``total`` bytes."""
        return self.bytes if self.bytes is not None else int(total * (self.percent or 0) / 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSpec:
    """One ``[[log]]`` rule, defaults already merged in. ``None`` means "off"."""

    name: str
    paths: tuple[str, ...]  # absolute globs; a path without magic is a literal path
    exclude: tuple[str, ...] = ()  # absolute globs, or bare patterns without "/" for the file name
    max_size: int | None = None
    min_size: int | None = None
    schedule: str | None = None  # a 5-field cron expression ("daily" is already translated)
    schedule_name: str | None = None  # what the user wrote
    rotate_empty: bool = False
    backup_count: int | None = None
    max_age: float | None = None
    max_total_size: int | None = None
    keep_free: FreeSpace | None = None
    compress: Codec = Codec.ZSTD
    compress_level: int | None = None
    keep_uncompressed: int = 0
    create: bool = True
    create_mode: int = 0o664
    create_missing: bool = False
    method: Method = Method.RENAME
    accept_loss: bool = False
    naming: Naming = Naming.NUMBERED
    archive_dir: str | None = None  # absolute, or relative to the directory of each log
    reopen: str | None = None  # the name of a target
    on_archive: tuple[str, ...] = ()
    on_archive_timeout: float = 300.0
    missing: Missing = Missing.SKIP


@dataclass(frozen=True, slots=True, kw_only=True)
class ReopenTarget:
    """One ``[reopen.NAME]`` table: who is asked to reopen the logs, and how."""

    name: str
    manager: Manager
    pidfile: str | None = None  # absolute
    signal: str | None = None  # "USR1", "HUP", ... without SIG
    unit: str | None = None
    user_unit: bool = False
    command: tuple[str, ...] = ()
    timeout: float = 10.0
    supervisor_config: str | None = None  # absolute
    function: Callable[[tuple[str, ...]], object] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a configuration: where it stands, what it is, what would be accepted."""

    file: str
    key: str  # "log[2].max_size"
    message: str  # "'10 potatoes' is no size; accepted: 10MB, 512KiB, 1.5G or plain bytes"
    line: int | None = None
    rule: str | None = None  # the rule that it switches off; None: it concerns the whole configuration

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A loaded configuration. ``problems`` are those of rules that were left out; the others run."""

    state_dir: str
    state_dir_origin: str  # "state_dir in FILE", "$STATE_DIRECTORY", "$XDG_STATE_HOME", "default for root"
    logs: tuple[LogSpec, ...]
    targets: Mapping[str, ReopenTarget]
    lock_timeout: float = 10.0
    compress_jobs: int = 4
    run_as: str | None = None
    files: tuple[str, ...] = ()  # every file read, the main one first
    problems: tuple[Problem, ...] = ()


# ---------------------------------------------------------------- what is on the disk


class FileId(NamedTuple):
    """Identity of a file within a run."""

    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory entry with its ``lstat``."""

    name: str
    stat: os.stat_result = field(repr=False)

    @property
    def id(self) -> FileId:
        return FileId(self.stat.st_dev, self.stat.st_ino)

    @property
    def size(self) -> int:
        return self.stat.st_size

    @property
    def allocated(self) -> int:
        """Bytes that removing it gives back."""
        return self.stat.st_blocks * 512

    @property
    def mtime(self) -> float:
        return self.stat.st_mtime

    @property
    def ctime(self) -> float:
        return self.stat.st_ctime

    @property
    def is_regular(self) -> bool:
        return stat_module.S_ISREG(self.stat.st_mode)

    @property
    def kind(self) -> str:
        """The kind of file in words, for messages."""
        names = {
            stat_module.S_IFREG: "regular file",
            stat_module.S_IFDIR: "directory",
            stat_module.S_IFLNK: "symlink",
            stat_module.S_IFIFO: "FIFO",
            stat_module.S_IFSOCK: "socket",
            stat_module.S_IFCHR: "character device",
            stat_module.S_IFBLK: "block device",
        }
        return names.get(stat_module.S_IFMT(self.stat.st_mode), "unknown kind of file")


@dataclass(frozen=True, slots=True)
class ArchiveName:
    """A name of our grammar, taken apart: ``BASE.N`` or ``BASE-STAMP[-COPY]``, with or without a codec's suffix."""

    base: str
    slot: int | None = None
    stamp: str | None = None  # "20261121T070000Z"
    copy: int = 0  # 0: no "-n"
    codec: Codec = Codec.NONE


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive as found: its name taken apart, its entry, and the directory that holds it."""

    name: ArchiveName
    entry: Entry
    directory: str

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.entry.name)


@dataclass(frozen=True, slots=True)
class Nobody:
    """Proof that no process has the file open for writing."""

    proof: str  # "lease" or "/proc"


@dataclass(frozen=True, slots=True)
class Written:
    """Some process has the file open for writing. ``pids`` may be empty: the lease tells that, not who."""

    proof: str
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """It cannot be known whether a process writes; never to be taken for nobody."""

    why: str


Writers = Nobody | Written | Unknown


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a directory's file system offers. Sizes in bytes; ``type`` as in ``mount``, "unknown" if not known."""

    device: int
    type: str
    total: int
    free: int
    block: int
    protocol: str  # the take protocol to be expected: "exchange", "link", "rename"
    collapse: bool  # a range can be collapsed: lossless copytruncate


# ---------------------------------------------------------------- memory of earlier runs


@dataclass(frozen=True, slots=True)
class CopyInFlight:
    """The one record that recovery needs: a copytruncate between publishing its archive and cutting the log."""

    path: str  # of the live log
    inode: int
    birth: float
    archive_inode: int
    length: int  # bytes at the head of the log that the archive holds
    stage: str  # "copied": the head may still be there whole; "marked": its first block is a hole until cut
    protocol: str  # "collapse" or "truncate"


@dataclass(frozen=True, slots=True)
class LogMemory:
    """What the history knows of one log."""

    last_rotation: float | None = None
    request_delivered: float | None = None  # the last reopen request that was delivered
    request_failed: float | None = None  # set while the last request is a failed one
    archive_dirs: tuple[str, ...] = ()  # directories that have held archives of it
    hooked: frozenset[tuple[int, int]] = frozenset()  # (inode, mtime_ns) of archives whose on_archive succeeded
    in_flight: CopyInFlight | None = None


# ---------------------------------------------------------------- decisions


@dataclass(frozen=True, slots=True)
class Due:
    """The log is rotated now, because ..."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotDue:
    """The log is left alone, because ...; ``next_slot``: when its schedule will make it due."""

    reason: str
    next_slot: datetime | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """Rename within one directory, never over anything."""

    directory: str
    source: str
    target: str
    id: FileId


@dataclass(frozen=True, slots=True)
class DropTemp:
    """Remove an unfinished archive or an unused replacement that nobody works on."""

    directory: str
    name: str
    id: FileId
    reason: str


@dataclass(frozen=True, slots=True)
class DropAlias:
    """Remove the second name that an interrupted link + unlink left; the file keeps its other name."""

    directory: str
    name: str
    id: FileId
    kept: str
    reason: str


@dataclass(frozen=True, slots=True)
class DropDuplicate:
    """Remove a plain archive whose finished form is already published and equal byte for byte."""

    directory: str
    name: str
    id: FileId
    twin_directory: str
    twin: str
    twin_id: FileId
    reason: str


@dataclass(frozen=True, slots=True)
class Shift:
    """Give each generation a slot of its own (highest first)."""

    moves: tuple[Move, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class FinishTake:
    """Bring a taken log that a crash left as ``.BASE.new`` to slot 1."""

    directory: str
    base: str
    id: FileId
    moves: tuple[Move, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class CreateLive:
    """Create the live log, empty, with its mode, or give it its mode if a crash came between the two.

    ``parents``: missing parent folders are made first (0755). ``like``: whose ACL and security label it gets.
    """

    directory: str
    base: str
    mode: int
    reason: str
    parents: bool = False
    like: str | None = None


@dataclass(frozen=True, slots=True)
class FinishCopytruncate:
    """Finish, or forget, a copytruncate that a crash interrupted. ``archive``: the name of its published copy."""

    directory: str
    base: str
    record: CopyInFlight
    archive: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Take:
    """Move the live log aside to slot 1 and put a replacement in its place."""

    directory: str
    base: str
    id: FileId
    size: int
    moves: tuple[Move, ...]  # make slot 1 free, highest first
    create: bool
    mode: int
    reason: str


@dataclass(frozen=True, slots=True)
class Copytruncate:
    """Copy the head of the live log to slot 1, then cut it off the log."""

    directory: str
    base: str
    id: FileId
    size: int
    moves: tuple[Move, ...]
    collapse: bool  # expected; probed before anything is cut
    accept_loss: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Reopen:
    """Ask a target to reopen the logs of ``paths``."""

    target: str
    paths: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete an archive that retention no longer keeps."""

    directory: str
    name: str
    id: FileId
    size: int
    plain: bool  # uncompressed: somebody may still write it
    reason: str


@dataclass(frozen=True, slots=True)
class Compress:
    """Put an archive in its final form and place: compressed, renamed, or moved (``codec`` none)."""

    directory: str
    name: str
    id: FileId
    size: int
    to_directory: str
    to_name: str
    codec: Codec  # what is applied; NONE: the bytes stay as they are
    level: int | None
    plain: bool  # uncompressed: somebody may still write it
    reason: str


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run ``on_archive`` for a finished archive."""

    directory: str
    name: str
    id: FileId | None  # None: it gets its final form in this very run
    argv: tuple[str, ...]
    timeout: float


Step = (
    DropTemp | DropAlias | DropDuplicate | Shift | FinishTake | CreateLive | FinishCopytruncate
    | Take | Copytruncate | Reopen | Remove | Compress | RunHook
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that is not done now, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlan:
    """What happens to one log, and why. Steps stand in the order in which they are carried out."""

    path: str
    rule: str
    due: Due | NotDue
    size: int | None = None  # of the live log; None: missing
    recover: tuple[Step, ...] = ()
    take: tuple[Step, ...] = ()
    reopen: str | None = None  # a target that is asked after the take
    reopen_reason: str = ""
    retire: tuple[Remove, ...] = ()
    compress: tuple[Compress, ...] = ()
    hooks: tuple[RunHook, ...] = ()
    deferred: tuple[Waiting, ...] = ()
    kept: tuple[Waiting, ...] = ()  # archives that stay, newest first, each with the reason
    refused: str | None = None  # why nothing is done at all: an error
    missing: bool = False
    protocol: str = ""  # "exchange", "link", "rename", "collapse", "truncate"
    proof: str = ""  # "lease", "/proc", "unknown: ..."

    @property
    def steps(self) -> tuple[Step, ...]:
        return (*self.recover, *self.take, *self.retire, *self.compress, *self.hooks)

    @property
    def is_idle(self) -> bool:
        return not (self.recover or self.take or self.reopen or self.retire or self.compress or self.hooks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole run before it happens. ``run`` carries out exactly this."""

    now: datetime
    logs: tuple[LogPlan, ...]
    missing: tuple[str, ...] = ()  # literal paths that do not exist and may be missing
    skipped: tuple[Waiting, ...] = ()  # logs that are no business of ours, say a link to /dev/stdout
    shadowed: tuple[Waiting, ...] = ()  # files that a second rule names too; the first in file order has them
    problems: tuple[str, ...] = ()  # rules and directories that failed, each alone
    notes: tuple[str, ...] = ()
    directories: Mapping[str, FileId] = field(default_factory=dict, repr=False)  # by path: no other one is touched

    @property
    def is_idle(self) -> bool:
        return all(log.is_idle for log in self.logs)


class Status(enum.StrEnum):
    """How a step ended."""

    DONE = "done"
    DEFERRED = "deferred"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one step of one log ended."""

    log: str  # path of the live log
    action: str  # "take", "copytruncate", "compress", "remove", "reopen", "recover", "create", "hook"
    status: Status
    name: str = ""  # the file (or target) that it was about
    reason: str = ""
    errno: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run did. ``exit_code`` as documented: 0 all well, 1 some log, rule or request failed."""

    started: datetime
    duration: float
    outcomes: tuple[Outcome, ...]
    plan: Plan
    problems: tuple[str, ...] = ()
    interrupted: bool = False

    def count(self, action: str, status: Status = Status.DONE) -> int:
        return sum(1 for o in self.outcomes if o.action == action and o.status is status)

    @property
    def rotated(self) -> int:
        return self.count("take") + self.count("copytruncate")

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.status is Status.FAILED)

    @property
    def exit_code(self) -> int:
        return 1 if self.failed or self.problems else 0


def as_json(value: Any) -> Any:
    """``value`` in lists, dicts, strings and numbers only, ready for :func:`json.dumps`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr}
        return {"type": _word(type(value).__name__), **shown} if isinstance(value, _TAGGED) else shown
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, FileId):
        return {"device": value.device, "inode": value.inode}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(item) for item in value]
    return value


def _word(name: str) -> str:
    """``FinishTake`` -> ``finish_take``."""
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


_TAGGED = (
    Due, NotDue, Nobody, Written, Unknown,
    DropTemp, DropAlias, DropDuplicate, Shift, FinishTake, CreateLive, FinishCopytruncate,
    Take, Copytruncate, Reopen, Remove, Compress, RunHook,
)  # fmt: skip


def action_of(step: Step) -> str:
    """The word under which a step stands in reports, events and the history."""
    return _ACTIONS.get(type(step), "recover")


_ACTIONS: dict[type, str] = {
    Take: "take", Copytruncate: "copytruncate", CreateLive: "create", Reopen: "reopen",
    Remove: "remove", Compress: "compress", RunHook: "hook",
}  # fmt: skip
