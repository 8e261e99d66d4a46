"""Who writes a file? A lease tells surely; /proc tells who; where neither can, the answer is unknown.

The kernel grants a read lease only while no process, in any container and under any user, has the inode open
for writing or mapped writable (fcntl(2)). It grants it to the owner of the file alone (or CAP_LEASE).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from logrotor.decide.naming import parse_aside
from logrotor.disk import calls, proc
from logrotor.model import FileId, Nobody, Problem, Unknown, Writers, Written

OVERWRITES = "overwrites"  # the kind of a problem
_ROUNDS = 10  # looks at the list of processes
_DEAD = frozenset({errno.EIO, errno.ESTALE, errno.ENOTCONN})  # a broken disk, a stale NFS handle, a FUSE daemon gone
_REMOTE = frozenset({"nfs", "fuse", "9p", "cifs"})  # a writer may sit elsewhere, where our kernel does not see it
_DELEGATING = frozenset({"nfs", "cifs"})  # EAGAIN says there that the server gave no delegation: nothing about writers


def prove(fd: int, file_system: str, processes: Processes | None = None) -> Writers:
    """Does any process have the open file ``fd`` (read-only, ours) open for writing? Never waits, never guesses."""
    try:
        calls.take_read_lease(fd)
        why = "a lease speaks for this machine alone"
    except BlockingIOError as error:
        if file_system not in _DELEGATING:
            return Written("lease")
        why = _no_lease(error, fd)
    except OSError as error:
        why = _no_lease(error, fd)
    else:
        if file_system not in _REMOTE:
            return Nobody("lease")
    if file_system in _REMOTE:
        return Unknown(f"{why}; a {file_system} file system may have writers elsewhere")
    return _by_proc(fd, why, processes or Processes.look())


def is_alone(fd: int, file_system: str) -> bool:
    """Is it proved that nobody else has the open file ``fd`` (ours) open, not even for reading?"""
    return file_system not in _REMOTE and calls.is_alone(fd)


def _by_proc(fd: int, why: str, processes: Processes) -> Writers:
    status = os.fstat(fd)
    file = FileId(status.st_dev, status.st_ino)
    if processes.holders.get(file):
        return processes.writing(file, "/proc")
    if processes.unseen is None:
        return Nobody("/proc")
    return Unknown(f"{why}; /proc does not show every writer: {processes.unseen}")


def expected_proof(owner: int, file_system: str) -> str:
    """The proof that an archive of this owner will get, for the plan: no call is made."""
    if file_system in _REMOTE:
        return f"unknown: a {file_system} file system may have writers elsewhere"
    if owner == os.geteuid():
        return "lease"
    return "lease or /proc" if os.geteuid() == 0 else f"unknown: owned by uid {owner}, not by us"


def _no_lease(error: OSError, fd: int) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        from logrotor.disk.walk import user_name

        return f"no lease: the file belongs to {user_name(os.fstat(fd).st_uid)}, not to us"
    return f"no lease: {error.strerror}"


def why_not_cut(fd: int, path: str, processes: Processes) -> Problem | None:
    """Why the open log cannot be cut under its writers without loss, as far as it shows beforehand."""
    if calls.is_block_mapped(fd):
        what = "the block map of this file cannot collapse a range, so lines could be lost"
        return Problem(subject=path, problem=what, advice='chattr +e, use method = "rename", or set accept_loss = true')
    status = os.fstat(fd)
    for holder in processes.holders.get(FileId(status.st_dev, status.st_ino), ()):
        if not holder.append:
            what = f"process {holder.pid} writes it without O_APPEND and would leave NUL bytes"
            advice = "open the log in append mode, or set accept_loss = true"
            return Problem(subject=path, problem=what, advice=advice, kind=OVERWRITES)
    return None


# ---------------------------------------------------------------- what /proc shows


class Holder(Struct, frozen=True):
    """A process that has a file open for writing, or mapped."""

    pid: int
    append: bool


def appends(file: proc.OpenFile) -> bool:
    """Does each write to it go to the end?"""
    return bool(file.flags & os.O_APPEND)


class Processes(Struct):
    """One look at every process: who holds which file open for writing. Made once a run, and only if needed."""

    holders: dict[FileId, list[Holder]] = field(default_factory=dict)
    unseen: str | None = "nobody has looked"  # why a writer may be missing; None: each of them was seen

    @classmethod
    def look(cls) -> Processes:
        seen = cls(unseen=proc.why_not_whole())
        known: set[int] = set()
        for _ in range(_ROUNDS):  # a process that was listed may have left its files to a child that was not
            new = [pid for pid in proc.pids() if pid not in known]
            if not new:
                return seen
            known.update(new)
            for pid in new:
                seen._look_at(pid)
        seen.unseen = seen.unseen or "processes come and go faster than they are looked at"
        return seen

    def _look_at(self, pid: int) -> None:
        try:
            self._add(pid)
        except proc.GONE:  # it ended meanwhile
            return
        except PermissionError:
            self.unseen = self.unseen or "it shows the files of some processes to root alone"
        except OSError as error:
            self.unseen = self.unseen or f"the files of process {pid} cannot be read: {error.strerror}"

    def pids(self, file: FileId) -> tuple[int, ...]:
        return tuple(sorted({holder.pid for holder in self.holders.get(file, ())}))

    def writing(self, file: FileId, proof: str) -> Written:
        """Who writes the file, by name."""
        pids = self.pids(file)
        return Written(proof, pids, tuple(map(proc.program, pids)))

    def _add(self, pid: int) -> None:
        for file in proc.opened(pid):
            if file.for_writing:
                with contextlib.suppress(*proc.GONE):
                    self._add_file(pid, file)
        for mapped in proc.mapped(pid):
            self.holders.setdefault(mapped, []).append(Holder(pid, append=False))

    def _add_file(self, pid: int, file: proc.OpenFile) -> None:
        try:
            found = calls.identify(file.path)
        except PermissionError:  # a FUSE mount of another user, closed even to root
            self.unseen = self.unseen or f"it does not show every file of process {pid}"
            return
        except OSError as error:
            if error.errno in _DEAD:  # a dead file system: not the one that is asked about
                return
            raise
        holder = Holder(pid, append=appends(file))
        self.holders.setdefault(found, []).append(holder)


class Deleted(Struct, frozen=True):
    """A process that writes a file whose last name was removed."""

    pid: int
    path: str  # the name that it had
    size: int


def removed_and_open(directories: frozenset[str]) -> Mapping[int, int]:
    """Bytes of archives that were removed from these directories and that somebody has open, by device.

    They are free once he lets go. They are known by the name that each has when it is removed. What may not be seen
    is left out.
    """
    found: dict[FileId, int] = {}
    for pid in proc.pids():
        with contextlib.suppress(OSError):
            for file in proc.opened(pid):
                with contextlib.suppress(OSError):
                    status = _removed(file, directories)
                    if status is not None:
                        found[FileId(status.st_dev, status.st_ino)] = status.st_blocks * 512
    sizes: dict[int, int] = {}
    for each, size in found.items():
        sizes[each.device] = sizes.get(each.device, 0) + size
    return sizes


def _removed(file: proc.OpenFile, directories: frozenset[str]) -> os.stat_result | None:
    path, mark, rest = file.name.rpartition(" (deleted)")
    directory, name = os.path.split(path)
    if not mark or rest or directory not in directories or parse_aside(name) is None:
        return None
    status = os.stat(file.path)
    return status if status.st_nlink == 0 else None


def writers_of_deleted(directories: frozenset[str]) -> Iterator[Deleted]:
    """Who writes files that were removed from these directories? What may not be seen is left out."""
    for pid in proc.pids():
        with contextlib.suppress(OSError):
            for file in proc.opened(pid):
                with contextlib.suppress(OSError):
                    if file.for_writing:
                        yield from _deleted(pid, file, directories)


def _deleted(pid: int, file: proc.OpenFile, directories: frozenset[str]) -> Iterator[Deleted]:
    name, mark, rest = file.name.rpartition(" (deleted)")
    if mark and not rest and os.path.dirname(name) in directories:
        status = os.stat(file.path)
        if status.st_nlink == 0:
            yield Deleted(pid, name, status.st_size)
