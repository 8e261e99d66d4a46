"""Finish a copytruncate that was interrupted, or forget it: what the disk shows is compared, then advanced as ever."""

from __future__ import annotations

import os

from logrotor.act import head
from logrotor.act.context import Context, Details
from logrotor.act.cut import APPENDING, Cut, advance
from logrotor.disk import files
from logrotor.disk.logdir import LogDir
from logrotor.errors import Stale
from logrotor.model import Codec, Copy, FinishCopytruncate, LogPlan

_GONE = (Stale, FileNotFoundError)


def finish(context: Context, log: LogPlan, step: FinishCopytruncate) -> Details:
    """Finish what a crash interrupted, or forget it: "inode" tells that it was a rotation."""
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
    return {"reason": step.reason, **({"inode": record.archive_inode, "bytes": record.length} if finished else {})}


def _finished(context: Context, logdir: LogDir, step: FinishCopytruncate, live: int) -> bool:
    record = step.record
    if os.fstat(live).st_size < record.length:  # cut by now, if the archive was there to cut it for
        context.history.end_copy(record.path)
        return bool(step.copies) or record.stage == "marked"
    logdir.sync()  # the crash may have come before the archive's name was durable
    cut = Cut(context, logdir, record, live, (), record.length, accept_loss=step.accept_loss)
    if record.protocol == "collapse":
        cut.copies = tuple(copy for copy in step.copies if _is_head(cut, copy))
        return advance(cut)
    cut.copies = tuple(copy for copy in step.copies if _is_within(cut, copy))
    cut.out = _plain_copy(context, step)
    try:
        if cut.out is not None:
            cut.held = head.common(live, cut.out, Codec.NONE, hidden=cut.hidden, stop=context.stop)
        return advance(cut)
    finally:
        if cut.out is not None:
            os.close(cut.out)


# ---------------------------------------------------------------- what the copy of an interrupted run holds


def _is_head(cut: Cut, copy: Copy) -> bool:
    """Does this archive hold the first bytes of the log? Somebody may have appended to it since.

    Once the log is marked it may hold more than the record says; a piece of a block, which a power cut left, goes.
    """
    is_marked, is_plain = cut.record.stage == "marked", copy.codec is Codec.NONE
    try:
        with cut.context.dirs.use(copy.directory) as logdir:
            fd = logdir.open_archive(copy.name, copy.id, os.O_RDWR if is_plain and is_marked else os.O_RDONLY)
    except _GONE:  # what merely cannot be opened now may hold them: the record stays, and the next run looks again
        return False
    try:
        limit = None if is_marked else cut.record.length
        held = head.common(cut.live, fd, copy.codec, hidden=cut.hidden, stop=cut.context.stop, most=limit)
        if is_marked and held > cut.record.length:
            cut.held = max(cut.record.length, min(held // cut.block * cut.block, head.whole_blocks(cut.live)))
            if is_plain and os.fstat(fd).st_size == held:
                files.truncate(fd, cut.held)
                files.sync(fd)
        return held >= cut.record.length
    except ValueError:  # damaged
        return False
    finally:
        os.close(fd)


def _is_within(cut: Cut, copy: Copy) -> bool:
    """Does the log begin with all that this archive holds? Raises Interrupted."""
    try:
        with cut.context.dirs.use(copy.directory) as logdir:
            return head.held_whole(logdir, copy, cut.live, cut.hidden, cut.context.stop) >= cut.record.length
    except _GONE:
        return False


def _plain_copy(context: Context, step: FinishCopytruncate) -> int | None:
    for copy in step.copies:
        if copy.id.inode == step.record.archive_inode and copy.codec is Codec.NONE:
            with context.dirs.use(copy.directory) as logdir:
                return logdir.open_archive(copy.name, copy.id, os.O_RDWR)
    return None
