"""What is known from a history that has grown large: of the logs that a run sees, not of a million that are gone."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from logrotor import text
from logrotor.disk import database, rows
from logrotor.errors import StateError
from logrotor.model import LogHistories, LogHistory

WHOLE = 20_000  # rows that are read at once, in one view
_AT_ONCE = 500  # values in one statement; an old SQLite takes 999
_NOTHING = LogHistory()

Looking = Callable[[], AbstractContextManager[sqlite3.Connection | None]]


def is_large(connection: sqlite3.Connection) -> bool:
    """By the highest row numbers, which need not be counted."""
    return sum(_highest(connection, table) for table in rows.TABLES) > WHOLE


def _highest(connection: sqlite3.Connection, table: str) -> int:
    if not database.has(connection, table):
        return 0
    found: int = connection.execute(f"SELECT ifnull(max(rowid), 0) FROM {table}").fetchone()[0]
    return found


class Recalled(LogHistories):
    """Reads of each log once, when it is wanted. What cannot be read then is not known, and ``note`` says so."""

    def __init__(self, connection: sqlite3.Connection, looking: Looking, noted: Callable[[str], str]) -> None:
        super().__init__({})
        self._looking, self._noted, self._odd = looking, noted, 0
        self._tables = [table for table in rows.TABLES if _highest(connection, table)]
        self._asked: set[str] = set()
        self._found: dict[str, LogHistory] = {}
        self._kept: dict[tuple[str, str], str | None] = {}  # (directory, name) -> log
        if "in_flight" in self._tables:  # whatever becomes of the file: what it knows of these is needed
            copies = connection.execute("SELECT path FROM in_flight").fetchall()
            self._asked.update(paths := [os.fsdecode(path) for (path,) in copies if isinstance(path, bytes)])
            self._read(connection, paths)

    def want(self, paths: Iterable[str]) -> None:
        new = [path for path in dict.fromkeys(paths) if path not in self._asked]
        if new:
            self._asked.update(new)
            with self._open() as connection:
                if connection is not None:
                    self._read(connection, new)

    def of(self, path: str) -> LogHistory:
        if path not in self._asked:
            self.want([path])
        return self._found.get(path, _NOTHING)

    @property
    def has_keepers(self) -> bool:
        return "archive_dirs" in self._tables

    def keeper(self, directory: str, base: str, among: Collection[str]) -> str | None:
        if self.has_keepers and (directory, base) not in self._kept:
            names = {base, *among}
            self._kept.update(((directory, name), None) for name in names)
            with self._open() as connection:
                for log in _keepers(connection, directory, names) if connection is not None else ():
                    self._kept[directory, os.path.basename(log)] = log
            self.want(log for log in map(self._kept.get, ((directory, name) for name in names)) if log)
        return self._kept.get((directory, base))

    def rotated_outside(self, places: Collection[str]) -> Iterator[str]:
        known = "SELECT path FROM logs WHERE last_rotation IS NOT NULL AND"
        deeper = f"{known} path > ?1 AND path < ?2 AND instr(substr(path, ?3), x'2f') ORDER BY path LIMIT 1"
        with self._open() as connection:
            at: bytes | None = b"/"
            while connection is not None and at is not None:
                (at,) = connection.execute(f"{known} path >= ? ORDER BY path LIMIT 1", (at,)).fetchone() or (None,)
                if at is None:
                    return
                place = at.rpartition(b"/")[0]
                if os.fsdecode(place or b"/") not in places:
                    yield os.fsdecode(at)
                    at += b"\0"
                else:  # SQLite passes over the other logs there; what comes after "/" is "0"
                    beyond = place + b"0"
                    found = connection.execute(deeper, (at, beyond, len(place) + 2)).fetchone()
                    at = beyond if found is None else found[0]

    def _read(self, connection: sqlite3.Connection, paths: list[str]) -> None:
        for begin in range(0, len(paths), _AT_ONCE):
            some = paths[begin : begin + _AT_ONCE]
            known, odd = rows.logs(connection, self._tables, only=[os.fsencode(path) for path in some])
            self._found.update(known)
            self._odd += odd
        if self._odd:
            self.note = self._noted(f"{text.count(self._odd, 'row')} cannot be read")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection | None]:
        """A connection each time: a process that is forked meanwhile must not share one."""
        begun = False
        try:
            with self._looking() as connection:
                begun = True
                yield connection
        except StateError as error:
            self.note = self._noted(error.problem.problem)
            if not begun:
                yield None


def _keepers(connection: sqlite3.Connection, directory: str, names: Collection[str]) -> Iterator[str]:
    """The logs of these names that have archives in a directory, whatever others there ever were."""
    wanted = frozenset(map(os.fsencode, names))
    ask = "SELECT path FROM archive_dirs WHERE directory = ? AND typeof(path) = 'blob' ORDER BY rowid"
    for (path,) in connection.execute(ask, (os.fsencode(directory),)):
        if path[path.rfind(b"/") + 1 :] in wanted:
            with suppress(TypeError, ValueError):
                yield rows.path(path)
