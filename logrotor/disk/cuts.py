"""What a copytruncate notes on its copy (xattr(7)): where it stands, for whoever meets the copy, whatever he remembers.

The note is on the copy before that has its name, so no configuration ever finds one without the other:

note   | the log begins with what the copy holds
-------|---------------------------------------------------------------------------------------------------
copied | and may bear the mark of the cut already: cut it, if the bytes agree
marked | while it bears the mark; without it, it was cut
cut    | no longer. This stays, also on what is made of the copy: a record elsewhere may not know it

The history of whoever made the copy has the same record: for an older logrotor, and for a file system that keeps no
notes. What is noted goes before that. It is believed of the files of those who may change the log anyway.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence

import msgspec

from logrotor.disk import calls, files
from logrotor.disk.calls import change
from logrotor.disk.opendir import OpenDir
from logrotor.model import CopyInFlight, Entry, Problem

_ATTRIBUTE = "user.logrotor.cut"
_CUT = b"cut"
_NO_NOTES = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM})


def note(copy: int, record: CopyInFlight) -> bool:
    """Note it on the open copy; to be synced. False: the file system keeps no notes, or we may not make one there."""
    values = [getattr(record, name) for name in CopyInFlight.__struct_fields__[1:]]
    return _set(copy, msgspec.json.encode(values))


def conclude(copy: int) -> None:
    """Note that nothing is left to do. Who may not has nothing noted of his own: without the mark it shows anyway."""
    _set(copy, _CUT)


def carry(form: int, copy: int) -> None:
    """A file that is made of a copy says the same, once that is cut. A hint, as is all that is noted on archives."""
    with contextlib.suppress(OSError):
        if is_cut(copy):
            _set(form, _CUT)


def _set(copy: int, value: bytes) -> bool:
    try:
        change("setxattr", os.setxattr, copy, _ATTRIBUTE, value)
    except OSError as error:
        if error.errno not in _NO_NOTES | _NOT_OURS:
            raise
        return False
    return True


def is_cut(copy: int) -> bool:
    return _noted(copy) == _CUT


def read(copy: int, path: str) -> CopyInFlight | None:
    """What is noted on the open copy of a head of the log at ``path``, if it is this very file that it was noted on."""
    found = _record(_noted(copy), path)
    return found if found is not None and found.archive_inode == os.fstat(copy).st_ino else None


def _noted(copy: int | str) -> bytes:
    """Nothing if nothing is noted, or nothing can be. Another error is no evidence of that."""
    try:
        return os.getxattr(copy, _ATTRIBUTE, follow_symlinks=isinstance(copy, int))
    except OSError as error:
        if error.errno not in _NO_NOTES | {errno.ENODATA}:
            raise
        return b""


def _record(noted: bytes, path: str) -> CopyInFlight | None:
    try:
        values = msgspec.json.decode(noted, type=list[object])
        return msgspec.convert(dict(zip(CopyInFlight.__struct_fields__, [path, *values], strict=True)), CopyInFlight)
    except ValueError:  # "cut", or somebody else's
        return None


# ---------------------------------------------------------------- the log


def is_of(record: CopyInFlight, live: int) -> bool:
    """Is the open file the log that was copied? Its inode may have been another's before."""
    return record.inode == os.fstat(live).st_ino and record.birth in (0.0, calls.birth_time(live) or 0.0)


def block_size(fd: int) -> int:
    return os.fstatvfs(fd).f_bsize


def mark_of(record: CopyInFlight) -> bytes:
    """The first byte of a log that is about to be truncated."""
    return bytes([record.head ^ 0xFF])


def hidden(live: int, record: CopyInFlight) -> int:
    """How many of the log's first bytes the mark hides."""
    if record.protocol == "collapse":
        block = block_size(live)
        return block if files.starts_with_hole(live, block) else 0
    return int(os.pread(live, 1, 0) == mark_of(record))


# ---------------------------------------------------------------- met


def find(directory: OpenDir, base: Entry, copies: Sequence[Entry]) -> CopyInFlight | Problem | None:
    """What is still to be cut off a log, by what is noted on its newest plain archives; or why nobody can tell.

    Raises OSError, Stale.
    """
    for copy in copies:
        path = os.path.join(directory.path, copy.name)
        try:
            noted = _noted(path)
        except PermissionError:
            return _why_unknown(path, base, copy, directory)
        if noted in (b"", _CUT):
            continue
        found = _in_flight(directory, base, copy)
        if found is not None:
            return found
    return None


def _in_flight(directory: OpenDir, base: Entry, copy: Entry) -> CopyInFlight | Problem | None:
    path = os.path.join(directory.path, base.name)
    with contextlib.ExitStack() as opened:
        out = directory.open_archive(copy.name, copy.id)
        opened.callback(os.close, out)
        record = read(out, path)
        live = directory.open_file(base.name, base.id)
        opened.callback(os.close, live)
        if record is None or not is_of(record, live) or (record.stage == "marked" and not hidden(live, record)):
            return None
    owners = {0, os.geteuid(), base.stat.st_uid, os.fstat(directory.fd).st_uid}
    if copy.stat.st_uid not in owners:  # whoever may make files here could have the log cut by one that he takes away
        what = f"says that it is the copy of an interrupted copytruncate of {base.name}, and is a stranger's"
        return Problem(
            subject=os.path.join(directory.path, copy.name), problem=what, advice="look at it, and move it away"
        )
    return record


def _why_unknown(path: str, base: Entry, copy: Entry, directory: OpenDir) -> Problem | None:
    """Why it may be a copy of the log's head that we may not read. What was born before the log is none."""
    born = [_birth(os.path.join(directory.path, entry.name)) for entry in (copy, base)]
    if copy.size > base.size or (born[0] is not None and born[1] is not None and born[0] < born[1]):
        return None
    what = f"cannot be read, so nobody can tell whether {base.name} is still to be cut by it"
    return Problem(subject=path, problem=what, advice="run logrotor as a user who may read it")


def _birth(path: str) -> float | None:
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return calls.birth_time(fd)
    finally:
        os.close(fd)
