"""Samples: how large each log and its archives were, what was free, and the queue's counts, every few minutes.

They have a file of their own beside the history. It is written without fsync, which may cost it in a power cut, and
must not cost the history with its copies in flight. What cannot be written is lost, and hurts nothing else.

age              | kept of it
-----------------|---------------------------------------------------------------
up to two days   | a sample every five minutes
up to 90 days    | one an hour; what was written meanwhile is added up in it
more, or no room | nothing: 48 MiB are never exceeded

A log or file system has a point in a sample only where something of it has changed. Samples are numbered: of their
times nobody knows whether the clock was right.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from statistics import median
from typing import Any, NamedTuple

from logrotor.disk import database, salvage, state
from logrotor.disk.calls import change
from logrotor.errors import LogrotorError
from logrotor.model import LogSize, Space, is_sample_due

FINE = 2 * 86400.0  # seconds for which all samples are kept
KEEP = 90 * 86400.0

_AHEAD = 86400.0  # seconds in the future: what lies beyond was taken by a wrong clock
_TIGHT, _SHORT = 40 << 20, 3 * 3600.0  # with so many bytes only the samples of the last hours are all kept
_FULL = 44 << 20  # with so many the oldest go
_PATIENCE = 0.2  # seconds to wait for another run that takes one: then it has been taken
_AT_ONCE, _STEPS, _OLDEST = 5000, 6, 2  # points, hours and samples that make way for one sample, at most
_LATELY, _LEAP = 49, 6 * 3600.0  # for two hours the clock may be wrong by more, and nothing makes way for that
LOG, SYSTEM = "log", "system"  # value and more: size and archives; free bytes and inodes
GONE: tuple[int | None, int | None] = (None, 0)
COUNTS = ("pending", "reserved", "scheduled", "failed", "stuck")
ODD = (sqlite3.Error, OSError, LogrotorError, MemoryError, UnicodeError, OverflowError)
FORMAT = 1
_OURS = 0x6C730000  # application_id less the format, so that one changed byte does not make a newer logrotor's file
_END = 1 << 62  # no number of ours comes near it
_TABLES = """
CREATE TABLE subjects (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, path BLOB NOT NULL, value INTEGER, more INTEGER,
                       taken INTEGER NOT NULL DEFAULT 0, sample INTEGER NOT NULL, UNIQUE (kind, path));
