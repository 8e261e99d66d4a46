"""Nothing is an archive by its name alone: what the README's table says of each file, on real folders."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.decide.naming import parse_archive
from logrotor.disk.files import birth
from logrotor.model import Plan, Report
from tests.support.need import need

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
    "a log for each start of a job": (["job-20261121T070000Z", "job-20261122T070000Z"], ["job-*"],
                                      {"job-20261121T070000Z", "job-20261122T070000Z"}, set()),
    "leading zeros, matched": (["app.log", "app.log.001", "app.log.002"], ["app.log*"],
                               {"app.log"}, {"app.log.001", "app.log.002"}),
    "archives of a log that is gone": (["gone.log.1", "gone.log.2", "app.log"], ["*.log"], {"app.log"}, set()),
    "packed, of a log that is gone": (["gone.log.1.gz", "gone.log.2.zst"], ["gone.log*"], set(), set()),
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


def test_what_is_no_file_is_no_archive(folder: Folder) -> None:
    """Directories and links with such names, of no log: nothing is refused for them."""
    folder.fill([("app.log", BIG)])
    (folder.logs / "release.1").mkdir()
    (folder.logs / "current-20261121T070000Z").symlink_to("release.1")
    (folder.logs / "backup.2.gz").symlink_to("nowhere")
    report = folder.rotator(["*"], exclude=["current*", "backup*"]).run()
    assert (report.exit_code, rotated(report), unclear(report)) == (0, {"app.log"}, set())


# ---------------------------------------------------------------- what is one


def test_archives_of_another_rotator_are_adopted(folder: Folder) -> None:
    """Where their log is there and nobody writes them: they keep their order, and retention counts them."""
    folder.fill([("app.log", BIG), ("app.log.1", BIG), ("app.log.2", BIG), ("app.log.3", BIG)])
    report = folder.rotator(["app.log"], backup_count=3, compress="none").run()
    assert report.exit_code == 0 and unclear(report) == set()
    assert folder.names() == {"app.log", "app.log.1", "app.log.2", "app.log.3"}
    assert (folder.logs / "app.log.3").read_bytes() == folder.content("app.log.2", BIG)


@pytest.mark.parametrize("slot", [2, 3, 9])
def test_what_somebody_writes_is_no_archive(folder: Folder, slot: int) -> None:
    """It keeps its name, whatever the rotations: the archives go past it."""
    held = f"app.log.{slot}"
    folder.fill([("app.log", BIG), (held, BIG)])
    with (folder.logs / held).open("ab") as writer:
        for number in range(1, 5):
            folder.fill([("app.log", BIG + number)])
            report = folder.rotator(["app.log"], backup_count=2, compress="none").run()
            assert (report.exit_code, report.rotated) == (0, 1)
            assert [note.name for log in report.plan.logs for note in log.strangers] == [str(folder.logs / held)]
        writer.write(b"the last line\n")
    assert (folder.logs / held).read_bytes() == folder.content(held, BIG) + b"the last line\n"
    kept = sorted(path.stat().st_size - BIG for path in folder.logs.iterdir() if path.name not in ("app.log", held))
    assert kept == [3, 4]


def test_a_log_in_the_way(folder: Folder) -> None:
    """A log that is written has the name that the next archive needs: refused, until it is moved away."""
    folder.fill([("app.log", BIG), ("app.log.1", BIG)])
    with (folder.logs / "app.log.1").open("ab"):
        report = folder.rotator(["app.log"]).run()
    assert report.exit_code == 1 and (refused := report.plan.logs[0].refused) is not None
    assert refused.subject == str(folder.logs / "app.log") and "app.log.1" in refused.advice
    assert folder.names() == {"app.log", "app.log.1"}
    (folder.logs / "app.log.1").rename(folder.logs / "another.log")
    assert rotated(folder.rotator(["app.log"]).run()) == {"app.log"}


# What is in the directory, in the order in which it was made; is the one that somebody writes an archive?
KILLED = {
    "killed after the take": (["app.log.1", ".logrotor.lock", "app.log"], True),
    "no run was there": (["app.log.1", "app.log"], False),
    "killed before the log was taken": (["app.log.1", "app.log", ".logrotor.lock"], False),
    "somebody's file came later": ([".logrotor.lock", "app.log", "app.log.1"], False),
    "it came while the run was there": ([".logrotor.lock", "app.log.1", "app.log"], False),
    "another slot": (["app.log.2", ".logrotor.lock", "app.log"], False),
}


@pytest.mark.parametrize("paths", [["app.log"], ["app.log*"]])
@pytest.mark.parametrize("case", KILLED)
def test_taken_by_a_killed_run_that_noted_nothing(folder: Folder, case: str, paths: list[str]) -> None:
    """As the previous version was: its lock is there, and the log is younger. The next run goes on with it."""
    files, is_ours = KILLED[case]
    with made_in_turn(folder, files) as held:
        report = folder.rotator(paths, compress="none").run()
    assert unclear(report) | {os.path.basename(note.name) for log in report.plan.logs for note in log.strangers} == (
        set() if is_ours else {held}
    )
    content = folder.content(held, BIG)
    if is_ours:
        assert rotated(report) == {"app.log"} and (folder.logs / "app.log.2").read_bytes() == content
    else:
        assert (folder.logs / held).read_bytes() == content


def test_a_log_that_another_user_made_is_no_replacement(folder: Folder) -> None:
    """A killed run made its lock and the new log as one user: it is no sign if they belong to two."""
    need(os.geteuid() == 0, "root")
    with made_in_turn(folder, KILLED["killed after the take"][0]) as held:
        os.chown(folder.logs / "app.log", 65534, -1)
        report = folder.rotator(["app.log"], compress="none", create_mode="0664").run()
    assert [note.name for log in report.plan.logs for note in log.strangers] == [str(folder.logs / held)]
    assert (folder.logs / held).read_bytes() == folder.content(held, BIG)


@pytest.mark.parametrize("paths", [["app.log"], ["app.log*"]])
def test_what_was_found_unclear_is_not_taken_for_one_later(folder: Folder, paths: list[str]) -> None:
    """A killed run and a new log beside it do not turn a file into an archive that a run has left alone before."""
    folder.fill([("app.log.1", BIG), ("app.log", BIG), ("another.log", BIG)])
    with (folder.logs / "app.log.1").open("ab"):
        folder.rotator([*paths, "another.log"]).run()
        (folder.logs / "app.log").unlink()
        with made_in_turn(folder, [".logrotor.lock", "app.log"]):
            assert rotated(folder.rotator([*paths, "another.log"]).run()) == set()
    assert (folder.logs / "app.log.1").read_bytes() == folder.content("app.log.1", BIG)


@contextmanager
def made_in_turn(folder: Folder, files: Sequence[str]) -> Iterator[str]:
    """Files, each born later than the one before; somebody writes those that are named as archives."""
    before, held = 0.0, ""
    with ExitStack() as stack:
        for name in files:
            path = folder.logs / name
            folder.fill([(name, 0 if name[0] == "." else BIG)], age=0)
            born = birth(str(path))
            while born is not None and born <= before:  # the kernel's clock ticks every few milliseconds
                path.unlink()
                folder.fill([(name, 0 if name[0] == "." else BIG)], age=0)
                born = birth(str(path))
            need(born is not None, "a file system that knows when a file was born")
            before = born or 0.0
            if parse_archive(name) is not None:
                held = name
                stack.enter_context(path.open("ab"))
        yield held


@pytest.mark.parametrize("paths", [["app.log"], ["*"], ["app.log*"]])
@pytest.mark.parametrize("compress", ["none", "zstd"])
@pytest.mark.parametrize("naming", ["numbered", "dated"])
@pytest.mark.parametrize("lost", [False, True])
def test_its_own_archives_are_known(folder: Folder, paths: list[str], compress: str, naming: str, lost: bool) -> None:
    """By the mark of the take, whatever the paths match, and also without the history."""
    rule = {"backup_count": 2, "compress": compress, "naming": naming}
    for number in range(5):
        folder.fill([("app.log", BIG + number)], age=DAY - number)
        report = folder.rotator(paths, **rule).run(force=True)
        assert (report.exit_code, rotated(report), unclear(report)) == (0, {"app.log"}, set())
        if lost:
            folder.forget()
    assert len(folder.names()) == 3
    (folder.logs / "app.log").unlink()  # also once the log is gone
    assert folder.rotator(paths, **rule, max_total_size=1).run().count("remove") == 1


def test_a_log_beside_rotations_stays_one(folder: Folder) -> None:
    """What was unclear once does not become an archive because its neighbour is rotated, and it falls silent."""
    folder.fill([("redis", BIG), ("redis.2", BIG)])
    for _ in range(4):
        folder.fill([("redis", BIG)], age=0)
        report = folder.rotator(["redis*"], backup_count=1, compress="none").run()
        assert (rotated(report), unclear(report)) == ({"redis"}, {"redis.2"})
    assert (folder.logs / "redis.2").read_bytes() == folder.content("redis.2", BIG)


def test_exclude_is_the_cure(folder: Folder) -> None:
    """What the operator excludes as a log is an archive again by its name."""
    folder.fill([("app.log", BIG), ("app.log.2", BIG), ("app.log.3", BIG)])
    assert unclear(folder.rotator(["app.log*"]).plan()) == {"app.log.2", "app.log.3"}
    report = folder.rotator(["app.log*"], exclude=["app.log.[0-9]"], backup_count=1).run()
    assert unclear(report) == set() and report.count("remove") == 2
    assert folder.names() == {"app.log", "app.log.1.zst"}


def test_a_log_stays_one_when_another_appears(folder: Folder) -> None:
    """A client of another name comes: what was rotated as a log is one, though its name now reads as an archive's."""
    folder.fill([("log.10.0.0.7", BIG)])
    folder.rotator(["log.*"]).run()
    folder.fill([("log.10.0.0", BIG), ("log.10.0.0.7", BIG)])
    report = folder.rotator(["log.*"]).run()
    assert (rotated(report), unclear(report)) == ({"log.10.0.0", "log.10.0.0.7"}, set())
    assert {"log.10.0.0.1.zst", "log.10.0.0.7.1.zst", "log.10.0.0.7.2.zst"} <= folder.names()


def test_a_restored_archive_of_another_log_is_none(folder: Folder) -> None:
    """The mark names the log: an archive that was renamed to another log's is not that one's."""
    folder.fill([("app.log", BIG)])
    folder.rotator(["*"], compress="none").run()
    (folder.logs / "app.log.1").rename(folder.logs / "other.log.5")
    folder.fill([("other.log", BIG)])
    report = folder.rotator(["*"], compress="none", backup_count=1).run()
    assert unclear(report) == {"other.log.5"} and "other.log.5" in folder.names()


def test_an_idle_run_asks_nothing_of_archives(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and the history tell: no mark is read and no archive opened where nothing is to be done."""
    folder.fill([(f"{number}.log{end}", 100) for number in range(50) for end in ("", ".1", ".2.zst")])
    rotator = folder.rotator(["*.log"], compress="none")
    asked: list[object] = []

    def getxattr(path: str | int, name: str, **more: bool) -> bytes:
        if name.startswith("user."):
            asked.append(path)
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    monkeypatch.setattr(os, "getxattr", getxattr)
    monkeypatch.setattr("logrotor.disk.writers.prove", lambda *args, **more: asked.append(args))
    assert rotator.run().plan.is_idle and asked == []
