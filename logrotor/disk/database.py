"""The database behind the history: connections, tables and their upgrade, rows as values.

``journal_mode=DELETE``, because a WAL reader creates files; ``synchronous=EXTRA``, because a copytruncate in
flight must survive a power cut.
"""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from logrotor.disk.calls import change
from logrotor.errors import MAKE_ROOM
from logrotor.model import CopyInFlight, LogHistory, Outcome, PastOutcome, PastTake

T = TypeVar("T")
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
CREATE TABLE IF NOT EXISTS refused (queue TEXT PRIMARY KEY, forgotten INTEGER NOT NULL);
"""

# Files of which a run could not tell whether they are logs or archives: no later rotation makes them archives. It has
# no version either: an older logrotor does not know it, and goes on.
UNCLEAR = "CREATE TABLE IF NOT EXISTS unclear (path BLOB PRIMARY KEY, inode INTEGER);"

# What archives hold (disk/archived.py); without a version as well.
ARCHIVES = """
CREATE TABLE IF NOT EXISTS archives (
    id INTEGER PRIMARY KEY, log BLOB NOT NULL, directory BLOB NOT NULL, name BLOB NOT NULL, inode INTEGER NOT NULL,
    born REAL, taken REAL, ordered INTEGER NOT NULL DEFAULT 0, bytes INTEGER, lines INTEGER, xxh128 TEXT,
    leaving INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS archives_by_log ON archives (log, id);
CREATE INDEX IF NOT EXISTS archives_by_inode ON archives (inode);
"""
_UNVERSIONED = frozenset({"attempts", "refused", "unclear", "archives"})

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

_NOTHING = LogHistory()
_PLAIN = frozenset("/-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # unreserved: RFC 3986, 2.3


# ---------------------------------------------------------------- connections

_PATIENCE = 60  # looks at an empty file, which take 3 seconds


def is_left_empty(path: str) -> bool:
    """Empty for longer than a run or a job needs that has just made the file, and writes it in its first commit."""
    for _ in range(_PATIENCE):
        if os.stat(path).st_size:
            return False
        time.sleep(0.05)
    return True


def to_look(path: str) -> sqlite3.Connection:
    """Nothing is created, repaired or upgraded. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"file:{quoted(path)}?mode=ro", uri=True, timeout=5)
    connection.row_factory = sqlite3.Row
    return connection


def to_write(path: str) -> sqlite3.Connection:
    """Create the file if need be (0600). Raises OSError, sqlite3.Error."""
    with suppress(FileExistsError):
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(change("create", os.open, path, flags, 0o600))
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")
    except BaseException:
        connection.close()
        raise
    return connection


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


def is_damage(error: sqlite3.Error) -> bool:
    """Not a database, or not our tables; anything else may be gone at the next run."""
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return isinstance(error, sqlite3.DatabaseError)


def set_aside(path: str) -> str:
    """Give a damaged file another name; returns that."""
    names = (f"{path}.damaged-{number}" for number in itertools.count(1))
    aside = next(name for name in names if not os.path.lexists(name))
    change("rename", os.rename, path, aside)
    return aside


def errno_of(error: sqlite3.Error) -> int:
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return errno.ENOSPC if full else errno.EIO


def way_out(error: sqlite3.Error | OSError) -> str:
    """What to do where there was no room; nothing where that is not the cause."""
    number = errno_of(error) if isinstance(error, sqlite3.Error) else error.errno
    return MAKE_ROOM if number in (errno.ENOSPC, errno.EDQUOT) else ""


# ---------------------------------------------------------------- tables


