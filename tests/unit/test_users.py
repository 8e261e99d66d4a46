"""Other users really are other users, and can run Python all the same."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from tests.support import command, rights, users
from tests.support.fixtures import world_tree
from tests.support.need import need


@pytest.fixture(autouse=True)
def root() -> None:
    need(os.geteuid() == 0, "root, to become another user")


def who_am_i() -> tuple[tuple[int, int, int], list[int], bool]:
    import sqlite3  # noqa: F401  a late import must work as that user too

    return os.getresuid(), os.getgroups(), bool(os.listdir("/proc/self/fd"))


def test_function_runs_as_the_user() -> None:
    """Uid, groups and /proc are the user's own, and what it may not do fails."""
    there = pwd.getpwnam("www-data")
    assert users.as_user("www-data", who_am_i) == ((there.pw_uid,) * 3, [there.pw_gid], True)
    assert os.geteuid() == 0
    with pytest.raises(PermissionError) as caught:
        users.as_user("www-data", open, "/etc/shadow")
    assert "in the fork" in caught.value.__notes__[0]


def test_unpicklable_answer_is_an_error() -> None:
    """A result that cannot travel is said, not lost."""
    with pytest.raises(Exception, match="pickle"):
        users.in_fork(lambda: lambda: None)


def test_dead_fork_is_an_error() -> None:
    """A fork that dies without an answer is no success."""
    with pytest.raises(ChildProcessError):
        users.in_fork(lambda: os._exit(3))


@pytest.mark.parametrize("who", ["www-data", 54321])
def test_program_runs_as_the_user(who: str | int) -> None:
    """The interpreter with the packages of the venv runs as anybody, without capabilities."""
    code = "import os, pytest; print(os.getresuid()); open('made', 'w')"
    with world_tree(who) as world:
        result = command.run([sys.executable, "-c", code], user=who, cwd=world, check=0)
        uid = users.user(who).uid
        assert result.stdout == f"({uid}, {uid}, {uid})\n"
        assert os.stat(world / "made").st_uid == uid


def test_traceback_never_passes() -> None:
    """No exit code excuses a traceback."""
    with pytest.raises(AssertionError, match="a traceback"):
        command.run([sys.executable, "-c", "1 / 0"])


def test_world_is_gone_afterwards() -> None:
    """The tree is reachable by everyone, and removed."""
    with world_tree() as world:
        assert users.as_user("www-data", os.path.isdir, os.fspath(world))
    assert not Path(world).exists()


def test_rights_are_those_that_the_kernel_gives() -> None:
    """Owner, member of the group, anybody, and root, whoever was asked before; the tests stay root."""
    who = {**rights.actors(), "root": users.user(0)}
    with world_tree() as folder:
        for name, mode, owner in (("log", 0o640, "www-data:adm"), ("open", 0o646, "games:games")):
            (folder / name).touch()
            rights.chown(folder / name, owner)
            (folder / name).chmod(mode)
        log, public = rights.rights([folder / "log", folder / "open"], who)
    assert {name: may for name, may in log.items() if may} == {"www-data": "rw", "in adm": "r", "root": "rw"}
    assert {name for name, may in public.items() if may != "rw"} == {"in games"} and public["in games"] == "r"
    assert os.getresuid() == (0, 0, 0)
