"""What the tests fork instead of starting an interpreter is, seen from outside, the same command."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import command, users
from tests.support.drivers import Driver
from tests.support.need import need

SHOW = """
import json, os, sys, time
own = os.getsid(0) == os.getpid()
print(json.dumps([os.getuid(), os.getgroups(), os.getcwd(), dict(os.environ), time.tzname[0], own]))
os.close(os.open("made", os.O_CREAT, 0o666))
print(os.stat("made").st_mode & 0o777, os.fstat(0).st_rdev == os.stat("/dev/null").st_rdev, file=sys.stderr)
os.unlink("made")
"""


@pytest.fixture
def driver() -> Iterator[Driver]:
    made = Driver(command.environment(), "tests.support.users")
    yield made
    made.close()


@pytest.mark.parametrize(
    "args", [["--version"], ["run", "--help"], ["nonsense"], ["run", "-c", "none.toml"], ["check"]]
)
def test_a_fork_says_what_an_interpreter_says(tmp_path: Path, args: list[str]) -> None:
    """Exit code and both streams, of a command that is well, of one that is misused, and of one that fails."""
    (tmp_path / "logrotor.toml").write_text(
        'state_dir = "state"\n[[log]]\nname = "a"\npaths = ["*.log"]\nmax_size = 1\n'
    )
    if "none.toml" in args:
        args = [*args, "--log-format", "logfmt"]
    forked = command.logrotor(*args, cwd=tmp_path)
    fresh = command.run(command.arguments(*args), cwd=tmp_path)
    assert (forked.code, forked.stdout) == (fresh.code, fresh.stdout)
    assert len(forked.stderr) == len(fresh.stderr)  # a timestamp may stand in it
    assert bool(forked.code) == bool(forked.stderr)


def test_where_it_runs(driver: Driver, tmp_path: Path) -> None:
    """In the directory, environment, time zone and umask that it is given, in a session of its own."""
    before = os.umask(0o027)
    try:
        driver.ask({"python": SHOW}, env={"TZ": "Asia/Tokyo"}, cwd=str(tmp_path))
    finally:
        os.umask(before)
    answer = driver.answer()
    assert answer["code"] == 0 and answer["stderr"].split() == ["416", "True"], answer
    assert json.loads(answer["stdout"])[2:] == [str(tmp_path), {"TZ": "Asia/Tokyo"}, "JST", True]


def test_as_another_user(driver: Driver) -> None:
    """With his groups, and no other."""
    need(os.geteuid() == 0, "root, to become another user")
    who = users.user("www-data")
    driver.ask({"python": SHOW}, env={}, cwd="/tmp", user=dataclasses.astuple(who))
    uid, groups, *_ = json.loads(driver.answer()["stdout"])
    assert (uid, tuple(groups)) == (who.uid, who.groups)


def test_what_is_killed_is_told(driver: Driver) -> None:
    """A signal is a negative exit code, and the driver goes on."""
    driver.ask({"python": "import time; time.sleep(1000)"}, env={})
    driver.kill()
    assert driver.answer()["code"] == -9
    driver.ask({"python": "print(1)"}, env={})
    assert driver.answer()["stdout"] == "1\n"
