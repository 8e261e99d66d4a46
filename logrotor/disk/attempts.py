"""The attempts of jobs: the one table of the history that is written without the lock of a run; and how to look."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from logrotor.disk import database, mounts, rows, state
from logrotor.errors import LogrotorError, StateError
from logrotor.model import Attempt, Ending, Problem
from logrotor.text import ours

T = TypeVar("T")

_EMPTY = "is empty, as a run leaves it that can make the file and not write it (a full file system)"
_KEEP_SUCCESSES = 7 * 86400.0  # seconds that one of jobs is kept: a job a minute is half a million a year
MOST = 20_000  # rows; whoever may write to the queue could have any number of them made
MOST_REFUSED = 1000  # the newest; the others are only counted
_MOST_LONG = 100  # attempts whose payload is kept whole: 64 KiB at most
BRIEF = 1000  # characters of any other payload
_LONGEST = 4000  # characters of why an attempt ended so


class HistoryUnread(StateError):
    """The history cannot be read now; the message says why."""


class HistoryUnusable(LogrotorError, OSError):
    """The history is locked for long, damaged, or on a full disk; the message says where."""


class Attempts:
    """What jobs remember, and forget. Keeps no connection."""

    def __init__(self, state_dir: str) -> None:
        self.path = os.path.join(state_dir, state.HISTORY)
        self.left_out = 0  # rows so far that could not be read

    def attempts_of(self, job: str) -> list[Attempt]:
        """All attempts of one job, in order. Raises HistoryUnusable, as every method for attempts."""
        return self._attempts("job = ?", (job,))

    def attempts_since(self, moment: float) -> list[Attempt]:
        """All attempts that started at ``moment`` or later, or have not ended, in order."""
        return self._attempts("started >= ? OR ended IS NULL", (moment,))

    def failed_attempts(self) -> list[Attempt]:
        """The last attempt of each job that failed for good and that nobody has settled."""
        endings = (Ending.FAILED, Ending.TIMEOUT, Ending.LOST, Ending.REFUSED)
        return self._attempts("final AND settled = '' AND ending IN (?, ?, ?, ?)", endings)

    def forgotten(self, queue: str) -> int:
        """How many refused jobs of this queue there were of which no more is kept. Raises HistoryUnusable."""
        try:
            with self._looking() as connection:
                if connection is None or not database.has(connection, "refused"):
                    return 0
                row = connection.execute("SELECT forgotten FROM refused WHERE queue = ?", (queue,)).fetchone()
                return int(row[0]) if row is not None else 0
        except StateError as error:
            raise HistoryUnusable(error.problem) from error

    def _attempts(self, where: str, values: Collection[object]) -> list[Attempt]:
        try:
            return self._select("attempts", where, values, partial(rows.value, Attempt), rows.columns(Attempt))
        except StateError as error:
            raise HistoryUnusable(error.problem) from error

    # ------------------------------------------------------------ written by jobs

    def begin_attempt(self, attempt: Attempt, *, overdue: float) -> Attempt:
        """Remember that an attempt begins; returns it with its id and its number. Raises OSError.

        Earlier ones of the job that never ended are ``lost``: the engine has given the job to this worker since. So are
        those of other jobs that began before ``overdue``: no engine gives them to anybody any more.
        """
        with self._job() as connection:
            return _begun(connection, attempt, overdue)

    def end_attempt(self, attempt: Attempt) -> None:
        """Remember how it ended. Raises OSError."""
        ended = "UPDATE attempts SET ended = ?, ending = ?, final = ?, detail = ?, payload = ? WHERE id = ?"
        detail = rows.text(attempt.detail)[:_LONGEST]
        with self._job() as connection:
            values = (attempt.ended, attempt.ending, attempt.final, detail, attempt.payload, attempt.id)
            connection.execute(ended, values)

    def settle(self, jobs: Collection[str], how: str) -> None:
        """The operator has retried or cleared these jobs. Raises OSError."""
        if self._is_there():
            with self._job() as connection:
                connection.executemany("UPDATE attempts SET settled = ? WHERE job = ?", [(how, job) for job in jobs])

    def forget_refused(self, queue: str) -> int:
        """Forget that number; returns what it was. Raises OSError."""
        number = self.forgotten(queue)
        if number:
            with self._job() as connection:
                connection.execute("DELETE FROM refused WHERE queue = ?", (queue,))
        return number

    def prune_attempts(self, before: float) -> int:
        """Forget attempts that ended before; returns how many. Raises OSError."""
        if not self._is_there():
            return 0
        with self._job() as connection:
            return connection.execute("DELETE FROM attempts WHERE ended < ?", (before,)).rowcount

    @contextmanager
    def _job(self) -> Iterator[sqlite3.Connection]:
        """One transaction on ``attempts``. The tables of the runs are left as they are, also those of an older format:
        a run of that format may be at work on them."""
        self._is_there()
        try:
            with closing(database.to_write(self.path)) as connection:
                connection.executescript(database.ATTEMPTS)
                with database.transaction(connection, database.PATIENCE):
                    yield connection
        except sqlite3.Error as error:
            advice = f"{ours('doctor')} says what helps; rotation goes on without it"
            raise HistoryUnusable(self._problem(f"cannot be written: {error}", advice)) from error

    # ------------------------------------------------------------ looking

    def _select(self, table: str, where: str, values: Collection[object], make: rows.Make[T], columns: str) -> list[T]:
        with self._looking() as connection:
            if connection is None or not database.has(connection, table):
                return []
            statement = f"SELECT {columns} FROM {table} WHERE {where} ORDER BY id"
            found, odd = rows.read(connection, statement, values, make)
        self.left_out += odd
        return found

    @contextmanager
    def _looking(self) -> Iterator[sqlite3.Connection | None]:
        """None: there is no history. Raises HistoryUnread."""
        advice = "ask as the user who runs logrotor"
        silent = self._why_silent()
        if silent is not None:
            raise HistoryUnread(silent)
        try:
            if stat.S_ISREG(os.lstat(self.path).st_mode) and database.is_left_empty(self.path):
                empty = "make room there; the next run with something to do begins it"
                raise HistoryUnread(self._problem(_EMPTY, empty))
            advice = "the next run that has something to do repairs it or sets it aside"
            with closing(database.to_look(self.path)) as connection:
                yield connection
        except (FileNotFoundError, NotADirectoryError):
            yield None
        except (sqlite3.Error, OSError, MemoryError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise HistoryUnread(self._problem(f"cannot be read ({reason})", advice)) from error

    def _is_there(self) -> bool:
        """Raises HistoryUnusable where whoever looked would wait for ever."""
        silent = self._why_silent()
        if silent is not None:
            raise HistoryUnusable(silent)
        return os.path.exists(self.path)

    def _why_silent(self) -> Problem | None:
        silent = mounts.lately().why_silent(self.path)
        return silent and self._problem(f"{silent.subject}: {silent.problem}", silent.advice)

    def _problem(self, problem: str, advice: str = "") -> Problem:
        return Problem(subject=self.path, problem=problem, advice=advice)


def _begun(connection: sqlite3.Connection, attempt: Attempt, overdue: float) -> Attempt:
    """Make its row, with its id and its number; what never ended before it is lost."""
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
    number = connection.execute("SELECT number FROM attempts WHERE id = ?", (cursor.lastrowid,)).fetchone()[0]
    return replace(attempt, id=cursor.lastrowid, number=number)


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
