"""What happens to each log, and why: the whole plan, from made-up facts."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from logrotor.decide import planner, proof
from logrotor.decide.facts import LogFacts
from logrotor.decide.naming import parse_archive, parse_replacement, parse_temp, stamp_of
from logrotor.decide.planner import plan_logs
from logrotor.model import (
    Codec,
    Compress,
    CopyInFlight,
    Copytruncate,
    CreateLive,
    DropAlias,
    DropDuplicate,
    DropTemp,
    Due,
    Entry,
    FileId,
    FinishCopytruncate,
    FinishTake,
    FreeSpace,
    LogHistory,
    LogPlan,
    Method,
    Move,
    Naming,
    Nobody,
    NotDue,
    Problem,
    PutBack,
    Remove,
    RunHook,
    Shift,
    Step,
    Take,
    Unknown,
    Writers,
    Written,
)
from tests.support.facts import DAY, DEVICE, HERE, NOW, OTHER_DEVICE, directory, entry, facts, spec, system

STORE = "/store"
BIG = entry("app.log", 2000)


def plan(known: LogFacts, **more: Any) -> LogPlan:
    (found,) = plan_logs([known], NOW, **more)
    return found


def kept(found: LogPlan) -> dict[str, str]:
    return {waiting.name: waiting.reason for waiting in found.kept}


def deferred(found: LogPlan) -> dict[str, str]:
    return {waiting.name: waiting.reason for waiting in found.deferred}


# ---------------------------------------------------------------- take


def test_a_due_log_is_taken() -> None:
    """It goes to slot 1, the others make way, and what it becomes is compressed in the same run."""
    found = plan(facts(BIG, entry("app.log.1.zst"), rule=spec(backup_count=7)))
    (take,) = found.take
    assert isinstance(take, Take) and (take.id, take.create, take.mode) == (BIG.id, True, None)
    assert [(m.source, m.target) for m in take.moves] == [("app.log.1.zst", "app.log.2.zst")]
    (packed,) = found.compress
    assert (packed.name, packed.to_name, packed.codec, packed.plain) == ("app.log.1", "app.log.1.zst", Codec.ZSTD, True)
    assert kept(found) == {"app.log.1": "1 of backup_count = 7", "app.log.2.zst": "2 of backup_count = 7"}
    assert found.due == Due("larger than max_size: 2000 > 1000 bytes") and not found.is_idle


def test_a_log_that_is_not_due_is_left_alone() -> None:
    """Nothing to do is an idle plan, with the reason."""
    found = plan(facts(entry("app.log"), entry("app.log.1.zst")))
    assert found.is_idle and found.steps == () and isinstance(found.due, NotDue)


def test_an_interrupted_rotation_is_finished_first() -> None:
    """A taken log is brought to slot 1; the live log, due or not, waits for the next run."""
    found = plan(facts(BIG, entry(".app.log.new", 500)), force=True)
    assert found.due == NotDue("an interrupted rotation is finished first") and found.take == ()
    assert [type(s) for s in found.recover] == [FinishTake] and found.compress[0].name == "app.log.1"


def test_without_create_there_is_no_replacement() -> None:
    """create = false: the log is moved away and the writer makes a new one."""
    found = plan(facts(BIG, rule=spec(create=False)))
    assert isinstance(found.take[0], Take) and not found.take[0].create and found.protocol == "rename"


@pytest.mark.parametrize(("size", "is_due"), [(4096, False), (4097, True)])
def test_copytruncate_needs_more_than_a_block(size: int, is_due: bool) -> None:
    """Only whole blocks can be cut off; a log within one is not due, not even by force."""
    found = plan(facts(entry("app.log", size), rule=spec(method=Method.COPYTRUNCATE)), force=True)
    assert bool(found.take) == is_due
    if not is_due:
        assert isinstance(found.due, NotDue) and "within one block" in found.due.reason


def test_copytruncate_where_nothing_can_be_collapsed() -> None:
    """Refused with both ways out; with accept_loss it is done, and the plan names the protocol."""
    tmpfs = directory(BIG, fs=system("tmpfs"))
    found = plan(facts(here=tmpfs, rule=spec(method=Method.COPYTRUNCATE)))
    assert found.refused is not None and found.refused.subject == f"{HERE}/app.log" and found.steps == ()
    assert 'method = "rename"' in found.refused.advice and "accept_loss = true" in found.refused.advice
    found = plan(facts(here=tmpfs, rule=spec(method=Method.COPYTRUNCATE, accept_loss=True)))
    (step,) = found.take
    assert isinstance(step, Copytruncate) and not step.collapse and found.protocol == "truncate"


@pytest.mark.parametrize("literal", [True, False])
def test_create_missing(literal: bool) -> None:
    """A missing log that a path names is made; one that only a glob would name is not."""
    found = plan(facts(rule=spec(create_missing=True, create_mode=0o640), literal=literal))
    assert found.missing and found.due == NotDue("missing")
    assert [(s.base, s.mode) for s in found.take if isinstance(s, CreateLive)] == (
        [("app.log", 0o640)] if literal else []
    )


# ---------------------------------------------------------------- reopen

ASKING = spec(reopen="workers")


def asked(since: float) -> LogHistory:
    return LogHistory(request_delivered=NOW.timestamp() - since)


@pytest.mark.parametrize(
    ("history", "writers", "reason"),
    [
        (LogHistory(), Written("lease", (7,)), "app.log.1 is still written"),
        (asked(since=3600), Written("lease", (7,)), "app.log.1 is still written"),
        (asked(since=3599), Written("lease", (7,)), ""),
        (replace(asked(since=1), request_failed=5.0), Written("lease", (7,)), "app.log.1 is still written"),
        (replace(asked(since=1), request_failed=5.0), Nobody("lease"), "app.log.1: the last request failed"),
        (LogHistory(), Nobody("lease"), "app.log.1: no request was delivered since it was taken"),
        (asked(since=2 * DAY), Nobody("lease"), "app.log.1: no request was delivered since it was taken"),
        (asked(since=-60), Nobody("lease"), "app.log.1: no request was delivered since it was taken"),
        (asked(since=2 * DAY), Unknown("x"), "app.log.1: no request was delivered since it was taken"),
        (asked(since=1), Nobody("lease"), ""),
        (asked(since=1), Unknown("x"), ""),
    ],
)
def test_asked_again_until_a_request_was_delivered(history: LogHistory, writers: Writers, reason: str) -> None:
    """A plain archive beside the log, taken a day ago: asked again if it is written, or if nobody was asked since."""
    known = facts(entry("app.log"), entry("app.log.1"), rule=ASKING, history=history, writers={"app.log.1": writers})
    found = plan(known)
    assert (found.reopen_reason, found.reopen) == (reason, "workers" if reason else None)


def test_a_request_that_is_not_followed_is_repeated_at_growing_intervals() -> None:
    """Runs every minute, a writer that stays: the pauses double up to an hour; a new take always asks once."""
    taken = NOW.timestamp() - 5 * 3600
    history, asked_at = LogHistory(last_rotation=taken, request_delivered=taken), [0]
    for minute in range(1, 300):
        moment = taken + 60 * minute
        held = entry("app.log.1", age=NOW.timestamp() - moment)  # written just now
        known = facts(
            entry("app.log"), held, rule=ASKING, history=history, writers={"app.log.1": Written("lease", (7,))}
        )
        if plan_logs([known], datetime.fromtimestamp(moment, UTC))[0].reopen is not None:
            asked_at.append(minute)
            history = replace(history, request_delivered=moment)
    assert asked_at == [0, 1, 2, 4, 8, 16, 32, 64, 124, 184, 244]
    known = facts(BIG, held, rule=ASKING, history=history, writers={"app.log.1": Written("lease", (7,))})
    assert plan(known).reopen_reason == "after the take"


def test_a_take_that_was_killed_before_its_request_asks() -> None:
    """By the birth of the live log: the last request was for the archive before."""
    last = NOW.timestamp() - 40
    for born, reopen in ((last + 30, "workers"), (last - 30, None)):
        for writers in (Written("lease", (7,)), Nobody("lease")):
            known = facts(
                entry("app.log"), entry("app.log.1", age=1), rule=ASKING, birth=lambda: born,  # noqa: B023
                history=LogHistory(last_rotation=last, request_delivered=last), writers={"app.log.1": writers},
            )  # fmt: skip
            assert plan(known).reopen == reopen


@pytest.mark.parametrize(
    ("known", "target"),
    [
        (facts(BIG, rule=ASKING), "workers"),
        (facts(entry("app.log"), entry(".app.log.new", 9), rule=ASKING), "workers"),
        (facts(entry("app.log"), entry("app.log.1.zst"), rule=ASKING), None),
        (facts(entry("app.log"), entry("app.log.1.gz"), rule=ASKING), None),
        (facts(BIG, entry("app.log.2")), None),
    ],
    ids=["taken", "a take is finished", "compressed", "compressed by gzip", "no target"],
)
def test_whose_writers_are_asked(known: LogFacts, target: str | None) -> None:
    """Those of a log that is taken, also by an interrupted run; a compressed archive has none."""
    found = plan(known)
    assert (found.reopen, found.reopen_reason) == (target, "after the take" if target else "")


# ---------------------------------------------------------------- proof

OLD = entry("app.log.1", age=2 * 3600)


@pytest.mark.parametrize(
    ("writers", "found", "delivered", "why"),
    [
        (Nobody("lease"), OLD, None, None),
        (Written("lease"), OLD, None, "a process still writes it"),
        (Written("/proc", (3,)), OLD, 1.0, "process 3 still writes it"),
        (Written("/proc", (3,), ("php",)), OLD, 1.0, "process 3 (php) still writes it"),
        (Written("/proc", (3, 4), ("php", "")), OLD, 1.0, "processes 3 (php), 4 still write it"),
        (None, OLD, 1.0, "it cannot be opened"),
        (Unknown("why"), OLD, None, "and no reopen request was delivered since the rotation"),
        (Unknown("why"), OLD, 3 * 3600.0, "and no reopen request was delivered since the rotation"),
        (Unknown("why"), OLD, -10.0, "and no reopen request was delivered since the rotation"),
        (Unknown("why"), entry("app.log.1", age=3599, since=7200), 60.0, "and it was written within the last hour"),
        (Unknown("why"), OLD, 60.0, None),
    ],
)
def test_unknown_is_never_nobody(
    writers: Writers | None, found: Entry, delivered: float | None, why: str | None
) -> None:
    """Without proof an archive waits for a request after its last rename, and then for an hour without a write."""
    now = NOW.timestamp()
    said = proof.why_not(writers, found, None if delivered is None else now - delivered, now)
    assert said == why if why is None else said is not None and why in said


@pytest.mark.parametrize("writers", [Written("lease", (7,)), Unknown("no lease")])
def test_an_archive_that_may_be_written_waits(writers: Writers) -> None:
    """It is neither compressed nor removed nor handed to on_archive; the plan says who or why."""
    known = facts(
        entry("app.log"), entry("app.log.1"), entry("app.log.2"),
        rule=spec(backup_count=1, on_archive=("/bin/true",)),
        writers={"app.log.1": writers, "app.log.2": writers},
        history=LogHistory(hooked=frozenset()),
    )  # fmt: skip
    found = plan(known)
    assert found.steps == () and set(deferred(found)) == {"app.log.1", "app.log.2"}
    assert "not removed (more than backup_count = 1)" in deferred(found)["app.log.2"]
    assert ("process 7" if isinstance(writers, Written) else "unknown") in deferred(found)["app.log.1"]


# ---------------------------------------------------------------- retire


def test_retention_also_where_nothing_rotates() -> None:
    """The surplus goes in an idle hour too, the oldest first; a log that is taken counts, and moves the others."""
    archives = [entry(f"app.log.{n}.zst") for n in (1, 2, 3)]
    for live, first in ((entry("app.log"), 2), (BIG, 2)):
        found = plan(facts(live, *archives, rule=spec(backup_count=1)))
        last = 4 if live is BIG else 3
        assert [r.name for r in found.retire] == [f"app.log.{n}.zst" for n in range(last, first - 1, -1)]
        assert {r.reason for r in found.retire} == {"more than backup_count = 1"}
        assert [c.name for c in found.compress] == (["app.log.1"] if live is BIG else [])


def test_the_newest_waits_for_on_archive() -> None:
    """What on_archive has not had yet is not retired, except for keep_free."""
    names = [entry(f"app.log.{n}.zst") for n in (1, 2)]
    rule = spec(backup_count=1, on_archive=("/bin/true",))
    found = plan(facts(entry("app.log"), *names, rule=rule))
    assert found.retire == () and [h.name for h in found.hooks] == ["app.log.2.zst", "app.log.1.zst"]
    hooked = frozenset((e.stat.st_ino, e.stat.st_mtime_ns) for e in names)
    found = plan(facts(entry("app.log"), *names, rule=rule, history=LogHistory(hooked=hooked)))
    assert [r.name for r in found.retire] == ["app.log.2.zst"] and found.hooks == ()


def free(known: int, *entries: Entry, wish: FreeSpace, **more: Any) -> LogFacts:
    return facts(here=directory(*entries, fs=system(free=known, total=100_000)), rule=spec(keep_free=wish, **more))


@pytest.mark.parametrize(
    ("wish", "gone"),
    [
        (FreeSpace(bytes=10_000), 0), (FreeSpace(bytes=10_001), 1), (FreeSpace(bytes=10_512), 1),
        (FreeSpace(bytes=10_513), 2), (FreeSpace(bytes=10**9), 2),
        (FreeSpace(percent=10.0), 0), (FreeSpace(percent=10.1), 1),
    ],
)  # fmt: skip
def test_keep_free_takes_as_much_as_it_needs(wish: FreeSpace, gone: int) -> None:
    """The oldest go until enough is free, or a share of the whole file system; the newest never."""
    archives = [entry(f"app.log.{n}.zst", 500, age=n * DAY) for n in (1, 2, 3)]
    found = plan(free(10_000, entry("app.log"), *archives, wish=wish))
    assert {r.name for r in found.retire} == {each.name for each in archives[3 - gone :]}


def test_keep_free_over_several_logs() -> None:
    """The oldest of all logs that ask for room, not all of one log first; logs without the key are spared."""
    mine = [entry(f"app.log.{n}.zst", 500, age=n * DAY) for n in (1, 2, 5)]
    other = [entry(f"b.log.{n}.zst", 500, age=n * DAY) for n in (1, 4)]
    spared = [entry(f"c.log.{n}.zst", 500, age=90 * DAY) for n in (1, 2)]
    here = directory(*mine, *other, *spared, fs=system(free=0, total=100_000))
    rule = spec(keep_free=FreeSpace(bytes=1024))
    known = [facts(here=here, base="app.log", rule=rule), facts(here=here, base="b.log", rule=rule),
             facts(here=here, base="c.log", rule=spec())]  # fmt: skip
    found = plan_logs(known, NOW)
    assert [[r.name for r in each.retire] for each in found] == [["app.log.5.zst"], ["b.log.4.zst"], []]


@given(st.integers(0, 3000))
def test_keep_free_counts_what_will_be_free(held: int) -> None:
    """What was removed and is still open is not made up for by more."""
    archives = [entry(f"app.log.{n}.zst", 500, age=n * DAY) for n in range(1, 6)]
    known = replace(free(0, entry("app.log"), *archives, wish=FreeSpace(bytes=2000)), held=lambda _: {1: held})
    assert len(plan(known).retire) == min(4, max(0, -(-(2000 - held) // 512)))


@pytest.mark.parametrize("age", [-DAY, DAY / 2], ids=["clock ahead", "slow writer"])
def test_keep_free_spares_what_is_being_taken(age: float) -> None:
    """It is the newest, though an older archive was written later; the others go in the order of their rotation."""
    stamps = [stamp_of(NOW.timestamp() - age), stamp_of(NOW.timestamp() - 9 * DAY)]
    old = [entry(f"app.log-{stamps[0]}-1.zst", 500, age=3 * DAY), entry(f"app.log-{stamps[0]}.zst", 500, age=age),
           entry(f"app.log-{stamps[1]}.zst", 500, age=9 * DAY)]  # fmt: skip
    for missing, gone in ((1, old[2:]), (513, old[1:]), (10**6, old)):
        found = plan(free(0, BIG, *old, wish=FreeSpace(bytes=missing), naming=Naming.DATED))
        assert {r.name for r in found.retire} == {each.name for each in gone}


def test_keep_free_looks_where_the_archive_lies() -> None:
    """A full archive directory is relieved of its archives; a full log directory is not helped by them."""
    stored = [entry(f"app.log.{n}.zst", 500, age=n * DAY, device=OTHER_DEVICE) for n in (1, 2)]
    for here, there, gone in ((0, 10**6, 0), (10**6, 0, 1)):
        store = directory(*stored, path=STORE, fs=system("tmpfs", device=OTHER_DEVICE, free=there))
        known = facts(
            here=directory(entry("app.log"), fs=system(free=here)), elsewhere=[store], archive_dir=STORE,
            rule=spec(keep_free=FreeSpace(bytes=1000)),
        )  # fmt: skip
        assert len(plan(known).retire) == gone


# ---------------------------------------------------------------- the final form


LIVE, PLAIN = entry("app.log"), [entry("app.log.1"), entry("app.log.2")]
STAMP = stamp_of(NOW.timestamp() - DAY)
OTHERS = [directory(path=STORE), directory(entry("app.log.1"), entry("app.log.2.gz"), path="/old")]
DATED = spec(naming=Naming.DATED)


@pytest.mark.parametrize(
    ("known", "steps"),
    [
        (facts(BIG, *PLAIN, rule=spec(keep_uncompressed=2)), [("app.log.3", HERE, "app.log.3.zst")]),
        *((facts(LIVE, entry("app.log.1.zst"), entry("app.log.2.bz2"), rule=spec(compress=codec)), [])
          for codec in (Codec.NONE, Codec.GZIP, Codec.ZSTD)),
        (facts(LIVE, entry("app.log.1"), entry("app.log.2.gz"), archive_dir=STORE, elsewhere=OTHERS[:1]),
         [("app.log.2.gz", STORE, "app.log.2.gz"), ("app.log.1", STORE, "app.log.1.zst")]),
        *((facts(LIVE, elsewhere=OTHERS, archive_dir=place), [("app.log.1", "/old", "app.log.1.zst")])
          for place in (None, STORE)),
        (facts(LIVE, *PLAIN, rule=DATED),
         [("app.log.2", HERE, f"app.log-{STAMP}.zst"), ("app.log.1", HERE, f"app.log-{STAMP}-1.zst")]),
        (facts(LIVE, PLAIN[0], elsewhere=[directory(entry(f"app.log-{STAMP}-4.gz"), path="/old")], rule=DATED),
         [("app.log.1", HERE, f"app.log-{STAMP}-5.zst")]),
    ],
    ids=["newest stay plain", "no other codec", "nor gzip", "nor zstd", "into archive_dir", "archive_dir is off",
         "archive_dir is another", "dated by the last write", "the date is taken elsewhere"],
)  # fmt: skip
def test_final_forms(known: LogFacts, steps: list[tuple[str, str, str]]) -> None:
    """Plain archives get their codec, name and place; what is finished stays as it is, where it is."""
    found = plan(known).compress
    assert [(step.name, step.to_directory, step.to_name) for step in found] == steps
    assert all(step.codec is (Codec.ZSTD if step.plain else Codec.NONE) for step in found)


AHEAD = stamp_of(NOW.timestamp() + 9 * DAY)
FUTURE = entry(f"app.log-{AHEAD}.zst", age=-9 * DAY)
HELD, SLOW, DATE = entry("app.log.1", age=2 * DAY), entry("app.log.2", age=DAY), stamp_of(NOW.timestamp() - DAY)


@pytest.mark.parametrize(
    ("entries", "limit", "gone", "names"),
    [
        ((BIG, FUTURE), 1, [FUTURE.name], None),
        ((BIG, FUTURE), 3, [], [f"{AHEAD}-1"]),
        ((BIG, HELD, FUTURE), 3, [], [f"{AHEAD}-1", f"{AHEAD}-2"]),
        ((LIVE, entry("app.log.2", age=2 * DAY), entry(f"app.log-{AHEAD}-2.zst", age=DAY), FUTURE), 3, [],
         [f"{AHEAD}-1"]),
        ((LIVE, HELD, SLOW), 3, [], [DATE, f"{DATE}-1"]),
    ],
    ids=["the older one goes", "ahead", "two", "a newer one has its name, as it was smaller", "an older one is slow"],
)  # fmt: skip
def test_a_date_is_never_before_that_of_an_older_archive(
    entries: tuple[Entry, ...], limit: int, gone: list[str], names: list[str] | None
) -> None:
    """Else the newest archive would count as an old one: the clock was ahead, or an older one was written later."""
    found = plan(facts(*entries, rule=spec(naming=Naming.DATED, backup_count=limit)))
    assert [step.name for step in found.retire] == gone
    assert names is None or [step.to_name for step in found.compress] == [f"app.log-{name}.zst" for name in names]


def test_dates_to_come_do_not_make_retention_remove_what_is_new() -> None:
    """Run after run with a clock that is right again: the archives that it was wrong for are the ones that go."""
    ahead = [entry(f"app.log-{stamp_of(NOW.timestamp() + n * DAY)}.zst", age=-n * DAY) for n in (1, 2, 3)]
    rule, archives = spec(naming=Naming.DATED, backup_count=3), ahead
    for number in range(3):
        taken = entry("app.log", 5000, age=10 - number)
        found = plan(facts(taken, *archives, rule=rule))
        assert [r.name for r in found.retire] == [ahead[number].name]
        (step,) = found.compress
        gone = {r.name for r in found.retire}
        archives = [e for e in archives if e.name not in gone] + [Entry(step.to_name, taken.stat)]


@pytest.mark.parametrize(("newest", "hooked"), [(0, ["app.log.1", "app.log.2"]), (1, ["app.log.2"])])
def test_on_archive_runs_on_the_final_form(newest: int, hooked: list[str]) -> None:
    """An archive that will be compressed later gets its call later."""
    rule = spec(on_archive=("/up",), keep_uncompressed=newest)
    found = plan(facts(entry("app.log"), entry("app.log.1"), entry("app.log.2"), rule=rule))
    assert sorted(h.name for h in found.hooks) == [f"{name}.zst" for name in hooked]
    assert all(h.id is None for h in found.hooks), "their inode is not known yet"


# ---------------------------------------------------------------- refusals


FOUND = Problem(subject="/found/before", problem="is odd", advice="look at it")


@pytest.mark.parametrize(
    ("known", "subject"),
    [
        (facts(entry("app.log", mode=0o120777)), f"{HERE}/app.log"),
        (facts(entry("app.log", mode=0o40755)), f"{HERE}/app.log"),
        (facts(entry("app.log", mode=0o10644)), f"{HERE}/app.log"),
        (facts(entry("app.log", nlink=2)), f"{HERE}/app.log"),
        (facts(BIG, entry("app.log.1", mode=0o120777)), f"{HERE}/app.log.1"),
        (facts(BIG, entry(".app.log.new", mode=0o40755)), f"{HERE}/.app.log.new"),
        (facts(BIG, entry("app.log.1.zst", nlink=2)), f"{HERE}/app.log.1.zst"),
        (facts(BIG, elsewhere=[directory(entry("app.log.1.zst", nlink=2), path=STORE)]), f"{STORE}/app.log.1.zst"),
        (facts(BIG, entry("app.log.999999999")), f"{HERE}/app.log.999999999"),
        (facts(BIG, entry("app.log.1"), strangers=lambda now: {f"{HERE}/app.log.1": "is written"}), f"{HERE}/app.log"),
        (facts(entry("a" * 240, 9999), base="a" * 240), f"{HERE}/{'a' * 240}"),
        (facts(BIG, refusal=FOUND), FOUND.subject),
        (facts(here=directory(BIG, closed=FOUND)), FOUND.subject),
        (facts(here=replace(directory(BIG), problem=FOUND)), FOUND.subject),
    ],
)  # fmt: skip
def test_refused_with_what_to_do(known: LogFacts, subject: str) -> None:
    """Nothing is planned for a log that must not be touched; the refusal names the file and what to do about it."""
    found = plan(known, force=True)
    assert found.refused is not None and found.refused.subject == subject and found.refused.advice
    assert found.steps == () and found.reopen is None


def test_a_closed_directory_matters_only_if_there_is_something_to_do() -> None:
    """A log that is not due may lie in a directory that we may not write."""
    assert plan(facts(here=directory(LIVE, closed=FOUND))).refused is None


def test_one_refusal_stops_nobody_else() -> None:
    """The plans come in the order of the logs, each for itself."""
    found = plan_logs([facts(entry("app.log", mode=0o120777)), facts(BIG)], NOW)
    assert found[0].refused is not None and found[1].refused is None and found[1].take


# ---------------------------------------------------------------- a plan carried out on a disk made of paper


@dataclass
class File:
    """``holds``: the generations whose lines it has."""

    entry: Entry
    holds: frozenset[int]


@dataclass
class Paper:
    """Names and files. Each step is carried out as the executor would, or fails the test."""

    files: dict[tuple[str, str], File] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)

    def generations(self) -> set[int]:
        """What the archives and the live log hold; an unfinished archive does not count."""
        return set().union(*(f.holds for (_, name), f in self.files.items() if not parse_temp(name)))

    def carry_out(self, found: LogPlan) -> None:
        for step in (*found.recover, *found.take, *found.retire, *found.compress):
            self.step(step)

    def step(self, step: Step) -> None:
        match step:
            case Shift(moves=moves):
                self.moves(moves)
            case PutBack(directory=where, name=name, target=target, id=file, moves=moves):
                self.moves(moves)
                self.move(Move(where, name, target, file))
            case FinishTake(directory=where, base=base, id=file, moves=moves):
                self.moves(moves)
                self.move(Move(where, f".{base}.new", f"{base}.1", file))
            case Take(directory=where, base=base, id=file, moves=moves):
                self.moves(moves)
                self.move(Move(where, base, f"{base}.1", file))
                self.put(where, base, 0, frozenset())
            case CreateLive(directory=where, base=base):
                self.put(where, base, 0, frozenset())
            case DropTemp(directory=where, name=name, id=file):
                gone = self.take_out(where, name, file)
                temp = parse_temp(name) is not None or gone.entry.stat.st_mode & 0o1000
                assert temp or (parse_replacement(name) and gone.entry.size == 0), f"{name} had data"
            case DropAlias(directory=where, name=name, id=file):
                self.take_out(where, name, file)
                assert any(f.entry.id == file for f in self.files.values()), f"{name} was its last name"
            case DropDuplicate(twin_directory=where, twin=twin, twin_id=file):
                gone = self.take_out(step.directory, step.name, step.id)
                other = self.files[where, twin]
                assert other.entry.id == file and other.holds >= gone.holds
            case Remove(directory=where, name=name, id=file):
                assert (parsed := parse_archive(name)) is not None and parsed.base == "app.log"
                self.removed |= self.take_out(where, name, file).holds
            case Compress():
                source = self.take_out(step.directory, step.name, step.id)
                size = source.entry.size // 2 if step.codec is not Codec.NONE else source.entry.size
                made = self.put(step.to_directory, step.to_name, size, source.holds)
                status = made.entry.stat
                made.entry = Entry(step.to_name, entry(
                    step.to_name, size, age=NOW.timestamp() - source.entry.mtime, inode=status.st_ino
                ).stat)  # fmt: skip
            case _:
                raise AssertionError(step)

    def moves(self, moves: tuple[Move, ...]) -> None:
        for move in moves:
            self.move(move)

    def move(self, move: Move) -> None:
        assert (move.directory, move.target) not in self.files, f"{move.target} would be overwritten"
        file = self.take_out(move.directory, move.source, move.id)
        self.files[move.directory, move.target] = File(Entry(move.target, file.entry.stat), file.holds)

    def put(self, where: str, name: str, size: int, holds: frozenset[int]) -> File:
        assert (where, name) not in self.files, f"{name} would be overwritten"
        self.files[where, name] = File(entry(name, size, age=0), holds)
        return self.files[where, name]

    def take_out(self, where: str, name: str, file: FileId) -> File:
        assert self.files[where, name].entry.id == file, f"{name} is another file"
        return self.files.pop((where, name))

    def facts(self, **more: Any) -> LogFacts:
        """What the next survey would see."""
        places = {where: directory(*(f.entry for (w, _), f in self.files.items() if w == where), path=where)
                  for where in (HERE, STORE, "/old")}  # fmt: skip
        plain = [(w, n, f) for (w, n), f in self.files.items() if (p := parse_archive(n)) and p.codec is Codec.NONE]
        twins = {
            os.path.join(w, n): os.path.join(w, other)
            for w, n, f in plain
            for (where, other), g in self.files.items()
            if where == w and other.startswith(f"{n}.") and f.holds and g.holds == f.holds and parse_archive(other)
        }
        return facts(here=places[HERE], elsewhere=[places[STORE], places["/old"]], duplicates=twins, **more)


@st.composite
def papers(draw: st.DrawFn) -> Paper:
    """A log directory as settings and crashes leave it."""
    paper = Paper()
    day, older = stamp_of(NOW.timestamp() - DAY), stamp_of(NOW.timestamp() - 3 * DAY)
    names = [
        "app.log", ".app.log.new", ".app.log.1.zst.tmp", ".app.log.2.tmp", ".app.log.1.aside", ".app.log.4.gz.aside",
        "app.log.1", "app.log.1.zst", "app.log.2", "app.log.2.gz", "app.log.3.zst", "app.log.4", "app.log.6.xz",
        f"app.log-{day}", f"app.log-{day}-1.zst", f"app.log-{older}.gz",
    ]  # fmt: skip
    places = st.sampled_from([HERE, HERE, HERE, STORE, "/old"])
    for number, name in enumerate(draw(st.lists(st.sampled_from(names), unique=True))):
        where = HERE if name in ("app.log", ".app.log.new") else draw(places)
        size = draw(st.sampled_from([0, 100, 5000, 9000]))
        age = draw(st.floats(0, 9 * DAY))
        holds = frozenset() if size == 0 else frozenset({number})
        if name.endswith(".tmp") or (
            name == "app.log.1.zst" and (where, "app.log.1") in paper.files and draw(st.booleans())
        ):
            holds = paper.files.get((where, "app.log.1"), File(entry("x"), frozenset())).holds
        paper.files[where, name] = File(entry(name, size, age=age, device=DEVICE), holds)
    return paper


RULES = st.builds(
    lambda **more: spec(paths=("/logs/app.log",), **more),
    max_size=st.sampled_from([1, 8000]),
    backup_count=st.sampled_from([None, 1, 3]),
    max_age=st.sampled_from([None, 4 * DAY]),
    max_total_size=st.sampled_from([None, 6000]),
    keep_free=st.sampled_from([None, FreeSpace(percent=99.0)]),
    compress=st.sampled_from([Codec.NONE, Codec.ZSTD, Codec.GZIP]),
    keep_uncompressed=st.integers(0, 2),
    naming=st.sampled_from(list(Naming)),
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(papers(), RULES, st.sampled_from([None, STORE]), st.booleans())
def test_a_plan_loses_and_overwrites_nothing(paper: Paper, rule: Any, place: str | None, force: bool) -> None:
    """Whatever lies there: carried out step by step, no name is overwritten, and only retention removes lines."""
    before = paper.generations()
    known = paper.facts(rule=rule, archive_dir=place)
    found = plan(known, force=force)
    paper.carry_out(found)
    assert paper.generations() | paper.removed == before
    if not found.retire:
        assert paper.generations() == before
    assert not [name for _, name in paper.files if name.startswith(".")], "no temp is left"


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(papers(), RULES, st.sampled_from([None, None, STORE]), st.sampled_from([0, 0, 1, 3]), st.data())
def test_a_glance_tells_what_a_closer_look_tells(
    paper: Paper, rule: Any, place: str | None, carried_out: int, data: st.DataObject
) -> None:
    """Most idle logs are planned by a shortcut: its answer is the planner's own, whatever lies there."""
    for _ in range(carried_out):
        paper.carry_out(plan(paper.facts(rule=rule, archive_dir=place)))
    reopen = data.draw(st.sampled_from([None, "workers"]))
    rule = replace(rule, reopen=reopen, method=data.draw(st.sampled_from(list(Method))), accept_loss=True)
    writers = {name: data.draw(st.sampled_from([Nobody("lease"), Written("lease"), Unknown("?")]))
               for _, name in paper.files if rule.reopen or data.draw(st.booleans())}  # fmt: skip
    known = paper.facts(rule=rule, archive_dir=place, writers=writers)
    if data.draw(st.booleans()):
        twins = {path: twin for path, twin in known.duplicates.items() if path.startswith(f"{HERE}/")}
        known = replace(known, elsewhere=(), duplicates=twins)
    found = plan(known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logrotor.decide.planner.kept_at_a_glance", lambda *_: None)
        assert plan(known) == found
    if carried_out == 3 and place is None and found.is_idle:
        event(
            "all is settled: at a glance"
            if planner.kept_at_a_glance(known, NOW) is not None
            else "all is settled: a closer look"
        )


@pytest.mark.parametrize(
    ("change", "glance"),
    [
        ({}, True),
        ({"compress": Codec.NONE}, True),
        ({"backup_count": 1}, False),
        ({"max_age": 9 * DAY}, True),
        ({"max_age": DAY / 2}, False),
        ({"max_total_size": 150}, False),
        ({"naming": Naming.DATED}, False),
        ({"on_archive": ("true",)}, False),
        ({"keep_free": FreeSpace(percent=1.0)}, False),
        ({"reopen": "workers"}, True),
    ],
)
def test_a_glance_is_enough_for_a_log_within_its_limits(change: dict[str, Any], glance: bool) -> None:
    """The shortcut is taken where it shall be, and only there."""
    known = facts(entry("app.log"), entry("app.log.1.zst"), entry("app.log.2.zst"), rule=spec(**change))
    assert (planner.kept_at_a_glance(known, NOW) is not None) == glance


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(papers(), RULES, st.sampled_from([None, STORE]))
def test_the_second_plan_has_nothing_left_to_take(paper: Paper, rule: Any, place: str | None) -> None:
    """After one run the slots are in order; at most sizes that were not known yet are retired, and then all is idle."""
    known = paper.facts(rule=rule, archive_dir=place)
    paper.carry_out(plan(known))
    for _ in range(3):
        found = plan(paper.facts(rule=rule, archive_dir=place))
        assert not found.recover, "one run clears all debris"
        paper.carry_out(found)
    assert plan(paper.facts(rule=rule, archive_dir=place)).is_idle


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(papers(), RULES, st.sampled_from([Written("lease"), Unknown("no lease")]))
def test_what_may_be_written_is_never_touched(paper: Paper, rule: Any, writers: Writers) -> None:
    """While nobody proves that they have no writer, plain archives are renamed at most."""
    plain = {f.entry.id: f.holds for (_, name), f in paper.files.items()
             if ((p := parse_archive(name)) and p.codec is Codec.NONE)}  # fmt: skip
    found = plan(paper.facts(rule=rule, writers={name: writers for _, name in paper.files}))
    dropped = [step for step in found.recover if isinstance(step, DropDuplicate)]
    assert not {step.id for step in (*found.retire, *found.compress, *dropped)} & plain.keys()


@given(papers(), RULES)
def test_planning_is_a_function(paper: Paper, rule: Any) -> None:
    """The same facts give the same plan, and are as they were afterwards."""
    known = paper.facts(rule=rule)
    before = copy.deepcopy((known.directory, known.elsewhere))
    assert plan(known) == plan(known)
    assert (known.directory, known.elsewhere) == before


def test_a_schedule_falls_back_on_what_is_known() -> None:
    """Last rotation by the history, else by the birth of the live log, else by the newest archive."""
    rule = spec(max_size=None, schedule="0 0 * * *", schedule_name="daily")
    today, yesterday = NOW - timedelta(hours=2), NOW - timedelta(days=1)
    for known, is_due in (
        (facts(BIG, rule=rule, history=LogHistory(last_rotation=today.timestamp())), False),
        (facts(BIG, rule=rule, history=LogHistory(last_rotation=yesterday.timestamp())), True),
        (facts(BIG, rule=rule, birth=lambda: today.timestamp()), False),
        (facts(BIG, rule=rule, birth=lambda: yesterday.timestamp()), True),
        (facts(BIG, entry("app.log.1.zst", age=3600), rule=rule), False),
        (facts(BIG, entry("app.log.1.zst", age=DAY), rule=rule), True),
        (facts(BIG, rule=rule), True),
        (facts(BIG, rule=rule, history=LogHistory(last_rotation=NOW.timestamp() + DAY)), True),
    ):
        assert isinstance(plan(known).due, Due) == is_due


def test_a_copy_in_flight_stands_in_the_plan() -> None:
    """It is finished before anything else is done to the log."""
    record = CopyInFlight(f"{HERE}/app.log", BIG.id.inode, 1.0, 5, 4096, "copied", "collapse")
    known = facts(BIG, entry("app.log.1", inode=5), history=LogHistory(in_flight=record),
                  rule=spec(method=Method.COPYTRUNCATE))  # fmt: skip
    found = plan(known, force=True)
    assert isinstance(found.recover[0], FinishCopytruncate) and found.take == ()


def test_hooks_of_what_is_there_already() -> None:
    """An archive in its final form is called for by its inode, with the whole command and its timeout."""
    one = entry("app.log.1.zst")
    found = plan(facts(entry("app.log"), one, rule=spec(on_archive=("/up", "{archive}"), on_archive_timeout=9.0)))
    assert found.hooks == (RunHook(HERE, "app.log.1.zst", one.id, ("/up", "{archive}"), 9.0),)
