"""Finish a copytruncate that a crash interrupted, by its record; the crash tables stand in ``cutting``.

Another configuration may compress or move the copy meanwhile. A collapse knows it again by its time and its bytes.
What is truncated has to be in the copy whole, so a copy that is no plain file any more leaves the log as it was: its
lines stand in both.
"""

from __future__ import annotations

import os

from logrotor.act import cutting, undoing
from logrotor.act.cutting import APPENDING
from logrotor.decide.naming import SUFFIXES
from logrotor.disk import calls, codecs, files
from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.disk.memory import Memory
from logrotor.errors import LogrotorError, Refused
from logrotor.model import Codec, Copy, CopyInFlight, FinishCopytruncate


def finish(dirs: Directories, step: FinishCopytruncate, memory: Memory) -> bool:
    """Finish what a crash interrupted; False if there was nothing to finish and the record is forgotten."""
    record = step.record
    with dirs.use(step.directory) as logdir:
        entry = logdir.stat(step.base)
        if entry is None or entry.id.inode != record.inode or not entry.is_regular:
            memory.end_copy(record.path)
            return False
        live = logdir.open_file(step.base, entry.id, APPENDING)
        try:
            if os.fstat(live).st_size < record.length:  # cut by now, if the archive was there to cut it for
                memory.end_copy(record.path)
                return bool(step.copies) or record.stage == "marked"
            logdir.sync()  # the crash may have come before the archive's name was durable
            if record.protocol == "truncate":
                return _finish_truncation(dirs, logdir, step, memory, live)
            return _finish_collapse(dirs, logdir, step, memory, live)
        finally:
            os.close(live)


def _finish_collapse(dirs: Directories, logdir: LogDir, step: FinishCopytruncate, memory: Memory, live: int) -> bool:
    record, block = step.record, os.fstatvfs(logdir.fd).f_bsize
    # Marked: only we make holes, so the copy was there, even if it is gone by now.
    if record.stage != "marked" and not any(_is_head(dirs, copy, live, record.length, block) for copy in step.copies):
        memory.end_copy(record.path)
        return False
    try:
        cutting.collapse(record, memory, live, block)
    except Refused:
        copies = [copy for copy in step.copies if _is_head(dirs, copy, live, record.length, block)]
        undoing.take_back(dirs, logdir, record, memory, live, copies)
        raise
    return True


def _is_head(dirs: Directories, copy: Copy, live: int, length: int, block: int) -> bool:
    """Does this archive hold the first ``length`` bytes of the log? The mark of an interrupted run hides a block."""
    try:
        with dirs.use(copy.directory) as logdir:
            fd = logdir.open_file(copy.name, copy.id)
    except (LogrotorError, OSError):
        return False
    try:
        hidden = block if files.starts_with_hole(live, block) else 0
        return _agreeing(live, fd, copy.codec, hidden, length) == length  # somebody may have appended to it since
    except ValueError:  # damaged
        return False
    finally:
        os.close(fd)


def rediscover(logdir: LogDir, base: str, memory: Memory, live: int, block: int) -> bool:
    """Remember a collapse again whose record was lost with the history; False if nothing proves that there was one.

    The log shows the mark, a hole of one block, and goes on as slot 1 does, which is of whole blocks and of two at
    least: a writer that does not append leaves such a log only if it stood at a block's end, and repeats itself.
    A history that knows of a rotation was not lost: the record is another configuration's, which goes by it.
    """
    path, status = os.path.join(logdir.path, base), os.fstat(live)
    if not files.starts_with_hole(live, block) or files.starts_with_hole(live, block + 1):
        return False
    if memory.recall().of(path).last_rotation is not None:
        return False
    for codec, suffix in SUFFIXES.items():
        entry = logdir.stat(f"{base}.1{suffix}")
        if entry is None or not entry.is_regular:
            continue
        fd = logdir.open_file(entry.name, entry.id)
        try:
            size = _agreeing(live, fd, codec, block) or 0
        except ValueError:  # damaged
            continue
        finally:
            os.close(fd)
        if size % block == 0 and block < size < status.st_size:
            birth = calls.birth_time(live) or 0.0
            memory.begin_copy(CopyInFlight(path, status.st_ino, birth, entry.id.inode, size, "marked", "collapse"))
            return True
    return False


def _finish_truncation(dirs: Directories, logdir: LogDir, step: FinishCopytruncate, memory: Memory, live: int) -> bool:
    record, out = step.record, _plain_copy(dirs, step)
    marked = os.pread(live, 1, 0) == cutting.mark(record)
    try:
        cut = record.stage == "marked" and not marked
        if not cut and out is not None and _agreeing(live, out, Codec.NONE, 1 if marked else 0) is not None:
            cutting.truncate(logdir, record, memory, (live, out))
            return True
        if marked:
            cutting.overwrite_head(logdir, record, live, bytes([record.head]))
        if out is not None:
            files.sync_and_close_check(out)
        memory.end_copy(record.path)
        return cut
    finally:
        if out is not None:
            os.close(out)


def _plain_copy(dirs: Directories, step: FinishCopytruncate) -> int | None:
    for copy in step.copies:
        if copy.id.inode == step.record.archive_inode and copy.codec is Codec.NONE:
            with dirs.use(copy.directory) as logdir:
                return logdir.open_file(copy.name, copy.id, os.O_RDWR)
    return None


def _agreeing(live: int, archive: int, codec: Codec, hidden: int, most: int | None = None) -> int | None:
    """How many bytes the archive holds, if they are the head of the log; the first ``hidden`` are not compared.

    ``most``: no more than these are looked at.
    """
    size = 0
    for whole in codecs.decompressed(archive, codec):
        data = whole if most is None else whole[: most - size]
        skipped = min(max(hidden - size, 0), len(data))
        if os.pread(live, len(data) - skipped, size + skipped) != data[skipped:]:
            return None
        size += len(data)
    return size
