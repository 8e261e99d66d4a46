"""What travels through the queue: one JSON object with a version. No classes, no pickle, no list of files.

Whoever may write to the queue may have sent anything: nothing here raises but Stale and Unacceptable.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from logrotor.disk.attempts import ALL, BRIEF
from logrotor.model import Ending
from logrotor.text import ours

TASK = "logrotor.rotate"  # frozen: a job that was queued by another version still finds its task
VERSION = 1
OLDEST = 1  # older ones are dropped as stale
LONGEST = 65536  # characters: a job that names a thousand logs; whoever writes to the queue could send any number
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")  # as it is shown, and typed after "queue retry"
# As long as limits.h lets a path be, and fit to be an argument of a program: a file name may have any bytes but NUL.
Text = Annotated[str, Meta(max_length=4096, pattern=r"\A[^\0\ud800-\udc7f\udd00-\udfff]*\Z")]
Moment = Annotated[float, Meta(ge=0.0, le=253402300800.0)]  # up to the year 10000, which the standard library knows


class Payload(Struct, frozen=True, kw_only=True):
    """One job. Times are epoch seconds."""

    id: str  # the same through all of its attempts and redeliveries
    host: Text
    config: Text  # absolute path
    config_sha256: Text = ""
    logs: tuple[Text, ...] = ("*",)  # names of rules or paths of logs; "*": all
    enqueued: Moment
    expires: Moment
    app: Text = ""  # the version of logrotor that queued it
    v: int = VERSION


class Stale(Exception):
    """An old job: dropped without an error, its work is done by the next one."""


class Unacceptable(Exception):
    """A job that no further attempt can make right; the message says what to do."""


class Newer(Unacceptable):
    """A job of a logrotor that is newer than this worker."""


def new_id() -> str:
    return uuid.uuid4().hex


def encode(payload: Payload) -> str:
    """The JSON text that is queued."""
    fields = {name: getattr(payload, name) for name in Payload.__struct_fields__}
    return json.dumps({"task": TASK, **fields}, sort_keys=True)


def identify(text: object) -> str:
    """The id of the job ``text``, of any version; one without a usable id gets a name that is always the same."""
    found = _fields(text).get("id")
    if isinstance(found, str) and _ID.fullmatch(found):
        return found
    return hashlib.sha256(str(text).encode(errors="backslashreplace")).hexdigest()[:32]


def enqueued(text: object) -> float | None:
    """When a payload of any version was queued; None if it does not say."""
    try:
        return msgspec.convert(_fields(text).get("enqueued"), Moment)
    except msgspec.ValidationError:
        return None


def excerpt(text: object) -> str:
    """``text`` as the history keeps it while it is worked on: all of a payload, the beginning of anything else."""
    shown = str(text).encode(errors="backslashreplace").decode()
    return shown if len(shown) <= LONGEST else f"{shown[:BRIEF]}..."


def kept(shown: str, ending: Ending) -> str:
    """The same once it has ended: whole where ``queue retry`` needs its logs, and nothing after a success."""
    if ending in (Ending.DONE, Ending.BUSY, Ending.STALE):
        return ""
    return shown[:BRIEF] if ending is Ending.REFUSED else shown


def selection(text: object) -> str:
    """The logs of a payload as JSON, the same text for the same ones; of one that cannot be read: all."""
    try:
        return json.dumps(sorted(decode(text).logs))
    except (Stale, Unacceptable):
        return ALL


def decode(text: object) -> Payload:
    """Read a payload of any version; unknown fields are ignored. Raises Stale, Unacceptable."""
    fields = _fields(text)
    version = fields.get("v")
    if type(version) is not int or fields.get("task") != TASK:
        raise Unacceptable("the job cannot be read: it is not a payload of logrotor; "
                           f"clear it: {ours('queue clear --failed')}")  # fmt: skip
    if version > VERSION:
        app = fields.get("app", "a newer logrotor")
        raise Newer(f"the job has format {_brief(version)} (queued by {_brief(app)}), this worker knows {VERSION}: "
                    "upgrade the worker")  # fmt: skip
    if version < OLDEST:
        raise Stale(f"the job has format {_brief(version)}, and this worker knows {OLDEST} and later")
    try:
        return msgspec.convert({**fields, "id": identify(text)}, Payload)
    except msgspec.ValidationError as error:
        raise Unacceptable(f"the job lacks a field or has a wrong one: {error}; "
                           f"clear it: {ours('queue clear --failed')}") from None  # fmt: skip


def _fields(text: object) -> Mapping[str, Any]:
    """The object that ``text`` is; empty if it is none. The standard library reads it: a name may have any bytes."""
    if not isinstance(text, str) or len(text) > LONGEST:
        return {}
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _brief(value: object) -> str:
    """What somebody sent, short enough for a message."""
    return str(value)[:100].encode(errors="backslashreplace").decode()
