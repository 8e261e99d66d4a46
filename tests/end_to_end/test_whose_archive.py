"""Nothing is an archive by its name alone: what the README's table says of each file, on real folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.model import Plan, Report

BIG = 2000  # bytes; max_size is 1000
DAY = 86400


class Folder:
    """A directory of logs, the rule for it, and each file's own bytes, by which it is known again."""

    def __init__(self, root: Path) -> None:
        self.root, self.logs, self.rule = root, root / "logs", {}
        self.logs.mkdir()

    def fill(self, sizes: Iterable[tuple[str, int]], *, age: float = DAY) -> None:
        for name, size in sizes:
            path = self.logs / name
            path.write_bytes(self.content(name, size))
            moment = path.stat().st_mtime - age
            os.utime(path, (moment, moment))

    @staticmethod
    def content(name: str, size: int) -> bytes:
        return (f"{name}: a line\n".encode() * size)[: size - 1] + b"\n"

    def rotator(self, paths: Sequence[str], **more: Any) -> Rotator:
        rule = {"name": "app", "paths": [str(self.logs / path) for path in paths], "max_size": 1000, **more}
        return Rotator(load_config({"state_dir": str(self.root / "state"), "log": [rule]}, environ={}))

    def names(self) -> set[str]:
        return {path.name for path in self.logs.iterdir()}

    def forget(self) -> None:
        """Lose the history."""
        for path in (self.root / "state").iterdir():
            path.unlink()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def unclear(found: Plan | Report) -> set[str]:
    plan = found.plan if isinstance(found, Report) else found
    assert all(problem.problem and "exclude" in problem.advice for problem in plan.unclear)
    return {os.path.basename(problem.subject) for problem in plan.unclear}


def rotated(report: Report) -> set[str]:
    return {os.path.basename(o.log) for o in report.outcomes if o.action == "take" and o.status.value == "done"}


CLIENTS = ["log.smbd", "log.nmbd", "log.10.0.0.7", "log.10.0.0.8", "log.10.0.1.7", "log.192.168.1.20"]
DATES = [f"app.log.202610{day:02}" for day in range(1, 31)]

# files, paths of the rule -> the logs that are rotated, the files that are unclear; all others stay as they are
CASES: dict[str, tuple[list[str], list[str], set[str], set[str]]] = {
    "a log for each client": (CLIENTS, ["log.*"], set(CLIENTS), set()),
    "a log named as an archive": (["log.1"], ["log.1"], {"log.1"}, set()),
    "a log beside one of that name": (["log.1", "log.2", "log"], ["log.1"], {"log.1"}, set()),
    "ports": (["redis", "redis.6379", "redis.16379"], ["redis*"], {"redis"}, {"redis.6379", "redis.16379"}),
    "ports, each named": (["redis", "redis.6379"], ["redis", "redis.6379"], {"redis", "redis.6379"}, set()),
    "versions": (["service-1.2", "service-1.3", "service-2.0"], ["service-*"],
                 {"service-1.2", "service-1.3", "service-2.0"}, set()),
    "a version beside its series": (["service-1", "service-1.2"], ["service-*"], {"service-1"}, {"service-1.2"}),
    "dates of eight digits": (["app.log", *DATES], ["app.log"], {"app.log"}, set()),
    "the same, matched": (["app.log", *DATES], ["app.log*"], {"app.log"}, set(DATES)),
    "dated logs, and no other": (DATES, ["app.log.*"], set(DATES), set()),
    "other tools' files": (
        ["app.log", "app.log.1.Z", "app.log-20261030.gz", "app.log.gpg", "app.log.1.bz2", "app.log.tar.gz"],
        ["app.log*"], {"app.log"}, {"app.log.1.bz2"},
    ),
    "other tools' dates": (["app.log", "app.log-20261030", "app.log.2026-10-30"], ["app.log*"],
                           {"app.log"}, {"app.log-20261030", "app.log.2026-10-30"}),
    "leading zeros": (["app.log", "app.log.001"], ["app.log"], {"app.log"}, set()),
    "a directory": (["app.log"], ["*"], {"app.log"}, set()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_archive_stays_what_it_is(folder: Folder, case: str) -> None:
    """Three runs remove, rename or compress no file but the logs of the rule."""
    files, paths, logs, left = CASES[case]
    folder.fill((name, BIG) for name in files)
    for _ in range(3):
        rotator = folder.rotator(paths, backup_count=7)
        assert unclear(rotator.plan()) == left
        assert rotated(rotator.run()) in (logs, set())
        for name in logs:
            if not (folder.logs / name).stat().st_size:
                assert (folder.logs / f"{name}.1.zst").exists() and not (folder.logs / f"{name}.3.zst").exists()
    for name in set(files) - logs:
        assert (folder.logs / name).read_bytes() == folder.content(name, BIG)
