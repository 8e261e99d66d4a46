"""Decide whether an archive may be compressed or removed, given who writes it. Unknown is never nobody."""

from __future__ import annotations

from itertools import zip_longest

from logrotor.model import Entry, Nobody, Unknown, Writers, Written

QUIET = 3600.0  # seconds without a write


def why_not(writers: Writers | None, entry: Entry, delivered: float | None, now: float) -> str | None:
    """Why the archive has to wait; None if it need not.

    Where no proof is to be had, the archive waits for a reopen request that was delivered after its last
    rename (its ctime), and for an hour without a write.
    """
    match writers:
        case Nobody():
            return None
        case Written():
            return _why_not_written(writers)
        case Unknown(why=why):
            return _why_not_unknown(why, entry, delivered, now)
        case _:
            return "it cannot be opened"


def _why_not_written(found: Written) -> str:
    known = [f"{pid} ({name})" if name else str(pid) for pid, name in zip_longest(found.pids, found.names)]
    if len(known) > 1:
        return f"processes {', '.join(known)} still write it"
    return f"process {known[0]} still writes it" if known else "a process still writes it"


def _why_not_unknown(why: str, entry: Entry, delivered: float | None, now: float) -> str | None:
    unknown = f"it is unknown whether a process still writes it ({why})"
    if not was_asked(entry, delivered, now):
        return f"{unknown}, and no reopen request was delivered since the rotation"
    if now - entry.mtime < QUIET:
        return f"{unknown}, and it was written within the last hour"
    return None


def was_asked(entry: Entry, delivered: float | None, now: float) -> bool:
    """Was a reopen request delivered after the archive got its name? One from the future counts as none."""
    return delivered is not None and entry.ctime <= delivered <= now
