"""The order in which things happen to files, and what stands between two of them: each rule alone, without a crash.

The sweeps show that the whole survives; these show which rule it is that a change has broken (see mutants.py).
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import stat
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from logrotor import Rotator, load_config
from logrotor.decide import proof
from logrotor.disk import calls, state
from logrotor.model import Entry, LastRun, Report, Status, Unknown
from tests.support import mounts, oracle
from tests.support.need import need

LINES = 300
BASE = "app.log"
ASIDE = ".app.log.1.aside"
Moment = Callable[[str, tuple[str, ...]], object]  # an operation, and the names of the files that it is about


class Door:
    """Stands in for ``calls.invoke``: writes down what passes, and may do something before it."""

    def __init__(self) -> None:
        self.passed: list[tuple[str, ...]] = []
        self.before: Moment = lambda *_: None
        self.replaced: dict[str, Callable[..., Any]] = {}

    def __call__(self, operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        names = _names(args, kwargs)
        self.before(operation, names)
        self.passed.append((operation, *names))
        return self.replaced.get(operation, function)(*args, **kwargs)

    def at(self, operation: str, *names: str, last: bool = False) -> int:
        """When the first (or ``last``) such operation passed."""
        found = [n for n, each in enumerate(self.passed) if each[: 1 + len(names)] == (operation, *names)]
        assert found, f"no {operation} {names} in {self.passed}"
        return found[-1 if last else 0]

    def once(self, operation: str, what: Callable[[], object], *names: str) -> None:
        """Before the first such operation, do ``what``."""
        done: list[bool] = []

        def before(each: str, about: tuple[str, ...]) -> None:
            if each == operation and about[: len(names)] == names and not done:
                done.append(True)
                what()

        self.before = before


def _names(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
    """The names in an argument list: paths by their last part; descriptors only where they stand for the file."""
    found = [os.path.basename(os.fsdecode(a)) for a in args if isinstance(a, str)]
    if found or not args or not isinstance(args[0], int):
        return tuple(found)
    return (os.path.basename(os.readlink(f"/proc/self/fd/{args[0]}")),)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    made = Door()
    monkeypatch.setattr(calls, "invoke", made)
    return made


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def run(logs: Path, *, force: bool = False, now: datetime | None = None, **keys: Any) -> Report:
    rule = {"name": "app", "paths": [str(logs / BASE)], "max_size": 1000, "compress": "none", **keys}
    config = {"state_dir": str(logs.parent / "state"), "compress_jobs": 1, "log": [rule]}
    return Rotator(load_config(config)).run(now, force=force)


def grow_old(logs: Path) -> datetime:
    """A year later, with runs until then: now the archive, last written long ago, is older than max_age."""
    os.utime(logs / "app.log.1", (10**9, 10**9))
    later = datetime.now().astimezone() + timedelta(days=365)
    state.prepare(str(logs.parent / "state"), "state_dir")
    state.remember_last_run(str(logs.parent / "state"), LastRun(later.timestamp() - 60))
    return later


def write(logs: Path, name: str = "w1", base: str = BASE) -> None:
    (logs / base).write_bytes(oracle.lines(name, 1, LINES))


def whole(logs: Path, *names: str, strays: bool = False) -> None:
    oracle.count(logs, BASE, expected=dict.fromkeys(names, LINES)).check(strays=strays)


def _deferred(report: Report) -> str:
    (outcome,) = (each for each in report.outcomes if each.status is Status.DEFERRED)
    return outcome.reason


def found(logs: Path) -> list[str]:
    return sorted(os.listdir(logs))


# ---------------------------------------------------------------- compress


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_the_original_goes_last(logs: Path, door: Door, codec: str) -> None:
    """The archive's bytes are durable before it gets its name, and its name before the original loses its own."""
    write(logs)
    assert run(logs, compress=codec).exit_code == 0
    final = {"zstd": "app.log.1.zst", "gzip": "app.log.1.gz"}[codec]
    temp = f".{final}.tmp"
    order = [
        door.at("create", temp),
        door.at("write", temp, last=True),
        door.at("sync", temp),
        door.at("rename", temp, final),
        door.at("sync", "logs", last=True),
        door.at("rename", "app.log.1"),
        door.at("unlink", last=True),
    ]
    assert order == sorted(order)
    assert max(door.at("chmod", temp), door.at("utime", temp)) < door.at("sync", temp, last=True)
    whole(logs, "w1")


