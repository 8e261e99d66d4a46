"""The file systems that the README's guarantees and limits name: a run in the midst of a writer, on each of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import mounts, oracle
from tests.support.deployment import Deployment
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
        with mounts.fuse(folder) as path:
            yield path
    else:
        with mounts.loop_mount(folder, kind) as mount:
            yield mount.path


def run(folder: Path, logs: Path, *above: str, check: int = 0, **keys: Any) -> dict[str, Any]:
    """One run over ``logs``; its report."""
    made = Deployment(folder)
    made.configure(*above, {"name": "app", "paths": [logs / "app.log"], "max_size": "100KB", **keys})
    return made.report(check=check)


def protocol(report: dict[str, Any]) -> str:
    (taken,) = [o for o in report["outcomes"] if o["action"] in ("take", "copytruncate")]
    return str(taken["details"]["protocol"])


@pytest.mark.parametrize("kind", PROMISED)
def test_rename_under_a_writer(world: Path, kind: str):
    """Three rotations under a writer that follows the name: no line is lost, and no open misses."""
    with file_system(world, kind) as logs, Writer(logs / "app.log", Kind.FOLLOW, rate=20_000, width=200) as writer:
        for _ in range(3):
            writer.wait_for_more(2000)
            assert protocol(run(world, logs)) == "exchange"
        writer.stop()
        run(world, logs, max_size="1GB")  # compresses what was deferred
        oracle.count(logs, "app.log", expected=writer.expected).check()
        assert {*os.listdir(logs)} - {"lost+found"} == {"app.log", *(f"app.log.{n}.zst" for n in (1, 2, 3))}


def test_a_writer_behind_a_fuse_mount_is_reckoned_with(world: Path):
    """Nobody sees it hold on to the archive: that stays as it is until it was asked to reopen and quiet for an hour."""
    ask = '[reopen.me]\nmanager = "command"\ncommand = ["true"]'
    behind = world / "behind"
    with file_system(world, "fuse") as logs, Writer(behind / "app.log", Kind.SIGNAL, on_order=True) as writer:
        for taken in (1, 2):
            writer.write(2000)
            report = run(world, logs, backup_count=1)
            assert protocol(report) == "link"
            assert {o["status"] for o in report["outcomes"] if o["action"] == "compress"} == {"deferred"}
            writer.write(10)  # to the archive
            assert sorted(os.listdir(logs)) == ["app.log", *(f"app.log.{n}" for n in range(1, taken + 1))]
            writer.reopen()
        writer.write(10)
        oracle.count(logs, "app.log", expected={"w1": 4030}).check()
        for name in ("app.log.1", "app.log.2"):
            os.utime(behind / name, (time.time() - 4000,) * 2)
        run(world, logs, ask, backup_count=1, max_size="1GB", reopen="me")
        assert sorted(os.listdir(logs)) == ["app.log", "app.log.1.zst"]
        assert oracle.count(logs, "app.log").total == 2020


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
        report = run(world, logs, method="copytruncate", check=0 if collapses else 1)
        writer.stop()
        if collapses:
            assert protocol(report) == "collapse"
            oracle.count_joined(logs, "app.log", writer.expected).check()
        else:
            (refused,) = report["outcomes"]
            assert refused["status"] == "failed" and "accept_loss = true" in refused["problem"]["advice"]
            oracle.count(logs, "app.log", expected=writer.expected).check()
