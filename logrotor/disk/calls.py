"""The system calls that change something, behind one gate, and those that Python does not offer.

Every change that logrotor makes, to a directory, a file, the history or another process, passes through
:func:`change`; the fault sweeps put their faults there. renameat2, fallocate and statfs are called by
number or through libc, because Python 3.11 has none of them and musl has no renameat2 symbol.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import re
import struct
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from logrotor.model import FileId

P = ParamSpec("P")
T = TypeVar("T")

RENAME_NOREPLACE = 1  # renameat2(2)
RENAME_EXCHANGE = 2
FALLOC_FL_KEEP_SIZE = 0x01  # fallocate(2)
FALLOC_FL_PUNCH_HOLE = 0x02
FALLOC_FL_COLLAPSE_RANGE = 0x08
FS_APPEND_FL = 0x20  # ioctl_iflags(2)
FS_EXTENT_FL = 0x80000
FS_INLINE_DATA_FL = 0x10000000
EXT4_SUPER_MAGIC = 0xEF53  # statfs(2); of ext2 and ext3, too
F_SETSIG = 10  # fcntl(2); the module has the name only on some builds

# What a file system answers when it does not know a call or a flag: the next protocol is tried.
NOT_OFFERED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EMLINK})

_RENAMEAT2 = {
    "x86_64": 316, "aarch64": 276, "armv7l": 382, "armv6l": 382, "i686": 353, "i386": 353,
    "riscv64": 276, "ppc64le": 357, "s390x": 347, "loongarch64": 276,
}  # fmt: skip


def change(operation: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Carry out one changing call. EINTR is retried: Python does that for open and write, not for rename or unlink."""
    while True:
        try:
            return invoke(operation, function, *args, **kwargs)
        except InterruptedError:
            continue


def invoke(operation: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """The last line before the kernel. The fault sweeps replace this function and nothing else."""
    return function(*args, **kwargs)


def renameat2(directory: int, source: str, to_directory: int, target: str, flags: int) -> None:
    """renameat2(2). Raises OSError; ENOSYS where the kernel or the machine type is unknown."""
    result = _renameat2()(directory, os.fsencode(source), to_directory, os.fsencode(target), flags)
    if result < 0:
        _checked(result, source, target)


@functools.cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int]:
    import platform

    number = _RENAMEAT2.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    syscall = ctypes.CDLL(None, use_errno=True).syscall  # an object of its own: others may call by other types
    syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return functools.partial(syscall, number)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2) with a mode. Raises OSError; EOPNOTSUPP where the file system cannot."""
    function = _libc().fallocate
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    _checked(function(fd, mode, offset, length))


def sync_file_range(fd: int, start: int = 0, end: int = 0, *, wait: bool = False) -> None:
    """Begin to write out the bytes [start, end), or all that come after ``start`` (sync_file_range(2)). Never raises.

    ``wait``: until they are written. An error of that is for the fsync(2) that has to follow.
    """
    begin = getattr(_libc(), "sync_file_range", None)  # musl has none on some machines
    if begin is not None:
        flags = 1 | 2 | 4 if wait else 2  # SYNC_FILE_RANGE_WAIT_BEFORE, WRITE, WAIT_AFTER
        begin(ctypes.c_int(fd), ctypes.c_int64(start), ctypes.c_int64(max(end - start, 0)), ctypes.c_uint(flags))


def file_system_magic(fd: int) -> int:
    """The ``f_type`` of fstatfs(2)."""
    buffer = ctypes.create_string_buffer(256)
    _checked(_libc().fstatfs(ctypes.c_int(fd), buffer))
    kind: int = struct.unpack_from("@l", buffer)[0]
    return kind & 0xFFFFFFFF


def is_append_only(fd: int) -> bool:
    """Does the file have the attribute of ``chattr +a``, by which nobody may cut it, nor rename it?"""
    return bool((_attributes(fd) or 0) & FS_APPEND_FL)


def is_block_mapped(fd: int) -> bool:
    """Was the file made under ext2 or ext3? A later ext4 keeps its map of blocks, and cannot collapse a range of it."""
    found = _attributes(fd)
    mapped = found is not None and not found & (FS_EXTENT_FL | FS_INLINE_DATA_FL)
    return mapped and file_system_magic(fd) == EXT4_SUPER_MAGIC


def _attributes(fd: int) -> int | None:
    """What chattr(1) sets (ioctl_iflags(2), FS_IOC_GETFLAGS), or None where the file system has no such thing."""
    request = 2 << 30 | struct.calcsize("@l") << 16 | ord("f") << 8 | 1  # _IOR('f', 1, long); ENOTTY on other machines
    try:
        found: int = struct.unpack("@i4x", fcntl.ioctl(fd, request, bytes(8)))[0]
    except OSError:
        return None
    return found


def birth_time(fd: int) -> float | None:
    """When the file was born (statx(2), STATX_BTIME), or None where the file system does not keep it."""
    try:
        function = _libc().statx
    except AttributeError:
        return None
    buffer = ctypes.create_string_buffer(256)
    empty_path, btime = 0x1000, 0x800
    if function(ctypes.c_int(fd), b"", ctypes.c_int(empty_path), ctypes.c_uint(btime), buffer) != 0:
        return None
    mask = struct.unpack_from("@I", buffer, 0)[0]
    seconds, nanoseconds = struct.unpack_from("@qI", buffer, 80)
    return seconds + nanoseconds / 1e9 if mask & btime else None


def identify(path: str) -> FileId:
    """Which file it is, by what the kernel knows: no server is asked that may not answer (AT_STATX_DONT_SYNC)."""
    try:
        function = _libc().statx
    except AttributeError:
        status = os.stat(path)
        return FileId(status.st_dev, status.st_ino)
    buffer = ctypes.create_string_buffer(256)
    at_cwd, dont_sync, ino = ctypes.c_int(-100), ctypes.c_int(0x4000), ctypes.c_uint(0x100)
    _checked(function(at_cwd, os.fsencode(path), dont_sync, ino, buffer), path)
    return FileId(os.makedev(*struct.unpack_from("@II", buffer, 136)), struct.unpack_from("@Q", buffer, 32)[0])


def content(path: str) -> bytes:
    """What a small file holds. A file object makes twice as many system calls, and a look at all processes reads
    thousands.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _rest(fd)
    finally:
        os.close(fd)


