"""Copytruncate without loss: copy the log, then cut exactly that off.

Where nobody else has the log open, all of it; else whole blocks at its head, which are collapsed away, for writers that
append (O_APPEND). Where a range cannot be collapsed, and the rule accepts loss, the log is truncated under its writers;
lines written between the last read and the truncate are lost then. This module makes the copy; what follows, and the
crash tables, are in :mod:`logrotor.act.cut`.

Where time is up before all is copied, what was copied is cut off, and the next run goes on with the rest: a log that
takes longer than any run has would never be rotated.
"""

from __future__ import annotations

import contextlib
import os

from msgspec.structs import replace

from logrotor.act import head
from logrotor.act.context import Context, Details
from logrotor.act.cut import APPENDING, LITTLE, ROUNDS, Cut, advance, conclude, withdraw
from logrotor.act.take import make_way
from logrotor.decide.naming import slot_name, temp_name
from logrotor.disk import access, acl, calls, cuts, descent, files, writers
from logrotor.disk.logdir import LogDir
from logrotor.disk.writers import Processes
from logrotor.errors import Interrupted, Refused, Stale
from logrotor.model import KEEP, Codec, Copy, CopyInFlight, Copytruncate, FileId, LogPlan, Problem

PIECE = 64 << 20  # bytes; as long as less was copied when time is up, the copy goes on, if it may
_GUARANTEES = {"truncate": "lines written meanwhile may be lost", "collapse": "lossless for writers that append"}


def copytruncate(context: Context, log: LogPlan, step: Copytruncate) -> Details:
    """Rotate one log by copy; "skipped" if there is nothing that can be cut off.

    Raises Stale, Busy, Refused or OSError.
    """
    with context.dirs.use(step.directory) as logdir:
        _expect_free_slot(context, step)
        cut, is_done = _rotated(context, logdir, step, alone=True)
        if not is_done:  # somebody has opened it meanwhile, so there is no copy any more
            cut, _ = _rotated(context, logdir, replace(step, moves=()), alone=False)
    if cut is None:
        return {"skipped": "within one block, and somebody has it open, so nothing can be cut off"}
    protocol = "whole" if cut.whole else cut.record.protocol
    return {
        "protocol": protocol, "guarantee": _GUARANTEES.get(protocol, "lossless"), "reason": step.reason,
        "bytes": cut.held, "inode": cut.record.archive_inode, **({"bytes_left": cut.left} if cut.left else {}),
    }  # fmt: skip


def _expect_free_slot(context: Context, step: Copytruncate) -> None:
    """Slot 1 is free in any form, once the moves are made. Raises Stale.

    Else another configuration has rotated the log since the plan was made, which its inode does not tell: two
    generations in one slot, of the same lines again and again, would be taken for one that is compressed.
    """
    away = {(move.directory, move.source) for move in step.moves}
    for directory in (step.directory, *step.elsewhere):
        with contextlib.suppress(FileNotFoundError), context.dirs.use(directory) as there:
            for name in (slot_name(step.base, 1, codec) for codec in Codec):
                if (directory, name) not in away and there.stat(name) is not None:
                    raise Stale(f"{os.path.join(directory, name)}: exists by now")


def _rotated(context: Context, logdir: LogDir, step: Copytruncate, *, alone: bool) -> tuple[Cut | None, bool]:
    """The cut, if there was anything to cut, and whether that is settled. ``alone``: as if nobody else had it open."""
    live = logdir.open_file(step.base, step.id, APPENDING)
    temp = temp_name(slot_name(step.base, 1))
    try:
        out = logdir.create_temp(temp)
        try:
            cut = _copied(context, logdir, step, live, out, alone)
            return cut, cut is None or _end(cut, live, out)
        finally:
            try:
                logdir.clear_away(temp, out)  # gone by now if it was published
            finally:
                os.close(out)
    finally:
        os.close(live)


def _copied(context: Context, logdir: LogDir, step: Copytruncate, live: int, out: int, alone: bool) -> Cut | None:
    block = cuts.block_size(live)
    collapse = _collapses(logdir, step, live, out)
    if not step.accept_loss:
        _refuse_overwriting(logdir, step, live, block)
    length = os.fstat(live).st_size
    if length < step.size:
        raise Stale(f"{step.base}: was cut since the plan was made")
    truncate = not collapse or (alone and writers.is_alone(live, context.kind_of(logdir)))
    if not truncate:
        length = head.whole_blocks(live)
    if length == 0:
        return None
    length, is_piece = _transferred(context, (live, out), length, follow=not truncate)
    if is_piece and (length < (files.STRIDE if context.deadline.overdue() else PIECE) or not collapse):
        raise Interrupted(_why_not_copied(context, step, length, collapse))
    protocol = "truncate" if truncate and not is_piece else "collapse"
    record, is_noted = _published(context, logdir, step, (live, out), length, protocol)
    file = FileId(logdir.id.device, record.archive_inode)
    copy = Copy(logdir.path, slot_name(step.base, 1), file, Codec.NONE)
    cut = Cut(context, logdir, record, live, (copy,), record.length, out, accept_loss=not collapse)
    cut.noted = out if is_noted else None
    if is_piece:  # to which nothing is added
        cut.out, cut.left = None, max(0, os.fstat(live).st_size - length)
    return cut


