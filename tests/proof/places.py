"""Where the sweeps work: a fast file system, another one, and one that can collapse a range."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.proof.scenarios import Scenario
from tests.support import mounts
from tests.support.need import need


@dataclass(frozen=True, slots=True)
class Places:
    """Folders on three file systems; ``fast`` (no disk behind it) is another than ``collapsing``."""

    fast: Path
    collapsing: Path

    def of_logs(self, scenario: Scenario) -> Path:
        return self.collapsing if scenario.copytruncate and scenario.collapses else self.fast

    def other_than(self, place: Path) -> Path:
        return self.fast if place == self.collapsing else self.collapsing


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A tmpfs and an ext4 or XFS: the one under the temporary folder, else one in an image."""
    folder = tmp_path_factory.mktemp("places")
    with ExitStack() as mounted:
        fast = mounted.enter_context(mounts.tmpfs(folder, "64m"))
        if mounts.collapses(folder):
            collapsing = folder / "disk"
            collapsing.mkdir()
        else:
            collapsing = mounted.enter_context(mounts.loop_mount(folder, "ext4")).path
        need(mounts.collapses(collapsing), "a file system that can collapse a range")
        yield Places(fast, collapsing)
