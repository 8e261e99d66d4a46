"""The name grammar: which names in a log directory are ours, and what they mean.

``BASE.N`` and ``BASE-YYYYmmddTHHMMSSZ[-n]``, each with or without a codec's suffix, are archives of BASE.
``.BASE.new`` is a replacement, or a taken log that a crash left. ``.ARCHIVE.tmp`` is an unfinished archive.
``.ARCHIVE.aside`` is an archive that was set aside for a last look before it goes; it is whole.
``.logrotor.lock`` is there while runs work in the directory. Nothing else is ever created, moved or removed.
"""

from __future__ import annotations

import math
import os
import re
from datetime import UTC, datetime

from logrotor.model import Archive, ArchiveName, Codec, Naming

SUFFIXES = {codec: codec.suffix for codec in Codec}
LOCK = ".logrotor.lock"
_CODECS = {codec.suffix: codec for codec in Codec}
_LONGEST_SUFFIX = max(_CODECS, key=len)
_STAMP = "%Y%m%dT%H%M%SZ"
_FIRST = datetime(1000, 1, 1, tzinfo=UTC).timestamp()
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_ARCHIVE = re.compile(
    r"(?P<base>.+)"
    r"(?:\.(?P<slot>[1-9][0-9]{0,8})|-(?P<stamp>[0-9]{8}T[0-9]{6}Z)(?:-(?P<copy>[1-9][0-9]{0,8}))?)"
    rf"(?P<suffix>{'|'.join(map(re.escape, filter(None, _CODECS)))})?",
    re.DOTALL,
)
# A file created under its final name has this mode until it is complete: an empty one reserves the name of an archive,
# and a live log still lacks its own mode. The sticky bit means nothing on a file.
UNFINISHED_MODE = 0o1600
# Of a slot, a copy, a stamp and each suffix: by it most names in a directory are known to be no archives at all.
_LAST_CHARACTERS = frozenset("0123456789Z").union(suffix[-1:] for suffix in _CODECS)
MOST_BY_NAME = 9999  # the highest slot that a name alone can give: app.log.20261030 is a date, redis.16379 a port
_PACKED = (
    ".gz", ".Z", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".lzo", ".br", ".sz", ".tgz", ".zip", ".7z", ".rar",
    ".gpg", ".pgp", ".asc", ".enc", ".age",
)  # fmt: skip
_DATE = r"(?:19|20)[0-9]{2}([-_.]?)(?:0[1-9]|1[0-2])\2(?:0[1-9]|[12][0-9]|3[01])(?:[-_.T ]?[0-9][-_.:0-9]*)?"
_OTHERS = re.compile(rf"(?P<base>.+?)(?:\.[0-9]+|[-_.]{_DATE})", re.DOTALL)
_NAME_MAX = 255  # bytes; every file system that we know
_LONGEST = {
    Naming.NUMBERED: f"..999999999{_LONGEST_SUFFIX}.aside",
    Naming.DATED: f".-20261121T070000Z-999999999{_LONGEST_SUFFIX}.aside",
}


def parse_archive(name: str) -> ArchiveName | None:
    """Return the parts of an archive's name; None for any other name, or with an impossible date."""
    match = _ARCHIVE.fullmatch(name) if name[-1:] in _LAST_CHARACTERS else None
    if match is None:
        return None
    base, slot, stamp, copy, suffix = match.group("base", "slot", "stamp", "copy", "suffix")
    if stamp is not None and stamp_time(stamp) is None:
        return None
    return ArchiveName(base, int(slot) if slot else None, stamp, int(copy or 0), _CODECS[suffix or ""])


def format_archive(name: ArchiveName) -> str:
    """The reverse of :func:`parse_archive`."""
    if name.slot is not None:
        return slot_name(name.base, name.slot, name.codec)
    copy = f"-{name.copy}" if name.copy else ""
    return f"{name.base}-{name.stamp}{copy}{name.codec.suffix}"


