"""The database behind the history: connections, tables and their upgrade, and what counts as damage.

``journal_mode=DELETE``, because a WAL reader creates files; ``synchronous=EXTRA``, because a copytruncate in
flight must survive a power cut.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any

from logrotor.disk import state
from logrotor.disk.calls import change
from logrotor.errors import MAKE_ROOM, StateError

Work = tuple[str, Collection[Any]]  # a statement, and the rows that it is carried out for

PATIENCE = 10.0  # seconds to wait for another program that reads or writes the history
KEEP = 90 * 86400.0  # seconds that a row is kept
MOST = 200_000  # rows of outcomes: a writer that never lets go makes one a minute for each of its archives

# Of the outcomes that were done or failed, the newest 60 of each log, or fewer where there are very many logs: a page,
# metrics and a status are made in each run, maybe, and a row takes 3 KiB once it is read.
NEWEST = (
    "id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY log ORDER BY id DESC) AS place FROM outcomes "
    "WHERE status IN ('done', 'failed')) "
    "WHERE place <= max(4, min(60, 40000 / (SELECT 1 + count(DISTINCT log) FROM outcomes))))"
)
TAKEN = (
    "time >= ? AND ((action IN ('take', 'copytruncate') AND status != 'skipped') "
    "OR (action = 'recover' AND status = 'done' AND details LIKE '%\"inode\"%'))"
)

# The one table that jobs write, without the lock of a run. It has no version: whoever comes first makes it, so an old
# cron line and a new worker, or the other way round, can use one file.
ATTEMPTS = """
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, job TEXT NOT NULL, number INTEGER NOT NULL, engine TEXT, queue TEXT, host TEXT,
    started REAL NOT NULL, ended REAL, ending TEXT NOT NULL, final INTEGER NOT NULL DEFAULT 0, detail TEXT,
    pid INTEGER, payload TEXT, settled TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS attempts_by_job ON attempts (job);
CREATE INDEX IF NOT EXISTS attempts_by_time ON attempts (started);
CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY, queue TEXT NOT NULL, cause TEXT NOT NULL, logs TEXT NOT NULL, job TEXT NOT NULL,
    number INTEGER NOT NULL, ending TEXT NOT NULL, detail TEXT, payload TEXT, first REAL NOT NULL, last REAL NOT NULL,
    count INTEGER NOT NULL, settled REAL);
CREATE TABLE IF NOT EXISTS totals (
    queue TEXT NOT NULL, ending TEXT NOT NULL, within REAL NOT NULL, attempts INTEGER NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (queue, ending, within));
"""

# Files of which a run could not tell whether they are logs or archives: no later rotation makes them archives; and the
# locks and temps that keep us out, since when and in how many runs. These have no version either: an older logrotor
# does not know them, and goes on.
UNCLEAR = """
CREATE TABLE IF NOT EXISTS unclear (path BLOB PRIMARY KEY, inode INTEGER);
CREATE INDEX IF NOT EXISTS archive_dirs_by_directory ON archive_dirs (directory);
CREATE TABLE IF NOT EXISTS kept_out (path BLOB PRIMARY KEY, since REAL NOT NULL, last REAL NOT NULL,
                                     runs INTEGER NOT NULL);
