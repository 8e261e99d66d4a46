"""Cut off a log what its copy holds, so that a crash at any point is seen to have come before the cut, or after it.

Where a copytruncate stands is told by its record, which is noted on the copy (:mod:`logrotor.disk.cuts`) and in the
history, and by a mark in the log itself; the first run, its recovery by whatever configuration, and its undoing are one
function, :func:`advance`, which goes on from there.

A log that somebody has open is collapsed: cut by whole blocks. Of the collapse the mark is a hole for the first block:

killed before ...  | record | directory shows                 | next run
publish            | copied | the log whole, a temp            | forget the record, drop the temp
mark               | copied | the log whole, and its copy      | mark and collapse, if the bytes still agree
record the mark    | copied | a hole for the first block       | mark again, collapse
collapse           | marked | a hole for the first block       | collapse, by what the copy holds by now
forget             | marked | the log's rest                   | forget

A log that refuses to be cut is as it was in the end, and stands in no copy:

forget the mark    | marked | a hole for the first block, the copy  | collapse: refused again, undo
write the block    | copied | a hole for the first block, the copy  | mark again, collapse: refused, undo
drop the copy      | copied | the log whole, and its copy           | mark, collapse: refused, undo
forget             | copied | the log whole                         | forget

A log that nobody else has open is truncated while a lease keeps it so, which loses nothing and leaves nothing; one that
cannot be collapsed is truncated anyway, where the rule accepts loss. The mark of both is the first byte, inverted. By
its bytes a log that was cut, and has got the very lines again that it had (a heartbeat), is like one that was not:

publish            | copied | the log whole, a temp            | forget the record, drop the temp
mark               | copied | the log whole, and its copy      | mark and truncate, if the bytes still agree
record the mark    | copied | the log with the mark            | truncate
truncate           | marked | the log with the mark            | truncate
forget             | marked | no mark: what was written since  | forget

Where somebody has opened it meanwhile, and no loss is accepted, the log is as it was, and collapsed by another copy:

forget the mark    | marked | the log with the mark, its copy  | truncate, or undo
write the byte     | copied | the log with the mark, its copy  | truncate, or undo
drop the copy      | copied | the log whole, and its copy      | truncate, or undo
forget             | copied | the log whole                    | forget

The record tells of a truncation, not of the lease: so an older logrotor finishes it as well, as it does where loss is
accepted, with the rest of the log copied right before.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from logrotor.act import head
from logrotor.act.context import Context
from logrotor.decide.naming import aside_name
from logrotor.disk import calls, cuts, files, writers
from logrotor.disk.logdir import LogDir
from logrotor.errors import Interrupted, Refused, Stale
from logrotor.model import Codec, Copy, CopyInFlight, Problem

APPENDING = os.O_RDWR | os.O_APPEND  # so that our own descriptor is not taken for a writer that overwrites
ROUNDS = 20  # looks at a log that is copied while it grows
LITTLE = 64 << 10  # bytes that may come between the last look and the cut: who follows the log sees them again


class Cut(Struct):
    """A copytruncate whose copy is published."""

    context: Context
    logdir: LogDir
    record: CopyInFlight
    live: int  # the log, open to append
    copies: tuple[Copy, ...]  # archives that hold the first bytes of the log
    held: int  # how many: ``record.length`` or more
    out: int | None = None  # the plain copy, open to write: what came meanwhile is added to it
    accept_loss: bool = False  # truncate it also while others may write it
    whole: bool = False  # it was truncated while nobody else had it open
    left: int = 0  # bytes that there was no time for
    noted: int | None = None  # the copy that the record is noted on, open
    spoilt: bool = False  # the copy could not be made durable

    @property
    def block(self) -> int:
        return cuts.block_size(self.live)

    @property
    def hidden(self) -> int:
        return cuts.hidden(self.live, self.record)


def advance(cut: Cut) -> bool:
    """Bring a copytruncate to its end, from wherever it stands. False: nothing was cut off, and all is forgotten.

    Raises Refused if this very log cannot be cut: it is whole then, and stands in no copy.
    """
    return _truncate(cut) if cut.record.protocol == "truncate" else _collapse(cut)


# ---------------------------------------------------------------- collapse


def _collapse(cut: Cut) -> bool:
    # Once it is marked the copy was there, even if it is gone by now: only we make holes.
    if cut.record.stage == "copied" and not cut.copies:
        conclude(cut)
        return False
    try:
        if cut.record.stage == "copied":
            _try(files.punch, cut, cut.block)
            files.sync(cut.live)
            _remember(cut, "marked")
        if _is_marked(cut):
            _follow(cut)
        if _is_marked(cut):
            _try(files.collapse, cut, cut.held)
            files.sync(cut.live)
    except Refused:
        _undo(cut)
        raise
    conclude(cut)
    return True


def _remember(cut: Cut, stage: str) -> None:
    """Durably, wherever the record is."""
    cut.record = replace(cut.record, stage=stage)
    if cut.noted is not None:
        cuts.note(cut.noted, cut.record)
        if not cut.spoilt:
            _sync_copy(cut, cut.noted)
    cut.context.history.begin_copy(cut.record)


def conclude(cut: Cut) -> None:
    """Nothing is left to do; no record says otherwise."""
    if cut.noted is not None:
        cuts.conclude(cut.noted)
    cut.context.history.end_copy(cut.record.path)


def _follow(cut: Cut) -> None:
    """Copy what came meanwhile, until little is left. The record need not know: the bytes of the copy tell."""
    for _ in range(ROUNDS if cut.out is not None else 0):
        assert cut.out is not None
        end = head.whole_blocks(cut.live)
        if end - cut.held <= LITTLE or os.fstat(cut.out).st_size != cut.held:  # somebody has appended to the copy
            return
        for start, stop in files.strides(cut.held, end):
            head.transfer(cut.live, cut.out, start, stop)
            files.settle(cut.out, stop)
            cut.held = stop
            if cut.context.no_time():  # what was copied is cut off, and no more
                break
        _sync_copy(cut, cut.out)
        if cut.held < end:
            return


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
    """Take the mark back, by what the copy holds, and remove the copy."""
    if cut.record.protocol == "truncate" and cut.hidden:
        _unmark(cut, bytes([cut.record.head]))
    elif cut.record.protocol == "collapse" and cut.copies and _is_marked(cut):
        copy = cut.copies[0]
        with cut.context.dirs.use(copy.directory) as logdir:
            data = head.first_block(logdir, copy, cut.block)
        _unmark(cut, data)
    withdraw(cut)


def _sync_copy(cut: Cut, out: int) -> None:
    """Make the copy durable. One whose fsync failed may be lost, whatever a later fsync says: it goes."""
    try:
        files.sync_and_close_check(out)
    except OSError:
        cut.spoilt = True
        _undo(cut)
        raise


def _is_marked(cut: Cut) -> bool:
    """Is there a hole for the first block of what a collapse is to cut off?"""
    return files.starts_with_hole(cut.live, cut.block) and os.fstat(cut.live).st_size > cut.held


def _unmark(cut: Cut, data: bytes) -> None:
    """Forget the mark first: a marked record of a log without a mark is one of a log that was cut."""
    _remember(cut, "copied")
    head.overwrite(cut.live, data)


def withdraw(cut: Cut) -> None:
    """Remove the copies of a log that still has what they hold, durably, and then forget the record.

    A copy to which somebody has appended stays: lines that stand twice are better than lost ones.
    """
    for copy in cut.copies:
        with cut.context.dirs.use(copy.directory) as logdir, contextlib.suppress(Stale):
            logdir.remove(copy.name, copy.id, partial(_refuse_grown, logdir, copy, cut.held))
            logdir.sync()
    conclude(cut)


def _refuse_grown(logdir: LogDir, copy: Copy, length: int) -> None:
    aside = logdir.stat(aside_name(copy.name))
    if copy.codec is Codec.NONE and aside is not None and aside.size != length:
        raise Stale(f"{copy.name}: was written since it was copied")


# ---------------------------------------------------------------- truncate


def _truncate(cut: Cut) -> bool:
    record, out = cut.record, cut.out
    is_cut = record.stage == "marked" and not cut.hidden
    if not is_cut and out is not None and cut.held >= record.length:
        try:
            is_cut = _try_to_truncate(cut, out)
        except Interrupted:
            _undo(cut)
            raise
    # What an emptied log had stands in the copy alone.
    if is_cut or (out is not None and _was_emptied(cut, out)):
        if out is not None and not cut.whole:  # else it was synced right before, and has got nothing since
            files.sync_and_close_check(out)
        conclude(cut)
        return True
    _undo(cut)
    return False


def _try_to_truncate(cut: Cut, out: int) -> bool:
    cut.whole = _truncate_alone(cut, out)
    if cut.whole or not cut.accept_loss or (cut.record.stage == "marked" and not cut.hidden):
        return cut.whole
    _truncate_at_once(cut, out)
    return True


def _was_emptied(cut: Cut, out: int) -> bool:
    return head.common(cut.live, out, Codec.NONE, hidden=cut.hidden, stop=cut.context.stop) < cut.held


def _truncate_alone(cut: Cut, out: int) -> bool:
    """Truncate the log while nobody else has it open, nor can open it. False: somebody has, or nobody can tell.

    What takes long comes before: who wants to open the log then has to wait.
    """
    if not writers.is_alone(cut.live, cut.context.kind_of(cut.logdir)):
        return False
    if cut.record.stage == "copied":
        _mark(cut)
    for _ in range(ROUNDS):
        mtime_ns = os.fstat(cut.live).st_mtime_ns
        if not cut.hidden:  # emptied meanwhile: what it has now stands nowhere else
            return False
        _catch_up(cut, out)
        _sync_copy(cut, out)
        is_cut = files.truncate_alone(cut.live, cut.held, mtime_ns)
        if is_cut is not False:
            files.sync(cut.live)
            return bool(is_cut)
    return False


def _truncate_at_once(cut: Cut, out: int) -> None:
    """Copy what came meanwhile until nothing more comes, then truncate at once: what falls in between is lost.

    The last of it is short, and synced only after the cut: a line may come with every millisecond before it.
    """
    _catch_up(cut, out)
    _sync_copy(cut, out)
    if cut.record.stage == "copied":
        _mark(cut)
    _catch_up(cut, out)
    files.truncate(cut.live)
    files.sync_and_close_check(out)
    files.sync(cut.live)


def _mark(cut: Cut) -> None:
    head.overwrite(cut.live, cuts.mark_of(cut.record))
    _remember(cut, "marked")


def _catch_up(cut: Cut, out: int) -> None:
    """Copy what the log has and the copy has not. A writer faster than us is not followed. Raises Interrupted."""
    for _ in range(ROUNDS):
        grown = os.fstat(cut.live).st_size
        if grown <= cut.held:
            return
        for start, end in files.strides(cut.held, grown):
            if cut.context.stop():
                raise Interrupted(f"{cut.record.path}: stopped before it was cut")
            head.transfer(cut.live, out, start, end)
            files.settle(out, end)
            cut.held = end
