"""The history: one SQLite file of the state directory, and all that is asked of it.

who                          | how it connects
-----------------------------|------------------------------------------------------------------------------------
whoever looks                | mode=ro: nothing is created, repaired or upgraded
a job, beside any run        | one short transaction on the table ``attempts``, which belongs to the jobs
a run, which holds the lock  | :class:`RunHistory`: one connection; it upgrades the tables and sets a damaged file aside

A lost or damaged file costs a guess about schedules, never data.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from logrotor.disk import archived, attempted, database, forgetting, state
from logrotor.disk.database import Work, value
from logrotor.errors import LogrotorError, StateError
from logrotor.model import CopyInFlight, LogHistories, Outcome, PastOutcome, PastRun, PastTake, Problem
from logrotor.text import ours

if TYPE_CHECKING:
    from logrotor.model import Attempt

T = TypeVar("T")

_EMPTY = "is empty, as a run leaves it that can make the file and not write it (a full file system)"


_LONGEST = 4000  # characters of why an attempt ended so


class HistoryUnusable(LogrotorError, OSError):
    """The history is locked for long, damaged, or on a full disk; the message says where."""


class History:
    """The history of one state directory, for all but the run that holds the lock. Keeps no connection."""

    def __init__(self, state_dir: str) -> None:
        self.path = os.path.join(state_dir, state.HISTORY)

    # ------------------------------------------------------------ looking

    def recall(self) -> LogHistories:
        """What is known of each log. Raises StateError if a newer logrotor wrote it."""
        try:
            if database.is_left_empty(self.path):
                return LogHistories({}, f"{self.path}: {_EMPTY}; schedules are guessed from the files")
            with closing(database.to_look(self.path)) as connection:
                return self._known(connection)
        except (FileNotFoundError, NotADirectoryError):
            return LogHistories({})
        except (sqlite3.Error, OSError) as error:
            return LogHistories({}, f"{self.path}: cannot be read ({error}); schedules are guessed from the files")

    def runs(self, since: float = 0.0, most: int = database.MOST) -> list[PastRun]:
        """The runs that had something to do and began at ``since`` or later, the oldest first. Raises StateError."""
        where = "started >= ? AND id > (SELECT max(id) FROM runs) - ?"
        return self._select("runs", where, (since, most), partial(value, PastRun))

    def outcomes(self, since: float = 0.0) -> list[PastOutcome]:
        """Every outcome of the runs that ended at ``since`` or later, the oldest first. Raises StateError."""
        return self._select("outcomes", "time >= ?", (since,), database.outcome)

    def settled_outcomes(self) -> list[PastOutcome]:
        """The newest of each log that were done or failed, the oldest first. Raises StateError."""
        return self._select("outcomes", database.NEWEST, (), database.outcome)

    def takes(self, since: float) -> list[PastTake]:
        """All takes since then, the oldest first. Raises StateError."""
        return self._select("outcomes", database.TAKEN, (since,), database.take)

    def damage(self) -> str | None:
        """What SQLite's own check finds; None: nothing, or there is no history. Raises StateError."""
        with self._looking() as connection:
            found = connection.execute("PRAGMA integrity_check(3)").fetchall() if connection else []
        words = [str(row[0]) for row in found]
        return None if words in ([], ["ok"]) else "; ".join(words)

    def attempts_of(self, job: str) -> list[Attempt]:
        """All attempts of one job, in order. Raises HistoryUnusable, as every method for attempts."""
        return self._attempts("job = ?", (job,))

    def attempts_since(self, moment: float) -> list[Attempt]:
        """All attempts that started at ``moment`` or later, or have not ended, in order."""
        return self._attempts("started >= ? OR ended IS NULL", (moment,))

    def failed_attempts(self) -> list[Attempt]:
        """The last attempt of each job that failed for good and that nobody has settled."""
        from logrotor.model import Ending

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
        from logrotor.model import Attempt

        try:
            return self._select("attempts", where, values, partial(value, Attempt))
        except StateError as error:
            raise HistoryUnusable(error.problem) from error

    def _select(self, table: str, where: str, values: Collection[object], make: Callable[[sqlite3.Row], T]) -> list[T]:
        with self._looking() as connection:
            if connection is None or not database.has(connection, table):
                return []
            rows = connection.execute(f"SELECT * FROM {table} WHERE {where} ORDER BY id", tuple(values))
            return [make(row) for row in rows]

    @contextmanager
    def _looking(self) -> Iterator[sqlite3.Connection | None]:
        """None: there is no history. Raises StateError."""
        advice = "ask as the user who runs logrotor"
        try:
            state.refuse_odd(self.path)
            if database.is_left_empty(self.path):
                raise StateError(self._problem(_EMPTY, "make room there; the next run with something to do begins it"))
            advice = "the next run that has something to do repairs it or sets it aside"
            with closing(database.to_look(self.path)) as connection:
                yield connection
        except (FileNotFoundError, NotADirectoryError):
            yield None
        except (sqlite3.Error, OSError, TypeError, ValueError) as error:  # SQLite keeps any value in any column
            reason = getattr(error, "strerror", None) or error
            raise StateError(self._problem(f"cannot be read ({reason})", advice)) from error

    def _problem(self, problem: str, advice: str = "") -> Problem:
        return Problem(subject=self.path, problem=problem, advice=advice)

    def _known(self, connection: sqlite3.Connection) -> LogHistories:
        found = database.version(connection)
        if found > database.VERSION:
            newer = f"written by a newer logrotor (format {found}, this one knows {database.VERSION})"
            raise StateError(self._problem(newer, "upgrade logrotor, or set another state_dir"))
        try:
            return LogHistories(database.logs(connection) if found else {})
        except (TypeError, ValueError) as error:  # SQLite keeps any value in any column
            raise sqlite3.DatabaseError(f"odd values: {error}") from error

    # ------------------------------------------------------------ written by jobs

    def begin_attempt(self, attempt: Attempt, *, overdue: float) -> Attempt:
        """Remember that an attempt begins; returns it with its id and its number. Raises OSError.

        Earlier ones of the job that never ended are ``lost``: the engine has given the job to this worker since. So are
        those of other jobs that began before ``overdue``: no engine gives them to anybody any more.
        """
        with self._job() as connection:
            return attempted.begin(connection, attempt, overdue)

    def end_attempt(self, attempt: Attempt) -> None:
        """Remember how it ended. Raises OSError."""
        ended = "UPDATE attempts SET ended = ?, ending = ?, final = ?, detail = ?, payload = ? WHERE id = ?"
        detail = database.text(attempt.detail)[:_LONGEST]
        with self._job() as connection:
            values = (attempt.ended, attempt.ending, attempt.final, detail, attempt.payload, attempt.id)
            connection.execute(ended, values)

    def settle(self, jobs: Collection[str], how: str) -> None:
        """The operator has retried or cleared these jobs. Raises OSError."""
        if os.path.exists(self.path):
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
        if not os.path.exists(self.path):
            return 0
        with self._job() as connection:
            return connection.execute("DELETE FROM attempts WHERE ended < ?", (before,)).rowcount

    @contextmanager
    def _job(self) -> Iterator[sqlite3.Connection]:
        """One transaction on ``attempts``. The tables of the runs are left as they are, also those of an older format:
        a run of that format may be at work on them."""
        try:
            with closing(database.to_write(self.path)) as connection:
                connection.executescript(database.ATTEMPTS)
                with database.transaction(connection, database.PATIENCE):
                    yield connection
        except sqlite3.Error as error:
            advice = f"{ours('doctor')} says what helps; rotation goes on without it"
            raise HistoryUnusable(self._problem(f"cannot be written: {error}", advice)) from error


