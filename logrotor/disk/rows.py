"""Rows of the history as values, and values as rows: the one place that knows what a column means.

SQLite keeps any value in any column, a disk may change it, and so may whoever edits the file: each row is converted
strictly, and one that does not convert is left out and counted. Nothing that it holds gets any further.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from logrotor.disk import database
from logrotor.model import (
    ArchiveRecord,
    Attempt,
    CopyInFlight,
    Fault,
    KeptOut,
    LogHistory,
    Outcome,
    PastOutcome,
    PastRun,
    PastTake,
    Problem,
    Total,
)
from logrotor.model.records import Count, Moment

T = TypeVar("T")
Make = Callable[[sqlite3.Row], T]  # raises ValueError, TypeError, RecursionError for what is no row of ours

_ODD = (ValueError, TypeError, OverflowError, RecursionError, LookupError)  # msgspec's errors are ValueErrors
TABLES = ("logs", "archive_dirs", "hooked", "unclear", "in_flight")  # of what is known of each log
_NUMBERED = ("runs", "outcomes", "archives", "attempts", "faults")  # in the order in which their rows came
_MOST = 10**12  # the highest number of such a row: a million a day for two thousand years
_FLAGS = frozenset({"forced", "final", "ordered", "leaving"})  # 0 or 1: SQLite has no other truth
_NAMES = frozenset({"log", "directory", "name"})  # of an archive, in bytes
_NOTHING = LogHistory()


def read(
    connection: sqlite3.Connection, statement: str, values: Collection[object], make: Make[T]
) -> tuple[list[T], int]:
    """The rows as values, and how many were left out. Raises sqlite3.Error."""
    try:
        return _made(connection.execute(statement, tuple(values)), make)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) is not None:
            raise
    connection.text_factory = _shown  # somewhere is text that is not UTF-8: no error of SQLite's, and no end of rows
    return _made(connection.execute(statement, tuple(values)), make)


def columns(kind: type[msgspec.Struct]) -> str:
    """Of a table whose columns bear the names of a value's fields."""
    return ", ".join(kind.__struct_fields__)


def _made(rows: Iterable[sqlite3.Row], make: Make[T]) -> tuple[list[T], int]:
    found, odd = [], 0
    for row in rows:
        try:
            found.append(make(row))
        except _ODD:
            odd += 1
    return found, odd


def is_odd(row: sqlite3.Row, make: Make[Any]) -> bool:
    try:
        make(row)
    except _ODD:
        return True
    return False


