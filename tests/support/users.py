"""Run programs and functions as another user, also where that user cannot reach the interpreter.

Under /root/.pyenv (mode 0700 above it) no ordinary user can execute Python. Then the child gets a mount namespace of
its own in which the closed folder is an empty, traversable one that holds just the interpreter, the venv and the
checkout, under their usual paths. Nothing outside the child changes.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import grp
import os
import pickle
import pwd
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.support.need import need
from tests.support.waiting import readable

T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parents[2]

_NEWNS, _TMPFS_MODE, _BIND, _REC, _SLAVE = 0x20000, b"mode=0755", 4096, 16384, 1 << 19
_SET_DUMPABLE = 4


@dataclass(frozen=True, slots=True)
class User:
    """Whom to become. ``groups`` are the supplementary ones."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str = "/"
    name: str = ""


def user(who: str | int, *, groups: Sequence[int | str] | None = None) -> User:
    """The user of that name or uid; without ``groups`` with those that the system gives him (an unknown uid: none)."""
    try:
        found = pwd.getpwnam(who) if isinstance(who, str) else pwd.getpwuid(who)
    except KeyError:
        if isinstance(who, str):
            raise
        return User(who, who, tuple(_gids(groups or ())))
    wanted = os.getgrouplist(found.pw_name, found.pw_gid) if groups is None else _gids(groups)
    return User(found.pw_uid, found.pw_gid, tuple(wanted), found.pw_dir, found.pw_name)


def as_argv(who: str | int | User, argv: Sequence[str | os.PathLike[str]], *, mount: str = "") -> list[str]:
    """``argv``, wrapped so that it runs as ``who`` in the very process that is started (the pid stays the same).

    ``mount``: a shell command that root runs before, in a mount namespace of its own (unshare(1)).
    """
    target = who if isinstance(who, User) else user(who)
    need(os.geteuid() == 0, "root, to become another user")
    groups = ["--groups", ",".join(map(str, target.groups))] if target.groups else ["--clear-groups"]
    become = ["setpriv", "--reuid", str(target.uid), "--regid", str(target.gid), *groups, "--inh-caps=-all", "--"]
    command = [*become, *(os.fspath(arg) for arg in argv)]
    steps = [step for step in (_opening(), mount) if step]
    if not steps:
        return command
    script = "\n".join([*steps, 'exec "$@"'])
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-ec", script, "sh", *command]


def as_user(who: str | int | User, function: Callable[..., T], *args: Any, timeout: float = 120, **kwargs: Any) -> T:
    """Call ``function`` in a fork that has become ``who``; give back its result, or raise its exception."""
    target = who if isinstance(who, User) else user(who)
    need(os.geteuid() == 0, "root, to become another user")
    closed = _closed()

    def as_target() -> T:
        _become(target, closed)
        return function(*args, **kwargs)

    return in_fork(as_target, timeout=timeout)


def become(target: User) -> None:
    """Be ``target`` from now on; for a fork."""
    _become(target, _closed())