"""

# What archives hold (disk/archived.py); without a version as well.
ARCHIVES = """
CREATE TABLE IF NOT EXISTS archives (
    id INTEGER PRIMARY KEY, log BLOB NOT NULL, directory BLOB NOT NULL, name BLOB NOT NULL, inode INTEGER NOT NULL,
    born REAL, taken REAL, ordered INTEGER NOT NULL DEFAULT 0, bytes INTEGER, lines INTEGER, xxh128 TEXT,
    leaving INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS archives_by_log ON archives (log, id);
CREATE INDEX IF NOT EXISTS archives_by_inode ON archives (inode);
"""
_UNVERSIONED = frozenset({"attempts", "faults", "totals", "unclear", "kept_out", "archives"})

# STEPS[n] upgrades format n to n + 1; only the holder of the lock takes them. A logrotor that knows fewer steps refuses
# the file, and its cron line fails from then on: so a step is only for tables that an older one would misread.
STEPS = (
    """
CREATE TABLE runs (id INTEGER PRIMARY KEY, started REAL, ended REAL, pid INTEGER, forced INTEGER, exit INTEGER,
                   rotated INTEGER, failed INTEGER, deferred INTEGER, removed INTEGER);
CREATE TABLE outcomes (id INTEGER PRIMARY KEY, run INTEGER, time REAL, log BLOB, action TEXT, status TEXT,
                       name BLOB, reason TEXT, errno INTEGER, details TEXT);
CREATE INDEX outcomes_by_log ON outcomes (log, time);
CREATE TABLE logs (path BLOB PRIMARY KEY, last_rotation REAL, request_delivered REAL, request_failed REAL);
CREATE TABLE archive_dirs (path BLOB, directory BLOB, PRIMARY KEY (path, directory));
CREATE TABLE hooked (path BLOB, inode INTEGER, mtime_ns INTEGER, PRIMARY KEY (path, inode, mtime_ns));
CREATE TABLE in_flight (path BLOB PRIMARY KEY, inode INTEGER, birth REAL, archive_inode INTEGER,
                        length INTEGER, stage TEXT, protocol TEXT);
"""
    + ATTEMPTS,
    """
ALTER TABLE in_flight ADD COLUMN archive_mtime_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE in_flight ADD COLUMN head INTEGER NOT NULL DEFAULT 0;
""",
)
VERSION = len(STEPS)
OURS = 0x6C720000  # application_id less the version: one changed byte does not make a file that a newer logrotor wrote

BESIDE = ("", "-journal", "-wal", "-shm")  # the file, and those that SQLite has beside it
_DELETE, _WAL = 1, 2  # journal modes, as its head has them
_HEAD = 100  # bytes; https://www.sqlite.org/fileformat.html
_QUICK, _SELDOM = 8 << 20, 50  # bytes that are checked in milliseconds; one run of so many checks more
_STEPS, _MOST_STEPS = 10**6, 500  # 500 million steps of SQLite's machine: seconds, and all that is ours takes fewer
_PLAIN = frozenset("/-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # unreserved: RFC 3986, 2.3


# ---------------------------------------------------------------- connections

_PATIENCE = 60  # looks at an empty file, which take 3 seconds
_left_empty: set[tuple[int, int]] = set()  # those that were waited for, once in a process


def is_left_empty(path: str) -> bool:
    """Empty for longer than a run or a job needs that has just made the file, and writes it in its first commit."""
    for _ in range(_PATIENCE):
        found = os.stat(path)
        if found.st_size or (found.st_dev, found.st_ino) in _left_empty:
            return not found.st_size
        time.sleep(0.05)
    _left_empty.add((found.st_dev, found.st_ino))
    return True


def to_look(path: str) -> sqlite3.Connection:
    """Nothing is created, repaired or upgraded. Raises OSError, sqlite3.Error."""
    refuse_odd(path)
    if _journal_modes(path) == (_WAL, _WAL):  # SQLite would make two files
        raise sqlite3.DatabaseError("another program has changed its journal mode")
    connection = sqlite3.connect(f"file:{quoted(path)}?mode=ro", uri=True, timeout=5)
    try:
        _settle(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def to_write(path: str, patience: float = PATIENCE) -> sqlite3.Connection:
    """Create the file if need be (0600); wait ``patience`` seconds for others. Raises OSError, sqlite3.Error."""
    refuse_odd(path)
    with suppress(FileExistsError):
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(change("create", os.open, path, flags, 0o600))
    connection = sqlite3.connect(path, timeout=patience, isolation_level=None)
    try:
        _settle(connection)
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        if mode != "delete":
            raise sqlite3.DatabaseError(f"its journal mode is {mode}")
        connection.execute("PRAGMA synchronous = EXTRA")
    except BaseException:
        connection.close()
        raise
    return connection


def refuse_odd(path: str) -> None:
    """Raise DatabaseError where SQLite would follow a link, wait for a FIFO, or refuse to write for ever."""
    for name in BESIDE:
        try:
            state.refuse_odd(path + name)
        except StateError as error:
            raise sqlite3.DatabaseError(f"{os.path.basename(path + name)}: {error.problem.problem}") from error
    modes = {*_journal_modes(path)}
    if not modes <= {_DELETE, _WAL}:
        raise sqlite3.DatabaseError("file is not a database")
    if _WAL not in modes and any(os.path.lexists(path + name) for name in ("-wal", "-shm")):
        raise sqlite3.DatabaseError("beside it lies the write-ahead log of another file")


def _journal_modes(path: str) -> tuple[int, int]:
    """How the file is to be written and read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return _DELETE, _DELETE
    try:
        head = os.pread(fd, _HEAD, 0)
    finally:
        os.close(fd)
    return (head[18], head[19]) if len(head) == _HEAD else (_DELETE, _DELETE)


def bound(connection: sqlite3.Connection) -> None:
    """Let nothing that such a file holds keep us for ever."""
    connection.row_factory = sqlite3.Row
    steps = itertools.count(1)
    connection.set_progress_handler(lambda: next(steps) > _MOST_STEPS, _STEPS)


def _settle(connection: sqlite3.Connection) -> None:
    bound(connection)
    strange = "SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger')"
    try:
        found = connection.execute(strange).fetchone()
    except UnicodeDecodeError as error:  # in what SQLite says of a schema that is damaged
        raise sqlite3.DatabaseError("malformed database schema") from error
    if found is not None:
        raise sqlite3.DatabaseError(f"{found[0]} is not ours")


@contextmanager
def transaction(connection: sqlite3.Connection, patience: float) -> Iterator[None]:
    """Commit at the end, through the gate; roll back if anything is raised. Waits ``patience`` seconds for others."""
    connection.execute(f"PRAGMA busy_timeout = {patience * 1000:.0f}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        change("commit", connection.execute, "COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            connection.execute("ROLLBACK")
        raise


def quoted(path: str) -> str:
    """A path as it stands in a URI of SQLite (https://www.sqlite.org/uri.html)."""
    # urllib.parse.quote does the same, and takes 2 ms of every start.
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in os.fsencode(path))


def is_damage(error: sqlite3.Error | OSError) -> bool:
    """Not a database, or not our tables; anything else may be gone at the next run."""
    if isinstance(error, sqlite3.OperationalError):
        # None: Python's own, of text that is not UTF-8
        return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_INTERRUPT, None)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.ProgrammingError)


