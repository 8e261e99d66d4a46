"""The history: lost, damaged, read-only or newer, it costs a guess about schedules, and never a line."""

from __future__ import annotations

import itertools
import os
import sqlite3
import urllib.parse
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from logrotor import Rotator, load_config
from logrotor.disk import calls
from logrotor.disk.history import quoted
from logrotor.disk.memory import VERSION, Memory, recall
from logrotor.errors import StateError
from logrotor.events import Event
from logrotor.model import CopyInFlight, Due, NotDue, Outcome, Report, Status
from tests.support import command, oracle, users
from tests.support.fixtures import world_tree

ODD = ("/logs/app.log", "/logs/a b\n'c'.log", os.fsdecode(b"/logs/\xff\xfe.log"), "/logs/ümläut ☃.log")


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(str(tmp_path))


# ---------------------------------------------------------------- what is remembered


@given(st.binary(max_size=40))
def test_any_path_stands_in_a_uri(path: bytes) -> None:
    """Quoted as the standard library quotes, which takes 2 ms to import."""
    assert quoted(os.fsdecode(path)) == urllib.parse.quote(path)


@pytest.mark.parametrize("path", ODD)
def test_everything_is_remembered(memory: Memory, tmp_path: Path, path: str) -> None:
    """Rotations, requests, archive directories, hooks and copies in flight come back, under any file name."""
    record = CopyInFlight(path, 12, 3.5, 13, 4096, "copied", "collapse", 14, 15)
    memory.rotated([path], 100.5)
    memory.requested([path], 101.0, delivered=True)
    memory.archives_in([(path, "/b"), (path, "/a"), (path, "/b")])
    memory.hooked(path, 7, 8)
    memory.hooked(path, 7, 9)
    memory.begin_copy(record)
    for found in (memory.recall().of(path), recall(str(tmp_path)).of(path)):
        assert (found.last_rotation, found.request_delivered, found.request_failed) == (100.5, 101.0, None)
        assert found.archive_dirs == ("/b", "/a"), "in the order in which they were used"
        assert found.hooked == {(7, 8), (7, 9)}
        assert found.in_flight == record
    memory.mark_copy(path)
    assert recall(str(tmp_path)).of(path).in_flight == replace(record, stage="marked")
    memory.end_copy(path)
    memory.forget_hooks(path, 7)
    assert recall(str(tmp_path)).of(path).in_flight is None
    assert recall(str(tmp_path)).of(path).hooked == frozenset()
    assert memory.problems == []


def test_a_failed_request_is_remembered_until_one_is_delivered(memory: Memory) -> None:
    """A failed request stands beside the last delivered one; the next delivered one wipes it."""
    memory.requested(["/a"], 1.0, delivered=True)
    memory.requested(["/a"], 2.0, delivered=False)
    assert (memory.recall().of("/a").request_delivered, memory.recall().of("/a").request_failed) == (1.0, 2.0)
    memory.requested(["/a"], 3.0, delivered=True)
    assert (memory.recall().of("/a").request_delivered, memory.recall().of("/a").request_failed) == (3.0, None)


def test_an_unknown_log_is_simply_unknown(memory: Memory) -> None:
    """Nothing is known of a log that never was."""
    assert memory.recall().of("/never").last_rotation is None


def test_outcomes_of_any_name_are_kept(memory: Memory, tmp_path: Path) -> None:
    """A report with names that are no text is written all the same."""
    memory.run_started(1.0, False)
    outcomes = [Outcome(log=p, action="take", status=Status.FAILED, name=p, reason=f"{p}: no", errno=28) for p in ODD]
    memory.run_completed(2.0, outcomes, {"rotated": 0, "failed": 4, "deferred": 0, "removed": 0}, 1)
    assert memory.problems == []
    rows = sqlite3.connect(tmp_path / "history.sqlite").execute("SELECT log, errno FROM outcomes").fetchall()
    assert rows == [(os.fsencode(p), 28) for p in ODD]


