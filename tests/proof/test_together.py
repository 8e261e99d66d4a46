"""Several rotators at once: with one state directory they take turns, with two they do each other no harm."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from logrotor.model import Report
from logrotor.rotator import Rotator
from tests.proof import interfere
from tests.support import oracle

# ---------------------------------------------------------------- two configurations on one log


@dataclass(frozen=True, slots=True)
class Scene:
    """How the log is rotated by both; ``kept``: the first line that retention keeps."""

    rule: dict[str, Any] = field(default_factory=dict)
    protocol: str = "exchange"
    kept: int = 1
    holds: bool = False  # the writer keeps the log open, else it opens it for each line


SCENES = {
    "exchange": Scene(),
    "link": Scene(protocol="link"),
    "rename": Scene(protocol="rename"),
    "exchange, held": Scene(holds=True),
    "rename, held": Scene(protocol="rename", holds=True),
    "plain": Scene({"compress": "none"}),
    "plain, link": Scene({"compress": "none"}, protocol="link"),
    "dated": Scene({"naming": "dated"}),
    "archive_dir": Scene({"archive_dir": "old"}),
    "retention": Scene({"backup_count": 2}, kept=51),
    "retention, link": Scene({"backup_count": 2}, protocol="link", kept=51),
    "retention, plain": Scene({"backup_count": 2, "compress": "none"}, kept=51),
    "copytruncate": Scene({"method": "copytruncate", "compress": "none"}),
    "copytruncate, zstd": Scene({"method": "copytruncate"}),
    "copytruncate, lossy": Scene({"method": "copytruncate", "accept_loss": True}),
}


class Site:
    """A log with two archives, its writer, and two configurations that know nothing of each other."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.folder, self.scene = folder, scene
        self.logs = folder / "logs"
        (self.logs / "old").mkdir(parents=True)
        self.log = self.logs / "app.log"
        self.written = 0
        self._held = -1
        zipped = zstandard.compress(self._lines(50))
        self._old("app.log.2.zst", zipped, 2000)
        self._old("app.log.1", self._lines(50), 1000)
        self.log.write_bytes(self._lines(200))
        if scene.holds:
            self._held = os.open(self.log, os.O_WRONLY | os.O_APPEND)

    def rotator(self, which: str) -> Rotator:
        rule = {"name": "app", "paths": [str(self.log)], "max_size": 10_000, **self.scene.rule}
        return interfere.rotator(self.folder / f"state-{which}", rule)

    def write(self, count: int = 1) -> None:
        """The writer writes, as it does: through what it holds open, or by name."""
        for _ in range(count):
            fd = self._held if self._held >= 0 else os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(fd, self._lines(1))
            if fd != self._held:
                os.close(fd)

    def end_writer(self) -> None:
        if self._held >= 0:
            os.close(self._held)
        self._held = -1

    def harm(self, *reports: Report) -> Iterator[str]:
        """What is wrong after one more run of each: lost, doubled or hidden lines, strays, failures."""
        after = [self.rotator(which).run() for which in "ab"]
        for report in (*reports, *after):
            yield from (f"{o.action} {o.name}: {o.reason}" for o in report.failed)
        tally = oracle.count_joined([self.logs, self.logs / "old"], "app.log", expected={"w1": self.written})
        gone = tuple(line for line in tally.lost if line.number >= self.scene.kept)
        if not replace(tally, lost=gone).clean or not self.log.exists():
            yield f"{sorted(os.listdir(self.logs))} {sorted(os.listdir(self.logs / 'old'))} {tally}"

    def _lines(self, count: int) -> bytes:
        self.written += count
        return oracle.lines("w1", self.written - count + 1, self.written)

    def _old(self, name: str, data: bytes, age: int) -> None:
        path = self.logs / name
        path.write_bytes(data)
        then = path.stat().st_mtime - age
        os.utime(path, (then, then))


def sites(folder: Path, scene: Scene) -> Iterator[Site]:
    """A fresh site for each point; as many as the caller wants."""
    for number in range(1, 1000):
        place = folder / str(number)
        yield Site(place, scene)
        shutil.rmtree(place)


@pytest.mark.parametrize("name", SCENES)
def test_two_configurations_one_inside_the_other(tmp_path, name):
    """Two runs from two state directories, one within the other at any point, lose, double and hide nothing."""
    scene, wrong = SCENES[name], []
    with interfere.protocol(scene.protocol):
        for number, site in enumerate(sites(tmp_path, scene), 1):
            reached, harm = one_inside_the_other(site, number)
            wrong += harm
            if not reached:
                break
    assert number > 5
    assert not wrong, f"{len(wrong)} of {number} points: " + "\n".join(wrong)


def one_inside_the_other(site: Site, number: int) -> tuple[bool, list[str]]:
    """Run B inside A's ``number``-th change; whether A had so many, and the harm done."""
    reached = False

    def meanwhile() -> None:
        nonlocal reached
        reached = True
        site.write()
        site.rotator("b").run()
        site.write()

    with interfere.before(number, meanwhile) as seen:
        report = site.rotator("a").run()
    site.write()
    site.end_writer()
    where = f"B ran before A's change {number}, {seen[number - 1 :][:1]}, of {seen}: "
    return reached, [where + harm for harm in site.harm(report)]
