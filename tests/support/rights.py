"""Who may really do what: processes of several users open the files. No rule is asked, only the kernel."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support import users
from tests.support.users import User

Rights = Mapping[str, str]  # the name of an actor -> "", "r", "w" or "rw"


def actors() -> dict[str, User]:
    """Owners, members of the groups that logs have, and somebody who has nothing to do with any of it."""
    member = {
        group: users.user(30_000 + n, groups=[group]) for n, group in enumerate(("adm", "utmp", "www-data", "games"))
    }
    known = {name: users.user(name) for name in ("www-data", "nobody", "games")}
    return {**known, **{f"in {group}": who for group, who in member.items()}, "stranger": users.user(30_999)}


def rights(files: Sequence[Path], who: Mapping[str, User]) -> list[Rights]:
    """What each actor may do with each of these files."""
    found = {name: users.as_user(user, _opened, list(map(str, files))) for name, user in who.items()}
    return [{name: each[index] for name, each in found.items()} for index in range(len(files))]


def _opened(files: list[str]) -> list[str]:
    return [
        "".join(letter for letter, flag in (("r", os.O_RDONLY), ("w", os.O_WRONLY)) if _may(f, flag)) for f in files
    ]


def _may(file: str, flag: int) -> bool:
    try:
        os.close(os.open(file, flag))
    except PermissionError:
        return False
    return True