def test_a_line_that_comes_while_the_disk_is_slow(logs: Path, door: Door) -> None:
    """Somebody appends to the archive by its name after it was compressed: it is not removed, but compressed anew."""
    write(logs)

    def append() -> None:
        with open(logs / "app.log.1", "ab") as archive:
            archive.write(oracle.lines("late", 1, 1))

    door.once("sync", append, "logs")
    run(logs, compress="zstd")
    oracle.count(logs, BASE, expected={"w1": LINES, "late": 1}).check()
    assert run(logs, compress="zstd").exit_code == 0
    assert found(logs) == [BASE, "app.log.1.zst"]
    oracle.count(logs, BASE, expected={"w1": LINES, "late": 1}).check()


def test_a_writer_that_comes_while_the_disk_is_slow(logs: Path, door: Door) -> None:
    """Somebody opens the archive by its name after it was compressed, and writes when the run has ended."""
    write(logs)
    with ExitStack() as held:
        writers: list[BinaryIO] = []

        def opens() -> None:
            writers.append(held.enter_context(open(logs / "app.log.1", "ab")))

        door.once("sync", opens, "logs")
        report = run(logs, compress="zstd")
        assert report.exit_code == 0 and "still writes it" in _deferred(report)
        assert found(logs) == [BASE, "app.log.1"]
        writers[0].write(oracle.lines("late", 1, 1))
    assert run(logs, compress="zstd").exit_code == 0
    assert found(logs) == [BASE, "app.log.1.zst"]
    oracle.count(logs, BASE, expected={"w1": LINES, "late": 1}).check()


def test_a_writer_that_comes_before_an_archive_is_removed(logs: Path, door: Door) -> None:
    """Somebody opens it between the proof and its removal: it is put back, for it may get another line."""
    write(logs, base="app.log.1")
    now = grow_old(logs)
    with ExitStack() as held:
        door.once("rename", lambda: held.enter_context(open(logs / "app.log.1", "ab")), "app.log.1", ASIDE)
        report = run(logs, max_age="30d", now=now)
        assert "still writes it" in _deferred(report) and found(logs) == ["app.log.1"]
        whole(logs, "w1")
    assert run(logs, max_age="30d", now=now).exit_code == 0 and found(logs) == []


def append(path: Path) -> None:
    with open(path, "ab") as archive:
        archive.write(oracle.lines("late", 1, 1))


def set_aside(logs: Path, door: Door, **keys: Any) -> None:
    """A run that could not put the archive back, which somebody has written since it was compressed, or still does."""

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def at_last(operation: str, names: tuple[str, ...]) -> None:
        if operation == "rename" and names == (ASIDE, "app.log.1"):
            fails()
        if operation == "rename" and names == ("app.log.1", ASIDE):
            append(logs / "app.log.1")

    door.before = at_last
    assert run(logs, **keys).exit_code == 1
    door.before = lambda *_: None
    assert ASIDE in found(logs)


@pytest.mark.parametrize("name", [ASIDE, ".app.log.1.tmp"])
def test_what_was_set_aside_and_not_put_back_loses_no_line(logs: Path, door: Door, name: str) -> None:
    """The next run gives the archive its name back, also where an older logrotor called it an unfinished one."""
    write(logs)
    set_aside(logs, door, compress="zstd")
    (logs / ASIDE).rename(logs / name)
    report = run(logs, compress="zstd")
    assert report.exit_code == 0
    oracle.count(logs, BASE, expected={"w1": LINES, "late": 1}).check()


