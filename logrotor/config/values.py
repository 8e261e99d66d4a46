"""Parse single values. Each parser returns the value or raises :class:`Invalid` with what is wrong ("is not a mode").

What would be accepted is in the table of keys, which adds it to the message; nothing here knows a key.
"""

from __future__ import annotations

import enum
import math
import os
import re
import signal as signal_module
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from msgspec import Struct

from logrotor.model import KEEP, CreateMode, FreeSpace
from logrotor.text import UNITS

_E = TypeVar("_E", bound=enum.StrEnum)
_T = TypeVar("_T")

_NUMBER = r"[0-9]{1,30}(?:\.[0-9]{1,30})?"
_SIZE = re.compile(r"([0-9]{1,30})(?:\.([0-9]{1,30}))?\s*(?:([kmgtp]?)(?:i?b)?)", re.IGNORECASE)
_LARGEST = 2**63 - 1  # off_t
_SECONDS = {unit: seconds for unit, _, seconds in UNITS} | {"w": 7 * 86400}
_LONGEST = 100 * 365 * 86400.0


class Invalid(ValueError):
    """What is wrong with a value, to be read after it, and how it is meant to be written where that is known."""

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(problem, advice)
        self.problem, self.advice = problem, advice

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.problem, self.advice)))


# ---------------------------------------------------------------- words and lists


def boolean(value: object) -> bool:
    """true or false, and nothing that resembles them."""
    if not isinstance(value, bool):
        raise Invalid("is neither true nor false")
    return value


def one_of(kind: Iterable[_E]) -> Callable[[object], _E]:
    """A parser for members of an enum, by their values."""
    words = {member.value: member for member in kind}

    def parse(value: object) -> _E:
        if not isinstance(value, str) or value not in words:
            raise Invalid("is not known here", did_you_mean(value, words))
        return words[value]

    return parse


def text(value: object) -> str:
    """A string that is not empty and can be handed to the system; from Python also a path."""
    value = os.fsdecode(value) if isinstance(value, os.PathLike) else value
    if not isinstance(value, str) or not value.strip():
        raise Invalid("is empty" if isinstance(value, str) else "is not text")
    if "\0" in value:
        raise Invalid("contains a NUL character")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:  # of a dict: what a file says is in our encoding
        raise Invalid(f"cannot be written in {error.encoding}, our encoding", "set LC_ALL=C.UTF-8") from None
    return value


def name(value: object) -> str:
    """A name for a rule, a target or a user. No slash, so that a name is never taken for a path."""
    word = text(value)
    readable = os.fsencode(word).decode(errors="surrogateescape")  # in a locale without UTF-8, it has bytes for letters
    if word != word.strip() or not readable.isprintable() or "/" in word or word.startswith("-") or word == "off":
        raise Invalid("is not a valid name")
    return word


def user(value: object) -> str:
    """The name of a user, or the number."""
    return (
        str(value) if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 - 1 else name(value)
    )


def word(pattern: str, what: str) -> Callable[[object], str]:
    """A parser for text that matches a pattern as a whole."""

    def parse(value: object) -> str:
        if not re.fullmatch(pattern, text(value)):
            raise Invalid(f"is not {what}")
        return text(value)

    return parse


