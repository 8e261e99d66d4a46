"""Copytruncate where bytes alone tell nothing: repeated lines, two configurations, and a copy that was moved away."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from logrotor.disk import calls
from logrotor.model import Report
from logrotor.rotator import Rotator
from tests.proof import interfere
from tests.proof.sampling import is_chosen
from tests.support import mounts, oracle
from tests.support.need import need

BEAT = b"heartbeat is ok\n"
RULE = {"name": "app", "max_size": 8000, "method": "copytruncate"}


class Place:
    """A log, and configurations that know nothing of each other. ``followed``: somebody has the log open to read it."""

    def __init__(self, folder: Path, followed: bool = True) -> None:
        self.folder, self.logs, self.followed = folder, folder / "logs", followed
        self.followers: list[BinaryIO] = []
        self.log = self.logs / "app.log"
        (self.logs / "old").mkdir(parents=True)
        self.written = 0

    def rotator(self, which: str, **keys: Any) -> Rotator:
        return interfere.rotator(self.folder / f"state-{which}", {**RULE, "paths": [str(self.log)], **keys})

    def beat(self, count: int) -> None:
        """The same line again and again."""
        self._append(BEAT * count)
        self.written += count

    def write(self, count: int) -> None:
        """Lines that can be told apart."""
        self._append(oracle.lines("w1", self.written + 1, self.written + count))
        self.written += count

    def beats(self) -> int:
        """Lines in the log and all of its archives."""
        paths = [self.log, *(Path(path) for path in oracle.archives([self.logs, self.logs / "old"], "app.log"))]
        return sum(oracle.read(path)[0].count(BEAT) for path in paths)

    def tally(self) -> oracle.Tally:
        return oracle.count_joined([self.logs, self.logs / "old"], "app.log", {"w1": self.written})

    def check(self) -> None:
        self.tally().check()

    def _append(self, data: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(data)
        if self.followed and not self.followers:
            self.followers.append(self.log.open("rb"))


def places(folder: Path, followed: bool = True) -> Iterator[Place]:
    return (Place(folder / str(number), followed) for number in range(1, 200))


both = pytest.mark.parametrize("followed", [True, False], ids=["followed", "alone"])


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    need(mounts.collapses(tmp_path), "a file system that collapses ranges")
    return tmp_path


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Where no range can be collapsed."""
    with interfere.memory_folder(lambda: tmp_path) as folder:
        need(not mounts.collapses(folder), "a file system that collapses no ranges")
        yield folder


def every_kill(
    folder: Path,
    prepare: Callable[[Place], object],
    followed: bool = True,
    sample: tuple[int, int] = (1, 0),
    **keys: Any,
) -> Iterator[tuple[int, Place]]:
    """A place for each changing call of a run, which was killed before that call; for one in so many, from there on."""
    for nth, place in enumerate(places(folder, followed), 1):
        if not is_chosen(nth, *sample):
            continue
        prepare(place)
        if not interfere.killed(nth, place.rotator("a", **keys).run):
            assert nth > 10
            return
        yield nth, place


# ---------------------------------------------------------------- the plan is out of date


@pytest.mark.long
@both
@pytest.mark.parametrize("keys", [{}, {"archive_dir": "old"}, {"naming": "dated"}], ids=str)
def test_two_generations_of_equal_bytes_are_both_kept(disk: Path, keys: dict[str, Any], followed: bool) -> None:
    """Another configuration rotates the log once its size is known; then it grows by the very same bytes."""
    for number, place in enumerate(places(disk, followed), 1):
        place.beat(1024)
        reached = False

        def meanwhile(place: Place = place) -> None:
            nonlocal reached
            reached = True
            place.rotator("b", **keys).run()
            place.beat(768)

        with interfere.before(number, meanwhile) as seen:
            reports = [place.rotator("a", **keys).run()]
        reports += [place.rotator(which, **keys).run() for which in "ab"]
        where = f"before change {number}, {seen[number - 1 :][:1]}: {os.listdir(place.logs)}"
        assert place.beats() == place.written, where
        assert not [outcome for report in reports for outcome in report.failed], where
        if not reached:
            break
    assert number > 10


