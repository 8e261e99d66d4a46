"""The history: lost, damaged, read-only or newer, it costs a guess about schedules, and never a line."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import sqlite3
import tempfile
import urllib.parse
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from logrotor import Rotator, load_config
from logrotor.disk import calls, database, recalled
from logrotor.disk.database import OURS, VERSION, quoted
from logrotor.disk.history import History, RunHistory
from logrotor.errors import StateError
from logrotor.events import Event
from logrotor.model import Attempt, CopyInFlight, Due, Ending, NotDue, Outcome, Report, Status
from tests.support import command, mounts, oracle, users
from tests.support.fixtures import world_tree

ODD = ("/logs/app.log", "/logs/a b\n'c'.log", os.fsdecode(b"/logs/\xff\xfe.log"), "/logs/ümläut ☃.log")


@pytest.fixture
def history(tmp_path: Path) -> RunHistory:
    return RunHistory(str(tmp_path))


# ---------------------------------------------------------------- what is remembered


@given(st.binary(max_size=40))
def test_any_path_stands_in_a_uri(path: bytes) -> None:
    """Quoted as the standard library quotes, which takes 2 ms to import."""
    assert quoted(os.fsdecode(path)) == urllib.parse.quote(path)


@pytest.mark.parametrize("path", ODD)
def test_everything_is_remembered(history: RunHistory, tmp_path: Path, path: str) -> None:
    """Rotations, requests, archive directories, hooks and copies in flight come back, under any file name."""
    record = CopyInFlight(path, 12, 3.5, 13, 4096, "copied", "collapse", 14, 15)
    history.rotated([path], 100.5)
    history.requested([path], 101.0, delivered=True)
    history.archives_in([(path, "/b"), (path, "/a"), (path, "/b")])
    history.hooked(path, 7, 8)
    history.hooked(path, 7, 9)
    history.begin_copy(record)
    for found in (history.recall().of(path), History(str(tmp_path)).recall().of(path)):
        assert (found.last_rotation, found.request_delivered, found.request_failed) == (100.5, 101.0, None)
        assert found.archive_dirs == ("/b", "/a"), "in the order in which they were used"
        assert found.hooked == {(7, 8), (7, 9)}
        assert found.in_flight == record
    history.begin_copy(replace(record, stage="marked"))
    assert History(str(tmp_path)).recall().of(path).in_flight == replace(record, stage="marked")
    history.end_copy(path)
    history.forget_hooks(path, 7)
    assert History(str(tmp_path)).recall().of(path).in_flight is None
    assert History(str(tmp_path)).recall().of(path).hooked == frozenset()
    assert history.problems == []


def test_a_failed_request_is_remembered_until_one_is_delivered(history: RunHistory) -> None:
    """A failed request stands beside the last delivered one; the next delivered one wipes it."""
    history.requested(["/a"], 1.0, delivered=True)
    history.requested(["/a"], 2.0, delivered=False)
    assert (history.recall().of("/a").request_delivered, history.recall().of("/a").request_failed) == (1.0, 2.0)
    history.requested(["/a"], 3.0, delivered=True)
    assert (history.recall().of("/a").request_delivered, history.recall().of("/a").request_failed) == (3.0, None)


def test_a_directory_has_archives_of_one_log_of_a_name(history: RunHistory) -> None:
    """Another log of that name had some there: it has none left. Names that only end alike are others."""
    history.archives_in([("/one/a.log", "/old"), ("/one/aa.log", "/old"), ("/one/a.log", "/older")])
    history.archives_in([("/two/a.log", "/old")])
    known = history.recall()
    kept = {path: known.of(path).archive_dirs for path in ("/one/a.log", "/one/aa.log", "/two/a.log")}
    assert kept == {"/one/a.log": ("/older",), "/one/aa.log": ("/old",), "/two/a.log": ("/old",)}
    assert known.keeper("/old", "a.log", {"a.log"}) == "/two/a.log"


PLACES = st.sampled_from(["/a", "/a/b", "/a/b/c", "/a0", "/a-b", "/", "/z/y"])
NAMES = st.sampled_from(["a", "b", "x.log", "\udcff", "0"])
LOGS = st.builds(os.path.join, PLACES, NAMES)


@given(st.dictionaries(LOGS, st.booleans()), st.dictionaries(st.tuples(PLACES, NAMES), PLACES), st.sets(PLACES))
def test_a_large_history_says_the_same(
    logs: dict[str, bool], archives: dict[tuple[str, str], str], places: set[str]
) -> None:
    """Read as it is asked, it knows of each log what it knows when it is read whole."""
    moved = {os.path.join(home, name): place for (place, name), home in archives.items()}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        with closing(sqlite3.connect(f"{folder}/history.sqlite")) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            database.upgrade(connection)
            rows = [(os.fsencode(log), 100.5 if rotated else None) for log, rotated in logs.items()]
            connection.executemany("INSERT INTO logs (path, last_rotation) VALUES (?, ?)", rows)
            rows = [(os.fsencode(log), os.fsencode(place)) for log, place in moved.items()]
            connection.executemany("INSERT INTO archive_dirs VALUES (?, ?)", rows)
            connection.commit()
        whole = History(folder).recall()
        patch.setattr(recalled, "WHOLE", -1)
        large = History(folder).recall()
        assert isinstance(large, recalled.Recalled) and not isinstance(whole, recalled.Recalled)
        assert sorted(large.rotated_outside(places)) == sorted(whole.rotated_outside(places))
        assert large.has_keepers == whole.has_keepers
        for (place, name), _ in itertools.product([*archives, ("/a", "none")], range(2)):
            assert large.keeper(place, name, {"a", "b"}) == whole.keeper(place, name, {"a", "b"})
        for log in {*logs, *moved, "/a/none"}:
            assert large.of(log) == whole.of(log)


def test_an_unknown_log_is_simply_unknown(history: RunHistory) -> None:
    """Nothing is known of a log that never was."""
    assert history.recall().of("/never").last_rotation is None


def test_outcomes_of_any_name_are_kept(history: RunHistory, tmp_path: Path) -> None:
    """A report with names that are no text is written all the same."""
    history.run_started(1.0, False)
    outcomes = [Outcome(log=p, action="take", status=Status.FAILED, name=p, reason=f"{p}: no", errno=28) for p in ODD]
    history.run_completed(2.0, outcomes, {"rotated": 0, "failed": 4, "deferred": 0, "removed": 0}, 1)
    assert history.problems == []
    rows = sqlite3.connect(tmp_path / "history.sqlite").execute("SELECT log, errno FROM outcomes").fetchall()
    assert rows == [(os.fsencode(p), 28) for p in ODD]


def test_readers_change_nothing(history: RunHistory, tmp_path: Path) -> None:
    """recall() creates no file beside the history and does not touch it."""
    history.rotated(["/a"], 1.0)
    history.close()
    before = [(p.name, p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(tmp_path.iterdir())]
    History(str(tmp_path)).recall()
    assert [(p.name, p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(tmp_path.iterdir())] == before
    assert [name for name, _, _ in before] == ["history.sqlite"]
    assert (tmp_path / "history.sqlite").stat().st_mode & 0o777 == 0o600


# ---------------------------------------------------------------- attempts of jobs

FIRST = Attempt(
    id=0, job="a", number=1, engine="huey", queue="q", host="h", started=100.0, ending=Ending.RUNNING, pid=1,
    payload="{}",
)  # fmt: skip


def test_a_lost_job_that_is_delivered_after_all_is_no_failed_one(tmp_path: Path) -> None:
    """Another job calls it lost; then the engine gives it to a worker once more, and it is done."""
    history = History(str(tmp_path))
    history.begin_attempt(FIRST, overdue=0)
    history.begin_attempt(replace(FIRST, job="b", started=300.0), overdue=200.0)
    assert [(fault.job, fault.ending) for fault in history.faults("q")] == [("a", Ending.LOST)]

    again = history.begin_attempt(replace(FIRST, started=400.0), overdue=200.0)
    assert again.number == 2 and history.faults("q") == []
    history.end_attempt(replace(again, ended=401.0, ending=Ending.DONE, final=True))
    assert history.faults("q") == []


def test_nothing_is_made_where_no_job_has_been(tmp_path: Path) -> None:
    """Clearing and settling what is not there is no error, and leaves no file."""
    history = History(str(tmp_path / "state"))
    history.forget_faults([1])
    assert history.prune_attempts(1e9) == 0 and history.attempts_since(0) == []
    assert not (tmp_path / "state").exists()


# ---------------------------------------------------------------- damage


class Shop:
    """A log with a daily rule, its history, and what is told of it."""

    def __init__(self, root: Path) -> None:
        self.root, self.log = root, root / "logs" / "app.log"
        self.history = root / "state" / "history.sqlite"
        self.log.parent.mkdir()
        self.events: list[Event] = []
        self.written = 0

    def rotator(self, **more: Any) -> Rotator:
        rule = {"name": "app", "paths": [str(self.log)], "schedule": "daily", "backup_count": 5, **more}
        config = load_config({"state_dir": str(self.root / "state"), "log": [rule]}, environ={})
        return Rotator(config, on_event=self.events.append)

    def write(self) -> None:
        with self.log.open("ab") as file:
            file.write(oracle.lines("w1", self.written + 1, self.written + 10))
        self.written += 10

    def rotate(self, code: int = 0, **more: Any) -> Report:
        self.write()
        report = self.rotator(**more).run(force=True)
        assert report.exit_code == code, report.failed
        oracle.count(self.log.parent, "app.log", expected={"w1": self.written}).check()
        return report

    def told(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.rotate()
    made.write()
    return made


def test_a_lost_history_costs_a_guess(shop: Shop) -> None:
    """Without the history the log's birth tells when it was rotated: not due again today, due tomorrow."""
    shop.history.unlink()
    now = datetime.now().astimezone()
    (today,) = shop.rotator().plan(now).logs
    (later,) = shop.rotator().plan(now + timedelta(days=1)).logs
    assert isinstance(today.due, NotDue) and isinstance(later.due, Due)
    shop.rotate()


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def scribbled(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))


