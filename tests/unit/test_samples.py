"""The samples: what is kept of the sizes of logs, for how long, and what a wrong clock or a damaged file costs."""

from __future__ import annotations

from pathlib import Path

from logrotor.disk import sampled, samples
from logrotor.model import LogPoint, LogSize, QueuePoint, Space, SpacePoint

BEGIN = 1_700_000_100.0  # a multiple of five minutes


def add(folder: Path, now: float, *logs: tuple[str, int | None, int], whole: bool = True) -> None:
    samples.keep(str(folder), now, ([LogSize(*log) for log in logs], [Space("/", 500, 7)]), {}, whole=whole)


def test_what_changed_has_a_point_and_a_line_through_the_points_is_true(tmp_path: Path) -> None:
    """Flat until the sample before it grew, and flat since."""
    for minutes, size in ((0, 100), (5, 100), (10, 100), (15, 160), (20, 160)):
        add(tmp_path, BEGIN + 60 * minutes, ("/logs/app.log", size, 9), ("/logs/still.log", 5, 0))
    found = sampled.read(str(tmp_path))
    assert found.problem is None and found.times == tuple(BEGIN + 60 * m for m in (0, 5, 10, 15, 20))
    assert found.logs["/logs/app.log"] == (
        LogPoint(BEGIN, 100, 9, None), LogPoint(BEGIN + 600, 100, 9, 0), LogPoint(BEGIN + 900, 160, 9, 60),
        LogPoint(BEGIN + 1200, 160, 9, 0),
    )  # fmt: skip
    assert found.logs["/logs/still.log"] == (LogPoint(BEGIN, 5, 0, None), LogPoint(BEGIN + 1200, 5, 0, 0))
    assert found.systems["/"] == (SpacePoint(BEGIN, 500, 7), SpacePoint(BEGIN + 1200, 500, 7))


def test_two_runs_at_once_take_one_sample(tmp_path: Path) -> None:
    """At most every five minutes, whoever comes second."""
    for second in (0, 1, 60, 294, 296, 300):
        add(tmp_path, BEGIN + second, ("/logs/app.log", second, 0))
    assert sampled.read(str(tmp_path)).times == (BEGIN, BEGIN + 296)


def test_a_rotation_is_no_shrinking(tmp_path: Path) -> None:
    """What was taken counts as written; what was truncated by hand does not."""
    add(tmp_path, BEGIN, ("/logs/app.log", 100, 0))
    samples.keep(str(tmp_path), BEGIN + 60, None, {"/logs/app.log": 130}, whole=False)
    add(tmp_path, BEGIN + 300, ("/logs/app.log", 20, 130))
    add(tmp_path, BEGIN + 600, ("/logs/app.log", 5, 130))
    add(tmp_path, BEGIN + 900)
    add(tmp_path, BEGIN + 1200, ("/logs/app.log", 8, 0))
    points = sampled.read(str(tmp_path)).logs["/logs/app.log"]
    assert [(point.size, point.grown) for point in points] == [(100, None), (20, 50), (5, 5), (None, 0), (8, 8)]


def test_counts_of_queues(tmp_path: Path) -> None:
    """At most every five minutes, like the others."""
    for second in (0, 10, 300):
        samples.keep_queues(str(tmp_path), BEGIN + second, {"logrotor": (second, 1, 2, 3, 4)})
    found = sampled.read(str(tmp_path)).queues
    assert found == {"logrotor": (QueuePoint(BEGIN, 0, 1, 2, 3, 4), QueuePoint(BEGIN + 300, 300, 1, 2, 3, 4))}
