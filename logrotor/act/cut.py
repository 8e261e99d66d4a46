"""Cut off a log what its copy holds, so that a crash at any point is seen to have come before the cut, or after it.

Where a copytruncate stands is told by its record in the history, and by a mark in the log itself; the first run, its
recovery and its undoing are one function, :func:`advance`, which goes on from there.

Of the collapse the mark is a hole for the log's first block:

killed before ...  | record | directory shows                 | next run
publish            | copied | the log whole, a temp            | forget the record, drop the temp
mark               | copied | the log whole, and its copy      | mark and collapse, if the bytes still agree
record the mark    | copied | a hole for the first block       | mark again, collapse
collapse           | marked | a hole for the first block       | collapse
forget             | marked | the log's rest                   | forget

A log that refuses to be cut is as it was in the end, and stands in no copy:

forget the mark    | marked | a hole for the first block, the copy  | collapse: refused again, undo
write the block    | copied | a hole for the first block, the copy  | mark again, collapse: refused, undo
drop the copy      | copied | the log whole, and its copy           | mark, collapse: refused, undo
forget             | copied | the log whole                         | forget

Of the truncation the mark is the log's first byte, inverted. Without it, a log that was cut, and has got the very lines
again that it had (a heartbeat), could not be told from one that was not:

publish            | copied | the log whole, a temp            | forget the record, drop the temp
mark               | copied | the log whole, and its copy      | mark and truncate, if the bytes still agree
record the mark    | copied | the log with the mark            | truncate
truncate           | marked | the log with the mark            | truncate
forget             | marked | no mark: what was written since  | forget
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from operator import eq

from msgspec import Struct
from msgspec.structs import replace

from logrotor.act.context import Context, Details
from logrotor.decide.naming import aside_name, slot_name
from logrotor.disk import calls, codecs, files
from logrotor.disk.logdir import LogDir
from logrotor.disk.opendir import ANY
from logrotor.errors import LogrotorError, Refused, Stale
from logrotor.model import Codec, Copy, CopyInFlight, Entry, FileId, FinishCopytruncate, LogPlan, Problem

APPENDING = os.O_RDWR | os.O_APPEND  # so that our own descriptor is not taken for a writer that overwrites
_ROUNDS = 20  # looks at a log that is copied while it grows


class Cut(Struct):
    """A copytruncate whose copy is published."""

    context: Context
    logdir: LogDir
    record: CopyInFlight
    live: int  # the log, open to append
    copies: tuple[Copy, ...]  # archives that hold the first ``record.length`` bytes of the log
    out: int | None = None  # the plain copy, open to write; a truncation adds to it what came meanwhile
    held: int = 0  # bytes of the log that ``out`` holds

    @property
    def block(self) -> int:
        return os.fstatvfs(self.live).f_bsize


def finish(context: Context, log: LogPlan, step: FinishCopytruncate) -> Details:
    """Finish what a crash interrupted, or forget it: "inode" tells that it was a rotation.

    Another configuration may have compressed or moved the copy meanwhile; what is truncated has to be in a plain one.
    """
    record = step.record
    with context.dirs.use(step.directory) as logdir:
        entry = logdir.stat(step.base)
        if entry is None or entry.id.inode != record.inode or not entry.is_regular:
            context.history.end_copy(record.path)
            return {"reason": step.reason}
        live = logdir.open_file(step.base, entry.id, APPENDING)
        try:
            finished = _finished(context, logdir, step, live)
        finally:
            os.close(live)
    found: Details = {"reason": step.reason}
    return {**found, "inode": record.archive_inode, "bytes": record.length} if finished else found


def _finished(context: Context, logdir: LogDir, step: FinishCopytruncate, live: int) -> bool:
    record = step.record
    if os.fstat(live).st_size < record.length:  # cut by now, if the archive was there to cut it for
        context.history.end_copy(record.path)
        return bool(step.copies) or record.stage == "marked"
    logdir.sync()  # the crash may have come before the archive's name was durable
    cut = Cut(context, logdir, record, live, ())
    out = _plain_copy(context, step) if record.protocol == "truncate" else None
    try:
        if out is not None:
            cut.out, cut.held = out, common(live, out, Codec.NONE, hidden=_hidden(cut)) or 0
        cut.copies = tuple(copy for copy in step.copies if record.protocol == "collapse" and _is_head(cut, copy))
        return advance(cut)
    finally:
        if out is not None:
            os.close(out)


def advance(cut: Cut) -> bool:
    """Bring a copytruncate to its end, from wherever it stands. False: nothing was cut off, and all is forgotten.

    Raises Refused if this very log cannot be cut: it is whole then, and stands in no copy.
    """
    return _truncate(cut) if cut.record.protocol == "truncate" else _collapse(cut)


def _collapse(cut: Cut) -> bool:
    record, history = cut.record, cut.context.history
    # Once it is marked the copy was there, even if it is gone by now: only we make holes.
    if record.stage == "copied" and not cut.copies:
        history.end_copy(record.path)
        return False
    try:
        if record.stage == "copied":
            _try(files.punch, cut, cut.block)
            files.sync(cut.live)
            history.mark_copy(record.path)
        if _is_marked(cut):
            _try(files.collapse, cut, record.length)
            files.sync(cut.live)
    except Refused:
        _undo(cut)
        raise
    history.end_copy(record.path)
    return True


def _try(change: Callable[[int, int], None], cut: Cut, length: int) -> None:
    """One file may refuse what its file system offers: a block map of ext3's days, or an attribute."""
    try:
        change(cut.live, length)
    except OSError as error:
        if error.errno not in calls.NOT_OFFERED:
            raise
        advice = "chattr -a" if calls.is_append_only(cut.live) else 'use method = "rename"'
        why = f"cannot be cut ({error.strerror}), so its copy is dropped"
        raise Refused(Problem(subject=cut.record.path, problem=why, advice=advice)) from None


