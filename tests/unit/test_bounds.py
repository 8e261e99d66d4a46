"""Nothing takes steps by the square of what is there: four times as much of anything takes about four times as many."""

from __future__ import annotations

import gzip
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.act.context import Deadline
from logrotor.disk import codecs
from logrotor.disk.discover import Search
from logrotor.disk.logdir import LogDir
from logrotor.model import NotDue, Plan, Status

FEW, MANY = 50, 200
NOW = int(time.time()) - 10_000_000  # a whole second, long ago


def steps_of(do: Callable[[], object]) -> int:
    """How many lines of Python are carried out, each round of a loop counted."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        do()
    finally:
        sys.settrace(None)
    return count


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        (path / "app.log").write_text("live\n")

    def put(self, name: str, data: bytes, age: int, source: bytes = b"") -> None:
        path = self.path / name
        path.write_bytes(data)
        if source:
            os.setxattr(path, "user.logrotor.source", source)
        os.utime(path, (NOW - age, NOW - age))


def plain(folder: Folder, count: int) -> None:
    for slot in range(1, count + 1):
        folder.put(f"app.log.{slot}", b"%d\n" % slot, slot)


def twins(folder: Folder, count: int) -> None:
    """Each compressed, and the plain one has not gone yet."""
    plain(folder, count)
    for slot in range(1, count + 1):
        folder.put(f"app.log.{slot}.gz", gzip.compress(b"%d\n" % slot), slot)


def copied(folder: Folder, count: int) -> None:
    """All of one time and, by what is noted on them, of one file: somebody copied one with its attributes."""
    for slot in range(1, count + 1):
        folder.put(f"app.log.{slot}.gz", gzip.compress(b"%d\n" % slot), 0, b"12345 1000000000000000001 1.000 app.log")


def copied_alike(folder: Folder, count: int) -> None:
    """The same, and they hold the same: each is the form of the last one."""
    for slot in range(1, count + 1):
        folder.put(f"app.log.{slot}.gz", gzip.compress(b"line\n"), 0, b"12345 1000000000000000001 1.000 app.log")


def numbered_and_dated(folder: Folder, count: int) -> None:
    """All of one time: numbers that may have become dates."""
    stamp = datetime.fromtimestamp(NOW, UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in range(1, count + 1):
        folder.put(f"app.log.{number}", b"%d\n" % number, 0)
        folder.put(f"app.log-{stamp}-{number}.gz", gzip.compress(b"other %d\n" % number), 0)


def inode_again(folder: Folder, count: int) -> None:
    """One inode after the other was used again: many were made of a file of the plain one's number."""
    folder.put("app.log.1", b"1\n", 0)
    inode = (folder.path / "app.log.1").stat().st_ino
    for number in range(1, count + 1):
        stamp = datetime.fromtimestamp(NOW - number, UTC).strftime("%Y%m%dT%H%M%SZ")
        note = b"%d %d000000001" % (inode, NOW - number)
        folder.put(f"app.log-{stamp}.gz", gzip.compress(b"%d\n" % number), number, note)


def asides(folder: Folder, count: int) -> None:
    for slot in range(1, count + 1):
        folder.put(f".app.log.{slot}.aside", b"%d\n" % slot, slot)


def blocked_asides(folder: Folder, count: int) -> None:
    """Somebody has created each name anew."""
    asides(folder, count)
    plain(folder, count)


def set_aside_by_older(folder: Folder, count: int) -> None:
    for slot in range(1, count + 1):
        folder.put(f".app.log.{slot}.tmp", b"%d\n" % slot, slot)
        folder.put(f"app.log.{slot}.gz", gzip.compress(b"%d\n" % slot), slot)


def second_names(folder: Folder, count: int) -> None:
    plain(folder, count)
    for slot in range(1, count + 1):
        os.link(folder.path / f"app.log.{slot}", folder.path / f"app.log.{slot + count}")


def reserved(folder: Folder, count: int) -> None:
    for slot in range(1, count + 1):
        folder.put(f"app.log.{slot}", b"", slot)
        (folder.path / f"app.log.{slot}").chmod(0o1600)


KEEP_FREE = {"keep_free": "99.9%"}
CLOSER = {"keep_free": "1"}  # nothing to do, but it takes a closer look
CASES: list[tuple[Callable[[Folder, int], None], dict[str, Any]]] = [
    (plain, KEEP_FREE), (plain, {"naming": "dated"}), (plain, {"on_archive": ["/bin/true"]}),
    (plain, {"backup_count": 2}), (plain, {"compress": "gzip"}), (twins, {}), (copied, CLOSER), (copied_alike, CLOSER),
    (numbered_and_dated, CLOSER), (inode_again, {"naming": "dated"}), (asides, {}), (blocked_asides, {}),
    (set_aside_by_older, {}), (second_names, {}), (reserved, {}),
]  # fmt: skip


