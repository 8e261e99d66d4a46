"""Copytruncate where bytes alone tell nothing: repeated lines, two configurations, and a copy that was moved away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logrotor.model import Report
from logrotor.rotator import Rotator
from tests.proof import interfere
from tests.support import mounts, oracle
from tests.support.need import need

BEAT = b"heartbeat is ok\n"
RULE = {"name": "app", "max_size": 8000, "method": "copytruncate"}


class Place:
    """A log, and configurations that know nothing of each other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.logs = folder, folder / "logs"
        self.log = self.logs / "app.log"
        (self.logs / "old").mkdir(parents=True)
        self.written = 0

    def rotator(self, which: str, **keys: Any) -> Rotator:
        return interfere.rotator(self.folder / f"state-{which}", {**RULE, "paths": [str(self.log)], **keys})

    def beat(self, count: int) -> None:
        """The same line again and again."""
        self._append(BEAT * count)
        self.written += count

    def write(self, count: int) -> None:
        """Lines that can be told apart."""
        self._append(oracle.lines("w1", self.written + 1, self.written + count))
        self.written += count

    def beats(self) -> int:
        """Lines in the log and all of its archives."""
        paths = [self.log, *(Path(path) for path in oracle.archives([self.logs, self.logs / "old"], "app.log"))]
        return sum(oracle.read(path)[0].count(BEAT) for path in paths)

    def check(self) -> None:
        oracle.count_joined([self.logs, self.logs / "old"], "app.log", {"w1": self.written}).check()

    def _append(self, data: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(data)


def places(folder: Path) -> Iterator[Place]:
    return (Place(folder / str(number)) for number in range(1, 200))


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    need(mounts.collapses(tmp_path), "a file system that collapses ranges")
    return tmp_path


# ---------------------------------------------------------------- the plan is out of date


@pytest.mark.parametrize("keys", [{}, {"archive_dir": "old"}, {"naming": "dated"}], ids=str)
def test_two_generations_of_equal_bytes_are_both_kept(disk: Path, keys: dict[str, Any]) -> None:
    """Another configuration rotates the log once its size is known; then it grows by the very same bytes."""
    for number, place in enumerate(places(disk), 1):
        place.beat(1024)
        reached = False

        def meanwhile(place: Place = place) -> None:
            nonlocal reached
            reached = True
            place.rotator("b", **keys).run()
            place.beat(768)

        with interfere.before(number, meanwhile) as seen:
            reports = [place.rotator("a", **keys).run()]
        reports += [place.rotator(which, **keys).run() for which in "ab"]
        where = f"before change {number}, {seen[number - 1 :][:1]}: {os.listdir(place.logs)}"
        assert place.beats() == place.written, where
        assert not [outcome for report in reports for outcome in report.failed], where
        if not reached:
            break
    assert number > 10


def test_what_another_configuration_has_just_left_is_not_rotated(disk: Path) -> None:
    """It keeps its archives where this one does not look: only the size tells."""
    for number, place in enumerate(places(disk), 1):
        place.write(500)
        others: list[Report] = []
        other = place.rotator("b", archive_dir="old")

        def meanwhile(place: Place = place, others: list[Report] = others, other: Rotator = other) -> None:
            others.append(other.run())
            place.write(40)  # more than a block, and not due

        with interfere.before(number, meanwhile):
            report = place.rotator("a").run()
        where = f"before change {number}: {os.listdir(place.logs)}"
        assert sum(each.rotated for each in (report, *others)) == 1, where
        assert report.failed == (), where
        place.check()
        if not others:
            break
    assert number > 10
