"""What travels through the queue: one JSON object with a version. No classes, no pickle, no list of files.

Whoever may write to the queue may have sent anything: nothing here raises but Stale and Unacceptable.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

TASK = "logrotor.rotate"  # frozen: a job that was queued by another version still finds its task
VERSION = 1
OLDEST = 1  # older ones are dropped as stale
LONGEST = 65536  # characters: a job that names a thousand logs; whoever writes to the queue could send any number
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")  # as it is shown, and typed after "queue retry"
_PATH_MAX = 4096  # limits.h
_TIMES = (0.0, 253402300800.0)  # up to the year 10000, which is what the standard library knows


class Payload(Struct, frozen=True, kw_only=True):
    """One job. Times are epoch seconds."""

    id: str  # the same through all of its attempts and redeliveries
    host: str
    config: str  # absolute path
    config_sha256: str
    logs: tuple[str, ...] = ("*",)  # names of rules or paths of logs; "*": all
    enqueued: float
    expires: float
    app: str = ""  # the version of logrotor that queued it
    v: int = VERSION


class Stale(Exception):
    """An old job: dropped without an error, its work is done by the next one."""


class Unacceptable(Exception):
    """A job that no further attempt can make right; the message says what to do."""


def new_id() -> str:
    return uuid.uuid4().hex


def encode(payload: Payload) -> str:
    """The JSON text that is queued."""
    fields = {name: getattr(payload, name) for name in Payload.__struct_fields__}
    return json.dumps({"task": TASK, **fields}, sort_keys=True)


def identify(text: object) -> str:
    """The id of the job ``text``, of any version; what tells no usable one gets a name that is always the same."""
    told = _field(text, "id")
    if isinstance(told, str) and _ID.fullmatch(told):
        return told
    return hashlib.sha256(str(text).encode(errors="backslashreplace")).hexdigest()[:32]


def enqueued(text: object) -> float | None:
    """When a payload of any version was queued; None if it does not tell."""
    try:
        return _moment(_field(text, "enqueued"))
    except ValueError:
        return None


def excerpt(text: object) -> str:
    """``text`` as the history keeps it: all of a payload, the beginning of what is none."""
    shown = str(text).encode(errors="backslashreplace").decode()
    return shown if len(shown) <= LONGEST else f"{shown[:1000]}..."


def decode(text: object) -> Payload:
    """Read a payload of any version; unknown fields are ignored. Raises Stale, Unacceptable."""
    try:
        fields = _read(text)
        version = fields.get("v")
        if type(version) is not int or fields.get("task") != TASK:
            raise ValueError("no payload of logrotor")
    except ValueError as error:
        raise Unacceptable(f"the job cannot be read ({error}); clear it: logrotor queue clear --failed") from None
    if version > VERSION:
        app = fields.get("app", "a newer logrotor")
        raise Unacceptable(f"the job has format {_brief(version)} (queued by {_brief(app)}), this worker knows "
                           f"{VERSION}: upgrade the worker")  # fmt: skip
    if version < OLDEST:
        raise Stale(f"the job has format {_brief(version)}, and this worker knows {OLDEST} and later")
    return _payload(text, fields)


def _payload(text: object, fields: Mapping[str, Any]) -> Payload:
    try:
        return Payload(
            id=identify(text), host=_string(fields["host"]), config=_string(fields["config"]),
            config_sha256=_string(fields.get("config_sha256", "")), logs=_logs(fields.get("logs", ["*"])),
            enqueued=_moment(fields["enqueued"]), expires=_moment(fields["expires"]),
            app=_string(fields.get("app", "")), v=fields["v"],
        )  # fmt: skip
    except (KeyError, ValueError) as error:
        raise Unacceptable(f"the job lacks a field or has a wrong one: {_brief(repr(error))}; "
                           "clear it: logrotor queue clear --failed") from None  # fmt: skip


# ---------------------------------------------------------------- one value


def _read(text: object) -> Mapping[str, Any]:
    """The object that ``text`` is. Raises ValueError."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ValueError(f"no text of at most {LONGEST} characters")
    try:
        fields = json.loads(text)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(fields, dict):
        raise ValueError("no object")
    return fields


def _field(text: object, name: str) -> object:
    try:
        return _read(text).get(name)
    except ValueError:
        return None


def _string(value: object) -> str:
    """A text that can be shown, kept, and be an argument of a program. Raises ValueError."""
    if not isinstance(value, str) or len(value) > _PATH_MAX or "\0" in value:
        raise ValueError(f"{_brief(value)!r} is no text")
    value.encode(errors="surrogateescape")  # a file name may have any bytes; UnicodeEncodeError is a ValueError
    return value


def _logs(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("logs is no list")
    return tuple(map(_string, value))


def _moment(value: object) -> float:
    """Epoch seconds. Raises ValueError, also for NaN and Infinity, which Python reads as JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_brief(value)!r} is no time")
    earliest, latest = _TIMES
    if not earliest <= value <= latest:
        raise ValueError(f"{_brief(value)} is no time")
    return float(value)


def _brief(value: object) -> str:
    """What somebody sent, short enough for a message."""
    shown = str(value)[:100]
    return shown.encode(errors="backslashreplace").decode()
