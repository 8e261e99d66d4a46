"""Decide whether an archive may be compressed or removed, given who writes it, and whether its writers are asked again.

Unknown is never nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import zip_longest

from logrotor.decide.facts import LogFacts
from logrotor.decide.schedule import last_rotation
from logrotor.model import Archive, Entry, Nobody, Unknown, Writers, Written

QUIET = 3600.0  # seconds without a write
_SHORTEST_PAUSE, _LONGEST_PAUSE = 60.0, 3600.0  # seconds between two requests for the same archives


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


# ---------------------------------------------------------------- asking again


def why_ask(facts: LogFacts, archives: Iterable[Archive], now: datetime) -> str:
    """Why the writers are asked (again) to let go of these plain archives; "": they are not, in this run."""
    if _is_answer_awaited(facts, now):
        return ""
    return next(filter(None, (_why_ask(facts, archive, now.timestamp()) for archive in archives)), "")


def _is_answer_awaited(facts: LogFacts, now: datetime) -> bool:
    """Is it too early to repeat a request that was delivered and not followed?

    A command may restart a service each time. The next one comes after as long again as the last one came after the
    take, so that the pauses double; a request before the last take, or from the future, counts as none.
    """
    delivered = facts.history.request_delivered
    if delivered is None or delivered > now.timestamp() or facts.history.request_failed is not None:
        return False
    taken = last_rotation([facts.history.last_rotation, facts.birth()], now)
    waited = _LONGEST_PAUSE if taken is None else delivered - taken
    return waited >= 0 and now.timestamp() - delivered < min(max(waited, _SHORTEST_PAUSE), _LONGEST_PAUSE)


def _why_ask(facts: LogFacts, archive: Archive, now: float) -> str:
    name, writers = archive.entry.name, facts.writers.get(archive.entry.id)
    if isinstance(writers, Written):
        return f"{name} is still written"
    if facts.history.request_failed is not None:
        return f"{name}: the last request failed"
    if isinstance(writers, Nobody) and (archive.name.stamp is not None or _was_asked_since_take(facts, now)):
        return ""  # its ctime may be later than the request: it gets its date then, and a slow writer's last lines
    if not was_asked(archive.entry, facts.history.request_delivered, now):
        return f"{name}: no request was delivered since it was taken"
    return ""


def _was_asked_since_take(facts: LogFacts, now: float) -> bool:
    born, delivered = facts.birth(), facts.history.request_delivered
    return born is not None and delivered is not None and born <= delivered <= now
