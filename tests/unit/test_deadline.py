"""A run with a time limit: logs are taken in any case, and what would not fit is put off without harm."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.act.context import Deadline
from logrotor.disk import codecs
from logrotor.model import Report, Status


def rotate(folder: Path, time_limit: float | None, **rule: Any) -> Report:
    spec = {"name": "app", "paths": [str(folder / "app.log")], "max_size": "1K", "backup_count": 3, **rule}
    config = load_config({"state_dir": str(folder / "state"), "log": [spec]}, environ={})
    return Rotator(config).run(time_limit=time_limit)


def grown(folder: Path, size: int = 5000) -> Path:
    (folder / "app.log").write_bytes(os.urandom(size))
    return folder


def test_what_would_not_fit_is_not_begun(tmp_path: Path) -> None:
    """The log is taken, its compression is deferred with the reason, and that is a success."""
    report = rotate(grown(tmp_path), 1e-9)
    assert report.rotated == 1 and report.exit_code == 0
    (deferred,) = [o for o in report.outcomes if o.status is Status.DEFERRED]
    assert deferred.action == "compress" and "time limit" in deferred.reason
    assert sorted(os.listdir(tmp_path)) == ["app.log", "app.log.1", "state"]


def test_the_next_run_has_the_time(tmp_path: Path) -> None:
    """What was put off is done by the next run."""
    rotate(grown(tmp_path), 1e-9)
    report = rotate(tmp_path, 60)
    assert report.count("compress") == 1
    assert (tmp_path / "app.log.1.zst").exists() and not (tmp_path / "app.log.1").exists()


@pytest.mark.parametrize("where", ["compress", "compare"])
def test_a_compression_that_is_too_slow_is_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Reached while compressing or while comparing: no temp stays, the original does."""
    late = [False]
    monkeypatch.setattr(Deadline, "passed", lambda self: late[0])
    if where == "compress":
        late[0] = True
    else:
        real = codecs.same_content

        def slow(*args: Any, **options: Any) -> bool:
            late[0] = True
            return real(*args, **options)

        monkeypatch.setattr(codecs, "same_content", slow)
    report = rotate(grown(tmp_path), 3600)
    assert report.exit_code == 0 and report.count("compress", Status.DEFERRED) == 1
    assert sorted(os.listdir(tmp_path)) == ["app.log", "app.log.1", "state"]


def test_a_command_is_not_begun_after_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """on_archive is left to the next run too."""
    rotate(grown(tmp_path), None)
    monkeypatch.setattr(Deadline, "passed", lambda self: True)
    report = rotate(tmp_path, 3600, on_archive=["/usr/bin/touch", str(tmp_path / "called")])
    assert report.exit_code == 0 and not (tmp_path / "called").exists()
    monkeypatch.undo()
    rotate(tmp_path, 3600, on_archive=["/usr/bin/touch", str(tmp_path / "called")])
    assert (tmp_path / "called").exists()


def test_a_deadline_in_numbers() -> None:
    """Without one everything fits; with one, what 50 MiB a second can do."""
    assert Deadline().why_not(1 << 60) is None and not Deadline().passed()
    assert Deadline.after(10).why_not(100 << 20) is None
    assert "time limit" in str(Deadline.after(10).why_not(1 << 40))
    assert Deadline(time.monotonic() - 1).passed()