CREATE TABLE samples (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE TABLE points (id INTEGER PRIMARY KEY, sample INTEGER NOT NULL, subject INTEGER NOT NULL, value INTEGER,
                     more INTEGER, grown INTEGER);
CREATE TABLE queues (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, queue TEXT NOT NULL, pending INTEGER NOT NULL,
                     reserved INTEGER, scheduled INTEGER NOT NULL, failed INTEGER, stuck INTEGER);
CREATE TABLE thinned (id INTEGER PRIMARY KEY, sample INTEGER NOT NULL);
"""


# ---------------------------------------------------------------- writing


def keep(
    state_dir: str,
    now: float,
    found: tuple[Collection[LogSize], Collection[Space]] | None,
    taken: Mapping[str, int],
    *,
    whole: bool,
) -> None:
    """Add what a run found as a sample, and what it took since: bytes by log. Never raises: no run fails for it.

    ``found``: None where no sample is due. ``whole``: these are all logs, so that any other one is gone.
    """
    path = os.path.join(state_dir, state.SAMPLES)
    if found is None and not os.path.exists(path):
        return

    def work(connection: sqlite3.Connection) -> None:
        if found is not None and _is_next(connection, now):
            add_sample(connection, now, *found, whole=whole)
        add_taken(connection, taken)

    _write(path, now, work)


def keep_queues(state_dir: str, now: float, counts: Mapping[str, Sequence[int | None]]) -> None:
    """Add the counts of queues, by name, as :class:`QueuePoint` has them; at most every five minutes. Never raises."""

    def work(connection: sqlite3.Connection) -> None:
        last = connection.execute("SELECT time FROM queues ORDER BY id DESC LIMIT 1").fetchone()
        if is_sample_due(whole(*last)[0] if last is not None else None, now):
            rows = [(int(now), queue.encode("utf-8", "replace").decode(), *found) for queue, found in counts.items()]
            connection.executemany(
                f"INSERT INTO queues (time, queue, {', '.join(COUNTS)}) VALUES (?,?,?,?,?,?,?)", rows
            )
            oldest = "id IN (SELECT id FROM queues ORDER BY id LIMIT ?)"
            connection.execute(f"DELETE FROM queues WHERE {oldest} AND time < ?", (4 + 2 * len(rows), now - KEEP))

    if counts:
        _write(os.path.join(state_dir, state.SAMPLES), now, work)


def _write(path: str, now: float, work: Callable[[sqlite3.Connection], None]) -> None:
    """In a new file, with what could be read of the old one, where that is damaged."""
    with suppress(*ODD):
        try:
            _commit(path, now, work)
        except sqlite3.Error as error:
            if not database.is_damage(error):
                raise
            aside, _ = salvage.renew(path, make_tables, MAKERS)
            _commit(path, now, work)
            change("unlink", os.unlink, aside)


def _commit(path: str, now: float, work: Callable[[sqlite3.Connection], None]) -> None:
    with closing(database.to_write(path, _PATIENCE)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.text_factory = shown
        if make_tables(connection) != FORMAT:  # a newer logrotor's
            return
        if _is_first_today(connection, now):
            database.refuse_damage(connection)
            for row in connection.execute("SELECT * FROM samples"):
                whole(*row)
        with database.transaction(connection, _PATIENCE):
            work(connection)


def make_tables(connection: sqlite3.Connection) -> int:
    """Make the tables where there are none; returns the format that the file has. Raises sqlite3.Error."""
    found = version(connection)
    if found:
        return found
    numbers = f"PRAGMA user_version = {FORMAT}; PRAGMA application_id = {_OURS + FORMAT};"
    change("commit", connection.executescript, f"BEGIN; {_TABLES} {numbers} COMMIT;")
    return FORMAT


def version(connection: sqlite3.Connection) -> int:
    """0: the tables have not been made. Raises DatabaseError where the number was changed by itself."""
    found, mark = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
    if found and mark != _OURS + found:
        raise sqlite3.DatabaseError(f"format {found}, which it cannot have")
    return int(found)


def _newest(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """The number of the newest sample, its time, and the number of its last point."""
    found = connection.execute("SELECT id, time, last FROM samples ORDER BY id DESC LIMIT 1").fetchone()
    return whole(*found) if found is not None else (0, 0, 0)


def whole(*found: Any) -> Any:
    """The numbers as they are. Raises DatabaseError for what no run has written."""
    if not are_whole(*found):
        raise sqlite3.DatabaseError(f"{found!r:.80} are not numbers")
    return found


def are_whole(*found: object) -> bool:
    return all(isinstance(each, int) and 0 <= each < _END for each in found)


def _is_first_today(connection: sqlite3.Connection, now: float) -> bool:
    """A look at all pages takes a while."""
    return bool(_newest(connection)[1] // 86400 != int(now) // 86400)


def _is_next(connection: sqlite3.Connection, now: float) -> bool:
    """Has no other run taken one meanwhile?"""
    number, time, _ = _newest(connection)
    return not number or is_sample_due(time, now)


def add_sample(
    connection: sqlite3.Connection, now: float, logs: Collection[LogSize], spaces: Collection[Space], *, whole: bool
) -> None:
    """The statements of one sample, in whatever transaction."""
    number, _, last = _newest(connection)
    number += 1
    known = _known(connection)
    found: dict[_Key, _Values] = {(LOG, os.fsencode(path)): (size, archives) for path, size, archives in logs}
    for mount, free, inodes in spaces:
        found[SYSTEM, os.fsencode(mount)] = free, inodes
    if whole:
        found |= dict.fromkeys((key for key in known if key[0] == LOG and key not in found), GONE)
    changed: list[tuple[_Key, _Values, int | None]] = [*_changes(known, found)]
    for key, values, grown in changed:
        subject = known[key].id if key in known else connection.execute(_NEW, key).lastrowid
        connection.execute(_CHANGED, (*values, number, subject))
        connection.execute(_POINT, (number, subject, *values, grown))
    last = connection.execute("SELECT max(?, ifnull(max(id), 0)) FROM points", (last,)).fetchone()[0]
    connection.execute("INSERT INTO samples VALUES (?,?,?)", (number, max(0, int(now)), last))
    _make_room(connection, now)


def add_taken(connection: sqlite3.Connection, taken: Mapping[str, int]) -> None:
    more = [(number, LOG, os.fsencode(log)) for log, number in taken.items()]
    connection.executemany("UPDATE subjects SET taken = taken + ? WHERE kind = ? AND path = ?", more)


_NEW = "INSERT INTO subjects (kind, path, sample) VALUES (?,?,0)"
_CHANGED = "UPDATE subjects SET value = ?, more = ?, taken = 0, sample = ? WHERE id = ?"
_POINT = "INSERT INTO points (sample, subject, value, more, grown) VALUES (?,?,?,?,?)"
_Key = tuple[str, bytes]
_Values = tuple[int | None, int | None]


class _Known(NamedTuple):
    """What the last point of a subject says, and how many bytes were taken of it since."""

    id: int
    values: _Values
    taken: int


def _known(connection: sqlite3.Connection) -> dict[_Key, _Known]:
    """Raises DatabaseError for what no run has written."""
    found = {}
    for each, kind, path, value, more, taken in connection.execute(
        "SELECT id, kind, path, value, more, taken FROM subjects"
    ):
        if not (type(value or 0) is type(more or 0) is type(taken) is int) or max(value or 0, more or 0, taken) >= _END:
            raise sqlite3.DatabaseError(f"{path!r:.80} is no subject")
        found[kind, path] = _Known(each, (value, more), taken)
    return found


def _changes(known: Mapping[_Key, _Known], found: Mapping[_Key, _Values]) -> Iterator[tuple[_Key, _Values, int | None]]:
    """What has changed, with the bytes that were written to a log since its last point; None: nobody knows."""
    for key, values in found.items():
        before, grown = known.get(key), None
        if before is not None and values == before.values and not before.taken:
            continue
        if before is not None and key[0] == LOG:
            grown = (values[0] or 0) - (before.values[0] or 0) + before.taken
            if grown < 0:  # truncated by hand, say: what it had until then is in no archive, and it has begun anew
                grown = values[0] or 0
        if before is None or values != before.values or grown:
            yield key, values, grown


# ---------------------------------------------------------------- making room


def _make_room(connection: sqlite3.Connection, now: float) -> None:
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    used = (pages - free) * size
    lately = connection.execute("SELECT time FROM samples ORDER BY id DESC LIMIT ?", (_LATELY,)).fetchall()
    middle = median(whole(*each)[0] for each in lately)
    if abs(now - middle) > _LEAP:  # then the clock of most of them counts
        now = middle
    _thin(connection, now, FINE if used < _TIGHT else _SHORT)
    _forget(connection, now, used > _FULL)


def _is_older(time: int, now: float, age: float) -> bool:
    return not -_AHEAD <= now - time <= age


def _thin(connection: sqlite3.Connection, now: float, age: float) -> None:
    """Of the samples of one hour keep the last, as if there had been no other."""
    row = connection.execute("SELECT sample FROM thinned").fetchone()
    (at,) = whole(row[0] if row is not None else 0)
    work = 0
    for _ in range(_STEPS):
        ask = "SELECT id, time, last FROM samples WHERE id >= ? ORDER BY id LIMIT 15"
        found = [whole(*each) for each in connection.execute(ask, (at,))]
        ages = [_is_older(each[1], now, age) for each in found]
        others = (n for n, each in enumerate(found) if not ages[n] or each[1] // 3600 != found[0][1] // 3600)
        same = next(others, len(found))
        if work > _AT_ONCE or not same or (same == 1 and not all(ages[:2])) or len(found) < 2:
            break
        if same > 1:
            work += _join(connection, found[:same])
        at = found[same - 1][0] if same > 1 else found[1][0]
    connection.execute("INSERT OR REPLACE INTO thinned VALUES (1, ?)", (at,))


def _join(connection: sqlite3.Connection, samples: Sequence[tuple[int, int, int]]) -> int:
    """Make one of several samples; returns how many points they had."""
    begin, (end, _, last) = samples[0][0], samples[-1]
    ask = "SELECT ifnull(max(last), 0) FROM samples WHERE id < ?"
    (before,) = connection.execute(ask, (begin,)).fetchone()
    ask = "SELECT id, subject, grown FROM points WHERE id > ? AND id <= ? ORDER BY id"
    kept: dict[int, tuple[int, int | None]] = {}
    gone = []
    rows = connection.execute(ask, (before, last)).fetchall()
    for number, subject, grown in rows:
        whole(subject, grown or 0)
        earlier = kept.get(subject)
        if earlier is not None:
            gone.append((earlier[0],))
            grown = None if earlier[1] is None or grown is None else earlier[1] + grown
        kept[subject] = number, grown
    connection.executemany("DELETE FROM points WHERE id = ?", gone)
    connection.executemany(
        "UPDATE points SET sample = ?, grown = ? WHERE id = ?", [(end, grown, n) for n, grown in kept.values()]
    )
    connection.execute("DELETE FROM samples WHERE id >= ? AND id < ?", (begin, end))
    return len(rows)


def _forget(connection: sqlite3.Connection, now: float, tight: bool) -> None:
    """The oldest samples, a few at a time."""
    ask = "SELECT id, time, last FROM samples ORDER BY id LIMIT ?"
    oldest = [whole(*each) for each in connection.execute(ask, (2 * _OLDEST,))]
    for number, time, last in oldest[:_OLDEST] if len(oldest) == 2 * _OLDEST else ():
        if not tight and not _is_older(time, now, KEEP):
            break
        connection.execute("DELETE FROM points WHERE id <= ?", (last,))
        connection.execute("DELETE FROM samples WHERE id = ?", (number,))
        connection.execute("DELETE FROM subjects WHERE sample <= ? AND (kind = ? OR value IS NULL)", (number, SYSTEM))


# ---------------------------------------------------------------- rows, for whoever saves them


def shown(data: bytes) -> str:
    """Text where no run has written any: an error of Python's, in the midst of rows, would be none of SQLite's."""
    return data.decode("utf-8", "replace")


def _row(*kinds: type, may_lack: Collection[int] = ()) -> Callable[[sqlite3.Row], object]:
    def make(row: sqlite3.Row) -> object:
        for place, (kind, value) in enumerate(zip(kinds, tuple(row), strict=False)):
            if value is None and place in may_lack:
                continue
            if type(value) is not kind or (isinstance(value, int) and not 0 <= value < _END):
                raise ValueError(f"{value!r:.80} is not {kind.__name__}")
        return row

    return make


MAKERS: Mapping[str, Callable[[sqlite3.Row], object]] = {
    "subjects": _row(int, str, bytes, int, int, int, int, may_lack=(3, 4)),
    "samples": _row(int, int, int),
    "points": _row(int, int, int, int, int, int, may_lack=(3, 4, 5)),
    "queues": _row(int, int, str, int, int, int, int, int, may_lack=(4, 6, 7)),
    "thinned": _row(int, int),
}
