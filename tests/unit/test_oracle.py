"""The oracle must see what was planted, else no test that trusts it proves anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.oracle import Line, lines

PACK = {"zst": ["zstd", "-q"], "gz": ["gzip"], "xz": ["xz"], "bz2": ["bzip2"]}


def pack(path: Path, suffix: str) -> None:
    subprocess.run([*PACK[suffix], "--rm", path] if suffix == "zst" else [*PACK[suffix], path], check=True)


def plant(folder: Path, name: str, first: int, last: int, writer: str = "w1") -> Path:
    path = folder / name
    path.write_bytes(lines(writer, first, last))
    return path


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Lines 1 to 30 of w1, ten in each of an archive in slot 2, one in slot 1 and the live log."""
    pack(plant(tmp_path, "app.log.2", 1, 10), "zst")
    plant(tmp_path, "app.log.1", 11, 20)
    plant(tmp_path, "app.log", 21, 30)
    return tmp_path


def test_whole_logs_are_clean(logs: Path) -> None:
    """Nothing is reported where nothing is wrong."""
    tally = oracle.count(logs, "app.log", expected={"w1": 30}).check()
    assert (tally.total, tally.clean) == (30, True)
    assert sorted(tally.per_file.values()) == [10, 10, 10]


@pytest.mark.parametrize("suffix", PACK)
def test_every_codec_is_read_by_its_program(tmp_path: Path, suffix: str) -> None:
    """Archives of each kind count."""
    pack(plant(tmp_path, "app.log.1", 1, 50), suffix)
    assert os.listdir(tmp_path) == [f"app.log.1.{suffix}"]
    assert oracle.count(tmp_path, expected={"w1": 50}).check().total == 50


def test_lost_lines_are_named(logs: Path) -> None:
    """A missing line is lost: in the middle, at the end, and a writer of whom nothing is left."""
    plant(logs, "app.log.1", 11, 14)
    with open(logs / "app.log.1", "ab") as file:
        file.write(lines("w1", 16, 20))
    tally = oracle.count(logs, expected={"w1": 32, "w2": 2})
    assert tally.lost == (Line("w1", 15), Line("w1", 31), Line("w1", 32), Line("w2", 1), Line("w2", 2))
    assert not tally.whole
    with pytest.raises(AssertionError, match=r"5 lost(?s:.*)w1 15, w1 31\.\.32, w2 1\.\.2"):
        tally.check()


def test_lost_in_the_middle_is_seen_without_expectation(logs: Path) -> None:
    """Without a report of the writers a gap still shows; only a lost end cannot."""
    (logs / "app.log.1").unlink()
    assert oracle.count(logs).lost == tuple(Line("w1", n) for n in range(11, 21))


def test_doubled_lines_are_named(logs: Path) -> None:
    """A generation that lies there twice is counted twice, and three times is two too many."""
    plant(logs, "app.log.3", 1, 1)
    plant(logs, "app.log.4", 1, 2)
    tally = oracle.count(logs, expected={"w1": 30})
    assert tally.doubled == (Line("w1", 1), Line("w1", 1), Line("w1", 2))
    assert (len(tally.lost), tally.total) == (0, 33)


@pytest.mark.parametrize("cut", [1, 5, 40, 77, 78, 79])
def test_torn_line_is_seen_wherever_it_is_cut(tmp_path: Path, cut: int) -> None:
    """A line that lost its end, glued to the next one or at the end of the file, is torn, and lost."""
    assert len(oracle.line("w1", 10)) == 80
    (tmp_path / "app.log").write_bytes(lines("w1", 1, 9) + oracle.line("w1", 10)[:cut] + lines("w1", 11, 12))
    middle = oracle.count(tmp_path, expected={"w1": 12})
    assert len(middle.torn) + len(middle.unexpected) == 1  # "w" + "w1 11 ...": a line of a stranger, "ww1"
    assert Line("w1", 10) in middle.lost
    (tmp_path / "app.log").write_bytes(lines("w1", 1, 9) + oracle.line("w1", 10)[:cut])
    end = oracle.count(tmp_path, expected={"w1": 10})
    assert len(end.torn) == 1
    assert end.lost == (Line("w1", 10),)


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 40])
def test_line_without_its_head_is_seen(tmp_path: Path, cut: int) -> None:
    """A line that lost its beginning is torn, or that of a writer that nobody knows."""
    (tmp_path / "app.log").write_bytes(oracle.line("w1", 11)[cut:])
    tally = oracle.count(tmp_path, expected={"w1": 11})
    assert len(tally.torn) + len(tally.unexpected) == 1
    assert Line("w1", 11) in tally.lost


def test_disorder_and_unexpected_lines_are_seen(tmp_path: Path) -> None:
    """Lines out of order, of a stranger, or never reported as written."""
    (tmp_path / "app.log").write_bytes(lines("w1", 3, 4) + lines("w1", 1, 2) + lines("w1", 5, 6) + lines("x", 1, 1))
    tally = oracle.count(tmp_path, expected={"w1": 5})
    assert tally.disorder == (Line("w1", 1),)
    assert tally.unexpected == (Line("w1", 6), Line("x", 1))
    assert not tally.lost