def _undo(cut: Cut) -> None:
    """Fill the mark with what the copy holds, and remove the copy."""
    if cut.copies and _is_marked(cut):
        head = _first_block(cut, cut.copies[0])
        cut.context.history.begin_copy(replace(cut.record, stage="copied"))
        _overwrite_head(cut, head)
    withdraw(cut)


def withdraw(cut: Cut) -> None:
    """Remove the copies of a log that still has what they hold, durably, and then forget the record.

    A copy to which somebody has appended stays: lines that stand twice are better than lost ones.
    """
    for copy in cut.copies:
        with cut.context.dirs.use(copy.directory) as logdir, contextlib.suppress(Stale):
            logdir.remove(copy.name, copy.id, partial(_refuse_grown, logdir, copy, cut.record.length))
            logdir.sync()
    cut.context.history.end_copy(cut.record.path)


def _refuse_grown(logdir: LogDir, copy: Copy, length: int) -> None:
    aside = logdir.stat(aside_name(copy.name))
    if copy.codec is Codec.NONE and aside is not None and aside.size != length:
        raise Stale(f"{copy.name}: was written since it was copied")


def _truncate(cut: Cut) -> bool:
    """Copy what came meanwhile until nothing more comes, then truncate at once: what falls in between is lost.

    The last of it is short, and synced only after the cut: a line may come with every millisecond before it.
    """
    record, history, marked = cut.record, cut.context.history, _hidden(cut) > 0
    is_cut = record.stage == "marked" and not marked
    if not is_cut and cut.out is not None and cut.held >= record.length:
        _catch_up(cut, cut.out)
        files.sync_and_close_check(cut.out)
        if record.stage == "copied":
            _overwrite_head(cut, _mark(record))
            history.mark_copy(record.path)
        _catch_up(cut, cut.out)
        files.truncate(cut.live)
        is_cut = True
        files.sync_and_close_check(cut.out)
        files.sync(cut.live)
    else:
        if marked:
            _overwrite_head(cut, bytes([record.head]))
        if cut.out is not None:
            files.sync_and_close_check(cut.out)
    history.end_copy(record.path)
    return is_cut


def _catch_up(cut: Cut, out: int) -> None:
    """Copy what the log has and the copy has not. A writer faster than us is not followed."""
    for _ in range(_ROUNDS):
        grown = os.fstat(cut.live).st_size
        if grown <= cut.held:
            return
        transfer(cut.live, out, cut.held, grown)
        cut.held = grown


def transfer(source: int, target: int, start: int, end: int) -> None:
    """Add bytes [start, end) to the end of ``target``, which somebody may have appended to by its name."""
    os.lseek(target, 0, os.SEEK_END)
    while start < end:
        data = os.pread(source, min(codecs.CHUNK, end - start), start)
        if not data:
            raise Stale("the log became shorter while it was copied")
        files.write_all(target, data)
        start += len(data)


# ---------------------------------------------------------------- marks, and what the copy holds


def _is_marked(cut: Cut) -> bool:
    """Is there a hole for the first block of what a collapse is to cut off?"""
    return files.starts_with_hole(cut.live, cut.block) and os.fstat(cut.live).st_size > cut.record.length


