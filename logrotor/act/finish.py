"""Finish a copytruncate that was interrupted, or forget it: what the disk shows is compared, then advanced as ever."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress

from logrotor.act import head
from logrotor.act.context import Context, Details
from logrotor.act.cut import APPENDING, Cut, advance, conclude
from logrotor.decide.naming import slot_name
from logrotor.disk import cuts, files
from logrotor.disk.logdir import LogDir
from logrotor.errors import Refused, Stale
from logrotor.model import Codec, Copy, CopyInFlight, Entry, FinishCopytruncate, LogPlan, Problem
from logrotor.text import typed

_GONE = (Stale, FileNotFoundError)


def finish(context: Context, log: LogPlan, step: FinishCopytruncate) -> Details:
    """Finish what a crash interrupted, or forget it: "inode" tells that it was a rotation.

    It may be another configuration's. Raises Stale if that has gone on meanwhile, and Refused if we may not finish it.
    """
    with context.dirs.use(step.directory) as logdir, ExitStack() as opened:
        entry = logdir.stat(step.base)
        if entry is None or entry.id.inode != step.record.inode or not entry.is_regular:
            context.history.end_copy(step.record.path)
            return {"reason": step.reason}
        try:
            cut, is_cut = _opened(context, logdir, step, entry, opened)
        except PermissionError as error:
            raise Refused(_why_left(step, f"{error.strerror}")) from None
        finished = _ended(cut, step) if is_cut else _finished(cut, step)
    done = {"inode": step.record.archive_inode, "bytes": step.record.length} if finished else {}
    return {"reason": step.reason, **done}


def _opened(
    context: Context, logdir: LogDir, step: FinishCopytruncate, entry: Entry, opened: ExitStack
) -> tuple[Cut, bool]:
    """What there is to go on with, by what is noted on the copy, where it is noted; and is that cut by now?"""
    live = logdir.open_file(step.base, entry.id, APPENDING)
    opened.callback(os.close, live)
    cut = Cut(context, logdir, step.record, live, (), step.record.length, accept_loss=step.accept_loss)
    is_cut = False
    for copy in step.copies:
        with suppress(*_GONE), context.dirs.use(copy.directory) as there:
            fd = there.open_archive(copy.name, copy.id)
            opened.callback(os.close, fd)
            noted = cuts.read(fd, step.record.path)
            is_cut = is_cut or cuts.is_cut(fd)
            if noted is not None and cuts.is_of(noted, live) and noted.archive_inode == step.record.archive_inode:
                cut.noted, cut.record, cut.held = fd, noted, noted.length
    _refuse_others(cut, step, entry)
    return cut, is_cut


def _refuse_others(cut: Cut, step: FinishCopytruncate, entry: Entry) -> None:
    """What the plan saw may have been finished by another run, which may have been killed in its own."""
    newest = cut.logdir.stat(slot_name(step.base, 1))
    found = (
        cuts.find(cut.logdir, entry, [newest], lambda copy: copy.id.inode == step.record.archive_inode)
        if newest is not None and newest.is_regular
        else None
    )
    if isinstance(found, Problem):
        raise Refused(found)
    known = None if cut.noted is None else cut.record.archive_inode
    if (step.noted and known is None) or (found is not None and found.archive_inode != known):
        raise Stale(f"{step.base}: another run works on it by now")
    if cut.noted is not None and not cuts.begin(cut.noted, cut.record):
        raise Refused(_why_left(step, os.strerror(errno.EACCES)))


def _why_left(step: FinishCopytruncate, why: str) -> Problem:
    what = f"is left alone: its copytruncate was interrupted, and we may not finish it: {why}"
    return Problem(
        subject=step.record.path, problem=what, advice="run logrotor as the owner of the log's newest archive"
    )


def _why_unproven(record: CopyInFlight) -> Problem:
    """What is hidden stands in the copy alone, or nowhere; the rest of what was copied may stand in the log alone."""
    what = "starts with a hole: its copytruncate was interrupted, and its copy has been changed since"
    advice = f"compare them; to cut off what was copied: fallocate -c -o 0 -l {record.length} {typed(record.path)}"
    return Problem(subject=record.path, problem=what, advice=advice)


def _ended(cut: Cut, step: FinishCopytruncate) -> bool:
    """The copy says so, and only our own history does not know."""
    conclude(cut)
    return any(copy.id.inode == step.record.archive_inode for copy in step.copies)


def _finished(cut: Cut, step: FinishCopytruncate) -> bool:
    record = cut.record
    if os.fstat(cut.live).st_size < record.length:  # cut by now, if the archive was there to cut it for
        conclude(cut)
        return bool(step.copies) or record.stage == "marked"
    cut.logdir.sync()  # the crash may have come before the archive's name was durable
    if record.protocol == "collapse":
        cut.copies = tuple(copy for copy in step.copies if _is_head(cut, copy))
        if cut.hidden and cut.noted is not None and not cut.copies:
            raise Refused(_why_unproven(record))
        return advance(cut)
    cut.copies = tuple(copy for copy in step.copies if _is_within(cut, copy))
    cut.out = _plain_copy(cut.context, step)
    try:
        if cut.out is not None:
            cut.held = head.common(cut.live, cut.out, Codec.NONE, hidden=cut.hidden, stop=cut.context.stop)
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
