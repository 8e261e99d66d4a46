"""Copytruncate without loss: copy whole blocks at the head of the log, then collapse exactly these away.

For writers that append (O_APPEND). Where a range cannot be collapsed, and the rule accepts loss, the log is
copied and truncated; lines written between the last read and the truncate are lost then.
"""

from __future__ import annotations

import contextlib
import os

from msgspec import Struct

from logrotor.act import cutting, finishing, undoing
from logrotor.act.cutting import APPENDING
from logrotor.act.take import make_way
from logrotor.decide.naming import SUFFIXES, temp_name
from logrotor.disk import access, acl, calls, files
from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.disk.memory import Memory
from logrotor.disk.writers import Processes
from logrotor.errors import Refused, Stale
from logrotor.model import KEEP, Codec, Copy, CopyInFlight, Copytruncate, FileId


class Copied(Struct, frozen=True):
    """What ran: "collapse" or "truncate", the bytes that were moved to the archive, and which file that is."""

    protocol: str
    size: int
    archive: FileId


def copytruncate(dirs: Directories, step: Copytruncate, memory: Memory) -> Copied | None:
    """Rotate one log by copy; None if there is no whole block to cut off.

    Raises Stale, Busy, Refused or OSError.
    """
    with dirs.use(step.directory) as logdir:
        _expect_free_slot(dirs, step)
        return _copied_by(dirs, logdir, step, memory)


def _expect_free_slot(dirs: Directories, step: Copytruncate) -> None:
    """Slot 1 is free in any form, once the moves are made. Raises Stale.

    Else another configuration has rotated the log since the plan was made, which its inode does not tell: two
    generations in one slot, of the same lines again and again, would be taken for one that is compressed.
    """
    away = {(move.directory, move.source) for move in step.moves}
    for directory in (step.directory, *step.elsewhere):
        with contextlib.suppress(FileNotFoundError), dirs.use(directory) as there:
            for suffix in SUFFIXES.values():
                name = f"{step.base}.1{suffix}"
                if (directory, name) not in away and there.stat(name) is not None:
                    raise Stale(f"{os.path.join(directory, name)}: exists by now")


def _copied_by(dirs: Directories, logdir: LogDir, step: Copytruncate, memory: Memory) -> Copied | None:
    live = logdir.open_file(step.base, step.id, APPENDING)
    temp = temp_name(f"{step.base}.1")
    try:
        out = logdir.create_temp(temp)
        try:
            return _copied(dirs, logdir, step, memory, live, out)
        finally:
            try:
                logdir.clear_away(temp, out)  # gone by now if it was published
            finally:
                os.close(out)
    finally:
        os.close(live)


def _copied(
    dirs: Directories, logdir: LogDir, step: Copytruncate, memory: Memory, live: int, out: int
) -> Copied | None:
    block = os.fstatvfs(live).f_bsize
    collapse = _collapses(logdir, step, live, out)
    if collapse and finishing.rediscover(logdir, step.base, memory, live, block):
        raise Stale(f"{step.base}: an interrupted copytruncate, whose record was lost, is to be finished")
    if not step.accept_loss:
        _refuse_overwriting(step, live, block)
    length = os.fstat(live).st_size
    if length < step.size:
        raise Stale(f"{step.base}: was cut since the plan was made")
    if collapse:
        length = max(length - 1, 0) // block * block  # a collapse up to the end of the file is EINVAL
    if length == 0:
        return None
    record = _publish_copy(dirs, logdir, step, memory, (live, out), length, "collapse" if collapse else "truncate")
    archive = FileId(logdir.id.device, record.archive_inode)
    copy = Copy(logdir.path, f"{step.base}.1", archive, Codec.NONE)
    return Copied(record.protocol, _cut(dirs, logdir, record, memory, (live, out), copy), archive)


def _cut(
    dirs: Directories, logdir: LogDir, record: CopyInFlight, memory: Memory, fds: tuple[int, int], copy: Copy
) -> int:
    """Returns the bytes that the copy holds, and the log no longer."""
    if not cutting.still_has(*fds, record.length, record.protocol):
        undoing.leave(dirs, record, memory, fds, copy)
        return record.length
    if record.protocol == "truncate":
        return cutting.truncate(logdir, record, memory, fds)
    try:
        return cutting.collapse(record, memory, fds[0], os.fstatvfs(fds[0]).f_bsize)
    except Refused:
        undoing.take_back(dirs, logdir, record, memory, fds[0], (copy,))
        raise


def _collapses(logdir: LogDir, step: Copytruncate, live: int, out: int) -> bool:
    """Can the log be collapsed, as its file system can, and not only a temp? Raises Refused if it cannot be cut."""
    if calls.is_append_only(live):
        raise Refused(f"{logdir.path}/{step.base}: may only be appended to, so it cannot be cut; chattr -a")
    mapped = calls.is_block_mapped(live)
    on_this_disk = step.collapse and step.id.device == logdir.id.device
    if on_this_disk and not mapped and can_collapse(out, os.fstatvfs(live).f_bsize):
        return True
    if not step.accept_loss:
        what, advice = ("the block map of this file", "chattr +e, ") if mapped else ("this file system", "")
        raise Refused(
            f"{step.base}: {what} cannot collapse a range, so lines could be lost; "
            f'{advice}use method = "rename", or set accept_loss = true'
        )
    return False


def can_collapse(fd: int, block: int) -> bool:
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


def _refuse_overwriting(step: Copytruncate, live: int, block: int) -> None:
    """A writer that does not append would go on at its old offset and leave NUL bytes before it."""
    if files.starts_with_hole(live, block):
        raise Refused(
            f"{step.base}: starts with a hole. If its writer does not append: open the log in append mode, or set "
            "accept_loss = true. If a copytruncate was killed and its record is lost: where the log goes on as the "
            "copy does, cut the SIZE bytes of the (uncompressed) copy off, by fallocate -c -o 0 -l SIZE"
        )
    for holder in Processes.look().holders.get(step.id, ()):
        if not holder.append:
            raise Refused(
                f"{step.base}: process {holder.pid} writes without O_APPEND and would leave NUL bytes; "
                "open the log in append mode, or set accept_loss = true"
            )


def _publish_copy(
    dirs: Directories,
    logdir: LogDir,
    step: Copytruncate,
    memory: Memory,
    fds: tuple[int, int],
    length: int,
    protocol: str,
) -> CopyInFlight:
    """Copy the head of the log and publish it as slot 1, durable, with a record of it."""
    live, out = fds
    status = os.fstat(live)
    cutting.transfer(live, out, 0, length)
    # Else the copy could begin with old lines and end with new ones.
    if not cutting.still_has(live, out, length, protocol):
        raise Stale(f"{step.base}: was cut while it was copied")
    logdir.dress(out, f"{step.base}.1", KEEP, acl.of(live, status), need=access.READ if step.strict else 0)
    files.set_times(out, status)
    files.sync_and_close_check(out)
    path = os.path.join(logdir.path, step.base)
    birth = calls.birth_time(live) or 0.0
    made, head = os.fstat(out), os.pread(out, 1, 0)[0]
    record = CopyInFlight(path, step.id.inode, birth, made.st_ino, length, "copied", protocol, made.st_mtime_ns, head)
    memory.begin_copy(record)
    make_way(dirs, step.moves)
    _publish(logdir, temp_name(f"{step.base}.1"), step.base)
    logdir.sync()
    return record


def _publish(logdir: LogDir, temp: str, base: str) -> None:
    try:
        logdir.move(temp, f"{base}.1")
    except FileExistsError:
        raise Stale(f"{base}.1: exists by now") from None
