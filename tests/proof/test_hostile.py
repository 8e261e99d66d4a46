"""Nobody gets in: whatever an attacker puts in the way, nothing outside the log directory is touched.

Nothing hangs, and what cannot be done safely is refused, with the reason and what to do about it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.proof.house import ATTACKER, House, Kind, Who, fingerprint, house, place, take_away
from tests.support import oracle, users
from tests.support.need import need

pytestmark = pytest.mark.usefixtures("root")


@pytest.fixture
def root() -> None:
    need(os.geteuid() == 0, "root, to be several users")


WITH_ADVICE = ("remove", "move it away", "name the", "chmod", "set ", "look at it", "choose", "add it to exclude")

# ---------------------------------------------------------------- the directory is swapped during a run


def swap_for_link(built: House, *, owner: int) -> Callable[[], None]:
    """The log directory goes elsewhere, and a symlink to the outside has its place. Gives the way back."""
    stolen = built.logs.with_name("stolen")
    built.logs.rename(stolen)
    built.logs.symlink_to(built.outside)
    os.lchown(built.logs, owner, owner)

    def back() -> None:
        built.logs.unlink()
        stolen.rename(built.logs)

    return back


def swap_by_attacker(built: House) -> Callable[[], None]:
    return swap_for_link(built, owner=users.user(ATTACKER).uid)


def swap_by_trusted(built: House) -> Callable[[], None]:
    """As if the attacker had found a link of the runner's own and moved it there."""
    return swap_for_link(built, owner=built.owner.uid)


def swap_for_directory(built: House) -> Callable[[], None]:
    """A real directory of the runner's gets the place of the logs."""
    stolen, other = built.logs.with_name("stolen"), built.outside
    built.logs.rename(stolen)
    other.rename(built.logs)

    def back() -> None:
        built.logs.rename(other)
        stolen.rename(built.logs)

    return back


SWAPS = {"attacker's link": swap_by_attacker, "trusted link": swap_by_trusted, "directory": swap_for_directory}
QUICK_SWAPS = {(Who.ROOT, "attacker's link"), (Who.USER, "trusted link"), (Who.RUN_AS, "directory")}


def quick(who: Who, swap: str) -> object:
    return pytest.param(who, swap, marks=() if (who, swap) in QUICK_SWAPS else pytest.mark.soak)


@pytest.mark.parametrize(("who", "swap"), [quick(who, swap) for who in Who for swap in SWAPS])
@pytest.mark.parametrize("rule", [{}, {"archive_dir": "old", "backup_count": 2}], ids=["beside", "archive_dir"])
def test_directory_swapped_at_each_change(who, swap, rule):
    """Whoever swaps the log directory, at any change of the run, leads nobody out of it."""
    for point in range(1, 1000):
        if not swapped(who, rule, SWAPS[swap], point, deep=False):
            break
    assert point > 15


@pytest.mark.soak
@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("who", [Who.ROOT, Who.USER])
def test_directory_swapped_at_each_system_call(who, swap):
    """The same at the calls that only look."""
    dice = random.Random(f"{who} {swap}")
    points = [dice.randint(1, 400) for _ in range(60)]
    reached = [swapped(who, {}, SWAPS[swap], point, deep=True) for point in points]
    assert any(reached)


def swapped(
    who: Who, rule: dict[str, object], swap: Callable[[House], Callable[[], None]], at: int, *, deep: bool
) -> bool:
    """Swap at one point; False: the run had not so many."""
    with house(who, **rule) as built:
        if swap is not swap_by_attacker:  # what a trusted path leads to may be rotated; here nothing is due there
            for name in ("app.log", "app.log.1"):
                (built.outside / name).rename(built.outside / f"other-{name}")
        back: list[Callable[[], None]] = []

        def attack(number: int, name: str) -> None:
            if number == at:
                back.append(swap(built))

        before = fingerprint(built.outside)
        ended = built.run(attack, deep=deep)
        assert ended.code in (0, 1, 2), ended
        for undo in back:
            undo()
        assert fingerprint(built.outside) == before, (at, ended)
        unharmed(built, at, ended)
        return bool(back)


