"""Processes that write while their log is rotated, again and again: every line is found once, and no opener misses."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.model import Manager, ReopenTarget, Report
from tests.rival.rivals import Logrotate, Rule
from tests.support import mounts, oracle
from tests.support.need import need
from tests.support.oracle import Tally
from tests.support.writers import Kind, Writer

Rotate = Callable[[], object]

NAMES = ("w1", "w2", "w3", "w4")
BASE = "app.log"
LEAST = 10
AT_ONCE = 20  # rotations, until somebody carries their archives away
MANY = (pytest.mark.long, pytest.mark.timeout(900))


def times(few: int, many: int) -> list[Any]:
    return [pytest.param(few, id=f"{few}"), pytest.param(many, id=f"{many}", marks=MANY)]


# ---------------------------------------------------------------- the two rotators


def ours(live: Path, **keys: Any) -> Callable[[], Report]:
    """A forced run of logrotor, which must be faultless."""
    rule = {"name": "app", "paths": [str(live)], "max_size": "1GB", "rotate_empty": True, **keys}
    rotator = Rotator(load_config({"state_dir": str(live.parent.parent / "state"), "log": [rule]}))

    def rotate() -> Report:
        report = rotator.run(force=True)
        assert report.exit_code == 0, (report.failed, report.problems)
        return report

    rotate.rotator = rotator  # type: ignore[attr-defined]
    return rotate


def theirs(live: Path, **words: Any) -> Rotate:
    """A forced run of Debian's logrotate."""
    rival = Logrotate(live.parent.parent)
    rival.configure(Rule([live], keep=10_000, **words))
    return lambda: rival.rotate(force=True)


def settle(rotate: Any) -> None:
    """Once nobody writes any more, one ordinary run finishes everything, and the next has nothing to do."""
    assert rotate.rotator.run().exit_code == 0
    assert rotate.rotator.plan().is_idle


@pytest.fixture
def live(tmp_path: Path) -> Path:
    return fresh(tmp_path / "logs")


def fresh(folder: Path) -> Path:
    folder.mkdir()
    live = folder / BASE
    live.touch()
    live.chmod(0o664)
    return live


# ---------------------------------------------------------------- rename


def under_rotation(
    live: Path,
    kind: Kind,
    rotate: Rotate,
    rotations: int,
    *,
    writers: list[Writer],
    names: Sequence[str],
    strict: bool = False,
) -> Tally:
    """Writers of one kind, and rotations; between two of these each writer writes a few lines at least.

    Every now and then somebody carries finished archives away, as one may at any time: a row of hundreds would only be
    slow.
    """
    with ExitStack() as stack:
        for name in names:
            writers.append(stack.enter_context(Writer(live, kind, name=name, rate=2000, strict=strict)))
        for done in range(1, rotations + 1):
            for writer in writers:
                writer.wait_for_more(LEAST)
            rotate()
            if done % AT_ONCE == 0:
                carry_away(live.parent, done, ".zst")
        for writer in writers:
            writer.wait_for_more(LEAST)
    return counted(live.parent, writers)


def carry_away(logs: Path, done: int, suffix: str) -> None:
    """Archives whose names end so, to a folder of their own."""
    store = logs.parent / "store" / str(done)
    store.mkdir(parents=True)
    for path in oracle.archives(logs, BASE):
        if path.endswith(suffix):
            os.rename(path, store / os.path.basename(path))


def stores(logs: Path) -> list[Path]:
    return [logs, *(logs.parent / "store").glob("*")]


def counted(logs: Path, writers: Sequence[Writer]) -> Tally:
    return oracle.count(stores(logs), BASE, expected={w.name: w.lines_written() for w in writers})


