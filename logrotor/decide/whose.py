"""Decide whose a file is whose name reads as an archive's: nothing is an archive by its name alone.

What is decided from        | it is
----------------------------|-------------------------------------------------------------------------------------
it was rotated as a log     | a log
its log's history           | an archive: in a row of slots from 1 on, written before that was last rotated
its name, its log is there  | an archive, if no ``paths`` match it and the slot is at most 9999; not while it is written
the mark of a take          | an archive
a killed run's lock         | an archive, see :func:`was_taken`
``paths`` name it           | a log
``paths`` match it          | a log, if the log that it would be an archive of is not there; else unclear: left alone
nothing                     | somebody else's file
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable

from logrotor.decide.naming import MOST_BY_NAME
from logrotor.model import Archive, LogHistory

_RUN = 60.0  # seconds from the start of a run, which is the time of its rotations, until it has taken all logs


class Named(enum.Enum):
    """What the paths of the rules say of a file."""

    NOT = "not"
    MATCHED = "matched"  # by a glob
    LITERALLY = "literally"


class Whose(enum.Enum):
    """What a file is whose name reads as an archive's."""

    ARCHIVE = "archive"
    LOG = "log"
    UNCLEAR = "unclear"
    OTHER = "other"


def judge(
    archive: Archive,
    named: Named,
    *,
    is_there: bool,
    own: LogHistory,
    log: LogHistory,
    last_slot: int,
    marked: Callable[[], bool],
) -> Whose:
    """Whose a file is. ``marked`` is asked only where nothing else tells.

    ``is_there``: is the log there that it would be an archive of? ``own``: what is known of the file as a log itself;
    ``log``: of that other log; ``last_slot``: see :func:`last_in_row`.
    """
    if own.last_rotation is not None:
        return Whose.LOG
    if named is not Named.LITERALLY and is_recorded(archive, own, log, last_slot):
        return Whose.ARCHIVE
    if named is Named.NOT and (is_there or log.begun) and is_by_name(archive):
        return Whose.ARCHIVE
    if marked():
        return Whose.ARCHIVE
    if named is Named.NOT:
        return Whose.OTHER
    return Whose.UNCLEAR if named is Named.MATCHED and is_there else Whose.LOG


def is_by_name(archive: Archive) -> bool:
    return archive.name.slot is None or archive.name.slot <= MOST_BY_NAME


def is_recorded(archive: Archive, own: LogHistory, log: LogHistory, last_slot: int) -> bool:
    """Tell whether the log was rotated since it was written, and nobody ever took it for something else."""
    rotated, slot, entry = log.last_rotation, archive.name.slot, archive.entry
    if rotated is None or own.unclear == entry.id.inode:
        return False
    if slot == 1:  # its writer may not have let go yet
        return True
    return entry.mtime <= rotated + _RUN and (slot is None or slot <= last_slot)


def was_taken(archive: float | None, log: float | None, lock: float | None) -> bool:
    """Tell by when they were born whether a run took a log and was killed before it noted that anywhere.

    Such a run leaves its lock beside the logs. It made the log that is there now, or its replacement, soon after that,
    and the archive is the log from before.
    """
    if archive is None or log is None or lock is None:
        return False
    return archive < lock <= log <= lock + _RUN


def last_in_row(archives: Iterable[Archive]) -> int:
    """The last of the slots that follow one another from 1 on; a crash may have left one gap."""
    slots = {archive.name.slot for archive in archives}
    last, gaps = 0, 0
    for slot in range(1, 2 * len(slots) + 2):
        if slot in slots:
            last = slot
        elif gaps:
            break
        else:
            gaps = 1
    return last