def test_readers_change_nothing(memory: Memory, tmp_path: Path) -> None:
    """recall() creates no file beside the history and does not touch it."""
    memory.rotated(["/a"], 1.0)
    memory.close()
    before = [(p.name, p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(tmp_path.iterdir())]
    recall(str(tmp_path))
    assert [(p.name, p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(tmp_path.iterdir())] == before
    assert [name for name, _, _ in before] == ["history.sqlite"]
    assert (tmp_path / "history.sqlite").stat().st_mode & 0o777 == 0o600


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
    with sqlite3.connect(path) as history:
        history.execute("UPDATE logs SET last_rotation = 'yesterday'")


def odd_names(path: Path) -> None:
    with sqlite3.connect(path) as history:
        history.execute("INSERT INTO archive_dirs VALUES (NULL, 7)")


def odd_copy(path: Path) -> None:
    log = bytes(path.parent.parent / "logs" / "app.log")
    with sqlite3.connect(path) as history:
        history.execute("INSERT INTO in_flight VALUES (?, 1, 2.0, 3, 'x', 'copied', 'truncate', 0, NULL)", (log,))


DAMAGE = [garbage, halved, scribbled, another_program, tables_of_no_version, odd_values, odd_names, odd_copy]


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


def test_an_older_history_is_read_and_upgraded(tmp_path: Path) -> None:
    """A copy that was in flight under the first format is known before and after, without what that did not tell."""
    Memory(str(tmp_path)).close()
    with sqlite3.connect(tmp_path / "history.sqlite") as history:
        history.executescript(
            "ALTER TABLE in_flight DROP COLUMN archive_mtime_ns; ALTER TABLE in_flight DROP COLUMN head;"
            "INSERT INTO in_flight VALUES (CAST('/a.log' AS BLOB), 1, 2.0, 3, 4096, 'marked', 'collapse');"
            "PRAGMA user_version = 1;"
        )
    history.close()
    record = CopyInFlight("/a.log", 1, 2.0, 3, 4096, "marked", "collapse", 0, 0)
    assert recall(str(tmp_path)).of("/a.log").in_flight == record
    for _ in range(2):
        memory = Memory(str(tmp_path))
        assert memory.recall().of("/a.log").in_flight == record
        memory.begin_copy(replace(record, archive_mtime_ns=5))
        memory.begin_copy(record)
        memory.close()
        assert memory.problems == [] and memory.replaced is None


def test_a_newer_history_is_refused(shop: Shop) -> None:
    """What a newer logrotor wrote is left alone: plan and run say which format, and what to do; nothing is rotated."""
    with sqlite3.connect(shop.history) as history:
        history.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = shop.history.read_bytes(), sorted(os.listdir(shop.log.parent))
    for attempt in (shop.rotator().plan, lambda: shop.rotator().run(force=True)):
        with pytest.raises(StateError, match=rf"newer logrotor \(format {VERSION + 1}, this one knows {VERSION}\)"):
            attempt()
    assert (shop.history.read_bytes(), sorted(os.listdir(shop.log.parent))) == before


def test_a_hot_journal_is_rolled_back(shop: Shop) -> None:
    """A run that died in the middle of a commit left a journal: plan does without, run rolls back and remembers."""
    known = recall(str(shop.history.parent)).of(str(shop.log)).last_rotation

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
    assert any("cannot be read" in note for note in plan.notes)
    assert journal.exists(), "a plan changes nothing"
    memory = Memory(str(shop.history.parent))
    assert memory.recall().of(str(shop.log)).last_rotation == known
    memory.close()
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
    assert any(str(shop.history) in problem and "went on without it" in problem for problem in report.problems)


def test_commits_that_fail(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk under the history: what helps is left out and told once; the rotation and its archives are done."""
    real = calls.invoke

    def full(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if operation == "commit":
            raise OSError(28, "No space left on device")
        return real(operation, function, *args, **kwargs)

    monkeypatch.setattr(calls, "invoke", full)
    report = shop.rotate(code=1)
    assert len([p for p in report.problems if "No space left" in p]) == 1
    assert report.count("compress") == 1


def test_a_history_that_somebody_reads_for_long(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for once, not for each archive; only the record of a copy is worth another wait."""

    def waits() -> list[int]:
        return [row[0] for row in memory._connection.execute("PRAGMA busy_timeout")]

    memory.hooked("/a", 1, 2)
    assert waits() == [10_000]
    monkeypatch.setattr("logrotor.disk.memory._PATIENCE", 0.01)
    reader = sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM hooked").fetchall()
    for inode in (1, 2):
        memory.forget_hooks("/a", inode)
    assert waits() == [0] and len(memory.problems) == 1
    record = CopyInFlight("/a", 12, 3.5, 13, 4096, "copied", "collapse", 14, 15)
    with pytest.raises(OSError, match="locked"):
        memory.begin_copy(record)
    assert waits() == [10]
    reader.close()
    memory.begin_copy(record)
    memory.forget_hooks("/a", 1)
    found = memory.recall().of("/a")
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
    with sqlite3.connect(shop.history) as history:
        history.execute("PRAGMA user_version = 99")
    config = shop.root / "logrotor.toml"
    config.write_text(
        f'state_dir = "{shop.root}/state"\n[[log]]\nname = "app"\npaths = ["logs/*.log"]\nmax_size = "1K"\n'
    )
    result = command.logrotor("run", "-c", config, "--log-format", "console", check=2)
    assert "upgrade logrotor, or set another state_dir" in result.stderr