def unharmed(built: House, *context: object) -> None:
    """No secret leaked, and after one more run all is well."""
    assert built.leaks() == [], context
    again = built.run()
    assert again.code == 0, (again, context)
    tally = oracle.count([built.logs, built.logs / "old"], "app.log", expected={"w1": 250})
    allowed = 50 if "backup_count" in built.rule else 0
    lost = tuple(line for line in tally.lost if line.number > allowed)
    assert replace(tally, lost=lost).clean, (tally, context)


# ---------------------------------------------------------------- a file is swapped during a run

VICTIMS = ("app.log", "app.log.1", "app.log.2.zst", ".app.log.new", ".app.log.1.zst.tmp", "app.log.1.zst")
ALL_FILES = [(who, victim, kind) for who in Who for victim in VICTIMS for kind in Kind]


def test_file_swapped_during_a_run():
    """A file of the run that becomes something else under its hands is not followed, read or written (samples)."""
    dice = random.Random(8)
    for who, victim, kind in dice.sample(ALL_FILES, 30):
        for point in dice.sample(range(4, 26), 2):
            file_swapped(who, victim, kind, point)


@pytest.mark.soak
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("who", Who)
def test_file_swapped_at_each_change(who, victim):
    """The same for every kind of thing at every other change."""
    for kind in Kind:
        for point in range(4, 26, 2):
            file_swapped(who, victim, kind, point)


def file_swapped(who: Who, victim: str, kind: Kind, at: int) -> None:
    with house(who) as built:
        path, stolen = built.logs / victim, built.logs.with_name(f"stolen-{victim}")

        def attack(number: int, name: str) -> None:
            if number == at:
                if path.exists():
                    path.rename(stolen)
                place(kind, path, built.outside)

        before = fingerprint(built.outside)
        ended = built.run(attack)
        assert ended.code in (0, 1, 2), ended
        assert fingerprint(built.outside) == before, (who, victim, kind, at, ended)
        assert built.leaks() == [], (who, victim, kind, at, ended)
        second = built.run()  # what was put there may still lie there: nothing of it is followed by the next run
        assert second.code in (0, 1, 2), ended
        assert fingerprint(built.outside) == before, (who, victim, kind, at, ended, second)
        assert built.leaks() == [], (who, victim, kind, at, ended)
        everything = [p for p in built.logs.parent.rglob("*") if p.is_file() and not p.is_symlink()]
        everything = [p for p in everything if p.stat().st_nlink == 1]
        lost = oracle.count(everything, expected={"w1": 250}).lost
        if stolen.exists() and victim.endswith((".new", ".tmp")):
            lost = ()  # he stole a temp, which may have been the only place for a moment
        assert not lost, (who, victim, kind, at, lost)


# ---------------------------------------------------------------- odd things that lie there

PLACES = (
    "var/logs/app.log", "var/logs/app.log.1", "var/logs/app.log.1.zst", "var/logs/app.log-20260101T000000Z.gz",
    "var/logs/.app.log.new", "var/logs/.app.log.1.zst.tmp", "var/logs/old/app.log.4.zst",
    "var/logs/old/.app.log.4.zst.tmp",
    "state/lock", "state/history.sqlite", "state/last-run",
)  # fmt: skip


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("who", Who)
def test_odd_things_are_refused(who, where):
    """Something else in the place of a file is left as it is, and refused with its path and what to do."""
    for kind in Kind:
        with house(who, archive_dir="old") as built:
            path = built.root / where
            take_away(path)
            place(kind, path, built.outside)
            before = {**fingerprint(built.outside), **fingerprint(built.logs), **fingerprint(path)}
            for arguments in (("plan",), ("run",), ("run", "--force")):
                ended = built.command(*arguments)
                if arguments == ("plan",) and where in ("state/lock", "state/last-run"):
                    continue  # plan needs neither
                assert ended.code in (1, 2), (kind, arguments, ended)
                assert path.name in ended.said, (kind, ended)
                assert any(advice in ended.said for advice in WITH_ADVICE), (kind, ended)
                assert "bug" not in ended.said, ended
            after = {**fingerprint(built.outside), **fingerprint(built.logs), **fingerprint(path)}
            assert after == before, kind
