"""The writers do what the daemons they stand for do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.fixtures import world_tree
from tests.support.need import need
from tests.support.writers import Kind, Writer


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_writes_whole_lines(tmp_path: Path, kind: Kind) -> None:
    """Each kind reports exactly the lines that are in its log."""
    with Writer(tmp_path / "app.log", kind, lines=2000) as writer:
        assert writer.wait() == 2000
    assert oracle.count(tmp_path, "app.log", expected={"w1": 2000}).check().total == 2000


@pytest.mark.parametrize("rate", [0, 500])
def test_stopped_writer_finishes_its_line(tmp_path: Path, rate: float) -> None:
    """A writer that is told to stop leaves no half line and counts the last."""
    with Writer(tmp_path / "app.log", "hold", rate=rate) as writer:
        writer.wait_for_more(50)
        written = writer.stop()
    assert written >= 50
    oracle.count(tmp_path, "app.log", expected={"w1": written}).check()


def test_signal_writer_reopens_by_name(tmp_path: Path) -> None:
    """It stays on the moved file until the signal, then writes to the new one."""
    live, old = tmp_path / "app.log", tmp_path / "app.log.1"
    with Writer(live, "signal", on_order=True) as writer:
        writer.write(3)
        live.rename(old)
        writer.write(2)
        assert not live.exists()
        writer.reopen()
        writer.write(4)
        assert writer.reopened() == 1
    tally = oracle.count_joined(tmp_path, "app.log", {"w1": 9}).check()
    assert tally.total == 9
    assert oracle.count(tmp_path).per_file == {os.fspath(live): 4, os.fspath(old): 5}


def test_follower_finds_the_new_file_and_holder_does_not(tmp_path: Path) -> None:
    """One looks at the name before each line, the other never."""
    for kind, in_old, in_new in (("follow", 3, 2), ("hold", 5, None)):
        live = tmp_path / kind
        with Writer(live, kind, on_order=True, name=kind) as writer:
            writer.write(3)
            live.rename(tmp_path / f"{kind}.1")
            writer.write(2)
        found = oracle.count(tmp_path, kind, expected={kind: 5}).check().per_file
        assert found[os.fspath(tmp_path / f"{kind}.1")] == in_old
        assert found.get(os.fspath(live)) == in_new


def test_strict_opener_counts_the_misses(tmp_path: Path) -> None:
    """A strict opener never creates its log; it counts that it found none, and writes the line later."""
    live = tmp_path / "app.log"
    live.touch()
    with Writer(live, "per_line", strict=True) as writer:
        writer.wait_for_more(10)
        live.rename(tmp_path / "app.log.1")
        writer._until(lambda: writer.missed() > 0, "to miss its log")
        assert not live.exists()
        live.touch()
        writer.wait_for_more(10)
        written = writer.stop()
    oracle.count(tmp_path, "app.log", expected={"w1": written}).check()


def test_writer_without_append_leaves_nuls_after_truncation(tmp_path: Path) -> None:
    """It keeps its offset, as a plain ``> file`` does."""
    live = tmp_path / "app.log"
    with Writer(live, "no_append", on_order=True) as writer:
        writer.write(5)
        os.truncate(live, 0)
        writer.write(1)
    assert oracle.count(live, expected={"w1": 6}).nuls == 5 * 80


def test_killed_writer_has_been_counted(tmp_path: Path) -> None:
    """SIGKILL loses nothing of the count but at most the line under way."""
    with Writer(tmp_path / "app.log", "hold") as writer:
        writer.wait_for_more(1000)
        writer.kill()
        written = writer.lines_written()
        tally = oracle.count(tmp_path, expected={"w1": written})
    assert not tally.lost
    assert len(tally.unexpected) <= 1


def test_writer_as_another_user() -> None:
    """The log belongs to the user that the writer runs as."""
    need(os.geteuid() == 0, "root, to become another user")
    with world_tree("www-data") as world:
        with Writer(world / "app.log", "hold", lines=10, user="www-data") as writer:
            assert writer.wait() == 10
        stat = os.stat(world / "app.log")
        assert (stat.st_uid, stat.st_mode & 0o777) == (os.stat(world).st_uid, 0o600)
