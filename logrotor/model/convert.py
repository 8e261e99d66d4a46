"""Plans and reports as plain lists, dicts, strings and numbers."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args

from msgspec import Struct

from logrotor.model.entries import FileId, Writers
from logrotor.model.plan import Due, NotDue
from logrotor.model.steps import Step


def as_json(value: Any) -> Any:
    """``value`` in lists, dicts, strings and numbers only, ready for :func:`json.dumps`."""
    if isinstance(value, Struct):
        names = (name for name in value.__struct_fields__ if name not in _HIDDEN)
        shown = {name: as_json(getattr(value, name)) for name in names}
        return {"type": _word(type(value).__name__), **shown} if isinstance(value, _TAGGED) else shown
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, FileId):
        return {"device": value.device, "inode": value.inode}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(item) for item in value]
    return value


def _word(name: str) -> str:
    """``FinishTake`` -> ``finish_take``."""
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


# Not plain values, or shown elsewhere.
_HIDDEN = frozenset({"awaited", "directories", "function", "kind", "locked", "mend", "stat"})
# Values of several shapes share one field here, so each says its type.
_TAGGED = (*get_args(Writers), *get_args(Step), Due, NotDue)
