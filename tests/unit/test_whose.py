"""Whose a file is whose name reads as an archive's: the table of decisions, without a disk."""

from __future__ import annotations

import pytest

from logrotor.decide.naming import is_packed, rotated_from
from logrotor.decide.whose import Named, Whose, judge, last_in_row, was_taken
from logrotor.model import LogHistory
from tests.support.facts import DAY, NOW, archive

ROTATED = LogHistory(last_rotation=NOW.timestamp(), begun=True)
BEGUN = LogHistory(begun=True)
NEW = LogHistory()
NOT, MATCHED, LITERALLY = Named
OLD, YOUNG = {"age": DAY}, {"age": -DAY}


@pytest.mark.parametrize(
    ("name", "age", "said", "there", "log", "last_slot", "whose", "asked"),
    [
        # by its name, where its log is there
        ("app.log.1", OLD, NOT, True, NEW, 0, Whose.ARCHIVE, False),
        ("app.log.9999", OLD, NOT, True, NEW, 0, Whose.ARCHIVE, False),
        ("app.log.10000", OLD, NOT, True, NEW, 0, Whose.OTHER, True),
        ("app.log.20261030", OLD, NOT, True, ROTATED, 3, Whose.OTHER, True),
        ("app.log-20261121T070000Z", OLD, NOT, True, NEW, 0, Whose.ARCHIVE, False),
        # by its name, where a run was killed before it had made a new log
        ("app.log.1", OLD, NOT, False, BEGUN, 0, Whose.ARCHIVE, False),
        ("app.log.1", OLD, NOT, False, NEW, 0, Whose.OTHER, True),
        # by the history
        ("app.log.2", OLD, MATCHED, True, ROTATED, 2, Whose.ARCHIVE, False),
        ("app.log.1", YOUNG, MATCHED, True, ROTATED, 2, Whose.ARCHIVE, False),
        ("app.log.2", YOUNG, MATCHED, True, ROTATED, 2, Whose.UNCLEAR, True),
        ("app.log.5", OLD, MATCHED, True, ROTATED, 2, Whose.UNCLEAR, True),
        ("app.log.10001", OLD, MATCHED, True, ROTATED, 10_002, Whose.ARCHIVE, False),
        ("app.log-20261119T070000Z", OLD, MATCHED, True, ROTATED, 0, Whose.ARCHIVE, False),
        # paths match it
        ("app.log.1", OLD, MATCHED, True, NEW, 1, Whose.UNCLEAR, True),
        ("app.log.1", OLD, MATCHED, False, NEW, 1, Whose.LOG, True),
        ("app.log.1", OLD, LITERALLY, True, ROTATED, 1, Whose.LOG, True),
        ("app.log.1", OLD, LITERALLY, False, NEW, 1, Whose.LOG, True),
    ],
)
def test_whose_it_is(
    name: str, age: dict[str, float], said: Named, there: bool, log: LogHistory, last_slot: int, whose: Whose,
    asked: bool,
) -> None:  # fmt: skip
    """The mark is asked for only where name and history do not tell; with it, the file is an archive."""
    for marked in (False, True):
        looks: list[bool] = []

        def look(marked: bool = marked, looks: list[bool] = looks) -> bool:
            looks.append(marked)
            return marked

        known = {"own": NEW, "log": log, "last_slot": last_slot, "marked": look}
        found = judge(archive(name, **age), said, is_there=there, **known)
        assert found is (Whose.ARCHIVE if marked and asked else whose) and bool(looks) == asked


def test_what_was_rotated_as_a_log_is_one() -> None:
    found = archive("log.10.0.0.7")
    assert judge(found, MATCHED, is_there=True, own=ROTATED, log=ROTATED, last_slot=9, marked=lambda: True) is Whose.LOG


def test_what_was_unclear_once_is_no_archive_by_history() -> None:
    """As long as it is the same file."""
    found = archive("app.log.1")
    for inode, whose in ((found.entry.id.inode, Whose.UNCLEAR), (1, Whose.ARCHIVE)):
        own = LogHistory(unclear=inode)
        assert judge(found, MATCHED, is_there=True, own=own, log=ROTATED, last_slot=1, marked=lambda: False) is whose


@pytest.mark.parametrize(
    ("old", "new", "lock", "taken"),
    [
        (100, 210, 200, True), (100, 200, 200, True), (100, 259, 200, True),
        (100, 150, 200, False), (200, 210, 200, False), (205, 210, 200, False), (100, 261, 200, False),
        (None, 210, 200, False), (100, None, 200, False), (100, 210, None, False),
    ],
)  # fmt: skip
def test_taken_by_a_run_that_was_killed(old: float | None, new: float | None, lock: float | None, taken: bool) -> None:
    """The archive is older than the lock, the log was made in the minute after it; nobody knows without all three."""
    assert was_taken(old, new, lock) is taken


@pytest.mark.parametrize(
    ("slots", "last"),
    [((), 0), ((1,), 1), ((2,), 2), ((3,), 0), ((1, 2, 3), 3), ((1, 3), 3), ((1, 3, 5), 3), ((2, 3, 9), 3)],
)  # fmt: skip
def test_a_row_of_slots(slots: tuple[int, ...], last: int) -> None:
    """From 1 on, with one gap that a crash may have left; dates do not count."""
    found = [archive(f"app.log.{slot}") for slot in slots]
    assert last_in_row([*found, archive("app.log-20261121T070000Z")]) == last


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("app.log.001", "app.log"), ("app.log.20261030", "app.log"), ("app.log-20261030", "app.log"),
        ("app.log-2026-10-30", "app.log"), ("app.log_2026-10-30_12", "app.log"),
        ("app.log.2026-10-30T12:00:00", "app.log"),
        ("app-2026-10-30.log", None), ("worker-1", None), ("app.log-20261330", None), ("20261030", None),
    ],
)  # fmt: skip
def test_other_rotators_names(name: str, base: str | None) -> None:
    assert rotated_from(name) == base


def test_packed_names() -> None:
    packed = ["app.log.gz", "app.log.1.Z", "app.log.gpg", "app.log-20261030.xz", "app.tgz"]
    assert [name for name in [*packed, "app.log", "app.log.1", "gz"] if is_packed(name)] == packed
