"""A temp that could not be removed is told of the log that it belongs to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.disk import calls
from tests.support import oracle


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No temp in ``folder`` can be removed, and no archive be written, which leaves temps to remove."""
    real, kept = calls.invoke, folder.stat().st_ino

    def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        temp = operation == "unlink" and args[0].startswith(".") and os.fstat(kwargs["dir_fd"]).st_ino == kept
        if temp or operation == "write":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(operation, function, *args, **kwargs)

    monkeypatch.setattr(calls, "invoke", invoke)


@pytest.mark.parametrize("where", ["one", "two"])
@pytest.mark.parametrize("archive_dir", [None, "old"])
def test_two_logs_of_one_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, archive_dir: str | None
) -> None:
    """Two directories have an app.log each, and each its own archives: the right one fails."""
    logs = [tmp_path / name / "app.log" for name in ("one", "two")]
    for log in logs:
        (log.parent / "old").mkdir(parents=True)
        log.write_bytes(oracle.lines("w1", 1, 50))
    rule = {"name": "app", "paths": list(map(str, logs)), "max_size": 100}
    rule |= {"archive_dir": archive_dir} if archive_dir else {}
    config = load_config({"state_dir": str(tmp_path / "state"), "log": [rule]}, environ={})
    refuse(monkeypatch, tmp_path / where / (archive_dir or ""))
    report = Rotator(config).run()
    left = [outcome for outcome in report.failed if "the next run removes it" in outcome.reason]
    assert {outcome.log for outcome in left} == {str(tmp_path / where / "app.log")}
