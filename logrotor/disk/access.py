"""Who may do what with a log, and the same for the file that takes its place: its replacement, or its archive.

The new file is ours, and we never chown. So it gets the mode, the old file's ACL, and an ACL entry for the old owner
and for the old group where it does not have these itself (acl(5); the owner of a file may give anybody an entry).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from logrotor.disk.acl import (
    ACL,
    GROUP,
    GROUP_OBJ,
    LABEL,
    MASK,
    NO_ID,
    OTHER,
    USER,
    USER_OBJ,
    Access,
    Given,
    Ground,
    Party,
    Place,
    by_stat,
    groups_of,
    is_unmapped,
    stored,
)
from logrotor.disk.calls import change
from logrotor.disk.identity import group_name, members_of, primary_group, run_as
from logrotor.disk.walk import user_name
from logrotor.errors import CLOSED, Refused
from logrotor.model import KEEP, Codec, CreateMode, LogSpec, Method, Problem
from logrotor.text import typed

_NO_ACL = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
READ, WRITE = 4, 2


class Dress(Struct, frozen=True):
    """What a new file gets: the label, the ACL, then the mode, as stat will show it."""

    mode: int
    acl: bytes | None = None
    label: bytes | None = None


# ---------------------------------------------------------------- the new file


def wanted(old: Access | None, mode: CreateMode, given: Given) -> Dress:
    """What a new file gets in the place of ``old``."""
    bits = _bits(old, mode)
    own = bits if old is None else bits & 0o707 | _own_group(old, mode, bits, given.group) << 3
    named = dict(_named(old, mode, own, given))
    label = old.label if old is not None else None
    if not named and not given.named:
        return Dress(own, None, label)
    mask = own >> 3 & 7
    for allowed, _ in named.values():
        mask |= allowed
    if mode == KEEP and old is not None and old.named:
        mask |= old.mask
    if named and own & 7 and not mask:  # Linux would not ask the ACL, and who is named with less would count as others
        mask = READ
    entries = {party: stored if stored & mask == allowed else allowed for party, (allowed, stored) in named.items()}
    if named:
        entries[MASK, NO_ID] = mask
    entries |= {(USER_OBJ, NO_ID): own >> 6, (GROUP_OBJ, NO_ID): own >> 3 & 7, (OTHER, NO_ID): own & 7}
    return Dress(own & 0o707 | mask << 3, stored(entries), label)


def _bits(old: Access | None, mode: CreateMode) -> int:
    """The mode, before anybody is looked at by name."""
    if isinstance(mode, int):
        return mode
    if old is None:
        return 0o664
    return old.mode if mode == KEEP else opened(old.mode)


def opened(mode: int) -> int:
    """What a log gets without ``create_mode``: as it was, and 0664 at least where group and others could read it."""
    return mode & 0o666 | (0o664 if mode & 0o044 == 0o044 else 0)


def _own_group(old: Access, mode: CreateMode, bits: int, group: int) -> int:
    """What the new file's group may do: with another one than the old file's, its members were named, or others."""
    if group == old.group or isinstance(mode, int):
        return bits >> 3 & 7
    before = old.allowed((GROUP, group))
    is_named = (GROUP, group) in old.named  # then it got less or more than others on purpose
    return before if mode == KEEP or is_named else before & 6 | (6 if bits & 0o064 == 0o064 else 0)


def _named(old: Access | None, mode: CreateMode, own: int, given: Given) -> Iterator[tuple[Party, tuple[int, int]]]:
    """The entries: what each party may do, and what is stored for it where the mask allows that."""
    limit, other = _limit(old, mode, own), own & 7
    # Whom the directory names could do what others could: an entry for less would take that away.
    kept = {party: (bits & limit | other, bits | other) for party, bits in given.named.items()}
    if mode == KEEP and old is not None:  # exactly as it was, as an archive is: no default ACL opens it
        kept = {}
    if old is not None:
        kept |= {party: (old.allowed(party), bits) for party, bits in old.named.items()}
        for party, needed in _owners(old, mode, given):
            needed |= kept.get(party, (0, 0))[0] if party[0] == GROUP else 0
            if party in kept or not _is_served(party, needed, own, kept):
                kept[party] = needed, needed
    yield from kept.items()


def _limit(old: Access | None, mode: CreateMode, own: int) -> int:
    """What the directory's default ACL may give at most: as if the log had been created there with its mode."""
    if old is None or isinstance(mode, int):
        return own >> 3 & 7
    return old.mask if mode == KEEP or old.named else _bits(old, mode) >> 3 & 7