def test_nuls_are_counted_apart(tmp_path: Path) -> None:
    """A hole before a line does not tear it, but it is said."""
    (tmp_path / "app.log").write_bytes(bytes(4096) + lines("w1", 1, 2))
    tally = oracle.count(tmp_path, expected={"w1": 2})
    assert (tally.nuls, tally.whole, tally.clean) == (4096, True, False)


def test_broken_archive_is_reported(logs: Path) -> None:
    """An archive that was cut short is no archive."""
    path = logs / "app.log.2.zst"
    path.write_bytes(path.read_bytes()[:-8])
    tally = oracle.count(logs, expected={"w1": 30})
    assert len(tally.broken) == 1
    assert "zstd" in tally.broken[0]
    with pytest.raises(ValueError, match="zstd"):
        oracle.joined(logs, "app.log")


def test_temporary_files_are_strays(logs: Path) -> None:
    """A taken log that a crash left counts as kept; an unfinished archive does not, and makes no double."""
    (logs / "app.log.1").rename(logs / ".app.log.new")
    (logs / ".app.log.1.zst.tmp").write_bytes(b"garbage")
    plant(logs, ".app.log.2.tmp", 21, 30)
    tally = oracle.count(logs, "app.log", expected={"w1": 30})
    assert (tally.whole, tally.clean, tally.total) == (True, False, 30)
    assert {os.path.basename(path) for path in tally.strays} == {
        ".app.log.new",
        ".app.log.1.zst.tmp",
        ".app.log.2.tmp",
    }
    assert tally.per_file[os.fspath(logs / ".app.log.2.tmp")] == 10
    assert tally.check(strays=True) is tally


def test_only_names_of_the_grammar_are_no_strays(tmp_path: Path) -> None:
    """Live logs and archives of the given bases belong there; all else is named."""
    fine = ["app.log", "app.log.1", "app.log.10.zst", "app.log-20261121T070000Z", "app.log-20261121T070000Z-2.gz"]
    odd = [
        ".app.log.new",
        "app.log.0",
        "app.log.01",
        "app.log.1.tmp",
        "app.log.1.zst.gz",
        "app.log.1\n",
        "app.log-20261121",
        "other.log",
    ]
    for name in fine + odd:
        (tmp_path / name).touch()
    assert oracle.strays(tmp_path, "app.log") == sorted(odd)
    assert oracle.strays(tmp_path, "app.log", "other.log") == sorted(set(odd) - {"other.log"})


def test_bases_limit_the_count(logs: Path) -> None:
    """Files of other logs are not counted, and a name that only contains the base is another log's."""
    plant(logs, "other.log", 1, 5, "w2")
    plant(logs, "myapp.log", 1, 5, "w2")
    oracle.count(logs, "app.log", expected={"w1": 30}).check()
    assert len(oracle.count(logs, "app.log", "other.log", expected={"w1": 30}).unexpected) == 5


def test_special_files_are_not_read(logs: Path) -> None:
    """A FIFO in the directory hangs nobody, and a symlink is not followed: its lines would count twice."""
    os.mkfifo(logs / "app.log.fifo")
    os.symlink("app.log", logs / "app.log.5")
    assert oracle.count(logs, "app.log", expected={"w1": 30}).whole


def test_archives_come_oldest_first(tmp_path: Path) -> None:
    """Slots fall, stamps rise, beside its compressed twin the plain one is newer, and two namings merge by time."""
    stamps = ["app.log-20260101T000000Z", "app.log-20260101T000000Z-2.zst", "app.log-20260102T000000Z.gz"]
    slots = ["app.log.10", "app.log.2.zst", "app.log.1.zst", "app.log.1"]
    for age, name in enumerate([*stamps, *slots]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    assert [os.path.basename(path) for path in oracle.archives(tmp_path, "app.log")] == [*stamps, *slots]
    for age, name in enumerate([*slots, *stamps]):
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    assert [os.path.basename(path) for path in oracle.archives(tmp_path, "app.log")] == [*slots, *stamps]


def test_line_split_over_archives_is_whole_when_joined(tmp_path: Path) -> None:
    """copytruncate by collapse cuts at a block: joined, nothing is torn, and a planted loss of one byte still shows."""
    data = lines("w1", 1, 100)
    old = tmp_path / "old"
    old.mkdir()
    (old / "app.log.2").write_bytes(data[:1234])
    pack(old / "app.log.2", "zst")
    (tmp_path / "app.log.1").write_bytes(data[1234:4096])
    (tmp_path / "app.log").write_bytes(data[4096:])
    assert oracle.count([tmp_path, old]).torn
    assert oracle.joined([tmp_path, old], "app.log") == data
    oracle.count_joined([tmp_path, old], "app.log", {"w1": 100}).check()
    (tmp_path / "app.log").write_bytes(data[4097:])
    assert oracle.count_joined([tmp_path, old], "app.log", {"w1": 100}).lost == (Line("w1", 52),)
    (tmp_path / "app.log").write_bytes(data[4080:])
    assert not oracle.count_joined([tmp_path, old], "app.log", {"w1": 100}).whole


def test_oracle_does_not_import_the_package() -> None:
    """An oracle that uses what it judges is none."""
    source = Path(oracle.__file__).read_text()
    assert "import logrotor" not in source
    assert "from logrotor" not in source
