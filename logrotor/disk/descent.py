"""What an archive was made of, noted on it (xattr(7)): so both forms of one generation are known, whatever their names.

A run that is killed between the new form and the removal of the old one leaves both. Another configuration may give
one of them another slot meanwhile; equal bytes would not tell it from another generation then, but this does.
"""

from __future__ import annotations

import contextlib
import errno
import os

from logrotor.disk.calls import birth_time, change

_ATTRIBUTE = "user.logrotor.source"


def source(fd: int) -> bytes:
    """The file that the open one comes from, or itself: inode and time of the last write (nanoseconds)."""
    noted = _noted(fd)
    if noted:
        return b" ".join(noted.split(b" ")[:2])
    status = os.fstat(fd)
    return f"{status.st_ino} {status.st_mtime_ns}".encode()


def source_of(path: str, status: os.stat_result) -> bytes:
    """The same for a file that is not open."""
    with contextlib.suppress(OSError):
        return b" ".join(os.getxattr(path, _ATTRIBUTE, follow_symlinks=False).split(b" ")[:2])
    return f"{status.st_ino} {status.st_mtime_ns}".encode()


def origin(directory: str, name: str) -> tuple[int | None, float | None]:
    """The inode of what an archive was made of, and when that was taken, where they are noted on it."""
    path = os.path.join(directory, name)
    with contextlib.suppress(OSError, ValueError):
        return int(os.getxattr(path, _ATTRIBUTE, follow_symlinks=False).split(b" ")[0]), taken_at(path)
    return None, None


def inode(fd: int) -> int:
    """The inode of that file."""
    return int(source(fd).split()[0])


def has_noted(fd: int) -> bool:
    """Raises OSError where nobody can tell."""
    return bool(_noted(fd))


def _noted(fd: int) -> bytes:
    """Nothing if none is noted, or none can be here. Another error is no evidence of that."""
    try:
        return os.getxattr(fd, _ATTRIBUTE)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return b""


def outlives(fd: int, form: int) -> bool | None:
    """Is the open file older than the form, so that this may be made of it? None where nobody knows.

    A new file may have got the inode of one that was compressed and removed; then it was born after the form.
    """
    born, made = birth_time(fd), birth_time(form)
    return None if born is None or made is None else born <= made


def is_shared(one: int, other: int) -> bool:
    """Is one of two open files made of the other, or both of the same?

    Where times are whole seconds nobody knows: a file of the next second may have got the inode.
    """
    found = source(one)
    return found == source(other) and not found.endswith(b"0" * 9)


def note(fd: int, original: int) -> None:
    """Note on a new form what it is made of, and what is noted on that.

    A hint: without it, forms in different slots count as generations.
    """
    with contextlib.suppress(OSError):
        change("setxattr", os.setxattr, fd, _ATTRIBUTE, b" ".join([source(original), *_taken(original)]))


def note_taken(fd: int, base: str, now: float) -> None:
    """Note on a log, or on its copy, that it is an archive of the log ``base`` from ``now`` on (epoch seconds)."""
    with contextlib.suppress(OSError):
        taken = f"{now:.3f}".encode() + b" " + os.fsencode(base)
        change("setxattr", os.setxattr, fd, _ATTRIBUTE, source(fd) + b" " + taken)


def is_noted(path: str, base: str) -> bool:
    """Is it noted on a file that it is an archive of the log ``base``? An older logrotor did not note of which."""
    try:
        taken = _taken(path)
    except OSError:
        return False
    return not taken or taken[0].partition(b" ")[2] == os.fsencode(base)


def taken_at(path: int | str) -> float | None:
    """When the archive was taken (epoch seconds), where that is noted on it."""
    try:
        return float(_taken(path)[0].partition(b" ")[0])
    except (OSError, IndexError, ValueError):
        return None


def _taken(file: int | str) -> list[bytes]:
    """The moment and the log, as noted. OSError: nothing is noted."""
    noted = os.getxattr(file, _ATTRIBUTE, follow_symlinks=isinstance(file, int))
    return noted.split(b" ", 2)[2:]