@pytest.mark.parametrize("rotations", times(15, 200))
@pytest.mark.parametrize("kind", Kind)
def test_no_line_is_lost_under_rename(live: Path, kind: Kind, rotations: int) -> None:
    """Four processes, and archives that are compressed as soon as nobody writes them."""
    writers: list[Writer] = []
    reopen = {}
    if kind is Kind.SIGNAL:
        target = ReopenTarget(name="writers", manager=Manager.CALLABLE, function=lambda _: ask_to_reopen(writers))
        reopen = {"reopen": target}
    rotate = ours(live, compress="zstd", **reopen)
    names = NAMES[:1] if kind is Kind.NO_APPEND else NAMES  # two of those would overwrite each other
    strict = kind is Kind.PER_LINE
    tally = under_rotation(live, kind, rotate, rotations, writers=writers, names=names, strict=strict).check()
    assert sum(writer.missed() for writer in writers) == 0
    if kind is Kind.SIGNAL:
        assert min(writer.reopened() for writer in writers) >= rotations
    settle(rotate)
    counted(live.parent, writers).check()
    archives = [path for folder in stores(live.parent) for path in oracle.archives(folder, BASE)]
    assert len(archives) == rotations
    assert all(path.endswith(".zst") for path in archives)
    print(f"{kind}: {rotations} rotations, {tally.total} lines, 0 lost")


def ask_to_reopen(writers: Sequence[Writer]) -> None:
    for writer in writers:
        os.kill(writer.pid, signal.SIGUSR1)


# ---------------------------------------------------------------- opens by name


def opens(live: Path, rotate: Rotate, enough: Callable[[int, Writer], bool]) -> Writer:
    """A process that opens the log for each line as fast as it can, and never creates it; rotations until enough."""
    done = 0
    with Writer(live, Kind.PER_LINE, strict=True) as writer:
        while not enough(done, writer):
            rotate()
            done += 1
            if done % AT_ONCE == 0:
                carry_away(live.parent, done, "")
    print(f"{writer.missed()} of {writer.lines_written() + writer.missed()} opens missed in {done} rotations")
    return writer


@pytest.mark.parametrize(("rotations", "least"), [(15, 5000), pytest.param(200, 80_000, marks=MANY)])
def test_an_opener_by_name_never_misses_the_log(live: Path, rotations: int, least: int) -> None:
    """The exchange leaves no moment without a log."""
    rotate = ours(live, compress="none")
    writer = opens(live, rotate, lambda done, writer: done >= rotations and writer.lines_written() >= least)
    assert writer.missed() == 0
    counted(live.parent, [writer]).check()


def test_logrotate_has_moments_without_a_log(live: Path) -> None:
    """The rival, in the same harness."""
    writer = opens(live, theirs(live), lambda done, writer: done >= 400 or (done >= 15 and writer.missed() > 0))
    assert writer.missed() > 0


@pytest.mark.long
@pytest.mark.timeout(900)
def test_logrotate_has_moments_without_a_log_counted(live: Path) -> None:
    """The same, as often as ours."""
    assert opens(live, theirs(live), lambda done, _: done >= 200).missed() > 0


# ---------------------------------------------------------------- held archives


def plain(folder: Path) -> dict[int, str]:
    """Plain archives: inode and name."""
    return {e.inode(): e.name for e in os.scandir(folder) if e.name != BASE and e.name.rpartition(".")[2].isdigit()}


@pytest.mark.parametrize("rotations", times(10, 100))
def test_what_is_written_is_neither_compressed_nor_removed(live: Path, rotations: int) -> None:
    """Three processes hold the log of three generations for as long as they like; only two archives may stay."""
    rotate = ours(live, compress="zstd", backup_count=2)
    with ExitStack() as stack:
        writers, held = [], []
        for name in ("w1", "w2", "w3"):
            writer = stack.enter_context(Writer(live, Kind.HOLD, name=name, on_order=True))
            writers.append(writer)
            held.append(live.stat().st_ino)
            writer.write(100)
            rotate()
        for _ in range(rotations):
            for writer in writers:
                writer.write(10)
            rotate()
            assert set(held) <= plain(live.parent).keys()
            oracle.count(live.parent, BASE, expected={w.name: w.lines_written() for w in writers}).check()
        assert set(held) == plain(live.parent).keys()
        assert len(oracle.archives(live.parent, BASE)) == 3 + 2
        writers[2].stop()
        rotate.rotator.run()  # type: ignore[attr-defined]
        assert set(held[:2]) == plain(live.parent).keys()
        assert not oracle.count(live.parent, expected={"w1": writers[0].lines_written()}).lost
    settle(rotate)
    assert sorted(os.listdir(live.parent)) == [BASE, "app.log.1.zst", "app.log.2.zst"]


