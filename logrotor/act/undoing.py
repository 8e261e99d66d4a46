"""Take a copytruncate back whose log turns out not to be one to cut: what the log has stays, and stands in no copy.

The crash table of a log that refuses the cut; the first two rows are of one that let itself be marked:

killed before ...  | record | directory shows                       | next run
forget the mark    | marked | a hole for the first block, the copy  | collapse: refused again, take back
write the block    | copied | a hole for the first block, the copy  | mark again, collapse: refused, take back
drop the copy      | copied | the log whole, and its copy           | mark, collapse: refused, take back
forget             | copied | the log whole                         | forget
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from msgspec.structs import replace

from logrotor.act import cutting
from logrotor.decide.naming import aside_name
from logrotor.disk import codecs
from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.disk.memory import Memory
from logrotor.errors import Stale
from logrotor.model import Codec, Copy, CopyInFlight


def take_back(
    dirs: Directories, logdir: LogDir, record: CopyInFlight, memory: Memory, live: int, copies: Sequence[Copy]
) -> None:
    """Fill the mark with what the copy holds, and remove the copy. ``copies``: each holds the head of the log."""
    block = os.fstatvfs(live).f_bsize
    if copies and cutting.is_marked(record, live, block):
        head = _first_block(dirs, copies[0], block)
        memory.begin_copy(replace(record, stage="copied"))
        cutting.overwrite_head(logdir, record, live, head)
    withdraw(dirs, record, memory, copies)


def leave(dirs: Directories, record: CopyInFlight, memory: Memory, fds: tuple[int, int], copy: Copy) -> None:
    """End the copytruncate of a log that somebody else cut meanwhile. ``copy``: the file of the second descriptor.

    The lines of a log that was emptied stand in the copy alone, so it stays. Raises Stale if the log still begins
    as the copy does, having lost its end: then it is the copy that goes.
    """
    live, out = fds
    length = min(os.fstatvfs(live).f_bsize, record.length)
    begin = os.pread(live, length, 0)
    if len(begin) == length and begin == os.pread(out, length, 0):  # fewer bytes could be the first line of every log
        withdraw(dirs, record, memory, (copy,))
        raise Stale(f"{record.path}: was cut while it was copied")
    memory.end_copy(record.path)


def withdraw(dirs: Directories, record: CopyInFlight, memory: Memory, copies: Sequence[Copy]) -> None:
    """Remove what was copied from a log that still has it, durably, and then forget the record.

    A copy to which somebody has appended stays: lines that stand twice are better than lost ones.
    """
    for copy in copies:
        with dirs.use(copy.directory) as logdir, contextlib.suppress(Stale):
            logdir.remove(copy.name, copy.id, lambda there=logdir, each=copy: _refuse_grown(there, each, record))  # type: ignore[misc]
            logdir.sync()
    memory.end_copy(record.path)


def _refuse_grown(logdir: LogDir, copy: Copy, record: CopyInFlight) -> None:
    aside = logdir.stat(aside_name(copy.name))
    if copy.codec is Codec.NONE and aside is not None and aside.size != record.length:
        raise Stale(f"{copy.name}: was written since it was copied")


def _first_block(dirs: Directories, copy: Copy, block: int) -> bytes:
    with dirs.use(copy.directory) as logdir:
        fd = logdir.open_file(copy.name, copy.id)
    try:
        data = b""
        for more in codecs.decompressed(fd, copy.codec):
            data += more
            if len(data) >= block:
                break
        return data[:block]
    finally:
        os.close(fd)