def is_checked_now(connection: sqlite3.Connection, path: str) -> bool:
    """A large file is checked by one run of fifty."""
    last = connection.execute("SELECT max(id) FROM runs").fetchone()[0]
    return os.path.getsize(path) <= _QUICK or not isinstance(last, int) or last % _SELDOM == 0


def refuse_damage(connection: sqlite3.Connection) -> None:
    """Raise DatabaseError for what SQLite's own check finds."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found is None or found[0] != "ok":
        raise sqlite3.DatabaseError(f"{found and found[0]}")


def errno_of(error: sqlite3.Error) -> int:
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return errno.ENOSPC if full else errno.EIO


def way_out(error: sqlite3.Error | OSError) -> str:
    """What to do where there was no room; nothing where that is not the cause."""
    number = errno_of(error) if isinstance(error, sqlite3.Error) else error.errno
    return MAKE_ROOM if number in (errno.ENOSPC, errno.EDQUOT) else ""


# ---------------------------------------------------------------- tables


def version(connection: sqlite3.Connection) -> int:
    """0: the tables of the runs have not been made. Raises DatabaseError where that was changed by itself."""
    found, mark = _number(connection, "user_version"), _number(connection, "application_id")
    if not 0 <= found < 0x10000 or (found > VERSION and mark != OURS + found):  # whoever knows more bears its mark
        raise sqlite3.DatabaseError(f"format {found}, which it cannot have")
    return found


def _number(connection: sqlite3.Connection, name: str) -> int:
    found: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return found


def has(connection: sqlite3.Connection, table: str) -> bool:
    """Has the table been made? A job may have come before the first run, and made its own only."""
    if table not in _UNVERSIONED:
        return version(connection) > 0
    return is_made(connection, table)


def is_made(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


def upgrade(connection: sqlite3.Connection) -> None:
    """Take the steps that the file lacks, all or none."""
    found = version(connection)
    if found < VERSION:
        numbers = f"PRAGMA user_version = {VERSION}; PRAGMA application_id = {OURS + VERSION};"
        script = f"BEGIN; {''.join(STEPS[found:])} {UNCLEAR} {ARCHIVES} {numbers} COMMIT;"
        change("commit", connection.executescript, script)
    elif found == VERSION:
        if is_made(connection, "in_flight"):  # else it is another program's
            make_unversioned(connection)
        _refuse_other_tables(connection)
        if _number(connection, "application_id") != OURS + VERSION:  # an older logrotor made it
            change("commit", connection.execute, f"PRAGMA application_id = {OURS + VERSION}")


def _refuse_other_tables(connection: sqlite3.Connection) -> None:
    """Raise DatabaseError where the columns are not ours. A newer logrotor may know more of the unversioned."""
    for table, expected in _columns().items():
        found = _texts(connection, f"pragma_table_info('{table}')", "name")
        more = found and table in _UNVERSIONED and {*expected} <= {*found}  # a newer logrotor may know more
        none = not found and table in _UNVERSIONED
        if found != expected and not more and not none:
            raise sqlite3.DatabaseError(f"the table {table} is not ours")


@functools.cache
def _columns() -> Mapping[str, list[str]]:
    """Those of each table, as SQLite reads the statements above."""
    with closing(sqlite3.connect(":memory:")) as ours:
        ours.executescript("".join(STEPS) + UNCLEAR + ARCHIVES)
        tables = _texts(ours, "sqlite_master", "name", "type = 'table'")
        return {table: _texts(ours, f"pragma_table_info('{table}')", "name") for table in tables}


def _texts(connection: sqlite3.Connection, table: str, column: str, where: str = "1") -> list[str]:
    return [row[0] for row in connection.execute(f"SELECT {column} FROM {table} WHERE {where}")]


def make_unversioned(connection: sqlite3.Connection) -> None:
    """The tables that an older logrotor did not make."""
    if not all(is_made(connection, each) for each in ("archives", "archive_dirs_by_directory", "kept_out")):
        change("commit", connection.executescript, UNCLEAR + ARCHIVES)


def is_hooked(connection: sqlite3.Connection | None, path: str, inode: int, mtime_ns: int) -> bool:
    """Has on_archive succeeded for this archive by now, in whatever run? What cannot be read counts as no."""
    ask = "SELECT 1 FROM hooked WHERE path = ? AND inode = ? AND mtime_ns = ?"
    with suppress(sqlite3.Error):
        values = os.fsencode(path), inode, mtime_ns
        return connection is not None and connection.execute(ask, values).fetchone() is not None
    return False
