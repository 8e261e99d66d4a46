"""The benchmarks run, judge rightly whether the work was done, and say nothing here about time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.benchmarks import logs
from tests.benchmarks.__main__ import table
from tests.benchmarks.bench import Result, Round, Taken, measure
from tests.benchmarks.cases import CASES, TINY, Folder
from tests.support.need import need


@pytest.mark.parametrize("name", CASES)
def test_a_case_runs_on_ten_logs(name: str, tmp_path: Path) -> None:
    """Each case prepares, runs both sides, finds every line again, and gives a row."""
    need(shutil.which("logrotate") and shutil.which("zstd") and shutil.which("gzip"), "logrotate, zstd, gzip")
    need(os.geteuid() == 0, "root, for logrotate refuses much else")
    result = CASES[name](tmp_path / name, TINY) if (tmp_path / name).mkdir() is None else None
    assert result is not None and len(result.values) == len(result.rounds) >= 1
    assert all(r.ours.seconds > 0 and r.ours.resident > 0 for r in result.rounds)
    assert result.case in table([result])


def test_ratios_are_taken_in_pairs() -> None:
    """The ratio of the medians would hide that a busy machine slows both sides of a round."""
    rounds = [Round(Taken(a, a, 1), Taken(b, b, 1)) for a, b in ((1.0, 0.5), (10.0, 6.0), (2.0, 1.4))]
    result = Result("case", "rival", 0.6, rounds, 1)
    assert result.median == pytest.approx(0.6) and result.reached
    assert not Result("case", "rival", 0.59, rounds, 1).reached
    assert not Result("case", "rival", 0.6, rounds, 0).reached


def test_a_lost_line_is_seen(tmp_path: Path) -> None:
    """A rotator that loses a line gets no row."""
    folder = Folder(tmp_path / "ours", "zstd").fill(3)
    measure(folder.ours())
    folder.check(3)
    archive = folder.logs / f"{logs.small_name(1)}.1.zst"
    archive.unlink()
    with pytest.raises(AssertionError):
        folder.check(3)
    measure(["sh", "-c", f"printf x | zstd -q > {archive}"])
    with pytest.raises(AssertionError):
        folder.check(3)
