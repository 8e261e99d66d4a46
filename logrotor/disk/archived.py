"""What archives hold, as the runs recorded it: the table ``archives`` of the history, by which ``verify`` judges.

A row is made when a log is taken, and has a hash from the first pass that reads the archive: a compression, or a
``verify``. It is found by inode, so a shift of names costs nothing; of two rows of one inode the later one counts, and
the birth time tells whether it is the file's. The ids of ordered rows are in the order of the rotations.

A run that is killed before its end, when rows are written, leaves the archives whole; verify says of them:

it had    | the table shows         | verify says
took      | no row                  | no record
compressed| the row of the original | no record, or sound where that had a hash
removed   | a row that is leaving   | nothing
"""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from logrotor.decide.naming import slot_name
from logrotor.disk import database, rows, state
from logrotor.disk.database import Work
from logrotor.model import ArchiveRecord, Outcome, Status

if TYPE_CHECKING:
    from logrotor.model import Plan

_TAKEN = frozenset({"take", "copytruncate", "recover"})
_MOST = 10_000  # rows of one log: it has no more archives, whoever removes them
_AT_ONCE = 100  # logs of a run for which that is looked after

_INSERT = (
    "INSERT INTO archives (log, directory, name, inode, born, ordered, bytes, lines, xxh128) "
    "VALUES (:log, :directory, :name, :inode, :born, :ordered, :bytes, :lines, :xxh128)"
)
_OWN = "inode = :inode AND directory = :directory"  # usually one; a verify beside the run may have made another
_SOURCE = "(SELECT id FROM archives WHERE inode = :source AND directory = :from ORDER BY ordered DESC, id DESC LIMIT 1)"
# What a verify has recorded of a log that was taken, before the run did.
_REPLACE = f"DELETE FROM archives WHERE {_OWN} AND NOT ordered AND id > :first"
# One that had a hash before keeps it, unless the archive has grown: a compression must not hide a change.
_KEEPS = "(:xxh128 IS NULL OR (xxh128 IS NOT NULL AND bytes >= :bytes))"
_MOVE = (
    "UPDATE archives SET directory = :directory, name = :name, inode = :inode, leaving = 0, "
    "born = CASE WHEN :inode = :source THEN born ELSE :born END, "
    f"bytes = CASE WHEN {_KEEPS} THEN bytes ELSE :bytes END, lines = CASE WHEN {_KEEPS} THEN lines ELSE :lines END, "
    f"xxh128 = CASE WHEN {_KEEPS} THEN xxh128 ELSE :xxh128 END WHERE id = {_SOURCE}"
)
_INSERT_NEW = (
    "INSERT INTO archives (log, directory, name, inode, born, bytes, lines, xxh128) "
    "SELECT :log, :directory, :name, :inode, :born, :bytes, :lines, :xxh128 WHERE NOT EXISTS "
    "(SELECT 1 FROM archives WHERE inode = :inode AND directory = :directory AND coalesce(born = :born, 1))"
)
# Retention removes the oldest first, so whatever is older and still has a row went without us.
_FORGET_OLDER = (
    "DELETE FROM archives WHERE log = :log AND ordered "
    f"AND id < (SELECT max(id) FROM archives WHERE {_OWN} AND ordered)"
)
_FORGET = f"DELETE FROM archives WHERE {_OWN}"
_BOUND = (
    "DELETE FROM archives WHERE log = ?1 AND id <= "
    f"(SELECT id FROM archives WHERE log = ?1 ORDER BY id DESC LIMIT 1 OFFSET {_MOST})"
)


# ---------------------------------------------------------------- written by runs


def leaving(plan: Plan) -> Work:
    """Before retention removes archives: of a run that is killed then, none is missing."""
    steps = [step for log in plan.logs for step in log.retire]
    rows = [{"inode": step.id.inode, "directory": os.fsencode(step.directory)} for step in steps]
    return f"UPDATE archives SET leaving = 1 WHERE {_OWN}", rows


def of_run(outcomes: Iterable[Outcome], number: int, first: int) -> list[Work]:
    """What a run did to archives, in its order: a freed inode may be that of the next archive.

    ``number``: of the run; ``first``: the greatest id when it began.
    """
    changes = itertools.chain.from_iterable(map(_changes, outcomes))
    work = [
        (statement, [row for _, row in group]) for statement, group in itertools.groupby(changes, key=lambda c: c[0])
    ]
    own = [{**row, "first": first} for statement, rows in work if statement == _INSERT for row in rows]
    taken = list(dict.fromkeys(row["log"] for row in own))
    first = number * _AT_ONCE % max(1, len(taken))
    return [(_REPLACE, own), *work, (_BOUND, [(log,) for log in taken[first : first + _AT_ONCE]])]


def _changes(outcome: Outcome) -> Iterator[tuple[str, dict[str, Any]]]:
    details = outcome.details
    if outcome.status is not Status.DONE or "inode" not in details:
        return
    log = os.fsencode(outcome.log)
    row: dict[str, Any] = {name: details.get(name) for name in ("inode", "born", "bytes", "lines", "xxh128")}
    row["log"] = log
    if outcome.action in _TAKEN:
        directory, base = os.path.split(log)
        name = os.fsencode(slot_name(os.fsdecode(base), 1))
        yield _INSERT, {**row, "directory": directory, "name": name, "ordered": 1, "bytes": None}
    elif outcome.action == "remove":
        row["directory"] = os.fsencode(details["directory"])
        yield from ((_FORGET_OLDER, row), (_FORGET, row))
    elif outcome.action == "compress":
        directory, name = os.path.split(os.fsencode(details["to"]))
        row |= {"directory": directory, "name": name, "source": details["source"], "from": os.fsencode(details["from"])}
        if row["xxh128"] is None:  # not read: what is known of it stays
            row |= {"bytes": None, "lines": None}
        yield from ((_MOVE, row), (_INSERT_NEW, row))


# ---------------------------------------------------------------- read, and learned, by verify


class Records:
    """All that is asked of a history for one ``verify``. Raises OSError. A history that is not there is empty."""

    def __init__(self, path: str) -> None:
        self.path = path

    def check(self) -> None:
        """Raises OSError or StateError if it is there and cannot be read."""
        with suppress(FileNotFoundError):
            os.stat(self.path)
            state.refuse_odd(self.path)
            with self._explained(), closing(database.to_look(self.path)) as connection:
                if database.has(connection, "archives"):
                    database.refuse_damage(connection)
            self.of("")

    def of(self, log: str) -> list[ArchiveRecord]:
        """In the order of ids."""
        ask = f"SELECT {rows.columns(ArchiveRecord)} FROM archives WHERE log = ? ORDER BY id"
        if not os.path.exists(self.path):
            return []
        with self._explained(), closing(database.to_look(self.path)) as connection:
            if not database.has(connection, "archives"):
                return []
            return rows.read(connection, ask, (os.fsencode(log),), rows.archive)[0]

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
                "ordered = :ordered, bytes = :bytes, lines = :lines, xxh128 = :xxh128 WHERE id = :id"
            )
        connection.execute(statement, row)


def _inode(path: str) -> int | None:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None
