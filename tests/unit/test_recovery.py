"""Any debris of an interrupted run is a normal input: it is finished or dropped, and no line goes with it."""

from __future__ import annotations

import pytest

from logrotor.decide.facts import LogFacts
from logrotor.decide.recovery import recover
from logrotor.model import (
    CopyInFlight,
    CreateLive,
    DropAlias,
    DropDuplicate,
    DropTemp,
    Entry,
    FinishCopytruncate,
    FinishTake,
    LogHistory,
    Method,
    Nobody,
    PutBack,
    Shift,
    Step,
    Unknown,
    Writers,
    Written,
)
from tests.support.facts import HERE, OTHER_DEVICE, directory, entry, facts, spec, system


def steps(known: LogFacts) -> list[Step]:
    return recover(known, 0.0).steps


def names(known: LogFacts) -> list[str]:
    return sorted(archive.entry.name for archive in recover(known, 0.0).archives)


def linked(*found: str, size: int = 100, inode: int = 7) -> list[Entry]:
    """Several names of one file."""
    return [entry(name, size, inode=inode, nlink=len(found)) for name in found]


def test_nothing_to_recover() -> None:
    """A log, a replaced one, compressed archives, a hole in the slots: all in order."""
    known = facts(entry("app.log"), entry("app.log.1"), entry("app.log.2.zst"), entry("app.log.5.gz"))
    assert steps(known) == [] and not recover(known, 0.0).took


@pytest.mark.parametrize("name", [".app.log.1.zst.tmp", ".app.log.1.tmp", ".app.log-20261121T070000Z.gz.tmp"])
def test_an_unfinished_archive_is_dropped(name: str) -> None:
    """Its original is still there, and is compressed anew."""
    temp = entry(name)
    known = facts(entry("app.log"), entry("app.log.1"), temp)
    assert steps(known) == [DropTemp(HERE, name, temp.id, "an unfinished archive")]
    assert names(known) == ["app.log.1"]


def test_an_unfinished_archive_in_the_archive_directory() -> None:
    """Wherever it lies."""
    temp = entry(".app.log.1.zst.tmp", device=OTHER_DEVICE)
    store = directory(temp, path="/store", fs=system("tmpfs", device=OTHER_DEVICE))
    assert steps(facts(entry("app.log"), elsewhere=[store])) == [
        DropTemp("/store", temp.name, temp.id, "an unfinished archive")
    ]


# ---------------------------------------------------------------- .app.log.new


def test_an_unused_replacement_is_dropped() -> None:
    """Empty, and surely nobody writes it."""
    new = entry(".app.log.new", 0)
    assert steps(facts(entry("app.log"), new)) == [DropTemp(HERE, ".app.log.new", new.id, "an unused replacement")]


@pytest.mark.parametrize(
    ("size", "writers"),
    [
        (100, Nobody("lease")), (100, Written("lease")), (100, Unknown("no lease")),
        (0, Written("lease", (7,))), (0, Unknown("no lease")),
    ],
)  # fmt: skip
def test_a_taken_log_goes_to_slot_1(size: int, writers: Writers) -> None:
    """With data, or with somebody who may still write to it, it is a log that was taken: the take is finished."""
    new, old = entry(".app.log.new", size), entry("app.log.1")
    known = facts(entry("app.log"), new, old, writers={".app.log.new": writers})
    (step,) = steps(known)
    assert isinstance(step, FinishTake) and (step.base, step.id) == ("app.log", new.id)
    assert [(m.source, m.target, m.id) for m in step.moves] == [("app.log.1", "app.log.2", old.id)]
    assert names(known) == ["app.log.1", "app.log.2"] and recover(known, 0.0).took


def test_a_replacement_that_cannot_be_looked_at_is_kept() -> None:
    """Where it is not even known whether somebody writes it, it is not dropped."""
    known = facts(entry("app.log"), entry(".app.log.new", 0))
    known.writers.clear()  # type: ignore[attr-defined]
    assert isinstance(steps(known)[0], FinishTake)


@pytest.mark.parametrize("size", [0, 100])
def test_a_missing_live_log_is_made_first(size: int) -> None:
    """Killed between rename and create: the log gets a file again before anything else."""
    found = steps(facts(entry(".app.log.new", size)))
    assert isinstance(found[0], CreateLive) and (found[0].mode, found[0].like) == (None, ".app.log.new")
    assert isinstance(found[1], FinishTake if size else DropTemp)


@pytest.mark.parametrize("rule", [spec(create=False), spec(method=Method.COPYTRUNCATE)])
def test_no_live_log_is_made_where_the_rule_makes_none(rule: object) -> None:
    """Without create the writer makes it."""
    assert [type(s) for s in steps(facts(entry(".app.log.new"), rule=rule))] == [FinishTake]  # type: ignore[arg-type]


# ---------------------------------------------------------------- second names