def _end(cut: Cut, live: int, out: int) -> bool:
    """Cut it off the log, unless somebody else has cut that meanwhile. False: it is whole, and stands in no copy.

    The lines of a log that was emptied stand in the copy alone, so it stays. Raises Stale if the log still begins
    as the copy does, having lost its end: then it is the copy that goes.
    """
    if head.still_has(live, out, cut.record.length, cut.record.protocol):
        return advance(cut)
    if head.begins_as(live, out, cut.record.length):
        withdraw(cut)
        raise Stale(f"{cut.record.path}: was cut while it was copied")
    conclude(cut)
    return True


def _collapses(logdir: LogDir, step: Copytruncate, live: int, out: int) -> bool:
    """Can the log be collapsed, as its file system can, and not only a temp? Raises Refused if it cannot be cut."""
    if calls.is_append_only(live):
        path = os.path.join(logdir.path, step.base)
        raise Refused(Problem(subject=path, problem="may only be appended to, so it cannot be cut", advice="chattr -a"))
    mapped = calls.is_block_mapped(live)
    on_this_disk = step.collapse and step.id.device == logdir.id.device
    if on_this_disk and not mapped and _can_collapse(out, os.fstatvfs(live).f_bsize):
        return True
    if not step.accept_loss:
        what, advice = ("the block map of this file", "chattr +e, ") if mapped else ("this file system", "")
        why = f"{what} cannot collapse a range, so lines could be lost"
        advice = f'{advice}use method = "rename", or set accept_loss = true'
        raise Refused(Problem(subject=step.base, problem=why, advice=advice))
    return False


def _can_collapse(fd: int, block: int) -> bool:
    """Try it on a temp of ours: nobody should learn it on a log."""
    try:
        files.write_all(fd, bytes(2 * block))
        files.collapse(fd, block)
    except OSError as error:
        if error.errno not in calls.NOT_OFFERED:
            raise
        return False
    finally:
        files.truncate(fd)
    return True


def _refuse_overwriting(logdir: LogDir, step: Copytruncate, live: int, block: int) -> None:
    """A writer that does not append would go on at its old offset and leave NUL bytes before it."""
    if files.starts_with_hole(live, block):
        raise Refused(
            f"{step.base}: starts with a hole. If its writer does not append: open the log in append mode, or set "
            "accept_loss = true. If a copytruncate was killed and its record is lost: where the log goes on as the "
            "copy does, cut the SIZE bytes of the (uncompressed) copy off, by fallocate -c -o 0 -l SIZE"
        )
    why = writers.why_not_cut(live, os.path.join(logdir.path, step.base), Processes.look())
    if why is not None:
        raise Refused(why)


def _published(
    context: Context, logdir: LogDir, step: Copytruncate, fds: tuple[int, int], length: int, protocol: str
) -> tuple[CopyInFlight, bool]:
    """Publish the copy of the log's head as slot 1, durable, with a record of it; is that noted on the copy as well?"""
    live, out = fds
    status = os.fstat(live)
    # Else the copy could begin with old lines and end with new ones.
    if not head.still_has(live, out, length, protocol):
        raise Stale(f"{step.base}: was cut while it was copied")
    descent.note_taken(out, step.base, context.clock())
    need = access.READ if step.strict else 0
    logdir.dress(out, slot_name(step.base, 1), KEEP, acl.of(live, status), need=need)
    files.set_times(out, status)
    path = os.path.join(logdir.path, step.base)
    birth = calls.birth_time(live) or 0.0
    made, first = os.fstat(out), os.pread(out, 1, 0)[0]
    record = CopyInFlight(path, step.id.inode, birth, made.st_ino, length, "copied", protocol, made.st_mtime_ns, first)
    is_noted = cuts.begin(out, record)  # with its mode by now: who may do it now may do it later
    files.sync_and_close_check(out)
    context.history.begin_copy(record)
    make_way(context, step.moves)
    slot = slot_name(step.base, 1)
    logdir.publish(temp_name(slot), slot)
    logdir.sync()
    return record, is_noted


def _transferred(context: Context, fds: tuple[int, int], length: int, *, follow: bool) -> tuple[int, bool]:
    """Copy the first ``length`` bytes and, to ``follow``, what came meanwhile, until little is left.

    Returns how many they are, and whether time was up before all were copied: then they are whole blocks.
    """
    live, out = fds
    wanted, done, rounds = length, 0, ROUNDS if follow else 0
    while done < length:
        if context.stop() or (context.deadline.passed() and done >= PIECE):
            return done, done < wanted
        if length > files.STRIDE and context.deadline.overdue():  # what is small is taken in any case
            return done, done < wanted
        end = min(done + files.STRIDE, length)
        head.transfer_sparse(live, out, done, end)
        files.settle(out, end)
        done = end
        if done == length and rounds:
            rounds -= 1
            grown = head.whole_blocks(live)
            length = grown if grown - length > LITTLE else length
    return done, False


def _why_not_copied(context: Context, step: Copytruncate, done: int, collapse: bool) -> str:
    if context.stop():
        return f"{step.base}: stopped while it was copied"
    return (
        f"{done} of {step.size} bytes were copied within the run's time limit, and where no range can be collapsed "
        "a log is not cut in pieces; give it more time"
    )
