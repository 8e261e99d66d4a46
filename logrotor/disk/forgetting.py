"""What the history forgets at the end of a run: more than that has added, and no more than it can look at quickly."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from functools import cache
from typing import Any

from logrotor.decide.naming import parse_archive, parse_aside, parse_replacement, parse_temp
from logrotor.disk import database, files
from logrotor.disk.database import KEEP, Work

_ROWS = 1000  # that a run looks at besides twice what it added: it must not wait for a year's worth
_LOGS = 10_000
_GONE = 7 * 86400.0  # seconds since anything was done to a log that is gone; a file system may be away for a while
_LAST = "max(ifnull(last_rotation, 0), ifnull(request_delivered, 0), ifnull(request_failed, 0))"


def old(now: float, added: int) -> list[Work]:
    """Statements that delete what is older than ``KEEP``, or too much. ``added``: outcomes of this run."""
    oldest = "id IN (SELECT id FROM {} ORDER BY id LIMIT ?)"
    too_many = "id <= (SELECT max(id) FROM {}) - ?"
    return [
        (
            f"DELETE FROM {table} WHERE {oldest.format(table)} AND ({column} < ? OR {too_many.format(table)})",
            [(_ROWS + 2 * added, now - KEEP, database.MOST)],
        )
        for table, column in (("outcomes", "time"), ("runs", "started"))
    ]


def gone(connection: sqlite3.Connection | None, run: int, now: float, added: int) -> list[Work]:
    """Statements that delete what is known of logs of which no file is left.

    Each run looks at the next rows, by its number ``run``. What cannot be looked at is kept, as is for ``KEEP`` a log
    whose directory is missing.
    """
    if connection is None:
        return []
    with suppress(sqlite3.Error):
        logs = _forgotten_logs(connection, run, now, _LOGS + 2 * added)
        unclear = [path for path in _next(connection, "unclear", "1", run, _LOGS) if files.is_gone(path)]
        tables = {"logs": "path", "archive_dirs": "path", "hooked": "path", "archives": "log"}
        work: list[Work] = [(f"DELETE FROM {table} WHERE {column} = ?", logs) for table, column in tables.items()]
        return [*work, ("DELETE FROM unclear WHERE path = ?", [(path,) for path in unclear])]
    return []


def _forgotten_logs(connection: sqlite3.Connection, run: int, now: float, most: int) -> list[tuple[bytes]]:
    kept = {path for (path,) in connection.execute("SELECT path FROM in_flight")}
    known, found = cache(_bases), []
    for path in _next(connection, "logs", f"{_LAST} < ?", run, most, now - _GONE):
        directory, name = os.path.split(path)
        others = connection.execute("SELECT directory FROM archive_dirs WHERE path = ?", (path,))
        bases = [known(each) for each in (directory, *(other for (other,) in others))]
        if path not in kept and not any(each is None or name in each for each in bases):
            found.append((path,))
    for path in _next(connection, "logs", f"{_LAST} < ?", run, most, now - KEEP):
        if path not in kept and files.is_gone(os.path.dirname(path)):
            found.append((path,))
    return found


def _next(connection: sqlite3.Connection, table: str, condition: str, run: int, most: int, *values: Any) -> list[bytes]:
    """Paths of the rows whose turn it is."""
    (last,) = connection.execute(f"SELECT ifnull(max(rowid), 0) FROM {table}").fetchone()
    begin = run * most % (last + 1)
    ask = f"SELECT path FROM {table} WHERE rowid BETWEEN ? AND ? AND {condition}"
    return [path for (path,) in connection.execute(ask, (begin, begin + most, *values))]


def _bases(directory: bytes) -> frozenset[bytes] | None:
    """The logs of which there are files in a directory; None: nobody knows."""
    try:
        names = os.listdir(os.fsdecode(directory))
    except OSError:
        return None
    found = set(names)
    for name in names:
        archive = parse_archive(name) or parse_aside(name) or parse_temp(name)
        base = archive.base if archive is not None else parse_replacement(name)
        if base is not None:
            found.add(base)
    return frozenset(map(os.fsencode, found))
