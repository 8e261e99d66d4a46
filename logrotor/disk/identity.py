"""Who we run as. Started as root with ``run_as``, the process becomes that user once, for good."""

from __future__ import annotations

import os
import pwd

from logrotor.errors import StateError


def become(user: str) -> None:
    """Give up root for ``user``: groups, gid, uid, in this order (setgroups(2)). The environment stays.

    Raises StateError if the user does not exist, or if we are neither root nor that user.
    """
    try:
        record = pwd.getpwnam(user)
    except KeyError:
        raise StateError(f'run_as = "{user}": no such user on this system') from None
    if os.geteuid() == record.pw_uid:
        return
    if os.geteuid() != 0:
        raise StateError(
            f'run_as = "{user}": only root can become another user, and this is uid {os.geteuid()}; '
            f"start logrotor as root or as {user}, or remove run_as"
        )
    os.setgroups(os.getgrouplist(user, record.pw_gid))
    os.setgid(record.pw_gid)
    os.setuid(record.pw_uid)
