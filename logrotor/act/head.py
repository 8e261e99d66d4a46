"""What a log begins with, compared with what its copies hold; and what is written over it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import takewhile
from operator import eq

from logrotor.act.context import Stop
from logrotor.disk import codecs, cuts, files
from logrotor.disk.logdir import LogDir
from logrotor.disk.opendir import ANY
from logrotor.errors import Interrupted, Stale
from logrotor.model import Codec, Copy


def transfer(source: int, target: int, start: int, end: int) -> None:
    """Add bytes [start, end) to the end of ``target``, which somebody may have appended to by its name."""
    os.lseek(target, 0, os.SEEK_END)
    while start < end:
        start += _copy_chunk(source, target, start, end)


def transfer_sparse(source: int, target: int, start: int, end: int) -> None:
    """Copy bytes [start, end) to the same place in ``target``, which nobody else knows. Holes stay holes."""
    while start < end:
        begin, stop = files.next_data(source, start, end)
        if begin > start:
            files.truncate(target, begin)
        os.lseek(target, begin, os.SEEK_SET)
        while begin < stop:
            begin += _copy_chunk(source, target, begin, stop)
        start = begin


def _copy_chunk(source: int, target: int, start: int, end: int) -> int:
    data = os.pread(source, min(codecs.CHUNK, end - start), start)
    if not data:
        raise Stale("the log became shorter while it was copied")
    files.write_all(target, data)
    return len(data)


def whole_blocks(live: int) -> int:
    """How many bytes can be collapsed: all blocks but the last one. A collapse up to the end of the file is EINVAL."""
    block = cuts.block_size(live)
    return max(os.fstat(live).st_size - 1, 0) // block * block


def still_has(live: int, out: int, size: int, protocol: str) -> bool:
    """Does the log have all ``size`` bytes that were copied? One that was emptied and begun anew differs at their ends.

    Asked right before the cut: what came after an emptying would be cut off, and stand in no copy.
    """
    block = min(cuts.block_size(out), size)
    rest = 1 if protocol == "collapse" else 0  # a collapse leaves a byte, at least
    same = all(os.pread(live, block, at) == os.pread(out, block, at) for at in (0, size - block))
    return same and os.fstat(live).st_size >= size + rest


def begins_as(live: int, out: int, length: int) -> bool:
    """Does the log begin with the copy's first block? Fewer bytes could be the first line of every log."""
    length = min(cuts.block_size(live), length)
    begin = os.pread(live, length, 0)
    return len(begin) == length and begin == os.pread(out, length, 0)


def common(live: int, archive: int, codec: Codec, *, hidden: int, stop: Stop, most: int | None = None) -> int:
    """How many bytes the log and the archive begin with alike; the first ``hidden`` are not compared.

    ``most``: no more than these are looked at. Raises ValueError if the archive is damaged, Interrupted.
    """
    size = 0
    for whole in _contents(archive, codec, stop):
        data = whole if most is None else whole[: most - size]
        there = data[: max(hidden - size, 0)] + os.pread(live, len(data), size)[max(hidden - size, 0) :]
        if there != data:
            return size + sum(1 for _ in takewhile(bool, map(eq, there, data)))
        size += len(data)
        if size == most:
            break
    return size


def _contents(archive: int, codec: Codec, stop: Stop) -> Iterator[bytes]:
    for data in codecs.decompressed(archive, codec):
        if stop():
            raise Interrupted("stopped while a log was compared with its copy")
        yield data


def held_whole(logdir: LogDir, copy: Copy, live: int, hidden: int, stop: Stop) -> int:
    """The bytes of an archive, if the log begins with all of them; else 0. Raises Interrupted."""
    fd = logdir.open_file(copy.name, copy.id, names=ANY)
    try:
        size = sum(map(len, _contents(fd, copy.codec, stop)))
        return size if common(live, fd, copy.codec, hidden=hidden, stop=stop) == size else 0
    except ValueError:  # damaged
        return 0
    finally:
        os.close(fd)


def first_block(logdir: LogDir, copy: Copy, block: int) -> bytes:
    fd = logdir.open_file(copy.name, copy.id, names=ANY)
    try:
        data = b""
        for more in codecs.decompressed(fd, copy.codec):
            data += more
            if len(data) >= block:
                break
        return data[:block]
    finally:
        os.close(fd)


def overwrite(live: int, data: bytes) -> None:
    """Write over the first bytes of the log, durably."""
    files.overwrite(live, data)
    files.sync(live)
