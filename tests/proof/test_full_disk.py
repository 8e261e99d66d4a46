"""No bytes or inodes left: rotation works or leaves the log whole, and the run after space returns completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import command, mounts, oracle, users
from tests.support.command import Result
from tests.support.fixtures import world  # noqa: F401
from tests.support.need import need
from tests.support.writers import Writer

LINES = 2000  # 160 kB
NO_SPACE = os.strerror(28)


@dataclass(slots=True)
class Place:
    """A small file system with a log, and a configuration that lies elsewhere."""

    disk: Path
    home: Path
    state: Path

    @property
    def logs(self) -> Path:
        return self.disk / "logs"

    @property
    def live(self) -> Path:
        return self.logs / "app.log"

    def configure(self, **keys: object) -> None:
        rule: dict[str, object] = {"name": "app", "paths": [str(self.live)], "max_size": "10k", "backup_count": 5}
        lines = [f"state_dir = {_toml(str(self.state))}", "[[log]]"]
        lines += [f"{key} = {_toml(value)}" for key, value in {**rule, **keys}.items()]
        (self.home / "logrotor.toml").write_text("\n".join(lines) + "\n")

    def write(self, first: int, last: int) -> None:
        self.logs.mkdir(exist_ok=True)
        with open(self.live, "ab") as log:
            log.write(oracle.lines("w1", first, last))
        self.live.chmod(0o664)

    def run(self, *, check: int) -> Result:
        return command.logrotor("run", "-c", self.home / "logrotor.toml", check=check)

    def fill(self, *, leave: int = 0) -> None:
        """Use up every byte but ``leave``."""
        filler = self.disk / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
            file.truncate(max(file.tell() - leave, 0))

    def fill_inodes(self, *, leave: int = 0) -> None:
        made = []
        while True:
            path = self.disk / f"inode{len(made)}"
            try:
                path.touch()
            except OSError:
                break
            made.append(path)
        for path in made[:leave]:
            path.unlink()
        assert len(made) >= leave

    def make_room(self) -> None:
        for path in self.disk.iterdir():
            if path.is_file():
                path.unlink()

    def found(self) -> list[str]:
        return sorted(os.listdir(self.logs))

    def count(self, last: int, *more: Path) -> None:
        oracle.count_joined([self.logs, *more], "app.log", {"w1": last}).check()


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with mounts.tmpfs(tmp_path, "1m", inodes=20) as disk:
        yield Place(disk, tmp_path, tmp_path / "state")


# ---------------------------------------------------------------- no bytes


def test_rename_needs_no_bytes(place: Place) -> None:
    """A rotation without compression works on a disk without one free byte."""
    place.configure(compress="none")
    place.write(1, LINES)
    place.fill()
    place.run(check=0)
    assert place.found() == ["app.log", "app.log.1"]
    place.count(LINES)


@pytest.mark.parametrize("compress", ["zstd", "gzip"])
@pytest.mark.parametrize("leave", [0, 8192])
def test_compression_fails_without_a_trace(place: Place, compress: str, leave: int) -> None:
    """The log is rotated, its archive stays plain, no temp stays, and the run after space returns compresses it."""
    place.configure(compress=compress)
    place.write(1, LINES)
    noise = os.urandom(64).hex()  # barely compressible, or 8 kB would do
    with open(place.live, "ab") as log:
        log.write(b"".join(f"noise {os.urandom(600).hex()}{noise}\n".encode() for _ in range(60)))
    size = place.live.stat().st_size
    place.fill(leave=leave)
    failed = place.run(check=1)
    assert NO_SPACE in failed.stderr
    assert "app.log.1" in failed.stderr
    assert place.found() == ["app.log", "app.log.1"]
    assert (place.logs / "app.log.1").stat().st_size == size
    place.make_room()
    place.run(check=0)
    suffix = {"zstd": "zst", "gzip": "gz"}[compress]
    assert place.found() == ["app.log", f"app.log.1.{suffix}"]
    assert len(oracle.read(place.logs / f"app.log.1.{suffix}")[0]) == size


def test_retention_makes_the_room_that_compression_needs(place: Place) -> None:
    """What retention removes is gone before anything is compressed, so a full disk empties itself."""
    place.configure(compress="none", backup_count=2)
    place.write(1, LINES)
    place.run(check=0)
    place.write(LINES + 1, 2 * LINES)
    place.run(check=0)
    place.configure(compress="zstd", backup_count=1)
    place.write(2 * LINES + 1, 3 * LINES)
    place.fill()
    place.run(check=0)
    assert place.found() == ["app.log", "app.log.1.zst"]
    assert oracle.read(place.logs / "app.log.1.zst")[0] == oracle.lines("w1", 2 * LINES + 1, 3 * LINES)


def test_a_full_archive_directory_keeps_the_archive_beside_the_log(place: Place) -> None:
    """It stays complete where it is, and moves when there is room."""
    logs = place.home / "logs"
    logs.mkdir()
    place.configure(paths=[str(logs / "app.log")], compress="none", archive_dir=str(place.disk))
    (logs / "app.log").write_bytes(oracle.lines("w1", 1, LINES))
    place.fill(leave=8192)
    assert NO_SPACE in place.run(check=1).stderr
    assert sorted(os.listdir(logs)) == ["app.log", "app.log.1"]
    assert os.listdir(place.disk) == ["filler"]
    place.make_room()
    place.run(check=0)
    assert (os.listdir(logs), os.listdir(place.disk)) == (["app.log"], ["app.log.1"])
    oracle.count_joined([logs, place.disk], "app.log", {"w1": LINES}).check()


def test_a_writer_that_waits_for_room_loses_nothing(place: Place) -> None:
    """The disk fills up in the middle of a line; the rest of it follows once a rotation and an admin made room."""
    place.configure(compress="none")
    place.write(0, -1)
    with Writer(place.live, "hold", on_order=True) as writer:
        writer.write(LINES)
        place.fill(leave=4096)
        writer.write(20)
        place.run(check=0)
        place.make_room()
        writer.write(20)
    place.count(LINES + 40)


# ---------------------------------------------------------------- no inodes


def test_without_an_inode_the_log_stays_as_it_is(place: Place) -> None:
    """No replacement can be made: reported with file and reason, nothing moved, done by the next run."""
    place.configure(compress="none")
    place.write(1, LINES)
    place.fill_inodes()
    failed = place.run(check=1)
    assert NO_SPACE in failed.stderr
    assert "app.log" in failed.stderr
    assert place.found() == ["app.log"]
    place.count(LINES)
    place.make_room()
    place.run(check=0)
    assert place.found() == ["app.log", "app.log.1"]
    place.count(LINES)


def test_without_an_inode_a_log_that_nobody_creates_is_moved_away(place: Place) -> None:
    """``create = false`` needs none."""
    place.configure(compress="none", create=False)
    place.write(1, LINES)
    place.fill_inodes()
    place.run(check=0)
    assert place.found() == ["app.log.1"]
    place.count(LINES)


def test_two_inodes_are_enough_to_rotate_but_not_to_compress(place: Place) -> None:
    """The lock and the new log have them; the compressed archive has to wait."""
    place.configure(compress="zstd")
    place.write(1, LINES)
    place.fill_inodes(leave=2)
    assert NO_SPACE in place.run(check=1).stderr
    assert place.found() == ["app.log", "app.log.1"]
    place.make_room()
    place.run(check=0)
    assert place.found() == ["app.log", "app.log.1.zst"]
    place.count(LINES)


# ---------------------------------------------------------------- the state directory is full as well


@pytest.mark.parametrize("full", ["bytes", "inodes"])
def test_a_history_that_cannot_be_written_is_reported_and_stops_nothing(place: Place, full: str) -> None:
    """The log is rotated, the run ends with 1 and names the history; the next one is fine again."""
    place.state = place.disk / "state"
    place.configure(compress="none")
    place.write(1, LINES)
    place.run(check=0)
    place.write(LINES + 1, 2 * LINES)
    if full == "bytes":
        place.fill()
    else:
        place.fill_inodes(leave=2)
    failed = place.run(check=1)
    assert "history.sqlite" in failed.stderr
    assert place.found() == ["app.log", "app.log.1", "app.log.2"]
    place.count(2 * LINES)
    place.make_room()
    place.run(check=0)
    place.count(2 * LINES)


def test_a_first_run_without_room_for_its_history_rotates_all_the_same(place: Place) -> None:
    """There is no history yet, and no room for one: it is reported, and the rotation goes on without."""
    place.state = place.disk / "state"
    place.configure(compress="none")
    place.write(1, LINES)
    place.fill()
    failed = place.run(check=1)
    assert f"{place.state}/history.sqlite" in failed.stderr
    assert place.found() == ["app.log", "app.log.1"]
    place.make_room()
    place.write(LINES + 1, 2 * LINES)
    place.run(check=0)
    assert place.found() == ["app.log", "app.log.1", "app.log.2"]
    place.count(2 * LINES)


def test_a_first_run_without_an_inode_for_its_lock_leaves_the_log_as_it_is(place: Place) -> None:
    """Without a lock nothing runs: the reason and the place are said."""
    place.state = place.disk / "state"
    place.configure(compress="none")
    place.write(1, LINES)
    place.fill_inodes(leave=1)  # for the directory
    failed = place.run(check=2)
    assert f"{place.state}/lock" in failed.stderr
    assert NO_SPACE in failed.stderr
    assert place.found() == ["app.log"]
    place.make_room()
    place.run(check=0)
    assert place.found() == ["app.log", "app.log.1"]
    place.count(LINES)


# ---------------------------------------------------------------- copytruncate


def test_copytruncate_without_room_for_the_copy_cuts_nothing(tmp_path: Path) -> None:
    """The log is whole, no half copy stays, and the next run does it."""
    with mounts.loop_mount(tmp_path, "ext4") as mount:
        place = Place(mount.path, tmp_path, tmp_path / "state")
        place.configure(compress="none", method="copytruncate")
        place.write(1, LINES)
        place.fill(leave=40_000)
        assert NO_SPACE in place.run(check=1).stderr
        assert place.found() == ["app.log"]
        place.count(LINES)
        place.make_room()
        place.run(check=0)
        assert place.found() == ["app.log", "app.log.1"]
        place.count(LINES)


def test_copytruncate_without_room_for_its_record_cuts_nothing(tmp_path: Path) -> None:
    """The record that a recovery would need cannot be written: nothing is cut."""
    with mounts.tmpfs(tmp_path, "200k") as disk, mounts.loop_mount(tmp_path, "ext4") as mount:
        place = Place(mount.path, tmp_path, disk / "state")
        place.configure(compress="none", method="copytruncate")
        place.write(1, LINES)
        place.run(check=0)
        place.write(LINES + 1, 2 * LINES)
        Place(disk, tmp_path, disk).fill()
        failed = place.run(check=1)
        assert "history.sqlite" in failed.stderr
        assert place.found() == ["app.log", "app.log.1"]
        place.count(2 * LINES)
        (disk / "filler").unlink()
        place.run(check=0)
        assert place.found() == ["app.log", "app.log.1", "app.log.2"]
        place.count(2 * LINES)


def test_lossy_copytruncate_without_room_cuts_nothing(place: Place) -> None:
    """Where the log would be truncated, a copy that failed leaves it as it is."""
    place.configure(compress="none", method="copytruncate", accept_loss=True)
    place.write(1, LINES)
    place.fill(leave=8192)
    assert NO_SPACE in place.run(check=1).stderr
    assert place.found() == ["app.log"]
    place.count(LINES)
    place.make_room()
    place.run(check=0)
    assert place.found() == ["app.log", "app.log.1"]
    place.count(LINES)


# ---------------------------------------------------------------- without root

_UNPRIVILEGED = """
set -e
mount -t tmpfs -o size=1m,nr_inodes=20 tmpfs disk
mkdir disk/logs
cp lines disk/logs/app.log
chmod 664 disk/logs/app.log
head -c 2M /dev/zero > disk/filler 2>/dev/null || true
"$@" && exit 50 || test $? = 1
test "$(ls -A disk/logs | tr '\\n' ' ')" = "app.log app.log.1 "
rm disk/filler
"$@"
test "$(ls -A disk/logs | tr '\\n' ' ')" = "app.log app.log.1.zst "
zstd -dc disk/logs/app.log.1.zst | cmp - lines
"""


def test_an_ordinary_user_meets_the_same(world: Path) -> None:  # noqa: F811
    """The whole story in a user namespace: no root is involved."""
    probe = users.as_argv("nobody", ["unshare", "-Urm", "true"]) if os.geteuid() == 0 else ["unshare", "-Urm", "true"]
    need(
        shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False).returncode == 0,
        "user namespaces for ordinary users",
    )
    (world / "disk").mkdir()
    (world / "lines").write_bytes(oracle.lines("w1", 1, LINES))
    Place(world / "disk", world, world / "home" / "state").configure()
    (world / "home").mkdir()
    who = users.user("nobody")
    for path in (world, *world.rglob("*")):
        os.chown(path, who.uid, who.gid)
    run = ["sh", "-c", _UNPRIVILEGED, "sh", sys.executable, "-m", "logrotor", "run", "-c", str(world / "logrotor.toml")]
    result = command.run(["unshare", "-Urm", *run], user="nobody", cwd=world)
    assert result.code == 0, result
