"""Copytruncate without loss: copy whole blocks at the head of the log, then collapse exactly these away.

For writers that append (O_APPEND). Where a range cannot be collapsed, and the rule accepts loss, the log is
copied and truncated; lines written between the last read and the truncate are lost then.

The crash table of the collapse; the record is in the history, the mark is a hole in the log's first block:

killed before ...  | record | directory shows                 | next run
publish            | copied | the log whole, a temp            | forget the record, drop the temp
mark               | copied | the log whole, and its copy      | mark and collapse, if the bytes still agree
record the mark    | copied | a hole for the first block       | mark again, collapse
collapse           | marked | a hole for the first block       | collapse
forget             | marked | the log's rest                   | forget

Of the truncation; the mark is the log's first byte, inverted. Without it, a log that was cut, and has got the very
lines again that it had (a heartbeat), could not be told from one that was not:

killed before ...  | record | directory shows                  | next run
publish            | copied | the log whole, a temp            | forget the record, drop the temp
mark               | copied | the log whole, and its copy      | mark and truncate, if the bytes still agree
record the mark    | copied | the log with the mark            | truncate
truncate           | marked | the log with the mark            | truncate
forget             | marked | no mark: what was written since  | forget

Another configuration may compress or move the copy meanwhile. A collapse knows it again by its time and its bytes.
What is truncated has to be in the copy whole, so a copy that is no plain file any more leaves the log as it was: its
lines stand in both.
"""

from __future__ import annotations

import contextlib
import os

from msgspec import Struct

from logrotor.act.take import make_way
from logrotor.decide.naming import SUFFIXES, temp_name
from logrotor.disk import calls, codecs, files
from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.disk.memory import Memory
from logrotor.disk.writers import Processes
from logrotor.errors import LogrotorError, Refused, Stale
from logrotor.model import Codec, Copy, CopyInFlight, Copytruncate, FileId, FinishCopytruncate

_APPENDING = os.O_RDWR | os.O_APPEND  # so that our own descriptor is not taken for a writer that overwrites

_ROUNDS = 20  # looks at a log that is copied while it grows


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
    live = logdir.open_file(step.base, step.id, _APPENDING)
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
    collapse = step.collapse and step.id.device == logdir.id.device and can_collapse(out, block)
    if not collapse and not step.accept_loss:
        raise Refused(
            f"{step.base}: this file system cannot collapse a range, so lines could be lost; "
            'use method = "rename", or set accept_loss = true'
        )
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
    if collapse:
        return Copied(record.protocol, _collapse(record, memory, live, block), archive)
    return Copied(record.protocol, _truncate(logdir, record, memory, (live, out)), archive)


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


def finish(dirs: Directories, step: FinishCopytruncate, memory: Memory) -> bool:
    """Finish what a crash interrupted; False if there was nothing to finish and the record is forgotten."""
    record = step.record
    with dirs.use(step.directory) as logdir:
        entry = logdir.stat(step.base)
        if entry is None or entry.id.inode != record.inode or not entry.is_regular:
            memory.end_copy(record.path)
            return False
        live = logdir.open_file(step.base, entry.id, _APPENDING)
        try:
            if os.fstat(live).st_size < record.length:  # cut by now, if the archive was there to cut it for
                memory.end_copy(record.path)
                return bool(step.copies) or record.stage == "marked"
            logdir.sync()  # the crash may have come before the archive's name was durable
            if record.protocol == "truncate":
                return _finish_truncation(dirs, logdir, step, memory, live)
            return _finish_collapse(dirs, step, memory, live, os.fstatvfs(logdir.fd).f_bsize)
        finally:
            os.close(live)


def _finish_collapse(dirs: Directories, step: FinishCopytruncate, memory: Memory, live: int, block: int) -> bool:
    record = step.record
    # Marked: only we make holes, so the copy was there, even if it is gone by now.
    if record.stage == "marked" or any(_is_head(dirs, copy, live, record.length, block) for copy in step.copies):
        _collapse(record, memory, live, block)
        return True
    memory.end_copy(record.path)
    return False


