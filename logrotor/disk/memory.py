"""What is remembered between runs: the history, and the one record that recovery needs. One SQLite file.

``journal_mode=DELETE``, because a WAL reader creates files; ``synchronous=EXTRA``, because a copytruncate in
flight must survive a power cut. A lost or damaged file costs a guess about schedules, never data.
"""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import msgspec
from msgspec.structs import replace

from logrotor.disk import history, state
from logrotor.disk.calls import change
from logrotor.disk.history import quoted, text
from logrotor.errors import StateError
from logrotor.model import CopyInFlight, LogMemory, Outcome, Problem

VERSION = 2
_SCHEMA = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, started REAL, ended REAL, pid INTEGER, forced INTEGER, exit INTEGER,
                   rotated INTEGER, failed INTEGER, deferred INTEGER, removed INTEGER);
CREATE TABLE outcomes (id INTEGER PRIMARY KEY, run INTEGER, time REAL, log BLOB, action TEXT, status TEXT,
                       name BLOB, reason TEXT, errno INTEGER, details TEXT);
CREATE INDEX outcomes_by_log ON outcomes (log, time);
CREATE TABLE logs (path BLOB PRIMARY KEY, last_rotation REAL, request_delivered REAL, request_failed REAL);
CREATE TABLE archive_dirs (path BLOB, directory BLOB, PRIMARY KEY (path, directory));
CREATE TABLE hooked (path BLOB, inode INTEGER, mtime_ns INTEGER, PRIMARY KEY (path, inode, mtime_ns));
CREATE TABLE in_flight (path BLOB PRIMARY KEY, inode INTEGER, birth REAL, archive_inode INTEGER,
                        length INTEGER, stage TEXT, protocol TEXT, archive_mtime_ns INTEGER, head INTEGER);
