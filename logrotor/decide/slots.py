"""The order of generations, and which moves give each a slot of its own. Nothing is ever moved over anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from logrotor.decide.naming import format_archive, is_dated_by, parse_archive, stamp_time
from logrotor.model import Archive, Codec, Move

HIGHEST_SLOT = 999_000_000  # of nine digits; nobody rotates that often


def time_of(archive: Archive) -> float:
    """The moment of an archive: its stamp, or its last write, which has fractions of a second."""
    written, name = archive.entry.mtime, archive.name
    return written if name.stamp is None or is_dated_by(name, written) else stamp_time(name.stamp) or 0.0


def newest_first(archives: Iterable[Archive], now: float) -> list[Archive]:
    """Numbered archives by slot and dated ones by stamp, merged by time; neither order is broken by the other.

    In one slot, the plain archive is the newer generation. Slot 1 is newer than any date, whatever the clock said:
    each log that is taken comes there, and moves the one before away. So is any slot newer than a date after ``now``
    (epoch seconds), which is of a clock that was ahead.
    """
    numbered: list[Archive] = []
    dated: list[Archive] = []
    for archive in archives:
        (dated if archive.name.slot is None else numbered).append(archive)
    numbered = _in_order(numbered)
    dated.sort(key=lambda a: (a.name.stamp or "", a.name.copy, a.name.codec is Codec.NONE), reverse=True)
    if not dated or not numbered:
        return numbered or dated
    return _merged(numbered, dated, now)


def make_way(
    archives: Sequence[Archive], first: int, is_held: Callable[[int], bool] = lambda slot: False
) -> list[tuple[Archive, Move]]:
    """Moves, highest slot first, after which each numbered archive has a slot of its own, none below ``first``.

    Only up to the first gap: a hole that a crash left is filled, and nothing beyond it moves. ``is_held``: has
    somebody else's file the name of that slot?
    """
    moves: list[tuple[Archive, Move]] = []
    free = first
    for archive in by_slot(archives):
        slot = archive.name.slot or 0
        wanted = max(slot, free)
        while wanted != slot and is_held(wanted):
            wanted += 1
        free = wanted + 1
        if wanted != slot:
            target = format_archive(replace(archive.name, slot=wanted))
            moves.append((archive, Move(archive.directory, archive.entry.name, target, archive.entry.id)))
    return moves[::-1]


def by_slot(archives: Iterable[Archive]) -> list[Archive]:
    """Those that have a slot, the newest first."""
    return _in_order([archive for archive in archives if archive.name.slot is not None])


def moved(archives: Iterable[Archive], moves: Iterable[tuple[Archive, Move]]) -> list[Archive]:
    """The archives as they will be named after ``moves``."""
    targets = {id(archive): move.target for archive, move in moves}
    return [renamed(a, targets[id(a)]) if id(a) in targets else a for a in archives]


def renamed(archive: Archive, name: str) -> Archive:
    parsed = parse_archive(name)
    assert parsed is not None, name
    return Archive(parsed, replace(archive.entry, name=name), archive.directory)


def _in_order(numbered: list[Archive]) -> list[Archive]:
    """By slot; where two directories have the same one, each was numbered alone, as the other was out of reach.

    Then neither order is broken by the other, and the time of the last write says which comes first.
    """
    places: dict[int, str] = {}
    if all(places.setdefault(a.name.slot or 0, a.directory) == a.directory for a in numbered):
        return sorted(numbered, key=_slot_order)
    rows: dict[str, list[Archive]] = {}
    for archive in sorted(numbered, key=_slot_order, reverse=True):
        rows.setdefault(archive.directory, []).append(archive)
    found = []
    while left := [row for row in rows.values() if row]:
        found.append(max(left, key=lambda row: (time_of(row[-1]), row[-1].name.codec is Codec.NONE)).pop())
    return found


def _slot_order(archive: Archive) -> tuple[int, bool, float]:
    return archive.name.slot or 0, archive.name.codec is not Codec.NONE, -archive.entry.mtime


def _merged(numbered: list[Archive], dated: list[Archive], now: float) -> list[Archive]:
    merged: list[Archive] = []
    left, right = 0, 0
    while left < len(numbered) and right < len(dated):
        moment = time_of(dated[right])
        if numbered[left].name.slot == 1 or moment > now or time_of(numbered[left]) >= moment:
            merged.append(numbered[left])
            left += 1
        else:
            merged.append(dated[right])
            right += 1
    return merged + numbered[left:] + dated[right:]
