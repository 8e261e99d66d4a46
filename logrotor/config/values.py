"""Parse single values. Each parser returns the value or raises ``ValueError`` with what is wrong ("is no mode").

What would be accepted stands in the table of keys, which adds it to the message; nothing here knows a key.
"""

from __future__ import annotations

import enum
import os
import re
import signal as signal_module
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

_E = TypeVar("_E", bound=enum.StrEnum)

_MODE = re.compile(r"(?:0o)?[0-7]{3,5}")
_VARIABLE = re.compile(r"\$[A-Za-z_{]")
_BRACES = re.compile(r"(?<!\[)\{[^{}]*,[^{}]*\}")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*")


def mode(value: object) -> int:
    """Permission bits from an octal string, writable by the owner."""
    if isinstance(value, int) and not isinstance(value, bool):
        meant = " or ".join(_modes_meant(value)) or '"0664"'
        raise ValueError(f"is a number, and nobody can see whether octal or decimal; write the octal digits {meant}")
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise ValueError("is no mode")
    bits = int(value.removeprefix("0o"), 8)
    if bits > 0o777:
        raise ValueError("has more than the permission bits")
    if not bits & 0o200:
        raise ValueError("does not let the owner write")
    return bits


def _modes_meant(number: int) -> Iterator[str]:
    """The digits as written and, for ``0o664``, those of the number, each where it is a mode; mostly one is."""
    for digits in (str(number), f"{number:o}"):
        if re.fullmatch("[2367][0-7]{2}", digits):
            yield f'"0{digits}"'


def whole(low: int, high: int | None = None) -> Callable[[object], int]:
    """A parser for whole numbers from ``low`` to ``high``."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("is no whole number")
        if value < low or (high is not None and value > high):
            raise ValueError("is too small" if value < low else "is too large")
        return value

    return parse


def backup_count(value: object) -> int:
    """How many archives stay: at least 1."""
    if value == 0 and type(value) is int:
        raise ValueError('would delete the log when it is rotated; "off" keeps every archive')
    return whole(1)(value)


def boolean(value: object) -> bool:
    """true or false, and nothing that resembles them."""
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def one_of(kind: type[_E], *members: _E, other_words: Mapping[str, _E] | None = None) -> Callable[[object], _E]:
    """A parser for some members of an enum (none given: all), by their values, or by ``other_words``."""
    words = {member.value: member for member in members or tuple(kind)} | dict(other_words or {})

    def parse(value: object) -> _E:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"is not known here{did_you_mean(value, words)}")
        return words[value]

    return parse


def text(value: object) -> str:
    """A string that is not empty and can be handed to the system."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is no text" if not isinstance(value, str) else "is empty")
    if "\0" in value:
        raise ValueError("holds a NUL character")
    return value


def name(value: object) -> str:
    """A name for a rule, a target or a user. No slash, so that a name is never taken for a path."""
    word = text(value)
    if word != word.strip() or not word.isprintable() or "/" in word or word.startswith("-") or word == "off":
        raise ValueError("is no name")
    return word


def unit(value: object) -> str:
    """The name of a systemd unit."""
    word = text(value)
    if not _UNIT.fullmatch(word):
        raise ValueError("is no unit")
    return word


def queue_name(value: object) -> str:
    """The name of a queue that every engine accepts."""
    word = text(value)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,30}", word):
        raise ValueError("is no name of a queue")
    return word


def path(value: object) -> str:
    """A path as written; a path object is fine too."""
    written = text(os.fsdecode(value) if isinstance(value, os.PathLike) else value)
    if _VARIABLE.search(written):
        raise ValueError("names a variable, and variables are not expanded; write ~ or the path")
    return written


def file_path(value: object) -> str:
    """The path of a file."""
    written = path(value)
    if written.endswith("/"):
        raise ValueError('is a directory; for the logs in it write "DIR/*.log"')
    return written


def glob(value: object) -> str:
    """A glob for files. ``{a,b}`` is the shell's, and here would match only a file with braces in its name."""
    written = file_path(value)
    if _BRACES.search(written):
        raise ValueError("has braces; they are no glob here: write two items")
    return written


def textfile(value: object) -> str:
    """The path of a file for the textfile collector, which reads no file of another name."""
    written = file_path(value)
    if not written.endswith(".prom"):
        raise ValueError("does not end in .prom, and the collector reads no other file")
    return written


def list_of(parse: Callable[[object], str], *, empty: bool = False) -> Callable[[object], tuple[str, ...]]:
    """A parser for lists. One string is refused: as an argv it would be a shell command, which is never run."""

    def parse_all(value: object) -> tuple[str, ...]:
        if isinstance(value, (str, os.PathLike)):
            raise ValueError("is not a list; put it in [ ]")
        if not isinstance(value, (list, tuple)):
            raise ValueError("is not a list")
        if not value and not empty:
            raise ValueError("is empty")
        return tuple(_item(parse, item, number) for number, item in enumerate(value, 1))

    return parse_all


def _item(parse: Callable[[object], str], item: object, number: int) -> str:
    try:
        return parse(item)
    except ValueError as error:
        raise ValueError(f"is wrong in item {number}, {shown(item)}, which {error}") from None


def argument(value: object) -> str:
    """One argument of a command; it may be empty."""
    return "" if value == "" else text(value)


def argv(value: object) -> tuple[str, ...]:
    """A command and its arguments, run without a shell."""
    arguments = list_of(argument)(value)
    if not arguments[0].strip():
        raise ValueError("names no command")
    return arguments


def signal_name(value: object) -> str:
    """A signal without ``SIG``. KILL and STOP cannot be handled, so no process reopens its logs on them."""
    if not isinstance(value, str):
        raise ValueError("is no name of a signal")
    word = value.strip().upper().removeprefix("SIG")
    if f"SIG{word}" not in signal_module.Signals.__members__:
        raise ValueError("is no name of a signal")
    if word in ("KILL", "STOP"):
        raise ValueError("cannot be handled by any process")
    return word


def function(value: object) -> Callable[[tuple[str, ...]], object]:
    """Something that can be called."""
    if not callable(value):
        raise ValueError("cannot be called")
    return value


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """The end of a message about a word that is not known; empty if none looks like it."""
    from logrotor.text import closest

    meant = closest(value.lower(), known) if isinstance(value, str) else None
    return f"; did you mean {meant!r}?" if meant else ""


def shown(value: object) -> str:
    """``value`` for a message: as the user wrote it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        written = repr(value) if isinstance(value, (str, int, float, list, tuple, dict)) else str(value)
    except ValueError:  # an integer of more than 4300 digits
        return "a huge number"
    return written if len(written) <= 60 else f"{written[:57]}..."
