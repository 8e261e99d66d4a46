"""The attempts of jobs: the one table of the history that is written without the lock of a run; and how to look."""

from __future__ import annotations

import math
import os
import sqlite3
import stat
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from logrotor.disk import database, files, mounts, rows, state
from logrotor.disk.calls import change
from logrotor.errors import LogrotorError, StateError
from logrotor.model import FAILURES, Attempt, Ending, Fault, Problem, Total
from logrotor.text import ours

T = TypeVar("T")
S = TypeVar("S", bound=Struct)

_EMPTY = "is empty, as a run leaves it that can make the file and not write it (a full file system)"
_KEEP_SUCCESSES = 7 * 86400.0  # seconds that one of jobs is kept: a job a minute is half a million a year
MOST = 20_000  # rows; whoever may write to the queue could have any number of them made
MOST_REFUSED = 1000  # the newest, and as many faults
_MOST_LONG = 100  # attempts whose payload is kept whole: 64 KiB at most
BRIEF = 1000  # characters of any other payload
_LONGEST = 4000  # characters of why an attempt ended so
MISSENT = "missent: "  # how the cause begins of jobs that are not for this worker: no success of another settles it
ALL = '["*"]'  # the selection of all logs, as JSON
BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)  # seconds, of the histogram of durations
_GONE = "its process ended without a word: killed by a limit of the engine, for want of memory, or with the machine"

# What an older logrotor had as failed jobs, each on its own.
_FAULTS = """
INSERT INTO faults (queue, cause, logs, job, number, ending, detail, payload, first, last, count)
SELECT queue, ending || ': ' || detail, '["*"]', min(job), max(number), ending, detail, max(payload),
       min(started), max(ended), count(*)
  FROM attempts
 WHERE final AND settled = '' AND ended IS NOT NULL AND ending IN ('failed', 'timeout', 'lost', 'refused')
   AND NOT EXISTS (SELECT 1 FROM faults)
 GROUP BY queue, ending, detail;
"""


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

    def attempts_like(self, job: str) -> list[Attempt]:
        """Of every job whose id begins so."""
        return self._attempts("substr(job, 1, length(?)) = ?", (job, job))

    def attempts_since(self, moment: float) -> list[Attempt]:
        """All attempts that started at ``moment`` or later, or have not ended, in order."""
        return self._attempts("started >= ? OR ended IS NULL", (moment,))

    def newest_attempt(self, queue: str, *endings: Ending) -> Attempt | None:
        """The one that began last and has ended, so if ``endings`` are given; None: there is none."""
        marks = ", ".join("?" * len(endings)) or "ending"
        newest = f"SELECT max(id) FROM attempts WHERE queue = ? AND ended IS NOT NULL AND ending IN ({marks})"
        return next(iter(self._attempts(f"id = ({newest})", (queue, *endings))), None)

    def faults(self, queue: str) -> list[Fault]:
        """Why jobs of this queue failed for good, the settled included, in no order. Raises HistoryUnusable."""
        return self._rows(Fault, "faults", "queue = ?", (queue,))

    def totals(self, queue: str) -> list[Total]:
        """All attempts of this queue that have ended, counted. Raises HistoryUnusable."""
        return self._rows(Total, "totals", "queue = ?", (queue,), order="rowid")

    def known_jobs(self) -> frozenset[str]:
        """The jobs of which an attempt is remembered. Raises HistoryUnusable."""
        try:
            with self._looking() as connection:
                if connection is None or not database.has(connection, "attempts"):
                    return frozenset()
                return frozenset(row[0] for row in connection.execute("SELECT DISTINCT job FROM attempts"))
        except StateError as error:
            raise HistoryUnusable(error.problem) from error

    def _attempts(self, where: str, values: Collection[object]) -> list[Attempt]:
        return self._rows(Attempt, "attempts", where, values)

    def _rows(self, kind: type[S], table: str, where: str, values: Collection[object], *, order: str = "id") -> list[S]:
        try:
            return self._select(table, where, values, partial(rows.value, kind), rows.columns(kind), order=order)
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

    def end_attempt(self, attempt: Attempt, *, cause: str = "", logs: str = ALL) -> str | None:
        """Remember how it ended. Raises OSError.

        A job that failed for good joins the fault of its ``cause`` and ``logs``, if that is not settled; then the first
        job of the fault is returned. One that was done settles the faults of its logs.
        """
        with self._job() as connection:
            return _ended(connection, attempt, cause, logs)

    def forget_faults(self, faults: Collection[int]) -> None:
        """The operator has retried or cleared these. Raises OSError."""
        if faults and self._is_there():
            with self._job() as connection:
                connection.executemany("DELETE FROM faults WHERE id = ?", [(fault,) for fault in faults])

    def give_up(self, attempts: Collection[int], now: float) -> None:
        """These have not ended, and their processes are gone: they are lost. Raises OSError."""
        with self._job() as connection:
            for number in attempts:
                _lose(connection, "id = ?", (number,), now)

    def prune_attempts(self, before: float) -> int:
        """Forget attempts that ended before; returns how many. Raises OSError."""
        if not self._is_there():
            return 0
        with self._job() as connection:
            return connection.execute("DELETE FROM attempts WHERE ended < ?", (before,)).rowcount

    @contextmanager
    def _job(self) -> Iterator[sqlite3.Connection]:
        """One transaction on the tables of jobs. Those of the runs are left as they are, also those of an older format:
        a run of that format may be at work on them."""
        self._is_there()
        try:
            with closing(database.to_write(self.path)) as connection:
                _make_tables(connection)
                with database.transaction(connection, database.PATIENCE):
                    yield connection
        except sqlite3.Error as error:
            advice = f"{ours('doctor')} says what helps; rotation goes on without it"
            raise HistoryUnusable(self._problem(f"cannot be written: {error}", advice)) from error

    # ------------------------------------------------------------ looking

    def _select(
        self, table: str, where: str, values: Collection[object], make: rows.Make[T], columns: str, *, order: str = "id"
    ) -> list[T]:
        with self._looking() as connection:
            if connection is None or not database.has(connection, table):
                return []
            statement = f"SELECT {columns} FROM {table} WHERE {where} ORDER BY {order}"
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
        return not files.is_gone(self.path)

    def _why_silent(self) -> Problem | None:
        silent = mounts.lately().why_silent(self.path)
        return silent and self._problem(f"{silent.subject}: {silent.problem}", silent.advice)

    def _problem(self, problem: str, advice: str = "") -> Problem:
        return Problem(subject=self.path, problem=problem, advice=advice)


