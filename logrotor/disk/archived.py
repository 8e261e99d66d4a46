"""What archives hold, as the runs recorded it: the table ``archives`` of the history, by which ``verify`` judges.

A row is made when a log is taken, and has a hash from the first pass that reads the archive: a compression, or a
``verify``. It is found by inode, so a shift of names costs nothing; of two rows of one inode the later one counts, and
the birth time tells whether it is the file's. The ids of ordered rows are in the order of the rotations.

A run that is killed before its end, when rows are written, leaves the archives whole; verify says of them:

it had    | the table shows         | verify says
took      | no row                  | no record
compressed| the row of the original | no record, or sound where that had a hash
removed   | a row that is leaving   | nothing

A compressed archive without a row, as where the history was lost, has no record until ``verify --accept``: what it held
is not known, so one that was changed meanwhile must not become sound.
"""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from logrotor.disk import database, descent, files, rows, state
from logrotor.disk.database import Work
from logrotor.model import ArchiveRecord, Outcome, Status

if TYPE_CHECKING:
    from logrotor.model import LogPlan

T = TypeVar("T")

_TAKEN = frozenset({"take", "copytruncate", "recover"})
_MOST = 10_000  # rows of one log: it has no more archives, whoever removes them
_AT_ONCE = 100  # logs of a run for which that is looked after

# An inode is one of several file systems, and of several logs: helpers compress them at the same time.
_OWN = "inode = :inode AND log = :log AND directory = :directory"
_COLUMNS = "INSERT INTO archives (log, directory, name, inode, taken, born, bytes, lines, xxh128, ordered) "
_INSERT = f"{_COLUMNS} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)"
# What a killed run had taken may have been recorded by a verify.
_INSERT_FOUND = (
    f"{_COLUMNS} SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1 "
    "WHERE NOT EXISTS (SELECT 1 FROM archives WHERE log = ?1 AND directory = ?2 AND inode = ?4)"
)
# What a verify beside the run has recorded may be what the run has taken: the next verify does it again.
_FORGET_OTHERS = "DELETE FROM archives WHERE id > ? AND NOT ordered"
# One that had a hash before keeps it, unless the archive has grown: a compression must not hide a change.
_KEEPS = "(:xxh128 IS NULL OR (xxh128 IS NOT NULL AND bytes >= :bytes))"
_SOURCE = (
    "inode = :source AND log = :log "
    "AND coalesce(born = :source_born, 1) AND coalesce(taken = :taken, 1)"  # else the inode had another file before
)
_MOVE = (
    "UPDATE archives SET directory = :directory, name = :name, inode = :inode, leaving = 0, "
    "born = CASE WHEN :inode = :source THEN born ELSE :born END, "
    f"bytes = CASE WHEN {_KEEPS} THEN bytes ELSE :bytes END, lines = CASE WHEN {_KEEPS} THEN lines ELSE :lines END, "
    f"xxh128 = CASE WHEN {_KEEPS} THEN xxh128 ELSE :xxh128 END "
    f"WHERE id = (SELECT id FROM archives WHERE {_SOURCE} "
    "ORDER BY directory = :from DESC, ordered DESC, id DESC LIMIT 1)"
)
_INSERT_NEW = (
    "INSERT INTO archives (log, directory, name, inode, taken, born, bytes, lines, xxh128) "
    "SELECT :log, :directory, :name, :inode, :taken, :born, :bytes, :lines, :xxh128 "
    f"WHERE NOT EXISTS (SELECT 1 FROM archives WHERE {_OWN} AND coalesce(born = :born, 1))"
)
# The rows of an archive: by the take that is noted on it; else by inode, or by that of what it was made of, where a run
# was killed before it recorded that.
_ANY = "SELECT 1 FROM archives WHERE log = :log AND"
_ITS = (
    "log = :log AND (taken = :taken OR taken IS NULL AND inode IN (:inode, :source) OR "
    f"coalesce(taken = :taken, 1) AND NOT EXISTS ({_ANY} taken = :taken) AND "
    f"(inode = :inode AND (directory = :directory OR NOT EXISTS ({_ANY} inode = :inode AND directory = :directory)) "
    f"OR inode = :source AND NOT EXISTS ({_ANY} inode = :inode)))"
)
# Retention removes the oldest first, so whatever is older and still has a row went without us.
_FORGET_OLDER = (
    "DELETE FROM archives WHERE log = :log AND ordered "
    f"AND id < (SELECT max(id) FROM archives WHERE {_ITS} AND ordered)"
)
_FORGET = f"DELETE FROM archives WHERE id IN (SELECT id FROM archives WHERE {_ITS})"
_BOUND = (
    "DELETE FROM archives WHERE log = ?1 AND id <= "
    f"(SELECT id FROM archives WHERE log = ?1 ORDER BY id DESC LIMIT 1 OFFSET {_MOST})"
)


