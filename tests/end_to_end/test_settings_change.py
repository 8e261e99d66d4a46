"""A changed setting orphans nothing and overwrites nothing: every line is counted after every step, by the oracle."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logrotor.disk import state
from logrotor.model import LastRun, Status
from tests.support import mounts, oracle
from tests.support.deployment import OneLog, listing
from tests.support.supervisor import wait_for


@pytest.fixture
def shop(tmp_path: Path) -> OneLog:
    return OneLog(tmp_path, compress="none")


# ---------------------------------------------------------------- compression


def test_another_compression(shop: OneLog) -> None:
    """zstd, gzip, none and zstd again: what is compressed stays so, each keeps its slot, plain ones catch up."""
    for codec in ("zstd", "gzip", "none", "none"):
        shop.rotate(compress=codec)
        shop.check()
    assert shop.archives() == ["app.log.4.zst", "app.log.3.gz", "app.log.2", "app.log.1"]
    shop.rotate(compress="zstd")
    assert shop.check() == ["app.log.5.zst", "app.log.4.gz", "app.log.3.zst", "app.log.2.zst", "app.log.1.zst"]


def test_compression_without_a_rotation(shop: OneLog) -> None:
    """Turned on while nothing is due, the next run compresses what is there."""
    shop.rotate()
    shop.change(compress="gzip")
    shop.library()
    assert shop.check() == ["app.log.1.gz"]


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_another_level(shop: OneLog, codec: str) -> None:
    """Another compress_level touches no finished archive."""
    shop.rotate(compress=codec, compress_level=1)
    before = shop.logs.joinpath(shop.archives()[0]).read_bytes()
    shop.change(compress_level=9)
    assert shop.library().plan.is_idle
    shop.rotate()
    assert shop.logs.joinpath(shop.check()[0]).read_bytes() == before


def test_keep_uncompressed(shop: OneLog) -> None:
    """The newest N stay plain; N raised unpacks nothing, N lowered compresses the surplus."""
    for _ in range(4):
        shop.rotate(compress="zstd", keep_uncompressed=2)
        shop.check()
    assert shop.archives() == ["app.log.4.zst", "app.log.3.zst", "app.log.2", "app.log.1"]
    shop.rotate(keep_uncompressed=4)
    assert shop.check() == ["app.log.5.zst", "app.log.4.zst", "app.log.3", "app.log.2", "app.log.1"]
    shop.change(keep_uncompressed=0)
    shop.library()
    assert shop.check() == [f"app.log.{n}.zst" for n in (5, 4, 3, 2, 1)]


def test_foreign_archives_take_part(shop: OneLog) -> None:
    """What logrotate left, bz2 and xz too, takes its slot in the row and goes when its time has come."""
    for number, (suffix, program) in enumerate((("xz", "xz"), ("bz2", "bzip2"), ("gz", "gzip")), 1):
        shop.write()
        shop.log.rename(f"{shop.log}.{4 - number}")
        subprocess.run([program, f"{shop.log}.{4 - number}"], check=True)
        assert os.path.exists(f"{shop.log}.{4 - number}.{suffix}")
    shop.rotate(compress="zstd")
    assert shop.check() == ["app.log.4.xz", "app.log.3.bz2", "app.log.2.gz", "app.log.1.zst"]
    shop.change(backup_count=2)
    shop.library()
    assert shop.check(gone=20) == ["app.log.2.gz", "app.log.1.zst"]


# ---------------------------------------------------------------- names


def test_another_naming(shop: OneLog) -> None:
    """Numbered, dated and numbered again: nothing overwritten, the order kept, and all of it under retention."""
    shop.rotate()
    shop.rotate()
    for _ in range(3):
        shop.rotate(naming="dated")
        shop.check()
    assert not [name for name in shop.archives() if not name.startswith("app.log-")]
    shop.rotate(naming="numbered")
    shop.rotate()
    assert shop.check()[-2:] == ["app.log.2", "app.log.1"]
    shop.change(backup_count=3)
    shop.library()
    names = shop.check(gone=40)
    assert len(names) == 3 and names[1:] == ["app.log.2", "app.log.1"] and names[0].startswith("app.log-")


def test_dated_archives_of_one_second(shop: OneLog) -> None:
    """Rotations within one second get names of their own, also across compressions."""
    for codec in ("none", "gzip", "zstd", "none", "zstd"):
        shop.change(naming="dated", compress=codec)
        shop.write()
        os.utime(shop.log, (1_700_000_000, 1_700_000_000))
        shop.library(force=True)
    assert len(shop.archives()) == 5
    tally = oracle.count(shop.logs, "app.log", expected={"w1": 50})
    tally.check()
    stem = "app.log-20231114T221320Z"
    assert {name.split(".gz")[0].split(".zst")[0] for name in shop.archives()} == {
        stem, *(f"{stem}-{n}" for n in range(1, 5))
    }  # fmt: skip


# ---------------------------------------------------------------- retention


def test_lowered_backup_count(shop: OneLog) -> None:
    """The surplus goes, the oldest first, and nothing else: not the logs of others, nor what only looks alike."""
    others = (
        "laravel-2025-10-09.log",
        "app.log.old",
        "app.log.0",
        "app.log.01",
        "app.logs.1",
        "xapp.log.1",
        ".app.log.swp",
    )
    for name in others:
        shop.logs.joinpath(name).write_bytes(b"not ours\n")
    for _ in range(5):
        shop.rotate(compress="zstd", backup_count=7)
    report = None
    for count, gone in ((3, 20), (1, 40)):
        shop.change(backup_count=count)
        report = shop.library()
        left = [name for name in listing(shop.logs) if name not in (*others, "app.log")]
        assert left == [f"app.log.{n}.zst" for n in range(1, count + 1)]
        found = oracle.count([shop.logs / name for name in (*left, "app.log")], expected={"w1": 50})
        assert [line.number for line in found.lost] == list(range(1, gone + 1))
    assert report is not None and [outcome.action for outcome in report.outcomes] == ["remove"] * 2
    assert all(shop.logs.joinpath(name).read_bytes() == b"not ours\n" for name in others)


def test_no_limit_keeps_everything(shop: OneLog) -> None:
    """Without count, age or size everything stays."""
    for _ in range(12):
        shop.rotate(compress="gzip")
    assert len(shop.check()) == 12


def test_max_age(shop: OneLog) -> None:
    """What was rotated longer ago than max_age goes; what was as long ago as that stays."""
    for _ in range(4):
        shop.rotate(compress="zstd")
    now = datetime.now().astimezone().replace(microsecond=0) + timedelta(days=30)
    for days, name in enumerate(reversed(shop.archives())):
        moment = (now - timedelta(days=days)).timestamp()
        os.setxattr(shop.logs / name, "user.logrotor.source", f"{days} 2 {moment} app.log".encode())
    shop.change(max_age="2d")
    shop.library(now=now)  # as if the clock had leapt
    assert len(shop.check()) == 4
    state.remember_last_run(str(shop.state), LastRun((now - timedelta(minutes=1)).timestamp()))
    shop.library(now=now)
    assert shop.check(gone=10) == ["app.log.3.zst", "app.log.2.zst", "app.log.1.zst"]
    state.remember_last_run(str(shop.state), LastRun((now + timedelta(days=30, minutes=-1)).timestamp()))
    shop.library(now=now + timedelta(days=30))
    assert shop.check(gone=40) == []


def test_max_total_size(shop: OneLog) -> None:
    """The oldest go until the rest fits; the newest stays, however large it is."""
    for _ in range(4):
        shop.write(100, width=100)
        shop.library(force=True)
    shop.change(max_total_size=25_000)
    shop.library()
    assert shop.check(gone=200) == ["app.log.2", "app.log.1"]
    shop.change(max_total_size=1)
    shop.library()
    assert shop.check(gone=300) == ["app.log.1"]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["beside", "archive_dir"])
def test_keep_free(shop: OneLog, tmp_path: Path, elsewhere: bool) -> None:
    """On a file system that is too full the oldest archives go, as many as it takes, and the newest stays."""
    with mounts.tmpfs(tmp_path, "1m") as small:
        if elsewhere:
            shop.change(archive_dir=str(small))
        else:
            shop.logs = small
            shop.log, shop.folders = small / "app.log", [small]
            shop.change(paths=[shop.log])
        for _ in range(4):
            shop.write(100, width=1500)
            shop.library(force=True)
        assert len(shop.check()) == 4
        shop.change(keep_free=600_000)
        report = shop.library()
        free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
        assert free >= 600_000
        assert len(shop.check(gone=200)) == 2
        assert [outcome.action for outcome in report.outcomes] == ["remove"] * 2
        shop.change(keep_free="99%")
        shop.library()
        assert len(shop.check(gone=300)) == 1, "the newest stays"


# ---------------------------------------------------------------- the archive directory


@pytest.fixture(params=["the same file system", "another file system"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterable[Path]:
    """A folder for archives."""
    if request.param == "the same file system":
        (tmp_path / "store").mkdir()
        yield tmp_path / "store"
    else:
        with mounts.tmpfs(tmp_path, "8m") as other:
            yield other


@pytest.mark.parametrize("codec", ["zstd", "none"])
def test_archive_dir_on_changed_and_off(shop: OneLog, store: Path, codec: str) -> None:
    """Switched on, archives move there; changed or off, none is orphaned: slots and retention count over all."""
    shop.rotate(compress=codec)
    shop.rotate()
    suffix = ".zst" if codec == "zstd" else ""
    shop.change(archive_dir=str(store / "a"))
    shop.library()
    assert shop.check() == [f"app.log.2{suffix}", f"app.log.1{suffix}"]
    assert listing(shop.logs) == ["app.log"] and listing(store / "a") == [f"app.log.1{suffix}", f"app.log.2{suffix}"]

    shop.rotate()
    shop.rotate(archive_dir=str(store / "b"))
    shop.check()
    assert listing(store / "a") == [f"app.log.{n}{suffix}" for n in (2, 3, 4)]
    assert listing(store / "b") == [f"app.log.1{suffix}"]

    shop.rotate(archive_dir=None)
    assert listing(shop.logs) == ["app.log", f"app.log.1{suffix}"]
    assert shop.check() == [f"app.log.{n}{suffix}" for n in (5, 4, 3, 2, 1)]

    shop.change(backup_count=2)
    shop.library()
    assert shop.check(gone=30) == [f"app.log.2{suffix}", f"app.log.1{suffix}"]
    assert listing(store / "a") == [] and listing(store / "b") == [f"app.log.2{suffix}"]


def test_archive_dir_beside_each_log(shop: OneLog) -> None:
    """A relative archive_dir starts at the directory of the log, and is made with 0755."""
    shop.rotate(archive_dir="old/archives")
    assert shop.check() == ["app.log.1"]
    assert listing(shop.logs / "old/archives") == ["app.log.1"]
    assert {stat.S_IMODE((shop.logs / p).stat().st_mode) for p in ("old", "old/archives")} == {0o755}
    assert shop.library().plan.is_idle


def test_archive_dir_keeps_mode_and_time(shop: OneLog, store: Path) -> None:
    """An archive that moves keeps the mode and the last write of its log."""
    shop.write()
    shop.log.chmod(0o640)
    os.utime(shop.log, (1_600_000_000, 1_600_000_000))
    shop.change(archive_dir=str(store), create_mode="0600")
    shop.library(force=True)
    moved = (store / "app.log.1").stat()
    assert (stat.S_IMODE(moved.st_mode), int(moved.st_mtime)) == (0o640, 1_600_000_000)
    assert stat.S_IMODE(shop.log.stat().st_mode) == 0o600


def test_history_lost_while_archives_lie_elsewhere(shop: OneLog, store: Path) -> None:
    """Without the history the archives of the present archive_dir still count; no name there is overwritten."""
    for _ in range(3):
        shop.rotate(archive_dir=str(store))
    (shop.root / "state/history.sqlite").unlink()
    shop.rotate(backup_count=3)
    assert shop.check(gone=10) == ["app.log.3", "app.log.2", "app.log.1"]


# ---------------------------------------------------------------- method


def test_rename_to_copytruncate_and_back(shop: OneLog) -> None:
    """Archives of both methods stand in one row, and no line is lost between them."""
    for method in ("rename", "copytruncate", "copytruncate", "rename", "copytruncate"):
        shop.change(method=method, compress="zstd")
        shop.write(200)
        shop.library(force=True)
        shop.check()
    assert shop.archives() == [f"app.log.{n}.zst" for n in (5, 4, 3, 2, 1)]


# ---------------------------------------------------------------- on_archive


@pytest.fixture
def noted(shop: OneLog) -> Path:
    """Where a hook notes what it was called with, one JSON object a line."""
    return shop.root / "noted"


def hook(shop: OneLog, noted: Path, ending: str = "exit 0") -> list[str]:
    """An on_archive that notes its argument and its variables, then ends as asked."""
    script = shop.root / "hook"
    script.write_text(
        f'#!/bin/sh\nprintf \'{{"arg": "%s", "archive": "%s", "log": "%s", "rule": "%s"}}\\n\' '
        f'"$1" "$LOGROTOR_ARCHIVE" "$LOGROTOR_LOG" "$LOGROTOR_RULE" >> {noted}\n{ending}\n'
    )
    script.chmod(0o755)
    return [str(script), "{archive}"]


def notes(noted: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in noted.read_text().splitlines()] if noted.exists() else []


def test_on_archive_once_for_each(shop: OneLog, noted: Path) -> None:
    """It gets the finished archive as {archive} and in its environment, once, and never again."""
    for _ in range(3):
        shop.rotate(compress="zstd", on_archive=hook(shop, noted))
        shop.library()
    shop.check()
    path = str(shop.logs / "app.log.1.zst")
    assert notes(noted) == [{"arg": path, "archive": path, "log": str(shop.log), "rule": "app"}] * 3


def test_on_archive_switched_on_later(shop: OneLog, noted: Path) -> None:
    """Archives that were there before get their call too."""
    shop.rotate(compress="zstd")
    shop.rotate()
    shop.change(on_archive=hook(shop, noted))
    shop.library()
    assert sorted(note["arg"] for note in notes(noted)) == [f"{shop.log}.{n}.zst" for n in (1, 2)]


@pytest.mark.parametrize("change", ["archive_dir", "compress", "naming"])
def test_on_archive_is_not_repeated_for_a_new_form(shop: OneLog, noted: Path, store: Path, change: str) -> None:
    """An archive that had its call gets no second one when a changed setting moves, compresses or renames it."""
    shop.rotate(compress="none", on_archive=hook(shop, noted))
    shop.rotate()
    assert len(notes(noted)) == 2
    shop.change(**{change: {"archive_dir": str(store), "compress": "zstd", "naming": "dated"}[change]})
    for _ in range(3):
        shop.library()
    shop.check()
    assert shop.archives() != ["app.log.2", "app.log.1"] or listing(store) == ["app.log.1", "app.log.2"]
    assert len(notes(noted)) == 2


def test_on_archive_fails_and_is_tried_again(shop: OneLog, noted: Path) -> None:
    """A failure is exit 1 with its output; the archive is not retired before it has succeeded in a later run."""
    shop.rotate(compress="zstd")
    shop.change(on_archive=hook(shop, noted, "echo disk on fire; exit 7"), backup_count=1)
    shop.write()
    report = shop.library(force=True, code=1)
    assert {outcome.action for outcome in report.failed} == {"hook"}
    assert all("disk on fire" in o.reason and "7" in o.reason for o in report.failed)
    report = shop.library(code=1)
    assert shop.check() == ["app.log.2.zst", "app.log.1.zst"], "over backup_count, and still there"
    assert "app.log.2.zst" in [outcome.name for outcome in report.outcomes if outcome.status is Status.DEFERRED]

    shop.change(on_archive=hook(shop, noted))
    shop.library()
    shop.library()
    assert shop.check(gone=10) == ["app.log.1.zst"]
    done = len(notes(noted))
    shop.library()
    assert len(notes(noted)) == done


def test_on_archive_that_does_not_exist(shop: OneLog, noted: Path) -> None:
    """Exit 1 names the program, the key and the rule; archives that it has not had stay until it is there."""
    shop.rotate(compress="zstd", on_archive=hook(shop, noted))
    shop.change(on_archive=["/nonexistent/upload"], backup_count=1)
    shop.write()
    (failed,) = shop.library(force=True, code=1).failed
    assert "/nonexistent/upload" in failed.reason
    assert "on_archive in rule app" in failed.reason
    shop.write()
    shop.library(force=True, code=1)
    assert shop.check(gone=10) == ["app.log.2.zst", "app.log.1.zst"], "the first one it has had, when it was there"


def test_one_archive_that_fails_does_not_stop_the_others(shop: OneLog, noted: Path) -> None:
    """The hook is called for each archive, also after one of them failed."""
    for _ in range(3):
        shop.rotate(compress="zstd")
    shop.change(on_archive=hook(shop, noted, 'case "$1" in *.2.zst) exit 1;; esac'))
    shop.library(code=1)
    assert sorted({note["arg"] for note in notes(noted)}) == [f"{shop.log}.{n}.zst" for n in (1, 2, 3)]


def test_on_archive_takes_too_long(shop: OneLog, noted: Path) -> None:
    """After the timeout it is killed with all that it started, and counts as failed."""
    pid = shop.root / "pid"
    shop.rotate(compress="zstd")
    shop.change(on_archive=hook(shop, noted, f"/bin/sleep 600 & echo $! > {pid}; wait"), on_archive_timeout="1s")
    report = shop.library(code=1)
    assert "1 s" in report.failed[0].reason
    child = int(pid.read_text())
    wait_for(lambda: not alive(child))
    assert shop.check() == ["app.log.1.zst"]


def alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return text[text.rindex(")") + 2] not in "ZX"


# ---------------------------------------------------------------- anything after anything

SETTINGS = st.fixed_dictionaries(
    {
        "compress": st.sampled_from(["none", "gzip", "zstd"]),
        "naming": st.sampled_from(["numbered", "dated"]),
        "archive_dir": st.sampled_from([None, "a", "b", "../logs"]),
        "keep_uncompressed": st.integers(0, 2),
        "create_mode": st.sampled_from(["0664", "0600"]),
    }
)
FAST = "/dev/shm" if os.path.isdir("/dev/shm") else None  # each run makes its archives durable


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(SETTINGS, st.integers(1, 9), st.booleans()), min_size=2, max_size=6), st.integers(1, 4))
def test_whatever_changes_nothing_is_lost(steps: list[tuple[dict[str, Any], int, bool]], count: int) -> None:
    """Any settings after any others: every line is there once and in order; a limit then keeps just the newest."""
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        shop = OneLog(Path(folder), compress="none")
        for changes, lines, force in steps:
            shop.change(**changes)
            shop.write(lines)
            shop.library(force=force)
            shop.check()
        newest = shop.archives()[-count:]
        shop.change(backup_count=count)
        shop.library()
        assert shop.archives() == newest
        assert shop.library().plan.is_idle
