"""Any debris is a normal input: whatever lies in a directory, two runs bring it in order and lose nothing.

Thousands of directories with up to six entries of our names, drawn by numbered dice: contents that are whole, empty,
equal or damaged, and the second names that an interrupted link + unlink leaves. What the planner makes of them is
checked from outside: by the oracle's lines, by the files' bytes, and by what a second and a third plan still want.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import lzma
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import zstandard

from logrotor.model import Report
from logrotor.rotator import Rotator
from tests.proof import interfere
from tests.proof.sampling import EXHAUSTIVE
from tests.support import oracle

NOW = int(time.time())
SUFFIXES = ("", "", "", ".zst", ".zst", ".gz", ".bz2", ".xz")
STAMPS = ("20231101T000000Z", "20231102T000000Z", "20231102T000000Z-1", "20231102T000000Z-2")
RULES: tuple[dict[str, Any], ...] = (
    {}, {"compress": "none"}, {"compress": "gzip", "keep_uncompressed": 1}, {"naming": "dated"},
    {"archive_dir": "old"}, {"archive_dir": "old", "compress": "none"}, {"naming": "dated", "archive_dir": "old"},
    {"backup_count": 1}, {"backup_count": 3, "compress": "none"}, {"backup_count": 2, "archive_dir": "old"},
    {"backup_count": 2, "naming": "dated"}, {"create": False}, {"max_total_size": 500}, {"max_age": "30d"},
)  # fmt: skip
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".zst": zstandard.compress, ".gz": functools.partial(gzip.compress, mtime=0),
    ".bz2": bz2.compress, ".xz": lzma.compress,
}  # fmt: skip


# ---------------------------------------------------------------- directories


@dataclass(frozen=True, slots=True)
class Thing:
    """One entry: its name (``old/...``: in the archive directory), its bytes, its age; or a second name of another."""

    name: str
    data: bytes = b""
    age: int = 0
    mode: int = 0o664
    twin: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A directory, and the rule and way in which it is run."""

    number: int
    rule: dict[str, Any]
    things: tuple[Thing, ...]
    force: bool
    due: bool = False

    def __str__(self) -> str:
        things = "".join(f"\n  {t.name}: {t.twin or len(t.data)} bytes, age {t.age}, {t.mode:o}" for t in self.things)
        return f"case {self.number}: {self.rule}, force={self.force}, due={self.due}{things}"


def draw(number: int) -> Case:
    """The case of that number, always the same."""
    dice = random.Random(number)
    rule = dice.choice(RULES)
    names = dict.fromkeys(_name(dice, "archive_dir" in rule) for _ in range(dice.randint(1, 6)))
    things = [_thing(dice, name) for name in names]
    if dice.random() < 0.3:
        _link_two(dice, things)
    return Case(number, rule, tuple(things), force=dice.random() < 0.2, due=dice.random() < 0.5)


def _name(dice: random.Random, elsewhere: bool) -> str:
    archive = f"app.log.{dice.choice((1, 1, 2, 2, 3, 4))}" if dice.random() < 0.75 else f"app.log-{dice.choice(STAMPS)}"
    archive += dice.choice(SUFFIXES)
    folder = "old/" if elsewhere and dice.random() < 0.3 else ""
    kind = dice.random()
    if kind < 0.2:
        return "app.log"
    if kind < 0.3:
        return ".app.log.new"
    if kind < 0.45:
        return f"{folder}.{archive}.{'tmp' if kind < 0.4 else 'aside'}"
    return f"{folder}{archive}"


def _thing(dice: random.Random, name: str) -> Thing:
    """Content 0 to 3 are generations of one to four lines, each with the age that goes with it."""
    which, kind = dice.randrange(4), dice.random()
    data = b"" if kind < 0.15 else oracle.lines(f"g{which}", 1, which + 1)
    age = 1000 * which + (dice.randrange(3) if dice.random() < 0.2 else 0)
    suffix = os.path.splitext(name.removesuffix(".tmp").removesuffix(".aside"))[1]
    data = PACK.get(suffix, bytes)(data)
    if (suffix in PACK and kind > 0.93) or name.endswith(".tmp"):
        data = data[: dice.randrange(len(data) + 1)]
    if not data and name.startswith("app.log.") and dice.random() < 0.2:
        return Thing(name, b"", age, 0o1600)
    return Thing(name, data, age)