unit = word(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*", "the name of a unit")
queue_name = word(r"[A-Za-z0-9_-]{1,30}", "the name of a queue")  # that every engine accepts
_limited = word(r"[A-Za-z0-9_-]+:[0-9]{1,9}", "the name of a queue, a colon and a number")


def queue_limit(value: object) -> tuple[str, int]:
    """``"NAME:NUMBER"``."""
    queue, _, number = _limited(value).partition(":")
    return queue, int(number)


def list_of(parse: Callable[[object], _T], *, empty: bool = False) -> Callable[[object], tuple[_T, ...]]:
    """A parser for lists. One string is refused: as an argv it would be a shell command, which is never run."""

    def parse_all(value: object) -> tuple[_T, ...]:
        if isinstance(value, (str, os.PathLike)):
            raise Invalid("is not a list", "put it in [ ]")
        if not isinstance(value, (list, tuple)):
            raise Invalid("is not a list")
        if not value and not empty:
            raise Invalid("is empty")
        return tuple(_item(parse, item, number) for number, item in enumerate(value, 1))

    return parse_all


def _item(parse: Callable[[object], _T], item: object, number: int) -> _T:
    try:
        return parse(item)
    except Invalid as error:
        raise Invalid(f"is wrong in item {number}, {shown(item)}, which {error.problem}", error.advice) from None


def argv(value: object) -> tuple[str, ...]:
    """A command and its arguments, which may be empty, run without a shell."""
    arguments = list_of(lambda item: "" if item == "" else text(item))(value)
    if not arguments[0].strip():
        raise Invalid("names no command")
    return arguments


def signal_name(value: object) -> str:
    """A signal without ``SIG``. KILL and STOP cannot be handled, so no process reopens its logs on them."""
    name = value.strip().upper().removeprefix("SIG") if isinstance(value, str) else ""
    if f"SIG{name}" not in signal_module.Signals.__members__:
        raise Invalid("is not the name of a signal")
    if name in ("KILL", "STOP"):
        raise Invalid("cannot be handled by any process")
    return name


def function(value: object) -> Callable[[tuple[str, ...]], object]:
    """Something that can be called."""
    if not callable(value):
        raise Invalid("cannot be called")
    return value


# ---------------------------------------------------------------- numbers, sizes, times


def whole(low: int, high: int | None = None) -> Callable[[object], int]:
    """A parser for whole numbers from ``low`` to ``high``."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Invalid("is not a whole number")
        if value < low or (high is not None and value > high):
            raise Invalid("is too small" if value < low else "is too large")
        return value

    return parse


def backup_count(value: object) -> int:
    """How many archives stay: at least 1."""
    if whole(0)(value) == 0:
        raise Invalid("would delete the log when it is rotated", '"off" keeps every archive')
    return whole(1)(value)


def mode(value: object) -> CreateMode:
    """Permission bits from an octal string, writable by the owner; or "keep"."""
    if value == KEEP:
        return KEEP
    if isinstance(value, int) and not isinstance(value, bool):
        meant = " or ".join(_modes_meant(value)) or '"0664"'
        raise Invalid("is a number, which may be meant as octal or decimal", f"write the octal digits {meant}")
    if not isinstance(value, str) or not re.fullmatch(r"(?:0o)?[0-7]{3,5}", value):
        raise Invalid("is not a mode")
    bits = int(value.removeprefix("0o"), 8)
    if bits > 0o777:
        raise Invalid("has more than the permission bits")
    if not bits & 0o200:
        raise Invalid("does not let the owner write")
    return bits


def _modes_meant(number: int) -> Iterator[str]:
    """The digits as written and, for ``0o664``, those of the number, each where it is a mode; mostly one is."""
    for digits in (str(number), f"{number:o}"):
        if re.fullmatch("[2367][0-7]{2}", digits):
            yield f'"0{digits}"'


def size(value: object) -> int:
    """Bytes, 1024-based: ``"10MB"``, ``"1.5G"``, ``1048576``. At least 1."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        number, fraction, prefix = match[1], match[2] or "", match[3].lower()
        scaled = int(number + fraction) << 10 * " kmgtp".index(prefix or " ")
        count = scaled // int("1" + "0" * len(fraction))
    elif isinstance(value, int) and not isinstance(value, bool):
        count = value
    else:
        raise Invalid("is not a size")
    if count <= 0:
        raise Invalid("is negative") if count else Invalid("is nothing", '"off" switches the limit off')
    if count > _LARGEST:
        raise Invalid("is larger than any file")
    return count


def free_space(value: object) -> FreeSpace:
    """A size, or a percentage of the file system."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*%", value.strip()) if isinstance(value, str) else None
    if not match:
        return FreeSpace(bytes=size(value))
    percent = float(match[1])
    if not 0 < percent < 100:
        raise Invalid("is not a share of a file system")
    return FreeSpace(percent=percent)


def duration(value: object) -> float:
    """Seconds: ``"90s"``, ``"1h30m"``, ``"7d"``, ``"2w"``, a plain number, or from Python a timedelta. Zero is fine."""
    value = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(value, str):
        seconds = _spelt_duration(value.strip())
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or not value < math.inf:
        raise Invalid("is not a duration")
    else:
        seconds = value
    if seconds < 0:
        raise Invalid("is negative")
    if seconds > _LONGEST:
        raise Invalid("is more than 100 years")
    return float(seconds)


def _spelt_duration(written: str) -> float:
    if re.fullmatch(_NUMBER, written):
        return float(written)
    part = rf"({_NUMBER})\s*([{''.join(_SECONDS)}])"
    parts = re.findall(part, written)
    units = {unit for _, unit in parts}
    if not parts or re.sub(part, "", written).strip() or len(units) < len(parts):
        raise Invalid("is not a duration")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def positive_duration(value: object) -> float:
    """A duration that is not zero."""
    seconds = duration(value)
    if not seconds:
        raise Invalid("is not greater than zero")
    return seconds


def age(value: object) -> float:
    """A duration that removes archives, so it must say its unit: ``30`` is 30 days in logrotate, seconds elsewhere."""
    seconds = positive_duration(value)
    if not isinstance(value, timedelta) and (not isinstance(value, str) or not value.strip()[-1:].isalpha()):
        raise Invalid("has no unit", f'for days write "{value}d"')
    return seconds


# ---------------------------------------------------------------- schedules

NAMES = {
    "hourly": "0 * * * *",
    "daily": "0 0 * * *",
    "weekly": "0 0 * * 0",
    "monthly": "0 0 1 * *",
    "yearly": "0 0 1 1 *",
}


class Schedule(Struct, frozen=True):
    """What the user wrote, and the 5-field cron expression that it means."""

    name: str
    expression: str


def schedule(value: object) -> Schedule:
    """A name of ``NAMES`` or a cron expression of 5 fields that has a slot at all."""
    if not isinstance(value, str) or not value.strip():
        raise Invalid("is not a schedule")
    name = " ".join(value.split())
    expression = NAMES.get(name.lower(), name)
    fields = len(expression.split())
    if fields == 6:
        raise Invalid("has 6 fields, and a schedule has no seconds", "drop the first one")
    if fields != 5:
        advice = "write it without the @" if name.startswith("@") else did_you_mean(name, NAMES)
        raise Invalid(f"is not a schedule: it has {fields} field{'s' * (fields != 1)}, cron has 5", advice)
    _refuse_no_slot(expression)
    return Schedule(name, expression)


def _refuse_no_slot(expression: str) -> None:
    from cronsim import CronSim, CronSimError

    try:
        # A slot is looked for within 50 years after this day; any day would do, so it is a fixed one.
        slot = next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        raise Invalid(f"is not a schedule: {str(error).lower()}") from None
    if slot is None:
        raise Invalid("is not a schedule: no such day comes in 50 years")


# ---------------------------------------------------------------- for messages


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """The advice for a word that is not known; empty if none looks like it."""
    from logrotor.text import closest

    meant = closest(value.lower(), known) if isinstance(value, str) else None
    return f"did you mean {meant!r}?" if meant else ""


def shown(value: object) -> str:
    """``value`` for a message: as the user wrote it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    try:
        written = repr(value) if isinstance(value, (str, int, float, list, tuple, dict)) else str(value)
    except ValueError:  # an integer of more than 4300 digits
        return "a huge number"
    return written if len(written) <= 60 else f"{written[:57]}..."
