"""A copy that takes long: a stop and the time limit are obeyed within a piece, and each run gets on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from logrotor.act import copy
from logrotor.act.context import Deadline
from logrotor.clock import local_now
from logrotor.disk import calls, files
from logrotor.model import Report, Status
from logrotor.rotator import Rotator
from tests.proof import interfere
from tests.support import mounts, oracle
from tests.support.need import need

STRIDE, PIECE = 1 << 18, 1 << 20


class Place:
    """A log of many pieces, which somebody reads or nobody has open, and the stop of its runs."""

    def __init__(self, folder: Path, size: int = 6 * PIECE) -> None:
        self.folder, self.logs, self.log = folder, folder / "logs", folder / "logs" / "app.log"
        self.logs.mkdir()
        self.lines = size // len(oracle.lines("w1", 1, 1)) + 1
        self.log.write_bytes(oracle.lines("w1", 1, self.lines))
        self.stopped = False

    def run(self, now: datetime | None = None, *, time_limit: float | None = None, **keys: Any) -> Report:
        rule = {"name": "app", "paths": [str(self.log)], "method": "copytruncate", "compress": "none", **keys}
        config = interfere.config(self.folder / "state", {"max_size": 8000, **rule} if "schedule" not in keys else rule)
        return Rotator(config, stop=lambda: self.stopped).run(now, time_limit=time_limit)

    def sizes(self) -> dict[str, int]:
        return {name: os.path.getsize(self.logs / name) for name in sorted(os.listdir(self.logs))}

    def check(self) -> None:
        oracle.count_joined([self.logs], "app.log", {"w1": self.lines}).check()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "STRIDE", STRIDE)
    monkeypatch.setattr(copy, "PIECE", PIECE)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    need(mounts.collapses(tmp_path), "a file system that collapses ranges")
    return Place(tmp_path)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    with interfere.memory_folder(lambda: tmp_path) as folder:
        need(not mounts.collapses(folder), "a file system that collapses no ranges")
        yield folder


def written(monkeypatch: pytest.MonkeyPatch, enough: int, then: Callable[[], object]) -> list[int]:
    """``then`` is called once a run has written so many bytes; gives what is written after that."""
    real, count, late = calls.invoke, 0, [0]

    def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        done = real(operation, function, *args, **kwargs)
        if operation == "write":
            late[0] += done if count >= enough else 0
            count += done
            if count >= enough:
                then()
        return done

    monkeypatch.setattr(calls, "invoke", invoke)
    return late


@pytest.mark.parametrize("followed", [True, False])
@pytest.mark.parametrize("enough", [1, PIECE // 2, PIECE + 1, 3 * PIECE + 1])
def test_a_stop_ends_a_copy(place: Place, monkeypatch: pytest.MonkeyPatch, enough: int, followed: bool) -> None:
    """No more than what has begun is copied. A piece is cut off, and with less the log is as it was, without a temp."""
    reader = place.log.open("rb") if followed else None
    with monkeypatch.context() as patch:
        late = written(patch, enough, lambda: setattr(place, "stopped", True))
        report = place.run()
    assert report.interrupted and report.exit_code == 0 and late[0] <= STRIDE
    (outcome,) = [o for o in report.outcomes if o.action == "copytruncate"]
    if enough < PIECE:
        assert outcome.status is Status.DEFERRED and list(place.sizes()) == ["app.log"]
    else:
        assert outcome.status is Status.DONE and list(place.sizes()) == ["app.log", "app.log.1"]
        assert outcome.details["bytes_left"] == place.sizes()["app.log"]
    place.check()
    place.stopped = False
    assert place.run().exit_code == 0
    place.check()
    if reader is not None:
        reader.close()


@pytest.mark.parametrize("followed", [True, False])
def test_each_run_gets_on_within_its_time(place: Place, monkeypatch: pytest.MonkeyPatch, followed: bool) -> None:
    """Whatever the limit: what was copied is cut off, and the next run goes on with the rest."""
    reader = place.log.open("rb") if followed else None
    monkeypatch.setattr(Deadline, "passed", lambda self: self.at is not None)
    for _ in range(5):
        before = place.log.stat().st_size
        assert place.run(time_limit=3600).exit_code == 0
        assert before - place.log.stat().st_size == PIECE
        place.check()
    monkeypatch.undo()
    assert place.run(time_limit=3600).exit_code == 0
    place.check()
    assert place.sizes()["app.log"] < 8000
    if reader is not None:
        reader.close()


@pytest.mark.parametrize("copied", [0, STRIDE, PIECE - STRIDE, PIECE])
def test_a_copy_goes_on_for_a_moment_only(place: Place, monkeypatch: pytest.MonkeyPatch, copied: int) -> None:
    """However slow the disk is: by then a smaller piece is enough, and a large log is not begun any more."""
    (place.logs / "small.log").write_bytes(oracle.lines("w2", 1, 20))
    paths = [str(place.log), str(place.logs / "small.log")]
    with monkeypatch.context() as patch:
        late = [copied == 0]
        patch.setattr(Deadline, "passed", lambda self: self.at is not None)
        patch.setattr(Deadline, "overdue", lambda self: self.at is not None and late[0])
        if copied:
            after = written(patch, copied, lambda: late.__setitem__(0, True))
        report = place.run(time_limit=3600, paths=paths, max_size=1000)
    found = {os.path.basename(o.log): o for o in report.outcomes if o.action == "copytruncate"}
    assert report.exit_code == 0
    assert (found["app.log"].status is Status.DONE) == (copied > 0)
    assert found["small.log"].status is Status.DONE, "what is small is taken in any case"
    if copied:
        assert place.sizes()["app.log.1"] == copied and after[0] <= STRIDE
    place.check()


def test_the_rest_of_a_log_is_due_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its schedule as well: a piece is no rotation."""
    assert place.run(schedule="daily").rotated == 0
    tomorrow = local_now() + timedelta(days=1)
    with monkeypatch.context() as patch:
        patch.setattr(Deadline, "passed", lambda self: self.at is not None)
        for minutes in range(3):
            now = tomorrow + timedelta(minutes=minutes)
            assert place.run(now, time_limit=3600, schedule="daily").rotated == 1
    assert place.run(tomorrow + timedelta(minutes=3), schedule="daily").rotated == 1
    assert place.log.stat().st_size == 0
    place.log.write_bytes(b"more\n")
    assert place.run(tomorrow + timedelta(minutes=4), schedule="daily").rotated == 0


