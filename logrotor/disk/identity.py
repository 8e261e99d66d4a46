"""Who we are, what we may do, and who is who: the user that a run becomes, closed directories, groups and members."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterator, Mapping
from functools import cache

from logrotor.disk import acl, proc
from logrotor.disk.calls import change
from logrotor.disk.walk import user_name
from logrotor.errors import CLOSED, Refused, Stale, StateError
from logrotor.model import FileId, Problem
from logrotor.text import typed


def become(user: str) -> Mapping[str, str]:
    """Give up root once, for good, for ``user``: groups, gid, uid, in this order (setgroups(2)).

    Returns the variables that differ: pm2 looks for its home there, and root's is closed to this user.
    Raises StateError, and nothing has changed, if the user does not exist, if we are neither root nor that user, or if
    that user cannot read what we consist of: modules are loaded as they are needed, until the end.
    """
    uid, gid, groups, environment = _identity(user)
    if os.geteuid() == uid:
        return {}
    if os.geteuid() != 0:
        what = f"only root can become another user, and this is uid {os.geteuid()}"
        advice = f"start logrotor as root or as {user}, or remove run_as"
        raise StateError(Problem(subject=f'run_as = "{user}"', problem=what, advice=advice))
    ours = dict.fromkeys(_our_folders())
    group, others = os.getegid(), os.getgroups()
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    closed = next(filter(None, map(_closed_by, ours)), None)
    os.seteuid(0)
    if closed is not None:
        os.setegid(group)
        os.setgroups(others)
        what = f"is closed to {user}, as whom logrotor is to run, and logrotor or its Python lies there"
        advice = f"install logrotor, and the Python that it uses, where {user} can read them"
        raise StateError(Problem(subject=closed, problem=what, advice=advice))
    os.setgid(gid)
    os.setuid(uid)
    return environment


def _our_folders() -> Iterator[str]:
    """Where Python looks for what logrotor is made of, as far as that is loaded by now; the rest lies beside it."""
    made_of = sys.stdlib_module_names | {"logrotor", "msgspec", "click"}
    for name, module in list(sys.modules.items()):
        folder = os.path.dirname(getattr(module, "__file__", None) or "")
        if name.partition(".")[0] in made_of and os.path.isdir(folder):
            yield folder
            if "." not in name and hasattr(module, "__path__"):
                yield os.path.dirname(folder)


def _closed_by(folder: str) -> str | None:
    """The first folder on the way that we may not enter, or this one where we may not list it either; None: we may."""
    if os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
        return None
    names = folder.split("/")
    way = ("/".join(names[:end]) for end in range(2, len(names)))
    return next((each for each in way if not os.access(each, os.X_OK, effective_ids=True)), folder)


def find_user(user: str) -> pwd.struct_passwd | None:
    """The user of that name, else of that number."""
    try:
        return pwd.getpwnam(user)
    except (KeyError, ValueError):  # ValueError: not a name that the system takes
        pass
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else None
    except (KeyError, OverflowError):
        return None


def home_of_user(user: str) -> str | None:
    """The home of ``run_as``. A number without a name has "/", as in a container."""
    record = find_user(user)
    if record is not None:
        return record.pw_dir
    return "/" if user.isdecimal() else None


def is_us(user: str) -> bool:
    """Are we that user, by name or number?"""
    record = find_user(user)
    return str(os.geteuid()) == user if record is None else record.pw_uid == os.geteuid()


def _identity(user: str) -> tuple[int, int, list[int], dict[str, str]]:
    record, home = find_user(user), home_of_user(user)
    if home is None:
        raise StateError(Problem(subject=f'run_as = "{user}"', problem="no such user on this system"))
    if record is None:  # in a container a number is enough; its group has the same one
        return int(user), int(user), [], {"HOME": home, "USER": user, "LOGNAME": user}
    names = {"HOME": home, "USER": record.pw_name, "LOGNAME": record.pw_name}
    return record.pw_uid, record.pw_gid, os.getgrouplist(record.pw_name, record.pw_gid), names


def why_closed(directory: str) -> Problem:
    """Why the running user may not create files in a directory, and what helps."""
    status, space = os.stat(directory), os.statvfs(directory)
    us, owner = user_name(os.geteuid()), user_name(status.st_uid)
    kind, owned = CLOSED, f"it is {owner}:{group_name(status.st_gid)} {status.st_mode & 0o7777:04o}"
    if space.f_flag & os.ST_RDONLY:
        kind, cause, advice = "", "its file system is mounted read-only", "mount it for writing"
    elif status.st_uid == os.geteuid():
        kind, cause, advice = "", owned, f"chmod u+rwx {typed(directory)}"
    elif status.st_gid not in (os.getegid(), *os.getgroups()):
        cause = f"{owned}, and {us} is in no such group"
        group = group_name(os.getegid())
        advice = (
            f"as root: chgrp {group} {typed(directory)} && chmod g+rwxs {typed(directory)}, or run logrotor as {owner}"
        )
    elif status.st_mode & 0o030 != 0o030:
        cause, advice = owned, f"as {owner}: chmod g+rwxs {typed(directory)}, or run logrotor as {owner}"
    else:
        cause, advice = owned, f"see its ACL: getfacl {typed(directory)}"
    what = f"{us} may not create and rename files there: {cause}"
    return Problem(subject=directory, problem=what, advice=advice, kind=kind)


def run_as(uid: int) -> str:
    name = user_name(uid)
    return f'run logrotor as {name} (started as root: run_as = "{name}")' if uid else "run logrotor as root"


def one_for_both(directory: str, writer: int) -> str | None:
    """What lets one user change a directory and signal a process of ``writer``, where we may not do both.

    Nobody but root and the writer may signal it, and root works in no directory of others. None: what speaks against
    us in the directory is all there is.
    """
    try:
        us, owner = os.geteuid(), os.stat(directory).st_uid
    except OSError:
        return None
    if writer == 0 and owner != 0:
        given = given_to_root(directory, owner)
        return given if us == 0 else f"as root: {given}, and run logrotor as root"
    if writer == (owner if us == 0 else us):
        return None
    return run_as(0 if owner == 0 else writer)


def given_to_root(directory: str, owner: int) -> str:
    """Commands by which it becomes root's, and its owner may do there what he could."""
    if acl.knows_acls(directory):
        return f"setfacl -m u:{user_name(owner)}:rwx {typed(directory)} && chown root {typed(directory)}"
    group = group_name(primary_group(owner) or owner)
    return f"chown root:{group} {typed(directory)} && chmod g+rwx {typed(directory)}"


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
        change("chmod", os.chmod, proc.by_descriptor(fd), mode)
    finally:
        os.close(fd)
    return f"chmod {mode:04o} {typed(path)}"


def group_name(gid: int) -> str:
    """The name of a group, or the number where it has none."""
    import grp  # here: a run where all is well has no use for it

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def primary_group(uid: int) -> int | None:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return None


@cache
def members_of(gid: int) -> frozenset[int]:
    """The users in a group, those who have it as their primary one included."""
    import grp

    try:
        names = grp.getgrgid(gid).gr_mem
    except KeyError:
        names = []
    every = pwd.getpwall()
    return frozenset(each.pw_uid for each in every if each.pw_gid == gid or each.pw_name in names)