def test_a_log_that_was_about_to_be_taken_by_link() -> None:
    """app.log and app.log.1 are one file: the second name goes, and the log is taken anew."""
    live, slot = linked("app.log", "app.log.1")
    new = entry(".app.log.new", 0)
    known = facts(live, slot, new)
    assert steps(known)[0] == DropAlias(
        HERE, "app.log.1", live.id, "app.log", "an interrupted rename left a second name"
    )
    assert isinstance(steps(known)[1], DropTemp) and names(known) == []


@pytest.mark.parametrize(
    ("gone", "kept"),
    [("app.log.1", "app.log.2"), (".app.log.new", "app.log.1"), ("app.log.1", "app.log-20261121T070000Z")],
    ids=["to the next slot", "a taken log", "to its date"],
)
def test_an_archive_that_was_about_to_be_renamed_by_link(gone: str, kept: str) -> None:
    """Both names are one file: it has arrived, and is not taken for a second generation."""
    known = facts(entry("app.log"), *linked(gone, kept))
    (step,) = steps(known)
    assert isinstance(step, DropAlias) and (step.name, step.kept) == (gone, kept)
    assert names(known) == [kept]


@pytest.mark.parametrize("mode", [0o101600, 0o101664])
def test_a_reserved_name_is_given_back(mode: int) -> None:
    """Empty and marked by its mode, perhaps with the bits of a log: an interrupted rename had kept the name."""
    reserved = entry("app.log.2", 0, mode=mode)
    known = facts(entry("app.log"), entry("app.log.1"), reserved)
    (step,) = steps(known)
    assert isinstance(step, DropTemp) and (step.name, step.id) == ("app.log.2", reserved.id)
    assert names(known) == ["app.log.1"]


@pytest.mark.parametrize(
    ("size", "mode", "writers"),
    [
        (1, 0o101600, Nobody("lease")), (0, 0o100600, Nobody("lease")), (0, 0o100664, Nobody("lease")),
        (0, 0o100755, Nobody("lease")), (0, 0o101664, Written("lease")),
    ],
)  # fmt: skip
def test_other_empty_archives_are_archives(size: int, mode: int, writers: Writers) -> None:
    """A rotated empty log, one that only looks alike, and a log without its mode that somebody renamed and writes."""
    known = facts(entry("app.log"), entry("app.log.1", size, mode=mode), writers={"app.log.1": writers})
    assert steps(known) == [] and names(known) == ["app.log.1"]


# ---------------------------------------------------------------- two files in one slot


def test_equal_twins_are_one_generation() -> None:
    """Killed before the original went: the plain one goes, since the finished one holds the same bytes."""
    plain, packed = entry("app.log.1"), entry("app.log.1.zst", 30)
    known = facts(entry("app.log"), plain, packed, duplicates={f"{HERE}/app.log.1": f"{HERE}/app.log.1.zst"})
    (step,) = steps(known)
    assert isinstance(step, DropDuplicate)
    assert (step.name, step.id, step.twin, step.twin_id) == ("app.log.1", plain.id, "app.log.1.zst", packed.id)
    assert names(known) == ["app.log.1.zst"]


@pytest.mark.parametrize("writers", [Written("lease"), Unknown("nfs")])
def test_a_twin_that_may_be_written_stays(writers: Writers) -> None:
    """The next line would be in it alone: what was made of it goes, and is made again once nobody writes it."""
    plain, packed = entry("app.log.1"), entry("app.log.1.zst")
    equal = {f"{HERE}/app.log.1": f"{HERE}/app.log.1.zst"}
    known = facts(entry("app.log"), plain, packed, duplicates=equal, writers={"app.log.1": writers})
    (step,) = steps(known)
    assert isinstance(step, DropDuplicate) and (step.id, step.twin_id) == (packed.id, plain.id)
    assert names(known) == ["app.log.1"]


def test_unequal_twins_are_two_generations() -> None:
    """Both stay; the plain one is newer, the other moves up."""
    known = facts(entry("app.log"), entry("app.log.1"), entry("app.log.1.zst"), entry("app.log.2.zst"))
    (step,) = steps(known)
    assert isinstance(step, Shift)
    assert [(m.source, m.target) for m in step.moves] == [
        ("app.log.2.zst", "app.log.3.zst"), ("app.log.1.zst", "app.log.2.zst")
    ]  # fmt: skip
    assert names(known) == ["app.log.1", "app.log.2.zst", "app.log.3.zst"]


def test_a_twin_in_the_archive_directory() -> None:
    """The same over two directories: equal ones are one, unequal ones get a slot each."""
    moved = entry("app.log.1.zst", device=OTHER_DEVICE)
    store = directory(moved, path="/store", fs=system("tmpfs", device=OTHER_DEVICE))
    equal = {f"{HERE}/app.log.1": "/store/app.log.1.zst"}
    (step,) = steps(facts(entry("app.log"), entry("app.log.1"), elsewhere=[store], duplicates=equal))
    assert isinstance(step, DropDuplicate) and step.twin_directory == "/store"
    (step,) = steps(facts(entry("app.log"), entry("app.log.1"), elsewhere=[store]))
    assert isinstance(step, Shift) and [(m.directory, m.target) for m in step.moves] == [("/store", "app.log.2.zst")]


