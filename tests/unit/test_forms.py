"""Which archives are forms of one generation: by their bytes, and without comparing each with each."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from logrotor.decide.naming import parse_archive
from logrotor.disk.logdir import LogDir
from logrotor.disk.snapshot import look
from logrotor.model import Archive
from logrotor.survey.forms import Duplicates, find_set_aside, longer
from tests.support import oracle
from tests.support.facts import HERE, directory, entry


def archived(path: Path) -> Archive:
    name = parse_archive(path.name)
    with LogDir(str(path.parent)) as logdir:
        entry = logdir.stat(path.name)
    assert name is not None and entry is not None
    return Archive(name, entry, str(path.parent))


PROGRAMS = {".zst": ["zstd", "-q", "-k"], ".gz": ["gzip", "-k"], ".bz2": ["bzip2", "-k"], ".xz": ["xz", "-k"]}


def are_equal(one: Archive, other: Archive) -> bool:
    return longer(one, other, one_time=True, one_place=True) == 0


@pytest.mark.parametrize("suffix", PROGRAMS)
@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_equal_after_decompression(tmp_path: Path, suffix: str, size: int) -> None:
    """A plain archive equals what the real programs made of it, and nothing else, not even by one byte."""
    plain = tmp_path / "app.log.1"
    plain.write_bytes(oracle.lines("w1", 1, size // 80 + 1)[:size])
    subprocess.run([*PROGRAMS[suffix], plain], check=True)
    packed = tmp_path / f"app.log.1{suffix}"
    assert are_equal(archived(plain), archived(packed))
    for changed in (plain.read_bytes() + b"x", plain.read_bytes()[:-1] + b"?", b"\0"):
        if changed != plain.read_bytes():
            (tmp_path / "app.log.2").write_bytes(changed)
            assert not are_equal(archived(tmp_path / "app.log.2"), archived(packed))


@pytest.mark.parametrize("suffix", PROGRAMS)
def test_a_damaged_archive_equals_nothing(tmp_path: Path, suffix: str) -> None:
    """Cut short, garbage after the header, or no archive at all: it is not taken for the finished form of anything."""
    plain = tmp_path / "app.log.1"
    plain.write_bytes(oracle.lines("w1", 1, 5000))
    subprocess.run([*PROGRAMS[suffix], plain], check=True)
    packed = tmp_path / f"app.log.1{suffix}"
    whole = packed.read_bytes()
    for bad in (whole[:-1], whole[: len(whole) // 2], whole[:4], b"", b"garbage", whole + b"garbage"):
        packed.write_bytes(bad)
        assert not are_equal(archived(plain), archived(packed))
    middle = len(whole) // 2
    packed.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :])
    assert not are_equal(archived(plain), archived(packed))


def test_several_members_are_one_archive(tmp_path: Path) -> None:
    """Two gzip members in a row hold what both hold, as gzip(1) reads them."""
    plain, packed = tmp_path / "app.log.1", tmp_path / "app.log.1.gz"
    plain.write_bytes(b"one\ntwo\n")
    packed.write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert are_equal(archived(plain), archived(packed))


def test_an_archive_that_changed_meanwhile_equals_nothing(tmp_path: Path) -> None:
    """Another file under the name by now: no answer is better than a wrong one."""
    one, other = tmp_path / "app.log.1", tmp_path / "app.log.1.gz"
    one.write_bytes(b"x")
    other.write_bytes(gzip.compress(b"x"))
    known = archived(one), archived(other)
    one.unlink()
    (tmp_path / "new").write_bytes(b"x")
    (tmp_path / "new").rename(one)
    if one.stat().st_ino != known[0].entry.id.inode:
        assert not are_equal(*known)


@pytest.mark.parametrize("suffix", ["", ".zst"])
@pytest.mark.parametrize("apart", [60.0, 0.0])
def test_archives_are_not_compared_each_with_each(suffix: str, apart: float) -> None:
    """Twice as many archives take about twice as many steps, also where all are plain, or of one time."""

    def steps(count: int) -> int:
        names = [f"app.log.{number}{suffix}" for number in range(1, count + 1)]
        here = directory(*(entry(name, age=number * apart) for number, name in enumerate(names)))
        found = Duplicates(here.families["app.log"].archives, HERE)
        calls = 0

        def count_calls(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count_calls)
        try:
            assert len(found) == 0
        finally:
            sys.setprofile(None)
        return calls

    assert steps(2000) < 6 * steps(400)


@pytest.mark.parametrize(
    ("content", "older", "is_aside"),
    [
        (b"one\ntwo\n", True, True),
        (b"one\ntwo\nlate\n", True, True),
        (b"one\nelse\n", True, False),
        (b"one\ntwo\n", False, False),
    ],
    ids=["as it was compressed", "grown since", "another file with its inode", "younger than what was made of it"],
)
def test_what_an_older_logrotor_set_aside(tmp_path: Path, content: bytes, older: bool, is_aside: bool) -> None:
    """A temp is an archive if the compressed form was made of it: a freed inode is soon another file's."""
    temp, packed = tmp_path / ".app.log.1.tmp", tmp_path / "app.log.1.gz"
    for path in (temp, packed) if older else (packed, temp):
        path.write_bytes(content if path == temp else gzip.compress(b"one\ntwo\n"))
        time.sleep(0.02)  # the kernel's clock for files has ticks of up to 10 ms
    os.setxattr(packed, "user.logrotor.source", f"{temp.stat().st_ino} {temp.stat().st_mtime_ns}".encode())
    found = look(str(tmp_path))
    find_set_aside("app.log", [found])
    family = found.families["app.log"]
    assert (temp.name in [archive.entry.name for archive in family.archives]) == is_aside
    assert [entry.name for entry in family.temps] == [temp.name] * (not is_aside)
