"""cat, grep and verify beside runs at full speed: each line once, in order, and no sound archive is damaged."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.model import Config
from logrotor.observe import reading, view
from logrotor.observe.deployment import Deployment
from tests.proof import interfere
from tests.proof.sampling import EXHAUSTIVE
from tests.support import command, mounts, oracle
from tests.support.deployment import toml
from tests.support.need import need

KINDS = {
    "zstd": {"compress": "zstd"},
    "plain": {"compress": "none"},
    "kept plain": {"compress": "gzip", "keep_uncompressed": 2},
    "dated": {"compress": "zstd", "naming": "dated"},
    "elsewhere": {"compress": "zstd", "archive_dir": "old"},
    "copied": {"compress": "zstd", "method": "copytruncate"},
}


_ENOUGH = 12  # readings beside the rotations


class Site:
    """``logs/app.log`` in a folder; every line that is ever written has a number."""

    def __init__(self, folder: Path, **keys: object) -> None:
        self.folder, self.log = folder, folder / "logs" / "app.log"
        self.log.parent.mkdir(exist_ok=True)
        self.file = folder / "logrotor.toml"
        rule = {"name": "app", "paths": [str(self.log)], "max_size": "1GB", "backup_count": 5000, **keys}
        table = "\n".join(f"{key} = {toml(value)}" for key, value in rule.items())
        self.file.write_text(f'state_dir = "{folder}/state"\n[[log]]\n{table}\n')
        self.written = 0

    @property
    def config(self) -> Config:
        return load_config(self.file, environ={})

    def look(self) -> Deployment:
        return Deployment(self.config, datetime.now(UTC))

    def write(self, count: int) -> None:
        with self.log.open("ab") as log:
            log.write(oracle.lines("w1", self.written + 1, self.written + count))
        self.written += count

    def rotate(self, times: int, seed: int = 0, *, enough: Callable[[], bool] = lambda: True) -> None:
        """At least so many times, and until it is enough."""
        rotator, chance = Rotator(self.config), random.Random(seed)
        for number in itertools.count(1):
            if number > times and enough():
                return
            self.write(chance.choice((1, 10, 60, 200)))
            rotator.run(force=True)

    @contextmanager
    def rotating(self, times: int, seed: int = 0) -> Iterator[Callable[[], bool]]:
        """Another process writes and rotates, until it was asked often enough; says whether it still does."""
        asked = self.folder / "asked-enough"
        child = os.fork()
        if child == 0:
            try:
                self.rotate(times, seed, enough=asked.exists)
            finally:
                os._exit(0)
        ended, asks = False, 0

        def goes_on() -> bool:
            nonlocal ended, asks
            asks += 1
            if asks == _ENOUGH:
                asked.touch()
            ended = ended or os.waitpid(child, os.WNOHANG)[0] == child
            return not ended

        try:
            yield goes_on
        finally:
            if not ended:
                os.kill(child, 9)
                os.waitpid(child, 0)

    def read(self) -> tuple[list[bytes], list[str]]:
        """The lines, but for the last one while it is written, and what was damaged."""
        told: list[str] = []
        found = reading.read(
            self.look, "app.log", since=None, until=None, damaged=lambda problem: told.append(problem.kind or "damaged")
        )
        return b"".join(found).split(b"\n")[:-1], told


def numbers(lines: list[bytes]) -> list[int]:
    return [int(line.split()[1]) for line in lines]


def read_beside(site: Site, times: int, seed: int) -> int:
    """How often the log was read while it was rotated; each time as it was at one moment."""
    rounds, last = 0, 0
    site.rotate(2, seed)
    with site.rotating(times, seed) as goes_on:
        while goes_on():
            lines, told = site.read()
            found = numbers(lines[1:])  # a copy is cut within a line, and retention may have removed its beginning
            assert told == [] and found == list(range(found[0], found[-1] + 1))
            assert found[-1] >= last
            rounds, last = rounds + 1, found[-1]
    return rounds


@pytest.mark.parametrize("kind", ["zstd", "kept plain", "copied"])
def test_each_line_once_beside_rotations(world, kind):
    """Names are listed, the archives are renamed, compressed, moved: the reader has each of them, once."""
    need(kind != "copied" or mounts.collapses(world), "a file system that can collapse a range")
    assert read_beside(Site(world, **KINDS[kind]), 6, seed=1) >= _ENOUGH - 1


@contextmanager
def after_each_listing(steps: Iterator[Callable[[], object]]) -> Iterator[None]:
    """Between the listing of a directory's names and the look at its files, the next step is done."""
    real, busy = os.scandir, False

    @contextmanager
    def listed(place: Any) -> Iterator[list[os.DirEntry[str]]]:
        nonlocal busy
        with real(place) as found:
            entries = list(found)
        if not busy:
            busy = True
            try:
                next(steps, lambda: None)()
            finally:
                busy = False
        yield entries

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", listed)
        yield


