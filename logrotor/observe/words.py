"""What a status says in words, the same on a terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from logrotor import text

if TYPE_CHECKING:
    from logrotor.observe.status import LogStatus, SystemStatus


def due(log: LogStatus, now: datetime) -> str:
    """When it is rotated next."""
    if log.refused:
        return "refused"
    if log.due:
        return "now"
    if log.size is None:
        return "missing"
    if log.next_due is None:
        return "unknown" if log.size else "when written"
    return f"in {text.span((log.next_due - now).total_seconds())} ({log.next_due_by})"


def archives(log: LogStatus) -> str:
    """How many, their bytes, and how many bytes of log one byte holds."""
    if not log.archives:
        return "-"
    return f"{log.archives}, {text.size(log.archive_bytes)}" + (f" ({log.ratio:.1f}:1)" if log.ratio else "")


def notes(log: LogStatus) -> Iterator[str]:
    """What is not as it should be."""
    if log.refused:
        yield str(replace(log.refused, subject="") if log.refused.subject == log.path else log.refused)
    if log.failures:
        why = f": {log.last_outcome}" if log.last_outcome not in (None, "done") else "; see logrotor history --failed"
        yield f"failed in {text.count(log.failures, 'run')} in a row{why}"
    if log.request_failed:
        yield "its writers were asked to reopen it, and the request failed; see logrotor history --failed"
    for each in log.pending:
        yield f"{each.name}: {each.reason}"


def ago(moment: datetime | None, now: datetime) -> str:
    """``3 h ago``, or never."""
    return "never" if moment is None else text.moment(moment, now).rpartition("(")[2].rstrip(")")


def free(system: SystemStatus) -> str:
    """``78.9 GiB of 252.0 GiB free (31 %), 1000 inodes``."""
    share = f"{100 * system.free // system.total} %" if system.total else "-"
    inodes = "" if system.free_inodes is None else f", {system.free_inodes} inodes"
    return f"{text.size(system.free)} of {text.size(system.total)} free ({share}){inodes}"


def full(system: SystemStatus, now: datetime) -> str:
    """When the logs will have filled it."""
    if system.full_on is not None and system.full_on <= now:
        return "full"
    words = {"unknown": "full: unknown", "never": "full: not by these logs"}
    return f"full {text.moment(system.full_on, now)}" if system.full_on else words[system.forecast]
