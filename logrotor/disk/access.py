"""Who we are, and who may do what: the writer of a log with its replacement, we with a directory and with a file."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import struct
from functools import cache

from logrotor.disk.calls import change
from logrotor.disk.proc import by_descriptor
from logrotor.disk.walk import user_name
from logrotor.errors import Refused, Stale, StateError
from logrotor.model import FileId, Problem

_ACL = "system.posix_acl_access"
_USER, _GROUP, _WRITE = 0x02, 0x08, 2  # acl(5), as stored in the attribute


def become(user: str) -> None:
    """Give up root once, for good, for ``user``: groups, gid, uid, in this order (setgroups(2)). The environment stays.

    Raises StateError if the user does not exist, or if we are neither root nor that user.
    """
    try:
        record = pwd.getpwnam(user)
    except KeyError:
        raise StateError(Problem(subject=f'run_as = "{user}"', problem="no such user on this system")) from None
    if os.geteuid() == record.pw_uid:
        return
    if os.geteuid() != 0:
        what = f"only root can become another user, and this is uid {os.geteuid()}"
        advice = f"start logrotor as root or as {user}, or remove run_as"
        raise StateError(Problem(subject=f'run_as = "{user}"', problem=what, advice=advice))
    os.setgroups(os.getgrouplist(user, record.pw_gid))
    os.setgid(record.pw_gid)
    os.setuid(record.pw_uid)


def why_locked_out(path: str, old: os.stat_result, directory: os.stat_result, mode: int) -> Problem | None:
    """Why the old owner could not write a replacement of this mode, and what helps; None if it can."""
    owner = old.st_uid
    if owner in (0, os.geteuid()) or mode & 0o002:
        return None
    group = directory.st_gid if directory.st_mode & 0o2000 else os.getegid()
    groups = _groups(owner)
    if (mode & 0o020 and group in groups) or _let_in_by_acl(path, owner, groups):
        return None
    name = user_name(owner)
    return Problem(
        subject=path,
        problem=f"belongs to {name}, who could not write a replacement of ours (group {group}, mode {mode:04o})",
        advice=f'run logrotor as {name} (run_as = "{name}"), or give the directory a group of {name}\'s and: '
        f"chmod g+s {os.path.dirname(path)}",
    )


def why_closed(directory: str) -> Problem:
    """Why the running user may not create files in a directory, and what helps."""
    status, space = os.stat(directory), os.statvfs(directory)
    us, owner = user_name(os.geteuid()), user_name(status.st_uid)
    owned = f"it is {owner}:{_group_name(status.st_gid)} {status.st_mode & 0o7777:04o}"
    if space.f_flag & os.ST_RDONLY:
        cause, advice = "its file system is mounted read-only", "mount it for writing"
    elif status.st_uid == os.geteuid():
        cause, advice = owned, f"chmod u+rwx {directory}"
    elif status.st_gid not in (os.getegid(), *os.getgroups()):
        cause = f"{owned}, and {us} is in no such group"
        group = _group_name(os.getegid())
        advice = f"as root: chgrp {group} {directory} && chmod g+rwxs {directory}, or run logrotor as {owner}"
    elif status.st_mode & 0o030 != 0o030:
        cause, advice = owned, f"as {owner}: chmod g+rwxs {directory}, or run logrotor as {owner}"
    else:
        cause, advice = owned, f"see its ACL: getfacl {directory}"
    return Problem(subject=directory, problem=f"{us} may not create and rename files there: {cause}", advice=advice)


def set_mode(path: str, mode: int, file: FileId) -> str:
    """Give the file or directory that was looked at its mode; says what was done. Raises Stale, Refused or OSError."""
    # O_PATH: a file without any permission cannot be opened otherwise, and no link is followed.
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != file:
            raise Stale(f"{path}: another file has its place by now")
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise Refused(f"{path}: neither a file nor a directory")
        change("chmod", os.chmod, by_descriptor(fd), mode)
    finally:
        os.close(fd)
    return f"chmod {mode:04o} {path}"


def _group_name(gid: int) -> str:
    import grp  # here: a run where all is well has no use for it

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


@cache
def _groups(uid: int) -> frozenset[int]:
    try:
        record = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(record.pw_name, record.pw_gid))


def _let_in_by_acl(path: str, owner: int, groups: frozenset[int]) -> bool:
    """Does the old log's ACL, which the replacement gets as well, let the owner write?"""
    value = b""
    with contextlib.suppress(OSError):
        value = os.getxattr(path, _ACL, follow_symlinks=False)
    for tag, permissions, identity in struct.iter_unpack("<HHI", value[4:]) if len(value) % 8 == 4 else ():
        named = (tag == _USER and identity == owner) or (tag == _GROUP and identity in groups)
        if named and permissions & _WRITE:
            return True
    return False
