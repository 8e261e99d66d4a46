"""How sizes, times and names look to a human, on a terminal or on a page. Exact numbers are for JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

# Of a duration: as the configuration spells it, as people read it, its seconds.
UNITS = (("d", "d", 86400), ("h", "h", 3600), ("m", "min", 60), ("s", "s", 1))
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def printable(text: str) -> str:
    """``text`` with everything escaped that could act on a terminal: control characters, ANSI codes, undecodable bytes,
    direction marks. Text without any of these is returned as it is."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    code = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if char.isprintable():
        return char
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode gives it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def lines(text: str) -> str:
    """A message that may have several lines: each printable, the later ones indented, so none can pose as
    a message of its own."""
    return "\n    ".join(map(printable, text.split("\n")))


def size(count: int | None) -> str:
    """``12911000`` -> ``12.3 MiB``."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1023.95:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration(seconds: float) -> str:
    """``604800`` -> ``7d``, ``90`` -> ``90s``: exact, as the configuration spells it, in the largest unit that fits."""
    unit, _, length = next((each for each in UNITS if seconds >= each[2] and seconds % each[2] == 0), UNITS[-1])
    return f"{seconds / length:.15g}{unit}"


def span(seconds: float) -> str:
    """``11000`` -> ``3 h``; the largest unit that fits, two of them below 10."""
    for index, (_, unit, length) in enumerate(UNITS):
        whole, rest = divmod(int(seconds), length)
        if whole:
            _, smaller, part = UNITS[min(index + 1, len(UNITS) - 1)]
            return f"{whole} {unit} {rest // part} {smaller}" if whole < 10 and rest >= part else f"{whole} {unit}"
    return "0 s"


def spread(least: float, most: float) -> str:
    """``7000``, ``16000`` -> ``1 to 5 h``: the largest unit that fits each, and not cut short."""
    (begin, unit), (end, other) = _rough(least, 0), _rough(most, 1)
    return f"{begin} to {end} {other}" if unit == other else f"{begin} {unit} to {end} {other}"


def _rough(seconds: float, more: int) -> tuple[int, str]:
    _, unit, length = next((each for each in UNITS if seconds >= each[2]), UNITS[-1])
    return int(seconds / length) + more, unit


def brief(seconds: float) -> str:
    """``0.25`` -> ``0.25 s``; from a minute on as :func:`span`."""
    return f"{seconds:.2f} s" if seconds < 60 else span(seconds)


def moment(when: datetime, now: datetime) -> str:
    """``2026-11-22 00:00 +01:00 (in 3 h)``."""
    return f"{stamp(when)} ({distance(when, now)})"


def distance(when: datetime, now: datetime) -> str:
    """``in 3 h``, ``5 s ago``."""
    seconds = (when - now).total_seconds()
    return f"in {span(seconds)}" if seconds >= 0 else f"{span(-seconds)} ago"


def stamp(when: datetime) -> str:
    """Local time to the second, with its offset; seconds only where there are some."""
    shown = when.isoformat(sep=" ", timespec="seconds" if when.second else "minutes")
    return shown[:-6] + " " + shown[-6:] if when.tzinfo else shown


def count(number: int, noun: str) -> str:
    """``1 log``, ``2 logs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def names(found: Sequence[str]) -> str:
    """The first three of what has one cause, and how many more."""
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def paths(found: Sequence[str]) -> str:
    """The same of paths: several of one directory are named by what differs, ``a.log, b.log in /srv/app/logs``."""
    top = os.path.commonpath(list(found)) if found[1:] and all(map(os.path.isabs, found)) else ""
    if top in ("", "/") or top in found:
        return names(found)
    return f"{names([os.path.relpath(each, top) for each in found])} in {top}"


def natural(name: str) -> list[str | int]:
    """By which names are sorted as people do it: a2 before a10."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split("([0-9]+)", name))]


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like ``word``; None if none does."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), 1, 0.55)), None)  # "hui" is 0.57 of "huey"


_configuration: list[str] = []  # "-c FILE", where this call of the command line was given one


def name_configuration(file: str | None) -> None:
    """What each command that is advised from now on has to name; None: it is found without."""
    _configuration[:] = [] if file is None else ["-c", typed(file)]


def ours(command: str) -> str:
    """``logrotor COMMAND`` as it is to be typed: with the configuration that this call was given."""
    return " ".join(["logrotor", command, *_configuration])


def typed(path: str) -> str:
    """A path as it is typed in a shell: quoted where it needs that."""
    from shlex import quote

    return quote(path)
