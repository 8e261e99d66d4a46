"""Whatever samples.sqlite holds: no run fails for it, no reader trips, and within a day there is a good one again.

LOGROTOR_SEED=17 pytest tests/proof/test_damaged_samples.py -m "" -k seeds    one of them
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from logrotor import Rotator, load_config
from logrotor.disk import sampled, samples
from logrotor.model import LogSize, Space
from logrotor.observe.pace import paces
from tests.proof import test_damaged_history as history
from tests.proof.interfere import memory_folder

SEEDS, PARTS = int(os.environ.get("LOGROTOR_SEEDS", "1000")), 10
ONE = os.environ.get("LOGROTOR_SEED")
BEGIN, DAY = 1_700_000_000.0, 86400.0
KINDS = (
    history.a_flipped_byte, history.flipped_bytes, history.a_flipped_head, history.flipped_heads_of_pages,
    history.cut_short, history.grown, history.pages_mixed_up, history.nothing_like_it, history.odd_values,
    history.odd_rows, history.other_tables, history.another_table_of_that_name, history.triggers,
    history.another_version, history.another_kind_of_file,
)  # fmt: skip


def add(folder: Path, now: float) -> None:
    logs = [LogSize(f"/logs/{n}.log", int(n * (now - BEGIN)), 7) for n in range(40)]
    samples.keep(str(folder), now, (logs, [Space("/", int(2e9 - now), 9)]), {"/logs/7.log": 3}, whole=True)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three days of samples."""
    with memory_folder(lambda: tmp_path_factory.mktemp("samples")) as folder:
        for n in range(108):
            add(folder, BEGIN + n * 2400)
        samples.keep_queues(str(folder), BEGIN, {"logrotor": (1, 2, 3, None, 5)})
        yield folder


def suffer(seed: int, sound: Path) -> None:
    dice = random.Random(seed)
    here = sound / f"seed-{seed}"
    here.mkdir()
    file = here / "samples.sqlite"
    shutil.copyfile(sound / "samples.sqlite", file)
    kind = dice.choice(KINDS)
    kind(file, dice)
    where, now = f"seed {seed}, {kind.__name__}", BEGIN + 108 * 2400
    look(here, now)
    for n in range(3):
        add(here, now + n * 300)
        samples.keep_queues(str(here), now + n * 300, {"logrotor": (n, None, 0, 0, 0)})
        look(here, now + n * 300)
    add(here, now + DAY)
    found = sampled.read(str(here), until=now + DAY)
    assert found.problem is None and now + DAY in found.times, f"{where}: {found.problem}"
    assert os.listdir(here) == [file.name], f"{where}: {os.listdir(here)}"
    shutil.rmtree(here)


def look(here: Path, now: float) -> None:
    """Nothing is raised, and what is read is such that everybody can go on with it."""
    found = sampled.read(str(here), until=now)
    assert list(found.times) == sorted(set(found.times))
    for pace in paces(found.times, found.logs).values():
        assert pace.rate is None or pace.rate >= 0
        span = pace.until(10_000, now)
        assert span is None or 0 <= span.first <= span.likely <= span.last
        assert pace.usual is None or pace.usual >= 0


@pytest.mark.parametrize("seed", [int(ONE)] if ONE else range(60))
def test_some_seeds(sound: Path, seed: int) -> None:
    suffer(seed, sound)


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_all_seeds(sound: Path, part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        suffer(seed, sound)


@pytest.mark.parametrize("plant", ["directory", "link", "fifo", "text"])
def test_something_else_in_its_place(tmp_path: Path, plant: str) -> None:
    """A run goes on, and the second one has a sample."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "logs" / "app.log").write_text("a line\n")
    file = tmp_path / "state" / "samples.sqlite"
    {
        "directory": file.mkdir,
        "link": lambda: file.symlink_to("/dev/null"),
        "fifo": lambda: os.mkfifo(file),
        "text": lambda: file.write_text("no database " * 1000),
    }[plant]()
    rule = {"name": "app", "paths": [str(tmp_path / "logs" / "*.log")], "max_size": "1MB"}
    config = load_config({"state_dir": str(tmp_path / "state"), "log": [rule]})
    began = time.time()
    assert Rotator(config).run().exit_code == 0
    found = sampled.read(str(tmp_path / "state"))
    assert found.problem is None and len(found.times) == 1 and found.times[0] >= int(began)