"""
_UPGRADE = """
ALTER TABLE in_flight ADD COLUMN archive_mtime_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE in_flight ADD COLUMN head INTEGER NOT NULL DEFAULT 0;
"""  # from version 1
_NOTHING = LogMemory()
_PATIENCE = 10.0  # seconds to wait for another program that reads or writes the history


class Recollection:
    """Everything known of all logs, read at once. ``note``: why nothing is known, if something went wrong."""

    def __init__(self, logs: Mapping[str, LogMemory], note: str | None = None) -> None:
        self._logs = logs
        self.note = note

    def of(self, path: str) -> LogMemory:
        return self._logs.get(path, _NOTHING)

    @cached_property
    def keepers(self) -> Mapping[tuple[str, str], str]:
        """Which log has archives of the name BASE in a directory other than its own: (directory, BASE) to its path."""
        return {(d, os.path.basename(path)): path for path, log in self._logs.items() for d in log.archive_dirs}


def recall(state_dir: str) -> Recollection:
    """Read the history without changing anything. Raises StateError if a newer logrotor wrote it."""
    path = os.path.join(state_dir, state.HISTORY)
    if not os.path.exists(path):
        return Recollection({})
    try:
        connection = sqlite3.connect(f"file:{quoted(path)}?mode=ro", uri=True, timeout=5)
        try:
            return _read(connection, path)
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Recollection({}, f"{path}: cannot be read ({error}); schedules are guessed from the files")


class Memory:
    """The history open for writing; only the holder of the lock has one.

    What cannot be written is kept in ``problems`` and does not stop the rotation; only the record of a
    copytruncate in flight must be written, so its methods raise.
    """

    def __init__(self, state_dir: str) -> None:
        self.path = os.path.join(state_dir, state.HISTORY)
        self.problems: list[str] = []
        self.replaced: str | None = None  # where a damaged file was set aside
        self._lost: sqlite3.Error | OSError | None = None  # why nothing of this run can be kept
        self._busy = False  # another program did not let go of it: what may be left undone is not waited for again
        self._connection = self._open()
        self._run: int | None = None

    def close(self) -> None:
        self._connection.close()

    def recall(self) -> Recollection:
        if self._lost is not None:
            return recall(os.path.dirname(self.path))
        try:
            return _read(self._connection, self.path)
        except sqlite3.Error as error:
            return Recollection({}, f"{self.path}: cannot be read ({error})")

    # ------------------------------------------------------------ what recovery needs

    def begin_copy(self, record: CopyInFlight) -> None:
        """Remember a copytruncate before its archive is published. Raises OSError."""
        row = (
            os.fsencode(record.path), record.inode, record.birth, record.archive_inode,
            record.length, record.stage, record.protocol, record.archive_mtime_ns, record.head,
        )  # fmt: skip
        self._must("INSERT OR REPLACE INTO in_flight VALUES (?,?,?,?,?,?,?,?,?)", row)

    def mark_copy(self, path: str) -> None:
        """The head of the log bears the mark by now. Raises OSError."""
        self._must("UPDATE in_flight SET stage = 'marked' WHERE path = ?", (os.fsencode(path),))

    def end_copy(self, path: str) -> None:
        """Raises OSError."""
        self._must("DELETE FROM in_flight WHERE path = ?", (os.fsencode(path),))

    # ------------------------------------------------------------ what helps

    def rotated(self, paths: Iterable[str], now: float) -> None:
        self._may(
            "INSERT INTO logs (path, last_rotation) VALUES (?, ?) "
            "ON CONFLICT (path) DO UPDATE SET last_rotation = excluded.last_rotation",
            [(os.fsencode(path), now) for path in paths],
        )

    def requested(self, paths: Iterable[str], now: float, delivered: bool) -> None:
        column = "request_delivered" if delivered else "request_failed"
        other = ", request_failed = NULL" if delivered else ""
        self._may(
            f"INSERT INTO logs (path, {column}) VALUES (?, ?) "
            f"ON CONFLICT (path) DO UPDATE SET {column} = excluded.{column}{other}",
            [(os.fsencode(path), now) for path in paths],
        )

    def archives_in(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Remember which directories hold archives of which log, for the day when ``archive_dir`` is switched off.

        A directory has archives of one log of a name: another one that had some there has none left.
        """
        rows = [(os.fsencode(path), os.fsencode(directory)) for path, directory in pairs]
        keepers = {(directory, os.path.basename(path)): path for path, directory in rows}

        def others() -> Iterator[tuple[bytes, bytes]]:
            for path, directory in self._connection.execute("SELECT path, directory FROM archive_dirs").fetchall():
                if keepers.get((directory, os.path.basename(path)), path) != path:
                    yield path, directory

        if rows:
            forget = "DELETE FROM archive_dirs WHERE path = ? AND directory = ?"
            self._together((forget, others()), ("INSERT OR IGNORE INTO archive_dirs VALUES (?, ?)", rows))

    def hooked(self, path: str, inode: int, mtime_ns: int) -> None:
        self._may("INSERT OR IGNORE INTO hooked VALUES (?, ?, ?)", [(os.fsencode(path), inode, mtime_ns)])

    def forget_hooks(self, path: str, inode: int) -> None:
        self._may("DELETE FROM hooked WHERE path = ? AND inode = ?", [(os.fsencode(path), inode)])

    def run_started(self, started: float, forced: bool) -> None:
        self._may("INSERT INTO runs (started, pid, forced) VALUES (?, ?, ?)", [(started, os.getpid(), forced)])

    def run_completed(self, now: float, outcomes: Iterable[Outcome], counts: Mapping[str, int], exit_code: int) -> None:
        run = self._last_run()
        rows = (
            (
                run, now, os.fsencode(o.log), o.action, o.status.value, os.fsencode(o.name), text(o.reason), o.errno,
                _packed(o.record),
            )
            for o in outcomes
        )  # fmt: skip
        ended = (now, exit_code, *(counts[k] for k in ("rotated", "failed", "deferred", "removed")), run)
        self._together(
            (
                "INSERT INTO outcomes (run, time, log, action, status, name, reason, errno, details) "
                "VALUES (?,?,?,?,?,?,?,?,?)",
                rows,
            ),
            (
                "UPDATE runs SET ended = ?, exit = ?, rotated = ?, failed = ?, deferred = ?, removed = ? WHERE id = ?",
                [ended],
            ),
            *history.pruning(now),
        )

    # ------------------------------------------------------------ inside

    def _last_run(self) -> int | None:
        try:
            row = self._connection.execute("SELECT max(id) FROM runs").fetchone()
        except sqlite3.Error:
            return None
        return row[0] if row else None

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except (sqlite3.OperationalError, OSError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:  # a database, but not our tables
                return self._start_anew(error)
            return self._go_without(error)
        except sqlite3.DatabaseError as error:
            return self._start_anew(error)

    def _start_anew(self, error: sqlite3.Error | OSError) -> sqlite3.Connection:
        try:
            self._set_aside(error)
            return self._connect()
        except (sqlite3.Error, OSError) as another:
            return self._go_without(another)

    def _go_without(self, error: sqlite3.Error | OSError) -> sqlite3.Connection:
        """A table in memory for this run: a full disk must not stop the rotation that would empty it."""
        self._lost = error
        self.problems.append(f"{self.path}: cannot be opened: {error}; the run went on without it")
        connection = sqlite3.connect(":memory:")
        connection.executescript(_SCHEMA + f"PRAGMA user_version = {VERSION}")
        return connection

    def _connect(self) -> sqlite3.Connection:
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(change("create", os.open, self.path, flags, 0o600))
        except FileExistsError:
            pass
        connection = sqlite3.connect(self.path, timeout=_PATIENCE)
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = EXTRA")
            self._upgrade(connection)
            _read(connection, self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found < VERSION:
            script = f"BEGIN; {_UPGRADE if found else _SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"
            change("commit", connection.executescript, script)

    def _set_aside(self, error: sqlite3.Error | OSError) -> None:
        names = (f"{self.path}.damaged-{number}" for number in itertools.count(1))
        aside = next(name for name in names if not os.path.lexists(name))
        change("rename", os.rename, self.path, aside)
        self.replaced = f"{self.path} was damaged ({error}); it was set aside as {aside}; schedules are guessed"

    def _must(self, statement: str, row: tuple[Any, ...]) -> None:
        try:
            if self._lost is not None:
                raise self._lost
            self._wait(_PATIENCE)
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute(statement, row)
                change("commit", self._connection.commit)
        except sqlite3.Error as error:
            raise OSError(_errno(error), f"{error}", self.path) from error

    def _may(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            self._together((statement, rows))

    def _together(self, *work: tuple[str, Iterable[tuple[Any, ...]]]) -> None:
        """All of it in one commit."""
        try:
            self._wait(0.0 if self._busy else _PATIENCE)
            with self._connection:
                for statement, rows in work:
                    self._connection.executemany(statement, rows)
                change("commit", self._connection.commit)
        except (sqlite3.Error, OSError) as error:
            # A backup, or a suspended reader: a wait for each archive would hold the lock of the run for minutes.
            self._busy = self._busy or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            problem = f"{self.path}: cannot be written: {error}; the run went on without it"
            if problem not in self.problems:
                self.problems.append(problem)

    def _wait(self, seconds: float) -> None:
        self._connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")


def _read(connection: sqlite3.Connection, path: str) -> Recollection:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        newer = f"written by a newer logrotor (format {found}, this one knows {VERSION})"
        raise StateError(Problem(subject=path, problem=newer, advice="upgrade logrotor, or set another state_dir"))
    if found == 0:
        return Recollection({})
    try:
        return Recollection(_logs(connection))
    except (TypeError, ValueError) as error:  # SQLite keeps any value in any column
        raise sqlite3.DatabaseError(f"odd values: {error}") from error


def _logs(connection: sqlite3.Connection) -> dict[str, LogMemory]:
    plain = {
        os.fsdecode(path): LogMemory(_moment(rotated), _moment(delivered), _moment(failed))
        for path, rotated, delivered, failed in connection.execute(
            "SELECT path, last_rotation, request_delivered, request_failed FROM logs"
        )
    }
    logs: dict[str, dict[str, Any]] = {}
    for blob, directory in connection.execute("SELECT path, directory FROM archive_dirs ORDER BY rowid"):
        known = logs.setdefault(os.fsdecode(blob), {})
        known["archive_dirs"] = (*known.get("archive_dirs", ()), os.fsdecode(directory))
    for blob, inode, mtime_ns in connection.execute("SELECT path, inode, mtime_ns FROM hooked"):
        known = logs.setdefault(os.fsdecode(blob), {})
        known["hooked"] = known.get("hooked", frozenset()) | {(inode, mtime_ns)}
    for row in connection.execute("SELECT * FROM in_flight"):
        values = dict(zip(CopyInFlight.__struct_fields__, (os.fsdecode(row[0]), *row[1:]), strict=False))
        record = msgspec.convert(values, CopyInFlight)  # raises ValueError for an odd type
        logs.setdefault(record.path, {})["in_flight"] = record
    return {**plain, **{key: replace(plain.get(key, _NOTHING), **known) for key, known in logs.items()}}


def _packed(details: Mapping[str, Any]) -> str:
    """As JSON."""
    try:
        return msgspec.json.encode(details).decode()
    except UnicodeEncodeError:  # a file name of undecodable bytes
        import json

        return json.dumps(dict(details))


def _moment(value: object) -> float | None:
    if value is None or isinstance(value, (int, float)):
        return value
    raise TypeError(f"{value!r} is no time")


def _errno(error: sqlite3.Error) -> int:
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return errno.ENOSPC if full else errno.EIO