def test_what_retention_had_set_aside_is_judged_again(logs: Path, door: Door) -> None:
    """Killed right before it was removed, the archive is back, with the line that made it young again."""
    write(logs, base="app.log.1")
    now = grow_old(logs)
    (logs / "app.log.1").rename(logs / ASIDE)
    append(logs / ASIDE)
    os.utime(logs / ASIDE, (now.timestamp(), now.timestamp()))
    assert run(logs, max_age="30d", now=now).exit_code == 0
    oracle.count(logs, BASE, expected={"w1": LINES, "late": 1}).check()
    now = grow_old(logs)
    (logs / "app.log.1").rename(logs / ASIDE)
    assert run(logs, max_age="30d", now=now).exit_code == 0 and found(logs) == []


def test_who_appends_by_name_to_what_was_set_aside_makes_a_generation(logs: Path, door: Door) -> None:
    """It is put back beside the new file: nothing is hidden, nothing overwritten."""
    write(logs)

    def opens() -> None:
        append(logs / "app.log.1")  # so it is to be put back
        door.once("rename", lambda: append(logs / "app.log.1"), ASIDE, "app.log.1")

    door.once("sync", opens, "logs")
    assert run(logs, compress="zstd").exit_code == 0
    tally = oracle.count(logs, BASE, expected={"w1": LINES, "late": 1})
    assert not tally.lost and not tally.strays and len(tally.doubled) == 1  # that somebody wrote the late one twice
    assert found(logs) == [BASE, "app.log.1.zst", "app.log.2.zst"]


def test_a_line_comes_before_an_archive_is_removed(logs: Path, door: Door) -> None:
    """Somebody appends between the plan and the last look: what made it old is no longer true."""
    write(logs, base="app.log.1")
    now = grow_old(logs)

    def writes() -> None:
        append(logs / "app.log.1")
        os.utime(logs / "app.log.1", (now.timestamp(), now.timestamp()))

    door.once("rename", writes, "app.log.1", ASIDE)
    assert run(logs, max_age="30d", now=now).exit_code == 0
    oracle.count(logs, BASE, expected={"w1": LINES, "late": 1}).check()


def test_a_copy_is_not_published_beside_another_ones(logs: Path, door: Door) -> None:
    """Another configuration has published an archive in slot 1 since the plan was made: that moves up first."""
    write(logs)
    another = gzip.compress(oracle.lines("old", 1, LINES))
    door.once("create", lambda: (logs / "app.log.1.gz").write_bytes(another), ".logrotor.lock")
    assert run(logs, method="copytruncate").exit_code == 0
    assert found(logs) == [BASE, "app.log.1", "app.log.2.gz"]
    assert (logs / "app.log.2.gz").read_bytes() == another


def test_a_log_that_is_emptied_and_begins_anew_as_before(logs: Path, door: Door) -> None:
    """Each log of this program begins with the same line: that does not mean that it has the others as well."""
    write(logs)
    lines = (logs / BASE).read_bytes().splitlines(keepends=True)
    door.once("sync", lambda: (logs / BASE).write_bytes(lines[0]), "logs")
    run(logs, method="copytruncate")
    assert (logs / BASE).read_bytes() == lines[0]
    copied = (logs / "app.log.1").read_bytes()
    assert len(copied) > 8000 and b"".join(lines).startswith(copied)


# ---------------------------------------------------------------- two forms of one generation


def twins(logs: Path, *, slot: int = 1, source: bool = True) -> None:
    """What a run leaves that is killed before the original goes; then another one gives the original a ``slot``."""
    write(logs, base="app.log.1")
    status = os.stat(logs / "app.log.1")
    taken = f"{status.st_ino} {status.st_mtime_ns} {status.st_mtime:.3f} {BASE}".encode()
    os.setxattr(logs / "app.log.1", "user.logrotor.source", taken)
    packed = logs / "app.log.1.gz"
    packed.write_bytes(gzip.compress((logs / "app.log.1").read_bytes()))
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
    if source:
        os.setxattr(packed, "user.logrotor.source", f"{status.st_ino} {status.st_mtime_ns}".encode())
    if slot != 1:
        (logs / "app.log.1").rename(logs / f"app.log.{slot}")