def _is_served(party: Party, needed: int, own: int, kept: dict[Party, tuple[int, int]]) -> bool:
    """May it do just as much without an entry? It counts among the others, or in a group that has an entry."""
    groups = [own >> 3 & 7, *(allowed for (tag, _), (allowed, _) in kept.items() if tag == GROUP)]
    least = most = own & 7
    for allowed in groups:
        least &= allowed
        most |= allowed if party[0] == USER else 0  # a group gets nothing by another one
    return needed & ~least == 0 and most & ~needed == 0


def _owners(old: Access, mode: CreateMode, given: Given) -> Iterator[tuple[Party, int]]:
    """The old group and the old owner, where the new file has another one, with what they may do from now on."""
    bits = mode if isinstance(mode, int) else old.mode if mode == KEEP else old.mode & 0o666
    if old.group != given.group and not is_unmapped(GROUP, old.group):
        # The root group mostly is root alone: it keeps what it had, and is never given more.
        yield (GROUP, old.group), (bits if old.group else bits & old.mode) >> 3 & 7
    if old.owner not in (0, given.user) and not is_unmapped(USER, old.owner):
        yield (USER, old.owner), bits >> 6


# ---------------------------------------------------------------- dressing it


def dress(fd: int, place: Place, old: Access | None, mode: CreateMode, path: str, *, need: int, mark: int = 0) -> int:
    """Dress an open new file; returns its mode. ``mark``: what it has instead of the owner's bits, until it is set.

    Raises OSError; Refused where the file system keeps no ACL and somebody would lose what he needs (READ, WRITE).
    """
    given = place.given(fd)
    made = wanted(old, mode, given)
    if made.label is not None:
        with contextlib.suppress(PermissionError):
            change("setxattr", os.setxattr, fd, LABEL, made.label)
    if made.acl is not None and not _set_acl(fd, place, old, made.acl):
        assert old is not None  # else the entries are those of the directory, which keeps ACLs then
        lost = list(_losers(old, mode, given.group, given.user, need, acls=False))
        if lost:
            raise Refused(_told(path, old, lost, _accept(old, given.group)))
        bits = _bits(old, mode)
        made = Dress(bits & 0o707 | _own_group(old, mode, bits, given.group) << 3)
    change("chmod", os.fchmod, fd, mark | made.mode & 0o077 if mark else made.mode)
    return made.mode


def _set_acl(fd: int, place: Place, old: Access | None, acl: bytes) -> bool:
    """False: nobody would be let in by it. Raises OSError where it should have been kept."""
    keeps = place.keeps_acls()
    if not keeps and not (old is not None and old.named):
        return False
    try:
        change("setxattr", os.setxattr, fd, ACL, acl)
    except OSError as error:
        if keeps and error.errno not in _NO_ACL:
            raise
        return False
    return True


# ---------------------------------------------------------------- who would lose


class Lost(Struct, frozen=True):
    """Somebody who could read or write the old file, and could not do that with the new one."""

    party: Party
    bits: int
    unmapped: bool

    def __str__(self) -> str:
        tag, number = self.party
        name = user_name(number) if tag == USER else f"group {group_name(number)}"
        return f"{name} (not mapped here)" if self.unmapped else name


def why_closed(log: str, status: os.stat_result, ground: Ground, rule: LogSpec) -> Problem | None:
    """Why we could not rotate a log by this rule, though the directory may be written, and what helps."""
    us, owner, place = ground.user, status.st_uid, ground.status
    if us in (0, owner):
        return None
    copied = rule.method is Method.COPYTRUNCATE
    if not copied and place.st_mode & stat.S_ISVTX and us != place.st_uid:
        what = f"belongs to {user_name(owner)}, and nobody else may rename it in a sticky directory"
        return Problem(subject=log, problem=what, advice=run_as(owner), kind=CLOSED)
    need = (READ | WRITE) if copied else READ
    if status.st_mode & need == need or os.access(log, need, effective_ids=True):  # the same numbers as R_OK and W_OK
        return None
    what = f"belongs to {user_name(owner)}, and {user_name(us)} may not {'write' if copied else 'read'} it"
    entry = f"setfacl -m u:{user_name(us)}:{'rw' if copied else 'r'} {typed(log)}"
    advice = f"as {user_name(owner)}: {entry}" if ground.acls else run_as(owner)
    return Problem(subject=log, problem=what, advice=advice, kind=CLOSED)


