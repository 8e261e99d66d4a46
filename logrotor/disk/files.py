"""The contents of files: read what somebody else may have put there; write, sync, mark, collapse, truncate."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import stat
from collections.abc import Iterator

from logrotor.disk import calls
from logrotor.disk.calls import change

CHUNK = 1 << 20
STRIDE = 8 << 20  # bytes of a large file between two looks at the time
MOST = 16 << 20  # bytes of a file that is read whole: no configuration, of whatever program, comes near it
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read(path: str, most: int = MOST, *, flags: int = 0, directory: int | None = None) -> tuple[bytes, os.stat_result]:
    """The contents of a small file, and its status. A FIFO, a device or an endless file does not hold us.

    Raises OSError; EINVAL where it is not a regular file, EFBIG where it has more than ``most`` bytes.
    """
    fd = open_regular(path, flags, directory=directory)
    try:
        data = b""
        while len(data) <= most and (piece := os.read(fd, most + 1 - len(data))):
            data += piece
        if len(data) > most:
            raise OSError(errno.EFBIG, f"more than {most} bytes", path)
        return data, os.fstat(fd)
    finally:
        os.close(fd)


def read_text(path: str) -> str:
    """The same as text with \\n at the ends of lines; what is not UTF-8 is kept as surrogates. Raises OSError."""
    data, _ = read(path)
    return data.decode(errors="surrogateescape").replace("\r\n", "\n").replace("\r", "\n")


def open_regular(path: str, flags: int = 0, *, directory: int | None = None) -> int:
    """Open a file for reading without waiting. Raises OSError; EISDIR or EINVAL where it is not a regular file."""
    fd = os.open(path, _READ | flags, dir_fd=directory)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_all(fd: int, data: bytes | memoryview) -> None:
    """write(2) until everything is written: a short write is not an error, and not the end."""
    view = memoryview(data)
    while view:
        view = view[change("write", os.write, fd, view) :]


def write_at(fd: int, start: int, data: bytes, source: int) -> None:
    """Write what was read of ``source`` to the same place. What is a hole there stays one."""
    view, end = memoryview(data), start + len(data)
    at = start
    while at < end:
        begin, stop = next_data(source, at, end)
        if data[at - start : begin - start] != bytes(
            begin - at
        ):  # whatever became of the source since: what was read counts
            begin, stop = at, end
        if begin > at:
            truncate(fd, begin)
        os.lseek(fd, begin, os.SEEK_SET)
        write_all(fd, view[begin - start : stop - start])
        at = stop


def sync(fd: int) -> None:
    """fsync(2). After an error the file's contents are unknown: throw it away, never sync it again."""
    change("sync", os.fsync, fd)


def start_sync(fd: int) -> None:
    """Have the kernel begin to write what a later :func:`sync` waits for (sync_file_range(2)). A hint: it may fail."""
    calls.sync_file_range(fd)


def settle(fd: int, end: int) -> None:
    """Have the disk begin to write the bytes before ``end``, and wait for all but the last :data:`STRIDE` of them.

    So little is left for the fsync(2) of a large file, which nothing can interrupt. A hint: it may fail.
    """
    calls.sync_file_range(fd, max(0, end - STRIDE), end)
    if end > STRIDE:
        calls.sync_file_range(fd, max(0, end - 2 * STRIDE), end - STRIDE, wait=True)


def strides(start: int, end: int) -> Iterator[tuple[int, int]]:
    """What is between, in pieces after each of which a run looks at the time."""
    return ((at, min(at + STRIDE, end)) for at in range(start, end, STRIDE))


def next_data(fd: int, start: int, end: int) -> tuple[int, int]:
    """The next data in [start, end), past a hole (lseek(2), SEEK_DATA, SEEK_HOLE); nothing at ``end`` if all is one."""
    try:
        begin = min(os.lseek(fd, start, os.SEEK_DATA), end)
        return begin, max(begin, min(os.lseek(fd, begin, os.SEEK_HOLE), end))
    except OSError as error:
        return (end, end) if error.errno == errno.ENXIO else (start, end)


def sync_and_close_check(fd: int) -> None:
    """fsync, and close a duplicate: some file systems report a lost write only then, and ``fd`` keeps its lock."""
    sync(fd)
    with contextlib.suppress(InterruptedError):  # closed all the same (close(2)): again, it could hit another thread's
        calls.invoke("close", io.FileIO(os.dup(fd)).close)  # a FileIO closes itself if Ctrl-C comes before


def set_times(fd: int, like: os.stat_result) -> None:
    """Give the file the times of another."""
    change("utime", os.utime, fd, ns=(like.st_atime_ns, like.st_mtime_ns))


def punch(fd: int, length: int) -> None:
    """Turn the first ``length`` bytes into a hole; the size stays."""
    change("punch", calls.fallocate, fd, calls.FALLOC_FL_PUNCH_HOLE | calls.FALLOC_FL_KEEP_SIZE, 0, length)


def overwrite(fd: int, data: bytes) -> None:
    """Write over the first bytes of the file, also where ``fd`` appends: pwrite(2) would append, too (BUGS)."""
    flags, written = fcntl.fcntl(fd, fcntl.F_GETFL), 0
    fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_APPEND)
    try:
        while written < len(data):
            written += change("overwrite", os.pwrite, fd, data[written:], written)
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def collapse(fd: int, length: int) -> None:
    """Cut the first ``length`` bytes off (a multiple of the block size); what follows moves to the front."""
    change("collapse", calls.fallocate, fd, calls.FALLOC_FL_COLLAPSE_RANGE, 0, length)


def truncate(fd: int, length: int = 0) -> None:
    change("truncate", os.ftruncate, fd, length)


def truncate_alone(fd: int, size: int, mtime_ns: int) -> bool | None:
    """Empty a file while nobody else has it open (:func:`calls.truncate_alone`)."""
    return change("truncate", calls.truncate_alone, fd, size, mtime_ns)


def starts_with_hole(fd: int, length: int) -> bool:
    """Is there no data in the first ``length`` bytes? (lseek(2), SEEK_DATA) Raises OSError where nobody can tell."""
    try:
        return os.lseek(fd, 0, os.SEEK_DATA) >= length
    except OSError as error:
        if error.errno != errno.ENXIO:  # no data at all
            raise
        return True


def rewrite(path: str, data: bytes) -> None:
    """Have a small file hold ``data``, always of one length, and create it (0600) if need be."""
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        fd = change("create", os.open, path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def is_gone(path: str | bytes) -> bool:
    """Is surely nothing there? What cannot be looked at is not gone."""
    try:
        return not is_there(path)
    except OSError:
        return False


def is_there(path: str | bytes) -> bool:
    """Is there anything? Raises OSError where nobody can tell."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def birth(path: str) -> float | None:
    """When a file was born (epoch seconds), if it can be opened and its file system knows."""
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return calls.birth_time(fd)
    finally:
        os.close(fd)
