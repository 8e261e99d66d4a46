"""What a step leaves when it fails on its way is told of the right log, and known again by the next run."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.decide.naming import stamp_of
from logrotor.disk import calls
from logrotor.disk.logdir import LogDir
from logrotor.errors import Busy
from logrotor.model import FileId
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


def test_the_date_of_the_archive_before_is_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock was ahead, so a new archive has a later date than its last write; a failed sync leaves both forms."""
    log, ahead = tmp_path / "logs" / "app.log", "app.log-20990101T000000Z"
    log.parent.mkdir()
    (log.parent / ahead).write_bytes(oracle.lines("w1", 1, 10))
    log.write_bytes(oracle.lines("w1", 11, 50))
    rule = {"name": "app", "paths": [str(log)], "max_size": 100, "naming": "dated", "compress": "zstd"}
    config = load_config({"state_dir": str(tmp_path / "s"), "log": [rule]}, environ={})
    real = calls.invoke

    def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if operation == "sync" and (log.parent / f"{ahead}-1.zst").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(operation, function, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(calls, "invoke", invoke)
        assert Rotator(config).run().exit_code == 1
    assert {"app.log.1", f"{ahead}-1.zst"} <= set(os.listdir(log.parent))
    assert Rotator(config).run().exit_code == 0
    assert sorted(os.listdir(log.parent)) == ["app.log", f"{ahead}-1.zst", f"{ahead}.zst"]
    assert oracle.archives(log.parent, "app.log") == [f"{log.parent}/{ahead}.zst", f"{log.parent}/{ahead}-1.zst"]


@pytest.mark.parametrize("compress", ["zstd", "none"])
def test_a_date_is_that_of_the_last_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: str) -> None:
    """The writer went on after the plan was made: the name tells its last write, though a failed sync leaves both."""
    log, written = tmp_path / "logs" / "app.log", 1_100_000_000.5
    log.parent.mkdir()
    log.write_bytes(oracle.lines("w1", 1, 50))
    reopen = {"manager": "callable", "function": lambda paths: os.utime(f"{log}.1", (written, written))}
    rule = {
        "name": "app",
        "paths": [str(log)],
        "max_size": 100,
        "naming": "dated",
        "compress": compress,
        "reopen": "me",
    }
    config = load_config({"state_dir": str(tmp_path / "s"), "log": [rule], "reopen": {"me": reopen}}, environ={})
    real, suffix = calls.invoke, {"zstd": ".zst", "none": ""}[compress]

    def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if operation == "sync" and any(name.startswith("app.log-") for name in os.listdir(log.parent)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(operation, function, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(calls, "invoke", invoke)
        assert Rotator(config).run().exit_code == (1 if compress == "zstd" else 0)
    assert Rotator(config).run().exit_code == 0
    assert sorted(os.listdir(log.parent)) == ["app.log", f"app.log-{stamp_of(written)}{suffix}"]


# ---------------------------------------------------------------- names that a run has reserved


def opened_by_name(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND)


@pytest.mark.parametrize("lease", [True, False], ids=["lease", "no lease"])
@pytest.mark.parametrize("how", ["nobody", "has it open", "has written"])
@pytest.mark.parametrize("what", ["release", "drop"])
def test_a_reserved_name_that_somebody_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, how: str, lease: bool
) -> None:
    """Whoever appends to an archive by its name finds the empty file that keeps the name: his line stays."""
    if not lease:
        monkeypatch.setattr(calls, "take_read_lease", lambda fd: _no_lease())
    path = tmp_path / "app.log.1"
    with LogDir(str(tmp_path)) as logdir:
        fd = logdir.reserve("app.log.1")
        status = os.fstat(fd)
        file = FileId(status.st_dev, status.st_ino)
        writer = opened_by_name(path) if how != "nobody" else None
        if writer is not None and how == "has written":
            os.write(writer, b"line\n")
            os.close(writer)
        if what == "release":
            logdir.release("app.log.1", fd)
        elif how == "nobody":
            logdir.drop("app.log.1", file)
        else:
            with pytest.raises(Busy):
                logdir.drop("app.log.1", file)
        os.close(fd)
        if writer is not None and how == "has it open":
            os.write(writer, b"line\n")
            os.close(writer)
    assert os.listdir(tmp_path) == ([] if how == "nobody" else ["app.log.1"])
    assert how == "nobody" or path.read_bytes() == b"line\n"


def _no_lease() -> None:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
