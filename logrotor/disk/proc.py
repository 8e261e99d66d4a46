"""The one reader of /proc: which processes there are, who holds which file, and whether all of them can be seen.

It proves that nobody is there only where it is known to be whole. Source: proc(5), and proc_pid_stat(5) and the like.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping

from msgspec import Struct

from logrotor.disk.calls import content, writable_and_shared
from logrotor.model import FileId

INITIAL_PIDS = "pid:[4026531836]"  # PROC_PID_INIT_INO
_INITIAL_USERS = "user:[4026531837]"  # PROC_USER_INIT_INO
_SYS_PTRACE = 1 << 19  # the capability to see every process whatever hidepid says
_PARTIAL = re.compile(r"(subset=|hidepid=(?!0$|off$)).*")
_STATES = {b"R": "running", b"S": "waiting", b"D": "waiting for a disk", b"T": "stopped", b"t": "stopped"}
GONE = (FileNotFoundError, ProcessLookupError)  # a process that ended, or that /proc hides


# ---------------------------------------------------------------- processes


class Process(Struct, frozen=True):
    """A process as it was a moment ago."""

    pid: int
    parent: int
    uid: int  # the effective one: the files that it makes belong to it
    started: float  # epoch seconds, right within a second
    dead: bool  # a zombie, or about to vanish
    argv: tuple[str, ...]
    caught: int | None  # mask of signals that it handles, ignores or holds back; None: not known
    real: int | None = None  # the uid of who started a set-user-ID program; None: the effective one

    @property
    def is_believed(self) -> bool:
        """May we read a file that it names? A stranger, or one who has started root's sudo, could name anything."""
        return {self.uid, self.uid if self.real is None else self.real} <= {0, os.geteuid()}


def pids() -> list[int]:
    """The processes that can be seen; none where there is no /proc."""
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def exists(pid: int) -> bool:
    """Is there such a process, or a zombie of it? Asked of the kernel, since /proc may hide it."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def look(pid: int) -> Process:
    """One process. Raises one of ``GONE`` if it is gone or hidden, another OSError if it may not be looked at."""
    status, stat = _status(pid), stat_fields(content(f"/proc/{pid}/stat"))
    return Process(
        pid=pid,
        parent=int(stat[1]),
        # Not the owner of /proc/PID: that is root for a process which may not be dumped.
        uid=int(status["Uid"].split()[1]),
        started=_boot_time() + int(stat[19]) / os.sysconf("SC_CLK_TCK"),
        dead=_is_dead(pid, stat),
        argv=cmdline(pid),
        caught=_caught(status),
        real=int(status["Uid"].split()[0]),
    )


def running(word: bytes) -> Iterator[Process]:
    """The processes whose command line has the word in it, as far as they can be seen."""
    for pid in pids():
        with contextlib.suppress(OSError):  # it ended, or is hidden
            if word in content(f"/proc/{pid}/cmdline") and not (found := look(pid)).dead:
                yield found


def children(pid: int) -> list[Process]:
    """Its child processes, as far as they can be seen."""
    return [each for each in running(b"") if each.parent == pid]


def state(pid: int) -> str:
    """What it does, in words. Raises OSError."""
    return _STATES.get(stat_fields(content(f"/proc/{pid}/stat"))[0], "about to end")


def memory(pid: int) -> int:
    """Bytes that it has in memory. Raises OSError."""
    return int(_status(pid).get("VmRSS", "0 kB").split()[0]) * 1024


def born(pid: int) -> int:
    """When it was started, in clock ticks after boot: it has this through each exec. Raises as :func:`look`."""
    fields = stat_fields(content(f"/proc/{pid}/stat"))
    if _is_dead(pid, fields):
        raise ProcessLookupError(f"process {pid} has ended")
    return int(fields[19])


def _is_dead(pid: int, stat: list[bytes]) -> bool:
    return stat[0] in (b"Z", b"X") and len(os.listdir(f"/proc/{pid}/task")) == 1


def cmdline(pid: int) -> tuple[str, ...]:
    """The arguments, program first; empty for a zombie and a kernel thread."""
    return _strings(content(f"/proc/{pid}/cmdline"))


def program(pid: int) -> str:
    """The name of its program, as ps shows it; empty if it cannot be seen any more."""
    with contextlib.suppress(OSError):
        return os.fsdecode(content(f"/proc/{pid}/comm")).rstrip("\n")
    return ""


def environ(pid: int) -> Mapping[str, str] | None:
    """The environment that the process was started with; None if we may not see it."""
    try:
        pairs = (item.partition("=") for item in _strings(content(f"/proc/{pid}/environ")))
    except OSError:
        return None
    return {key: value for key, equals, value in pairs if equals}


def cwd(pid: int) -> str | None:
    """The present working directory of the process; None if we may not see it."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/cwd")
    return None


def cgroup(pid: int) -> str:
    """Its control group, as "/system.slice/nginx.service" (cgroups(7)); empty if that cannot be seen."""
    with contextlib.suppress(OSError):
        return os.fsdecode(content(f"/proc/{pid}/cgroup").rpartition(b"0::")[2]).rstrip("\n")  # the last line
    return ""


