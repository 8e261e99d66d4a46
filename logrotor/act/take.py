"""Take a log: move it aside to slot 1 and put a replacement in its place, so that no opener misses it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from functools import partial

from logrotor.act.context import Context, Details
from logrotor.decide.naming import UNFINISHED_MODE, replacement_name, slot_name
from logrotor.disk import access, acl, descent
from logrotor.disk.acl import Access
from logrotor.disk.calls import NOT_OFFERED
from logrotor.disk.logdir import LogDir
from logrotor.errors import LogrotorError, Refused, Stale
from logrotor.model import CreateLive, FileId, FinishTake, LogPlan, Move, PutBack, Shift, Take


def take(context: Context, log: LogPlan, step: Take) -> Details:
    """Carry out one take; by "exchange", "link" or "rename", whatever the file system knows.

    Raises Stale, Refused or OSError; the log is whole then, under its own name or in slot 1.
    """
    now = round(context.clock(), 3)  # as it is noted on the archive
    with context.dirs.use(step.directory) as logdir:
        protocol = _taken(context, logdir, step, now)
    return {
        "protocol": protocol, "guarantee": "lossless", "reason": step.reason,
        "bytes": step.size, "inode": step.id.inode, "taken": now,
    }  # fmt: skip


def _taken(context: Context, logdir: LogDir, step: Take, now: float) -> str:
    if not step.create:
        _note(logdir, step, now)
        make_way(context, step.moves)
        _move_live(logdir, step)
        return "rename"
    fd, status = logdir.open_known(step.base, step.id)
    try:
        make_way(context, step.moves)
        # Before it has an archive's name; but after the replacement is made, which may need the last inode of a tmpfs.
        mark = partial(descent.note_taken, fd, step.base, now)
        return _replaced(logdir, step, acl.of(fd, status), mark)
    finally:
        os.close(fd)


def _note(logdir: LogDir, step: Take, now: float) -> None:
    """Mark the log as what its archive will be, if it can be opened."""
    try:
        fd = logdir.open_file(step.base, step.id)
    except (LogrotorError, OSError):
        return
    descent.note_taken(fd, step.base, now)
    os.close(fd)


def _replaced(logdir: LogDir, step: Take, old: Access, mark: Callable[[], None]) -> str:
    """The first protocol that the file system knows."""
    try:
        take_by_exchange(logdir, step, old, mark)
        return "exchange"
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise _explained(error, step) from error
    name = replacement_name(step.base)
    fd = logdir.create_temp(name)
    try:
        logdir.dress(fd, step.base, step.mode, old, need=_need(step))
        mark()
        return _replaced_by_temp(logdir, step, fd, old)
    except BaseException:
        if _is_unseen(logdir, step):
            logdir.clear_away(name, fd)
        raise
    finally:
        os.close(fd)


def _replaced_by_temp(logdir: LogDir, step: Take, fd: int, old: Access) -> str:
    try:
        take_by_link(logdir, step)
        return "link"
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise _explained(error, step) from error
    take_by_rename(logdir, step, fd, old)
    return "rename"


def _need(step: Take) -> int:
    """What nobody may lose. A mode that was given is obeyed."""
    return 0 if isinstance(step.mode, int) else access.READ | access.WRITE


def take_by_exchange(logdir: LogDir, step: Take, old: Access, mark: Callable[[], None]) -> None:
    """Keep slot 1 with an empty file, then swap it and the log in one step.

    killed before ... | directory shows                                        | next plan
    exchange          | app.log.1, empty, of the unfinished mode               | drop it
    chmod             | app.log.1 is the log, app.log has the unfinished mode  | finish the mode
    move to .new      | app.log.1, of the unfinished mode; app.log is put back | drop it, unless it has lines by now

    The empty file lets in whom the finished one will: only its sticky bit is too much. It keeps that until it is sure
    that it stays.
    """
    slot = slot_name(step.base, 1)
    fd = logdir.reserve(slot)
    try:
        mode = logdir.dress(fd, step.base, step.mode, old, need=_need(step), mark=UNFINISHED_MODE)
        mark()
        logdir.exchange(slot, step.base)
        try:
            logdir.expect(slot, step.id)
        except Stale:  # not the log that the plan saw: put it back; ours may have a writer by now
            logdir.exchange(slot, step.base)
            own = os.fstat(fd)
            logdir.move_this(slot, replacement_name(step.base), FileId(own.st_dev, own.st_ino))
            logdir.set_mode(fd, mode)
            raise
        logdir.set_mode(fd, mode)
    except BaseException:
        if _is_unseen(logdir, step):
            logdir.release(slot, fd)
        raise
    finally:
        os.close(fd)


def take_by_link(logdir: LogDir, step: Take) -> None:
    """Give the log its archive's name too, then rename the replacement over the log's own name.

    killed before ... | directory shows               | next plan
    link              | .app.log.new, empty, unused   | drop it
    replace           | app.log and app.log.1 are one | drop the second name and the temp, take anew
    """
    slot = slot_name(step.base, 1)
    try:
        logdir.link(step.base, slot)
    except FileExistsError:
        raise Stale(f"{slot}: exists by now") from None
    taken = logdir.stat(slot)
    if taken is None or taken.id != step.id:
        if taken is not None:
            logdir.drop_alias(slot, taken.id)
        raise Stale(f"{step.base}: changed since the plan was made")
    try:
        logdir.replace(replacement_name(step.base), step.base)
    except OSError:
        logdir.drop_alias(slot, step.id)
        raise


def take_by_rename(logdir: LogDir, step: Take, fd: int, old: Access) -> None:
    """Move the log away, then create a new one: the last resort, with a moment in which no log is there.

    killed before ...  | directory shows                        | next plan
    move               | .app.log.new, empty, unused            | drop it
    create             | .app.log.new, unused, and no live log  | create the log, then drop the temp
    chmod of the new   | both, the log of the unfinished mode   | finish the log, then drop the temp
    drop               | .app.log.new, unused                   | drop it
    """
    _move_live(logdir, step)
    logdir.create_live(step.base, step.mode, old)
    logdir.discard(replacement_name(step.base), fd)


# ---------------------------------------------------------------- what interrupted runs left


def finish_take(context: Context, log: LogPlan, step: FinishTake) -> Details:
    """Bring the taken log that a crash left as ``.BASE.new`` to slot 1. The history knows it for a rotation."""
    with context.dirs.use(step.directory) as logdir:
        name = replacement_name(step.base)
        logdir.expect(name, step.id)
        make_way(context, step.moves)
        logdir.move_this(name, slot_name(step.base, 1), step.id)
    return {"reason": step.reason, "inode": step.id.inode}


def put_back(context: Context, log: LogPlan, step: PutBack) -> Details:
    """Give an archive that was set aside a name, under which anybody may find it again."""
    make_way(context, step.moves)
    with context.dirs.use(step.directory) as logdir:
        logdir.move_this(step.name, step.target, step.id)
    return {"reason": step.reason}


def shift(context: Context, log: LogPlan, step: Shift) -> Details:
    make_way(context, step.moves)
    return {"reason": step.reason}


def create(context: Context, log: LogPlan, step: CreateLive) -> Details:
    """Create a missing live log, or give one its mode."""
    if step.parents:
        context.dirs.make(step.directory)
    with context.dirs.use(step.directory) as logdir:
        if step.like is None:
            logdir.create_live(step.base, step.mode)
        else:
            like, status = logdir.open_known(step.like)
            try:
                logdir.create_live(step.base, step.mode, acl.of(like, status))
            finally:
                os.close(like)
    return {"reason": step.reason}


def make_way(context: Context, moves: Iterable[Move]) -> None:
    """Carry out moves, each only if the file still is the one that the plan saw. Raises Stale."""
    for move in moves:
        with context.dirs.use(move.directory) as logdir:
            logdir.move_this(move.source, move.target, move.id)


# ----------------------------------------------------------------


def _move_live(logdir: LogDir, step: Take) -> None:
    try:
        logdir.move_this(step.base, slot_name(step.base, 1), step.id)
    except OSError as error:
        raise _explained(error, step) from error


def _is_unseen(logdir: LogDir, step: Take) -> bool:
    """After a failure the replacement goes, if the log still has its place.

    Else the replacement was the live log for an instant and may have a writer, or it marks that the live log is
    missing: the next plan looks at it.
    """
    live = logdir.stat(step.base)
    return live is not None and live.id == step.id


def _explained(error: OSError, step: Take) -> BaseException:
    if error.errno == errno.EBUSY:
        return Refused(
            f"{step.base}: is mounted by itself (a bind-mounted file) and cannot be renamed; "
            'mount its directory, or set method = "copytruncate"'
        )
    return error
