"""What a copytruncate notes on its copy (xattr(7)): where it stands, for any configuration that meets the copy.

The note is on the copy before the copy gets its name, so nobody ever finds one without the other:

note   | the log begins with what the copy holds
-------|---------------------------------------------------------------------------------------------------
copied | and may bear the mark of the cut already: cut it, if the bytes agree
marked | while it bears the mark; without it, it was cut
cut    | no longer. This stays, also on what is made of the copy: a record elsewhere may not know it

The history of the configuration that made the copy has the same record, for an older logrotor and for file systems
without attributes. The note takes precedence. It is trusted only on files of those who could change the log anyway.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence

import msgspec

from logrotor.disk import calls, files
from logrotor.disk.calls import change
from logrotor.disk.opendir import OpenDir
from logrotor.model import CopyInFlight, Entry, Problem

_ATTRIBUTE = "user.logrotor.cut"
_CUT = b"cut"
_NO_NOTES = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM})


def begin(copy: int, record: CopyInFlight) -> bool:
    """Note it on the open copy; to be synced. False: the file system keeps no notes, or we may make none there."""
    try:
        note(copy, record)
    except OSError as error:
        if error.errno not in _NO_NOTES | _NOT_OURS:
            raise
        return False
    return True


def note(copy: int, record: CopyInFlight) -> None:
    """Replace a note that :func:`begin` made. Raises OSError: the older one would be trusted."""
    values = [getattr(record, name) for name in CopyInFlight.__struct_fields__[1:]]
    _set(copy, msgspec.json.encode(values))


def conclude(copy: int) -> None:
    """Note that nothing is left to do."""
    _set(copy, _CUT)


def carry(form: int, copy: int) -> None:
    """Note the same on a file that is made of a copy, once the log was cut by that. A hint, as are all such notes."""
    with contextlib.suppress(OSError):
        if is_cut(copy):
            _set(form, _CUT)


def _set(copy: int, value: bytes) -> None:
    change("setxattr", os.setxattr, copy, _ATTRIBUTE, value)


def is_cut(copy: int) -> bool:
    return _noted(copy) == _CUT


def read(copy: int, path: str) -> CopyInFlight | None:
    """What is noted on the open copy of a head of the log at ``path``, if it is this very file that it was noted on."""
    found = _record(_noted(copy), path)
    return found if found is not None and found.archive_inode == os.fstat(copy).st_ino else None


def _noted(copy: int) -> bytes:
    """Nothing if nothing is noted, or nothing can be. Another error is no evidence of that."""
    try:
        return os.getxattr(copy, _ATTRIBUTE)
    except OSError as error:
        if error.errno not in _NO_NOTES | {errno.ENODATA}:
            raise
        return b""


def _record(noted: bytes, path: str) -> CopyInFlight | None:
    try:
        values = msgspec.json.decode(noted, type=list[object])
        return msgspec.convert(dict(zip(CopyInFlight.__struct_fields__, [path, *values], strict=True)), CopyInFlight)
    except (ValueError, RecursionError):  # "cut", or of a logrotor to come
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


Explained = Callable[[Entry], bool]  # do we know otherwise how it came to be?


def find(
    directory: OpenDir, base: Entry, copies: Sequence[Entry], explained: Explained = lambda copy: False
) -> CopyInFlight | Problem | None:
    """What is still to be cut off a log, by what is noted on its newest plain archives; or why nobody can tell.

    Raises OSError, Stale, Refused.
    """
    for copy in copies:
        try:
            noted = os.getxattr(os.path.join(directory.path, copy.name), _ATTRIBUTE, follow_symlinks=False)
            found = _in_flight(directory, base, copy) if noted != _CUT else None
        except OSError as error:
            if error.errno == errno.ENODATA or (error.errno in _NO_NOTES | _NOT_OURS and explained(copy)):
                continue
            if error.errno in _NO_NOTES:
                found = _why_alike(directory, base, copy)
            elif error.errno in _NOT_OURS:
                found = _why_closed(directory, base, copy)
            else:
                raise
        if found is not None:
            return found
    return None


def _in_flight(directory: OpenDir, base: Entry, copy: Entry) -> CopyInFlight | Problem | None:
    with _opened(directory, base, copy) as (live, out):
        path, noted = os.path.join(directory.path, base.name), _noted(out)
        record = read(out, path)
        if noted not in (b"", _CUT) and _record(noted, path) is None:
            what = f"has a note that this logrotor does not understand, so {base.name} may still have to be cut by it"
            return _problem(directory, copy, what, "upgrade logrotor, or run the one that made the copy")
        if record is None or not is_of(record, live) or (record.stage == "marked" and not hidden(live, record)):
            return None
    owners = {0, os.geteuid(), base.stat.st_uid, os.fstat(directory.fd).st_uid}
    if copy.stat.st_uid in owners:
        return record
    # Whoever may make files here could have the log cut by one that he takes away.
    what = f"belongs to another user, and has a note that {base.name} still has to be cut by it"
    return _problem(directory, copy, what, "run logrotor as its owner, or move it away if it is no copy of the log")


def _why_closed(directory: OpenDir, base: Entry, copy: Entry) -> Problem | None:
    """It may be a copy that we may not read."""
    if not _may_be_copy(directory, base, copy):
        return None
    what = f"cannot be read, so nobody can tell whether {base.name} still has to be cut by it"
    return _problem(directory, copy, what, "run logrotor as a user who may read it")


def _why_alike(directory: OpenDir, base: Entry, copy: Entry) -> Problem | None:
    """Where nothing is noted, the bytes are all there is: of a log that repeats itself they tell nothing."""
    if not _may_be_copy(directory, base, copy):
        return None
    with _opened(directory, base, copy) as (live, out):
        if not _begins_as(live, out, copy.size):
            return None
    what = f"holds what {base.name} begins with, so that may still have to be cut: this file system keeps no note of it"
    advice = "run the configuration whose copytruncate was interrupted; if none was, move it away"
    return _problem(directory, copy, what, advice)


def _may_be_copy(directory: OpenDir, base: Entry, copy: Entry) -> bool:
    """What was born before the log is none of its copies."""
    born, log = (files.birth(os.path.join(directory.path, entry.name)) for entry in (copy, base))
    return 0 < copy.size <= base.size and (born is None or log is None or born >= log)


def _begins_as(live: int, copy: int, size: int) -> bool:
    """All but the first byte, which may be the mark."""
    for start in range(1, size, files.CHUNK):
        data = os.pread(copy, min(files.CHUNK, size - start), start)
        if not data or data != os.pread(live, len(data), start):
            return False
    return size > 1


@contextlib.contextmanager
def _opened(directory: OpenDir, base: Entry, copy: Entry) -> Iterator[tuple[int, int]]:
    with contextlib.ExitStack() as opened:
        out = directory.open_archive(copy.name, copy.id)
        opened.callback(os.close, out)
        live = directory.open_file(base.name, base.id)
        opened.callback(os.close, live)
        yield live, out


def _problem(directory: OpenDir, copy: Entry, what: str, advice: str) -> Problem:
    return Problem(subject=os.path.join(directory.path, copy.name), problem=what, advice=advice)
