"""Put an archive in its final form and place: verified and durable first, only then the original goes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import cast

from msgspec import Struct

from logrotor.act.archive import open_plain, permit, refuse_written
from logrotor.act.context import Context, Details, Stop
from logrotor.decide.naming import is_dated_by, parse_archive, temp_name
from logrotor.disk import codecs, descent, files
from logrotor.disk.logdir import LogDir
from logrotor.errors import Busy, Interrupted, Stale, VerifyFailed
from logrotor.model import Codec, Compress, LogPlan

_STRIDE = 16 << 20  # bytes of an archive that the disk gets at a time
_LARGE = 8 << 20  # bytes; below, a thread that verifies costs more than it gains
Progress = Callable[[int], None]  # bytes read since the last call


class Made(Struct, frozen=True):
    """The finished archive, so that it can be told again and compared later."""

    size: int
    inode: int
    mtime_ns: int
    lines: int | None  # of the original; None where its bytes were not read
    taken: int  # bytes of the original, of which the plan may have had to guess


class Form:
    """An archive on its way to its final form and place, in stages, so that several can share the waits for the disk.

    In this order: ``fill``, ``sync``, ``publish``, ``settle`` and ``remove``; then in any case ``close``, ``let_go``.
    Each raises Stale, Busy, Interrupted, VerifyFailed or OSError. That nobody writes the original is proved before
    anything is made; other runs are kept away from the log from ``publish`` to ``close``, while names change, not while
    bytes are read.

    killed before ...     | directory shows                       | next plan
    publish               | .app.log.1.zst.tmp                    | drop it, compress again
    set the original aside| app.log.1.zst, and app.log.1 as well  | the one that holds every line stays
    unlink, or put back   | app.log.1.zst, and .app.log.1.aside   | put it back, then the same
    """

    def __init__(self, context: Context, log: LogPlan, step: Compress) -> None:
        self.step, self.made = step, cast("Made | None", None)  # made: there is nothing more to do
        self._context, self._log = context, log
        self._opened = ExitStack()
        self._fd, self._read = -1, (-1, -1)  # of the original, and its version when it was read
        self._temp: str | None = None  # until it is published
        self._size, self._lines = 0, 0

    def fill(self, progress: Progress, threads: int = 1) -> None:
        """Make the archive as a temp, and compare it. Where a new name is enough, that is all."""
        step, use, dirs = self.step, self._opened.enter_context, self._context.dirs
        self.source, self.target = use(dirs.use(step.directory)), use(dirs.use(step.to_directory))
        _check_date(self.source, step)
        if step.plain:
            self._fd = open_plain(self.source, step.name, step.id)
            permit(self._context, self._log, self.source, step.name, self._fd)
        if step.codec is Codec.NONE:
            with dirs.turn(self._log.path):
                status = self.source.expect(step.name, step.id).stat
                if _renamed(self.source, self.target, step):
                    self.made = Made(step.size, step.id.inode, status.st_mtime_ns, None, status.st_size)
                    return
        if self._fd < 0:
            self._fd = self.source.open_file(step.name, step.id)
        self._read = _version(self._fd)
        temp = temp_name(step.to_name)
        self._out = self.target.create_temp(temp)
        self._opened.callback(os.close, self._out)
        self._temp = temp
        stop = self._context.no_time
        self._size, self._lines = _filled_and_verified(self._fd, self._out, step, stop, progress, threads)
        _dress(self.target, self._fd, self._out)

    def start_sync(self) -> None:
        """Have the disk begin, and do not wait. In any thread."""
        files.start_sync(self._out)

    def sync(self) -> None:
        """Make its bytes durable. In any thread."""
        files.sync_and_close_check(self._out)

    def publish(self) -> None:
        """Give it its name, if the original still is what the plan saw."""
        assert self._temp is not None
        self._opened.enter_context(self._context.dirs.turn(self._log.path))
        self.source.expect(self.step.name, self.step.id)
        _publish(self.target, self._temp, self.step.to_name)
        self._temp = None
        _check_original(self.source, self.target, self.step, self._out)

    def settle(self) -> None:
        """Make its name durable, and that of every other archive that was published in this directory."""
        # fsync before unlink: ext4 and XFS may commit the unlink first (a power cut left a 0-byte archive alone).
        self.target.sync()

    def remove(self) -> None:
        """Remove the original, if it still is what was read, and nobody writes it: its archive is durable."""
        try:
            self.source.remove(self.step.name, self.step.id, self._refuse_written)
        except (Stale, Busy):
            self._take_back()
            raise
        status = os.fstat(self._out)
        lines = self._lines if self.step.plain else None
        self.made = Made(self._size, status.st_ino, status.st_mtime_ns, lines, self._read[0])

    def _take_back(self) -> None:
        """Where the original still stands, the bytes would stand twice."""
        entry = self.source.stat(self.step.name)
        # Somebody may have appended to a plain one by its name: such a line stands here alone.
        grown = self.step.codec is Codec.NONE and os.fstat(self._out).st_size != self._size
        if entry is not None and entry.id == self.step.id and not grown:
            self.source.sync()  # it has just got its name back
            self.target.discard(self.step.to_name, self._out)

    def _refuse_written(self) -> None:
        if self.step.plain:
            refuse_written(self._context, self.source, self._fd)
        if _version(self._fd) != self._read:  # last: who had it open until just now may have written
            raise Stale(f"{self.step.name}: was written after it had been compressed")

    @property
    def details(self) -> Details:
        """What the outcome says of it, once it is made: by this the history recognizes the file again."""
        step, made = self.step, self.made
        assert made is not None
        return {
            "to": os.path.join(step.to_directory, step.to_name), "bytes": made.taken, "bytes_out": made.size,
            "source": step.id.inode, "inode": made.inode, "mtime_ns": made.mtime_ns, "lines": made.lines,
        }  # fmt: skip

    def close(self) -> None:
        """End its turn at the log; a temp that was not published goes."""
        with self._opened:
            if self._temp is not None:
                self.target.clear_away(self._temp, self._out)
                self._temp = None

    def let_go(self) -> None:
        """Close the original, in any thread: if it is removed, its blocks are freed now, which can take a while."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _version(fd: int) -> tuple[int, int]:
    """What changes with every write: the size in bytes, the time in nanoseconds."""
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns


