"""A lock or a temp that a stopped run or another user holds: not a word within a minute, then by each who is asked."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from logrotor import Rotator, load_config
from logrotor.disk import holders, proc
from logrotor.errors import Locked
from logrotor.observe.attention import Thresholds, attention
from logrotor.observe.checks import storage
from logrotor.observe.status import status
from tests.support import command, users
from tests.support.supervisor import wait_for

TURN = """
import os, sys
from logrotor.disk.turns import Turns
turns = Turns(os.open(sys.argv[1], os.O_RDONLY), sys.argv[1])
turns.begin("app.log")
print(flush=True)
sys.stdin.read()
"""
TEMP = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(fd, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""
STATE = """
import sys
from logrotor.disk import state
with state.locked(sys.argv[1], 5, lambda: False):
    print(flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(code: str, *words: object, stopped: bool = True) -> Iterator[int]:
    """A process that holds something, and is stopped; gives its pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=command.environment(),
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        if stopped:
            process.send_signal(signal.SIGSTOP)
            wait_for(lambda: proc.state(process.pid) == "stopped")
        yield process.pid
    finally:
        process.kill()
        process.communicate()


BEGUN = time.time()


def told(here, after: float) -> list[tuple[str, str, int]]:
    """What a run says of what is held, ``after`` seconds from now: subject, kind, how many wait."""
    found = []

    def on_event(event):
        if event.name == "lock.held":
            found.append((event.subject, event.kind, event.fields["waiting"]))

    at = time.time() + after
    assert Rotator(here.config, on_event=on_event, clock=lambda: at).run().exit_code == 0
    return found


def at(here, after: float, begun: float | None = None):
    """status and doctor at that moment: subjects."""
    from datetime import timedelta

    seen = here.seen(datetime.fromtimestamp(time.time() if begun is None else begun, UTC) + timedelta(seconds=after))
    status_told = {each.subject for each in attention(status(seen), Thresholds()) if each.code == "problem"}
    return status_told, {each.subject for each in storage.locks(seen)}


def test_a_stopped_run_that_has_a_logs_turn(here):
    """exit 0 and silence in every run; now the run, status and doctor name its process after a minute."""
    here.log()
    lock = str(here.logs / ".logrotor.lock")
    with holder(TURN, here.logs) as pid:
        assert told(here, 30) == []
        assert told(here, 90) == [(lock, "stopped", 1)]
        assert at(here, 30)[0] == set()
        assert at(here, 90) == ({lock}, {lock})
        problem = holders.stuck(lock, time.time() + 90, here.seen().processes)
        assert str(pid) in problem.problem and f"kill -CONT {pid}" in problem.advice
        os.kill(pid, signal.SIGCONT)  # the advice works
        wait_for(lambda: proc.state(pid) != "stopped")
        assert told(here, 90) == [] and at(here, 90) == (set(), set())
        assert told(here, 4000) == [(lock, "slow", 1)]
    assert told(here, 90) == [] and (here.logs / "app.log.1.zst").exists()


def test_a_stopped_run_that_has_a_temp(here):
    """The archive waits for it."""
    here.log("app.log.1")
    here.log(size=10)
    temp = here.logs / ".app.log.1.zst.tmp"
    with holder(TEMP, temp):
        assert told(here, 30) == []
        assert {subject for subject, kind, _ in told(here, 90) if kind == "stopped"} == {str(temp)}
        assert at(here, 90) == ({str(temp)}, {str(temp)})
    assert told(here, 90) == []


def test_a_stopped_run_that_has_the_temp_of_the_metrics(here, logrotor, monkeypatch):
    """Another run that writes them is no failure; a stopped one is named."""
    here.configure('[metrics]\ntextfile = "x.prom"')
    with holder(TEMP, here.folder / ".x.prom.tmp"):
        assert logrotor("run", code=0).err == ""
        monkeypatch.setattr(holders, "PATIENCE", 0.0)
        said = json.loads(logrotor("run", code=0).err)
        assert (said["event"], said["level"]) == ("lock.held", "warning") and ".x.prom.tmp" in said["error"]


def test_a_stopped_run_that_has_the_state(here, logrotor):
    """Named at once, by each who is asked, and nobody waits for it; not each minute."""
    here.log()
    here.configure(head="lock_timeout = 600")
    here.run()
    here.log()
    lock = str(here.state / "lock")
    with holder(STATE, here.state) as pid:
        assert at(here, 0) == ({lock}, {lock})
        with pytest.raises(Locked) as caught:
            Rotator(here.config).run()
        assert caught.value.problem.kind == "stopped" and f"kill -CONT {pid}" in caught.value.problem.advice
        assert logrotor("status", "--json", code=0).json["under_way"] is None
        assert f"kill -CONT {pid}" in logrotor("plan", code=0).out
        (said,) = map(json.loads, logrotor("run", "-v", code=3).err.splitlines())
        assert f"kill -CONT {pid}" in said["error"]
        said = json.loads(logrotor("run", code=3).err)
        assert (said["event"], said["level"]) == ("lock.held", "warning") and lock in said["error"]
        assert logrotor("run", code=3).err == ""
        assert "kill -CONT" in logrotor("status", "--check", code=1).out
    assert logrotor("run", code=0).err.count("problem.ended") == 1


def test_a_healthy_run_beside_ours_is_not_worth_a_word(here, logrotor, monkeypatch):
    """Whatever it holds."""
    here.log()
    here.run()
    here.log()
    here.configure(head="lock_timeout = 0.1")
    monkeypatch.setattr(holders, "PATIENCE", 0.0)
    with holder(STATE, here.state, stopped=False):
        assert logrotor("run", code=3).err == "" and at(here, 90) == (set(), set())
    with holder(TURN, here.logs, stopped=False):
        assert logrotor("run", "--force", code=0).err == ""


@pytest.mark.parametrize("what", ["lock", "temp"])
def test_what_a_member_of_the_group_holds(here, what):
    """His process may not be seen: after a minute it is said whose it is."""
    here.folder.chmod(0o755)
    here.logs.chmod(0o777 | 0o1000)
    owner = users.user("www-data")
    here.log("app.log.1" if what == "temp" else "app.log")
    here.state.mkdir(mode=0o700)
    for path in (here.state, *here.logs.iterdir()):
        os.chown(path, owner.uid, owner.gid)
    path = here.logs / (".logrotor.lock" if what == "lock" else ".app.log.1.zst.tmp")
    path.touch(0o600 if what == "lock" else 0o644)
    os.chown(path, 65534, 65534)
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for after, kinds in ((30, []), (90, ["unseen"])):
            found = users.as_user("www-data", _kinds, str(here.file), after)
            assert sorted(set(found)) == kinds, after


def run_at(here, after: float, **more):
    """What a run says whose clock stands ``after`` seconds from now: kinds, and how many wait."""
    found, at = [], BEGUN + after
    on_event = lambda event: found.append((event.kind, event.fields["waiting"])) if event.name == "lock.held" else None  # noqa: E731
    now = datetime.fromtimestamp(at, UTC)
    assert Rotator(here.config, on_event=on_event, clock=lambda: at).run(now, **more).exit_code == 0
    return found


def test_a_lock_that_is_made_anew_each_half_minute(here):
    """It is never a minute old, and so was never named: what counts is since when our runs could not get it."""
    here.log()
    lock = here.logs / ".logrotor.lock"
    for number in range(8):
        lock.unlink(missing_ok=True)
        with holder(TURN, here.logs):
            said = run_at(here, 20 * number - 5000)
            assert said == ([] if number < 4 else [("stopped", 1)]), number
            status_told, doctor_told = at(here, 20 * number - 5000, BEGUN)
            assert status_told == doctor_told == (set() if number < 4 else {str(lock)})
    said = [each for each in attention(status(here.seen()), Thresholds()) if each.code == "problem"]
    assert said == [], "as soon as it is free"
    assert run_at(here, -4830) == [] and (here.logs / "app.log.1.zst").exists()
    here.log()
    with holder(TURN, here.logs):
        assert run_at(here, -4820) == [], "and it begins anew"


def test_a_healthy_run_that_is_met_now_and_then(here):
    """A run without anything to do lies between: nobody was kept out all the time."""
    here.log()
    for number in range(8):
        (here.logs / ".logrotor.lock").unlink(missing_ok=True)
        with holder(TURN, here.logs):
            assert run_at(here, 100 * number - 5000) == []
        os.rename(here.logs / "app.log", here.folder / "app.log")
        assert run_at(here, 100 * number - 4950) == []
        os.rename(here.folder / "app.log", here.logs / "app.log")


def test_a_lock_that_cannot_be_looked_at(here, monkeypatch):
    """Nobody knows how old it is, so the age of what our runs met counts."""
    here.log()
    lock = str(here.logs / ".logrotor.lock")
    with holder(TURN, here.logs):

        def closed(path, now):
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr(holders, "age", closed)
        for after, told in ((0, []), (30, []), (70, ["stopped"])):
            assert [kind for kind, _ in run_at(here, after)] == told
            assert at(here, after, BEGUN)[1] == ({lock} if told else set())


def _kinds(file: str, after: float) -> list[str]:
    found: list[str] = []
    now = time.time() + after
    rotator = Rotator(
        load_config(file, environ={}), clock=lambda: now,
        on_event=lambda event: found.append(event.kind) if event.name == "lock.held" else None,
    )  # fmt: skip
    assert rotator.run().exit_code == 0
    return found
