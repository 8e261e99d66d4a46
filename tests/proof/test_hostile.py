"""Nobody gets in: whatever an attacker puts in the way, nothing outside the log directory is touched.

Nothing hangs, and what cannot be done safely is refused, with the reason and what to do about it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.proof.house import ATTACKER, RUNNER, Ended, House, Kind, Who, fingerprint, house, place, take_away
from tests.proof.sampling import is_chosen
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
    return pytest.param(who, swap, marks=() if (who, swap) in QUICK_SWAPS else pytest.mark.long)


@pytest.mark.parametrize(("who", "swap"), [quick(who, swap) for who in Who for swap in SWAPS])
@pytest.mark.parametrize("rule", [{}, {"archive_dir": "old", "backup_count": 2}], ids=["beside", "archive_dir"])
def test_directory_swapped_at_each_change(who, swap, rule):
    """Whoever swaps the log directory, at any change of the run, leads nobody out of it."""
    for point in range(1, 1000):
        if not swapped(who, rule, SWAPS[swap], point, deep=False):
            break
    assert point > 15


@pytest.mark.long
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


@pytest.mark.long
def test_file_swapped_during_a_run():
    """A file of the run that becomes something else under its hands is not followed, read or written (samples)."""
    dice = random.Random(8)
    for who, victim, kind in dice.sample(ALL_FILES, 30):
        for point in dice.sample(range(4, 26), 2):
            file_swapped(who, victim, kind, point)


@pytest.mark.long
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("who", Who)
def test_file_swapped_at_each_change(who, victim):
    """The same for every kind of thing at every fourth change, each kind at others; exhaustive: at every change."""
    for number, kind in enumerate(Kind):
        for point in range(4, 26):
            if is_chosen(point, 4, number):
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
    "state/lock", "state/last-run",
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
                assert "a bug" not in ended.said, ended
            after = {**fingerprint(built.outside), **fingerprint(built.logs), **fingerprint(path)}
            assert after == before, kind


@pytest.mark.parametrize("who", Who)
def test_odd_things_in_place_of_the_history_are_set_aside(who):
    """What it is, it keeps, under another name; nothing behind it is touched, and the logs are rotated."""
    for kind in Kind:
        with house(who) as built:
            path = built.root / "state/history.sqlite"
            take_away(path)
            place(kind, path, built.outside)
            before, odd = fingerprint(built.outside), fingerprint(path)
            planned = built.command("plan")
            assert planned.code == 0 and path.name in planned.said, (kind, planned)
            assert fingerprint(path) == odd, kind
            first, second = built.command("run", "--force"), built.command("run", "--force")
            aside = path.with_name("history.sqlite.damaged-1")
            assert first.code == 0 and aside.name in first.said, (kind, first)
            assert second.code == 0 and aside.name not in second.said, (kind, second)
            assert [*fingerprint(aside).values()] == [*odd.values()], kind
            assert fingerprint(built.outside) == before, kind
            assert path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1


# ---------------------------------------------------------------- the way to the directory


def world_writable(path: Path) -> None:
    path.chmod(0o777)


def linked_by_attacker(path: Path) -> None:
    linked(path, users.user(ATTACKER).uid)


def linked_by_root(path: Path) -> None:
    linked(path, 0)


def linked(path: Path, owner: int) -> None:
    real = path.with_name(f"real-{path.name}")
    path.rename(real)
    path.symlink_to(real)
    os.lchown(path, owner, owner)


def no_directory(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.write_text("a file")


WAYS = {
    "the logs, open to all": ("var/logs", world_writable, "chmod o-w"),
    "above the logs, open to all": ("var", world_writable, "chmod o-w"),
    "the logs behind a stranger's link": ("var/logs", linked_by_attacker, "name what it points to"),
    "above the logs a stranger's link": ("var", linked_by_attacker, "name what it points to"),
    "a file instead of the logs": ("var/logs", no_directory, "Not a directory"),
    "archives, open to all": ("var/logs/old", world_writable, "chmod o-w"),
    "archives behind a stranger's link": ("var/logs/old", linked_by_attacker, "name what it points to"),
    "a file instead of the archives": ("var/logs/old", no_directory, "Not a directory"),
    "the state, open to all": ("state", world_writable, "chmod"),
    "the state behind a stranger's link": ("state", linked_by_attacker, "name what it points to"),
    "a file instead of the state": ("state", no_directory, "is a file; name a directory of its own"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("who", Who)
def test_unsafe_ways_are_refused(who, way):
    """Where somebody else could lead us elsewhere nothing is done, and it is said why and what helps."""
    where, spoil, advice = WAYS[way]
    with house(who, archive_dir="old") as built:
        spoil(built.root / where)
        before = fingerprint(built.root)
        ended = built.command("run", "--force")
        assert ended.code in (1, 2), ended
        assert advice in ended.said and "a bug" not in ended.said, ended
        after = fingerprint(built.root)
        for made in (built.state, built.root / "real-state", built.root / "logrotor.json"):  # ours, and the test's
            before = {path: seen for path, seen in before.items() if not path.startswith(str(made))}
            after = {path: seen for path, seen in after.items() if not path.startswith(str(made))}
        before.pop(str(built.root)), after.pop(str(built.root))
        assert after == before


@pytest.mark.parametrize("who", Who)
def test_safe_ways_are_taken(who):
    """A link of root's and a sticky directory that is open to all are no reason to refuse."""
    with house(who, archive_dir="old") as built:
        linked_by_root(built.logs)
        linked_by_root(built.state)
        built.logs.parent.chmod(0o1777)
        ended = built.command("run")
        assert ended == Ended(0), ended
        tally = oracle.count([built.logs, built.logs / "old"], "app.log", expected={"w1": 250})
        assert tally.clean, tally


