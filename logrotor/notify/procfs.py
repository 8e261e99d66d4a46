"""What /proc tells about one process. Reads only, and judges nothing.

Source: proc_pid_stat(5), proc_pid_status(5), proc_pid_cmdline(5), proc_stat(5).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct


class Process(Struct, frozen=True):
    """A process as it was a moment ago."""

    pid: int
    uid: int  # the effective one: the files that it makes belong to it
    started: float  # epoch seconds, right within a second
    dead: bool  # a zombie, or about to vanish
    argv: tuple[str, ...]
    caught: int | None  # mask of signals that it handles, ignores or holds back; None: not told


def look(pid: int) -> Process:
    """Raises FileNotFoundError or ProcessLookupError for a process that is gone, or that /proc hides (hidepid)."""
    status = _status(pid)
    state, ticks = state_and_start(_read(f"/proc/{pid}/stat"))
    return Process(
        pid=pid,
        # Not the owner of /proc/PID: that is root for a process which may not be dumped.
        uid=int(status["Uid"].split()[1]),
        started=boot_time() + ticks / os.sysconf("SC_CLK_TCK"),
        dead=state in "ZX",
        argv=cmdline(pid),
        caught=_caught(status),
    )


def state_and_start(stat: bytes) -> tuple[str, int]:
    """State and start, in clock ticks after boot, of a /proc/PID/stat line.

    The second field is the name in parentheses and may hold spaces and parentheses itself, so the fields are
    counted from the last one.
    """
    fields = stat[stat.rindex(b")") + 1 :].split()
    return fields[0].decode(), int(fields[19])  # fields 3 and 22


def boot_time() -> int:
    """When the machine was started, epoch seconds by its present clock."""
    for line in _read("/proc/stat").splitlines():
        if line.startswith(b"btime "):
            return int(line.split()[1])
    raise FileNotFoundError("/proc/stat has no btime")


def cmdline(pid: int) -> tuple[str, ...]:
    """The arguments, program first; empty for a zombie and a kernel thread."""
    return _strings(_read(f"/proc/{pid}/cmdline"))


def environ(pid: int) -> Mapping[str, str] | None:
    """The environment that the process was started with; None if we may not see it."""
    try:
        pairs = (item.partition("=") for item in _strings(_read(f"/proc/{pid}/environ")))
    except OSError:
        return None
    return {key: value for key, equals, value in pairs if equals}


def cwd(pid: int) -> str | None:
    """The present working directory of the process; None if we may not see it."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return None


def _status(pid: int) -> dict[str, str]:
    lines = _read(f"/proc/{pid}/status").decode(errors="replace").splitlines()
    return {key: value for key, _, value in (line.partition(":") for line in lines)}


def _caught(status: Mapping[str, str]) -> int | None:
    masks = [status.get(key) for key in ("SigCgt", "SigIgn", "SigBlk")]
    known = [int(mask, 16) for mask in masks if mask]
    return known[0] | known[1] | known[2] if len(known) == 3 else None


def _strings(data: bytes) -> tuple[str, ...]:
    return tuple(os.fsdecode(item) for item in data.split(b"\0")[:-1])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