def version(connection: sqlite3.Connection) -> int:
    """0: the tables of the runs have not been made."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def has(connection: sqlite3.Connection, table: str) -> bool:
    """Has the table been made? A job may have come before the first run, and made its own only."""
    if table not in _UNVERSIONED:
        return version(connection) > 0
    return _is_made(connection, table)


def _is_made(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


def upgrade(connection: sqlite3.Connection) -> None:
    """Take the steps that the file lacks, all or none."""
    found = version(connection)
    if found < VERSION:
        script = f"BEGIN; {''.join(STEPS[found:])} {UNCLEAR} {ARCHIVES} PRAGMA user_version = {VERSION}; COMMIT;"
        change("commit", connection.executescript, script)
    elif _is_made(connection, "in_flight"):  # else it is another program's
        make_unversioned(connection)
        connection.execute(
            "SELECT id, log, directory, name, inode, born, taken, ordered, leaving, xxh128 FROM archives LIMIT 0"
        )


def make_unversioned(connection: sqlite3.Connection) -> None:
    """The tables that an older logrotor did not make."""
    if not (has(connection, "unclear") and has(connection, "archives")):
        change("commit", connection.executescript, UNCLEAR + ARCHIVES)


def is_hooked(connection: sqlite3.Connection | None, path: str, inode: int, mtime_ns: int) -> bool:
    """Has on_archive succeeded for this archive by now, in whatever run? What cannot be read counts as no."""
    ask = "SELECT 1 FROM hooked WHERE path = ? AND inode = ? AND mtime_ns = ?"
    with suppress(sqlite3.Error):
        values = os.fsencode(path), inode, mtime_ns
        return connection is not None and connection.execute(ask, values).fetchone() is not None
    return False


# ---------------------------------------------------------------- rows to values; TypeError, ValueError: odd values


def logs(connection: sqlite3.Connection) -> dict[str, LogHistory]:
    """What is known of each log, by its path."""
    plain = {
        os.fsdecode(path): LogHistory(_moment(rotated), _moment(delivered), _moment(failed), begun=True)
        for path, rotated, delivered, failed in connection.execute(
            "SELECT path, last_rotation, request_delivered, request_failed FROM logs"
        )
    }
    more: dict[str, dict[str, Any]] = {}
    for blob, directory in connection.execute("SELECT path, directory FROM archive_dirs ORDER BY rowid"):
        fields = more.setdefault(os.fsdecode(blob), {})
        fields["archive_dirs"] = (*fields.get("archive_dirs", ()), os.fsdecode(directory))
    hooked: dict[str, set[tuple[int, int]]] = {}
    for blob, inode, mtime_ns in connection.execute("SELECT path, inode, mtime_ns FROM hooked"):
        hooked.setdefault(os.fsdecode(blob), set()).add((inode, mtime_ns))
    for path, found in hooked.items():
        more.setdefault(path, {})["hooked"] = frozenset(found)
    if has(connection, "unclear"):
        for blob, inode in connection.execute("SELECT path, inode FROM unclear"):
            more.setdefault(os.fsdecode(blob), {})["unclear"] = inode
    for row in connection.execute("SELECT * FROM in_flight"):  # fewer columns in format 1
        values = dict(zip(CopyInFlight.__struct_fields__, (os.fsdecode(row[0]), *row[1:]), strict=False))
        record = msgspec.convert(values, CopyInFlight)
        more.setdefault(record.path, {})["in_flight"] = record
    return {**plain, **{path: replace(plain.get(path, _NOTHING), **fields) for path, fields in more.items()}}


def value(kind: type[T], row: sqlite3.Row) -> T:
    """The columns that the value has; one without a value gets the default. SQLite has 0 and 1 for false and true."""
    return msgspec.convert({name: found for name, found in dict(row).items() if found is not None}, kind, strict=False)


def outcome(row: sqlite3.Row) -> PastOutcome:
    import json

    details = json.loads(row["details"] or "{}")  # with the reason, where an older logrotor wrote it
    return PastOutcome(
        run=row["run"] or 0, time=float(row["time"]), log=os.fsdecode(row["log"]), action=row["action"],
        status=row["status"], name=os.fsdecode(row["name"] or ""),
        reason=row["reason"] or str(details.get("why", "")), details=details,
    )  # fmt: skip


def take(row: sqlite3.Row) -> PastTake:
    found = msgspec.json.decode(row["details"] or "{}", type=_Size)
    return PastTake(time=float(row["time"]), status=row["status"], bytes=found.bytes)


class _Size(msgspec.Struct, gc=False):
    bytes: int | None = None


def _moment(value: object) -> float | None:
    if value is None or isinstance(value, (int, float)):
        return value
    raise TypeError(f"{value!r} is not a time")


# ---------------------------------------------------------------- values to rows


def copy_row(record: CopyInFlight) -> tuple[Any, ...]:
    return (os.fsencode(record.path), *(getattr(record, name) for name in CopyInFlight.__struct_fields__[1:]))


def end_of_run(
    run: int | None, now: float, outcomes: Collection[Outcome], counts: Mapping[str, int], exit_code: int
) -> list[Work]:
    insert = "INSERT INTO outcomes VALUES (NULL,?,?,?,?,?,?,?,?,?)"
    end = "UPDATE runs SET ended = ?, exit = ?, rotated = ?, failed = ?, deferred = ?, removed = ? WHERE id = ?"
    ended = (now, exit_code, *(counts[name] for name in ("rotated", "failed", "deferred", "removed")), run)
    return [(insert, [(run, *outcome_row(now, outcome)) for outcome in outcomes]), (end, [ended])]


def outcome_row(now: float, o: Outcome) -> tuple[Any, ...]:
    log, name = os.fsencode(o.log), os.fsencode(o.name)
    return now, log, o.action, o.status.value, name, text(o.reason), o.errno, _packed(o.record)


def _packed(details: Mapping[str, Any]) -> str:
    """As JSON."""
    try:
        return msgspec.json.encode(details).decode()
    except UnicodeEncodeError:  # a file name of undecodable bytes
        import json

        return json.dumps(dict(details))


def text(value: str) -> str:
    """Text that SQLite accepts: undecodable bytes of a file name are shown as escapes."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
