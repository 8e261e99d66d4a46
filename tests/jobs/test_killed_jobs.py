"""A job that is killed at any point leaves what every killed run leaves: the next job finishes the work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from logrotor.jobs import task
from logrotor.jobs.engine import Site, open_site
from logrotor.model import Ending
from tests.support import oracle, strace

CONFIG = """\
state_dir = "{folder}/state"
[[log]]
name = "app"
paths = ["{folder}/logs/app.log"]
max_size = "1K"
backup_count = 5
[queue]
"""
LINES = 200
SAMPLE = 4  # every so many points, begun elsewhere in each part
PARTS = range(2)


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_killed_in_mid_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    """No line lost or doubled, no stray file, and after the next job the generations of an undisturbed one."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # or the first attempt makes other calls than the next
    points = _points(_site(tmp_path / "undisturbed"), monkeypatch, tmp_path / "calls")
    assert len(points) > 20
    for number, point in enumerate(points[part * SAMPLE // len(PARTS) :: SAMPLE]):
        folder = tmp_path / f"killed-{number}"
        site = _site(folder)
        with monkeypatch.context() as patched:
            patched.setattr(task, "_argv", _Traced(strace.kill(*point)))
            first = task.carry_out(site, ("*",))
        assert first.ending is Ending.FAILED and "SIGKILL" in first.detail, point
        assert task.carry_out(site, ("*",)).ending is Ending.DONE, point
        tally = oracle.count(folder / "logs", "app.log", expected={"w": LINES}).check()
        assert len(tally.per_file) == 2, (point, str(tally))


class _Traced:
    """The command of an attempt under strace. -D: its parent is still the worker, to which it is tied."""

    def __init__(self, *injects: strace.Inject, **how: Any) -> None:
        self._injects, self._how, self._argv = injects, how, task._argv

    def __call__(self, *args: Any) -> list[str]:
        program, *options = strace.argv(self._argv(*args), *self._injects, **self._how)
        return [program, "-D", *options]


def _points(site: Site, monkeypatch: pytest.MonkeyPatch, output: Path) -> list[tuple[str, int]]:
    """Every changing call of an undisturbed attempt, counted as they are struck: by the same worker, in its place."""
    with monkeypatch.context() as patched:
        patched.setattr(task, "_argv", _Traced(trace=strace.CHANGING, output=output))
        assert task.carry_out(site, ("*",)).ending is Ending.DONE
    calls = strace.parse(output.read_text(errors="surrogateescape").splitlines())
    return strace.points(call for call in calls if call.first_thread and strace.is_change(call))


def _site(folder: Path) -> Site:
    (folder / "logs").mkdir(parents=True)
    (folder / "logrotor.toml").write_text(CONFIG.format(folder=folder))
    with (folder / "logs" / "app.log").open("wb") as log:
        for number in range(1, LINES + 1):
            log.write(oracle.line("w", number))
    return open_site(str(folder / "logrotor.toml"), {"HOME": os.fspath(folder)})