def another_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as other:
        other.executescript(f"CREATE TABLE runs (song TEXT); PRAGMA user_version = {VERSION};")


def tables_of_no_version(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as other:
        other.executescript("CREATE TABLE runs (song TEXT);")


def odd_values(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("UPDATE logs SET last_rotation = 'yesterday'")


def odd_names(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO archive_dirs VALUES (NULL, 7)")


def odd_copy(path: Path) -> None:
    log = bytes(path.parent.parent / "logs" / "app.log")
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO in_flight VALUES (?, 1, 2.0, 3, 'x', 'copied', 'truncate', 0, 0)", (log,))


def zeroed_outcomes(path: Path) -> None:
    with sqlite3.connect(path) as other:
        (page,) = other.execute("SELECT rootpage FROM sqlite_master WHERE name = 'outcomes'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def version_flipped(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(63)
        file.write(b"\x42")


def views(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.executescript(
            "CREATE VIEW odd AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
        )


DAMAGE = [
    zeroed_outcomes,
    version_flipped,
    views,
    garbage,
    halved,
    scribbled,
    another_program,
    tables_of_no_version,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_history_is_set_aside(shop: Shop, damage: Callable[[Path], None]) -> None:
    """It is kept under another name, a warning says so, and the rotation goes on with a new one."""
    damage(shop.history)
    bad = shop.history.read_bytes()
    shop.rotator().plan()  # does not stop either
    assert shop.history.read_bytes() == bad
    shop.rotate()
    (event,) = shop.told("state.replaced")
    aside = shop.history.with_name("history.sqlite.damaged-1")
    assert str(aside) in event.fields["detail"] and event.level.name == "WARNING"
    assert aside.read_bytes() == bad
    shop.rotate()
    assert len(shop.told("state.replaced")) == 1, "the new one is sound"


def all_rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as opened:
        tables = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: opened.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


@pytest.mark.parametrize(
    ("damage", "table"), [(odd_values, "logs"), (odd_names, "archive_dirs"), (odd_copy, "in_flight")]
)
def test_rows_that_nobody_can_read_go_alone(shop: Shop, damage: Callable[[Path], None], table: str) -> None:
    """The file is not damaged: every other row stays, and how many went, of which table, is said once."""
    attempt = Attempt(
        id=0, job="a", number=1, engine="huey", queue="q", host="h", started=100.0, ending=Ending.RUNNING, pid=1,
        payload="{}",
    )  # fmt: skip
    History(str(shop.history.parent)).begin_attempt(attempt, overdue=0)
    before = all_rows(shop.history)
    damage(shop.history)
    told: list[tuple[str, str]] = []
    RunHistory(str(shop.history.parent), tell=lambda event, detail: told.append((event, detail))).close()
    RunHistory(str(shop.history.parent), tell=lambda event, detail: told.append((event, detail))).close()
    assert all_rows(shop.history) == {**before, table: []}
    ((event, detail),) = told
    assert event == "state.repaired" and f"1 row of {table}" in detail
    assert [path.name for path in shop.history.parent.glob("*damaged*")] == []


def test_rows_that_cannot_be_deleted_now(shop: Shop) -> None:
    """Another program reads the history: that is told, the others are used, and the next run deletes them."""
    odd_names(shop.history)
    told: list[str] = []
    with closing(sqlite3.connect(shop.history, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        history = RunHistory(str(shop.history.parent), patience=0, tell=lambda event, _: told.append(event))
        assert len(history.problems) == 1 and told == []
        assert history.recall().of(str(shop.log)).last_rotation is not None
        history.close()
    RunHistory(str(shop.history.parent), tell=lambda event, _: told.append(event)).close()
    assert told == ["state.repaired"]


def archives_cut_in_two(path: Path) -> None:
    """One page amid the archives is noise; those before and behind it can be read."""
    with closing(sqlite3.connect(path)) as other, other:
        row = "INSERT INTO archives (log, directory, name, inode, xxh128, bytes, lines) VALUES (?, ?, ?, ?, ?, 1, 1)"
        other.executemany(row, [(b"/a", b"/", b"a.%d" % n, n, f"{n:032x}") for n in range(1000)])
    data = bytearray(path.read_bytes())
    page = data.index(f"{500:032x}".encode()) // 4096 * 4096
    data[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(data)


def test_the_records_of_a_damaged_history_are_kept(shop: Shop) -> None:
    """Archives, runs, outcomes, jobs and their faults: what can be read is in the new file, as it was."""
    history = History(str(shop.history.parent))
    attempt = Attempt(
        id=1, job="a", number=1, engine="huey", queue="q", host="h", started=100.0, ending=Ending.RUNNING, pid=1,
        payload="{}",
    )  # fmt: skip
    history.begin_attempt(attempt, overdue=0)
    history.end_attempt(replace(attempt, ended=101.0, ending=Ending.FAILED, final=True), cause="why")
    with closing(sqlite3.connect(shop.history)) as other, other:
        other.execute("UPDATE archives SET bytes = 7, lines = 1, xxh128 = 'x'")
        other.execute("INSERT INTO archives (log, directory, name, inode) VALUES ('odd', 'odd', 'odd', -1)")
    before = all_rows(shop.history)
    archives_cut_in_two(shop.history)
    RunHistory(str(shop.history.parent), tell=lambda *_: None).close()
    after = all_rows(shop.history)
    assert after["archives"][: len(before["archives"]) - 1] == before.pop("archives")[:-1]
    assert 900 < len(after["archives"]) < 1000 and after.pop("archives")[-1][3] == b"a.999"
    assert {table: rows for table, rows in before.items() if rows} == {t: rows for t, rows in after.items() if rows}
    assert before["faults"] and before["totals"] and before["runs"] and before["outcomes"]


@pytest.mark.parametrize("exchange", [True, False])
def test_killed_while_a_damaged_history_is_replaced(shop: Shop, exchange: bool) -> None:
    """Before any change: the next run knows of the copy in flight. Without an exchange that is so but for the swap."""
    record = CopyInFlight("/gone.log", 12, 3.5, 13, 4096, "copied", "collapse", 14, 15)
    history = RunHistory(str(shop.history.parent))
    history.begin_copy(record)
    history.close()
    zeroed_outcomes(shop.history)
    kept = shop.root / "kept"
    shop.history.parent.rename(kept)
    known: list[bool] = []
    code = 1
    while code:
        shutil.rmtree(shop.history.parent, ignore_errors=True)
        shutil.copytree(kept, shop.history.parent)
        code = _killed_at(shop.history, len(known) + 1, exchange)
        history = RunHistory(str(shop.history.parent))
        known.append(history.recall().of("/gone.log").in_flight == record)
        history.close()
    assert len(known) > 3 and known.count(False) == (0 if exchange else 1)


def _killed_at(history: Path, point: int, exchange: bool) -> int:
    """A run in a fork that ends before its n-th change; 0 if there are not so many."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    usual, count = calls.invoke, itertools.count(1)

    def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if next(count) == point:
            os._exit(9)
        if operation == "exchange" and not exchange:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return usual(operation, function, *args, **kwargs)

    calls.invoke = invoke
    RunHistory(str(history.parent)).close()
    os._exit(0)


def test_a_damaged_history_and_a_full_disk(shop: Shop) -> None:
    """It stays in its place, with all that it has, and the next run with room takes that into a new one."""
    record = CopyInFlight("/gone.log", 12, 3.5, 13, 4096, "copied", "collapse", 14, 15)
    with mounts.tmpfs(shop.root, size="256k") as full:
        history = RunHistory(str(full))
        history.begin_copy(record)
        history.close()
        zeroed_outcomes(full / "history.sqlite")
        before = (full / "history.sqlite").read_bytes()
        (full / "fill").write_bytes(bytes(full_of(full)))
        history = RunHistory(str(full))
        assert len(history.problems) == 1 and history.replaced is None
        history.close()
        assert sorted(os.listdir(full)) == ["fill", "history.sqlite"]
        assert (full / "history.sqlite").read_bytes() == before
        (full / "fill").unlink()
        history = RunHistory(str(full))
        assert history.recall().of("/gone.log").in_flight == record and history.problems == []
        history.close()


def full_of(folder: Path) -> int:
    """Bytes that are free there, but for a page or two."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_bsize - 8192


@pytest.mark.parametrize("damage", [zeroed_outcomes])
def test_what_can_be_read_of_a_damaged_history_is_kept(shop: Shop, damage: Callable[[Path], None]) -> None:
    """A copy in flight and where archives lie are known in the new file too; only what is damaged is forgotten."""
    history = RunHistory(str(shop.history.parent))
    record = CopyInFlight("/gone.log", 12, 3.5, 13, 4096, "copied", "collapse", 14, 15)
    history.begin_copy(record)
    history.archives_in([("/gone.log", "/a"), ("/gone.log", "/b")])
    history.hooked("/gone.log", 1, 2)
    history.close()
    damage(shop.history)
    shop.rotate()
    assert len(shop.told("state.replaced")) == 1
    found = History(str(shop.history.parent)).recall().of("/gone.log")
    assert (found.in_flight, found.archive_dirs, found.hooked) == (record, ("/a", "/b"), {(1, 2)})


def test_a_file_that_turns_out_damaged_during_a_run_is_set_aside(shop: Shop) -> None:
    """All that the run keeps is in the new one, the run itself among it."""
    history = RunHistory(str(shop.history.parent))
    known = history.recall().of(str(shop.log)).last_rotation
    history.run_started(5.0, True)
    with sqlite3.connect(shop.history) as other:
        other.executescript("DROP TABLE outcomes")
    outcome = Outcome(log="/a", action="take", status=Status.DONE)
    history.run_completed(7.0, [outcome], {"rotated": 1, "failed": 0, "deferred": 0, "removed": 0}, 0)
    assert history.problems == [] and history.replaced is not None
    history.close()
    found = History(str(shop.history.parent))
    assert [(run.started, run.ended, run.forced) for run in found.runs()][1:] == [(5.0, 7.0, True)]
    assert [(o.log, o.run) for o in found.outcomes()] == [("/a", found.runs()[1].id)]
    assert found.recall().of(str(shop.log)).last_rotation == known


def test_rows_that_are_not_ours_are_left_out(shop: Shop) -> None:
    """They are counted, and the others are told; no value of theirs gets any further."""
    found = History(str(shop.history.parent))
    before = len(found.outcomes())
    odd = ["'x'", "9e999", "-1.0", "NULL", "CAST(x'ff' AS TEXT)"]
    details = ['{"inode": "x"}', "[]", '{"bytes": NaN}', '{"logs": 7}', "[" * 100_000, '{"problem": {"x": 1}}']
    with sqlite3.connect(shop.history) as other:
        for value in odd:
            other.execute(
                f"INSERT INTO outcomes (run, time, log, action, status) VALUES (1, {value}, x'2f', 'a', 'done')"
            )
        for details in (
            '{"inode": "x"}',
            "[]",
            '{"bytes": NaN}',
            '{"logs": 7}',
            "[" * 100_000,
            '{"problem": {"x": 1}}',
        ):
            row = (1, 1.0, b"/", "a", "done", details)
            other.execute("INSERT INTO outcomes (run, time, log, action, status, details) VALUES (?,?,?,?,?,?)", row)
    assert (len(found.settled_outcomes()), found.left_out) == (before, len(odd) + 6)


def test_an_empty_history_is_a_new_one(shop: Shop) -> None:
    """A file of no bytes, as after a power cut, is filled again without a word."""
    shop.history.write_bytes(b"")
    shop.rotate()
    assert shop.told("state.replaced") == []


def test_each_damaged_history_is_kept(shop: Shop) -> None:
    """A second damaged one does not overwrite the first."""
    for number in range(1, 4):
        shop.history.write_bytes(b"bad %d" % number * 100)
        shop.rotate()
        assert shop.history.with_name(f"history.sqlite.damaged-{number}").read_bytes() == b"bad %d" % number * 100


FORMAT_1 = """
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
INSERT INTO in_flight VALUES (CAST('/a.log' AS BLOB), 1, 2.0, 3, 4096, 'marked', 'collapse');
INSERT INTO runs (id, started, pid) VALUES (1, 5.0, 7);
PRAGMA user_version = 1;
"""
FORMAT_2 = (
    FORMAT_1
    + """
ALTER TABLE in_flight ADD COLUMN archive_mtime_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE in_flight ADD COLUMN head INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 2;
"""
)
ATTEMPTS = """
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, job TEXT NOT NULL, number INTEGER NOT NULL, engine TEXT, queue TEXT, host TEXT,
    started REAL NOT NULL, ended REAL, ending TEXT NOT NULL, final INTEGER NOT NULL DEFAULT 0, detail TEXT,
    pid INTEGER, payload TEXT, settled TEXT NOT NULL DEFAULT '');
INSERT INTO attempts (job, number, engine, queue, host, started, ending, pid, payload)
    VALUES ('old', 1, 'huey', 'q', 'h', 50.0, 'running', 1, '{}');
"""
OLDER = {"jobs only": ATTEMPTS, "1": FORMAT_1, "1 and jobs": FORMAT_1 + ATTEMPTS, "2": FORMAT_2,
         "2 and jobs": FORMAT_2 + ATTEMPTS}  # fmt: skip


def schema_of(folder: Path) -> dict[str, str]:
    with sqlite3.connect(folder / "history.sqlite") as found:
        assert found.execute("PRAGMA user_version").fetchone() == (VERSION,)
        return {
            name: sorted(column[1:3] for column in found.execute(f"PRAGMA table_info({name})"))
            for (name,) in found.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }


@pytest.mark.parametrize("script", OLDER.values(), ids=OLDER)
@pytest.mark.parametrize("job_first", [False, True])
def test_an_older_history_is_read_and_upgraded(tmp_path: Path, script: str, job_first: bool) -> None:
    """All that an older logrotor remembered is known before and after, whether a run or a job comes first."""
    with sqlite3.connect(tmp_path / "history.sqlite") as old:
        old.executescript(script)
    old.close()
    has_runs, has_jobs = FORMAT_1 in script, ATTEMPTS in script
    record = CopyInFlight("/a.log", 1, 2.0, 3, 4096, "marked", "collapse", 0, 0) if has_runs else None
    looking = History(str(tmp_path))

    def check(jobs: list[str]) -> None:
        assert looking.recall().of("/a.log").in_flight == record
        assert [(run.id, run.started, run.pid) for run in looking.runs()] == [(1, 5.0, 7)] * has_runs
        assert [attempt.job for attempt in looking.attempts_since(0)] == jobs

    jobs = ["old"] * has_jobs
    check(jobs)
    if job_first:
        looking.begin_attempt(FIRST, overdue=0)
        check(jobs := [*jobs, "a"])
    for _ in range(2):
        history = RunHistory(str(tmp_path))
        history.begin_copy(CopyInFlight("/b.log", 1, 2.0, 3, 4096, "copied", "truncate", 5, 6))
        history.end_copy("/b.log")
        history.close()
        assert history.problems == [] and history.replaced is None
        check(jobs)
    looking.begin_attempt(replace(FIRST, job="b"), overdue=0)
    check([*jobs, "b"])
    (tmp_path / "new").mkdir()
    RunHistory(str(tmp_path / "new")).close()
    assert schema_of(tmp_path) == schema_of(tmp_path / "new")


def test_an_older_logrotor_goes_on_beside(tmp_path: Path) -> None:
    """An old cron line and a new worker on one file: the format is what the old one knows, and a job leaves the tables
    of a run as they are, for that run may be at work."""
    with sqlite3.connect(tmp_path / "history.sqlite") as old:
        old.executescript(FORMAT_1)
    History(str(tmp_path)).begin_attempt(FIRST, overdue=0)
    old.execute("INSERT INTO in_flight VALUES (CAST('/b.log' AS BLOB), 1, 2.0, 3, 4096, 'copied', 'collapse')")
    assert old.execute("PRAGMA user_version").fetchone() == (1,)
    old.commit()
    old.close()


def test_a_newer_history_is_refused(shop: Shop) -> None:
    """What a newer logrotor wrote is left alone: plan and run say which format, and what to do; nothing is rotated."""
    with sqlite3.connect(shop.history) as other:
        other.executescript(f"PRAGMA user_version = {VERSION + 1}; PRAGMA application_id = {OURS + VERSION + 1}")
    before = shop.history.read_bytes(), sorted(os.listdir(shop.log.parent))
    for attempt in (shop.rotator().plan, lambda: shop.rotator().run(force=True)):
        with pytest.raises(StateError, match=rf"newer logrotor \(format {VERSION + 1}, this one knows {VERSION}\)"):
            attempt()
    assert (shop.history.read_bytes(), sorted(os.listdir(shop.log.parent))) == before


def test_a_hot_journal_is_rolled_back(shop: Shop) -> None:
    """A run that died in the middle of a commit left a journal: plan does without, run rolls back and remembers."""
    known = History(str(shop.history.parent)).recall().of(str(shop.log)).last_rotation

    def die() -> None:
        history = sqlite3.connect(shop.history)
        history.execute("PRAGMA cache_size = 1")
        history.execute("BEGIN IMMEDIATE")
        history.execute("UPDATE logs SET last_rotation = 1.0")
        for number in range(2000):  # more than the cache holds: the file itself is changed by now
            history.execute("INSERT INTO outcomes (reason) VALUES (?)", (f"{number:0500d}",))
        os._exit(0)

    with pytest.raises(ChildProcessError):
        users.in_fork(die)
    journal = shop.history.with_name("history.sqlite-journal")
    assert journal.stat().st_size > 0
    plan = shop.rotator().plan()
    assert any(str(shop.history) in note for note in plan.notes)
    assert journal.exists(), "a plan changes nothing"
    history = RunHistory(str(shop.history.parent))
    assert history.recall().of(str(shop.log)).last_rotation == known
    history.close()
    shop.rotate()
    assert shop.told("state.replaced") == []


# ---------------------------------------------------------------- a history that cannot be written


def test_a_read_only_history(tmp_path: Path) -> None:
    """The rotation goes on; exit 1 names the file."""
    with world_tree("www-data") as root:
        users.as_user("www-data", _rotate_with_read_only_history, root)


def _rotate_with_read_only_history(root: Path) -> None:
    shop = Shop(root)
    shop.rotate()
    shop.history.chmod(0o400)
    report = shop.rotate(code=1)
    assert report.rotated == 1 and report.count("compress") == 1
    assert [problem.subject for problem in report.problems] == [str(shop.history)]


@pytest.mark.parametrize("is_new", [False, True])
def test_commits_that_fail(shop: Shop, monkeypatch: pytest.MonkeyPatch, is_new: bool) -> None:
    """A full disk under the history: what helps is left out and told once; the rotation and its archives are done."""
    if is_new:
        shop.history.unlink()
    monkeypatch.setattr(database, "_PATIENCE", 1)  # nobody else is about to write it
    real = calls.invoke

    def full(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if operation == "commit":
            raise OSError(28, "No space left on device")
        return real(operation, function, *args, **kwargs)

    monkeypatch.setattr(calls, "invoke", full)
    report = shop.rotate(code=1)
    assert [problem.subject for problem in report.problems] == [str(shop.history)]
    assert report.count("compress") == 1


def test_a_history_that_somebody_reads_for_long(tmp_path: Path) -> None:
    """It is waited for once, not for each archive; only the record of a copy is worth another wait."""
    history = RunHistory(str(tmp_path), patience=0.01)

    def waits() -> list[int]:
        return [row[0] for row in history._connection.execute("PRAGMA busy_timeout")]

    history.hooked("/a", 1, 2)
    assert waits() == [10]
    reader = sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM hooked").fetchall()
    for inode in (1, 2):
        history.forget_hooks("/a", inode)
    assert waits() == [0] and len(history.problems) == 1
    record = CopyInFlight("/a", 12, 3.5, 13, 4096, "copied", "collapse", 14, 15)
    with pytest.raises(OSError, match="locked"):
        history.begin_copy(record)
    assert waits() == [10]
    reader.close()
    history.begin_copy(record)
    history.forget_hooks("/a", 1)
    found = history.recall().of("/a")
    assert (found.hooked, found.in_flight) == (frozenset(), record), "it is tried all the same"


def test_a_copy_needs_its_record(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the record of a copytruncate cannot be written, nothing is cut: the log stays whole."""
    real = calls.invoke
    count = itertools.count()

    def full(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if operation == "commit" and next(count) >= 1:
            raise OSError(28, "No space left on device")
        return real(operation, function, *args, **kwargs)

    monkeypatch.setattr(calls, "invoke", full)
    with shop.log.open("ab") as file:
        file.write(oracle.lines("w1", shop.written + 1, shop.written + 500))
    shop.written += 500
    before = shop.log.read_bytes()
    report = shop.rotator(method="copytruncate").run(force=True)
    monkeypatch.undo()
    assert report.exit_code == 1 and report.rotated == 0
    assert shop.log.read_bytes() == before
    shop.rotate(method="copytruncate")


def test_the_command_line_says_it_in_one_line(shop: Shop) -> None:
    """A newer history is exit 2 on the command line, in words."""
    with sqlite3.connect(shop.history) as other:
        other.executescript(f"PRAGMA user_version = 99; PRAGMA application_id = {OURS + 99}")
    config = shop.root / "logrotor.toml"
    config.write_text(
        f'state_dir = "{shop.root}/state"\n[[log]]\nname = "app"\npaths = ["logs/*.log"]\nmax_size = "1K"\n'
    )
    result = command.logrotor("run", "-c", config, "--log-format", "console", check=2)
    assert "upgrade logrotor, or set another state_dir" in result.stderr