@pytest.mark.parametrize(("slot", "source"), [(1, True), (1, False), (2, True)])
def test_two_forms_are_one_generation(logs: Path, slot: int, source: bool) -> None:
    """In one slot by their time and bytes, in two because it is noted on the one that it was made of the other."""
    twins(logs, slot=slot, source=source)
    assert run(logs, compress="gzip").exit_code == 0
    assert found(logs) == ["app.log.1.gz"]
    whole(logs, "w1")


def test_every_archive_notes_what_it_was_made_of(logs: Path) -> None:
    """The inode and the time of the original; an archive of an archive has its first original."""
    write(logs)
    status = os.stat(logs / BASE)
    run(logs, compress="gzip")
    wanted = f"{status.st_ino} {status.st_mtime_ns}".encode()
    noted = os.getxattr(logs / "app.log.1.gz", "user.logrotor.source")
    assert noted.split()[:2] == wanted.split() and noted.split()[3:] == [BASE.encode()]
    with mounts.loop_mount(logs.parent, "ext4") as mounted:
        run(logs, compress="gzip", archive_dir=str(mounted.path))
        assert os.getxattr(mounted.path / "app.log.1.gz", "user.logrotor.source") == noted


def test_two_archives_of_one_file_are_one_generation(logs: Path) -> None:
    """Two configurations with a codec each, both killed before the original went; then it went."""
    twins(logs)
    noted = os.getxattr(logs / "app.log.1.gz", "user.logrotor.source")
    subprocess.run(["zstd", "-q", "--rm", logs / "app.log.1"], check=True)
    os.setxattr(logs / "app.log.1.zst", "user.logrotor.source", noted)
    assert run(logs, compress="gzip").exit_code == 0
    assert found(logs) == ["app.log.1.zst"]
    whole(logs, "w1")


@pytest.mark.parametrize("slot", [1, 2])
def test_another_generation_of_the_same_lines_is_no_duplicate(logs: Path, slot: int) -> None:
    """A heartbeat writes the same again and again, and twice a second: both are kept."""
    write(logs, base=f"app.log.{slot}")
    (logs / "app.log.1.gz").write_bytes(gzip.compress((logs / f"app.log.{slot}").read_bytes()))
    later = os.stat(logs / f"app.log.{slot}").st_mtime_ns + (3_000_000 if slot == 1 else 0)
    os.utime(logs / "app.log.1.gz", ns=(later, later))
    assert run(logs).exit_code == 0
    assert found(logs) == (["app.log.1", "app.log.2.gz"] if slot == 1 else ["app.log.1.gz", "app.log.2"])


@pytest.mark.parametrize("base", ["app.log.1", "app.log.1.gz"])
def test_times_that_a_file_system_cuts(logs: Path, base: str) -> None:
    """What lies on a file system that keeps whole seconds is known by the second, but only as the finished form."""
    twins(logs, source=False)
    cut = os.stat(logs / base).st_mtime_ns // 10**9 * 10**9
    os.utime(logs / base, ns=(cut, cut))
    assert run(logs).exit_code == 0
    assert found(logs) == (["app.log.1.gz"] if base == "app.log.1.gz" else ["app.log.1", "app.log.2.gz"])