def _link_two(dice: random.Random, things: list[Thing]) -> None:
    """The second name that a link before an unlink, or before a rename, leaves."""
    pairs = [
        (one.name, other)
        for one in things
        for other in (
            _after_move(one.name),
            "app.log.1" if one.name in ("app.log", ".app.log.new") else None,
            _published(one.name),
        )
        if other is not None
    ]
    if not pairs:
        return
    source, target = dice.choice(pairs)
    things[:] = [thing for thing in things if thing.name != target]
    things.append(Thing(target, twin=source))


def _after_move(name: str) -> str | None:
    """``app.log.2.zst`` after a shift of ``app.log.1.zst``."""
    head, dot, rest = name.removeprefix("app.log.").partition(".")
    if not name.startswith("app.log.") or not head.isdigit():
        return None
    return f"app.log.{int(head) + 1}{dot}{rest}"


def _published(name: str) -> str | None:
    """``app.log.1.zst`` of ``.app.log.1.zst.tmp``; and the other way round, for a removal."""
    folder, base = os.path.split(name)
    if base.endswith((".tmp", ".aside")):
        return os.path.join(folder, os.path.splitext(base)[0][1:])
    return os.path.join(folder, f".{base}.aside") if base.startswith("app.log.") else None


# ---------------------------------------------------------------- what lies there


@dataclass(slots=True)
class Seen:
    """A directory as it is: the bytes and modes of all files, the lines of those that count, by file."""

    files: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    lines: dict[int, Counter[bytes]] = field(default_factory=dict)  # by inode; unfinished archives are left out
    names: dict[int, str] = field(default_factory=dict)
    mtimes: dict[int, float] = field(default_factory=dict)

    @property
    def all(self) -> Counter[bytes]:
        return sum(self.lines.values(), Counter())


def look(folder: Path) -> Seen:
    seen = Seen()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        status, data = path.stat(), path.read_bytes()
        name = os.fspath(path.relative_to(folder))
        seen.files[name] = (hashlib.sha1(data).hexdigest(), status.st_mode, status.st_nlink)
        if name.endswith(".tmp"):
            continue
        seen.names[status.st_ino], seen.mtimes[status.st_ino] = name, status.st_mtime
        seen.lines[status.st_ino] = Counter(
            unpacked(os.path.splitext(name.removesuffix(".aside"))[1], data).splitlines()
        )
    return seen


@functools.lru_cache(maxsize=10_000)
def unpacked(suffix: str, data: bytes) -> bytes:
    """What the oracle reads in such a file; a damaged one counts as its bytes."""
    if suffix not in PACK or not suffix:
        return data
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"debris-{os.getpid()}{suffix}"
    path.write_bytes(data)
    try:
        plain, error = oracle.read(path)
    finally:
        path.unlink()
    return data if error else plain


def build(folder: Path, case: Case) -> None:
    for place in (folder, folder / "old") if "archive_dir" in case.rule else (folder,):
        place.mkdir(parents=True)
    for thing in case.things:
        path = folder / thing.name
        if thing.twin is not None:
            os.link(folder / thing.twin, path)
            continue
        path.write_bytes(thing.data)
        path.chmod(thing.mode)
        os.utime(path, (NOW - thing.age, NOW - thing.age))


# ---------------------------------------------------------------- the promise


def judge(root: Path, case: Case) -> str:
    """Two runs and a third plan. Gives "refused" or "ordered"; AssertionError if something is wrong."""
    logs = root / "logs"
    build(logs, case)
    paths = [str(logs / "app.log")] if case.number % 2 else [str(logs / "*.log")]
    size = 60 if case.due else 1_000_000
    rotator = interfere.rotator(root / "state", {"name": "app", "paths": paths, "max_size": size, **case.rule})
    before = look(logs)
    first = rotator.run(force=case.force)
    once = look(logs)
    if any(log.refused for log in first.plan.logs):
        assert once.files == before.files, "refused, but not left alone"
        return "refused"
    second = rotator.run()
    twice = look(logs)
    assert (first.exit_code, second.exit_code) == (0, 0), (first.failed, second.failed)
    if not case.due:
        assert twice.files == once.files, ("not finished by one run", once.files, twice.files)
    _nothing_left_to_do(rotator, case.rule)
    removed = _removed(before, first, case.rule) + _removed(once, second, case.rule)
    _nothing_lost(before, twice, removed)
    assert [name for name in twice.files if not _is_kept_name(name)] == [], twice.files
    _in_order(case, before, twice)
    return "ordered"


def _nothing_left_to_do(rotator: Rotator, rule: dict[str, Any]) -> None:
    """The third plan is empty.

    But for the log that was just taken, which retention leaves for the next run: its size in the end was not known, and
    by its last write it may be older than archives that somebody touched.
    """
    third = rotator.plan()
    if ("max_total_size" in rule or "naming" in rule) and not third.is_idle:
        assert all(log.steps == log.retire for log in third.logs), third.logs
        rotator.run()
        third = rotator.plan()
    assert third.is_idle, third.logs


