"""Put an archive in its final form and place: verified and durable first, only then the original goes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from logrotor.act.archive import last_look, open_plain, permit
from logrotor.act.context import Context, Details
from logrotor.decide.naming import is_dated_by, parse_archive, temp_name
from logrotor.disk import access, acl, calls, codecs, cuts, descent, files
from logrotor.errors import Busy, Interrupted, Stale, VerifyFailed
from logrotor.model import KEEP, Codec, Compress, LogPlan

_LARGE = 8 << 20  # bytes; below, a thread that verifies costs more than it gains
Progress = Callable[[int], None]  # bytes read since the last call


class Form:
    """An archive on its way to its final form and place, in stages, so that several can share the waits for the disk.

    In this order: ``fill``, ``sync``, ``publish``, ``settle`` and ``remove``; then in any case ``close``, ``let_go``.
    Each raises Stale, Busy, Interrupted, VerifyFailed or OSError. That nobody writes the original is proved before
    anything is made; other runs are kept away from the log from ``publish`` to ``close``, while names change, not while
    bytes are read.

    killed before ...      | directory shows                      | next plan
    publish                | .app.log.1.zst.tmp                   | drop it, compress again
    set the original aside | app.log.1.zst, and app.log.1 as well | the one that holds every line stays
    unlink, or put back    | app.log.1.zst, and .app.log.1.aside  | put it back, then the same
    """

    def __init__(self, context: Context, log: LogPlan, step: Compress) -> None:
        self.step = step
        self.made: Details | None = None  # by this the history recognizes the finished archive; there is no more to do
        self._context, self._log = context, log
        self._opened = ExitStack()
        self._fd, self._read = -1, (-1, -1)  # of the original, and its size and time when it was read
        self._temp: str | None = None  # until it is published
        self._size = self._lines = 0
        self._digest: codecs.Digest | None = None  # of the lines, as a plain one has them

    def fill(self, progress: Progress, threads: int = 1) -> None:
        """Make the archive as a temp, and compare it. Where a new name is enough, that is all."""
        step, use, dirs = self.step, self._opened.enter_context, self._context.dirs
        self.source, self.target = use(dirs.use(step.directory)), use(dirs.use(step.to_directory))
        self._check_date()
        if step.plain:
            self._fd = open_plain(self.source, step.name, step.id)
            permit(self._context, self._log, self.source, step.name, self._fd)
        if step.codec is Codec.NONE:
            with dirs.turn(self._log.path):
                if self._renamed():
                    return
        if self._fd < 0:
            self._fd = self.source.open_archive(step.name, step.id)
        status = os.fstat(self._fd)
        self._read = status.st_size, status.st_mtime_ns
        temp = temp_name(step.to_name)
        self._out = self.target.create_temp(temp)
        self._opened.callback(os.close, self._out)
        self._temp = temp
        self._fill_and_verify(progress, threads)
        self._dress()

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
        self.target.publish(self._temp, self.step.to_name)
        self._temp = None
        self._check_original()

    def settle(self) -> None:
        """Make its name durable, and that of every other archive that was published in this directory."""
        # fsync before unlink: ext4 and XFS may commit the unlink first (a power cut left a 0-byte archive alone).
        self.target.sync()

    def remove(self) -> None:
        """Remove the original, if it still is what was read, and nobody writes it: its archive is durable."""
        step, source, fd = self.step, self.source, self._fd
        try:
            source.remove(step.name, step.id, lambda: last_look(self._context, source, fd, step, *self._read))
        except (Stale, Busy):
            self._take_back()
            raise
        self.made = self._details(os.fstat(self._out), self._out, self._read[0], self._size)
        if self._digest is not None:
            self.made |= {"lines": self._lines, "xxh128": self._digest.hexdigest()}

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

    # ------------------------------------------------------------ the original

    def _check_date(self) -> None:
        """A date tells the last write, by which the next run knows the archive again: the writer may have gone on."""
        new, old = parse_archive(self.step.to_name), parse_archive(self.step.name)
        if new is None or new.stamp is None or old is None or old.slot is None:
            return
        if not is_dated_by(new, self.source.expect(self.step.name, self.step.id).mtime):
            raise Stale(f"{self.step.name}: was written since the plan was made")

    def _renamed(self) -> bool:
        """Within one file system a new name is enough."""
        step = self.step
        status = self.source.expect(step.name, step.id).stat
        try:
            self.source.move_this(step.name, step.to_name, step.id, self.target)
        except OSError as error:
            arrived = self.target.stat(step.to_name)  # by a link, and it was the unlink that failed
            if error.errno != errno.EXDEV or (arrived is not None and arrived.id == step.id):
                raise
            return False
        self.made = self._details(status, self._fd, status.st_size, step.size)
        return True

    def _check_original(self) -> None:
        """If another run moved the original while we published, take our archive back: the bytes would stand twice."""
        try:
            self.source.expect(self.step.name, self.step.id)
        except Stale:
            self.target.discard(self.step.to_name, self._out)
            raise

    def _take_back(self) -> None:
        """Where the original still stands, the bytes would stand twice."""
        entry = self.source.stat(self.step.name)
        # Somebody may have appended to a plain one by its name: such a line stands here alone.
        grown = self.step.codec is Codec.NONE and os.fstat(self._out).st_size != self._size
        if entry is not None and entry.id == self.step.id and not grown:
            self.source.sync()  # it has just got its name back
            self.target.discard(self.step.to_name, self._out)

    # ------------------------------------------------------------ the archive

    def _fill_and_verify(self, progress: Progress, threads: int) -> None:
        """Fill the archive and read it back; a large one while it grows."""
        if self.step.size < _LARGE:
            self._fill(progress)
            self._verify()
            return
        growing = codecs.Growing()
        with ThreadPoolExecutor(1, thread_name_prefix="logrotor-verify") as pool:
            verified = pool.submit(self._verify, growing)
            try:
                self._fill(progress, threads, growing)
            finally:
                growing.end()
        verified.result()

    def _fill(self, progress: Progress, threads: int = 1, growing: codecs.Growing | None = None) -> None:
        """Stream the original through the codec."""
        step, size, done = self.step, os.fstat(self._fd).st_size, 0
        machine = codecs.compressor(step.codec, step.level, size, threads)
        digest = self._digest = codecs.digest() if step.plain else None
        for data in codecs.read(self._fd):
            if self._context.no_time():
                raise Interrupted(f"{step.name}: stopped while compressing")
            done += len(data)
            if done > size:
                break
            self._write(machine.compress(data), growing, done - len(data))
            self._lines += data.count(b"\n")
            if digest is not None:
                digest.update(data)
            progress(len(data))
        if done != size or os.fstat(self._fd).st_size != size:
            raise Stale(f"{step.name}: grew while it was compressed")
        self._write(machine.flush(), growing)

    def _write(self, data: bytes, growing: codecs.Growing | None, start: int = 0) -> None:
        """``start``: where the original has it."""
        if self.step.codec is Codec.NONE:
            files.write_at(self._out, start, data, self._fd)
        else:
            files.write_all(self._out, data)
        self._size += len(data)
        if growing is not None:
            growing.add(len(data))
            if growing.size % files.STRIDE < len(data):
                files.settle(self._out, growing.size)

    def _verify(self, growing: codecs.Growing | None = None) -> None:
        """Read the archive back and compare it with the original."""
        one, other, stop = (self._fd, Codec.NONE), (self._out, self.step.codec), self._context.no_time
        try:
            same = codecs.same_content(one, other, stop=stop, growing=growing)
        except ValueError as error:
            raise VerifyFailed(f"{self.step.to_name}: {error}; the original stays") from None
        if not same:
            what = f"does not hold the bytes of {self.step.name}"
            raise VerifyFailed(f"{self.step.to_name}: {what}; the original stays")

    def _dress(self) -> None:
        """The archive is as readable as the log was, and keeps its time."""
        status = os.fstat(self._fd)
        descent.note(self._out, self._fd)  # before its mode, which may forbid that
        cuts.carry(self._out, self._fd)
        need = access.READ if self.step.strict else 0
        self.target.dress(self._out, self.step.to_name, KEEP, acl.of(self._fd, status), need=need)
        files.set_times(self._out, status)

    def _details(self, status: os.stat_result, fd: int, taken: int, size: int) -> Details:
        """``fd``: the archive, where it is open. ``taken``: bytes of the original, where the plan may have guessed."""
        step, source = self.step, self._fd
        known = {"source_born": calls.birth_time(source), "taken": descent.taken_at(source)} if source >= 0 else {}
        return {
            "to": os.path.join(step.to_directory, step.to_name), "bytes": taken, "bytes_out": size,
            "from": step.directory, "source": step.id.inode, "inode": status.st_ino,
            "born": calls.birth_time(fd) if fd >= 0 else None, "mtime_ns": status.st_mtime_ns, **known,
        }  # fmt: skip