def grown(logs: Path, by: bytes) -> None:
    """The original of twins has grown since."""
    with open(logs / "app.log.1", "ab") as archive:
        archive.write(by)
    os.utime(logs / "app.log.1")


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("source", [False, True])
def test_the_original_has_grown_since(logs: Path, source: bool, held: bool) -> None:
    """Killed before the original went, and somebody appended to it by its name: that one has every line."""
    twins(logs, source=source)
    grown(logs, oracle.lines("late", 1, 1))
    with open(logs / "app.log.1", "ab") if held else nullcontext() as writer:
        assert run(logs, compress="gzip").exit_code == 0
        assert found(logs) == ["app.log.1" if held else "app.log.1.gz"]
        if writer is not None:
            writer.write(oracle.lines("late", 2, 2))
    assert run(logs, compress="gzip").exit_code == 0 and found(logs) == ["app.log.1.gz"]
    oracle.count(logs, BASE, expected={"w1": LINES, "late": 1 + held}).check()


@pytest.mark.parametrize("what", ["another file", "its inode again", "other lines"])
def test_what_has_grown_is_another_generation(logs: Path, what: str) -> None:
    """A heartbeat began the next file with the same lines, or it is the same file with others: both are kept."""
    twins(logs)
    if what == "another file":
        lines = (logs / "app.log.1").read_bytes()
        (logs / "app.log.1").rename(logs / "kept.1")  # so that its inode is not given to the next one
        (logs / "app.log.1").write_bytes(lines)
    elif what == "its inode again":  # which many file systems give to the next file
        lines = (logs / "app.log.1").read_bytes()
        (logs / "app.log.1").unlink()
        (logs / "app.log.1").write_bytes(lines)
        noted = f"{(logs / 'app.log.1').stat().st_ino} {(logs / 'app.log.1.gz').stat().st_mtime_ns}"
        os.setxattr(logs / "app.log.1.gz", "user.logrotor.source", noted.encode())
    else:
        (logs / "app.log.1").write_bytes(oracle.lines("w2", 1, LINES))
    grown(logs, oracle.lines("late", 1, 1))
    assert run(logs).exit_code == 0
    assert {"app.log.1", "app.log.2.gz"} <= set(found(logs))


def test_a_duplicate_that_is_written_stays(logs: Path) -> None:
    """An administrator wanted a copy (gzip -k keeps the time), and the writer has not let go of its file."""
    write(logs, base="app.log.1")
    with open(logs / "app.log.1", "ab") as writer:
        subprocess.run(["gzip", "-k", logs / "app.log.1"], check=True)
        assert run(logs).exit_code == 0
        writer.write(oracle.lines("late", 1, 1))
    assert oracle.read(logs / "app.log.1")[0].endswith(oracle.lines("late", 1, 1))


@pytest.mark.parametrize("does", ["append", "open"])
def test_a_line_that_comes_before_a_duplicate_goes(logs: Path, door: Door, does: str) -> None:
    """A crash left an archive and its original; somebody appends to that by its name, or may: it is kept."""
    twins(logs)
    with ExitStack() as held:
        writers: list[BinaryIO] = []

        def comes() -> None:
            writers.append(held.enter_context(open(logs / "app.log.1", "ab")))
            if does == "append":
                held.pop_all().close()
                with open(logs / "app.log.1", "ab") as archive:
                    archive.write(oracle.lines("late", 1, 1))

        door.once("sync", comes, "logs")
        run(logs)
        assert writers and "app.log.1" in found(logs)
        if does == "open":
            writers[0].write(oracle.lines("late", 1, 1))
    assert oracle.read(logs / "app.log.1")[0].endswith(oracle.lines("late", 1, 1))


def test_the_archive_directory_is_durable_before_the_original_goes(logs: Path, door: Door) -> None:
    """With a directory of its own it is that one which is synced."""
    write(logs)
    assert run(logs, compress="zstd", archive_dir="old").exit_code == 0
    published = door.at("rename", ".app.log.1.zst.tmp", "app.log.1.zst")
    removed = door.at("rename", "app.log.1", ASIDE)
    assert published < door.at("sync", "old", last=True) < removed


