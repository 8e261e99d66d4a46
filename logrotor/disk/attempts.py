"""The attempts of jobs, in the history: written before and after each, by every engine alike.

A table of its own in the history's file, made when the first job comes. Jobs write it without the lock of the
run, in short transactions of SQLite's own; nothing that recovery needs stands in it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from logrotor.disk import state
from logrotor.disk.calls import change
from logrotor.disk.history import quoted
from logrotor.errors import LogrotorError
from logrotor.model import Attempt, Ending

_TABLE = """
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, job TEXT NOT NULL, number INTEGER NOT NULL, engine TEXT, queue TEXT, host TEXT,
    started REAL NOT NULL, ended REAL, ending TEXT NOT NULL, final INTEGER NOT NULL DEFAULT 0, detail TEXT,
    pid INTEGER, payload TEXT, settled TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS attempts_by_job ON attempts (job);
CREATE INDEX IF NOT EXISTS attempts_by_time ON attempts (started);
"""
_COLUMNS = "id, job, number, engine, queue, host, started, ended, ending, final, detail, pid, payload, settled"

_ADVICE = "logrotor doctor tells what helps; rotation goes on without it"
_KEEP_SUCCESSES, _KEEP_ALL = 7 * 86400.0, 90 * 86400.0  # a job a minute is half a million rows a year


class HistoryUnusable(LogrotorError, OSError):
    """The history is locked for long, damaged, or on a full disk; the message says where."""


class Attempts:
    """The attempts of one state directory. Every method raises OSError if the history cannot be read or written."""

    def __init__(self, state_dir: str) -> None:
        self.path = os.path.join(state_dir, state.HISTORY)

    def begin(self, attempt: Attempt, *, overdue: float) -> Attempt:
        """Remember that an attempt begins; returns it with its id and its number.

        Earlier ones of the job that never ended are ``lost``: the engine has given the job to us since. So are those
        of other jobs that began before ``overdue``: no engine gives them to anybody any more.
        """
        with self._writing() as connection:
            connection.execute(
                "UPDATE attempts SET ending = ?, ended = ?, final = (job != ?) "
                "WHERE ending = ? AND (job = ? OR started < ?)",
                (Ending.LOST, attempt.started, attempt.job, Ending.RUNNING, attempt.job, overdue),
            )
            # What an engine gives to us after all was not lost for good.
            connection.execute("UPDATE attempts SET final = 0 WHERE final AND job = ?", (attempt.job,))
            week, season = attempt.started - _KEEP_SUCCESSES, attempt.started - _KEEP_ALL
            connection.execute(
                "DELETE FROM attempts WHERE started < ? AND (started < ? OR ending IN (?, ?, ?))",
                (week, season, Ending.DONE, Ending.BUSY, Ending.STALE),
            )
            earlier = connection.execute("SELECT count(*) FROM attempts WHERE job = ?", (attempt.job,)).fetchone()[0]
            cursor = connection.execute(
                "INSERT INTO attempts (job, number, engine, queue, host, started, ending, pid, payload) "
                "VALUES (?,?,?,?,?,?,?,?,?)",
                (
                    attempt.job, earlier + 1, attempt.engine, attempt.queue, attempt.host, attempt.started,
                    attempt.ending, attempt.pid, attempt.payload,
                ),
            )  # fmt: skip
            row = connection.execute(f"SELECT {_COLUMNS} FROM attempts WHERE id = ?", (cursor.lastrowid,)).fetchone()
        return _attempt(row)

    def end(self, attempt: Attempt) -> None:
        """Remember what became of it."""
        # A file name in it may have bytes that are no UTF-8, which SQLite refuses.
        detail = attempt.detail.encode(errors="backslashreplace").decode()
        with self._writing() as connection:
            connection.execute(
                "UPDATE attempts SET ended = ?, ending = ?, final = ?, detail = ? WHERE id = ?",
                (attempt.ended, attempt.ending, attempt.final, detail, attempt.id),
            )

    def of_job(self, job: str) -> list[Attempt]:
        """All attempts of one job, in order."""
        return self._read("WHERE job = ? ORDER BY id", (job,))

    def since(self, moment: float) -> list[Attempt]:
        """All attempts that started at ``moment`` or later, or have not ended, in order."""
        return self._read("WHERE started >= ? OR ended IS NULL ORDER BY id", (moment,))

    def failures(self) -> list[Attempt]:
        """The last attempt of each job that failed for good and that nobody has settled."""
        endings = (Ending.FAILED, Ending.TIMEOUT, Ending.LOST, Ending.REFUSED)
        places = ",".join("?" * len(endings))
        return self._read(f"WHERE final AND settled = '' AND ending IN ({places}) ORDER BY id", endings)

    def settle(self, jobs: Collection[str], how: str) -> None:
        """The operator has retried or cleared these jobs."""
        with self._writing() as connection:
            connection.executemany("UPDATE attempts SET settled = ? WHERE job = ?", [(how, job) for job in jobs])

    def prune(self, before: float) -> int:
        """Forget attempts that ended before; returns how many."""
        with self._writing() as connection:
            return connection.execute("DELETE FROM attempts WHERE ended < ?", (before,)).rowcount

    def _read(self, where: str, values: Collection[object]) -> list[Attempt]:
        if not os.path.exists(self.path):
            return []
        try:
            connection = sqlite3.connect(f"file:{quoted(self.path)}?mode=ro", uri=True, timeout=5)
            try:
                known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'attempts'").fetchone()
                rows = connection.execute(f"SELECT {_COLUMNS} FROM attempts {where}", tuple(values)) if known else ()
                return [_attempt(row) for row in rows]
            finally:
                connection.close()
        except (sqlite3.Error, ValueError) as error:
            raise HistoryUnusable(f"{self.path}: cannot be read: {error}; {_ADVICE}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, committed at the end."""
        try:
            if not os.path.lexists(self.path):
                flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(change("create", os.open, self.path, flags, 0o600))
            connection = sqlite3.connect(self.path, timeout=10, isolation_level=None)
            try:
                connection.executescript(_TABLE)
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                change("commit", connection.execute, "COMMIT")
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise HistoryUnusable(f"{self.path}: cannot be written: {error}; {_ADVICE}") from error


def _attempt(row: tuple[object, ...]) -> Attempt:
    known = dict(zip(_COLUMNS.split(", "), row, strict=True))
    known["ending"] = Ending(str(known["ending"]))
    known["final"], known["detail"] = bool(known["final"]), known["detail"] or ""
    return Attempt(**known)  # type: ignore[arg-type]