@pytest.mark.parametrize(("fill", "rule"), CASES, ids=[f"{fill.__name__}-{'-'.join(rule)}" for fill, rule in CASES])
def test_a_plan(tmp_path: Path, fill: Callable[[Folder, int], None], rule: dict[str, Any]) -> None:
    """Of a log with thousands of archives, in whatever state somebody left them."""

    def steps(count: int) -> int:
        folder = Folder(tmp_path / "logs")
        fill(folder, count)
        spec = {"name": "app", "paths": [str(folder.path / "app.log")], "max_size": "1G", "compress": "none", **rule}
        config = load_config({"state_dir": str(tmp_path / "state"), "log": [spec]}, environ={})
        plans: list[Plan] = []
        found = steps_of(lambda: plans.append(Rotator(config).plan()))
        assert plans[0].logs[0].refused is None and not plans[0].problems
        shutil.rmtree(folder.path)
        return found

    steps(2)  # what is imported and cached
    assert steps(MANY) < 1.5 * MANY / FEW * steps(FEW)


def _gone_beside(folder: str, number: int) -> str:
    return f"{folder}/gone-{number}.log"


def _gone_elsewhere(folder: str, number: int) -> str:
    """In one directory that was removed with them."""
    return f"{folder}-removed/{number}.log"


def _gone_below(folder: str, number: int) -> str:
    return f"{folder}/{number}/gone.log"


@pytest.mark.parametrize("gone", [_gone_beside, _gone_elsewhere, _gone_below])
def test_logs_that_are_gone(tmp_path: Path, gone: Callable[[str, int], str]) -> None:
    """Ten times as many in the history cost an idle run nothing: it reads what belongs to the logs that are there."""
    folder = Folder(tmp_path / "logs")
    folder.put("old.log", b"", 0)
    spec = {"name": "all", "paths": [f"{folder.path}/**/*.log"], "max_size": "1G", "schedule": "daily"}
    config = load_config({"state_dir": str(tmp_path / "state"), "log": [spec]}, environ={})
    Rotator(config).run(force=True)
    now = time.time()

    def steps(first: int, last: int) -> int:
        with closing(sqlite3.connect(tmp_path / "state" / "history.sqlite")) as connection, connection:
            rows = ((os.fsencode(gone(str(folder.path), number)), now) for number in range(first, last))
            connection.executemany("INSERT INTO logs (path, last_rotation) VALUES (?, ?)", rows)
        plans: list[Plan] = []
        found = steps_of(lambda: plans.append(Rotator(config).plan()))
        assert plans[0].is_idle and len(plans[0].logs) == 2
        assert all(isinstance(log.due, NotDue) for log in plans[0].logs), "what is known of them is known"
        return found

    few = steps(0, 25_000)
    # Ten times as many rows; a run also looks at each process that this machine has just then.
    assert steps(25_000, 250_000) < 3 * few


def nested(top: Path, depth: int) -> str:
    """Make folders, each in the one before; their path may be too long for one call."""
    here = os.open(top, os.O_PATH)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_PATH, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    return os.path.join(top, *["d"] * depth)


def test_folders_that_are_nested_a_thousand_deep(tmp_path: Path) -> None:
    """Deeper than Python calls itself, and than a process may have files open: they are found, and opened."""
    deep = nested(tmp_path, 1100)
    (Path(deep) / "app.log").write_text("line\n")
    config = load_config(
        {"state_dir": "/nonexistent", "log": [{"name": "all", "paths": [f"{tmp_path}/**/*.log"], "max_size": "1K"}]},
        environ={},
    )
    directories = [selector.directory for selector in Search(config.logs).selectors]
    assert len(directories) == 1101 and directories[-1] == deep
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        with LogDir.resolve(os.path.join(deep, *[".."] * 900, *["d"] * 900)) as logdir:
            assert logdir.path == deep and [entry.name for entry in logdir.scan()] == ["app.log"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # shutil calls itself for each level


@pytest.mark.parametrize("why", ["stop", "time limit"])
def test_a_long_comparison_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Whether two large archives are one generation is found out by a later run; until then nothing is done to them."""
    folder, late = Folder(tmp_path / "logs"), [False]
    data = b"".join(b"%d\n" % number for number in range(500_000))
    folder.put("app.log.1", data, 0)
    folder.put("app.log.1.gz", gzip.compress(data, 1), 0)
    (folder.path / "other.log").write_bytes(b"x" * 100)
    spec = {"name": "app", "paths": [f"{folder.path}/*.log"], "max_size": "1B", "compress": "gzip"}
    config = load_config({"state_dir": str(tmp_path / "state"), "log": [spec]}, environ={})
    pieces = 0
    real = codecs.read

    def read(*args: Any, **more: Any) -> Any:
        nonlocal pieces
        for piece in real(*args, **more):
            pieces += late[0]
            late[0] = True
            yield piece

    with monkeypatch.context() as patch:
        patch.setattr(codecs, "read", read)
        patch.setattr(Deadline, "passed", lambda self: self.at is not None and late[0])
        stop = (lambda: late[0]) if why == "stop" else None
        report = Rotator(config, stop=stop).run(time_limit=None if why == "stop" else 3600)
    assert pieces <= 6 and report.exit_code == 0
    assert {"app.log", "app.log.1", "app.log.1.gz"} < set(os.listdir(folder.path))
    if why == "stop":
        assert report.interrupted and report.rotated == 0
    else:
        assert (folder.path / "other.log.1").exists() and report.count("compress", Status.DEFERRED) >= 1
    assert Rotator(config).run().count("recover") == 1
    assert sorted(os.listdir(folder.path))[:3] == ["app.log", "app.log.1.gz", "app.log.2.gz"]
