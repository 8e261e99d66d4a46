"""The history: one SQLite file of the state directory, and all that is asked of it.

who                          | how it connects
-----------------------------|------------------------------------------------------------------------------------
whoever looks                | mode=ro: nothing is created, repaired or upgraded
a job, beside any run        | one short transaction on the table ``attempts``, which belongs to the jobs
a run, which holds the lock  | :class:`RunHistory`: one connection; it upgrades the tables, deletes rows that nobody can
                             | read, and sets a damaged file aside: what can be read of it goes into the new one

A lost or damaged file costs a guess about schedules, and the records by which verify judges; never data.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from logrotor import text
from logrotor.disk import archived, database, forgetting, recalled, repeats, rows, salvage
from logrotor.disk.attempts import Attempts, HistoryUnread
from logrotor.disk.database import Work
from logrotor.errors import StateError
from logrotor.model import (
    CopyInFlight,
    KeptOut,
    LogHistories,
    LogHistory,
    Outcome,
    PastOutcome,
    PastRun,
    PastTake,
    Problem,
)

T = TypeVar("T")

_NOTHING_SAVED = "nothing of it could be read: schedules are guessed, and verify has no records"


class History(Attempts):
    """The history of one state directory, for all but the run that holds the lock. Keeps no connection."""

    def recall(self) -> LogHistories:
        """What is known of each log. Raises StateError if a newer logrotor wrote it."""
        try:
            with self._looking() as connection:
                if connection is not None and self._format(connection) and recalled.is_large(connection):
                    return recalled.Recalled(connection, self._looking, self._guessed)
                found, odd = ({}, 0) if connection is None else self._known(connection)
        except HistoryUnread as error:
            return LogHistories({}, self._guessed(error.problem.problem))
        return LogHistories(found, self._guessed(f"{text.count(odd, 'row')} cannot be read") if odd else None)

    def _guessed(self, why: str) -> str:
        return f"{self.path}: {why}; schedules are guessed from the files"

    def runs(self, since: float = 0.0, most: int = database.MOST) -> list[PastRun]:
        """The runs that had something to do and began at ``since`` or later, the oldest first. Raises StateError."""
        where = "started >= ? AND id > (SELECT max(id) FROM runs) - ?"
        return self._select("runs", where, (since, most), partial(rows.value, PastRun), rows.columns(PastRun))

    def outcomes(self, since: float = 0.0) -> list[PastOutcome]:
        """Every outcome of the runs that ended at ``since`` or later, the oldest first. Raises StateError."""
        return self._select("outcomes", "time >= ?", (since,), rows.outcome, rows.columns(PastOutcome))

    def settled_outcomes(self) -> list[PastOutcome]:
        """The newest of each log that were done or failed, the oldest first. Raises StateError."""
        return self._select("outcomes", database.NEWEST, (), rows.outcome, rows.columns(PastOutcome))

    def takes(self, since: float) -> list[PastTake]:
        """All takes since then, the oldest first. Raises StateError."""
        return self._select("outcomes", database.TAKEN, (since,), rows.take, "time, status, details")

    def kept_out(self) -> dict[str, KeptOut]:
        """What the last runs could not get, as others had it, by its path; nothing where that cannot be read."""
        found: list[tuple[str, KeptOut]] = []
        with suppress(StateError), self._looking() as connection:
            if connection is not None and database.has(connection, "kept_out"):
                found, _ = rows.read(connection, "SELECT * FROM kept_out", (), rows.kept_out)
        return dict(found)

    def damage(self) -> str | None:
        """What SQLite's own check finds; None: nothing, or there is no history. Raises StateError."""
        with self._looking() as connection:
            found = connection.execute("PRAGMA integrity_check(3)").fetchall() if connection else []
        words = [str(row[0]) for row in found]
        return None if words in ([], ["ok"]) else "; ".join(words)

    def _known(self, connection: sqlite3.Connection) -> tuple[dict[str, LogHistory], int]:
        """What is known of each log, and how many rows are odd."""
        if not self._format(connection):
            return {}, 0
        return rows.logs(connection, self._tables(connection))

    def _format(self, connection: sqlite3.Connection) -> int:
        found = database.version(connection)
        if found > database.VERSION:
            newer = f"written by a newer logrotor (format {found}, this one knows {database.VERSION})"
            raise StateError(self._problem(newer, "upgrade logrotor, or set another state_dir"))
        return found

    def _tables(self, connection: sqlite3.Connection) -> list[str]:
        return [table for table in rows.TABLES if database.has(connection, table)]


