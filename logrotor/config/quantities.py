"""Parse sizes, shares and durations. Each parser returns the value or raises ``ValueError`` with what is wrong."""

from __future__ import annotations

import math
import re

from logrotor.model import FreeSpace

_LARGEST = 2**63 - 1  # off_t
_LONGEST = 100 * 365 * 86400.0
_SIZE = re.compile(r"([0-9]{1,30})(?:\.([0-9]{1,30}))?\s*(?:([kmgtp]?)(?:i?b)?)", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


def size(value: object) -> int:
    """Bytes, 1024-based: ``"10MB"``, ``"1.5G"``, ``1048576``. At least 1."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        whole, fraction, prefix = match[1], match[2] or "", match[3].lower()
        scale = 1024 ** " kmgtp".index(prefix or " ")
        count = int(whole + fraction) * scale // 10 ** len(fraction)
    elif isinstance(value, int) and not isinstance(value, bool):
        count = value
    else:
        raise ValueError("is no size")
    return _within(count)


def _within(count: int) -> int:
    if count < 0:
        raise ValueError("is negative")
    if count == 0:
        raise ValueError('is nothing; "off" switches the limit off')
    if count > _LARGEST:
        raise ValueError("is larger than any file")
    return count


def free_space(value: object) -> FreeSpace:
    """A size, or a percentage of the file system."""
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        return FreeSpace(bytes=size(value))
    percent = float(match[1])
    if not 0 < percent < 100:
        raise ValueError("is no share of a file system")
    return FreeSpace(percent=percent)


def duration(value: object) -> float:
    """Seconds: ``"90s"``, ``"1h30m"``, ``"7d"``, ``"2w"``, or a plain number. Zero is fine."""
    if isinstance(value, str):
        return _bounded(_spelt_duration(value.strip()))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("is no duration")
    if not 0 <= value < math.inf:
        raise ValueError("is negative" if value < 0 else "is no duration")
    return _bounded(value)


def positive_duration(value: object) -> float:
    """A duration that is not zero."""
    seconds = duration(value)
    if not seconds:
        raise ValueError("is no time at all")
    return seconds


def durations(value: object) -> tuple[float, ...]:
    """A list of durations, in seconds."""
    if not isinstance(value, (list, tuple)):
        raise ValueError("is not a list; put it in [ ]")
    if not value:
        raise ValueError("is empty")
    return tuple(duration(item) for item in value)


def age(value: object) -> float:
    """A duration that removes archives, so it must say its unit: ``30`` is 30 days in logrotate, seconds elsewhere."""
    seconds = positive_duration(value)
    if not isinstance(value, str) or not value.strip()[-1:].isalpha():
        raise ValueError(f'has no unit; for days write "{value}d"')
    return seconds


def _spelt_duration(text: str) -> float:
    if re.fullmatch(r"[0-9]{1,30}(?:\.[0-9]{1,30})?", text):
        return float(text)
    parts = _DURATION.findall(text)
    units = [unit for _, unit in parts]
    if not parts or _DURATION.sub("", text).strip() or len(set(units)) < len(units):
        raise ValueError("is no duration")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _bounded(seconds: float) -> float:
    if seconds > _LONGEST:
        raise ValueError("is more than 100 years")
    return float(seconds)
