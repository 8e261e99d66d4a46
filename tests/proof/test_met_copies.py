"""A copytruncate that was killed, met by another configuration before its own next run comes.

Nothing but the files tells the other one of it: its state directory is another. Killed at each changing call, whatever
the other one does then, and whoever comes next: each line stands once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proof import interfere
from tests.proof.test_copies import Place, disk, every_kill
from tests.support import mounts, users
from tests.support.fixtures import world_tree
from tests.support.need import need

__all__ = ["disk"]

OTHERS: dict[str, dict[str, Any]] = {
    "cuts": {"compress": "none"},
    "cuts and compresses": {"compress": "gzip"},
    "cuts and moves": {"archive_dir": "old"},
    "cuts and dates": {"naming": "dated", "compress": "none"},
    "renames": {"method": "rename", "compress": "none"},
    "renames and compresses": {"method": "rename", "compress": "gzip"},
    "renames and moves": {"method": "rename", "archive_dir": "old"},
    "renames and dates": {"method": "rename", "naming": "dated"},
}
ORDERS = ["ba", "bba", "bcab"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("followed", [True, False], ids=["followed", "alone"])
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("beats", [False, True], ids=["lines", "beats"])
def test_killed_and_met_by_another_configuration(
    disk: Path, beats: bool, other: str, followed: bool, order: str
) -> None:
    """Killed before any change; the log grows, the other configurations come first: no line is lost or doubled."""
    keys = {"a": {"compress": "none"}, "b": OTHERS[other], "c": {"compress": "zstd"}}
    wrong = []

    def write(place: Place, count: int) -> None:
        (place.beat if beats else place.write)(count)

    sample = 4, len(other) + len(order) + followed
    for nth, place in every_kill(disk, lambda place: write(place, 600), followed, sample, **keys["a"]):
        write(place, 600)
        said = []
        for which in order:
            report = place.rotator(which, **keys[which]).run()
            said += [f"{which}: {outcome.action}: {outcome.reason}" for outcome in report.failed]
            write(place, 3)
        fault = _fault(place, beats)
        if said or fault:
            wrong.append(f"killed before {nth}: {fault} {said} {sorted(os.listdir(place.logs))}")
    assert not wrong, f"{len(wrong)} points: " + "\n".join(wrong)


def _fault(place: Place, beats: bool) -> str:
    if beats:
        return "" if place.beats() == place.written else f"{place.beats()} of {place.written} beats"
    tally = place.tally()
    return "" if tally.clean else f"{tally}"


# ---------------------------------------------------------------- what cannot be known, or not be changed


@pytest.mark.parametrize("other", ["cuts", "renames", "renames and compresses"])
@pytest.mark.parametrize("followed", [True, False], ids=["followed", "alone"])
def test_where_nothing_can_be_noted_it_is_left_and_said(tmp_path: Path, other: str, followed: bool) -> None:
    """Without attributes the bytes alone speak: the log is left alone until the first configuration has cut it."""
    left, wrong = 0, []
    with mounts.ramfs(tmp_path) as folder:
        keys = {"a": {"compress": "none"}, "b": OTHERS[other]}
        for each in keys.values():
            each |= {"accept_loss": True} if "method" not in each else {}
        for nth, place in every_kill(folder, lambda place: place.write(600), followed, **keys["a"]):
            place.write(3)
            report = place.rotator("b", **keys["b"]).run()
            left += any("begins with" in outcome.reason for outcome in report.failed)
            place.write(3)
            reports = [place.rotator(which, **keys[which]).run() for which in "aba"]
            if any(each.failed for each in reports) or not place.tally().clean:
                wrong.append(f"killed before {nth}: {place.tally()} {[each.failed for each in reports]}")
    assert left and not wrong, f"{left} left, {len(wrong)} wrong: " + "\n".join(wrong)


def test_repeated_lines_are_rotated_where_nothing_can_be_noted(tmp_path: Path) -> None:
    """What a run of the configuration itself has made is known to it: equal bytes leave nothing in doubt."""
    with mounts.ramfs(tmp_path) as folder:
        place = Place(folder / "one")
        for rotated in range(1, 4):
            place.beat(600 * rotated)
            assert place.rotator("a", accept_loss=True, compress="none").run().rotated == 1
            assert place.beats() == place.written


@pytest.mark.parametrize("note", [b"later", b"[" * 3000, b'[1, 2.0, 3, 4, "pasted", "collapse", 5, 6]'], ids=["later", "deep", "pasted"])
def test_a_note_of_a_logrotor_to_come_is_respected(disk: Path, note: bytes) -> None:
    """What is not understood is not undone: the log is left as it is, and why is said."""
    place = Place(disk)
    place.write(500)
    assert place.rotator("a", compress="none").run().rotated == 1
    os.setxattr(place.logs / "app.log.1", "user.logrotor.cut", note)
    place.write(500)
    for other in ("copytruncate", "rename"):
        (refused,) = place.rotator("b", compress="none", method=other).plan().logs
        assert refused.refused is not None and refused.refused.subject == str(place.logs / "app.log.1")
    os.setxattr(place.logs / "app.log.1", "user.logrotor.cut", b"cut")
    assert place.rotator("b", compress="none").run().rotated == 1
    place.check()


def test_what_a_stranger_leaves_is_not_believed(shared: Path) -> None:
    """Who may make files beside a log could have it cut by one that he takes away."""
    place = Place(shared)
    place.write(600)
    rehearsed = Place(shared / "rehearsed")
    rehearsed.write(600)
    copied = interfere.operations(rehearsed.rotator("a", compress="none").run).index("punch") + 1
    assert interfere.killed(copied, place.rotator("a", compress="none").run)
    os.chown(place.logs / "app.log.1", 12345, -1)
    before = place.log.read_bytes()
    (plan,) = place.rotator("b", compress="none").plan().logs
    assert plan.refused is not None and plan.refused.subject == str(place.logs / "app.log.1")
    for which in "ba":
        assert place.rotator(which, compress="none").run().failed
        assert place.log.read_bytes() == before
    os.chown(place.logs / "app.log.1", 0, -1)
    assert place.rotator("b", compress="none").run().exit_code == 0
    place.check()


@pytest.fixture
def shared(disk: Path) -> Iterator[Path]:
    """A folder that others can reach, on a file system that collapses ranges."""
    disk.chmod(0o755)
    with world_tree() as folder:
        need(mounts.collapses(folder), "a file system that collapses ranges")
        yield folder


@pytest.mark.parametrize("mode", [0o644, 0o600], ids=["the log is not his", "the copy is closed to him"])
def test_who_may_not_finish_it_leaves_it_alone(shared: Path, mode: int) -> None:
    """Another user, who may rename the log but not cut it, or not read its copy: it is said, and left as it was."""
    nobody = users.user("nobody")
    rehearsed, place = Place(shared / "rehearsed"), Place(shared / "played")
    for each in (rehearsed, place):
        each.write(600)
    collapse = interfere.operations(rehearsed.rotator("a", compress="none").run).index("punch") + 1
    os.chown(place.logs, -1, nobody.gid)
    place.logs.chmod(0o775)
    assert interfere.killed(collapse, place.rotator("a", compress="none").run)
    (place.logs / ".logrotor.lock").unlink()  # as he is told at first: no run of the other user is at work
    (place.logs / "app.log.1").chmod(mode)
    before = {path.name: path.read_bytes() for path in place.logs.iterdir() if path.is_file()}

    def run() -> list[str]:
        keys = {"method": "rename", "compress": "none", "create": False}
        state = place.folder / "state-b"
        rule = {"name": "app", "paths": [str(place.log)], "max_size": 8000, **keys}
        return [outcome.reason for outcome in interfere.rotator(state, rule).run().failed]

    (place.folder / "state-b").mkdir()
    os.chown(place.folder / "state-b", nobody.uid, nobody.gid)
    (reason,) = users.as_user("nobody", run)
    assert "left alone" in reason or "cannot be read" in reason, reason
    assert {path.name: path.read_bytes() for path in place.logs.iterdir() if path.is_file()} == before
    assert place.rotator("a", compress="none").run().exit_code == 0
    place.check()
