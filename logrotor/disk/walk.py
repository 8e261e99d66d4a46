"""Open a directory so that nobody can swap it under us: component by component, each relative to the one before.

Every component is opened with O_NOFOLLOW relative to its parent's descriptor, so a swap between two calls
changes nothing (the "logrotten" race). A symlink is followed only if it belongs to root or to the running
user, and only when a configured path is looked at for the first time: what that gave is opened without any
symlink from then on. A parent in which anybody may rename is refused.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType

from logrotor.disk import proc
from logrotor.errors import CLOSED, InsecureDirectory, Stale
from logrotor.model import FileId, Problem
from logrotor.text import typed

_MAX_LINKS = 40  # as path_resolution(7)
_MOST_OPEN = 32  # descriptors: a process may have 1024, and a path 2048 components
_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
Check = Callable[[os.stat_result, str, int], None]  # of what is on the way, by its path and descriptor; it raises
Follow = Callable[[str, int, os.stat_result, int], str]  # path, parent, lstat, how many so far -> the target

_LISTABLE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(path: str) -> int:
    """Open a resolved ``path`` for listing and changing. Raises InsecureDirectory, Stale or OSError."""
    return _opened(*_walk(path, _refuse_link, _refuse_open_to_all))


def resolve_directory(path: str) -> tuple[int, str]:
    """Open a configured path; returns its descriptor and its path without symlinks.

    Raises InsecureDirectory, or OSError where it cannot be opened.
    """
    trail, resolved = _walk(path, _follow, _refuse_open_to_all)
    return _opened(trail, resolved), resolved


def open_to_write(path: str) -> int:
    """Open a configured directory for files with names of our own, whoever owns it, also if it may not be listed.

    Raises InsecureDirectory, or OSError where it cannot be opened.
    """
    trail, _ = _walk(path, _follow, _refuse_open_to_all)
    close(trail[:-1])
    return trail[-1]


def resolve_missing(path: str) -> str:
    """The path that a missing directory will have, without symlinks. Raises InsecureDirectory or OSError."""
    names: list[str] = []
    while True:
        path, name = os.path.split(path)
        names.insert(0, name)
        try:
            trail, resolved = _walk(path, _follow, _refuse_open_to_all)
        except FileNotFoundError:
            if path == "/":
                raise
            continue
        close(trail)
        return os.path.join(resolved, *names)


def barrier_to(path: str) -> str | None:
    """The directory above a missing ``path`` in which we may not make it; None: nothing speaks against it."""
    above = os.path.dirname(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    return None if os.access(above, os.W_OK | os.X_OK, effective_ids=True) else above


def resolve_private(path: str) -> str:
    """The path, without symlinks, of a directory in whose place nobody but root and us can put another one.

    Its user trusts what he finds there, so as root each of its parents has to be root's. Raises InsecureDirectory
    or OSError.
    """
    trail, resolved = _walk(path, _follow, _refuse_others)
    owner = os.fstat(trail[-1]).st_uid
    close(trail)
    if owner not in (0, os.geteuid()):
        what = f"belongs to {user_name(owner)}, who could change what lies there"
        raise InsecureDirectory(Problem(subject=resolved, problem=what))
    return resolved


def _opened(trail: list[int], resolved: str) -> int:
    try:
        fd = os.open(".", _LISTABLE, dir_fd=trail[-1])
    finally:
        close(trail)
    try:
        _refuse_foreign(fd, resolved)
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_directories(path: str, mode: int = 0o755, known: Mapping[str, FileId] = MappingProxyType({})) -> None:
    """Create ``path`` and its missing parents, each checked like an opened one.

    ``known``: which directories the paths were when the plan was made. Raises Stale, InsecureDirectory or OSError.
    """
    from logrotor.disk.calls import change

    missing: list[str] = []
    while not os.path.lexists(path):
        path, name = os.path.split(path)
        missing.append(name)
    for name in reversed(missing):
        fd = open_directory(path)
        try:
            status = os.fstat(fd)
            if known.get(path, (status.st_dev, status.st_ino)) != (status.st_dev, status.st_ino):
                raise Stale(f"{path}: another directory has its place by now")
            change("mkdir", os.mkdir, name, mode, dir_fd=fd)
            _open_up(fd, name, mode)
            change("sync", os.fsync, fd)
        except FileExistsError:  # another run made it first
            pass
        finally:
            os.close(fd)
        path = os.path.join(path, name)


def _open_up(parent: int, name: str, mode: int) -> None:
    """Give a directory that was made just now its mode, whatever the umask is: others must reach their archives.

    Where an ACL came with it, that decides.
    """
    from logrotor.disk.calls import change

    fd = os.open(name, _LISTABLE | os.O_NOFOLLOW, dir_fd=parent)
    try:
        status = os.fstat(fd)
        if status.st_mode & 0o777 == mode or status.st_uid != os.geteuid() or os.listdir(fd):
            return  # or it is another one by now
        with contextlib.suppress(OSError):
            if "system.posix_acl_access" in os.listxattr(fd):
                return
        change("chmod", os.fchmod, fd, (status.st_mode & 0o7000) | mode)
    finally:
        os.close(fd)


def walk(path: str, check: Check, follow: Follow | None = None) -> tuple[list[int], str]:
    """Descriptors (O_PATH) of the last ones on the way, ``path`` itself at the end, and its path without symlinks.

    ``follow``: where a symlink leads; without it one is followed if it belongs to root or to us.
    """
    return _walk(path, follow or _follow, check)


def _walk(path: str, follow: Follow, check: Check) -> tuple[list[int], str]:
    todo = deque(_components(os.path.abspath(path) if not os.path.isabs(path) else path))
    trail = [os.open("/", _PATH_ONLY)]
    here = ""  # of the last one
    links = 0
    try:
        while todo:
            name = todo.popleft()
            if name == "..":
                if here:
                    here = here.rpartition("/")[0]
                    os.close(trail.pop())
                if not trail:  # that far up, from the root again
                    todo.extendleft(reversed(_components(here)))
                    here = _begin_anew(trail)
                continue
            there = f"{here}/{name}"
            fd = os.open(name, _PATH_ONLY, dir_fd=trail[-1])
            status = os.fstat(fd)
            if stat.S_ISLNK(status.st_mode):
                os.close(fd)
                links += 1
                target = follow(there, trail[-1], status, links)
                if target.startswith("/"):
                    here = _begin_anew(trail)
                todo.extendleft(reversed(_components(target)))
                continue
            trail.append(fd)
            here = there
            if len(trail) > _MOST_OPEN:
                os.close(trail.pop(0))
            check(status, here, fd)
    except BaseException:
        close(trail)
        raise
    return trail, here or "/"


def _begin_anew(trail: list[int]) -> str:
    root = os.open("/", _PATH_ONLY)
    close(trail)
    trail[:] = [root]
    return ""


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _refuse_link(here: str, parent: int, status: os.stat_result, links: int) -> str:
    raise Stale(f"{here}: became a symlink while we worked")


def _follow(here: str, parent: int, status: os.stat_result, links: int) -> str:
    if status.st_uid not in (0, os.geteuid()):
        what = f"a symlink of {user_name(status.st_uid)}, who could point it elsewhere"
        advice = f"name what it points to, or make the link as root or {user_name(os.geteuid())}"
        raise InsecureDirectory(Problem(subject=here, problem=what, advice=advice))
    return target_of(here, parent, links)


def target_of(here: str, parent: int, links: int) -> str:
    """What the symlink at the path ``here`` says; ``links``: how many were followed so far."""
    if links > _MAX_LINKS:
        what = f"more than {_MAX_LINKS} symlinks on the way"
        raise InsecureDirectory(Problem(subject=here, problem=what, advice="name the directory itself"))
    return os.readlink(os.path.basename(here), dir_fd=parent)


def _refuse_open_to_all(status: os.stat_result, here: str, fd: int) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(20, os.strerror(20), here)
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        advice = f"chmod o-w {typed(here)}, or chmod +t {typed(here)}"
        raise InsecureDirectory(Problem(subject=here, problem="anyone may write there", advice=advice))


def _refuse_others(status: os.stat_result, here: str, fd: int) -> None:
    _refuse_open_to_all(status, here, fd)
    if os.geteuid() == 0 and status.st_uid != 0 and proc.is_mapped(status.st_uid):
        owner = user_name(status.st_uid)
        what = f"belongs to {owner}, who could put something else in its place, but logrotor runs as root"
        advice = f'choose a place of root\'s own, or set run_as = "{owner}"'
        raise InsecureDirectory(Problem(subject=here, problem=what, advice=advice))


def _refuse_foreign(fd: int, path: str) -> None:
    """As root, work only in root's directories: in another's, that user could play tricks with root's power."""
    owner = os.fstat(fd).st_uid
    if os.geteuid() == 0 and owner != 0:
        what, advice = f"belongs to {user_name(owner)}, but logrotor runs as root", f'set run_as = "{user_name(owner)}"'
        raise InsecureDirectory(Problem(subject=path, problem=what, advice=advice, kind=CLOSED))


def user_name(uid: int) -> str:
    """The login name of a uid, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
