"""The few changes that the doctor makes by itself: the mode of a file of ours, and nothing else's."""

from __future__ import annotations

import os
import stat

from logrotor.disk.calls import change
from logrotor.disk.proc import by_descriptor
from logrotor.errors import Refused, Stale
from logrotor.model import FileId


def set_mode(path: str, mode: int, file: FileId) -> str:
    """Give the file or directory that was looked at its mode; says what was done. Raises Stale, Refused or OSError."""
    # O_PATH: a file without any permission cannot be opened otherwise, and no link is followed.
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != file:
            raise Stale(f"{path}: another file has its place by now")
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise Refused(f"{path}: neither a file nor a directory")
        change("chmod", os.chmod, by_descriptor(fd), mode)
    finally:
        os.close(fd)
    return f"chmod {mode:04o} {path}"
