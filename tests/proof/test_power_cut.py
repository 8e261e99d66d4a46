"""The power fails after each changing operation of a run, on ext4 and XFS: nothing durable is lost or doubled.

A point is one such moment: a tree is laid out and made durable, a run stops dead after its n-th operation, the file
system forgets what was not durable, and one ordinary run follows. Beside the run an unrelated process may write and
fsync a file of its own, so that the names are committed at moments that the run did not choose.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.disk import calls
from tests.proof.sampling import EXHAUSTIVE
from tests.support import command, mounts, oracle, strace
from tests.support.mounts import LoopMount

LINES = 300  # of each generation: 24 kB, several blocks

TOML = """
state_dir = "{state}"
[[log]]
name = "app"
paths = ["{live}"]
max_size = 10_000
method = "copytruncate"
compress = "none"
"""

Moments = Callable[[int], bool]  # is the unrelated process busy after the n-th operation?


@dataclass(frozen=True, slots=True)
class Scene:
    """What is rotated. Each generation is written by a writer of its own, the oldest by g1."""

    name: str
    rule: dict[str, Any]
    before: int = 2  # archives that are there already
    expected: tuple[str, ...] = ("g1", "g2", "g3")  # generations that an undisturbed run leaves
    archives: bool = False  # in a directory of their own
    held: bool = False  # a writer has the log open, and what it fsyncs meanwhile counts as well


SCENES = [
    Scene("compress", {"compress": "zstd"}),
    Scene("compress-held", {"compress": "zstd"}, held=True),
    Scene("archive-dir", {"compress": "zstd", "archive_dir": "old"}, archives=True),
    Scene("archive-dir-plain", {"compress": "none", "archive_dir": "old"}, archives=True),
    Scene("retention", {"compress": "zstd", "backup_count": 2}, expected=("g2", "g3")),
    Scene("collapse", {"compress": "none", "method": "copytruncate"}),
    Scene("collapse-held", {"compress": "none", "method": "copytruncate"}, held=True),
    Scene("collapse-compress", {"compress": "zstd", "method": "copytruncate"}),
]


def never(_: int) -> bool:
    return False


def always(_: int) -> bool:
    return True


def now_and_then(seed: object) -> Moments:
    chosen = random.Random(str(seed))
    moments = [chosen.random() < 0.35 for _ in range(1000)]
    return lambda n: moments[n]


# ---------------------------------------------------------------- the tree


@dataclass(slots=True)
class World:
    """A mounted file system with one log, and the tree that each point starts from."""

    mount: LoopMount
    scene: Scene
    state: Path
    template: Path
    rotated: int = 0
    fsynced: dict[str, int] = field(default_factory=dict)

    @property
    def logs(self) -> Path:
        return self.mount.path / "logs"

    @property
    def live(self) -> Path:
        return self.logs / "app.log"

    @property
    def rotator(self) -> Rotator:
        rule = {"name": "app", "paths": [str(self.live)], "max_size": 10_000, "create_mode": "0664", **self.scene.rule}
        return Rotator(load_config({"state_dir": str(self.state), "compress_jobs": 1, "log": [rule]}))

    def build(self) -> None:
        """Rotate as often as the scene wants, write the log that is due, and keep a copy of it all."""
        self.logs.mkdir()
        for number in range(1, self.scene.before + 2):
            if number > 1:
                report = self.rotator.run()
                assert report.exit_code == 0, (report.failed, report.problems)
            with open(self.live, "ab") as log:
                log.write(oracle.lines(f"g{number}", 1, LINES))
            self.live.chmod(0o664)
        for source in (self.logs, self.state):
            shutil.copytree(source, self.template / source.name)

    def lay_out(self) -> None:
        """The tree as it was built, durable."""
        for target in (self.logs, self.state):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(self.template / target.name, target)
        self.fsynced = dict.fromkeys(self.scene.expected, LINES)
        subprocess.run(["sync", "--file-system", self.mount.path], check=True)

    def judge(self) -> None:
        """One ordinary run after the lights are on again; then all is as after an undisturbed one."""
        report = self.rotator.run()
        assert report.exit_code == 0, (report.failed, report.problems)
        where = [self.logs, self.logs / "old"] if self.scene.archives else [self.logs]
        oracle.count_joined(where, "app.log", self.fsynced).check()
        assert not [s for folder in where if folder.exists() for s in oracle.strays(folder, "app.log") if s != "old"]
        assert stat.S_IMODE(self.live.stat().st_mode) == 0o664
        assert self.rotator.plan().is_idle


@contextmanager
def built(folder: Path, fstype: str, scene: Scene, state: str) -> Iterator[World]:
    with mounts.loop_mount(folder, fstype) as mount:
        template = folder / "template"
        template.mkdir()
        state_dir = (mount.path if state == "beside" else folder) / "state"
        world = World(mount, scene, state_dir, template)
        world.build()
        yield world


# ---------------------------------------------------------------- one point


class Stranger:
    """A process that, whenever it is asked, writes a line to ``path`` and fsyncs it."""

    def __init__(self, path: Path, name: str) -> None:
        self._ask, self._answer, self.lines, self.name = os.pipe(), os.pipe(), 0, name
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._serve(path)
            finally:
                os._exit(1)

    def disturb(self) -> None:
        """Called in the process that is about to die."""
        os.write(self._ask[1], b"+")
        os.read(self._answer[0], 1)

    def end(self) -> int:
        """Wait for its end; give back the lines that it made durable."""
        os.close(self._ask[1])
        os.close(self._ask[0])
        os.close(self._answer[1])
        _, status = os.waitpid(self._pid, 0)
        os.close(self._answer[0])
        return os.waitstatus_to_exitcode(status)

    def _serve(self, path: Path) -> None:
        os.close(self._ask[1])
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        done = 0
        while os.read(self._ask[0], 1):
            done += 1
            os.write(fd, oracle.line(self.name, done))
            os.fsync(fd)
            os.write(self._answer[1], b"+")
        os._exit(done)


def run_until(world: World, last: int, moments: Moments, *, without: str = "") -> list[str]:
    """A run that stops dead after ``last`` operations (0: never); gives back what was done.

    ``without``: an operation that is left out, to see whether that is noticed.
    """
    held = world.scene.held
    stranger = Stranger(world.live if held else world.mount.path / "stranger", "w")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _run_in_child(world, last, moments, stranger, writer, without)
        finally:
            os._exit(99)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    done = os.read(reader, 1 << 16).decode().split()
    os.close(reader)
    lines = stranger.end()
    if held:
        world.fsynced["w"] = lines
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return done


def _run_in_child(world: World, last: int, moments: Moments, stranger: Stranger, told: int, without: str) -> None:
    done = 0

    def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = None if operation == without else function(*args, **kwargs)
        done += 1
        os.write(told, operation.encode() + b"\n")
        if moments(done):
            stranger.disturb()
        if done == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    calls.invoke = invoke  # type: ignore[assignment]
    report = world.rotator.run()
    print(*report.failed, *report.problems, sep="\n", file=sys.stderr, flush=True)
    os._exit(report.exit_code)


def cut_after(world: World, last: int, moments: Moments) -> bool:
    """One point; False: the run was over before."""
    world.lay_out()
    done = run_until(world, last, moments)
    world.mount.power_cut()
    world.judge()
    return len(done) == last


# ---------------------------------------------------------------- the sweeps

EVERYWHERE = [
    pytest.param(fstype, scene, state, id=f"{fstype}-{scene.name}-state-{state}")
    for fstype in ("ext4", "xfs")
    for scene in SCENES
    for state in ("beside", "elsewhere")
]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("fstype", "scene", "state"), EVERYWHERE)
def test_power_cut_after_each_operation(tmp_path: Path, fstype: str, scene: Scene, state: str) -> None:
    """Whenever the power fails, one run afterwards leaves every durable line once.

    The stranger who syncs does so after each operation if the state lies beside the log, else never; if exhaustive
    both, and now and then as well.
    """
    points = 0
    with built(tmp_path, fstype, scene, state) as world:
        for moments in (never, always, None) if EXHAUSTIVE else (always if state == "beside" else never,):
            last = 1
            while cut_after(world, last, moments or now_and_then((scene.name, state, last))):
                last += 1
                points += 1
    assert points > 8
    print(f"{points} power cuts")


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
@pytest.mark.parametrize("scene", [SCENES[0], SCENES[5]], ids=lambda scene: scene.name)
def test_power_cut_here_and_there(tmp_path: Path, fstype: str, scene: Scene) -> None:
    """A sample of the sweep."""
    with built(tmp_path, fstype, scene, "beside") as world:
        for last in range(2, 40, 4):
            cut_after(world, last, now_and_then((scene.name, last)))


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_power_cut_shows_what_a_missing_fsync_costs(tmp_path: Path, fstype: str) -> None:
    """The finder proves itself: a run that syncs nothing loses a generation once the names are committed."""
    with built(tmp_path, fstype, SCENES[0], "elsewhere") as world:
        world.lay_out()
        done = len(run_until(world, 0, never, without="sync"))
        world.lay_out()
        run_until(world, 0, lambda n: n == done, without="sync")
        world.mount.power_cut()
        with pytest.raises((AssertionError, ValueError)):
            world.judge()


def test_a_dead_file_system_elsewhere_stops_nobody(tmp_path: Path) -> None:
    """Some process has a file of a broken disk open: who writes our log is found out all the same."""
    with built(tmp_path, "ext4", SCENES[5], "beside") as world, mounts.loop_mount(tmp_path, "xfs") as broken:
        with open(broken.path / "open", "wb") as file:
            subprocess.run(["xfs_io", "-x", "-c", "shutdown", broken.path], check=True)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                os.stat(f"/proc/self/fd/{file.fileno()}")
            report = world.rotator.run()
        assert (report.rotated, report.failed) == (1, ())


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_the_record_of_a_collapse_outlives_a_power_cut(tmp_path: Path, fstype: str) -> None:
    """Cut when the copy has its name for good and the log is still whole: the record tells, and nothing is doubled."""
    with built(tmp_path, fstype, SCENES[5], "beside") as world:
        world.lay_out()
        done = run_until(world, 0, never)
        recorded = done.index("commit", done.index("write"))
        named = done.index("sync", done.index("rename", recorded))
        cut = done.index("truncate", named)  # nobody else has it open
        assert named < cut
        for last in range(named, cut):
            assert cut_after(world, last + 1, never)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_power_cut_within_a_commit(tmp_path: Path, fstype: str) -> None:
    """The real command is killed before every sixth call that changes the history, and the power fails as well."""
    with built(tmp_path, fstype, SCENES[5], "beside") as world:
        config = tmp_path / "logrotor.toml"
        config.write_text(TOML.format(state=world.state, live=world.live))
        argv = command.arguments("run", "-c", config)
        world.lay_out()
        paths = [world.state / "history.sqlite", world.state / "history.sqlite-journal"]
        _, calls = strace.changes(argv, check=0, paths=paths)
        points = strace.points(calls)[("ext4", "xfs").index(fstype) * 3 :: 6]
        for name, when in points:
            world.lay_out()
            assert strace.run(argv, strace.kill(name, when), paths=paths).code == -signal.SIGKILL
            world.mount.power_cut()
            world.judge()
    assert len(points) >= 15
    print(f"{len(points)} power cuts")