# ---------------------------------------------------------------- written by runs


def leaving(logs: Iterable[LogPlan]) -> Work:
    """Before retention removes archives: of a run that is killed then, none is missing."""
    steps = [(log.path, step) for log in logs for step in log.retire]
    rows = [
        _removed(log, step.directory, step.id.inode, *descent.origin(step.directory, step.name)) for log, step in steps
    ]
    return f"UPDATE archives SET leaving = 1 WHERE id IN (SELECT id FROM archives WHERE {_ITS})", rows


def _removed(log: str, directory: str, inode: int, source: int | None, taken: float | None) -> dict[str, Any]:
    row = {"log": os.fsencode(log), "directory": os.fsencode(directory), "inode": inode}
    return {**row, "source": source, "taken": taken}


def of_run(outcomes: Iterable[Outcome], number: int, first: int | None) -> list[Work]:
    """What a run did to archives, in its order: a freed inode may be that of the next archive.

    ``number``: of the run. ``first``: the greatest id when it began, if that is known.
    """
    new: list[tuple[Any, ...]] = []  # what was taken, in the order of the rotations
    taken: dict[tuple[bytes, int], int] = {}  # where it stands there, by log and inode
    changes: list[tuple[str, dict[str, Any]]] = []
    found = False  # did it finish what a killed run had begun?
    for outcome in outcomes:
        details, log = outcome.details, os.fsencode(outcome.log)
        if outcome.status is not Status.DONE or "inode" not in details:
            continue
        inode = details["inode"]
        if outcome.action in _TAKEN:
            directory, _, base = log.rpartition(b"/")
            found = found or outcome.action == "recover"
            taken[log, inode] = len(new)
            new.append((log, directory, base + b".1", inode, details.get("taken"), None, None, None, None))
        elif outcome.action == "remove":
            taken.pop((log, inode), None)
            row = _removed(outcome.log, details["directory"], inode, details["source"], details["taken"])
            changes += [(_FORGET_OLDER, row), (_FORGET, row)]
        elif outcome.action == "compress" and (log, details["source"]) in taken:
            at = taken[log, inode] = taken.pop((log, details["source"]))
            new[at] = (log, *_place(details), inode, details.get("taken"), *_content(details))  # in one run: one row
        elif outcome.action == "compress":
            changes += _moved(log, details)
    work = [(statement, [row for _, row in rows]) for statement, rows in itertools.groupby(changes, lambda c: c[0])]
    kept = [new[at] for at in sorted(taken.values())]
    others = [] if first is None or not (work or kept) else [(first,)]
    begin = number * _AT_ONCE % max(1, len(kept))
    bounded = [row[:1] for row in kept[begin : begin + _AT_ONCE]]
    return [(_FORGET_OTHERS, others), *work, (_INSERT_FOUND if found else _INSERT, kept), (_BOUND, bounded)]


def _place(details: Mapping[str, Any]) -> tuple[bytes, bytes]:
    directory, _, name = os.fsencode(details["to"]).rpartition(b"/")
    return directory, name