# ---------------------------------------------------------------- a copytruncate in flight


def in_flight(stage: str, archive_inode: int) -> LogHistory:
    return LogHistory(in_flight=CopyInFlight(f"{HERE}/app.log", 5, 1.0, archive_inode, 4096, stage, "collapse"))


@pytest.mark.parametrize("stage", ["copied", "marked"])
def test_a_published_copy_is_cut_off_the_log(stage: str) -> None:
    """The copy is there: the log is cut, and not rotated once more in this run."""
    known = facts(entry("app.log", inode=5), entry("app.log.1", inode=6), memory=in_flight(stage, 6))
    (step,) = steps(known)
    assert isinstance(step, FinishCopytruncate) and [copy.name for copy in step.copies] == ["app.log.1"]
    assert recover(known, 0.0).took


def test_a_copy_that_was_never_published() -> None:
    """Nothing was cut, the temp goes, the record is forgotten, and the log may be rotated."""
    known = facts(entry("app.log", inode=5), entry(".app.log.1.tmp", inode=6), memory=in_flight("copied", 6))
    found = {type(step): step for step in steps(known)}
    assert found.keys() == {FinishCopytruncate, DropTemp} and not recover(known, 0.0).took
    assert found[FinishCopytruncate].copies == ()  # type: ignore[union-attr]


def test_a_marked_log_whose_copy_is_gone() -> None:
    """The mark says that a copy was published; retention may have taken it since: the hole is cut all the same."""
    known = facts(entry("app.log", inode=5), memory=in_flight("marked", 6))
    (step,) = steps(known)
    assert isinstance(step, FinishCopytruncate) and recover(known, 0.0).took


# ---------------------------------------------------------------- all at once


def test_debris_of_several_runs() -> None:
    """An unfinished archive, an arrived alias, equal twins and a taken log, all in one directory."""
    known = facts(
        entry(".app.log.new"),
        entry(".app.log.3.gz.tmp"),
        *linked("app.log.1", "app.log.2"),
        entry("app.log.4"),
        entry("app.log.4.zst"),
        duplicates={f"{HERE}/app.log.4": f"{HERE}/app.log.4.zst"},
    )
    found = steps(known)
    assert [type(s) for s in found] == [DropAlias, DropTemp, DropDuplicate, CreateLive, FinishTake]
    assert names(known) == ["app.log.1", "app.log.2", "app.log.4.zst"]


# ---------------------------------------------------------------- set aside for a last look


@pytest.mark.parametrize("name", ["app.log.1", "app.log.3.zst", "app.log-20261121T070000Z.gz"])
def test_an_archive_that_was_set_aside_gets_its_name_back(name: str) -> None:
    """It is whole, and somebody may have written it since: what becomes of it is decided anew."""
    aside = entry(f".{name}.aside")
    known = facts(entry("app.log"), aside)
    assert steps(known) == [PutBack(HERE, f".{name}.aside", aside.id, name, (), "an interrupted run had set it aside")]
    assert names(known) == [name]


def test_an_archive_that_was_set_aside_and_whose_name_was_created_anew() -> None:
    """Whoever appends by name creates it: two generations, of which the older one moves up."""
    aside, anew, older = entry(".app.log.1.aside", age=60), entry("app.log.1", age=50), entry("app.log.2.zst")
    known = facts(entry("app.log"), aside, anew, older)
    (step,) = steps(known)
    assert isinstance(step, PutBack) and (step.id, step.target) == (aside.id, "app.log.2")
    assert [(m.source, m.target) for m in step.moves] == [("app.log.2.zst", "app.log.3.zst")]
    assert names(known) == ["app.log.1", "app.log.2", "app.log.3.zst"]


def test_a_dated_archive_that_was_set_aside_and_whose_name_was_created_anew() -> None:
    """It gets the next number of its date."""
    dated = "app.log-20261121T070000Z"
    known = facts(entry("app.log"), entry(f".{dated}-1.aside"), entry(f"{dated}-1"), entry(dated))
    (step,) = steps(known)
    assert isinstance(step, PutBack) and (step.target, step.moves) == (f"{dated}-2", ())


def test_an_archive_that_was_about_to_be_set_aside_by_link() -> None:
    """Two names of one file: it keeps its own."""
    (step,) = steps(facts(entry("app.log"), *linked(".app.log.1.aside", "app.log.1")))
    assert isinstance(step, DropAlias) and (step.name, step.kept) == (".app.log.1.aside", "app.log.1")


def test_a_twin_that_was_set_aside() -> None:
    """It is put back first, and goes as any other then."""
    plain, packed = entry(".app.log.1.aside"), entry("app.log.1.zst", 30)
    known = facts(entry("app.log"), plain, packed, duplicates={f"{HERE}/{plain.name}": f"{HERE}/app.log.1.zst"})
    back, drop = steps(known)
    assert isinstance(back, PutBack) and isinstance(drop, DropDuplicate)
    assert (drop.name, drop.id) == ("app.log.1", plain.id)
    assert names(known) == ["app.log.1.zst"]