def in_fork(function: Callable[[], T], *, timeout: float = 120) -> T:
    """Call ``function`` in a fork; give back its result, or raise its exception. Both travel pickled."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        gc.freeze()  # else the first collection writes to every page that it shares with us
        os.close(reader)
        _answer(function, writer)
    os.close(writer)
    try:
        answer = _read(reader, time.monotonic() + timeout)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(reader)
        _, status = os.waitpid(pid, 0)
    if not answer:
        raise ChildProcessError(f"the fork ended without an answer, wait status {status}")
    worked, value = pickle.loads(answer)
    if not worked:
        raise value
    return value  # type: ignore[no-any-return]


def _answer(function: Callable[[], object], fd: int) -> None:
    """Never returns: nothing of the parent's clean-up may run in the child."""
    try:
        try:
            answer = pickle.dumps((True, function()))
        except BaseException as error:
            error.add_note("in the fork:\n" + traceback.format_exc())
            answer = _pickled(error)
        with open(fd, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def _pickled(error: BaseException) -> bytes:
    try:
        pickle.loads(pickle.dumps(error))
        return pickle.dumps((False, error))
    except Exception:
        return pickle.dumps((False, RuntimeError("".join(traceback.format_exception(error)))))


def _read(fd: int, deadline: float) -> bytes:
    pieces: list[bytes] = []
    while True:
        if not readable([fd], deadline - time.monotonic()):
            raise TimeoutError("the fork gave no answer in time")
        piece = os.read(fd, 1 << 16)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _become(target: User, closed: dict[str, list[str]]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if closed:
        _open_in_child(libc, closed)
    os.setgroups(target.groups)
    os.setresgid(target.gid, target.gid, target.gid)
    os.setresuid(target.uid, target.uid, target.uid)
    # Without exec a process that changed its uid is not dumpable, and its /proc/self belongs to root.
    libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)


def _open_in_child(libc: ctypes.CDLL, closed: dict[str, list[str]]) -> None:
    """As :func:`_opening`, for a process that stays what it is."""

    def call(function: str, *args: object) -> None:
        if getattr(libc, function)(*args) != 0:
            raise OSError(ctypes.get_errno(), f"{function}{args}: {os.strerror(ctypes.get_errno())}")

    def mount(source: str, where: str, kind: bytes, flags: int, data: bytes | None = None) -> None:
        call("mount", source.encode(), where.encode(), kind, ctypes.c_ulong(flags), data)

    call("unshare", _NEWNS)
    mount("none", "/", b"none", _REC | _SLAVE)
    for folder, needed in closed.items():
        doors = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in needed}
        mount("tmpfs", folder, b"tmpfs", 0, _TMPFS_MODE)
        for path, door in doors.items():
            os.makedirs(path, mode=0o755, exist_ok=True)
            mount(f"/proc/self/fd/{door}", path, b"none", _BIND)
            os.close(door)


def _opening() -> str:
    """A shell script that replaces the closed folders in this mount namespace. The shell holds them open by its cwd."""
    steps = []
    for folder, needed in _closed().items():
        fds = range(3, 3 + len(needed))
        assert len(needed) <= 7, "a shell has descriptors 3 to 9"
        steps += [f"exec {fd}<{shlex.quote(path)}" for fd, path in zip(fds, needed, strict=True)]
        steps.append(f"mount -t tmpfs -o mode=0755 tmpfs {shlex.quote(folder)}")
        for fd, path in zip(fds, needed, strict=True):
            steps.append(f"mkdir -p {shlex.quote(path)}")
            steps.append(f"mount --bind --no-canonicalize /proc/self/fd/{fd} {shlex.quote(path)}")
            steps.append(f"exec {fd}<&-")
    return "; ".join(steps)


@functools.cache
def _closed() -> dict[str, list[str]]:
    """Folders that strangers cannot enter, each with the folders below it that Python and the checkout need."""
    needed = {os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, sys.base_exec_prefix, CHECKOUT)}
    needed |= {os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))}
    closed: dict[str, list[str]] = {}
    for path in sorted(needed):
        doors = [p for p in reversed([path, *map(str, Path(path).parents)]) if not _enterable(p)]
        inside = [known for paths in closed.values() for known in paths if path.startswith(known + "/")]
        if doors and not inside:
            closed.setdefault(doors[0], []).append(path)
    if closed:
        need(shutil.which("unshare") and _may_mount(), "mount namespaces, to let another user reach the interpreter")
        need(not closed.keys() & needed, f"an interpreter and a checkout that strangers may enter, not {closed}")
    return closed


def _enterable(folder: str) -> bool:
    return bool(os.stat(folder).st_mode & stat.S_IXOTH)


@functools.cache
def _may_mount() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def _gids(groups: Sequence[int | str]) -> list[int]:
    return [grp.getgrnam(each).gr_gid if isinstance(each, str) else each for each in groups]
