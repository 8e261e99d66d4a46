"""The clock of this machine, in its own time zone. Only the outermost edge reads it; all else is handed ``now``."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from logrotor.disk.files import read

LOCALTIME = "/etc/localtime"
_ZONES = "/zoneinfo/"


def local_now(environ: Mapping[str, str] | None = None) -> datetime:
    """This moment, aware, in the zone of :func:`local_zone`."""
    return datetime.now(local_zone(environ))


def local_zone(environ: Mapping[str, str] | None = None, *, localtime: str = LOCALTIME) -> tzinfo:
    """The local zone with its clock changes: ``$TZ``, else /etc/localtime, else UTC. See tzset(3).

    ``datetime.astimezone()`` would give today's offset for all year, so a slot beyond the next clock change
    would be an hour off.
    """
    setting = (os.environ if environ is None else environ).get("TZ")
    if setting is None:
        return _zone_of_file(localtime) or UTC
    # An empty or unknown TZ means UTC to the C library; cron and the log writers go by that.
    return _zone_of_setting(setting.removeprefix(":")) or UTC


def _zone_of_setting(setting: str) -> tzinfo | None:
    if setting.startswith("/"):
        return _zone_of_file(setting)
    return _zone_named(setting) or _zone_of_rule(setting)


def _zone_of_file(path: str) -> tzinfo | None:
    real = os.path.realpath(path)
    named = _zone_named(real.rpartition(_ZONES)[2]) if _ZONES in real else None
    if named is not None:
        return named
    try:
        data, _ = read(real)
    except OSError:
        return None
    return _attempt(lambda: zone_from_bytes(data))


def _zone_named(name: str) -> tzinfo | None:
    return _attempt(lambda: ZoneInfo(name)) if name else None


def _zone_of_rule(rule: str) -> tzinfo | None:
    """A zone from a POSIX rule such as ``CET-1CEST,M3.5.0,M10.5.0/3``."""
    # The rule is the footer of an otherwise empty TZif file. RFC 9636: a header and a block for version 1,
    # the same again for version 2, then the footer.
    block = struct.pack(">4sc15x6l", b"TZif", b"2", 0, 0, 0, 0, 1, 4) + struct.pack(">lbB", 0, 0, 0) + b"UTC\0"
    if "," not in rule and not any(c.isdigit() for c in rule):
        return None
    return _attempt(lambda: zone_from_bytes(block * 2 + b"\n" + rule.encode() + b"\n"))


def _attempt(make: Callable[[], tzinfo]) -> tzinfo | None:
    try:
        return make()
    except (OSError, ValueError, LookupError, struct.error, ImportError):  # whatever is no zone
        return None


class _FileZone(ZoneInfo):
    """A zone without a name. ``ZoneInfo.from_file`` gives one that does not pickle; reports have to."""

    data: bytes

    def __reduce__(self) -> tuple[Callable[[bytes], tzinfo], tuple[bytes]]:
        return zone_from_bytes, (self.data,)


def zone_from_bytes(data: bytes) -> tzinfo:
    """The zone that a TZif file's content describes. Raises ``ValueError`` if it is none."""
    zone = _FileZone.from_file(io.BytesIO(data), key="local")
    zone.data = data
    return zone
