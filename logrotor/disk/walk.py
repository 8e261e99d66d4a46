"""Open a directory so that nobody can swap it under us: component by component, each relative to the one before.

Every component is opened with O_NOFOLLOW relative to its parent's descriptor, so a swap between two calls
changes nothing (the "logrotten" race). A symlink is followed only if it belongs to root or to the running
user; a parent in which anybody may rename is refused.
"""

from __future__ import annotations

import os
import pwd
import stat

from logrotor.errors import InsecureDirectory

_MAX_LINKS = 40  # as path_resolution(7)
_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTABLE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(path: str) -> tuple[int, str]:
    """Open ``path`` for listing and changing; returns its descriptor and its path without symlinks.

    Raises InsecureDirectory, or OSError where it cannot be opened.
    """
    trail, resolved = _walk(path)
    try:
        fd = os.open(".", _LISTABLE, dir_fd=trail[-1])
    finally:
        _close(trail)
    try:
        _refuse_foreign(fd, resolved)
    except BaseException:
        os.close(fd)
        raise
    return fd, resolved


def make_directories(path: str, mode: int = 0o755) -> None:
    """Create ``path`` and its missing parents, each checked like an opened one."""
    from logrotor.disk.calls import change

    missing: list[str] = []
    while not os.path.lexists(path):
        path, name = os.path.split(path)
        missing.append(name)
    for name in reversed(missing):
        fd, _ = open_directory(path)
        try:
            change("mkdir", os.mkdir, name, mode, dir_fd=fd)
            change("sync", os.fsync, fd)
        except FileExistsError:  # another run made it first
            pass
        finally:
            os.close(fd)
        path = os.path.join(path, name)


def _walk(path: str) -> tuple[list[int], str]:
    """Descriptors (O_PATH) of every directory on the way, the last one being ``path`` itself."""
    todo = _components(os.path.abspath(path) if not os.path.isabs(path) else path)
    trail = [os.open("/", _PATH_ONLY)]
    names: list[str] = []
    links = 0
    try:
        while todo:
            name = todo.pop(0)
            if name == "..":
                if names:
                    names.pop()
                    os.close(trail.pop())
                continue
            here = "/" + "/".join([*names, name])
            fd = os.open(name, _PATH_ONLY, dir_fd=trail[-1])
            status = os.fstat(fd)
            if stat.S_ISLNK(status.st_mode):
                os.close(fd)
                links += 1
                target = _follow(here, name, trail[-1], status, links)
                if target.startswith("/"):
                    _close(trail[1:])
                    del trail[1:], names[:]
                todo[:0] = _components(target)
                continue
            trail.append(fd)
            names.append(name)
            _refuse_open_to_all(status, here)
    except BaseException:
        _close(trail)
        raise
    return trail, "/" + "/".join(names)


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _follow(here: str, name: str, parent: int, status: os.stat_result, links: int) -> str:
    if status.st_uid not in (0, os.geteuid()):
        raise InsecureDirectory(
            f"{here}: a symlink of {user_name(status.st_uid)}, who could point it elsewhere; "
            f"name the directory that it points to, or make the link as root or {user_name(os.geteuid())}"
        )
    if links > _MAX_LINKS:
        raise InsecureDirectory(f"{here}: more than {_MAX_LINKS} symlinks on the way; name the directory itself")
    return os.readlink(name, dir_fd=parent)


def _refuse_open_to_all(status: os.stat_result, here: str) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(20, os.strerror(20), here)
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise InsecureDirectory(f"{here}: anyone may write there; chmod o-w, or set the sticky bit: chmod o-w {here}")


def _refuse_foreign(fd: int, path: str) -> None:
    """As root, work only in root's directories: in another's, that user could play tricks with root's power."""
    owner = os.fstat(fd).st_uid
    if os.geteuid() == 0 and owner != 0:
        raise InsecureDirectory(
            f'{path}: belongs to {user_name(owner)}, but logrotor runs as root; set run_as = "{user_name(owner)}"'
        )


def user_name(uid: int) -> str:
    """The login name of a uid, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