def _shown(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# ---------------------------------------------------------------- one row


class _Log(msgspec.Struct):
    last_rotation: Moment | None
    request_delivered: Moment | None
    request_failed: Moment | None


class _Hooked(msgspec.Struct):
    inode: Count
    mtime_ns: int


class _Size(msgspec.Struct, gc=False):
    bytes: Count | None = None


class _Details(msgspec.Struct):
    """What programs look for in the details of an outcome; whoever shows them shows the others too."""

    inode: Count | None = None
    source: Count | None = None
    bytes: Count | None = None
    bytes_out: Count | None = None
    lines: Count | None = None
    seconds: Moment | None = None
    logs: tuple[str, ...] = ()
    problem: Problem | str | None = None  # a sentence: as an older logrotor kept it


def path(found: object) -> str:
    """An absolute path, from its bytes."""
    name = _name(found)
    if not name.startswith("/"):
        raise ValueError(f"{name!r} is not an absolute path")
    return name


def _name(found: object) -> str:
    if not isinstance(found, bytes) or b"\0" in found:
        raise TypeError(f"{found!r:.80} is not a name")
    return os.fsdecode(found)


def value(kind: type[T], row: sqlite3.Row) -> T:
    """The columns that the value has; one without a value gets the default."""
    return msgspec.convert({name: _flag(name, found) for name, found in dict(row).items() if found is not None}, kind)


def _flag(name: str, found: object) -> object:
    return bool(found) if name in _FLAGS and found in (0, 1) else found


def archive(row: sqlite3.Row) -> ArchiveRecord:
    values = {name: _name(found) if name in _NAMES else _flag(name, found) for name, found in dict(row).items()}
    return msgspec.convert(values, ArchiveRecord)


def outcome(row: sqlite3.Row) -> PastOutcome:
    details = _unpacked(row["details"] or "{}")
    msgspec.convert(details, _Details)
    values = {
        "run": row["run"] or 0, "time": row["time"], "log": _name(row["log"]), "action": row["action"],
        "status": row["status"], "name": _name(row["name"] or b""), "details": details,
        "reason": row["reason"] or str(details.get("why", "")),  # there, where an older logrotor wrote it
    }  # fmt: skip
    return msgspec.convert(values, PastOutcome)


def take(row: sqlite3.Row) -> PastTake:
    found = msgspec.json.decode(row["details"] or "{}", type=_Size)
    return msgspec.convert({"time": row["time"], "status": row["status"], "bytes": found.bytes}, PastTake)


def _unpacked(details: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(details, type=dict[str, Any])
    except msgspec.DecodeError:  # a file name of undecodable bytes
        import json

        # int: of "NaN" and the like there is none
        return msgspec.convert(json.loads(details, parse_constant=int), dict[str, Any])


# ---------------------------------------------------------------- what is known of each log


def logs(
    connection: sqlite3.Connection, tables: Collection[str], *, only: Sequence[bytes] | None = None
) -> tuple[dict[str, LogHistory], int]:
    """What is known of each log, by its path, and how many rows were left out. Raises sqlite3.Error.

    ``tables``: those that are there. ``only``: of these paths.
    """
    which = "" if only is None else f"WHERE path IN ({', '.join('?' * len(only))})"
    fields: dict[str, dict[str, Any]] = {}
    odd = 0

    def each(table: str) -> list[Any]:
        nonlocal odd
        if table not in tables:
            return []
        what, make = _KNOWN[table]
        found, left_out = read(connection, f"SELECT {what} FROM {table} {which} ORDER BY rowid", only or (), make)
        odd += left_out
        return found

    for log, found in each("logs"):
        fields[log] = {name: getattr(found, name) for name in _Log.__struct_fields__} | {"begun": True}
    for log, directory in each("archive_dirs"):
        of = fields.setdefault(log, {})
        of["archive_dirs"] = (*of.get("archive_dirs", ()), directory)
    for log, hook in each("hooked"):
        fields.setdefault(log, {}).setdefault("hooked", set()).add((hook.inode, hook.mtime_ns))
    for log, inode in each("unclear"):
        fields.setdefault(log, {})["unclear"] = inode
    for record in each("in_flight"):
        fields.setdefault(record.path, {})["in_flight"] = record
    for of in fields.values():
        of["hooked"] = frozenset(of.get("hooked", ()))
    return {log: replace(_NOTHING, **found) for log, found in fields.items()}, odd


def odd(connection: sqlite3.Connection, tables: Collection[str]) -> dict[str, list[int]]:
    """The numbers of the rows that are left out wherever they are read, by their table. Raises sqlite3.Error."""
    usual, connection.text_factory = connection.text_factory, _shown
    found: dict[str, list[int]] = {}
    try:
        for table in tables:
            what, make = _KNOWN.get(table, ("*",))[0], MAKERS[table]
            rows = connection.execute(f"SELECT {what}, rowid AS at FROM {table}")
            found[table] = [row["at"] for row in rows if is_odd(row, make)]
    finally:
        connection.text_factory = usual
    return {table: numbers for table, numbers in found.items() if numbers}


def astray(connection: sqlite3.Connection) -> dict[str, list[int]]:
    """Rows with numbers that no row of ours has: the next one would come before them, and count as the oldest.

    By their table. Raises sqlite3.Error.
    """
    ask = "SELECT id FROM {} WHERE id > ? OR id < 1"
    tables = [table for table in _NUMBERED if database.has(connection, table)]
    found = {table: [row[0] for row in connection.execute(ask.format(table), (_MOST,))] for table in tables}
    return {table: numbers for table, numbers in found.items() if numbers}


def _log(row: sqlite3.Row) -> tuple[str, _Log]:
    return path(row[0]), msgspec.convert(dict(row), _Log)


def _hooked(row: sqlite3.Row) -> tuple[str, _Hooked]:
    return path(row[0]), msgspec.convert(dict(row), _Hooked)


def kept_out(row: sqlite3.Row) -> tuple[str, KeptOut]:
    return path(row[0]), msgspec.convert(dict(row), KeptOut)


def _unclear(row: sqlite3.Row) -> tuple[str, int]:
    return path(row[0]), msgspec.convert(row[1], Count)


def _copy(row: sqlite3.Row) -> CopyInFlight:
    return msgspec.convert({**dict(row), "path": path(row["path"])}, CopyInFlight)


_KNOWN: Mapping[str, tuple[str, Make[Any]]] = {
    "logs": ("path, last_rotation, request_delivered, request_failed", _log),
    "archive_dirs": ("path, directory", lambda row: (path(row[0]), path(row[1]))),
    "hooked": ("path, inode, mtime_ns", _hooked),
    "unclear": ("path, inode", _unclear),
    "in_flight": ("*", _copy),  # fewer columns in format 1
}

# Every table, those of logs first: what a copy in flight needs is the most important.
MAKERS: Mapping[str, Make[Any]] = {
    **{table: make for table, (_, make) in _KNOWN.items()},
    "archives": archive,
    "runs": partial(value, PastRun),
    "outcomes": outcome,
    "kept_out": kept_out,
    "attempts": partial(value, Attempt),
    "faults": partial(value, Fault),
    "totals": partial(value, Total),
}


# ---------------------------------------------------------------- values to rows

COPY = "INSERT OR REPLACE INTO in_flight VALUES (?,?,?,?,?,?,?,?,?)"


def copy_row(record: CopyInFlight) -> tuple[Any, ...]:
    return (os.fsencode(record.path), *(getattr(record, name) for name in CopyInFlight.__struct_fields__[1:]))


def end_of_run(
    run: int | None, now: float, outcomes: Collection[Outcome], counts: Mapping[str, int], exit_code: int
) -> list[tuple[str, list[tuple[Any, ...]]]]:
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
