"""What the user set: rules, targets, and the whole configuration. ``None`` means "off"."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Final, Literal, Self

from msgspec import Struct

from logrotor.model.problem import Problem
from logrotor.model.queue import QueueSettings  # help(Config) looks for it


class Codec(enum.StrEnum):
    """How an archive is stored: the one table of codecs. What compresses and reads them is in :mod:`disk.codecs`.

    Each has its word in the configuration, the suffix of its archives, and the levels that the configuration accepts.
    """

    suffix: str
    levels: range | None  # None: logrotor reads such archives and makes none

    def __new__(cls, word: str, suffix: str, levels: range | None = None) -> Self:
        codec = str.__new__(cls, word)
        codec._value_, codec.suffix, codec.levels = word, suffix, levels
        return codec

    NONE = "none", "", range(0)
    GZIP = "gzip", ".gz", range(10)
    ZSTD = "zstd", ".zst", range(1, 23)
    BZIP2 = "bzip2", ".bz2"
    XZ = "xz", ".xz"


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


KEEP: Final = "keep"
CreateMode = int | Literal["keep"] | None  # exactly these bits; exactly as it was; as it was, and group and others too


class FreeSpace(Struct, frozen=True):
    """Room to keep free on a file system: bytes, or a percentage of its size (one of the two is set)."""

    bytes: int | None = None
    percent: float | None = None

    def wanted(self, total: int) -> int:
        """The bytes to keep free on a file system of ``total`` bytes."""
        return self.bytes if self.bytes is not None else int(total * (self.percent or 0) / 100)


class LogSpec(Struct, frozen=True, kw_only=True):
    """One ``[[log]]`` rule, defaults already merged in. ``None`` means "off"."""

    name: str
    paths: tuple[str, ...]  # absolute globs; a path without magic is a literal path
    exclude: tuple[str, ...] = ()  # absolute globs, or bare patterns without "/" for the file name
    max_size: int | None = None
    min_size: int | None = None
    schedule: str | None = None  # a 5-field cron expression ("daily" is already translated)
    schedule_name: str | None = None  # what the user wrote
    min_interval: float = 5.0  # seconds between two takes, where a watch decides when
    rotate_empty: bool = False
    backup_count: int | None = None
    max_age: float | None = None
    max_total_size: int | None = None
    keep_free: FreeSpace | None = None
    compress: Codec = Codec.ZSTD
    compress_level: int | None = None
    keep_uncompressed: int = 0
    create: bool = True
    create_mode: CreateMode = None
    create_missing: bool = False
    method: Method = Method.RENAME
    accept_loss: bool = False
    naming: Naming = Naming.NUMBERED
    archive_dir: str | None = None  # absolute, or relative to the directory of each log
    reopen: str | None = None  # the name of a target
    on_archive: tuple[str, ...] = ()
    on_archive_timeout: float = 300.0
    missing: Missing = Missing.SKIP

    @property
    def strict(self) -> bool:
        """Is a log left alone where somebody would lose access to it? A mode that was given is obeyed."""
        return not isinstance(self.create_mode, int)


class ReopenTarget(Struct, frozen=True, kw_only=True):
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
    function: Callable[[tuple[str, ...]], object] | None = None


class ConfigProblem(Struct, frozen=True):
    """Something wrong in a configuration: where it is, what it is, and what would be accepted."""

    file: str
    key: str  # "log[2].max_size"
    problem: str  # "'10 potatoes' is not a size"
    line: int | None = None
    rule: str | None = None  # the rule that it switches off; None: it concerns the whole configuration
    advice: str = ""  # "accepted: 10MB, 512KiB, 1.5G or plain bytes"

    @property
    def where(self) -> str:
        """``FILE:LINE``."""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def message(self) -> str:
        """What it is and what would be accepted, in one line."""
        return f"{self.problem}; {self.advice}" if self.advice else self.problem

    @property
    def is_of_queue(self) -> bool:
        """Whether it leaves out the queue, and no rule."""
        return self.key.partition(".")[0] == "queue"

    @property
    def as_problem(self) -> Problem:
        """The same for those who know problems of any kind."""
        return Problem(subject=self.where, problem=f"{self.key}: {self.problem}", advice=self.advice)

    def __str__(self) -> str:
        return str(self.as_problem)


class Config(Struct, frozen=True, kw_only=True):
    """A loaded configuration. ``problems`` are those of rules that were left out; the others run."""

    state_dir: str
    state_dir_origin: str  # "state_dir in FILE", "$STATE_DIRECTORY", "$XDG_STATE_HOME", "default for root"
    logs: tuple[LogSpec, ...]
    targets: Mapping[str, ReopenTarget]
    lock_timeout: float = 10.0
    compress_jobs: int = 4
    run_as: str | None = None
    queue: QueueSettings | None = None  # None: no [queue] table
    metrics_textfile: str | None = None  # absolute; None: no metrics are written
    page_file: str | None = None  # absolute; None: no page is written after a run
    files: tuple[str, ...] = ()  # every file read, the main one first
    problems: tuple[ConfigProblem, ...] = ()