@pytest.mark.long
@both
def test_what_another_configuration_has_just_left_is_not_rotated(disk: Path, followed: bool) -> None:
    """It keeps its archives where this one does not look: only the size tells."""
    for number, place in enumerate(places(disk, followed), 1):
        place.write(500)
        others: list[Report] = []
        other = place.rotator("b", archive_dir="old")

        def meanwhile(place: Place = place, others: list[Report] = others, other: Rotator = other) -> None:
            others.append(other.run())
            place.write(40)  # more than a block, and not due

        with interfere.before(number, meanwhile):
            report = place.rotator("a").run()
        where = f"before change {number}: {os.listdir(place.logs)}"
        assert sum(each.rotated for each in (report, *others)) == 1, where
        assert report.failed == (), where
        place.check()
        if not others:
            break
    assert number > 10


# ---------------------------------------------------------------- nobody has it open


@pytest.mark.parametrize("count", [1, 300], ids=["within a block", "some blocks"])
def test_a_log_that_nobody_has_open_is_cut_whole(disk: Path, count: int) -> None:
    """Its last lines too; the file stays the same, so a bind mount does as well."""
    place = Place(disk, followed=False)
    place.write(count)
    before = place.log.stat().st_ino
    (done,) = (o for o in place.rotator("a").run(force=True).outcomes if o.action == "copytruncate")
    assert (done.status, done.details["protocol"], done.details["guarantee"]) == ("done", "whole", "lossless")
    assert (place.log.stat().st_ino, place.log.stat().st_size) == (before, 0)
    place.check()


def test_a_log_within_a_block_that_somebody_has_open_stays(disk: Path) -> None:
    """A reader is enough; it is rotated once he has closed it."""
    place = Place(disk)
    place.write(1)
    report = place.rotator("a").run(force=True)
    assert report.exit_code == 0 and report.rotated == 0 and place.log.stat().st_size > 0
    place.followers[0].close()
    assert place.rotator("a").run(force=True).rotated == 1
    assert place.log.stat().st_size == 0
    place.check()


@pytest.mark.long
@pytest.mark.parametrize("stays", [True, False], ids=["who stays", "who writes a line"])
def test_somebody_opens_the_log_at_any_point_of_a_whole_cut(disk: Path, stays: bool) -> None:
    """Each line stands once, in order; who stays has it collapsed, and its copy made again."""
    for number, place in enumerate(places(disk, followed=False), 1):
        place.write(500)

        def come(place: Place = place) -> None:
            if stays:
                place.followers.append(place.log.open("rb"))
            place.write(3)

        with interfere.before(number, come) as seen:
            report = place.rotator("a").run()
        assert report.exit_code == 0 and report.rotated == 1, f"before change {number}: {report.failed}"
        place.check()
        assert place.rotator("a").run().exit_code == 0
        place.check()
        if len(seen) < number:
            break
    assert number > 15


@pytest.mark.long
def test_somebody_who_only_reads_opens_the_log_at_any_point_of_a_whole_cut(disk: Path) -> None:
    """The log is never emptied under him, though it is as it was copied."""
    kept = 0
    for number, place in enumerate(places(disk, followed=False), 1):
        place.write(500)
        with interfere.before(number, lambda place=place: place.followers.append(place.log.open("rb"))) as seen:
            report = place.rotator("a").run()
        (done,) = (o for o in report.outcomes if o.action == "copytruncate")
        came_late = "truncate" not in seen[number - 1 :]
        assert (done.details["protocol"] == "whole") == came_late, f"before change {number}"
        kept += not came_late
        place.check()
        if len(seen) < number:
            break
    assert kept > 15


@pytest.mark.long
@pytest.mark.parametrize("ends", [True, False], ids=["who has gone", "who stays"])
def test_killed_after_somebody_has_opened_the_log(disk: Path, ends: bool) -> None:
    """He comes right before the cut; then killed at any point of the undoing and of the second copy."""
    rehearsed = Place(disk / "rehearsed", followed=False)
    rehearsed.write(500)
    cut = interfere.operations(rehearsed.rotator("a").run).index("overwrite") + 1
    for nth, place in enumerate(places(disk, followed=False), cut):
        place.write(500)

        def one(number: int, _: str, place: Place = place, nth: int = nth) -> None:
            if number == cut:
                place.followers.append(place.log.open("rb"))
            if number == nth:
                os.kill(os.getpid(), signal.SIGKILL)

        def run(place: Place = place, one: Any = one) -> None:
            with interfere.before_each(one):
                place.rotator("a").run()

        reached = _dies(run)
        if not ends:
            place.followers.append(place.log.open("rb"))
        place.write(3)
        for _ in range(2):
            assert place.rotator("a").run().exit_code == 0
        where = f"killed before {nth}: {os.listdir(place.logs)}"
        assert b"\0" not in oracle.joined(place.logs, "app.log"), where
        place.check()
        if not reached:
            break
    assert nth > cut + 20


