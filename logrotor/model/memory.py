"""What is remembered of earlier runs."""

from __future__ import annotations

from dataclasses import dataclass


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