def test_root_in_the_directory_of_another():
    """As root without run_as, a directory or a state of another user is refused, with the run_as to set."""
    for where in ("var/logs", "state"):
        with house(Who.ROOT) as built:
            os.chown(built.root / where, users.user(RUNNER).uid, users.user(RUNNER).gid)
            before = fingerprint(built.logs)
            ended = built.command("run")
            assert ended.code in (1, 2)
            assert "run_as" in ended.said, ended
            assert fingerprint(built.logs) == before


# ---------------------------------------------------------------- names

NAMES = [
    b"new\nline.log", b"carriage\rreturn.log", b"sp ace .log", b" .log", b"'quote\".log", b"back\\slash.log",
    b"\xff\xfe\x80.log", "tr\u00fcb\u202etxt.log".encode(), b"-rf.log", b"--force.log", b"*?[a-z]{x}.log", b"[.log",
    b"$(touch made).log", b"`touch made`;#.log", b"%s%n{0}{log}{archive}.log", b"\x1b[31m.log", b"tab\t.log",
    b"a.log.1.log", b"x.new.log", b".hidden.log", b"n" * 226 + b".log", b"n" * 230 + b".log",
]  # fmt: skip
TOO_LONG = [b"n" * 231 + b".log", b"n" * 251 + b".log", "ü".encode() * 125 + b".log"]


def others(built: House, name: bytes) -> Path:
    """The house with a log of that name alone."""
    for path in (built.log, built.logs / "app.log.1", built.logs / "app.log.2.zst"):
        path.unlink()
    path = built.logs / os.fsdecode(name)
    path.write_bytes(oracle.lines("w1", 1, 250))
    os.chown(path, built.owner.uid, built.owner.gid)
    return path


@pytest.mark.parametrize("name", NAMES, ids=repr)
@pytest.mark.parametrize("who", [Who.ROOT, Who.USER])
def test_odd_names_are_names(who, name):
    """Whatever bytes a log's name has, it is rotated, compressed and told of like any other."""
    with house(who) as built:
        hidden = ".*.log" if name.startswith(b".") else "*.log"
        built.rule = {"paths": [str(built.logs / hidden)], "on_archive": ["test", "-f", "{archive}"]}
        path = others(built, name)
        before = fingerprint(built.outside)
        shown = built.command("plan", "-v")
        assert shown.code == 0, shown
        ended = built.command("run", "-vv")
        assert ended.code == 0, ended
        assert "\x1b[31m" not in ended.said + shown.said, "a name reaches the terminal raw"
        assert sorted(p.name for p in built.logs.iterdir()) == sorted([path.name, f"{path.name}.1.zst", "old"])
        assert oracle.read(built.logs / f"{path.name}.1.zst")[0] == oracle.lines("w1", 1, 250)
        assert fingerprint(built.outside) == before
        assert built.command("run", "--json").code == 0


@pytest.mark.parametrize("name", TOO_LONG, ids=len)
@pytest.mark.parametrize("literal", [True, False])
def test_too_long_names_are_refused(name, literal):
    """A name that leaves no room for an archive's is refused, with the length that would do; the others go on."""
    with house(Who.USER) as built:
        path = others(built, name)
        (built.logs / "fine.log").write_bytes(oracle.lines("w2", 1, 250))
        os.chown(built.logs / "fine.log", built.owner.uid, built.owner.gid)
        both = [str(path), str(built.logs / "fine.log")]
        built.rule = {"paths": both if literal else [str(built.logs / "*.log")]}
        ended = built.command("run")
        assert ended.code == 1
        assert "too long" in ended.said and "shorten" in ended.said, ended
        assert sorted(p.name for p in built.logs.iterdir()) == sorted([path.name, "fine.log", "fine.log.1.zst", "old"])
        assert path.read_bytes() == oracle.lines("w1", 1, 250)


@pytest.mark.long
@pytest.mark.parametrize("who", [Who.ROOT, Who.USER])
def test_directory_swapped_there_and_back(who):
    """He may swap it back as well, between any two of the changes."""
    dice = random.Random(str(who))
    for _ in range(120):
        there, back_again = sorted(dice.sample(range(3, 28), 2))
        with house(who) as built:
            back: list[Callable[[], None]] = []
            before = fingerprint(built.outside)

            def attack(number: int, name: str) -> None:
                if number == there:  # noqa: B023
                    back.append(swap_by_attacker(built))  # noqa: B023
                elif number == back_again and back:  # noqa: B023
                    back.pop()()  # noqa: B023

            ended = built.run(attack)
            assert ended.code in (0, 1, 2), ended
            for undo in back:
                undo()
            assert fingerprint(built.outside) == before, (there, back_again, ended)
            unharmed(built, there, back_again, ended)