def why_locked_out(
    log: str, status: os.stat_result, ground: Ground, rule: LogSpec, asked: Callable[[], int | None]
) -> Problem | None:
    """Why a rotation by this rule would lock somebody out of the log or its archives, and what helps; None: nobody.

    ``asked``: the user whose process is asked to reopen the log, which its owner may not be allowed to.
    """
    us, foreign = ground.user, is_unmapped(USER, status.st_uid) or is_unmapped(GROUP, status.st_gid)
    if (status.st_uid, status.st_gid) == (us, ground.group) or (ground.acls and not foreign):
        return None
    old = by_stat(status)
    lost = list(_lost_by(rule, old, us, ground.group, acls=ground.acls))
    return _told(log, old, lost, _way_out(old, ground, rule, us, asked())) if lost else None


def _lost_by(rule: LogSpec, old: Access, us: int, group: int, *, acls: bool) -> Iterator[Lost]:
    copied = rule.method is Method.COPYTRUNCATE
    if rule.create and not copied:
        yield from _losers(old, rule.create_mode, group, us, READ | WRITE, acls=acls)
    if copied or rule.compress is not Codec.NONE:
        yield from _losers(old, KEEP, group, us, READ, acls=acls)


def _losers(old: Access, mode: CreateMode, group: int, us: int, need: int, *, acls: bool) -> Iterator[Lost]:
    bits = _bits(old, mode)
    own, other = _own_group(old, mode, bits, group), bits & 7
    for (tag, number), had in (
        ((USER, old.owner), old.mode >> 6),
        ((GROUP, old.group), old.mode >> 3 & 7),
        *_effective(old),
    ):
        had &= (bits >> 6 if tag == USER else bits >> 3) if isinstance(mode, int) else 7
        unmapped = is_unmapped(tag, number)
        if number == 0 or (tag, number) in ((USER, us), (GROUP, group)) or (acls and not unmapped):
            continue
        has = own if tag == USER and group in groups_of(number) else other
        missing = had & need & ~has
        if missing and (tag == USER or not _is_only(number, {us, 0, old.owner})):
            yield Lost((tag, number), missing, unmapped)


def _effective(old: Access) -> Iterator[tuple[Party, int]]:
    return ((party, old.allowed(party)) for party in old.named)


def _is_only(gid: int, known: set[int]) -> bool:
    """Has the group no members but these? One without any may be that of a setgid program, such as utmp."""
    members = members_of(gid)
    return bool(members) and members <= known


def _told(log: str, old: Access, lost: Iterable[Lost], advice: str) -> Problem:
    lost = tuple(lost)
    names = " and ".join(dict.fromkeys(map(str, lost)))
    what = "read" if all(each.bits == READ for each in lost) else "write"
    mapped = any(not each.unmapped for each in lost)
    cause = ": its file system keeps no ACLs that could let them in" if mapped else ""
    belongs = f"belongs to {user_name(old.owner)}:{group_name(old.group)} ({old.mode:04o})"
    return Problem(
        subject=log, problem=f"{belongs}, and {names} could not {what} what a rotation makes{cause}", advice=advice
    )


def _way_out(old: Access, ground: Ground, rule: LogSpec, us: int, asked: int | None) -> str:
    """The first that would leave nobody locked out."""
    status, owner, directory = ground.status, old.owner, ground.path
    own = status.st_gid if status.st_mode & stat.S_ISGID else primary_group(owner)
    may_ask = asked in (None, owner)
    if (
        may_ask
        and owner not in (0, us)
        and own is not None
        and _may_write(status, owner)
        and not _any_lost(rule, old, owner, own)
    ):
        return run_as(owner)
    for group in dict.fromkeys((old.group, *sorted(groups_of(owner)))):
        if not is_unmapped(GROUP, group) and not _any_lost(rule, old, us, group):
            by = "" if us == 0 else "as root: "
            return f"{by}chgrp {group_name(group)} {typed(directory)} && chmod g+s {typed(directory)}"
    return _accept(old, ground.group)


def _accept(old: Access, group: int) -> str:
    """An explicit mode is obeyed; this one lets in nobody who was not, whoever the new file's owner and group are."""
    mode = old.mode & 0o606 | (old.allowed((GROUP, group)) & 6) << 3
    return f'set create_mode = "{mode:04o}" in its rule to accept that'


def _any_lost(rule: LogSpec, old: Access, us: int, group: int) -> bool:
    return any(_lost_by(rule, old, us, group, acls=False))


def _may_write(directory: os.stat_result, uid: int) -> bool:
    if uid == directory.st_uid:
        return directory.st_mode & 0o300 == 0o300
    return directory.st_mode >> (3 if directory.st_gid in groups_of(uid) else 0) & 3 == 3
