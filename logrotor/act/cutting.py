"""Cut off a log what its copy holds, so that a crash at any point is seen to have come before the cut, or after it.

The crash table of the collapse; the record is in the history, the mark is a hole in the log's first block:

killed before ...  | record | directory shows                 | next run
publish            | copied | the log whole, a temp            | forget the record, drop the temp
mark               | copied | the log whole, and its copy      | mark and collapse, if the bytes still agree
record the mark    | copied | a hole for the first block       | mark again, collapse
collapse           | marked | a hole for the first block       | collapse
forget             | marked | the log's rest                   | forget

A log that cannot be collapsed after all is as it was in the end: ``undoing`` has the table of that.

Of the truncation; the mark is the log's first byte, inverted. Without it, a log that was cut, and has got the very
lines again that it had (a heartbeat), could not be told from one that was not:

killed before ...  | record | directory shows                  | next run
publish            | copied | the log whole, a temp            | forget the record, drop the temp
mark               | copied | the log whole, and its copy      | mark and truncate, if the bytes still agree
record the mark    | copied | the log with the mark            | truncate
truncate           | marked | the log with the mark            | truncate
forget             | marked | no mark: what was written since  | forget
"""

from __future__ import annotations

import os
from collections.abc import Callable

from logrotor.disk import calls, codecs, files
from logrotor.disk.logdir import LogDir
from logrotor.disk.memory import Memory
from logrotor.errors import Refused, Stale
from logrotor.model import CopyInFlight, FileId

APPENDING = os.O_RDWR | os.O_APPEND  # so that our own descriptor is not taken for a writer that overwrites
_ROUNDS = 20  # looks at a log that is copied while it grows


def collapse(record: CopyInFlight, memory: Memory, live: int, block: int) -> int:
    """Cut what the archive holds off the log; returns its bytes. Raises Refused if this very log cannot be cut."""
    if record.stage == "copied":
        _cut(files.punch, record, live, block)
        files.sync(live)
        memory.mark_copy(record.path)
    if is_marked(record, live, block):
        _cut(files.collapse, record, live, record.length)
        files.sync(live)
    memory.end_copy(record.path)
    return record.length


def still_has(live: int, out: int, size: int, protocol: str) -> bool:
    """Does the log have all ``size`` bytes that were copied? One that was emptied and begun anew differs at their ends.

    Asked right before the cut: what came after an emptying would be cut off, and stand in no copy.
    """
    block = min(os.fstatvfs(out).f_bsize, size)
    rest = 1 if protocol == "collapse" else 0  # a collapse leaves a byte, at least
    same = all(os.pread(live, block, at) == os.pread(out, block, at) for at in (0, size - block))
    return same and os.fstat(live).st_size >= size + rest


def is_marked(record: CopyInFlight, live: int, block: int) -> bool:
    """Is there a hole for the first block of what a collapse is to cut off?"""
    return files.starts_with_hole(live, block) and os.fstat(live).st_size > record.length


def _cut(cut: Callable[[int, int], None], record: CopyInFlight, live: int, length: int) -> None:
    """One file may refuse what its file system offers: a block map of ext3's days, or an attribute."""
    try:
        cut(live, length)
    except OSError as error:
        if error.errno not in calls.NOT_OFFERED:
            raise
        advice = "chattr -a" if calls.is_append_only(live) else 'use method = "rename"'
        raise Refused(f"{record.path}: cannot be cut ({error.strerror}), so its copy is dropped; {advice}") from None


def truncate(logdir: LogDir, record: CopyInFlight, memory: Memory, fds: tuple[int, int]) -> int:
    """Copy what came meanwhile until nothing more comes, then truncate at once: what falls in between is lost.

    The last of it is short, and synced only after the cut: a line may come with every millisecond before it.
    """
    live, out = fds
    _catch_up(live, out)
    files.sync_and_close_check(out)
    if record.stage == "copied":
        overwrite_head(logdir, record, live, mark(record))
        memory.mark_copy(record.path)
    size = _catch_up(live, out)
    files.truncate(live)
    files.sync_and_close_check(out)
    files.sync(live)
    memory.end_copy(record.path)
    return size


def overwrite_head(logdir: LogDir, record: CopyInFlight, live: int, data: bytes) -> None:
    """Write over the first bytes of the log, durably."""
    status = os.fstat(live)
    name, file = os.path.basename(record.path), FileId(status.st_dev, status.st_ino)
    fd = logdir.open_file(name, file, os.O_RDWR)  # one that does not append
    try:
        files.overwrite(fd, data)
        files.sync(fd)
    finally:
        os.close(fd)


def mark(record: CopyInFlight) -> bytes:
    """The first byte of a log that is about to be truncated."""
    return bytes([record.head ^ 0xFF])


def _catch_up(live: int, out: int) -> int:
    """Copy what the log has and the archive has not; returns its bytes. A writer faster than us is not followed."""
    size = os.fstat(out).st_size
    for _ in range(_ROUNDS):
        grown = os.fstat(live).st_size
        if grown <= size:
            break
        transfer(live, out, size, grown)
        size = grown
    return size


def transfer(source: int, target: int, start: int, end: int) -> None:
    """Copy bytes [start, end) to the same place in ``target``."""
    os.lseek(target, start, os.SEEK_SET)
    while start < end:
        data = os.pread(source, min(codecs.CHUNK, end - start), start)
        if not data:
            raise Stale("the log became shorter while it was copied")
        files.write_all(target, data)
        start += len(data)