def _make_tables(connection: sqlite3.Connection) -> None:
    """Those that jobs write, where they are not there yet."""
    is_new = not database.is_made(connection, "faults")
    connection.executescript(database.ATTEMPTS)
    if is_new:
        change("commit", connection.executescript, f"BEGIN IMMEDIATE; {_FAULTS} COMMIT;")


def _begun(connection: sqlite3.Connection, attempt: Attempt, overdue: float) -> Attempt:
    """Make its row, with its id and its number; what never ended before it is lost."""
    _lose(connection, "job = ?", (attempt.job,), attempt.started, final=False)
    _lose(connection, "started < ?", (overdue,), attempt.started)
    # What an engine delivers after all was not lost for good.
    connection.execute("UPDATE attempts SET final = 0 WHERE final AND job = ?", (attempt.job,))
    connection.execute("DELETE FROM faults WHERE ending = ? AND job = ? AND count = 1", (Ending.LOST, attempt.job))
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


def _lose(
    connection: sqlite3.Connection, where: str, values: Collection[object], now: float, *, final: bool = True
) -> None:
    """Attempts that never ended are lost, and say why."""
    statement = f"SELECT {rows.columns(Attempt)} FROM attempts WHERE ending = ? AND {where}"
    found, _ = rows.read(connection, statement, (Ending.RUNNING, *values), partial(rows.value, Attempt))
    for attempt in found:
        lost = replace(attempt, ended=now, ending=Ending.LOST, final=final, detail=_GONE)
        _ended(connection, lost, Ending.LOST.value, ALL)