def _mark(record: CopyInFlight) -> bytes:
    """The first byte of a log that is about to be truncated."""
    return bytes([record.head ^ 0xFF])


def _hidden(cut: Cut) -> int:
    """How many of the log's first bytes the mark hides."""
    if cut.record.protocol == "collapse":
        return cut.block if files.starts_with_hole(cut.live, cut.block) else 0
    return int(os.pread(cut.live, 1, 0) == _mark(cut.record))


def _overwrite_head(cut: Cut, data: bytes) -> None:
    """Write over the first bytes of the log, durably."""
    status = os.fstat(cut.live)
    name, file = os.path.basename(cut.record.path), FileId(status.st_dev, status.st_ino)
    fd = cut.logdir.open_file(name, file, os.O_RDWR)  # one that does not append
    try:
        files.overwrite(fd, data)
        files.sync(fd)
    finally:
        os.close(fd)


def _is_head(cut: Cut, copy: Copy) -> bool:
    """Does this archive hold the first bytes of the log? Somebody may have appended to it since."""
    try:
        with cut.context.dirs.use(copy.directory) as logdir:
            fd = logdir.open_file(copy.name, copy.id, names=ANY)
    except (LogrotorError, OSError):
        return False
    try:
        held = common(cut.live, fd, copy.codec, hidden=_hidden(cut), most=cut.record.length)
        return held == cut.record.length
    except ValueError:  # damaged
        return False
    finally:
        os.close(fd)


def _plain_copy(context: Context, step: FinishCopytruncate) -> int | None:
    for copy in step.copies:
        if copy.id.inode == step.record.archive_inode and copy.codec is Codec.NONE:
            with context.dirs.use(copy.directory) as logdir:
                return logdir.open_file(copy.name, copy.id, os.O_RDWR, names=ANY)
    return None


def common(live: int, archive: int, codec: Codec, *, hidden: int, most: int | None = None) -> int:
    """How many bytes the log and the archive begin with alike; the first ``hidden`` are not compared.

    ``most``: no more than these are looked at. Raises ValueError if the archive is damaged.
    """
    size = 0
    for whole in codecs.decompressed(archive, codec):
        data = whole if most is None else whole[: most - size]
        there = data[: max(hidden - size, 0)] + os.pread(live, len(data), size)[max(hidden - size, 0) :]
        if there != data:
            return size + sum(1 for _ in takewhile(bool, map(eq, there, data)))
        size += len(data)
        if size == most:
            break
    return size


def _first_block(cut: Cut, copy: Copy) -> bytes:
    with cut.context.dirs.use(copy.directory) as logdir:
        fd = logdir.open_file(copy.name, copy.id, names=ANY)
    try:
        data = b""
        for more in codecs.decompressed(fd, copy.codec):
            data += more
            if len(data) >= cut.block:
                break
        return data[: cut.block]
    finally:
        os.close(fd)


def rediscover(context: Context, logdir: LogDir, base: str, live: int) -> bool:
    """Remember a collapse again whose record was lost with the history; False if nothing proves that there was one.

    The log shows the mark, a hole of one block, and goes on as slot 1 does, which is of whole blocks and of two at
    least: a writer that does not append leaves such a log only if it stood at a block's end, and repeats itself.
    A history that knows of a rotation was not lost: the record is another configuration's, which goes by it.
    """
    path, status, block = os.path.join(logdir.path, base), os.fstat(live), os.fstatvfs(live).f_bsize
    if not files.starts_with_hole(live, block) or files.starts_with_hole(live, block + 1):
        return False
    if context.history.recall().of(path).last_rotation is not None:
        return False
    for codec in Codec:
        entry = logdir.stat(slot_name(base, 1, codec))
        if entry is None or not entry.is_regular:
            continue
        size = _held_whole(logdir, entry, codec, live, block)
        if size % block == 0 and block < size < status.st_size:
            birth = calls.birth_time(live) or 0.0
            found = CopyInFlight(path, status.st_ino, birth, entry.id.inode, size, "marked", "collapse")
            context.history.begin_copy(found)
            return True
    return False


def _held_whole(logdir: LogDir, entry: Entry, codec: Codec, live: int, hidden: int) -> int:
    """The bytes of an archive, if the log begins with all of them; else 0."""
    fd = logdir.open_file(entry.name, entry.id, names=ANY)
    try:
        size = sum(map(len, codecs.decompressed(fd, codec)))
        return size if common(live, fd, codec, hidden=hidden) == size else 0
    except ValueError:  # damaged
        return 0
    finally:
        os.close(fd)
