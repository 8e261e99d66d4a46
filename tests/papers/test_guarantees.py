"""The file systems that the README's guarantees and limits name: a run in the midst of a writer, on each of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import mounts, oracle
from tests.support.command import logrotor
from tests.support.need import need
from tests.support.writers import Kind, Writer

PROMISED = ("ext4", "xfs", "btrfs", "tmpfs", "overlay")
COLLAPSING = ("ext4", "xfs")


@contextmanager
def file_system(folder: Path, kind: str) -> Iterator[Path]:
    """A mounted file system of that kind."""
    if kind == "tmpfs":
        with mounts.tmpfs(folder, "64m") as path:
            yield path
    elif kind == "overlay":
        with mounts.overlay(folder) as path:
            yield path
    elif kind == "fuse":
        with _fuse(folder) as path:
            yield path
    else:
        with mounts.loop_mount(folder, kind) as mount:
            yield mount.path


@contextmanager
def _fuse(folder: Path) -> Iterator[Path]:
    need(shutil.which("bindfs") and os.path.exists("/dev/fuse"), "bindfs and /dev/fuse")
    (folder / "behind").mkdir()
    (folder / "fuse").mkdir()
    done = subprocess.run(["bindfs", folder / "behind", folder / "fuse"], capture_output=True, text=True, check=False)
    need(done.returncode == 0, f"to mount with bindfs: {done.stderr.strip()}")
    try:
        yield folder / "fuse"
    finally:
        subprocess.run(["umount", "-l", folder / "fuse"], check=False)


def run(folder: Path, logs: Path, *keys: str, check: int = 0) -> dict[str, Any]:
    """One run over ``logs``; its report."""
    text = "\n".join([f'state_dir = "{folder}/state"', "[[log]]", 'name = "app"', f'paths = ["{logs}/app.log"]', *keys])
    (folder / "logrotor.toml").write_text(f'{text}\nmax_size = "100KB"\n')
    report: dict[str, Any] = logrotor("run", "-c", folder / "logrotor.toml", "--json", check=check).json
    return report


def protocol(report: dict[str, Any]) -> str:
    (taken,) = [o for o in report["outcomes"] if o["action"] in ("take", "copytruncate")]
    return str(taken["details"]["protocol"])


@pytest.mark.parametrize("kind", [*PROMISED, "fuse"])
def test_rename_under_a_writer(world: Path, kind: str):
    """Three rotations under a writer that follows the name: no line is lost, and (FUSE apart) no open misses."""
    with file_system(world, kind) as logs, Writer(logs / "app.log", Kind.FOLLOW, rate=20_000, width=200) as writer:
        for _ in range(3):
            writer.wait_for_more(2000)
            assert protocol(run(world, logs)) == ("link" if kind == "fuse" else "exchange")
            time.sleep(1.1 if kind == "fuse" else 0)  # so long its kernel side believes what it knows of a file
        writer.stop()
        time.sleep(1.1 if kind == "fuse" else 0)
        run(world, logs, 'min_size = "1GB"')  # compresses what was deferred
        oracle.count(logs, "app.log", expected=writer.expected).check()
        assert {*os.listdir(logs)} - {"lost+found"} == {"app.log", *(f"app.log.{n}.zst" for n in (1, 2, 3))}


@pytest.mark.parametrize("kind", PROMISED)
def test_the_name_never_misses(world: Path, kind: str):
    """A writer that opens its log for each line, and never creates it, finds it each time."""
    with file_system(world, kind) as logs:
        (logs / "app.log").touch()
        with Writer(logs / "app.log", Kind.PER_LINE, strict=True, width=200) as writer:
            for _ in range(3):
                writer.wait_for_more(1000)
                assert protocol(run(world, logs)) == "exchange"
            writer.stop()
        assert writer.missed() == 0
        oracle.count(logs, "app.log", expected=writer.expected).check()


@pytest.mark.parametrize("kind", PROMISED)
def test_copytruncate_is_lossless_or_refused(world: Path, kind: str):
    """Under a writer that holds the log: lossless where a range can be collapsed, else refused with what to do."""
    with file_system(world, kind) as logs, Writer(logs / "app.log", Kind.HOLD, rate=20_000, width=200) as writer:
        writer.wait_for_more(2000)
        collapses = mounts.collapses(logs)
        assert kind not in COLLAPSING or collapses
        report = run(world, logs, 'method = "copytruncate"', check=0 if collapses else 1)
        writer.stop()
        if collapses:
            assert protocol(report) == "collapse"
            oracle.count_joined(logs, "app.log", writer.expected).check()
        else:
            assert "accept_loss = true" in str(report["outcomes"])
            oracle.count(logs, "app.log", expected=writer.expected).check()