def _rest(fd: int) -> bytes:
    return b"".join(iter(lambda: os.read(fd, 1 << 16), b""))


def writable_and_shared(task: str) -> list[FileId] | None:
    """The files that a task has mapped so, by its folder of /proc; None: it has no memory. Raises OSError."""
    maps = os.open(f"{task}/maps", os.O_RDONLY | os.O_CLOEXEC)
    try:
        spans = _spans(maps)
    finally:
        os.close(maps)
    return None if spans is None else [_mapped(f"{task}/map_files/{span}", file) for span, file in spans]


def _mapped(path: str, otherwise: FileId) -> FileId:
    try:
        return identify(path)
    except OSError:  # for root alone; btrfs has other devices in the table than stat(2) says
        return otherwise


def _spans(maps: int) -> list[tuple[str, FileId]] | None:
    """Addresses and file of each. The kernel tells them one by one since Linux 6.11 (PROCMAP_QUERY): in the table they
    stand among hundreds of libraries, which is most of what a look at all processes costs.
    """
    found: list[tuple[str, FileId]] = []
    end = 0
    try:
        while True:
            start, end, inode, major, minor = _next_mapping(maps, end)
            found.append((f"{start:x}-{end:x}", FileId(os.makedev(major, minor), inode)))
    except FileNotFoundError:
        return found
    except ProcessLookupError:
        return None
    except OSError:  # an older kernel, or one that numbers its ioctls in another way
        return _in_table(_rest(maps))


def _next_mapping(maps: int, address: int) -> tuple[int, int, int, int, int]:
    request = 3 << 30 | 104 << 16 | ord("f") << 8 | 17  # _IOWR('f', 17, struct procmap_query), linux/fs.h
    writable, shared, or_next = 0x02, 0x08, 0x10
    answer = fcntl.ioctl(maps, request, struct.pack("@QQQ80x", 104, writable | shared | or_next, address))
    start, end, inode, major, minor = struct.unpack_from("@24xQQ24xQII", answer)
    return start, end, inode, major, minor


def _in_table(table: bytes) -> list[tuple[str, FileId]] | None:
    """The same, from the text of /proc/PID/maps (proc_pid_maps(5))."""
    lines = re.findall(rb"^(\S+) .w.s \S+ (\w+):(\w+) (\d+)", table, re.MULTILINE)
    found = [
        (span.decode(), FileId(os.makedev(int(major, 16), int(minor, 16)), int(inode)))
        for span, major, minor, inode in lines
    ]
    return found if table else None


def processors() -> int:
    """How many we may use."""
    return len(os.sched_getaffinity(0))


def die_with(parent: int, signum: int) -> None:
    """Get ``signum`` as soon as ``parent``, which started this process, is gone (prctl(2), PR_SET_PDEATHSIG).

    It holds across exec, and for the thread of the parent that started us. Raises ProcessLookupError if it is
    gone already.
    """
    pr_set_pdeathsig = 1
    _checked(_libc().prctl(ctypes.c_int(pr_set_pdeathsig), ctypes.c_ulong(signum), 0, 0, 0))
    if os.getppid() != parent:
        raise ProcessLookupError(errno.ESRCH, f"process {parent} has ended")


def take_read_lease(fd: int) -> None:
    """Take and drop a read lease: EAGAIN while any process has the file open for writing (fcntl(2), F_SETLEASE).

    SIGURG, ignored by default, stands in for the default SIGIO, which would kill the process if an opener
    broke the lease in the instant that it is held.
    """
    import signal

    fcntl.fcntl(fd, F_SETSIG, signal.SIGURG)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def is_alone(fd: int) -> bool:
    """Has nobody else the file open, not even for reading? Only its owner may ask (fcntl(2), F_SETLEASE, F_WRLCK)."""
    if _has_write_lease(fd):
        _drop_lease(fd)
        return True
    return False


def truncate_alone(fd: int, size: int, mtime_ns: int) -> bool | None:
    """Empty a file that still has this size and time, while nobody else has it open or can open it.

    False: it was written. None: somebody has it open, wants to, or nobody can tell. Whoever opens it meanwhile waits,
    for the few microseconds between here and there (and 45 seconds at the most, see lease-break-time in proc(5)).
    """
    if not _has_write_lease(fd):
        return None
    try:
        status = os.fstat(fd)
        if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
            return False
        if fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK:  # it names what the lease is about to become
            return None
        os.ftruncate(fd, 0)
        return True
    finally:
        _drop_lease(fd)


def _has_write_lease(fd: int) -> bool:
    import signal

    try:
        fcntl.fcntl(fd, F_SETSIG, signal.SIGURG)  # as above
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        return False
    return True


def _drop_lease(fd: int) -> None:
    import contextlib

    with contextlib.suppress(OSError):  # EAGAIN: it was broken by force
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _checked(result: int, *names: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), *names[:1], *((None, names[1]) if len(names) > 1 else ()))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