def _check_date(source: LogDir, step: Compress) -> None:
    """A date tells the last write, by which the next run knows the archive again: the writer may have gone on since."""
    new = parse_archive(step.to_name)
    if new is None or new.stamp is None:
        return
    old = parse_archive(step.name)
    if old is not None and old.slot is not None and not is_dated_by(new, source.expect(step.name, step.id).mtime):
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


def _filled_and_verified(
    fd: int, out: int, step: Compress, stop: Stop, progress: Progress, threads: int
) -> tuple[int, int]:
    """Fill the archive and read it back; a large one while it grows. Returns the bytes written and the lines read."""
    if step.size < _LARGE:
        found = _fill(fd, out, step, stop, progress)
        _verify(fd, out, step, stop)
        return found
    growing = codecs.Growing()
    with ThreadPoolExecutor(1, thread_name_prefix="logrotor-verify") as pool:
        verified = pool.submit(_verify, fd, out, step, stop, growing)
        try:
            found = _fill(fd, out, step, stop, progress, threads, growing)
        finally:
            growing.end()
    verified.result()
    return found


def _fill(
    fd: int,
    out: int,
    step: Compress,
    stop: Stop,
    progress: Progress,
    threads: int = 1,
    growing: codecs.Growing | None = None,
) -> tuple[int, int]:
    """Stream the original through the codec; returns the bytes written and the lines read."""
    size = os.fstat(fd).st_size
    machine = codecs.compressor(step.codec, step.level, size, threads)
    done = written = lines = 0
    for data in codecs.read(fd):
        if stop():
            raise Interrupted(f"{step.name}: stopped while compressing")
        done += len(data)
        if done > size:
            break
        written += _write(out, machine.compress(data), growing)
        lines += data.count(b"\n")
        progress(len(data))
    if done != size or os.fstat(fd).st_size != size:
        raise Stale(f"{step.name}: grew while it was compressed")
    return written + _write(out, machine.flush(), growing), lines


def _write(out: int, data: bytes, growing: codecs.Growing | None) -> int:
    files.write_all(out, data)
    if growing is not None:
        growing.add(len(data))
        if growing.size % _STRIDE < len(data):
            files.start_sync(out)  # so that little is left to wait for at the end
    return len(data)


def _dress(target: LogDir, fd: int, out: int) -> None:
    """The archive is as readable as the log was, and keeps its time."""
    status = os.fstat(fd)
    descent.note(out, fd)  # before its mode, which may forbid that
    target.dress(out, status.st_mode & 0o777, like=fd)
    files.set_times(out, status)


def _verify(fd: int, out: int, step: Compress, stop: Stop, growing: codecs.Growing | None = None) -> None:
    """Read the archive back and compare it with the original."""
    try:
        same = codecs.same_content((fd, Codec.NONE), (out, step.codec), stop=stop, growing=growing)
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
