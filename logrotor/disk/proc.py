"""Which processes /proc shows, and whether those are all: it proves nobody's absence unless it is known to be whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from msgspec import Struct

_INITIAL_PIDS = "pid:[4026531836]"  # PROC_PID_INIT_INO
_INITIAL_USERS = "user:[4026531837]"  # PROC_USER_INIT_INO
_SYS_PTRACE = 1 << 19  # the capability to see every process whatever hidepid says
_PARTIAL = re.compile(r"(subset=|hidepid=(?!0$|off$)).*")


class Mount(Struct, frozen=True):
    """A line of mountinfo."""

    root: str  # of the mount within its file system; "/": all of it
    point: str
    kind: str  # "proc", "ext4"
    options: tuple[str, ...]  # of the mount, then of its file system


def pids() -> list[int]:
    """The processes that can be seen; none where there is no /proc."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def exists(pid: int) -> bool:
    """Is there such a process, or a zombie of it? Asked of the kernel, since /proc may hide it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def why_not_whole() -> str | None:
    """Why a process of this machine may be missing from /proc; None: each of them is in it."""
    hidden = why_hiding()
    if hidden is None and os.readlink("/proc/self/ns/pid") != _INITIAL_PIDS:
        return "it shows this pid namespace only"
    return hidden


def why_hiding() -> str | None:
    """Why a process of our own pid namespace may be missing from /proc; None: each of them is in it."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return "it belongs to another pid namespace"
        # Whichever of several mounts lies on top: each of them has to be whole.
        reasons = [_why_partial(mount) for mount in mounts() if re.fullmatch(r"/proc(/\d+)?", mount.point)]
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if not reasons:
        return "it is not mounted"
    return next((reason for reason in reasons if reason), None)


def mounts() -> Iterator[Mount]:
    """Every mount that this process can see (proc_pid_mountinfo(5)). Raises OSError."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as table:
        for line in table:
            yield mount(line)


def mount(line: str) -> Mount:
    """A line of mountinfo: its optional fields end with a dash."""
    before, _, after = line.partition(" - ")
    fields, more = before.split(" "), after.split()
    options = (*fields[5].split(","), *more[-1].split(","))
    return Mount(_unescaped(fields[3]), _unescaped(fields[4]), more[0], options)


def _unescaped(path: str) -> str:
    """Odd characters stand there as octal numbers, byte by byte."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), os.fsencode(path)))


def _why_partial(mount: Mount) -> str | None:
    if mount.point != "/proc" or (mount.kind, mount.root) != ("proc", "/"):
        return f"{mount.point} is covered by another mount"
    options = [option for option in mount.options if _PARTIAL.fullmatch(option)]
    return f"it is mounted with {', '.join(options)}" if options and not _sees_through() else None


def _sees_through() -> bool:
    """Root of the machine with its powers sees every process whatever the options of the mount."""
    if os.geteuid() != 0 or os.readlink("/proc/self/ns/user") != _INITIAL_USERS:
        return False
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return any(line.startswith("CapEff:") and int(line.split()[1], 16) & _SYS_PTRACE for line in status)
