"""Who may do what with a file that is there, and what a directory gives to those that we make in it (acl(5))."""

from __future__ import annotations

import errno
import os
import stat
import struct
from functools import cache

from msgspec import Struct

from logrotor.disk import calls, proc

ACL, _DEFAULT, LABEL = "system.posix_acl_access", "system.posix_acl_default", "security.selinux"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20  # acl(5), as stored
NO_ID = 0xFFFFFFFF
_FUSE = 0x65735546  # it stores an ACL, and lets nobody in by it unless its server asked for that (FUSE_POSIX_ACL)

Party = tuple[int, int]  # USER with a uid, or GROUP with a gid


class Access(Struct, frozen=True):
    """Who may do what with one file."""

    owner: int
    group: int
    mode: int  # permission bits; those of the group are the owning group's own, and not the mask
    mask: int  # the most that a group or a named user may do; what stat shows for the group
    named: dict[Party, int] = {}  # as stored: the mask still limits it
    label: bytes | None = None  # of SELinux

    def allowed(self, party: Party) -> int:
        """What a party may do that is named, or is the owning group; others, if it is neither."""
        # Linux asks no ACL whose mask is empty (fs/namei.c, acl_permission_check): who is named counts as any other,
        # and a member of the owning group as one of that.
        if party in self.named and self.mask:
            return self.named[party] & self.mask
        is_of_group = party == (GROUP, self.group) or (
            party in self.named and party[0] == USER and self.group in groups_of(party[1])
        )
        return self.mode >> 3 & 7 if is_of_group else self.mode & 7


@cache
def groups_of(uid: int) -> frozenset[int]:
    """Every group of a user; none for a number without a name."""
    import pwd

    try:
        record = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(record.pw_name, record.pw_gid))


class Given(Struct, frozen=True):
    """What each file that we make in a directory has without being asked: its owner and group, and named entries."""

    user: int
    group: int
    named: dict[Party, int]  # of the default ACL


class Place(Struct):
    """An open directory, as far as it decides about the files that we make there. Looked up when it is needed."""

    fd: int
    _given: Given | None = None
    _keeps: bool | None = None

    def given(self, new: int) -> Given:
        """``new``: a file that was just made there. All of ours in a directory have the same."""
        if self._given is None:
            found = entries(_attribute(self.fd, _DEFAULT))
            mask = found.get((MASK, NO_ID), 7)
            named = {party: bits & mask for party, bits in found.items() if party[0] in (USER, GROUP)}
            status = os.fstat(new)
            self._given = Given(status.st_uid, status.st_gid, named)
        return self._given

    def keeps_acls(self) -> bool:
        """Does the file system keep ACLs, and go by them?"""
        if self._keeps is None:
            self._keeps = calls.file_system_magic(self.fd) != _FUSE and knows_acls(self.fd)
        return self._keeps


class Ground(Struct, frozen=True):
    """What is to be expected of a directory before anything is made there."""

    path: str
    status: os.stat_result
    acls: bool
    user: int  # of what we make there
    group: int

    @classmethod
    def at(cls, path: str, kind: str) -> Ground:
        """``kind``: of the file system."""
        status = os.stat(path)
        group = status.st_gid if status.st_mode & stat.S_ISGID else os.getegid()
        return cls(path, status, kind != "fuse" and knows_acls(path), os.geteuid(), group)


def of(file: int | str, status: os.stat_result) -> Access:
    """Who may do what with a file (a descriptor, or a path that is no link) of this status."""
    bits = status.st_mode & 0o777
    try:
        names = os.listxattr(file)  # most files have none: one call instead of two
    except OSError:  # not known to this file system
        names = [ACL, LABEL]
    if not names:
        return Access(status.st_uid, status.st_gid, bits, bits >> 3 & 7)
    label = _attribute(file, LABEL) if LABEL in names else None
    found = entries(_attribute(file, ACL)) if ACL in names else {}
    own = found.get((GROUP_OBJ, NO_ID), bits >> 3 & 7)
    mask = found.get((MASK, NO_ID), 7 if found else bits >> 3 & 7)
    named = {party: bits for party, bits in found.items() if party[0] in (USER, GROUP)}
    return Access(status.st_uid, status.st_gid, bits & 0o707 | (own & mask) << 3, mask, named, label)


def by_stat(status: os.stat_result) -> Access:
    """The same as far as stat tells it: without an ACL."""
    bits = status.st_mode & 0o777
    return Access(status.st_uid, status.st_gid, bits, bits >> 3 & 7)


# ---------------------------------------------------------------- the attributes


def _attribute(fd: int | str, name: str) -> bytes | None:
    """None: none is set, or this file system knows none. Raises OSError where nobody can tell."""
    try:
        return os.getxattr(fd, name)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return None


def knows_acls(fd: int | str) -> bool:
    try:
        os.getxattr(fd, ACL)
    except OSError as error:
        return error.errno == errno.ENODATA
    return True


def entries(value: bytes | None) -> dict[Party, int]:
    """The entries of an ACL as stored: a version, then 8 bytes each (xattr_acl, linux/posix_acl_xattr.h)."""
    if value is None or len(value) % 8 != 4:
        return {}
    return {(tag, number): bits for tag, bits, number in struct.iter_unpack("<HHI", value[4:])}


def stored(entries: dict[Party, int]) -> bytes:
    """The reverse, in the order that the kernel demands: by tag, then by id."""
    packed = (struct.pack("<HHI", tag, bits, number) for (tag, number), bits in sorted(entries.items()))
    return struct.pack("<I", 2) + b"".join(packed)


@cache
def is_unmapped(tag: int, number: int) -> bool:
    """Does the number stand for everybody who is not mapped in our user namespace?"""
    return proc.is_overflow("uid" if tag == USER else "gid", number)