class RunHistory(History):
    """The history open for a run; only the holder of the lock has one.

    What cannot be written is kept in ``problems`` and does not stop the rotation; only the record of a
    copytruncate in flight must be written, so its methods raise OSError.
    """

    def __init__(
        self,
        state_dir: str,
        *,
        patience: float = database.PATIENCE,
        tell: Callable[[str, str], object] = lambda event, detail: None,
    ) -> None:
        super().__init__(state_dir)
        self._patience = patience  # seconds to wait for another program that has the file locked
        self._tell = tell  # by the name of an event: a damaged file has been set aside, or rows were deleted
        self.problems: list[Problem] = []
        self.replaced: str | None = None  # where a damaged file was set aside
        self._lost: sqlite3.Error | OSError | None = None  # why nothing of this run can be kept
        self._busy = False  # another program did not let go of it: what may be left undone is not waited for again
        self._connection: sqlite3.Connection | None = None
        self._odd: dict[str, list[int]] = {}  # rows that nobody can read
        self._begun: tuple[float, int, bool] | None = None  # the run: when, its process, was it forced
        self._run: int | None = None
        self._first: int | None = None  # the last record of an archive before the run
        try:
            self._connection = self._open()
        except (sqlite3.Error, OSError) as error:  # a full disk must not stop the rotation that would empty it
            self._lost = error
            what = f"cannot be opened, and the run went on without it: {error}"
            self.problems.append(self._problem(what, database.way_out(error)))
        self._delete_odd()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def begin_copy(self, record: CopyInFlight) -> None:
        """Remember a copytruncate before its archive is published, and whether the head of the log bears the mark."""
        self._must(rows.COPY, rows.copy_row(record))

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
        self._begun = (started, os.getpid(), forced)
        insert = "INSERT INTO runs (started, pid, forced) VALUES (?, ?, ?)"
        self.keep((insert, [self._begun]), begun)
        with suppress(sqlite3.Error, AttributeError):  # not opened
            ask = "SELECT max(runs.id), (SELECT ifnull(max(id), 0) FROM archives) FROM runs"
            self._run, self._first = self._connection.execute(ask).fetchone()  # type: ignore[union-attr]

    def found_unclear(self, paths: Iterable[str]) -> None:
        """Remember files that may be logs: a rotation beside one does not make it an archive."""
        rows = [(os.fsencode(path), os.lstat(path).st_ino) for path in paths if os.path.lexists(path)]
        self.keep(("INSERT OR REPLACE INTO unclear VALUES (?, ?)", rows))

    def keep_out(self, paths: Collection[str], now: float, *, only: Sequence[str] = ()) -> dict[str, KeptOut]:
        """These could not be got in this run; returns since when. ``only``: not all was tried, so others stay.

        A run that had nothing to do meanwhile was kept out by nobody.
        """
        before, found = repeats.last_look(os.path.dirname(self.path), only), self.kept_out()
        known = {path: each for path, each in found.items() if before is None or before - 1 <= each.last <= now}
        met = {path: known.get(path, KeptOut(now, now, 0)) for path in paths}
        met = {path: KeptOut(each.since, now, each.runs + 1) for path, each in met.items()}
        kept = {**known, **met} if only else met
        if kept or found:
            values = [(os.fsencode(path), each.since, each.last, each.runs) for path, each in kept.items()]
            self.keep(("DELETE FROM kept_out", [()]), ("INSERT INTO kept_out VALUES (?, ?, ?, ?)", values))
        return met

    def run_completed(
        self,
        now: float,
        outcomes: Collection[Outcome],
        counts: Mapping[str, int],
        code: int,
        *,
        only: Sequence[str] = (),
    ) -> None:
        last = repeats.last_look(os.path.dirname(self.path), only)
        outcomes, again = repeats.counted(self._connection, self._run, now, outcomes, last)
        ended = rows.end_of_run(self._run, now, outcomes, counts, code)
        archives = archived.of_run(outcomes, self._run or 0, self._first)
        self.keep(*again, *ended, *archives, *forgetting.old(now, len(outcomes)))
        self.keep(*forgetting.gone(self._connection, self._run or 0, now, len(outcomes)))

    def _must(self, statement: str, row: tuple[Any, ...]) -> None:
        try:
            if self._lost is not None or self._connection is None:
                raise self._lost or sqlite3.ProgrammingError("closed")
            self._commit([(statement, [row])], self._patience)
        except sqlite3.Error as error:
            raise OSError(database.errno_of(error), f"{error}", self.path) from error

    def keep(self, *work: Work) -> None:
        """All of it in one commit."""
        if self._connection is None or not any(rows for _, rows in work):
            return
        try:
            self._commit(work, 0.0 if self._busy else self._patience)
        except (sqlite3.Error, OSError) as error:
            # A backup, or a suspended reader: a wait for each archive would hold the lock of the run for minutes.
            self._busy = self._busy or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            what = f"cannot be written, and the run went on without it: {error}"
            problem = self._problem(what, database.way_out(error))
            if problem not in self.problems:
                self.problems.append(problem)

    def _commit(self, work: Iterable[Work], patience: float) -> None:
        """Once more in a new file, where it shows that this one is damaged. Raises OSError, sqlite3.Error."""
        try:
            self._write(work, patience)
        except sqlite3.Error as error:
            if not database.is_damage(error) or self.replaced is not None:
                raise
            self._connection = self._begin_anew(error)
            if self._begun is not None:
                again = "INSERT OR IGNORE INTO runs (id, started, pid, forced) VALUES (?, ?, ?, ?)"
                self._write([(again, [(self._run, *self._begun)])], patience)
            self._write(work, patience)

    def _write(self, work: Iterable[Work], patience: float) -> None:
        if self._connection is not None:
            with database.transaction(self._connection, patience):
                for statement, rows in work:
                    self._connection.executemany(statement, rows)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.Error as error:
            if not database.is_damage(error):
                raise
            return self._begin_anew(error)

    def _connect(self) -> sqlite3.Connection:
        connection = database.to_write(self.path)
        try:
            database.upgrade(connection)
            self._format(connection)
            checked = database.is_checked_now(connection, self.path)
            if checked:
                database.refuse_damage(connection)
            looked = checked or not recalled.is_large(connection)
            self._odd = rows.astray(connection) | (rows.odd(connection, self._tables(connection)) if looked else {})
        except BaseException:
            connection.close()
            raise
        return connection

    def _delete_odd(self) -> None:
        """A row that nobody can read is no damage of the others: it alone goes."""
        if not self._odd:
            return
        numbers, before = self._odd, len(self.problems)
        self.keep(*((f"DELETE FROM {table} WHERE rowid = ?", [(n,) for n in of]) for table, of in numbers.items()))
        if len(self.problems) == before and self.replaced is None:
            what = ", ".join(f"{text.count(len(of), 'row')} of {table}" for table, of in numbers.items())
            self._tell("state.repaired", f"{self.path}: {what} could not be read and went; all others are kept")

    def _begin_anew(self, error: sqlite3.Error) -> sqlite3.Connection:
        """In a new file, with what could still be read: a copy in flight that is forgotten would be copied again, line
        for line. Raises OSError, sqlite3.Error."""
        self.close()
        aside, saved = salvage.renew(self.path)
        kept = f"{text.count(saved, 'row')} of it could be read, and went into a new one" if saved else _NOTHING_SAVED
        self.replaced = f"{self.path} was damaged ({error}); it was set aside as {aside}; {kept}"
        self._tell("state.replaced", self.replaced)
        return self._connect()
