"""Whatever history.sqlite holds, and whatever lies in its place or beside it: rotation goes on, and nobody trips.

Each seed damages the history of a deployment in one to three ways, lets every command look at it, in any order, and
judges from outside: exit codes as documented, never "a bug" or a traceback, looking changes nothing, a run rotates and
says what it found, the next one has nothing to say, and each line is there once.

    LOGROTOR_SEED=17 pytest tests/proof/test_damaged_history.py -m "" -k seeds    one of them
    LOGROTOR_SEEDS=100000 pytest ...                                             more of them
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from logrotor.model import Attempt, CopyInFlight, Ending
from tests.proof.interfere import memory_folder
from tests.support import command, oracle
from tests.support.drivers import Driver

SEEDS = int(os.environ.get("LOGROTOR_SEEDS", "1000"))
PARTS = 20
QUICK = range(24)
ONE = os.environ.get("LOGROTOR_SEED")

CONFIG = """
state_dir = "state"
[metrics]
textfile = "metrics.prom"
[page]
file = "page.html"
[[log]]
name = "moved"
paths = ["logs/app.log", "logs/web.log"]
max_size = "1K"
backup_count = 50
[[log]]
name = "elsewhere"
paths = ["logs/far.log"]
schedule = "daily"
archive_dir = "old"
compress = "gzip"
backup_count = 50
"""
LOGS = ("app.log", "web.log", "far.log")

PRELOADED = ("logrotor.cli", "logrotor.cli.rotation", "logrotor.cli.overview", "logrotor.observe.page.render", "json")

# In a fork: every command in its turn, as the real one does it, but for the start of an interpreter.
PLAY = """
import io, json, sys
from logrotor.cli import main
for args in json.loads({commands!r}):
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape") for _ in "12")
    sys.argv, code = ["logrotor", *args], None
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        import traceback
        traceback.print_exc()
    said = []
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        said.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))
    sys.__stdout__.write(json.dumps([code, *said]) + "\\n")
    sys.__stdout__.flush()
