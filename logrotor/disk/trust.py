"""Who besides us could change a file that we believe: its owner, those whom its mode lets in, and who could swap it.

Root believes no configuration that anybody else could change, and starts no such command of one. An ordinary user
believes what is named; whoever could change it is reported by the doctor.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from msgspec import Struct

from logrotor.disk import acl, files, mounts, proc, walk
from logrotor.disk.identity import group_name, is_us, members_of
from logrotor.disk.walk import user_name
from logrotor.errors import InsecureDirectory
from logrotor.model import Problem
from logrotor.text import typed

_WRITE = 2  # of rwx
_ROOT = frozenset({0})


class Writer(Struct, frozen=True):
    """Somebody else who could change what is read, and at which path: the file, a link or a folder on the way."""

    path: str
    who: str  # "anyone", "deploy", "group www-data"
    how: str  # "may write it"
    advice: str


def owner_of(path: str) -> int | None:
    """The ordinary user whose file it is; None: it is root's, nobody's here, or cannot be looked at."""
    try:
        mounts.refuse_silent(os.path.abspath(path))
        uid = os.stat(path).st_uid
    except OSError:  # whoever reads it says why
        return None
    return uid if uid != 0 and proc.is_mapped(uid) else None


def stranger_to(state_dir: str, run_as: str | None) -> str | None:
    """The user of the deployment, where we are not; None: we are, nobody knows, or it has not begun."""
    try:
        mounts.refuse_silent(state_dir)
        uid = os.stat(state_dir).st_uid
    except PermissionError:
        return run_as if run_as is not None and not is_us(run_as) else None
    except OSError:
        return None
    return user_name(uid) if uid != os.geteuid() and proc.is_mapped(uid) else None


def read_as_root(path: str) -> tuple[bytes, os.stat_result]:
    """The contents of a file that nobody but root could have changed. Raises InsecureDirectory or OSError."""
    found: list[Writer] = []
    mounts.refuse_silent(os.path.abspath(path))
    trail, resolved = walk.walk(path, partial(_look, found, _ROOT))
    try:
        _refuse(found)
        return files.read(os.path.basename(resolved) or ".", flags=os.O_NOFOLLOW, directory=trail[-2:][0])
    finally:
        walk.close(trail)


def refuse_command(name: str) -> None:
    """Raise InsecureDirectory where we are root, and others could change the program that we would start by this name.

    Or could put another one in its place, also in a folder of ``$PATH`` before it.
    """
    for path in places_of(name) if os.geteuid() == 0 else ():
        found: list[Writer] = []
        with suppress(OSError):  # what is not there is not started; the way to it is judged as far as it goes
            mounts.refuse_silent(os.path.abspath(path))
            walk.close(walk.walk(path, partial(_look, found, _ROOT))[0])
        _refuse(found)


def places_of(program: str) -> list[str]:
    """Where a program is looked for when it is started, in this order; the last one is it, if it is there at all."""
    if "/" in program:
        return [program]
    paths = [os.path.join(place, program) for place in os.get_exec_path()] or [program]
    there = next((index for index, path in enumerate(paths) if can_be_started(path)), len(paths))
    return paths[: there + 1]


def can_be_started(path: str) -> bool:
    """Is it a program that we may run? On a file system that does not answer nobody knows, and whoever tried waits."""
    if mounts.lately().why_silent(os.path.abspath(path)) is not None:
        return False
    return os.path.isfile(path) and os.access(path, os.X_OK, effective_ids=True)


def _refuse(found: list[Writer]) -> None:
    if found:
        first = found[0]
        what = f"{first.who} {first.how}, and logrotor runs as root"
        raise InsecureDirectory(Problem(subject=first.path, problem=what, advice=first.advice))


def other_writers(path: str) -> list[Writer]:
    """Everybody but root and the running user who could change the file, or put another one there. Raises OSError."""
    found: list[Writer] = []
    trusted = frozenset({0, os.geteuid()})
    trail, _ = walk.walk(path, partial(_look, found, trusted), partial(_follow_all, found, trusted))
    walk.close(trail)
    return list(dict.fromkeys(found))


def _follow_all(
    found: list[Writer], trusted: frozenset[int], here: str, parent: int, status: os.stat_result, links: int
) -> str:
    if status.st_uid not in trusted and proc.is_mapped(status.st_uid):
        owner = user_name(status.st_uid)
        found.append(Writer(here, owner, "owns this symlink and may point it elsewhere", "name the file itself"))
    return walk.target_of(here, parent, links)


def _look(found: list[Writer], trusted: frozenset[int], status: os.stat_result, here: str, fd: int) -> None:
    """Note who else may change what is open at ``fd``. A folder with the sticky bit is only its owner's to change."""
    here_too = [*_owner(status, here, trusted), *_let_in(status, here, fd, trusted | {status.st_uid})]
    if here_too and not os.fstatvfs(fd).f_flag & os.ST_RDONLY:
        found += here_too


def _owner(status: os.stat_result, here: str, trusted: frozenset[int]) -> Iterator[Writer]:
    if status.st_uid not in trusted and proc.is_mapped(status.st_uid):
        us = user_name(os.geteuid())
        advice = f"as root: chown {us} {typed(here)}"
        if stat.S_ISDIR(status.st_mode):
            advice = f"keep it in a folder that only {us} can write"
        yield Writer(here, user_name(status.st_uid), f"owns it and {_may(status)}", advice)


def _may(status: os.stat_result) -> str:
    return "may put another file there" if stat.S_ISDIR(status.st_mode) else "may change it"


def _let_in(status: os.stat_result, here: str, fd: int, trusted: frozenset[int]) -> Iterator[Writer]:
    """Those whom mode and ACL let write, unless the sticky bit keeps them from what is there already."""
    if not status.st_mode & 0o022:  # with an ACL, the group's bits are the most that it gives to anybody named
        return
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return
    access = acl.of(proc.by_descriptor(fd), status)
    if access.mode & stat.S_IWOTH:
        yield Writer(here, "anyone", _may(status), f"chmod o-w {typed(here)}")
    if access.mode & stat.S_IWGRP and _has_strangers(status.st_gid, trusted):
        yield Writer(here, f"group {group_name(status.st_gid)}", _may(status), f"chmod g-w {typed(here)}")
    for (kind, number), bits in access.named.items():
        is_stranger = number not in trusted if kind == acl.USER else _has_strangers(number, trusted)
        if bits & access.mask & _WRITE and is_stranger:
            who = user_name(number) if kind == acl.USER else f"group {group_name(number)}"
            yield Writer(here, who, _may(status), f"setfacl -b {typed(here)}")


def _has_strangers(gid: int, trusted: frozenset[int]) -> bool:
    """Are others than ``trusted`` in the group? Not in a private one; who is in one without a name, nobody knows."""
    members = members_of(gid)
    return bool(members - trusted) if members or group_name(gid) != str(gid) else gid != os.getegid()
