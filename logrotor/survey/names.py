"""Which log a user means: by its path, or by a file name that only one of them has."""

from __future__ import annotations

import os
from collections.abc import Iterable

from logrotor.errors import UnknownSelection


def real_path(given: str) -> str:
    """Absolute, without symlinks on the way to its last part."""
    head, name = os.path.split(os.path.abspath(given))
    return os.path.join(os.path.realpath(head), name)


def meant(given: str, paths: Iterable[str]) -> str | None:
    """The one of ``paths`` (without symlinks) that is ``given``; None: none is. Raises UnknownSelection."""
    known = list(dict.fromkeys(paths))
    path = real_path(given)
    if path in known:
        return path
    found = [each for each in known if os.path.basename(each) == given]
    if len(found) > 1:
        raise UnknownSelection(f"{given}: may be any of {', '.join(found)}; give the whole path")
    return found[0] if found else None
