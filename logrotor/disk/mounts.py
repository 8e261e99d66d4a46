"""File systems whose server may be gone: a look at one never ends then, and must hold up no log that lies elsewhere.

A network or FUSE file system is known by the table of mounts, which asks no server. The first path that leads into one
has it asked, by a process of its own that may be left behind: some calls end by no signal.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from functools import cache

from logrotor.disk import calls, proc
from logrotor.model import Problem
from logrotor.text import typed

_PATIENCE, _LEAST = 2.0, 0.5  # seconds for all file systems of one look, and for each
_SERVED = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "lustre", "gfs2", "ocfs2", "virtiofs", "fuse"})
_MAX_LINKS = 40  # as path_resolution(7)
_FRESH = 60.0  # seconds for which a file system that did not answer is not asked again by this process
_left: dict[int, int] = {}  # mount -> our process that still waits for it
_silent_since: dict[int, float] = {}  # mount -> when it did not answer, by time.monotonic


class Mounts:
    """The table of mounts at one moment. Each file system is asked once, when a path first leads there."""

    def __init__(self) -> None:
        last = {mount.point: mount for mount in _table()}  # of several at one point, the last one lies on top
        self.points = frozenset(last)
        self._served = {p: m for p, m in last.items() if m.kind.partition(".")[0].removesuffix("blk") in _SERVED}
        self._served.pop("/", None)
        self._names: dict[str, list[str]] = {}
        for point in self._served:
            self._names.setdefault(os.path.dirname(point), []).append(os.path.basename(point))
        self._known: dict[str, Problem | None] = {}
        self._no_links: set[str] = set()
        self._spent = 0.0

    def why_silent(self, path: str) -> Problem | None:
        """The file system on the way to an absolute path that does not answer; None: each of them does."""
        if not self._served:
            return None
        todo, here, links = _components(path), "/", 0
        while todo:
            name = todo.pop()
            here = os.path.dirname(here) if name == ".." else os.path.join(here, name)
            found = self._answer(here)
            if found is not None:
                return found
            target = self._link(here)
            if target is not None and (links := links + 1) <= _MAX_LINKS:
                todo += _components(target)
                here = "/" if target.startswith("/") else os.path.dirname(here)
        return None

    def silent_names(self, directory: str) -> frozenset[str]:
        """Mount points in a directory (its path without symlinks) at which not even lstat(2) would return."""
        names = self._names.get(directory)
        if names is None:
            return frozenset()
        return frozenset(name for name in names if self._answer(os.path.join(directory, name)) is not None)

    def real_path(self, path: str) -> str:
        """Without symlinks; as it is where the way leads to a file system that does not answer."""
        return path if self.why_silent(path) is not None else os.path.realpath(path)

    def _link(self, path: str) -> str | None:
        if path in self._no_links:
            return None
        with suppress(OSError):  # no link, or nothing is there
            return os.readlink(path)
        self._no_links.add(path)
        return None

    def _answer(self, point: str) -> Problem | None:
        mount = self._served.get(point)
        if mount is None:
            return None
        if point not in self._known:
            begun = time.monotonic()
            answers = _answers(mount, max(_LEAST, _PATIENCE - self._spent))
            self._spent += time.monotonic() - begun
            self._known[point] = None if answers else _silent(mount)
        return self._known[point]


@cache
def _silent(mount: proc.Mount) -> Problem:
    what = f"a {mount.kind} file system that does not answer, so nothing on it is looked at"
    advice = f"bring its server back, or unmount it: umount -l {typed(mount.point)}"
    return Problem(subject=mount.point, problem=what, advice=advice, kind="silent")


def _table() -> list[proc.Mount]:
    try:
        return list(proc.mounts())
    except OSError:  # without /proc no call can be spared, and a bind-mounted log says so when it is renamed
        return []


def _components(path: str) -> list[str]:
    """The last one first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


# ---------------------------------------------------------------- asking


def _answers(mount: proc.Mount, patience: float) -> bool:
    """Does statfs(2), which no cache answers, return in time? No more than one process waits for a mount of ours."""
    if time.monotonic() - _silent_since.get(mount.id, -_FRESH) < _FRESH or _waits(mount):
        return False
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        _ask(mount, write)
    os.close(write)
    try:
        if _is_ended(read, patience):
            os.waitpid(pid, 0)
            return True
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _left[mount.id], _silent_since[mount.id] = pid, time.monotonic()
        return False
    finally:
        os.close(read)


def _ask(mount: proc.Mount, write: int) -> None:
    """In the child: nobody who waits for a stream or a lock of ours must wait for it."""
    try:
        calls.name_process(_name(mount))
        os.closerange(0, write)
        os.closerange(write + 1, min(os.sysconf("SC_OPEN_MAX"), 1 << 16))
        with suppress(OSError):  # an error is an answer
            os.statvfs(mount.point)
    finally:
        os._exit(0)


def _is_ended(read: int, patience: float) -> bool:
    poll = select.poll()
    poll.register(read, select.POLLIN)
    return bool(poll.poll(patience * 1000))


def _waits(mount: proc.Mount) -> bool:
    """Is a process of this or an earlier run still waiting? Only FUSE keeps one that was killed."""
    pid = _left.get(mount.id)
    if pid is not None:
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                return True
        del _left[mount.id]
    if not mount.kind.startswith("fuse"):
        return False
    name = _name(mount)
    return any(proc.program(pid) == name and _is_ours(pid) for pid in proc.pids())


def _is_ours(pid: int) -> bool:
    try:
        found = proc.look(pid)
    except OSError:  # it ended meanwhile
        return False
    return found.uid == os.geteuid() and not found.dead


def _name(mount: proc.Mount) -> str:
    return f"logrotor-{mount.id}"[:15]