class RunHistory(History):
    """The history open for a run; only the holder of the lock has one.

    What cannot be written is kept in ``problems`` and does not stop the rotation; only the record of a
    copytruncate in flight must be written, so its methods raise OSError.
    """

    def __init__(self, state_dir: str, *, patience: float = database.PATIENCE) -> None:
        super().__init__(state_dir)
        self._patience = patience  # seconds to wait for another program that has the file locked
        self.problems: list[Problem] = []
        self.replaced: str | None = None  # where a damaged file was set aside
        self._lost: sqlite3.Error | OSError | None = None  # why nothing of this run can be kept
        self._busy = False  # another program did not let go of it: what may be left undone is not waited for again
        self._connection: sqlite3.Connection | None = None
        self._run: int | None = None
        self._first: int | None = None  # the last record of an archive before the run
        try:
            self._connection = self._open()
        except (sqlite3.Error, OSError) as error:  # a full disk must not stop the rotation that would empty it
            self._lost = error
            what = f"cannot be opened, and the run went on without it: {error}"
            self.problems.append(self._problem(what, database.way_out(error)))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def begin_copy(self, record: CopyInFlight) -> None:
        """Remember a copytruncate before its archive is published."""
        self._must("INSERT OR REPLACE INTO in_flight VALUES (?,?,?,?,?,?,?,?,?)", database.copy_row(record))

    def mark_copy(self, path: str) -> None:
        """The head of the log bears the mark by now."""
        self._must("UPDATE in_flight SET stage = 'marked' WHERE path = ?", (os.fsencode(path),))

    def end_copy(self, path: str) -> None:
        self._must("DELETE FROM in_flight WHERE path = ?", (os.fsencode(path),))

    def rotated(self, paths: Iterable[str], now: float, *more: Work) -> None:
        self._set("last_rotation = excluded.last_rotation", paths, now, *more)

    def requested(self, paths: Iterable[str], now: float, delivered: bool) -> None:
        wiped = ", request_failed = NULL" if delivered else ""
        column = "request_delivered" if delivered else "request_failed"
        self._set(f"{column} = excluded.{column}{wiped}", paths, now)

    def _set(self, change: str, paths: Iterable[str], now: float, *more: Work) -> None:
        """``change``: begins with the column that gets ``now``."""
        column = change.split()[0]
        insert = f"INSERT INTO logs (path, {column}) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET {change}"
        self.keep((insert, [(os.fsencode(path), now) for path in paths]), *more)

    def archives_in(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Remember which directories hold archives of which log, for the day when ``archive_dir`` is switched off.

        A directory has archives of one log of a name: another one that had some there has none left.
        """
        rows = [(os.fsencode(path), os.fsencode(directory)) for path, directory in pairs]
        ends = [(directory, path, b"/" + os.path.basename(path)) for path, directory in rows]
        forget = "DELETE FROM archive_dirs WHERE directory = ?1 AND path != ?2 AND substr(path, -length(?3)) = ?3"
        self.keep((forget, ends), ("INSERT OR IGNORE INTO archive_dirs VALUES (?, ?)", rows))

    def hooked(self, path: str, inode: int, mtime_ns: int) -> None:
        self.keep(("INSERT OR IGNORE INTO hooked VALUES (?, ?, ?)", [(os.fsencode(path), inode, mtime_ns)]))

    def is_hooked(self, path: str, inode: int, mtime_ns: int) -> bool:
        return database.is_hooked(self._connection, path, inode, mtime_ns)

    def forget_hooks(self, path: str, inode: int) -> None:
        self.keep(("DELETE FROM hooked WHERE path = ? AND inode = ?", [(os.fsencode(path), inode)]))

    def run_started(self, started: float, forced: bool, taken: Iterable[str] = ()) -> None:
        """``taken``: logs that are about to be taken. If the run is killed, their archives may bear no mark yet."""
        begun = ("INSERT OR IGNORE INTO logs (path) VALUES (?)", [(os.fsencode(path),) for path in taken])
        insert = "INSERT INTO runs (started, pid, forced) VALUES (?, ?, ?)"
        self.keep((insert, [(started, os.getpid(), forced)]), begun)
        with suppress(sqlite3.Error, AttributeError):  # not opened
            ask = "SELECT max(runs.id), (SELECT ifnull(max(id), 0) FROM archives) FROM runs"
            self._run, self._first = self._connection.execute(ask).fetchone()  # type: ignore[union-attr]

    def found_unclear(self, paths: Iterable[str]) -> None:
        """Remember files that may be logs: a rotation beside one does not make it an archive."""
        rows = [(os.fsencode(path), os.lstat(path).st_ino) for path in paths if os.path.lexists(path)]
        self.keep(("INSERT OR REPLACE INTO unclear VALUES (?, ?)", rows))

    def run_completed(self, now: float, outcomes: Collection[Outcome], counts: Mapping[str, int], code: int) -> None:
        ended = database.end_of_run(self._run, now, outcomes, counts, code)
        archives = archived.of_run(outcomes, self._run or 0, self._first)
        self.keep(*ended, *archives, *forgetting.old(now, len(outcomes)))
        self.keep(*forgetting.gone(self._connection, self._run or 0, now, len(outcomes)))

    def _must(self, statement: str, row: tuple[Any, ...]) -> None:
        try:
            if self._lost is not None or self._connection is None:
                raise self._lost or sqlite3.ProgrammingError("closed")
            with database.transaction(self._connection, self._patience):
                self._connection.execute(statement, row)
        except sqlite3.Error as error:
            raise OSError(database.errno_of(error), f"{error}", self.path) from error

    def keep(self, *work: Work) -> None:
        """All of it in one commit."""
        if self._connection is None or not any(rows for _, rows in work):
            return
        try:
            with database.transaction(self._connection, 0.0 if self._busy else self._patience):
                for statement, rows in work:
                    self._connection.executemany(statement, rows)
        except (sqlite3.Error, OSError) as error:
            # A backup, or a suspended reader: a wait for each archive would hold the lock of the run for minutes.
            self._busy = self._busy or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            what = f"cannot be written, and the run went on without it: {error}"
            problem = self._problem(what, database.way_out(error))
            if problem not in self.problems:
                self.problems.append(problem)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.Error as error:
            if not database.is_damage(error):
                raise
            aside = database.set_aside(self.path)
            self.replaced = f"{self.path} was damaged ({error}); it was set aside as {aside}; schedules are guessed"
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = database.to_write(self.path)
        try:
            database.upgrade(connection)
            self._known(connection)
        except BaseException:
            connection.close()
            raise
        return connection