def stat_fields(stat: bytes) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on. The second, a name in parentheses, may hold both itself."""
    return stat[stat.rindex(b")") + 1 :].split()


def _boot_time() -> int:
    """When the machine was started, epoch seconds by its present clock."""
    for line in content("/proc/stat").splitlines():
        if line.startswith(b"btime "):
            return int(line.split()[1])
    raise FileNotFoundError("/proc/stat has no btime")


def _status(pid: int | str) -> dict[str, str]:
    lines = content(f"/proc/{pid}/status").decode(errors="replace").splitlines()
    return {key: value for key, _, value in (line.partition(":") for line in lines)}


def _caught(status: Mapping[str, str]) -> int | None:
    known = [int(status[key], 16) for key in ("SigCgt", "SigIgn", "SigBlk") if status.get(key)]
    return known[0] | known[1] | known[2] if len(known) == 3 else None


def _strings(data: bytes) -> tuple[str, ...]:
    return tuple(os.fsdecode(item) for item in data.split(b"\0")[:-1])


# ---------------------------------------------------------------- their files


class OpenFile(Struct, frozen=True):
    """A file that a process has open. ``path`` leads to it whatever its name is by now."""

    path: str
    flags: int

    @property
    def for_writing(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def name(self) -> str:
        """With " (deleted)" behind it where it has none any more."""
        return os.readlink(self.path)


def opened(pid: int) -> Iterator[OpenFile]:
    """What the process has open. Raises OSError: one of ``GONE``, or PermissionError if that may not be seen."""
    for place, numbers in _open_numbers(pid):
        for number in numbers:
            with contextlib.suppress(*GONE):
                yield OpenFile(f"{place}/fd/{number}", _flags(place, number))


def mapped(pid: int) -> list[FileId]:
    """What it has mapped shared and writable: such a writer needs no descriptor. Raises as :func:`opened`."""
    found = writable_and_shared(f"/proc/{pid}")
    if found is None:  # its main thread has ended, and has no memory any more
        return [each for place in _other_threads(pid) for each in writable_and_shared(place) or ()]
    return found


def _open_numbers(pid: int) -> Iterator[tuple[str, list[str]]]:
    """Where its files are shown: with its threads where the main one has ended, since that shows none any more."""
    if numbers := os.listdir(f"/proc/{pid}/fd"):
        yield f"/proc/{pid}", numbers
        return
    for place in _other_threads(pid):
        yield place, os.listdir(f"{place}/fd")


def _other_threads(pid: int) -> list[str]:
    return [f"/proc/{pid}/task/{each}" for each in os.listdir(f"/proc/{pid}/task") if each != str(pid)]


def _flags(place: str, number: str) -> int:
    # The mode of the link is that of the open file (proc_pid_fd(5)), and asking for it is a single call.
    if not os.lstat(f"{place}/fd/{number}").st_mode & stat.S_IWUSR:
        return os.O_RDONLY
    for line in content(f"{place}/fdinfo/{number}").splitlines():
        if line.startswith(b"flags:"):
            return int(line.split()[1], 8)
    return os.O_RDWR  # nobody says that it does not write


# ---------------------------------------------------------------- is it whole?


def pid_namespace(pid: int | None = None) -> str:
    """Ours, or that of a process, as "pid:[4026531836]" (pid_namespaces(7)); empty where that cannot be seen."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid or 'self'}/ns/pid")
    return ""


def why_not_whole() -> str | None:
    """Why a process of this machine may be missing from /proc; None: each of them is in it."""
    hidden = why_hiding()
    if hidden is None and pid_namespace() != INITIAL_PIDS:
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


def _why_partial(mount: Mount) -> str | None:
    if mount.point != "/proc" or (mount.kind, mount.root) != ("proc", "/"):
        return f"{mount.point} is covered by another mount"
    options = [option for option in mount.options if _PARTIAL.fullmatch(option)]
    return f"it is mounted with {', '.join(options)}" if options and not _sees_through() else None


def _sees_through() -> bool:
    """Root of the machine with its powers sees every process whatever the options of the mount."""
    if os.geteuid() != 0 or os.readlink("/proc/self/ns/user") != _INITIAL_USERS:
        return False
    return bool(int(_status("self")["CapEff"], 16) & _SYS_PTRACE)


# ---------------------------------------------------------------- mounts, locks, ourselves


class Mount(Struct, frozen=True):
    """A line of mountinfo."""

    id: int  # of this mount; another one at its point has another
    root: str  # of the mount within its file system; "/": all of it
    point: str
    kind: str  # "proc", "ext4"
    options: tuple[str, ...]  # of the mount, then of its file system


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
    return Mount(int(fields[0]), _unescaped(fields[3]), _unescaped(fields[4]), more[0], options)


def _unescaped(path: str) -> str:
    """Odd characters stand there as octal numbers, byte by byte."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), os.fsencode(path)))


def lock_holder(status: os.stat_result) -> int | None:
    """The process that holds a flock(2) lock on the file, as far as /proc/locks shows it (proc_locks(5))."""
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(OSError):
        locks = [line.split() for line in content("/proc/locks").decode(errors="replace").splitlines()]
        held = (int(fields[4]) for fields in locks if fields[1] == "FLOCK" and fields[5] == file)
        return next((pid for pid in held if pid > 0), None)
    return None


def is_mapped(uid: int) -> bool:
    """Can anybody be this user in our user namespace? Where that is not known: yes."""
    try:
        ranges = [tuple(map(int, line.split())) for line in content("/proc/self/uid_map").splitlines()]
    except OSError:
        return True
    return any(first <= uid < first + count for first, _, count in ranges)


def is_overflow(kind: str, number: int) -> bool:
    """Does a uid or gid ("uid", "gid") stand for all that our user namespace does not map? (user_namespaces(7))"""
    with contextlib.suppress(OSError, ValueError):
        if number == int(content(f"/proc/sys/kernel/overflow{kind}")):
            return content(f"/proc/self/{kind}_map").split() != [b"0", b"0", b"4294967295"]
    return False


def threads() -> int:
    """How many threads we have. Raises OSError."""
    return len(os.listdir("/proc/self/task"))


def by_descriptor(fd: int) -> str:
    """A path to what we have open, also with O_PATH (proc_pid_fd(5))."""
    return f"/proc/self/fd/{fd}"
