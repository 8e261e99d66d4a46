"""Any debris of an interrupted run is a normal input: it is finished or dropped, and no line goes with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

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
    FileId,
    FinishCopytruncate,
    FinishTake,
    LogHistory,
    Method,
    Move,
    Nobody,
    PutBack,
    Shift,
    Step,
    Unknown,
    Written,
)
from tests.support.facts import HERE, OTHER_DEVICE, directory, entry, facts, spec, system

LIVE, PLAIN, PACKED = entry("app.log"), entry("app.log.1"), entry("app.log.1.zst", 30)
DATED = "app.log-20261121T070000Z"


def said(step: Step) -> str:
    """A step in one line: what it does to which files; those beside the log without their directory."""
    match step:
        case DropTemp(directory=where, name=name):
            return f"drop {_path(where, name)}"
        case DropAlias(name=name, kept=kept):
            return f"drop the name {name}, keep {kept}"
        case DropDuplicate(name=name, twin_directory=where, twin=twin):
            return f"drop {name}, keep {_path(where, twin)}"
        case FinishTake(moves=moves):
            return f"finish the take{_moved(moves)}"
        case CreateLive(base=base, like=like):
            return f"create {base} like {like}"
        case Shift(moves=moves):
            return f"shift{_moved(moves)}"
        case PutBack(name=name, target=target, moves=moves):
            return f"put back {name} as {target}{_moved(moves)}"
        case FinishCopytruncate(copies=copies):
            return f"cut {', '.join(copy.name for copy in copies)}"
        case _:
            raise AssertionError(step)


def _path(where: str, name: str) -> str:
    return name if where == HERE else os.path.join(where, name)


def _moved(moves: tuple[Move, ...]) -> str:
    return "".join(f"; {_path(move.directory, move.source)} to {move.target}" for move in moves)


def _files(step: Any) -> Iterator[tuple[str, FileId]]:
    """The files that a step is about, by the names that they have before it."""
    for name, file in (("name", "id"), ("twin", "twin_id")):
        if hasattr(step, name) and hasattr(step, file):
            yield getattr(step, name), getattr(step, file)
    for move in getattr(step, "moves", ()):
        yield move.source, move.id


def linked(*found: str) -> list[Entry]:
    """Several names of one file."""
    return [entry(name, inode=7, nlink=len(found)) for name in found]


def store(*found: Entry) -> list[Any]:
    return [directory(*found, path="/store", fs=system("tmpfs", device=OTHER_DEVICE))]


def equal(one: str, twin: str) -> dict[str, str]:
    return {os.path.join(HERE, one): os.path.join(HERE, twin)}


def in_flight(stage: str) -> LogHistory:
    return LogHistory(in_flight=CopyInFlight(f"{HERE}/app.log", 5, 1.0, 6, 4096, stage, "collapse"))


def case(sentence: str, known: LogFacts, steps: list[str], names: list[str], *, took: bool = False) -> Any:
    return pytest.param(known, steps, names, took, id=sentence)


def taken(size: int, writers: Any) -> Any:
    known = facts(LIVE, entry(".app.log.new", size), PLAIN, writers={".app.log.new": writers})
    steps = ["finish the take; app.log.1 to app.log.2"]
    return case(f"a taken log: {size}, {writers}", known, steps, ["app.log.1", "app.log.2"], took=True)


def empty(size: int, mode: int, **more: Any) -> Any:
    known = facts(LIVE, entry("app.log.1", size, mode=mode), **more)
    return case(f"another empty archive: {size}, {mode:o}", known, [], ["app.log.1"])


CASES = [
    case("a log, a hole in the slots, all in order", facts(LIVE, PLAIN, entry("app.log.2.zst"), entry("app.log.5.gz")),
         [], ["app.log.1", "app.log.2.zst", "app.log.5.gz"]),
    *(case(f"an unfinished archive: {name}", facts(LIVE, PLAIN, entry(name)), [f"drop {name}"], ["app.log.1"])
      for name in (".app.log.1.zst.tmp", ".app.log.1.tmp", f".{DATED}.gz.tmp")),
    case("an unfinished archive in the archive directory",
         facts(LIVE, elsewhere=store(entry(".app.log.1.zst.tmp", device=OTHER_DEVICE))),
         ["drop /store/.app.log.1.zst.tmp"], []),
    # .app.log.new: with data, or with somebody who may still write it, it is a log that was taken
    case("an unused replacement", facts(LIVE, entry(".app.log.new", 0)), ["drop .app.log.new"], []),
    *(taken(100, writers) for writers in (Nobody("lease"), Written("lease"), Unknown("no lease"))),
    *(taken(0, writers) for writers in (Written("lease", (7,)), Unknown("no lease"))),
    case("killed between rename and create", facts(entry(".app.log.new")),
         ["create app.log like .app.log.new", "finish the take"], ["app.log.1"], took=True),
    case("killed between rename and create, the log was empty", facts(entry(".app.log.new", 0)),
         ["create app.log like .app.log.new", "drop .app.log.new"], []),
    *(case(f"no log is made where the rule makes none: {key}", facts(entry(".app.log.new"), rule=spec(**{key: value})),
           ["finish the take"], ["app.log.1"], took=True)
      for key, value in (("create", False), ("method", Method.COPYTRUNCATE))),
    # two names of one file: one that has arrived is not taken for a second generation
    case("about to be taken by link: it is again", facts(*linked("app.log", "app.log.1"), entry(".app.log.new", 0)),
         ["drop the name app.log.1, keep app.log", "drop .app.log.new"], []),
    *(case(f"about to be renamed by link: {gone} to {kept}", facts(LIVE, *linked(gone, kept)),
           [f"drop the name {gone}, keep {kept}"], [kept])
      for gone, kept in (("app.log.1", "app.log.2"), (".app.log.new", "app.log.1"), ("app.log.1", DATED),
                         (".app.log.1.aside", "app.log.1"))),
    # an empty file whose mode says that an interrupted rename had kept the name
    *(case(f"a reserved name: {mode:o}", facts(LIVE, PLAIN, entry("app.log.2", 0, mode=mode)),
           ["drop app.log.2"], ["app.log.1"]) for mode in (0o101600, 0o101664)),
    empty(1, 0o101600), empty(0, 0o100600), empty(0, 0o100664), empty(0, 0o100755),
    empty(0, 0o101664, writers={"app.log.1": Written("lease")}),
    # two files in one slot
    case("equal twins: the plain one goes", facts(LIVE, PLAIN, PACKED, duplicates=equal("app.log.1", "app.log.1.zst")),
         ["drop app.log.1, keep app.log.1.zst"], ["app.log.1.zst"]),
    *(case(f"one that may be written stays, as the next line would be in it alone: {writers}",
           facts(LIVE, PLAIN, PACKED, duplicates=equal("app.log.1", "app.log.1.zst"), writers={"app.log.1": writers}),
           ["drop app.log.1.zst, keep app.log.1"], ["app.log.1"]) for writers in (Written("lease"), Unknown("nfs"))),
    case("unequal twins: the plain one is the newer one", facts(LIVE, PLAIN, PACKED, entry("app.log.2.zst")),
         ["shift; app.log.2.zst to app.log.3.zst; app.log.1.zst to app.log.2.zst"],
         ["app.log.1", "app.log.2.zst", "app.log.3.zst"]),
    case("equal twins in two directories",
         facts(LIVE, PLAIN, elsewhere=store(PACKED), duplicates=equal("app.log.1", "/store/app.log.1.zst")),
         ["drop app.log.1, keep /store/app.log.1.zst"], ["app.log.1.zst"]),
    case("unequal twins in two directories", facts(LIVE, PLAIN, elsewhere=store(PACKED)),
         ["shift; /store/app.log.1.zst to app.log.2.zst"], ["app.log.1", "app.log.2.zst"]),
    # a copytruncate in flight
    *(case(f"a published copy is cut off the log: {stage}",
           facts(entry("app.log", inode=5), entry("app.log.1", inode=6), history=in_flight(stage)),
           ["cut app.log.1"], ["app.log.1"], took=True) for stage in ("copied", "marked")),
    case("a copy that was never published: the log may be rotated",
         facts(entry("app.log", inode=5), entry(".app.log.1.tmp", inode=6), history=in_flight("copied")),
         ["drop .app.log.1.tmp", "cut "], []),
    case("a marked log whose copy retention has taken", facts(entry("app.log", inode=5), history=in_flight("marked")),
         ["cut "], [], took=True),
    # set aside for a last look: it is whole, and somebody may have written it since
    *(case(f"set aside: {name}", facts(LIVE, entry(f".{name}.aside")), [f"put back .{name}.aside as {name}"], [name])
      for name in ("app.log.1", "app.log.3.zst", f"{DATED}.gz")),
    case("set aside, and somebody created its name: two generations",
         facts(LIVE, entry(".app.log.1.aside", age=60), entry("app.log.1", age=50), entry("app.log.2.zst")),
         ["put back .app.log.1.aside as app.log.2; app.log.2.zst to app.log.3.zst"],
         ["app.log.1", "app.log.2", "app.log.3.zst"]),
    case("set aside, and somebody created its dated name",
         facts(LIVE, entry(f".{DATED}-1.aside"), entry(f"{DATED}-1"), entry(DATED)),
         [f"put back .{DATED}-1.aside as {DATED}-2"], [DATED, f"{DATED}-1", f"{DATED}-2"]),
    case("a twin that was set aside is put back first",
         facts(LIVE, entry(".app.log.1.aside"), PACKED, duplicates=equal(".app.log.1.aside", "app.log.1.zst")),
         ["put back .app.log.1.aside as app.log.1", "drop app.log.1, keep app.log.1.zst"], ["app.log.1.zst"]),
    case("debris of several runs",
         facts(entry(".app.log.new"), entry(".app.log.3.gz.tmp"), *linked("app.log.1", "app.log.2"), entry("app.log.4"),
               entry("app.log.4.zst"), duplicates=equal("app.log.4", "app.log.4.zst")),
         ["drop the name app.log.1, keep app.log.2", "drop .app.log.3.gz.tmp", "drop app.log.4, keep app.log.4.zst",
          "create app.log like .app.log.new", "finish the take"],
         ["app.log.1", "app.log.2", "app.log.4.zst"], took=True),
]  # fmt: skip


@pytest.mark.parametrize(("known", "steps", "names", "took"), CASES)
def test_recovery(known: LogFacts, steps: list[str], names: list[str], took: bool) -> None:
    """The steps, each for the file that has the name now, and the names of the archives afterwards.

    A log of which an interrupted rotation is finished (``took``) is not rotated once more in the same run.
    """
    found = recover(known, 0.0)
    assert [said(step) for step in found.steps] == steps
    assert (sorted(archive.entry.name for archive in found.archives), found.took) == (sorted(names), took)
    families = [
        place.families["app.log"] for place in (known.directory, *known.elsewhere) if "app.log" in place.families
    ]
    entries = [e for f in families for e in (f.live, f.replacement, *f.temps, *(a.entry for a in f.archives)) if e]
    ids = {each.name: each.id for each in entries}
    assert all(ids.get(name, file) == file for step in found.steps for name, file in _files(step))


def test_a_replacement_that_cannot_be_looked_at_is_kept() -> None:
    """Where it is not even known whether somebody writes it, it is not dropped."""
    known = facts(LIVE, entry(".app.log.new", 0))
    known.writers.clear()  # type: ignore[attr-defined]
    assert [said(step) for step in recover(known, 0.0).steps] == ["finish the take"]