def _is_head(dirs: Directories, copy: Copy, live: int, length: int, block: int) -> bool:
    """Does this archive hold the first ``length`` bytes of the log? The mark of an interrupted run hides a block."""
    try:
        with dirs.use(copy.directory) as logdir:
            fd = logdir.open_file(copy.name, copy.id)
    except (LogrotorError, OSError):
        return False
    try:
        hidden = block if files.starts_with_hole(live, block) else 0
        return _agreeing(live, fd, copy.codec, hidden) == length
    except ValueError:  # damaged
        return False
    finally:
        os.close(fd)


def _finish_truncation(dirs: Directories, logdir: LogDir, step: FinishCopytruncate, memory: Memory, live: int) -> bool:
    record, out = step.record, _plain_copy(dirs, step)
    marked = os.pread(live, 1, 0) == _mark(record)
    try:
        cut = record.stage == "marked" and not marked
        if not cut and out is not None and _agreeing(live, out, Codec.NONE, 1 if marked else 0) is not None:
            _truncate(logdir, record, memory, (live, out))
            return True
        if marked:
            _overwrite_head(logdir, record, live, bytes([record.head]))
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


def _refuse_overwriting(step: Copytruncate, live: int, block: int) -> None:
    """A writer that does not append would go on at its old offset and leave NUL bytes before it."""
    if files.starts_with_hole(live, block):
        raise Refused(
            f"{step.base}: starts with a hole, so its writer does not append; "
            "open the log in append mode, or set accept_loss = true"
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
    _transfer(live, out, 0, length)
    logdir.dress(out, status.st_mode & 0o777, like=live)
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


def _collapse(record: CopyInFlight, memory: Memory, live: int, block: int) -> int:
    """Cut what the archive holds off the log; returns its bytes."""
    if record.stage == "copied":
        files.punch(live, block)
        files.sync(live)
        memory.mark_copy(record.path)
    if files.starts_with_hole(live, block) and os.fstat(live).st_size > record.length:
        files.collapse(live, record.length)
        files.sync(live)
    memory.end_copy(record.path)
    return record.length


def _truncate(logdir: LogDir, record: CopyInFlight, memory: Memory, fds: tuple[int, int]) -> int:
    """Copy what came meanwhile until nothing more comes, then truncate at once: what falls in between is lost.

    The last of it is short, and synced only after the cut: a line may come with every millisecond before it.
    """
    live, out = fds
    _catch_up(live, out)
    files.sync_and_close_check(out)
    if record.stage == "copied":
        _overwrite_head(logdir, record, live, _mark(record))
        memory.mark_copy(record.path)
    size = _catch_up(live, out)
    files.truncate(live)
    files.sync_and_close_check(out)
    files.sync(live)
    memory.end_copy(record.path)
    return size


def _overwrite_head(logdir: LogDir, record: CopyInFlight, live: int, data: bytes) -> None:
    status = os.fstat(live)
    name, file = os.path.basename(record.path), FileId(status.st_dev, status.st_ino)
    fd = logdir.open_file(name, file, os.O_RDWR)  # one that does not append
    try:
        files.overwrite(fd, data)
        files.sync(fd)
    finally:
        os.close(fd)


def _mark(record: CopyInFlight) -> bytes:
    """The first byte of a log that is about to be truncated."""
    return bytes([record.head ^ 0xFF])


def _catch_up(live: int, out: int) -> int:
    """Copy what the log has and the archive has not; returns its bytes. A writer faster than us is not followed."""
    size = os.fstat(out).st_size
    for _ in range(_ROUNDS):
        grown = os.fstat(live).st_size
        if grown <= size:
            break
        _transfer(live, out, size, grown)
        size = grown
    return size


def _agreeing(live: int, archive: int, codec: Codec, hidden: int) -> int | None:
    """How many bytes the archive holds, if they are the head of the log; the first ``hidden`` are not compared."""
    size = 0
    for data in codecs.decompressed(archive, codec):
        skipped = min(max(hidden - size, 0), len(data))
        if os.pread(live, len(data) - skipped, size + skipped) != data[skipped:]:
            return None
        size += len(data)
    return size


def _transfer(source: int, target: int, start: int, end: int) -> None:
    """Copy bytes [start, end) to the same place in ``target``."""
    os.lseek(target, start, os.SEEK_SET)
    while start < end:
        data = os.pread(source, min(codecs.CHUNK, end - start), start)
        if not data:
            raise Stale("the log became shorter while it was copied")
        files.write_all(target, data)
        start += len(data)
