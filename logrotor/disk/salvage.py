"""A damaged history: what can be read of it goes into a new one, which takes its place at once.

killed before ... | state directory shows                        | next run
exchange          | the damaged one, a new one as .damaged-N     | begins again, with another number
afterwards        | the new one, the damaged one as .damaged-N   | goes on with the new one
"""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

from logrotor.disk import calls, database, rows, state
from logrotor.disk.calls import change
from logrotor.errors import StateError

_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_HERE = -100  # AT_FDCWD
_UNREAD = (sqlite3.Error, UnicodeDecodeError)  # what SQLite says of a damaged schema may be no text
_COLUMNS = (
    "SELECT info.name FROM sqlite_master AS master, pragma_table_info(master.name) AS info "
    "WHERE master.type = 'table' AND master.name = ? ORDER BY info.cid"
)


def renew(
    path: str,
    upgrade: Callable[[sqlite3.Connection], object] = database.upgrade,
    makers: Mapping[str, rows.Make[Any]] = rows.MAKERS,
) -> tuple[str, int]:
    """Put a new history in the place of the damaged one; returns where that lies now, and how many rows were saved.

    ``upgrade`` makes its tables, and ``makers`` judges their rows: the samples have others.

    Raises OSError or sqlite3.Error, mostly of a full disk: the damaged one is in its place then, with all that it has.
    """
    names = (f"{path}.damaged-{number}" for number in itertools.count(1))
    aside = next(name for name in names if not any(os.path.lexists(name + each) for each in database.BESIDE))
    try:
        saved = _filled(aside, path, upgrade, makers)
    except BaseException:
        for each in database.BESIDE:
            with suppress(OSError):
                change("unlink", os.unlink, aside + each)
        raise
    for each in database.BESIDE[1:]:  # they would spoil the new one
        with suppress(FileNotFoundError):
            change("rename", os.rename, path + each, aside + each)
    _swap(aside, path)
    return aside, saved


def _swap(aside: str, path: str) -> None:
    try:
        change("exchange", calls.renameat2, _HERE, aside, _HERE, path, calls.RENAME_EXCHANGE)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
        new = f"{aside}.new"
        for one, other in ((aside, new), (path, aside), (new, path)):
            change("rename", os.rename, one, other)


def _filled(
    new: str, path: str, upgrade: Callable[[sqlite3.Connection], object], makers: Mapping[str, rows.Make[Any]]
) -> int:
    with closing(database.to_write(new)) as kept:
        upgrade(kept)
        try:
            old = _opened(path)
        except (OSError, StateError, *_UNREAD):
            return 0
        before = kept.total_changes
        with closing(old), database.transaction(kept, database.PATIENCE):
            for table, make in makers.items():
                columns = _common_columns(old, kept, table)
                if columns:
                    marks = ", ".join("?" * len(columns))
                    insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"
                    kept.executemany(insert, _spared(old, table, columns, make))
        return kept.total_changes - before


def _opened(path: str) -> sqlite3.Connection:
    """The file alone, whatever lies beside it. Raises OSError, sqlite3.Error, StateError."""
    state.refuse_odd(path)
    connection = sqlite3.connect(f"file:{database.quoted(path)}?immutable=1", uri=True)
    database.bound(connection)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def _common_columns(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> list[str]:
    """Columns that the damaged file has as well, in the order of the new one; none: it is no table there."""
    try:
        found = {row[0] for row in old.execute(_COLUMNS, (table,))}
    except _UNREAD:
        return []
    return [row[0] for row in new.execute(_COLUMNS, (table,)) if row[0] in found]


def _spared(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], make: rows.Make[Any]
) -> Iterator[tuple[Any, ...]]:
    """The rows that can still be read and are ours, some of them twice.

    Behind a page that cannot be read SQLite goes no further: what lies there is read from the other end.
    """
    for order in ("", "DESC"):
        before: int | None = None
        with suppress(*_UNREAD, MemoryError):  # a length that is damaged may be any
            ask = f"SELECT {', '.join(columns)}, rowid AS at FROM {table} ORDER BY rowid {order}"
            for row in connection.execute(ask):
                if before is not None and (row["at"] <= before if not order else row["at"] >= before):
                    break  # pages that lead to each other: it might go on for ever
                before = row["at"]
                if not rows.is_odd(row, make) and ("id" not in columns or row["id"] == before):
                    yield tuple(row)[:-1]
            else:
                return
