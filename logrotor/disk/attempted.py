"""The attempts of jobs in the history: how one begins, and how many are kept, whatever is sent to the queue."""

from __future__ import annotations

import sqlite3

from logrotor.disk import database
from logrotor.model import Attempt, Ending

_KEEP_SUCCESSES = 7 * 86400.0  # seconds that one of jobs is kept: a job a minute is half a million a year
MOST = 20_000  # rows; whoever may write to the queue could have any number of them made
MOST_REFUSED = 1000  # the newest; the others are only counted
_MOST_LONG = 100  # attempts whose payload is kept whole: 64 KiB at most
BRIEF = 1000  # characters of any other payload


def begin(connection: sqlite3.Connection, attempt: Attempt, overdue: float) -> Attempt:
    """Make its row, with its id and its number; what never ended before it is lost (``History.begin_attempt``)."""
    connection.execute(
        "UPDATE attempts SET ending = ?, ended = ?, final = (job != ?) WHERE ending = ? AND (job = ? OR started < ?)",
        (Ending.LOST, attempt.started, attempt.job, Ending.RUNNING, attempt.job, overdue),
    )
    # What an engine delivers after all was not lost for good.
    connection.execute("UPDATE attempts SET final = 0 WHERE final AND job = ?", (attempt.job,))
    _forget(connection, attempt.started)
    cursor = connection.execute(
        "INSERT INTO attempts (job, number, engine, queue, host, started, ending, pid, payload) "
        "VALUES (?,(SELECT count(*) + 1 FROM attempts WHERE job = ?),?,?,?,?,?,?,?)",
        (
            attempt.job, attempt.job, attempt.engine, attempt.queue, attempt.host, attempt.started, attempt.ending,
            attempt.pid, attempt.payload,
        ),
    )  # fmt: skip
    row = connection.execute("SELECT * FROM attempts WHERE id = ?", (cursor.lastrowid,)).fetchone()
    return database.value(Attempt, row)


def _forget(connection: sqlite3.Connection, now: float) -> None:
    """Delete what is old, or too much; of refused ones the number stays."""
    done = (Ending.DONE, Ending.BUSY, Ending.STALE)
    old = "DELETE FROM attempts WHERE started < ? AND (started < ? OR ending IN (?, ?, ?))"
    connection.execute(old, (now - _KEEP_SUCCESSES, now - database.KEEP, *done))
    connection.execute("DELETE FROM attempts WHERE id <= (SELECT max(id) FROM attempts) - ?", (MOST,))
    chosen = "ending = ? AND id <= (SELECT id FROM attempts WHERE ending = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"
    values = (Ending.REFUSED, Ending.REFUSED, MOST_REFUSED)
    connection.execute(
        "INSERT INTO refused SELECT queue, count(*) AS number FROM attempts "
        f"WHERE {chosen} AND settled = '' GROUP BY queue "
        "ON CONFLICT (queue) DO UPDATE SET forgotten = forgotten + excluded.forgotten",
        values,
    )
    connection.execute(f"DELETE FROM attempts WHERE {chosen}", values)
    connection.execute(
        "UPDATE attempts SET payload = substr(payload, 1, ?) WHERE length(payload) > ? AND ending != ? "
        "AND id <= (SELECT max(id) FROM attempts) - ?",
        (BRIEF, BRIEF, Ending.RUNNING, _MOST_LONG),
    )