def _content(details: Mapping[str, Any]) -> tuple[Any, ...]:
    """Birth, bytes, lines and hash; what was not read is not known."""
    if not details.get("xxh128"):
        return details.get("born"), None, None, None
    return details["born"], details["bytes"], details["lines"], details["xxh128"]


def _moved(log: bytes, details: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    directory, name = _place(details)
    row = dict(zip(("born", "bytes", "lines", "xxh128"), _content(details), strict=True))
    row |= {"log": log, "directory": directory, "name": name, "inode": details["inode"], "source": details["source"]}
    row |= {"from": os.fsencode(details["from"]), **{name: details.get(name) for name in ("source_born", "taken")}}
    return [(_MOVE, row), (_INSERT_NEW, row)]


# ---------------------------------------------------------------- read, and learned, by verify


class Records:
    """All that is asked of a history for one ``verify``. Raises OSError. A history that is not there is empty."""

    def __init__(self, path: str) -> None:
        self.path = path

    def check(self) -> None:
        """Raises OSError or StateError if it is there and cannot be read."""
        with suppress(FileNotFoundError):
            os.lstat(self.path)
            state.refuse_odd(self.path)
            with self._explained(), closing(database.to_look(self.path)) as connection:
                if database.has(connection, "archives"):
                    database.refuse_damage(connection)
            self.of("")

    def logs(self) -> list[str]:
        """The logs that have any."""
        return self._read("SELECT DISTINCT log FROM archives", (), lambda row: rows.path(row[0]))

    def odd(self) -> list[int]:
        """The ids of those that cannot be read, of whatever log."""
        if files.is_gone(self.path):
            return []
        with self._explained(), closing(database.to_look(self.path)) as connection:
            return rows.odd(connection, ["archives"] if database.has(connection, "archives") else []).get(
                "archives", []
            )

    def of(self, log: str) -> list[ArchiveRecord]:
        """In the order of ids."""
        ask = f"SELECT {rows.columns(ArchiveRecord)} FROM archives WHERE log = ? ORDER BY id"
        return self._read(ask, (os.fsencode(log),), rows.archive)

    def _read(self, ask: str, values: tuple[object, ...], make: rows.Make[T]) -> list[T]:
        if files.is_gone(self.path):
            return []
        with self._explained(), closing(database.to_look(self.path)) as connection:
            return rows.read(connection, ask, values, make)[0] if database.has(connection, "archives") else []

    def learn(self, found: Iterable[tuple[ArchiveRecord, str]], forgotten: Iterable[int]) -> bool:
        """Keep what was read of archives at these paths; rows of an ``id`` other than 0 are replaced.

        What a run has compressed or removed since, and will record, is left out: while we write it cannot. False: the
        history is not ours to write.
        """
        with suppress(FileNotFoundError):
            if os.stat(self.path).st_uid == os.geteuid():
                with self._explained(), closing(database.to_write(self.path)) as connection:
                    database.make_unversioned(connection)
                    with database.transaction(connection, database.PATIENCE):
                        connection.executemany("DELETE FROM archives WHERE id = ?", [(number,) for number in forgotten])
                        for record, path in found:
                            if _inode(path) == record.inode:
                                self._learn(connection, record)
                return True
        return False

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OSError(errno.EIO, str(error), self.path) from error

    def _learn(self, connection: sqlite3.Connection, record: ArchiveRecord) -> None:
        row = {name: getattr(record, name) for name in ArchiveRecord.__struct_fields__}
        row |= {name: os.fsencode(row[name]) for name in ("log", "directory", "name")}
        statement = _INSERT_NEW
        if record.id:
            statement = (
                "UPDATE archives SET directory = :directory, name = :name, inode = :inode, born = :born, "
                "taken = :taken, ordered = :ordered, bytes = :bytes, lines = :lines, xxh128 = :xxh128 WHERE id = :id"
            )
        connection.execute(statement, row)


def _inode(path: str) -> int | None:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None
