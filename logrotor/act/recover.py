"""Finish or drop what an interrupted run left, one step at a time."""

from __future__ import annotations

import os

from logrotor.act import finishing, retire, take
from logrotor.disk import acl
from logrotor.disk.directories import Directories
from logrotor.disk.memory import Memory
from logrotor.model import (
    CreateLive,
    DropAlias,
    DropDuplicate,
    DropTemp,
    FinishCopytruncate,
    FinishTake,
    PutBack,
    Shift,
    Step,
)


def carry_out(dirs: Directories, step: Step, memory: Memory) -> bool:
    """Returns whether there was something to do. Raises Stale, Busy, Refused or OSError."""
    match step:
        case DropTemp():
            retire.drop_temp(dirs, step)
        case DropAlias():
            retire.drop_alias(dirs, step)
        case DropDuplicate():
            retire.drop_duplicate(dirs, step)
        case Shift():
            take.make_way(dirs, step.moves)
        case PutBack():
            take.put_back(dirs, step)
        case FinishTake():
            take.finish_take(dirs, step)
        case FinishCopytruncate():
            return finishing.finish(dirs, step, memory)
        case CreateLive():
            return _create(dirs, step)
        case _:
            raise TypeError(f"not a step of recovery: {step!r}")
    return True


def record(step: FinishTake | FinishCopytruncate) -> dict[str, int]:
    """By this the history knows it for a rotation."""
    if isinstance(step, FinishTake):
        return {"inode": step.id.inode}
    return {"inode": step.record.archive_inode, "bytes": step.record.length}


def _create(dirs: Directories, step: CreateLive) -> bool:
    if step.parents:
        dirs.make(step.directory)
    with dirs.use(step.directory) as logdir:
        if step.like is None:
            return logdir.create_live(step.base, step.mode)
        like, status = logdir.open_known(step.like)
        try:
            return logdir.create_live(step.base, step.mode, acl.of(like, status))
        finally:
            os.close(like)
