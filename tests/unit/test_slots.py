"""The order of generations, and moves that overwrite nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logrotor.decide.naming import format_archive, stamp_of
from logrotor.decide.slots import make_way, moved, newest_first, time_of
from logrotor.model import Archive, ArchiveName, Codec, Entry
from tests.support.facts import DAY, HERE, NOW, archive, entry

SOMEWHERE = st.sampled_from([HERE, "/store"])


@st.composite
def rows(draw: st.DrawFn) -> list[Archive]:
    """Archives of one log as crashes and settings leave them: holes, shared slots, two directories, both namings."""
    names = st.one_of(
        st.builds(ArchiveName, st.just("app.log"), st.integers(1, 12), codec=st.sampled_from(list(Codec))),
        st.builds(
            ArchiveName,
            st.just("app.log"),
            stamp=st.integers(0, 30).map(lambda day: stamp_of(NOW.timestamp() - day * DAY)),
            copy=st.integers(0, 3),
            codec=st.sampled_from([Codec.NONE, Codec.ZSTD]),
        ),
    )
    found = draw(st.lists(st.tuples(names, SOMEWHERE, st.floats(0, 40 * DAY)), max_size=14, unique_by=lambda t: t[:2]))
    return [Archive(name, entry(format_archive(name), age=age), where) for name, where, age in found]


def slots(archives: list[Archive]) -> list[int]:
    return sorted(a.name.slot for a in archives if a.name.slot is not None)


@given(rows(), st.integers(1, 2))
def test_moves_overwrite_nothing(found: list[Archive], first: int) -> None:
    """Carried out one by one, in their order, no move meets a name that is taken."""
    names = {(a.directory, a.entry.name) for a in found}
    for source, move in make_way(found, first):
        assert (source.directory, source.entry.name, source.entry.id) == (move.directory, move.source, move.id)
        assert (move.directory, move.source) in names
        assert (move.directory, move.target) not in names
        names.remove((move.directory, move.source))
        names.add((move.directory, move.target))
    assert names == {(a.directory, a.entry.name) for a in moved(found, make_way(found, first))}


@given(rows(), st.integers(1, 2))
def test_moves_keep_the_order(found: list[Archive], first: int) -> None:
    """The generations stand in the same order before and after, as far as their slots say it."""

    def order(archives: list[Archive]) -> list[int]:
        return [
            a.entry.id.inode for a in newest_first((a for a in archives if a.name.slot is not None), NOW.timestamp())
        ]

    after = moved(found, make_way(found, first))
    assert order(after) == order(found)
    assert slots(after) == sorted(set(slots(after))), "each has a slot of its own"
    assert not slots(after) or slots(after)[0] >= first
    assert make_way(after, first) == []


@given(rows(), st.integers(1, 2))
def test_moves_go_up_and_only_to_the_first_gap(found: list[Archive], first: int) -> None:
    """Nothing moves down, nothing beyond the first free slot moves, and codec and directory stay as they are."""
    moves = make_way(found, first)
    taken = set(slots(found))
    for source, move in moves:
        target = next(a for a in moved(found, moves) if a.entry.id == source.entry.id)
        assert target.entry.name == move.target
        assert (target.name.codec, target.directory, target.name.base) == (
            source.name.codec, source.directory, source.name.base
        )  # fmt: skip
        assert source.name.slot is not None and target.name.slot is not None
        assert source.name.slot < target.name.slot
    if slots(found) == sorted(taken) and 1 in taken:  # no shared slots: a take pushes until a hole swallows it
        gap = next(n for n in range(1, 99) if n not in taken)
        assert all(source.name.slot < gap for source, _ in make_way(found, 2) if source.name.slot)


@given(rows())
def test_newest_first_loses_nothing(found: list[Archive]) -> None:
    """Every archive stands in the row once; slots rise in each directory, in all if no two share one; stamps fall."""
    row = newest_first(found, NOW.timestamp())
    assert sorted(a.path for a in row) == sorted(a.path for a in found)
    numbered = [(a.directory, a.name.slot) for a in row if a.name.slot is not None]
    dated = [a.name.stamp for a in row if a.name.stamp is not None]
    assert dated == sorted(dated, reverse=True)
    one_row = len({slot for _, slot in numbered}) == len(set(numbered))
    for place in [None] if one_row else {place for place, _ in numbered}:
        slots = [slot for where, slot in numbered if place in (None, where)]
        assert slots == sorted(slots)


def test_rows_that_were_numbered_alone_are_merged_by_time() -> None:
    """Where an archive directory was out of reach for a while, all that was rotated meanwhile is newer."""
    old = [archive(f"app.log.{n}.zst", age=(9 + n) * DAY, directory="/store") for n in (1, 2)]
    new = [archive(f"app.log.{n}", age=n * DAY) for n in (1, 2, 3)]
    assert newest_first([*old, *new], NOW.timestamp()) == [*new, *old]
    moves = [(a.path, m.target) for a, m in make_way([*old, *new], 1)]
    assert moves == [("/store/app.log.2.zst", "app.log.5.zst"), ("/store/app.log.1.zst", "app.log.4.zst")]


def test_in_one_slot_the_plain_one_is_newer() -> None:
    """app.log.1 beside app.log.1.zst: the compressed one is the older generation, and it moves."""
    older, newer = archive("app.log.1.zst", age=0), archive("app.log.1", age=5 * DAY)
    assert newest_first([older, newer], NOW.timestamp()) == [newer, older]
    assert [(a, m.target) for a, m in make_way([older, newer], 1)] == [(older, "app.log.2.zst")]


@pytest.mark.parametrize(
    ("slots", "moves"),
    [([1, 2, 3], {3: 4, 2: 3, 1: 2}), ([1, 2, 4], {2: 3, 1: 2}), ([5], {})],
    ids=["a full chain", "a hole swallows the shift", "slot 1 is free"],
)
def test_a_shift_goes_to_the_first_hole(slots: list[int], moves: dict[int, int]) -> None:
    """Highest first, each by one; what lies beyond a hole stays where it is."""
    found = make_way([archive(f"app.log.{n}") for n in slots], 2)
    assert [(m.source, m.target) for _, m in found] == [(f"app.log.{a}", f"app.log.{b}") for a, b in moves.items()]


def test_slots_count_over_both_directories() -> None:
    """An archive here makes the ones in the archive directory move too, each in its own directory."""
    here, there = archive("app.log.1"), archive("app.log.2.zst", directory="/store")
    moves = make_way([here, there], 2)
    assert [(m.directory, m.target) for _, m in moves] == [("/store", "app.log.3.zst"), (HERE, "app.log.2")]


@pytest.mark.parametrize(
    ("copy", "written", "moment"), [("", 0.7, 0.7), ("", 5.0, 0.0), ("-1.zst", -DAY, -DAY), (".zst", -DAY, 0.0)]
)
def test_the_time_of_a_dated_archive(copy: str, written: float, moment: float) -> None:
    """Its stamp, and within that second its last write; a copy may have the date of the archive before.

    One that is no copy and was written at another time was touched by somebody: its stamp counts.
    """
    second = float(int(NOW.timestamp()))
    found = archive(f"app.log-{stamp_of(second)}{copy}", age=-written)
    assert time_of(found) == pytest.approx(second + moment, abs=0.001)


def test_copies_of_one_second_are_in_the_order_of_their_number() -> None:
    """-2 is newer than -1, and -10 than -9."""
    stem = f"app.log-{stamp_of(0)}"
    names = [stem, f"{stem}-1", f"{stem}-9", f"{stem}-10"]
    assert [a.entry.name for a in newest_first((archive(n) for n in names), NOW.timestamp())] == names[::-1]


def test_moved_archives_are_the_same_files() -> None:
    """A rename changes the name and nothing else."""
    one = archive("app.log.1", 77)
    (after,) = moved([one], make_way([one], 2))
    assert after.entry == Entry("app.log.2", one.entry.stat) and after.name.slot == 2


def test_slot_1_is_newer_than_any_date() -> None:
    """A log that was just taken is the newest, also where the clock was ahead, or an older one was written later."""
    ahead = stamp_of(NOW.timestamp() + 9 * DAY)
    names = ["app.log.1", f"app.log-{ahead}.zst", "app.log.2.zst"]  # app.log.2.zst is older by the clock
    found = newest_first([archive(n, age=2 * DAY) for n in names[::-1]], NOW.timestamp() + 10 * DAY)
    assert [a.entry.name for a in found] == names


def test_a_date_to_come_is_older_than_any_slot() -> None:
    """An archive that still waits for its writer was taken after the clock was set right; by slot 1 or not."""
    ahead = archive(f"app.log-{stamp_of(NOW.timestamp() + 9 * DAY)}.zst", age=-9 * DAY)
    waiting = archive("app.log.2", age=2 * DAY)
    assert newest_first([ahead, waiting], NOW.timestamp()) == [waiting, ahead]
    assert newest_first([ahead, waiting], NOW.timestamp() + 10 * DAY) == [ahead, waiting]
