"""Who may really do what: processes of several users open the files. No rule is asked, only the kernel.

And a log whose owner, group, mode, ACL and directory are whatever a test wants.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import users
from tests.support.deployment import Deployment
from tests.support.need import need
from tests.support.oracle import lines
from tests.support.users import User

LINES = lines("w1", 1, 200)

Rights = Mapping[str, str]  # the name of an actor -> "", "r", "w" or "rw"


def actors() -> dict[str, User]:
    """Owners, members of the groups that logs have, and somebody who has nothing to do with any of it."""
    member = {
        group: users.user(30_000 + n, groups=[group]) for n, group in enumerate(("adm", "utmp", "www-data", "games"))
    }
    known = {name: users.user(name) for name in ("www-data", "nobody", "games")}
    return {**known, **{f"in {group}": who for group, who in member.items()}, "stranger": users.user(30_999)}


def rights(files: Sequence[Path], who: Mapping[str, User]) -> list[Rights]:
    """What each actor may do with each of these files. One fork becomes each of them in turn."""
    need(os.geteuid() == 0, "root, to become another user")
    paths = list(map(str, files))
    found = users.in_fork(lambda: {name: _opened_as(user, paths) for name, user in who.items()})
    return [{name: each[index] for name, each in found.items()} for index in range(len(files))]


def _opened_as(user: User, files: list[str]) -> list[str]:
    """The kernel goes by the effective uid, gid and groups; the powers of root go with its uid (capabilities(7))."""
    os.setgroups(user.groups)
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        return _opened(files)
    finally:
        os.seteuid(0)
        os.setegid(0)


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


class Log(Deployment):
    """``logs/app.log`` of any owner, group and mode, in a folder of any."""

    name = "logs"

    @property
    def place(self) -> Path:
        return self.root / "fuse" if (self.root / "fuse").exists() else self.root

    def make(self, owner: str, mode: int, *, folder: str = "root:root 755", acl: str = "", default: str = "") -> Path:
        self.logs = self.folder(str(self.place.relative_to(self.root) / self.name))
        if default:
            setfacl("-d", "-m", default, self.logs)
        log = self.logs / "app.log"
        log.write_bytes(LINES)
        os.utime(log, (0, time.time() - 7200))  # where nothing is proved, an archive is quiet for an hour first
        chown(log, owner)
        log.chmod(mode)
        if acl:
            setfacl("-m", acl, log)
        owners, _, bits = folder.partition(" ")
        chown(self.logs, owners)
        self.logs.chmod(int(bits, 8))
        return log

    def rule(self, **keys: Any) -> None:
        own = {"name": "app", "paths": [str(self.logs / "app.log")], "max_size": "1K", "compress": "gzip"}
        self.configure(
            '[reopen.nobody]\nmanager = "command"\ncommand = ["true"]\n', {**own, "reopen": "nobody", **keys}
        )

    @property
    def archive(self) -> Path:
        return self.logs / "app.log.1.gz"


def setfacl(*arguments: str | Path) -> None:
    need(shutil.which("setfacl"), "setfacl and getfacl (package acl)")
    subprocess.run(["setfacl", *arguments], check=True)


def chown(path: Path, owner: str) -> None:
    user, _, group = owner.partition(":")
    os.chown(path, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)


def follow(site: Deployment, advice: str) -> None:
    """Do what it says: a command of the shell, a setting, or another user."""
    command = re.search(r"(?:chgrp|setfacl|chmod) [^,]*", advice)
    if command:
        subprocess.run(command.group(), shell=True, check=True)
    if command and ", and run" not in advice:
        return
    if found := re.search(r'run_as = "([\w-]+)"|run logrotor as ([\w-]+)', advice):
        site.user = found.group(1) or found.group(2)
        site.user = None if site.user == "root" else site.user
        shutil.rmtree(site.state, ignore_errors=True)
    else:
        (setting,) = re.findall(r'create_mode = "0[0-7]{3}"', advice)
        site.config.write_text(site.config.read_text() + f"{setting}\n")
