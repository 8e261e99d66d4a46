"""The file systems are what they claim to be."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support import mounts


def test_small_tmpfs_is_full_soon(tmp_path: Path) -> None:
    """Space and inodes end where they were told to."""
    with mounts.tmpfs(tmp_path, "64k", inodes=3) as path:
        (path / "one").touch()
        (path / "two").touch()
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (path / "three").touch()
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (path / "one").write_bytes(bytes(1 << 20))
    assert not os.path.ismount(tmp_path / "tmpfs")


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
def test_loop_mount(tmp_path: Path, fstype: str) -> None:
    """Each can be made and written, and ext4 and XFS collapse ranges."""
    with mounts.loop_mount(tmp_path, fstype) as mount:
        (mount.path / "file").write_text("x")
        assert os.stat(mount.path).st_dev != os.stat(tmp_path).st_dev
        assert mounts.collapses(mount.path) == (fstype != "btrfs")
    assert os.listdir(tmp_path) == [fstype]
    assert not os.path.ismount(tmp_path / fstype)


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_power_cut_loses_what_was_not_durable(tmp_path: Path, fstype: str) -> None:
    """What was synced is there afterwards, the rest is not."""
    with mounts.loop_mount(tmp_path, fstype) as mount:
        with open(mount.path / "synced", "w") as file:
            file.write("x" * 5000)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(mount.path, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        (mount.path / "unsynced").write_text("x" * 5000)
        mount.power_cut()
        assert (mount.path / "synced").read_text() == "x" * 5000
        assert not (mount.path / "unsynced").exists()


def test_overlay_and_bound_file_and_read_only(tmp_path: Path) -> None:
    """A bound file cannot be renamed, an overlay and a read-only folder are just that."""
    with mounts.overlay(tmp_path) as path:
        (path / "file").write_text("x")
    (tmp_path / "source").write_text("y")
    with mounts.bind_file(tmp_path / "source", tmp_path / "target") as bound:
        assert bound.read_text() == "y"
        with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
            bound.rename(tmp_path / "moved")
    (tmp_path / "folder").mkdir()
    with mounts.read_only(tmp_path / "folder") as folder, pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        (folder / "file").touch()