"""

LOOKS: tuple[tuple[str, ...], ...] = (
    ("plan",), ("plan", "--json"), ("status",), ("status", "--json"), ("status", "--check"), ("history", "-n", "0"),
    ("history", "--json", "-v"), ("history", "--failed"), ("history", "app.log"), ("doctor",), ("page",),
    ("check",), ("cat", "app.log"),
)  # fmt: skip
ODD = (
    None, "", "yesterday", b"\xff\xfe", float("inf"), float("-inf"), -1, 0, 1, 2**63 - 1, -(2**63), 1e308, -1.5, 0.1,
    "\0", "a\0b", "1", "nan", "NaN", "[]", "{}", "null", "7", "done", "failed", "[" * 100_000, "{\"a\":" * 20_000,
    '{"inode": "x", "bytes": []}', '{"logs": 7}', '{"logs": [7, null]}', '{"problem": {"subject": 3}}',
    '{"problem": {"x": 1}}', '{"bytes": -1e308, "seconds": 1e999, "lines": 1e400}', '{"bytes": NaN}',
    '{"bytes": 123456789012345678901234567890}', '{"source": {}, "bytes_out": 0}', b"\xed\xa0\x80",
    b"/logs/app.log", "/logs/app.log", b"", "\x1b[31m\n\r", "x" * 1_000_000,
)  # fmt: skip


class Ended(NamedTuple):
    args: tuple[str, ...]
    code: int | None
    stdout: str
    stderr: str


class Shop:
    """A deployment with a past, in memory; begun anew from a copy for each seed."""

    def __init__(self, root: Path) -> None:
        self.root, self.sound, self.here = root, root / "sound", root / "here"
        self.driver = Driver(command.environment(), *PRELOADED)
        self.config = self.here / "logrotor.toml"
        self.written: dict[str, int] = {}
        self.here.mkdir()
        (self.here / "logs").mkdir()
        (self.here / "logs" / "old").mkdir()
        self.config.write_text(CONFIG)
        for _ in range(3):
            self.write()
            for ended in self.play(("run", "--force")):
                assert ended.code == 0, ended
        self._remember()
        self.write()
        self._before = dict(self.written)
        self.here.rename(self.sound)

    def reset(self) -> None:
        shutil.rmtree(self.here, ignore_errors=True)
        shutil.copytree(self.sound, self.here, symlinks=True)
        self.written = dict(self._before)

    @property
    def state(self) -> Path:
        return self.here / "state"

    @property
    def history(self) -> Path:
        return self.state / "history.sqlite"

    def write(self) -> None:
        for log in LOGS:
            first = self.written.get(log, 0) + 1
            with (self.here / "logs" / log).open("ab") as file:
                file.write(oracle.lines(log, first, first + 19))
            self.written[log] = first + 19

    def play(self, *commands: tuple[str, ...]) -> list[Ended]:
        whole = json.dumps([[*args, "-c", str(self.config)] for args in commands])
        self.driver.channel.settimeout(60)
        self.driver.ask({"python": PLAY.format(commands=whole)}, env=command.environment(), cwd=str(self.here))
        answer = self.driver.answer()
        lines = answer["stdout"].splitlines()
        ended = [Ended(args, *json.loads(line)) for args, line in zip(commands, lines, strict=False)]
        assert answer["code"] == 0 and len(ended) == len(commands), answer
        return ended

    def check_lines(self) -> None:
        oracle.count([self.here / "logs", self.here / "logs" / "old"], *LOGS, expected=self.written).check()

    def _remember(self) -> None:
        """Also what the runs here had no cause for: jobs, a copy in flight of a log that is gone, a failed request."""
        from logrotor.disk.history import History, RunHistory

        history = History(str(self.state))
        attempt = Attempt(
            id=0, job="a", number=1, engine="huey", queue="q", host="h", started=100.0, ending=Ending.RUNNING, pid=1,
            payload="{}",
        )  # fmt: skip
        history.begin_attempt(attempt, overdue=0)
        run = RunHistory(str(self.state))
        run.begin_copy(CopyInFlight("/gone.log", 1, 2.0, 3, 4096, "copied", "collapse"))
        run.requested([str(self.here / "logs" / "app.log")], 5.0, delivered=False)
        run.hooked(str(self.here / "logs" / "app.log"), 7, 8)
        run.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with memory_folder(lambda: tmp_path_factory.mktemp("shop")) as folder:
        made = Shop(folder)
        yield made
        made.driver.close()


# ---------------------------------------------------------------- damage


def flipped(path: Path, dice: random.Random, *, within: int | None = None, most: int = 3) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(dice.randint(1, most)):
        at = dice.randrange(min(within or len(data), len(data)))
        data[at] ^= 1 << dice.randrange(8) if dice.random() < 0.5 else dice.randint(1, 255)
    path.write_bytes(data)


def a_flipped_byte(path: Path, dice: random.Random) -> None:
    flipped(path, dice, most=1)


def flipped_bytes(path: Path, dice: random.Random) -> None:
    flipped(path, dice, most=200)


def a_flipped_head(path: Path, dice: random.Random) -> None:
    flipped(path, dice, within=100, most=2)


def flipped_heads_of_pages(path: Path, dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) // 4096) * 4096 + dice.randrange(200)
        data[at] = dice.randrange(256)
    path.write_bytes(data)


def cut_short(path: Path, dice: random.Random) -> None:
    os.truncate(path, dice.choice([0, 1, 16, 99, 100, 512, 4096, 8192, dice.randrange(path.stat().st_size)]))


def grown(path: Path, dice: random.Random) -> None:
    with path.open("ab") as file:
        file.write(dice.choice([b"\0", b"x", dice.randbytes(5000)]) * dice.choice([1, 7]))


def pages_mixed_up(path: Path, dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    pages = len(data) // 4096
    one, two = dice.randrange(pages) * 4096, dice.randrange(pages) * 4096
    how = dice.choice(["zero", "copy", "swap", "noise", "text"])
    first, second = bytes(data[one : one + 4096]), bytes(data[two : two + 4096])
    new = {"zero": bytes(4096), "copy": second, "swap": second, "noise": dice.randbytes(4096), "text": b"log " * 1024}
    data[one : one + 4096] = new[how]
    if how == "swap":
        data[two : two + 4096] = first
    path.write_bytes(data)


def nothing_like_it(path: Path, dice: random.Random) -> None:
    path.write_bytes(dice.choice([b"", b"\n", dice.randbytes(9000), b"SQLite format 3\0", b"SQLite format 3\0" * 600,
                                  b"\x1f\x8b" + bytes(100), b"hello " * 1000, bytes(40960)]))  # fmt: skip


def by_sql(change: Callable[[sqlite3.Connection, random.Random], None]) -> Callable[[Path, random.Random], None]:
    def changed(path: Path, dice: random.Random) -> None:
        with suppress(sqlite3.Error, sqlite3.Warning), closing(sqlite3.connect(path, isolation_level=None)) as opened:
            opened.execute("PRAGMA synchronous = OFF")
            change(opened, dice)

    changed.__name__ = change.__name__
    return changed


def _tables(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]


def _odd(dice: random.Random) -> Any:
    return dice.choice(ODD)


@by_sql
def odd_values(connection: sqlite3.Connection, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 4)):
        table = dice.choice(_tables(connection))
        column = dice.choice(_columns(connection, table))
        one = "WHERE rowid = (SELECT rowid FROM {t} ORDER BY random() LIMIT 1)" if dice.random() < 0.7 else ""
        value = dice.choice(
            ["?", "?", "CAST(? AS TEXT)", "CAST(? AS BLOB)", f"CAST(x'{dice.randbytes(8).hex()}' AS TEXT)"]
        )
        with suppress(sqlite3.Error):
            given = (_odd(dice),) if "?" in value else ()
            connection.execute(f"UPDATE OR IGNORE {table} SET {column} = {value} {one.format(t=table)}", given)


@by_sql
def odd_rows(connection: sqlite3.Connection, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 6)):
        table = dice.choice(_tables(connection))
        values = [_odd(dice) for _ in _columns(connection, table)]
        with suppress(sqlite3.Error):
            connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(values))})", values)


@by_sql
def other_tables(connection: sqlite3.Connection, dice: random.Random) -> None:
    table = dice.choice(_tables(connection))
    column = dice.choice(_columns(connection, table))
    connection.execute(dice.choice([
        f"DROP TABLE {table}", f"ALTER TABLE {table} RENAME TO other", f"ALTER TABLE {table} DROP COLUMN {column}",
        f"ALTER TABLE {table} RENAME COLUMN {column} TO other", f"ALTER TABLE {table} ADD COLUMN more TEXT",
        f"DELETE FROM {table}",
    ]))  # fmt: skip


@by_sql
def another_table_of_that_name(connection: sqlite3.Connection, dice: random.Random) -> None:
    table = dice.choice(_tables(connection))
    connection.execute(f"DROP TABLE {table}")
    connection.execute(dice.choice([
        f"CREATE TABLE {table} (song TEXT)", f"CREATE VIEW {table} AS SELECT 1 AS id, 'x' AS path, 2 AS started",
        f"CREATE VIEW {table} AS SELECT * FROM {table}",
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, path, log, time)",
        f"CREATE VIEW {table} AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id FROM n",
    ]))  # fmt: skip


@by_sql
def triggers(connection: sqlite3.Connection, dice: random.Random) -> None:
    table, when = dice.choice(_tables(connection)), dice.choice(["INSERT", "UPDATE", "DELETE"])
    what = dice.choice(["SELECT RAISE(ABORT, 'no')", "SELECT RAISE(ROLLBACK, 'no')", "SELECT RAISE(IGNORE)",
                        f"DELETE FROM {table}", "INSERT INTO nowhere VALUES (1)"])  # fmt: skip
    connection.execute(f"CREATE TRIGGER odd BEFORE {when} ON {table} BEGIN {what}; END")


@by_sql
def another_version(connection: sqlite3.Connection, dice: random.Random) -> None:
    connection.execute(f"PRAGMA user_version = {dice.choice([-1, 0, 1, 3, 66, 2**31 - 1, -(2**31)])}")
    if dice.random() < 0.3:
        connection.execute(f"PRAGMA application_id = {dice.choice([-1, 1, 7, 2**31 - 1])}")


@by_sql
def another_kind_of_file(connection: sqlite3.Connection, dice: random.Random) -> None:
    if dice.random() < 0.5:
        connection.execute("PRAGMA journal_mode = WAL")
    else:
        connection.execute(f"PRAGMA page_size = {dice.choice([512, 65536])}")
        connection.execute(f"PRAGMA auto_vacuum = {dice.choice([1, 2])}")
        connection.execute("VACUUM")


def another_program(path: Path, dice: random.Random) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.executescript(dice.choice([
            "CREATE TABLE runs (song TEXT);", "CREATE TABLE songs (name); PRAGMA user_version = 2;",
            "CREATE TABLE logs (path, last_rotation, request_delivered, request_failed); PRAGMA user_version = 2;",
            "PRAGMA user_version = 7; PRAGMA application_id = 7",
            "PRAGMA encoding = 'UTF-16'; CREATE TABLE attempts (song TEXT);", "CREATE TABLE archives (log, id);",
        ]))  # fmt: skip


def in_its_place(path: Path, dice: random.Random) -> None:
    kept = path.with_name("kept")
    path.rename(kept)
    _odd_file(path, dice, kept)


def _odd_file(path: Path, dice: random.Random, kept: Path) -> None:
    kind = dice.choice(["directory", "full", "fifo", "link", "dangling", "loop", "null", "second name", "socket"])
    if kind in ("directory", "full"):
        path.mkdir()
        if kind == "full":
            (path / "file").touch()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "second name":
        os.link(kept, path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            os.chdir(path.parent)
            made.bind(path.name)
            os.chdir("/")
    else:
        path.symlink_to({"link": kept, "dangling": "nowhere", "loop": path.name, "null": "/dev/null"}[kind])


def beside(path: Path, dice: random.Random) -> None:
    """Something else has a name that SQLite has a use for."""
    for name in dice.sample(["-journal", "-wal", "-shm"], dice.randint(1, 2)):
        place = path.with_name(path.name + name)
        if os.path.lexists(place):
            continue
        how = dice.choice(["odd", "noise", "journal", "wal", "empty"])
        if how == "odd":
            with suppress(FileNotFoundError, FileExistsError):
                _odd_file(place, dice, path.with_name("kept") if path.with_name("kept").exists() else path)
        elif how in ("journal", "wal"):
            place.write_bytes(_of_another(path.parent.parent, how))
        else:
            place.write_bytes(dice.randbytes(5000) if how == "noise" else b"")


def _of_another(folder: Path, how: str) -> bytes:
    """The journal, or write-ahead log, of another database that was killed half-way."""
    other = folder / "other.sqlite"
    with closing(sqlite3.connect(other, isolation_level=None)) as opened:
        opened.executescript(f"PRAGMA journal_mode = {'wal' if how == 'wal' else 'delete'}; PRAGMA cache_size = 1;")
        opened.execute("CREATE TABLE IF NOT EXISTS songs (name)")
        opened.execute("BEGIN")
        opened.executemany("INSERT INTO songs VALUES (?)", [("x" * 500,)] * 100)
        if how == "wal":
            opened.execute("COMMIT")
        data = other.with_name(f"other.sqlite-{how}").read_bytes()
    other.unlink()
    return data


KINDS = (
    a_flipped_byte, a_flipped_byte, flipped_bytes, a_flipped_head, flipped_heads_of_pages, cut_short, grown,
    pages_mixed_up, nothing_like_it, odd_values, odd_values, odd_rows, odd_rows, other_tables,
    another_table_of_that_name, triggers, another_version, another_kind_of_file, another_program, in_its_place, beside,
)  # fmt: skip


# ---------------------------------------------------------------- judging


def tried(shop: Shop, seed: int, looks: int) -> None:
    dice = random.Random(seed)
    shop.reset()
    damages = [dice.choice(KINDS) for _ in range(dice.choice([1, 1, 1, 2, 3]))]
    for damage in damages:
        with suppress(OSError, ValueError, IndexError, sqlite3.Error):  # an earlier one has put something else there
            damage(shop.history, dice)
    before = seen(shop.state)
    for ended in shop.play(*dice.sample(LOOKS, min(looks, len(LOOKS)))):
        well(ended, {0, 1, 2})
    assert seen(shop.state) == before, "to look changed something"
    verified, first = shop.play(("verify",), ("run", "--force"))
    well(verified, {0, 1})
    well(first, {0})
    for log in LOGS:
        assert (shop.here / "logs" / log).stat().st_size == 0, (log, first)
    shop.check_lines()
    shop.write()
    second, past, now = shop.play(("run", "--force"), ("history", "--json"), ("status", "--json"))
    for ended in (second, past, now):
        well(ended, {0})
    assert str(shop.history) not in second.stderr, second
    assert json.loads(past.stdout)["runs"] and json.loads(now.stdout)["known"] is True, (past, now)
    shop.check_lines()


def seen(folder: Path) -> list[tuple[str, int, int, bytes]]:
    found = []
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        found.append(
            (
                path.name,
                status.st_ino,
                status.st_mode,
                path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
            )
        )
    return found


def well(ended: Ended, codes: set[int]) -> None:
    streams = f"--- stdout\n{ended.stdout[-3000:]}\n--- stderr\n{ended.stderr[-3000:]}"
    said = f"{' '.join(ended.args)}\nexit {ended.code}\n{streams}"
    assert ended.code in codes, said
    for stream in (ended.stdout, ended.stderr):
        for word in ("Traceback", "a bug"):
            assert word not in stream, said


def try_all(shop: Shop, seeds: range, looks: int) -> None:
    for seed in seeds:
        try:
            tried(shop, seed, looks)
        except BaseException as error:
            again = f'LOGROTOR_SEED={seed} pytest tests/proof/test_damaged_history.py -m "" -k seeds'
            raise AssertionError(f"seed {seed}: {again}\n{error}") from error


def test_a_history_damaged_in_some_ways(shop: Shop) -> None:
    """A sample of the seeds, with fewer commands each."""
    try_all(shop, QUICK, 1)


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS) if ONE is None else [0])
def test_seeds(shop: Shop, part: int) -> None:
    """Every command over every seed."""
    seeds = range(SEEDS * part // PARTS, SEEDS * (part + 1) // PARTS) if ONE is None else range(int(ONE), int(ONE) + 1)
    try_all(shop, seeds, 6)