def _dies(run: Callable[[], object]) -> bool:
    """Does the run, in a fork, kill itself?"""
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


# ---------------------------------------------------------------- killed


@both
def test_equal_lines_after_a_truncation_stay(memory: Path, followed: bool) -> None:
    """Killed at any point, then the writer writes the very same lines again: none is lost, none is doubled."""
    wrong = []
    for nth, place in every_kill(memory, lambda place: place.beat(1000), followed, accept_loss=True):
        place.beat(1000)
        for _ in range(2):
            assert place.rotator("a", accept_loss=True).run().exit_code == 0
        if place.beats() != place.written:
            wrong.append(f"killed before {nth}: {place.beats()} of {place.written}")
    assert not wrong


@both
def test_equal_lines_after_a_collapse_stay(disk: Path, followed: bool) -> None:
    """The same where the log is cut without loss."""
    wrong = []
    for nth, place in every_kill(disk, lambda place: place.beat(1000), followed):
        place.beat(1000)
        for _ in range(2):
            assert place.rotator("a").run().exit_code == 0
        if place.beats() != place.written:
            wrong.append(f"killed before {nth}: {place.beats()} of {place.written}")
    assert not wrong


@pytest.mark.long
@both
@pytest.mark.parametrize(
    "keys",
    [{}, {"compress": "gzip"}, {"archive_dir": "old"}, {"naming": "dated"}, {"archive_dir": "old", "compress": "none"}],
    ids=str,
)
def test_a_copy_that_another_configuration_has_moved_is_cut_off(
    disk: Path, keys: dict[str, Any], followed: bool
) -> None:
    """Killed at any point; another configuration compresses or moves the copy; the next run still knows it."""
    for nth, place in every_kill(disk, lambda place: place.write(200), followed, **keys):
        assert place.rotator("b", **{**keys, "max_size": "100MB"}).run().exit_code == 0
        place.write(3)
        for _ in range(2):
            assert place.rotator("a", **keys).run().exit_code == 0
        tally = oracle.count_joined([place.logs, place.logs / "old"], "app.log", {"w1": place.written})
        assert tally.clean, f"killed before {nth}: {os.listdir(place.logs)} {tally}"


def test_a_truncated_logs_copy_that_was_moved_costs_no_line(memory: Path) -> None:
    """Only a plain copy takes the rest of the log: after any kill, what was compressed leaves the log as it is."""
    keys = {"accept_loss": True}
    for nth, place in every_kill(memory, lambda place: place.write(200), **keys):
        assert place.rotator("b", **keys, max_size="100MB").run().exit_code == 0
        place.write(3)
        for _ in range(2):
            assert place.rotator("a", **keys).run().exit_code == 0
        tally = oracle.count_joined(place.logs, "app.log", {"w1": place.written})
        assert not tally.lost and not tally.torn, f"killed before {nth}: {os.listdir(place.logs)} {tally}"


def test_a_copy_that_retention_has_taken_is_not_mistaken(disk: Path) -> None:
    """An older archive of the same bytes is not the copy: the log stays as it is, and nothing is lost."""
    rehearsed, place = Place(disk / "rehearsed"), Place(disk / "played")
    for each in (rehearsed, place):
        each.beat(1024)
        assert each.rotator("a").run().rotated == 1
        each.beat(768)
    marked = interfere.operations(rehearsed.rotator("a").run).index("punch") + 1
    assert interfere.killed(marked, place.rotator("a").run)
    (place.logs / "app.log.1").unlink()  # as another configuration's retention would
    assert place.rotator("a").run().exit_code == 0
    assert place.beats() == place.written


# ---------------------------------------------------------------- the record is lost


def marked(place: Place, *, lost: bool = True, **keys: Any) -> None:
    """Killed right before the collapse; then the history is ``lost``, for it is damaged."""
    rehearsed = Place(place.folder / "rehearsed")
    rehearsed.write(place.written)
    collapse = interfere.operations(rehearsed.rotator("a", **keys).run).index("punch") + 4
    assert interfere.killed(collapse, place.rotator("a", **keys).run)
    if lost:
        (place.folder / "state-a" / "history.sqlite").write_text("damaged")
    assert place.log.read_bytes()[:1] == b"\0"