def test_a_log_that_cannot_be_cut_in_pieces(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no range can be collapsed it is whole after a stop, and after the time limit, and the reason says so."""
    place = Place(memory)
    with place.log.open("rb"):
        with monkeypatch.context() as patch:
            patch.setattr(Deadline, "passed", lambda self: self.at is not None)
            report = place.run(time_limit=3600, accept_loss=True)
        (outcome,) = [o for o in report.outcomes if o.action == "copytruncate"]
        assert outcome.status is Status.DEFERRED and "time limit" in outcome.reason
        assert list(place.sizes()) == ["app.log"]
        with monkeypatch.context() as patch:
            written(patch, 3 * PIECE, lambda: setattr(place, "stopped", True))
            assert place.run(accept_loss=True).interrupted
        assert list(place.sizes()) == ["app.log"]
        place.check()
        place.stopped = False
        assert place.run(accept_loss=True).rotated == 1
    assert place.sizes()["app.log"] == 0
    place.check()


def test_a_stop_while_a_fast_writer_is_followed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was copied by then is cut off, and what came meanwhile stays in the log."""
    size = place.log.stat().st_size

    def write_more() -> None:
        with place.log.open("ab") as file:
            file.write(oracle.lines("w1", place.lines + 1, place.lines + 8000))
        place.lines += 8000
        place.stopped |= place.log.stat().st_size > size + 3 * PIECE

    with place.log.open("rb"), monkeypatch.context() as patch:
        written(patch, size - STRIDE, write_more)
        assert place.run().interrupted
    assert place.sizes()["app.log"] > 0 and place.sizes()["app.log.1"] > size - STRIDE
    place.check()


@pytest.mark.parametrize("ends", ["with data", "with a hole"])
def test_holes_stay_holes_on_another_disk(tmp_path: Path, memory: Path, ends: str) -> None:
    """A sparse log that is moved there takes as much room as before, and holds the same bytes."""
    place = Place(tmp_path, size=5000)
    with place.log.open("r+b") as file:
        file.seek((30 << 20) + 100)
        file.write(b"end\n" * 5000)
        file.truncate(100 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"last\n" * 5000 if ends == "with data" else b"")
    before, digest = place.log.stat(), hashlib.file_digest(place.log.open("rb"), "md5").digest()  # type: ignore[arg-type]
    assert place.run(method="rename", archive_dir=str(memory / "away")).exit_code == 0
    archive = memory / "away" / "app.log.1"
    assert archive.stat().st_size == before.st_size and archive.stat().st_blocks <= before.st_blocks + 16
    assert hashlib.file_digest(archive.open("rb"), "md5").digest() == digest  # type: ignore[arg-type]
    assert os.listdir(place.logs) == ["app.log"]


@pytest.mark.parametrize("followed", [True, False])
def test_holes_stay_holes(place: Place, followed: bool) -> None:
    """A sparse log of a gigabyte takes as much room after its rotation as before."""
    with place.log.open("r+b") as file:
        file.seek(1 << 30)
        file.write(b"end\n" * 5000)
        file.truncate((1 << 30) + (64 << 20))
        file.seek(0, os.SEEK_END)
        file.write(b"last\n" * 5000)
    before = place.log.stat()
    reader = place.log.open("rb") if followed else None
    assert place.run().rotated == 1
    archive = (place.logs / "app.log.1").stat()
    assert archive.st_size > 1 << 30 and archive.st_blocks <= before.st_blocks + 16
    assert archive.st_size + place.log.stat().st_size == before.st_size
    with (place.logs / "app.log.1").open("rb") as file:
        file.seek((1 << 30) - 4)
        assert file.read(8) == b"\0\0\0\0end\n"
        assert file.seek(place.lines * len(oracle.lines("w1", 1, 1))) and set(file.read(1000)) == {0}
    if reader is not None:
        reader.close()
