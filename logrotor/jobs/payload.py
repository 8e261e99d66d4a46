"""What travels through the queue: one JSON object with a version. No classes, no pickle, no list of files."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TASK = "logrotor.rotate"  # frozen: a job that was queued by another version still finds its task
VERSION = 1
OLDEST = 1  # older ones are dropped as stale


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
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
    fields = {name: getattr(payload, name) for name in Payload.__dataclass_fields__}
    return json.dumps({"task": TASK, **fields}, sort_keys=True)


def identify(text: str) -> str:
    """The id of the job ``text``, of any version; what tells none gets a name that is always the same."""
    try:
        return str(json.loads(text)["id"])
    except (ValueError, TypeError, KeyError):
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def enqueued(text: str) -> float | None:
    """When a payload of any version was queued; None if it does not tell."""
    try:
        return float(json.loads(text)["enqueued"])
    except (ValueError, TypeError, KeyError):
        return None


def decode(text: str) -> Payload:
    """Read a payload of any version; unknown fields are ignored. Raises Stale, Unacceptable."""
    try:
        fields = json.loads(text)
        version = fields["v"]
        if type(version) is not int or fields.get("task") != TASK:
            raise ValueError("no payload of logrotor")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unacceptable(f"the job cannot be read ({error}); clear it: logrotor queue clear --failed") from None
    if version > VERSION:
        app = fields.get("app", "a newer logrotor")
        raise Unacceptable(f"the job has format {version} (queued by {app}), this worker knows {VERSION}: "
                           "upgrade the worker")  # fmt: skip
    if version < OLDEST:
        raise Stale(f"the job has format {version}, and this worker knows {OLDEST} and later")
    return _payload(fields)


def _payload(fields: Mapping[str, Any]) -> Payload:
    try:
        return Payload(
            id=str(fields["id"]), host=str(fields["host"]), config=str(fields["config"]),
            config_sha256=str(fields.get("config_sha256", "")), logs=tuple(map(str, fields.get("logs", ("*",)))),
            enqueued=float(fields["enqueued"]), expires=float(fields["expires"]), app=str(fields.get("app", "")),
            v=fields["v"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise Unacceptable(f"the job lacks a field or has a wrong one: {error!r}; "
                           "clear it: logrotor queue clear --failed") from None  # fmt: skip