def _removed(before: Seen, report: Report, rule: dict[str, Any]) -> Counter[bytes]:
    """The lines of the archives that retention removed, which needs a limit for that."""
    done = {(outcome.log, outcome.name) for outcome in report.outcomes if outcome.action == "remove"}
    steps = [(log.path, step) for log in report.plan.logs for step in log.retire]
    assert not steps or rule.keys() & {"backup_count", "max_total_size", "max_age"}, steps
    assert {(path, step.name) for path, step in steps} == done
    return sum((before.lines.get(step.id.inode, Counter()) for _, step in steps), Counter())


def _nothing_lost(before: Seen, after: Seen, removed: Counter[bytes]) -> None:
    """Each line is still there, and no oftener than before; half a line is where the whole one is."""
    lost = [line for line in before.all if not after.all[line] and not removed[line]]
    lost = [line for line in lost if not any(whole.startswith(line) for whole in after.all)]
    assert not lost, lost
    doubled = [line for line in after.all if after.all[line] > before.all[line]]
    assert not doubled, doubled


def _is_kept_name(name: str) -> bool:
    base = os.path.basename(name)
    return base == "app.log" or bool(oracle._accounted(base, ("app.log",)))


def _in_order(case: Case, before: Seen, after: Seen) -> None:
    """Numbered generations stay in the order that they had, where their names tell it."""
    names = [os.path.basename(t.name).removesuffix(".aside").removeprefix(".") for t in case.things]
    slots = Counter(name.split(".")[2] for name in names if name.endswith(tuple(filter(None, PACK))))
    if case.rule.get("naming") == "dated" or any("-2023" in t.name or t.twin for t in case.things):
        return
    if any(count > 1 for count in slots.values()):  # two compressed archives in one slot: which is newer?
        return
    if _slots(case, "old/") & _slots(case, ""):  # rows that were numbered apart: by their times
        return
    assert [c for c in _generations(after) if c in _generations(before)] == [
        c for c in _generations(before) if c in _generations(after)
    ], (before.names, after.names)


def _slots(case: Case, folder: str) -> set[str]:
    """The numbers of the archives beside the log, or in ``folder``."""
    found = (os.path.split(thing.name) for thing in case.things)
    bases = (base.removeprefix(".") for place, base in found if place == folder.rstrip("/"))
    return {base.split(".")[2] for base in bases if base.startswith("app.log.") and base != "app.log.new"}


def _generations(seen: Seen) -> list[frozenset[bytes]]:
    """The contents from the oldest slot to the live log; of equal ones the newest counts."""

    def age(item: tuple[int, str]) -> tuple[int, bool, float]:
        name = os.path.basename(item[1])
        if name in (".app.log.new", "app.log"):
            return (name == "app.log") - 1, True, 0
        name = name.removesuffix(".aside").removeprefix(".")
        slot, _, suffix = name.removeprefix("app.log.").partition(".")
        return -int(slot) - 1, not suffix, seen.mtimes[item[0]]

    found = [frozenset(seen.lines[inode]) for inode, _ in sorted(seen.names.items(), key=age)]
    return [c for n, c in enumerate(found) if c and c not in found[n + 1 :]]


def sweep(numbers: Iterator[int] | range, root: Path) -> Counter[str]:
    ended: Counter[str] = Counter()
    for number in numbers:
        case = draw(number)
        place = root / "case"
        try:
            ended[judge(place, case)] += 1
        except Exception as error:
            error.add_note(str(case))
            raise
        finally:
            shutil.rmtree(place, ignore_errors=True)
    return ended


@pytest.mark.parametrize("part", range(4))
def test_any_debris(part, tmp_path):
    """1,500 directories: in order after one run, nothing lost, nothing doubled, and then nothing left to do."""
    with interfere.memory_folder(lambda: tmp_path) as root:
        ended = sweep(range(part, 1500, 4), root)
    assert ended["ordered"] > 300


@pytest.mark.long
@pytest.mark.parametrize("part", range(8))
def test_any_debris_at_length(part, tmp_path):
    """10,000 in all; twice as many with LOGROTOR_EXHAUSTIVE=1."""
    with interfere.memory_folder(lambda: tmp_path) as root:
        ended = sweep(range(10_000 + part, 28_500 if EXHAUSTIVE else 19_250, 8), root)
    assert ended["ordered"] > 1000