@pytest.mark.parametrize("skipped", range(6))
@pytest.mark.parametrize("kind", ["zstd", "dated", "elsewhere", "plain"])
def test_a_rotation_between_the_names_and_the_files(world, kind, skipped):
    """The log is taken after one listing of names, its archive compressed after the next: it is in none of both.

    A listing from which a name vanished is of no moment, so two that are alike prove nothing.
    """
    site = Site(world, **KINDS[kind])
    site.rotate(3)
    site.write(200)
    rehearsed = world / "rehearsed"
    shutil.copytree(world / "logs", rehearsed / "logs")
    calls = interfere.operations(lambda: Rotator(Site(rehearsed, **KINDS[kind]).config).run(force=True))
    taken = calls.index("exchange") + 2

    def take() -> None:
        assert interfere.killed(taken, lambda: Rotator(site.config).run(force=True))
        site.write(60)

    def finish() -> None:
        assert Rotator(site.config).run().exit_code == 0

    nothing = [lambda: None] * skipped
    with after_each_listing(iter([*nothing, take, finish])):
        lines, told = site.read()
    assert told == [] and numbers(lines) == list(range(1, site.written + 1))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_each_line_once_beside_many_rotations(world, seed):
    """A thousand in all, while retention removes the oldest: no line is missing between the first and the last.

    A thousand for each seed with LOGROTOR_EXHAUSTIVE=1.
    """
    kind = list(KINDS)[seed % len(KINDS)]
    need(kind != "copied" or mounts.collapses(world), "a file system that can collapse a range")
    assert read_beside(Site(world, backup_count=20, **KINDS[kind]), 1000 if EXHAUSTIVE else 100, seed) >= _ENOUGH - 1


@pytest.mark.parametrize(
    ("kind", "held"),
    [("zstd", 3), ("copied", 3)]
    + [pytest.param(kind, held, marks=pytest.mark.long) for kind in KINDS for held in (2, 900)],
)
def test_a_slow_reader(world, kind, held, monkeypatch):
    """Between two reads there are twelve rotations, and freed inodes are used again: its lines are those of the log."""
    need(kind != "copied" or mounts.collapses(world), "a file system that can collapse a range")
    monkeypatch.setattr(view, "_AT_ONCE", held)
    site = Site(world, **KINDS[kind])
    site.rotate(5)
    site.write(300)
    told: list[str] = []
    found = reading.read(
        site.look, "app.log", since=None, until=None, damaged=lambda problem: told.append(problem.kind)
    )
    begun, written = next(found), site.written
    site.rotate(12)
    lines = numbers((begun + b"".join(found)).splitlines())
    assert told == [] and lines == list(range(1, len(lines) + 1)) and len(lines) >= written


def test_a_slow_pipe(world):
    """The command, with a reader that takes its time: what the pipe did not hold was read after twelve rotations."""
    site = Site(world, compress="zstd")
    for _ in range(4):
        site.write(2000)
        Rotator(site.config).run(force=True)
    argv = command.arguments("cat", "app.log", "-c", site.file)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=command.environment()) as cat:
        assert cat.stdout is not None and cat.stderr is not None
        begun, written = cat.stdout.read(1), site.written
        site.rotate(12)
        lines = numbers((begun + cat.stdout.read()).splitlines())
        assert (cat.stderr.read(), cat.wait()) == (b"", 0)
    assert lines == list(range(1, len(lines) + 1)) and len(lines) >= written


def test_what_retention_removed_meanwhile_is_told(world, monkeypatch):
    """The archives that were not open yet are gone: exit 1, and all the others are printed."""
    monkeypatch.setattr(view, "_AT_ONCE", 3)
    site = Site(world, compress="zstd")
    site.rotate(8)
    told: list[str] = []
    found = reading.read(
        site.look, "app.log", since=None, until=None, damaged=lambda problem: told.append(problem.kind)
    )
    begun = next(found)
    Site(world, compress="zstd", backup_count=2)
    Rotator(site.config).run()
    lines = numbers((begun + b"".join(found)).splitlines())
    assert told == ["removed"] * (8 - 2 - 1)  # but the first one, which was being read, and the last ones
    assert lines == sorted(set(lines)) and lines[0] == 1 and lines[-1] == site.written


def test_many_archives_and_few_files(world):
    """With 64 files that may be open, a thousand archives are read."""
    site = Site(world, compress="none")
    for slot in range(1000, 0, -1):
        (world / "logs" / f"app.log.{slot}").write_bytes(oracle.lines("w1", 1001 - slot, 1001 - slot))
    site.written = 1000
    site.write(1)
    shell = " ".join(["ulimit -n 64;", *command.arguments("cat", "app.log", "-c", site.file)])
    done = subprocess.run(["bash", "-c", shell], capture_output=True, env=command.environment(), check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert numbers(done.stdout.splitlines()) == list(range(1, 1002))


def test_a_copy_of_another_configuration_is_not_read_twice(world: Path) -> None:
    """Killed between the copy and the cut: the note on the copy is enough, and the advice works."""
    (world / "rehearsed").mkdir()
    rehearsed, site = Site(world / "rehearsed", **KINDS["copied"]), Site(world, **KINDS["copied"])
    need(mounts.collapses(site.log.parent), "a file system that can collapse a range")
    for each in (rehearsed, site):
        each.write(1000)
    copied = interfere.operations(lambda: Rotator(rehearsed.config).run(force=True)).index("rename") + 2
    assert interfere.killed(copied, lambda: Rotator(site.config).run(force=True))
    shutil.rmtree(site.folder / "state")
    done = command.logrotor("cat", "app.log", "-c", site.file, check=None)
    assert (done.code, done.stdout) == (1, "") and "logrotor run" in done.stderr
    assert command.logrotor("run", "-c", site.file).code == 0
    assert numbers(command.logrotor("cat", "app.log", "-c", site.file).stdout.encode().splitlines()) == [
        *range(1, 1001)
    ]
