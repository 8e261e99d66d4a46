"""Read past runs and their outcomes from the history, and say which are too old to be kept. Changes nothing itself."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

from logrotor.disk import state
from logrotor.errors import StateError
from logrotor.model import PastOutcome, PastRun, Problem

T = TypeVar("T")

_PLAIN = frozenset("/-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # unreserved: RFC 3986, 2.3

KEEP = 90 * 86400.0  # seconds that a row is kept
MOST = 200_000  # rows of outcomes: a writer that never lets go makes one a minute for each of its archives
_AT_ONCE = 1000  # rows that one run looks at: it must not wait for a year's worth

_RUNS = "SELECT id, started, ended, pid, forced, exit, rotated, failed, deferred, removed FROM runs"
_OUTCOMES = "SELECT run, time, log, action, status, name, reason, details FROM outcomes"


def pruning(now: float) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """Statements that delete what is older than ``KEEP``, or too much."""
    oldest = "id IN (SELECT id FROM {} ORDER BY id LIMIT ?)"
    too_many = "id <= (SELECT max(id) FROM {}) - ?"
    return [
        (
            f"DELETE FROM {table} WHERE {oldest.format(table)} AND ({column} < ? OR {too_many.format(table)})",
            [(_AT_ONCE, now - KEEP, MOST)],
        )
        for table, column in (("outcomes", "time"), ("runs", "started"))
    ]


def past_runs(state_dir: str, since: float | None = None) -> list[PastRun]:
    """Every run that had something to do and began at ``since`` or later, the oldest first. Raises StateError."""
    return _select(state_dir, f"{_RUNS} WHERE started >= ? ORDER BY id", (since or 0.0,), _run)


def past_outcomes(state_dir: str, since: float | None = None) -> list[PastOutcome]:
    """Every outcome of the runs that ended at ``since`` or later, the oldest first. Raises StateError."""
    return _select(state_dir, f"{_OUTCOMES} WHERE time >= ? ORDER BY id", (since or 0.0,), _outcome)


def settled_outcomes(state_dir: str) -> list[PastOutcome]:
    """Those that were done or failed, the oldest first. Raises StateError.

    A writer that never lets go makes a deferred one each minute: 100,000 of them cost a second to read.
    """
    return _select(state_dir, f"{_OUTCOMES} WHERE status IN ('done', 'failed') ORDER BY id", (), _outcome)


def _run(row: Any) -> PastRun:
    counts = dict(zip(("rotated", "failed", "deferred", "removed"), (int(n or 0) for n in row[6:]), strict=True))
    ended = None if row[2] is None else float(row[2])
    return PastRun(
        id=row[0], started=float(row[1]), ended=ended, pid=int(row[3] or 0), forced=bool(row[4]), exit=row[5], **counts
    )


def _outcome(row: Any) -> PastOutcome:
    import json

    run, time, log, action, status, name, reason, packed = row
    details = json.loads(packed or "{}")  # with the reason, where an older logrotor wrote it
    return PastOutcome(
        run=run or 0, time=float(time), log=os.fsdecode(log), action=action, status=status,
        name=os.fsdecode(name or ""), reason=reason or str(details.get("why", "")), details=details,
    )  # fmt: skip


def problem_with(state_dir: str) -> str | None:
    """What is wrong with the history by SQLite's own check; None: nothing, or there is none. Raises StateError."""
    found = [str(row[0]) for row in _select(state_dir, "PRAGMA integrity_check(3)", (), tuple)]
    return None if found in ([], ["ok"]) else "; ".join(found)


def _select(state_dir: str, statement: str, values: tuple[Any, ...], make: Callable[[Any], T]) -> list[T]:
    path = os.path.join(state_dir, state.HISTORY)
    try:
        state.refuse_odd(path)
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise StateError(Problem(subject=path, problem=what, advice="ask as the user who runs logrotor")) from error
    try:
        with closing(sqlite3.connect(f"file:{quoted(path)}?mode=ro", uri=True, timeout=5)) as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                return []
            return [make(row) for row in connection.execute(statement, values)]
    except (sqlite3.Error, TypeError, ValueError) as error:  # SQLite keeps any value in any column
        advice = "the next run that has something to do repairs it or sets it aside"
        raise StateError(Problem(subject=path, problem=f"cannot be read ({error})", advice=advice)) from error


def text(value: str) -> str:
    """Text that SQLite accepts: undecodable bytes of a file name are shown as escapes."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def quoted(path: str) -> str:
    """A path as it stands in a URI of SQLite (https://www.sqlite.org/uri.html)."""
    # urllib.parse.quote does the same, and takes 2 ms of every start.
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in os.fsencode(path))