@pytest.mark.parametrize("keys", [{}, {"compress": "gzip"}, {"archive_dir": "old"}, {"naming": "dated"}], ids=str)
def test_a_marked_log_without_its_record_is_known_by_its_copy(disk: Path, keys: dict[str, Any]) -> None:
    """The history is lost between the mark and the cut: what the copy holds is cut off all the same."""
    place = Place(disk)
    place.write(500)
    marked(place, **keys)
    place.write(300)
    for _ in range(2):
        assert place.rotator("a", **keys).run().exit_code == 0
    place.check()


def test_a_marked_log_is_known_by_a_copy_that_was_compressed(disk: Path) -> None:
    """Another configuration has compressed it meanwhile."""
    place = Place(disk)
    place.write(500)
    marked(place)
    assert place.rotator("b", max_size="100MB", compress="gzip").run().exit_code == 0
    assert (place.logs / "app.log.1.gz").exists()
    assert place.rotator("a", max_size="1K").run().exit_code == 0
    place.check()


def test_a_mark_is_known_to_every_configuration(disk: Path) -> None:
    """The record is on the copy: also another one, which has rotated the log before, goes by it."""
    place = Place(disk)
    place.write(500)
    assert place.rotator("b").run().rotated == 1
    place.write(500)
    marked(place, lost=False)
    for which in "bab":
        assert place.rotator(which).run().exit_code == 0
        place.check()


@pytest.mark.parametrize("spoilt", ["no copy", "other bytes", "a piece of a block", "one block"])
def test_a_hole_that_no_copy_explains_is_left(disk: Path, spoilt: str) -> None:
    """Only a mark before the very bytes of slot 1 is cut; the message says what else it may be, and what to do."""
    place = Place(disk)
    place.write(500)
    marked(place)
    copy = place.logs / "app.log.1"
    whole = copy.read_bytes()
    data = {
        "no copy": b"", "other bytes": whole[:-1] + b"?", "a piece of a block": whole[:-1], "one block": whole[:4096]
    }[spoilt]  # fmt: skip
    copy.write_bytes(data) if data else copy.unlink()
    before = place.log.read_bytes()
    for which in "ab":
        (failed,) = place.rotator(which).run().failed
        assert "starts with a hole" in failed.reason and "fallocate -c -o 0 -l " in failed.reason
        assert place.log.read_bytes() == before


@both
def test_a_finished_copy_says_so(disk: Path, followed: bool) -> None:
    """Also what is made of it; so a hole that somebody else leaves in the log later is nobody's mark."""
    place = Place(disk, followed)
    place.write(500)
    assert place.rotator("a", compress="none").run().rotated == 1
    assert os.getxattr(place.logs / "app.log.1", "user.logrotor.cut") == b"cut"
    assert place.rotator("b", compress="gzip", max_size="1GB").run().exit_code == 0
    assert os.getxattr(place.logs / "app.log.1.gz", "user.logrotor.cut") == b"cut"


# ---------------------------------------------------------------- a log that is cut by somebody else


@both
@pytest.mark.parametrize("count", [100, 700], ids=["shorter", "longer"])
def test_emptied_while_it_is_copied(disk: Path, count: int, followed: bool) -> None:
    """As `> app.log` does it, or a program that starts anew: each line that comes then stands once, and no NUL byte."""
    for number, place in enumerate(places(disk, followed), 1):
        place.beat(1000)

        seen: list[str] = []

        def meanwhile(nth: int, operation: str, place: Place = place, number: int = number, seen: Any = seen) -> None:
            seen.append(operation)
            if nth == number and operation not in (
                "punch",
                "collapse",
                "overwrite",
            ):  # the instants that the README names
                os.truncate(place.log, 0)
                place.write(count)

        with interfere.before_each(meanwhile):
            report = place.rotator("a").run()
        place.rotator("a").run()
        joined = oracle.joined(place.logs, "app.log")
        new = oracle.lines("w1", 1001, place.written).splitlines()
        where = f"before change {number}, {seen[number - 1 :][:1]}: {os.listdir(place.logs)}"
        assert report.exit_code == 0 and b"\0" not in joined, where
        assert [joined.count(line) for line in new] == [1] * len(new), where
        if len(seen) < number:
            break
    assert number > 15


@both
def test_the_end_is_cut_off_while_it_is_copied(disk: Path, followed: bool) -> None:
    """The log still has its first lines: they stand in no copy, whenever before the mark it lost its end."""
    kept = oracle.lines("w1", 1, 75)
    for number, place in enumerate(places(disk, followed), 1):
        place.write(500)

        def shorten(place: Place = place) -> None:
            os.truncate(place.log, len(kept))

        with interfere.before(number, shorten) as seen:
            assert place.rotator("a").run().exit_code == 0
        if {"punch", "overwrite"} & {*seen[:number]}:
            break
        assert place.rotator("a").run().exit_code == 0
        assert oracle.joined(place.logs, "app.log") == kept, f"before change {number}: {os.listdir(place.logs)}"
    assert number > 8