def slot_name(base: str, slot: int, codec: Codec = Codec.NONE) -> str:
    """``app.log``, 1 -> ``app.log.1``: the name of a numbered archive."""
    return f"{base}.{slot}{codec.suffix}"


def parse_replacement(name: str) -> str | None:
    """The base of ``.BASE.new``, or None."""
    return _hidden(name, ".new") or None


def parse_temp(name: str) -> ArchiveName | None:
    """The archive of ``.ARCHIVE.tmp``, or None."""
    return parse_archive(_hidden(name, ".tmp"))


def parse_aside(name: str) -> ArchiveName | None:
    """The archive of ``.ARCHIVE.aside``, or None."""
    return parse_archive(_hidden(name, ".aside"))


def _hidden(name: str, end: str) -> str:
    """``.NAME.new``, ".new" -> ``NAME``; empty for any other name."""
    return name[1 : -len(end)] if name.startswith(".") and name.endswith(end) else ""


def replacement_name(base: str) -> str:
    return f".{base}.new"


def temp_name(archive: str) -> str:
    return f".{archive}.tmp"


def aside_name(archive: str) -> str:
    return f".{archive}.aside"


def is_aside(archive: Archive) -> bool:
    """Tell whether an archive was set aside. An older logrotor gave it the name of an unfinished one."""
    return archive.entry.name.endswith((".aside", ".tmp"))


def is_ours(name: str) -> bool:
    """Tell whether it may be an archive, or is a temp or the lock."""
    return parse_archive(name) is not None or is_in_progress(name)


def is_in_progress(name: str) -> bool:
    """Tell whether it is the lock, or work in progress. Such a name is never taken for a live log."""
    if not name.startswith("."):
        return False
    return name == LOCK or bool(parse_replacement(name) or parse_temp(name) or parse_aside(name))


def is_packed(name: str) -> bool:
    """Tell whether the name says that some program has compressed or encrypted the file: nobody appends to that."""
    return name.endswith(_PACKED)


def rotated_from(name: str) -> str | None:
    """The log that the file was rotated from, if another program did that: by a number or a date behind its name."""
    match = _OTHERS.fullmatch(name) if name[-1:].isdigit() else None
    return match["base"] if match is not None else None


def stamp_of(moment: float) -> str:
    """The stamp of a dated archive: ``moment`` (epoch seconds) in UTC, whole seconds, in the years 1000 to 9999."""
    # A file's time may be any number (touch -d @9999999999999); one odd file must not stop the run.
    return datetime.fromtimestamp(math.floor(min(max(moment, _FIRST), _LAST)), UTC).strftime(_STAMP)


def stamp_time(stamp: str) -> float | None:
    """Epoch seconds of a stamp, or None for an impossible date."""
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def is_dated_by(name: ArchiveName, written: float) -> bool:
    """Tell whether an archive last written at that moment (epoch seconds) has this date.

    A copy may have the later date of the archive before it: the names keep the order of the rotations.
    """
    own, stamp = stamp_of(written), name.stamp or ""
    return stamp == own or (name.copy > 0 and stamp > own)


def is_unfinished(mode: int) -> bool:
    """Tell whether a file with this mode is incomplete. Its ACL may be set already, which changes the group's bits."""
    return mode & 0o7700 == UNFINISHED_MODE


def longest_base(naming: Naming) -> int:
    """How many bytes the name of a log may have, so that every archive and temp beside it gets a name too."""
    return _NAME_MAX - max(len(_LONGEST[Naming.NUMBERED]), len(_LONGEST[naming]))


def is_too_long(base: str, naming: Naming) -> bool:
    """Tell whether the name of an archive or temp of this log would be too long."""
    # No character has more than 4 bytes: for nearly all names the length in characters is enough.
    return 4 * len(base) > 200 and len(os.fsencode(base)) > longest_base(naming)