def _ended(connection: sqlite3.Connection, attempt: Attempt, cause: str, logs: str) -> str | None:
    attempt = replace(attempt, detail=rows.text(attempt.detail)[:_LONGEST])
    connection.execute(
        "UPDATE attempts SET ended = ?, ending = ?, final = ?, detail = ?, payload = ? WHERE id = ?",
        (attempt.ended, attempt.ending, attempt.final, attempt.detail, attempt.payload, attempt.id),
    )
    seconds = attempt.seconds or 0.0
    bound = next((bound for bound in BOUNDS if seconds <= bound), math.inf)
    connection.execute(
        "INSERT INTO totals VALUES (?, ?, ?, 1, ?) ON CONFLICT (queue, ending, within) "
        "DO UPDATE SET attempts = attempts + 1, seconds = seconds + excluded.seconds",
        (attempt.queue, attempt.ending, bound, seconds),
    )
    if attempt.ending is Ending.DONE:
        connection.execute(
            "UPDATE faults SET settled = ? WHERE settled IS NULL AND queue = ? AND (logs = ? OR ? = ?) "
            "AND substr(cause, 1, ?) != ?",
            (attempt.ended, attempt.queue, logs, logs, ALL, len(MISSENT), MISSENT),
        )
    elif attempt.final and attempt.ending in FAILURES:
        return _joined(connection, attempt, rows.text(cause) or f"{attempt.ending}: {attempt.detail}", logs)
    return None


def _joined(connection: sqlite3.Connection, attempt: Attempt, cause: str, logs: str) -> str | None:
    """The first job of the fault that the attempt is one more of; None: it is the first itself."""
    key = (attempt.queue, cause, logs)
    row = connection.execute(
        "UPDATE faults SET count = count + 1, last = ?, number = ?, ending = ?, detail = ?, payload = ? "
        "WHERE settled IS NULL AND queue = ? AND cause = ? AND logs = ? RETURNING job",
        (attempt.ended, attempt.number, attempt.ending, attempt.detail, attempt.payload, *key),
    ).fetchone()
    if row is not None:
        return str(row[0])
    connection.execute(
        "INSERT INTO faults (queue, cause, logs, job, number, ending, detail, payload, first, last, count) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,1)",
        (
            *key, attempt.job, attempt.number, attempt.ending, attempt.detail, attempt.payload, attempt.started,
            attempt.ended,
        ),
    )  # fmt: skip
    return None


def _forget(connection: sqlite3.Connection, now: float) -> None:
    """Delete what is old, or too much; the last that was done stays, since by it the monitors judge."""
    done = (Ending.DONE, Ending.BUSY, Ending.STALE)
    last = "SELECT max(id) FROM attempts WHERE ending = ? GROUP BY queue"
    old = f"DELETE FROM attempts WHERE started < ? AND (started < ? OR ending IN (?, ?, ?)) AND id NOT IN ({last})"
    connection.execute(old, (now - _KEEP_SUCCESSES, now - database.KEEP, *done, Ending.DONE))
    most = f"DELETE FROM attempts WHERE id <= (SELECT max(id) FROM attempts) - ? AND id NOT IN ({last})"
    connection.execute(most, (MOST, Ending.DONE))
    chosen = "ending = ? AND id <= (SELECT id FROM attempts WHERE ending = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"
    connection.execute(f"DELETE FROM attempts WHERE {chosen}", (Ending.REFUSED, Ending.REFUSED, MOST_REFUSED))
    connection.execute("DELETE FROM faults WHERE last < ? OR settled < ?", (now - database.KEEP, now - _KEEP_SUCCESSES))
    connection.execute("DELETE FROM faults WHERE id <= (SELECT max(id) FROM faults) - ?", (MOST_REFUSED,))
    for table in ("attempts", "faults"):
        connection.execute(
            f"UPDATE {table} SET payload = substr(payload, 1, ?) WHERE length(payload) > ? AND ending != ? "
            f"AND id <= (SELECT max(id) FROM {table}) - ?",
            (BRIEF, BRIEF, Ending.RUNNING, _MOST_LONG),
        )
