"""File systems whose server may be gone: a look at one never ends then, and must hold up no log that lies elsewhere.

A network or FUSE file system is known by the table of mounts, which asks no server. The first path that leads into one
has it asked, by a process of its own that may be left behind: some calls end by no signal.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from logrotor.disk import proc
from logrotor.model import Problem
from logrotor.text import typed

if TYPE_CHECKING:
    from subprocess import Popen

SILENT = "silent"  # the kind of a problem: the server of a file system does not answer
_MARK = "LOGROTOR_MOUNT"  # in the environment of the process that asks, with the number of the mount
_PATIENCE, _LEAST = 2.0, 0.5  # seconds for all file systems of one look, and for each
_SERVED = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "lustre", "gfs2", "ocfs2", "virtiofs", "fuse"})
_PYTHON = [sys.executable or "", "-I", "-S", "-c", "import os, sys; os.statvfs(sys.argv[1])"]
_MAX_LINKS = 40  # as path_resolution(7)
_FRESH = 60.0  # seconds for which a file system that did not answer is not asked again by this process
_RECENT = 10.0  # seconds
_left: dict[int, Popen[bytes]] = {}  # mount -> the process that still waits for it
_silent_since: dict[int, float] = {}  # mount -> when it did not answer, by time.monotonic


class Mounts:
    """The table of mounts at one moment. Each file system is asked once, when a path first leads there."""

    latest: ClassVar[tuple[float, Mounts] | None] = None  # that this process has made, and when

    def __init__(self) -> None:
        begun = time.monotonic()
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
        Mounts.latest = begun, self  # whole by now: another thread may take it at once

    @property
    def are_all_local(self) -> bool:
        """Is there no file system whose server may be gone?"""
        return not self._served

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
            self._known[point] = _why_silent(mount, max(_LEAST, _PATIENCE - self._spent))
            self._spent += time.monotonic() - begun
        return self._known[point]


def lately() -> Mounts:
    """A look that is no older than a command."""
    made, found = Mounts.latest or (0.0, None)
    return found if found is not None and time.monotonic() - made < _RECENT else Mounts()


def refuse_silent(path: str) -> None:
    """Raise OSError where whoever opened this absolute path would wait for ever."""
    silent = lately().why_silent(path)
    if silent is not None:
        raise OSError(errno.ETIMEDOUT, f"{silent.subject} is {silent.problem}", path)


def real_path(path: str) -> str:
    return lately().real_path(path)


def exists(path: str) -> bool:
    """Is there anything? False where nobody knows, as the file system does not answer."""
    return lately().why_silent(path) is None and os.path.lexists(path)


def mount_of(path: str) -> str:
    """The uppermost directory above ``path`` that is on the same file system."""
    device = os.stat(path).st_dev
    while path != "/" and os.stat(os.path.dirname(path)).st_dev == device:
        path = os.path.dirname(path)
    return path


@cache
def _silent(mount: proc.Mount) -> Problem:
    what = f"a {mount.kind} file system that does not answer, so nothing on it is looked at"
    advice = f"bring its server back, or unmount it: umount -l {typed(mount.point)}"
    return Problem(subject=mount.point, problem=what, advice=advice, kind=SILENT)


@cache
def _unasked(mount: proc.Mount) -> Problem:
    """Whoever looked would wait for ever if it does not answer."""
    what = f"a {mount.kind} file system, and no program can be started that asks whether it answers"
    advice = "install stat (coreutils), or let the user of logrotor start more processes"
    return Problem(subject=mount.point, problem=what, advice=advice, kind=SILENT)


def _table() -> list[proc.Mount]:
    try:
        return list(proc.mounts())
    except OSError:  # without /proc no call can be spared, and a bind-mounted log says so when it is renamed
        return []


def _components(path: str) -> list[str]:
    """The last one first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


# ---------------------------------------------------------------- asking


def _why_silent(mount: proc.Mount, patience: float) -> Problem | None:
    """Does statfs(2), which no cache answers, return in time? No more than one process waits for a mount of ours."""
    if time.monotonic() - _silent_since.get(mount.id, -_FRESH) < _FRESH or _waits(mount):
        return _silent(mount)
    import subprocess

    process = _asking(mount)
    if process is None:
        return _unasked(mount)
    try:
        process.wait(patience)  # whatever it says: an error is an answer
    except subprocess.TimeoutExpired:
        process.kill()
        _left[mount.id], _silent_since[mount.id] = process, time.monotonic()
        return _silent(mount)
    return None


def _asking(mount: proc.Mount) -> Popen[bytes] | None:
    """The process that asks: stat(1), or a Python where there is none; None where neither can be started."""
    import subprocess

    # Nobody who waits for a stream or a lock of ours must wait for it, so it has none of them.
    nothing, env = subprocess.DEVNULL, {_MARK: str(mount.id), "PATH": os.defpath}
    for program in (["stat", "-f"], *([_PYTHON] if _PYTHON[0] else [])):
        with suppress(OSError):
            argv = [*program, mount.point]
            return subprocess.Popen(argv, stdin=nothing, stdout=nothing, stderr=nothing, env=env, cwd="/")
    return None


def _waits(mount: proc.Mount) -> bool:
    """Is a process of this or an earlier run still waiting? Only FUSE keeps one that was killed."""
    process = _left.get(mount.id)
    if process is not None and process.poll() is None:
        return True
    if not mount.kind.startswith("fuse"):
        return False
    programs = ("stat", os.path.basename(os.path.realpath(_PYTHON[0]))[:15])
    return any(proc.program(pid) in programs and _is_ours(pid, mount) for pid in proc.pids())


def _is_ours(pid: int, mount: proc.Mount) -> bool:
    try:
        found = proc.look(pid)
    except OSError:  # it ended meanwhile
        return False
    return found.uid == os.geteuid() and not found.dead and (proc.environ(pid) or {}).get(_MARK) == str(mount.id)