@pytest.mark.parametrize("rotations", times(5, 30))
def test_the_newest_held_archive_is_compressed_once_its_writer_ends(live: Path, rotations: int) -> None:
    """Nothing of what it wrote to the archive meanwhile is missing."""
    rotate = ours(live, compress="zstd")
    with Writer(live, Kind.HOLD, on_order=True) as writer:
        for _ in range(rotations):
            writer.write(50)
            rotate()
        writer.write(50)
    settle(rotate)
    assert not plain(live.parent)
    assert oracle.count(live.parent, BASE, expected=writer.expected).check().total == 50 * rotations + 50


def test_logrotate_compresses_under_a_writer(live: Path) -> None:
    """The rival, even when it is told to compress one cycle later: what a process writes afterwards is gone."""
    rotate = theirs(live, compress=True, odd="delaycompress")
    with Writer(live, Kind.HOLD, on_order=True) as writer:
        for _ in range(5):
            writer.write(50)
            rotate()
    tally = oracle.count(live.parent, BASE, expected=writer.expected)
    print(f"logrotate: {len(tally.lost)} of {writer.lines_written()} lines of a holder lost in 5 rotations")
    assert len(tally.lost) > 0


# ---------------------------------------------------------------- copytruncate


@pytest.fixture(params=["ext4", "xfs"])
def collapsible(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    with mounts.loop_mount(tmp_path, request.param, "1500M") as mount:
        yield fresh(mount.path / "logs")


def at_full_speed(live: Path, rotate: Rotate, rotations: int, names: Sequence[str]) -> Tally:
    """Writers that append as fast as they can, and rotations; then the archives joined, oldest first, and the log."""
    with ExitStack() as stack:
        writers = [stack.enter_context(Writer(live, Kind.HOLD, name=name)) for name in names]
        for _ in range(rotations):
            writers[0].wait_for_more(500)
            rotate()
    return oracle.count_joined(live.parent, BASE, {w.name: w.lines_written() for w in writers})


@pytest.mark.parametrize(
    ("names", "rotations"),
    [
        pytest.param(NAMES[:1], 5, id="one-5"),
        pytest.param(NAMES[:1], 50, id="one-50", marks=MANY),
        pytest.param(NAMES, 10, id="four-10", marks=MANY),
    ],
)
def test_collapse_loses_nothing_at_full_speed(collapsible: Path, names: Sequence[str], rotations: int) -> None:
    """Archive joins archive byte for byte, and the live log the newest."""
    rotate = ours(collapsible, method="copytruncate", compress="none")
    tally = at_full_speed(collapsible, rotate, rotations, names).check()
    assert len(oracle.archives(collapsible.parent, BASE)) == rotations
    print(f"collapse: {rotations} rotations, {len(names)} writers, {tally.total} lines, 0 lost")


@pytest.mark.parametrize("rotations", times(4, 20))
def test_who_follows_a_collapsed_log_sees_little_twice(collapsible: Path, tmp_path: Path, rotations: int) -> None:
    """A real tail -F behind a writer at full speed: what it prints again is bounded, whatever the copy took."""
    need(shutil.which("tail") is not None, "tail")
    seen = tmp_path / "seen"
    with (
        seen.open("wb") as out,
        subprocess.Popen(["tail", "-n", "+1", "-F", collapsible], stdout=out, stderr=subprocess.DEVNULL) as tail,
    ):
        try:
            rotate = ours(collapsible, method="copytruncate", compress="none")
            at_full_speed(collapsible, rotate, rotations, NAMES[:1])
            size = -1
            while seen.stat().st_size != size:  # it looks once a second where inotify does not wake it
                size = seen.stat().st_size
                time.sleep(1.5)
        finally:
            tail.terminate()
    numbers = [int(found) for found in re.findall(rb"^w1 0*(\d+) ", seen.read_bytes(), re.MULTILINE)]
    again = len(numbers) - len(set(numbers))
    print(f"{again} of {len(set(numbers))} lines seen again in {rotations} rotations")
    assert numbers and again / rotations < 4000


@pytest.mark.long
@pytest.mark.timeout(900)
def test_logrotate_loses_lines_at_full_speed(collapsible: Path) -> None:
    """The rival, in the same harness."""
    tally = at_full_speed(collapsible, theirs(collapsible, copytruncate=True), 50, NAMES[:1])
    print(f"logrotate: copytruncate, 50 rotations, {tally.total} lines found, {len(tally.lost)} lost")
    assert len(tally.lost) > 0
