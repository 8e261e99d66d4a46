"""Put an archive in its final form and place: verified and durable first, only then the original goes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from logrotor.decide.naming import parse_archive, stamp_of, temp_name
from logrotor.disk import codecs, files
from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.errors import Interrupted, Stale, VerifyFailed
from logrotor.model import Codec, Compress

Guard = Callable[[], AbstractContextManager[None]]
Progress = Callable[[int], None]  # bytes read since the last call


@dataclass(frozen=True, slots=True)
class Made:
    """The finished archive, so that it can be told again and compared later."""

    size: int
    inode: int
    mtime_ns: int
    lines: int | None  # of the original; None where its bytes were not read
    taken: int  # bytes of the original, of which the plan may have had to guess


def compress(dirs: Directories, step: Compress, guard: Guard, *, stop: Callable[[], bool], progress: Progress) -> Made:
    """Carry out one step. Raises Stale, Busy, Interrupted or OSError.

    ``guard`` keeps other runs away from the log while names change, not while bytes are compressed.

    killed before ...   | directory shows                       | next plan
    publish             | .app.log.1.zst.tmp                    | drop it, compress anew
    remove the original | app.log.1.zst, and app.log.1 as well  | equal: the plain one goes
    """
    with dirs.use(step.directory) as source, dirs.use(step.to_directory) as target:
        _check_date(source, step)
        if step.codec is Codec.NONE:
            with guard():
                status = source.expect(step.name, step.id).stat
                if _renamed(source, target, step):
                    return Made(step.size, step.id.inode, status.st_mtime_ns, None, status.st_size)
        fd = source.open_file(step.name, step.id)
        try:
            return _rewritten(source, target, step, fd, guard, stop, progress)
        finally:
            os.close(fd)


def _check_date(source: LogDir, step: Compress) -> None:
    """A date tells the last write, by which the next run knows the archive again: the writer may have gone on since."""
    old, new = parse_archive(step.name), parse_archive(step.to_name)
    written = stamp_of(source.expect(step.name, step.id).mtime)
    if old is not None and old.slot is not None and new is not None and new.stamp not in (None, written):
        raise Stale(f"{step.name}: was written since the plan was made")


def _renamed(source: LogDir, target: LogDir, step: Compress) -> bool:
    """Within one file system a new name is enough."""
    try:
        source.move_this(step.name, step.to_name, step.id, target)
    except OSError as error:
        arrived = target.stat(step.to_name)  # by a link, and it was the unlink that failed
        if error.errno != errno.EXDEV or (arrived is not None and arrived.id == step.id):
            raise
        return False
    return True


def _rewritten(
    source: LogDir,
    target: LogDir,
    step: Compress,
    fd: int,
    guard: Guard,
    stop: Callable[[], bool],
    progress: Progress,
) -> Made:
    temp = temp_name(step.to_name)
    out = target.create_temp(temp)
    published = False
    try:
        size, lines = _fill(fd, out, step, stop, progress)
        _dress(source, target, fd, out)
        files.sync_and_close_check(out)
        _verify(fd, out, step, stop)
        with guard():
            source.expect(step.name, step.id)
            _publish(target, temp, step.to_name)
            published = True
            _check_original(source, target, step, out)
            target.sync()
            # fsync before unlink: ext4 and XFS may commit the unlink first (a power cut left a 0-byte archive alone).
            source.remove(step.name, step.id)
        status = os.fstat(out)
        taken = os.fstat(fd).st_size
        return Made(size, status.st_ino, status.st_mtime_ns, lines if step.plain else None, taken)
    except BaseException:
        if not published:
            target.clear_away(temp, out)
        raise
    finally:
        os.close(out)


def _fill(fd: int, out: int, step: Compress, stop: Callable[[], bool], progress: Progress) -> tuple[int, int]:
    """Stream the original through the codec; returns the bytes written and the lines read."""
    size = os.fstat(fd).st_size
    machine = codecs.compressor(step.codec, step.level, size)
    done = written = lines = 0
    for data in codecs.read(fd):
        if stop():
            raise Interrupted(f"{step.name}: stopped while compressing")
        done += len(data)
        if done > size:
            break
        lines += data.count(b"\n")
        written += _write(out, machine.compress(data))
        progress(len(data))
    if done != size or os.fstat(fd).st_size != size:
        raise Stale(f"{step.name}: grew while it was compressed")
    return written + _write(out, machine.flush()), lines


def _write(out: int, data: bytes) -> int:
    files.write_all(out, data)
    return len(data)


def _dress(source: LogDir, target: LogDir, fd: int, out: int) -> None:
    """The archive is as readable as the log was, and keeps its time."""
    status = os.fstat(fd)
    target.dress(out, status.st_mode & 0o777, like=fd)
    files.set_times(out, status)


def _verify(fd: int, out: int, step: Compress, stop: Callable[[], bool]) -> None:
    try:
        same = codecs.same_content((fd, Codec.NONE), (out, step.codec), stop=stop)
    except ValueError as error:
        raise VerifyFailed(f"{step.to_name}: {error}; the original stays") from None
    if not same:
        raise VerifyFailed(f"{step.to_name}: does not hold the bytes of {step.name}; the original stays")


def _publish(target: LogDir, temp: str, name: str) -> None:
    try:
        target.move(temp, name)
    except FileExistsError:
        raise Stale(f"{name}: exists by now") from None


def _check_original(source: LogDir, target: LogDir, step: Compress, out: int) -> None:
    """If another run moved the original while we published, take our archive back: the bytes would stand twice."""
    try:
        source.expect(step.name, step.id)
    except Stale:
        target.discard(step.to_name, out)
        raise