# ---------------------------------------------------------------- a log that cannot be cut


@contextmanager
def uncut(place: Place, *operations: str) -> Iterator[None]:
    """These fail for the log, as they do for a block-mapped or an append-only file; for a temp of ours they work."""
    real, code = calls.invoke, errno.EOPNOTSUPP

    def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if operation in operations and os.path.samestat(os.fstat(args[0]), os.stat(place.log)):
            raise OSError(code, os.strerror(code))
        return real(operation, function, *args, **kwargs)

    calls.invoke = invoke
    try:
        yield
    finally:
        calls.invoke = real


@pytest.mark.parametrize("operations", [("punch",), ("collapse",), ("punch", "collapse")], ids=str)
def test_a_log_that_refuses_the_cut_is_left_whole(disk: Path, operations: tuple[str, ...]) -> None:
    """Found out only after the copy was published: the log is whole, no copy stays, and the message says what to do."""
    place = Place(disk)
    place.write(500)
    whole = place.log.read_bytes()
    for _ in range(2):
        with uncut(place, *operations):
            (failed,) = place.rotator("a").run().failed
        assert "cannot be cut" in failed.reason and "rename" in failed.reason and str(place.log) in failed.reason
        assert place.log.read_bytes() == whole
        assert os.listdir(place.logs / "old") == [] and sorted(os.listdir(place.logs)) == ["app.log", "old"]
    assert place.rotator("a", method="rename", compress="gzip").run().exit_code == 0
    place.check()


@pytest.mark.long
@pytest.mark.parametrize("keys", [{}, {"compress": "gzip"}], ids=str)
def test_killed_while_the_copy_is_taken_back(disk: Path, keys: dict[str, Any]) -> None:
    """Killed at any point of a cut that is refused: after the next run each line stands once, and nothing is hidden."""
    for nth, place in enumerate(places(disk), 1):
        place.write(500)
        with uncut(place, "collapse"):
            reached = interfere.killed(nth, place.rotator("a", **keys).run)
            failed = place.rotator("b", **{**keys, "max_size": "100MB"}).run().failed  # met, and refused it as well
            assert all("cannot be cut" in outcome.reason for outcome in failed)
            place.write(3)
            place.rotator("a", **keys).run()
            tally = oracle.count_joined([place.logs], "app.log", {"w1": place.written})
            assert tally.clean, f"killed before {nth}: {os.listdir(place.logs)} {tally}"
        assert place.rotator("a", **keys).run().exit_code == 0
        place.check()
        if not reached:
            break
    assert nth > 20


@contextmanager
def attribute(place: Place, change: str, back: str) -> Iterator[None]:
    """The log with an attribute set or cleared."""
    with place.log.open("rb") as file:  # a block map is made of blocks that are on the disk
        os.fsync(file.fileno())
    done = subprocess.run(["chattr", change, place.log], capture_output=True, text=True, check=False)
    need(done.returncode == 0, f"chattr: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", back, place.log], check=True)


@pytest.mark.parametrize("keys", [{}, {"accept_loss": True}], ids=str)
def test_an_append_only_log_is_refused_before_it_is_copied(disk: Path, keys: dict[str, Any]) -> None:
    """chattr +a forbids every cut, the lossy one too: nothing is published, and the message says what to do."""
    place = Place(disk)
    place.write(500)
    with attribute(place, "+a", "-a"):
        with interfere.before(0, lambda: None) as seen:
            (failed,) = place.rotator("a", **keys).run().failed
        assert "rename" not in seen and str(place.log) in failed.reason and "chattr -a" in failed.reason
    assert place.rotator("a", **keys).run().exit_code == 0
    place.check()


def test_a_block_mapped_log_is_refused_before_it_is_copied(disk: Path) -> None:
    """As ext3 left it: its file system collapses ranges, but none of this file; chattr +e gives it extents."""
    place = Place(disk)
    place.write(500)
    with attribute(place, "-e", "+e"):
        with interfere.before(0, lambda: None) as seen:
            (failed,) = place.rotator("a").run().failed
        assert "rename" not in seen and "chattr +e" in failed.reason
    assert place.rotator("a").run().exit_code == 0
    place.check()