def test_a_short_write_is_not_the_end(logs: Path, door: Door) -> None:
    """A file system that takes a few bytes at a time gets them all."""
    door.replaced["write"] = lambda fd, data: os.write(fd, data[: max(1, len(data) // 3)])
    write(logs)
    report = run(logs, compress="zstd")
    assert report.failed == ()
    assert found(logs) == [BASE, "app.log.1.zst"]
    whole(logs, "w1")


def test_an_archive_that_does_not_hold_the_bytes_is_not_published(logs: Path, door: Door) -> None:
    """A byte that the disk got wrong is noticed while the original is still there."""
    door.replaced["write"] = lambda fd, data: os.write(fd, bytes(data[:-9]) + bytes([data[-9] ^ 1]) + bytes(data[-8:]))
    write(logs)
    report = run(logs, compress="zstd")
    assert [outcome.action for outcome in report.failed] == ["compress"]
    assert found(logs) == [BASE, "app.log.1"]
    whole(logs, "w1")


def test_a_failed_fsync_keeps_the_original(logs: Path, door: Door) -> None:
    """And what could not be made durable is thrown away, not synced again."""

    def fail(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".tmp"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    door.replaced["sync"] = fail
    write(logs)
    report = run(logs, compress="zstd")
    assert [outcome.errno for outcome in report.failed] == [errno.EIO]
    assert found(logs) == [BASE, "app.log.1"]
    assert sum(each == ("sync", ".app.log.1.zst.tmp") for each in door.passed) == 1
    whole(logs, "w1")


# ---------------------------------------------------------------- take


def test_a_replacement_is_dressed_before_it_is_seen(logs: Path, door: Door) -> None:
    """It has its mode from the first instant in which a writer can open it."""
    write(logs)
    assert run(logs, create_mode="0660").exit_code == 0
    assert door.at("chmod", "app.log.1") < door.at("exchange", "app.log.1", BASE)
    assert stat.S_IMODE((logs / BASE).stat().st_mode) == 0o660


def test_what_was_put_in_the_logs_place_is_put_back(logs: Path, door: Door) -> None:
    """In the instant before the exchange the log is replaced by a symlink: that is no log, and is not taken."""
    write(logs)
    elsewhere = logs.parent / "elsewhere"
    elsewhere.write_bytes(b"not ours\n")

    def swap() -> None:
        (logs / BASE).rename(logs.parent / "kept")
        (logs / BASE).symlink_to(elsewhere)

    door.once("exchange", swap)
    assert run(logs).exit_code == 1
    assert os.readlink(logs / BASE) == str(elsewhere)
    assert "app.log.1" not in found(logs)
    assert elsewhere.read_bytes() == b"not ours\n"


def test_a_writer_of_what_was_put_back_loses_no_line(logs: Path, door: Door) -> None:
    """Another tool replaces the log, and a writer opens our new one in the instant before it is put back."""
    write(logs)
    held: list[BinaryIO] = []
    swapped: list[bool] = []

    def before(operation: str, names: tuple[str, ...]) -> None:
        if operation == "exchange" and not swapped:
            swapped.append(True)
            (logs / BASE).rename(logs / "app.log.7")
            write(logs, "other")
        elif operation == "exchange" and not held:
            held.append(open(logs / BASE, "ab", buffering=0))  # noqa: SIM115  (as a writer that never closes)

    door.before = before
    run(logs)
    door.before = lambda *_: None
    (writer,) = held
    writer.write(oracle.lines("late", 1, LINES))
    run(logs)
    whole(logs, "w1", "other", "late", strays=True)
    writer.close()
    run(logs, compress="zstd")
    assert run(logs, compress="zstd").exit_code == 0
    whole(logs, "w1", "other", "late")


def test_what_could_not_be_moved_aside_is_no_generation(logs: Path, door: Door) -> None:
    """After a log was put back, our empty file is left in slot 1: it costs no archive its place."""
    write(logs, "g1", "app.log.1")
    write(logs)

    def swap() -> None:
        (logs / BASE).rename(logs.parent / "moved")
        (logs / BASE).write_bytes(oracle.lines("other", 1, 1))

    def refuse(directory: int, source: str, to_directory: int, target: str, flags: int) -> None:
        if target == ".app.log.new":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        calls.renameat2(directory, source, to_directory, target, flags)

    door.once("exchange", swap)
    door.replaced["rename"] = refuse
    assert run(logs, backup_count=1).exit_code == 1
    assert (logs / "app.log.1").stat().st_size == 0
    door.replaced.clear()
    assert run(logs, backup_count=1).exit_code == 0
    oracle.count(logs, BASE, expected={"g1": LINES, "other": 1}).check()


@pytest.mark.parametrize(
    "step", [("create", "app.log.1"), ("rename", "app.log.1", "app.log.2")], ids=["slot 1", "slot 2"]
)
def test_a_name_that_appears_is_never_renamed_over(logs: Path, door: Door, step: tuple[str, str]) -> None:
    """Something else takes the name of a slot in the instant before the log, or an archive, would get it."""
    if step[0] == "rename":
        write(logs, "g1", "app.log.1")
    write(logs)
    door.once(step[0], lambda: write(logs, "other", step[-1]), *step[1:])
    run(logs)
    assert run(logs).exit_code == 0
    whole(logs, "w1", "other", *(["g1"] if step[0] == "rename" else []))


def test_a_hole_is_filled_and_nothing_beyond_it_moves(logs: Path) -> None:
    """A crash left slot 2 free: slot 1 moves there, 3 and 4 stay, and retention removes none."""
    for slot in (1, 3, 4):
        write(logs, f"g{slot}", f"app.log.{slot}")
    inodes = {name: (logs / name).stat().st_ino for name in found(logs)}
    write(logs)
    assert run(logs, backup_count=4).exit_code == 0
    assert {name: (logs / name).stat().st_ino for name in ("app.log.3", "app.log.4")}.items() <= inodes.items()
    whole(logs, "w1", "g1", "g3", "g4")


@pytest.mark.parametrize("made", [".logrotor.lock", "app.log.1", ".app.log.1.zst.tmp"])
def test_every_call_is_relative_to_the_directory_that_was_opened(logs: Path, door: Door, made: str) -> None:
    """The directory is swapped for a symlink before a file is made in it: nothing appears where it points."""
    write(logs)
    aside, target = logs.parent / "aside", logs.parent / "target"
    target.mkdir()

    def swap() -> None:
        logs.rename(aside)
        logs.symlink_to(target)

    door.once("create", swap, made)
    run(logs, compress="zstd")
    assert os.listdir(target) == []
    assert ("create", made) in door.passed
    whole(aside, "w1", strays=True)


# ---------------------------------------------------------------- another run works here


def test_a_temp_of_a_living_run_is_left_alone(logs: Path) -> None:
    """Its maker has it locked: it is neither dropped nor truncated nor taken over, and the log waits."""
    write(logs, base="app.log.1")
    temp = logs / ".app.log.1.zst.tmp"
    temp.write_bytes(b"half an archive")
    with open(temp, "rb") as maker:
        fcntl.flock(maker, fcntl.LOCK_EX)
        assert run(logs, compress="zstd").exit_code == 0
        assert temp.read_bytes() == b"half an archive"
        assert "app.log.1" in found(logs)
    assert run(logs, compress="zstd").exit_code == 0
    assert found(logs) == ["app.log.1.zst"]
    whole(logs, "w1")


def test_a_temp_that_appears_is_not_taken_over(logs: Path, door: Door) -> None:
    """Another run makes the same temp in the instant before ours: it keeps it, with what is in it."""
    write(logs)
    temp = logs / ".app.log.1.zst.tmp"
    door.once("create", lambda: temp.write_bytes(b"half an archive"), temp.name)
    assert run(logs, compress="zstd").exit_code == 0
    assert temp.read_bytes() == b"half an archive"
    whole(logs, "w1", strays=True)


def test_a_temp_is_locked_while_it_is_made(logs: Path, door: Door) -> None:
    """So that no other run takes it for debris."""
    write(logs)
    tried: list[str] = []

    def try_lock(operation: str, names: tuple[str, ...]) -> None:
        if operation == "write" and names[0].startswith("."):
            with open(logs / names[0], "rb") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tried.append(names[0])

    door.before = try_lock
    assert run(logs, compress="zstd").exit_code == 0
    assert ".app.log.1.zst.tmp" in tried


# ---------------------------------------------------------------- writers


def test_unknown_is_never_nobody(logs: Path) -> None:
    """Where no proof is to be had, an archive waits, whatever its age, for a request that was delivered."""
    write(logs)
    entry = Entry(BASE, (logs / BASE).stat())
    unknown = Unknown("no lease, and /proc does not show every writer")
    assert proof.why_not(unknown, entry, None, entry.mtime + 10 * 86400)
    assert proof.why_not(unknown, entry, entry.ctime + 1, entry.mtime + 60)
    assert proof.why_not(unknown, entry, entry.ctime + 1, entry.mtime + 7200) is None
    assert proof.why_not(None, entry, entry.ctime + 1, entry.mtime + 7200)


# ---------------------------------------------------------------- copytruncate


@pytest.mark.parametrize(
    ("followed", "mark", "cutting"), [(True, "punch", "collapse"), (False, "overwrite", "truncate")]
)
def test_a_cut_is_recorded_marked_and_durable_at_each_step(
    logs: Path, door: Door, followed: bool, mark: str, cutting: str
) -> None:
    """The copy, its record, its name, then the mark, its record, and only then the head of the log goes."""
    need(mounts.collapses(logs), "a file system that collapses ranges")
    write(logs)
    with (logs / BASE).open() if followed else nullcontext():
        assert run(logs, method="copytruncate").exit_code == 0
    temp = ".app.log.1.tmp"
    copied = door.at("sync", temp)
    published = door.at("rename", temp, "app.log.1")
    marked = door.at(mark, BASE)
    cut = door.at(cutting, BASE)
    commits = [n for n, each in enumerate(door.passed) if each[0] == "commit"]
    assert door.at("write", temp, last=True) < copied
    assert any(copied < n < published for n in commits)
    assert published < door.at("sync", "logs", last=True) < marked < door.at("sync", BASE) < cut
    assert any(door.at("sync", BASE) < n < cut for n in commits)
    assert cut < door.at("sync", BASE, last=True) < commits[-1]
    oracle.count_joined(logs, BASE, {"w1": LINES}).check()


@pytest.mark.parametrize("followed", [True, False])
def test_a_copytruncate_that_died_before_the_cut_is_not_done_twice(logs: Path, door: Door, followed: bool) -> None:
    """The copy is published, the log is whole: the next run cuts what the copy holds, and copies nothing again."""
    need(mounts.collapses(logs), "a file system that collapses ranges")
    write(logs)

    def die() -> None:
        raise KeyboardInterrupt

    door.once("punch" if followed else "overwrite", die)
    with (logs / BASE).open() if followed else nullcontext():
        with pytest.raises(KeyboardInterrupt):
            run(logs, method="copytruncate")
        door.before = lambda *_: None
        assert run(logs, method="copytruncate").exit_code == 0
    oracle.count_joined(logs, BASE, {"w1": LINES}).check()
    assert len(oracle.archives(logs, BASE)) == 1


@pytest.mark.parametrize("create", [True, False])
def test_a_log_that_vanishes_does_not_end_the_run(logs: Path, door: Door, create: bool) -> None:
    """Somebody removes one log between the plan and the take; the other log of the glob is rotated all the same."""
    write(logs)
    write(logs, "other", "other.log")
    first = "create" if create else "rename"
    door.once(first, (logs / BASE).unlink)
    report = run(logs, paths=[str(logs / "*.log")], create=create)
    assert (report.rotated, len(report.failed)) in ((1, 0), (1, 1))
    assert (
        oracle.count(logs, "other.log", expected={"other": LINES}).check().per_file[str(logs / "other.log.1")] == LINES
    )
