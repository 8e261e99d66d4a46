"""The state directory: ours alone, one run at a time, and nothing planted there is touched."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from logrotor import Rotator, load_config
from logrotor.disk import state
from logrotor.errors import Interrupted, Locked, StateError
from logrotor.model import Problem
from tests.support import command, mounts, oracle, users
from tests.support.fixtures import world_tree
from tests.support.need import need


def rotator(root: Path, state_dir: str = "state", lock_timeout: str = "1s", stop: bool = False) -> Rotator:
    logs = root / "logs"
    if not logs.exists():
        logs.mkdir()
        (logs / "app.log").write_bytes(oracle.lines("w1", 1, 100))
    rule = {"name": "app", "paths": [str(logs / "*.log")], "max_size": "1K"}
    config = {"state_dir": str(root / state_dir), "log": [rule], "lock_timeout": lock_timeout}
    return Rotator(load_config(config, environ={}), stop=lambda: stop)


def refused(root: Path, state_dir: str = "state") -> Problem:
    """Why a run is refused; the log is untouched."""
    made = rotator(root, state_dir)
    with pytest.raises(StateError) as caught:
        made.run()
    assert os.listdir(root / "logs") == ["app.log"]
    return caught.value.problem


def test_it_is_ours_alone(tmp_path: Path) -> None:
    """It is made with its parents, 0700, and holds files of mode 0600 only, whatever the umask is."""
    rotator(tmp_path)
    old = os.umask(0)
    try:
        rotator(tmp_path, "some/where/state").run()
    finally:
        os.umask(old)
    folder = tmp_path / "some/where/state"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {
        "lock": 0o600, "history.sqlite": 0o600, "last-run": 0o600, "samples.sqlite": 0o600,
    }  # fmt: skip


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_one_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Nothing runs with a state directory in which others could plant files. The sticky bit does not help, so it is
    not advised; a place that has it is shared, and not closed either."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    advice = refused(tmp_path).advice
    assert advice.startswith(f"chmod 0700 {tmp_path}/state") == (mode != 0o1777)
    assert f'state_dir = "{tmp_path}/state/state"' in advice and "+t" not in advice
    assert os.listdir(tmp_path / "state") == []


def test_one_of_another_user_is_refused(tmp_path: Path) -> None:
    """Root does not work in a state directory of somebody else, who could put links there; nor in a place where
    somebody else could put another one."""
    need(os.geteuid() == 0, "root, to give a folder away")
    (tmp_path / "state").mkdir(mode=0o700)
    os.chown(tmp_path / "state", 33, 33)
    assert "www-data" in str(refused(tmp_path))
    assert os.listdir(tmp_path / "state") == []
    os.chown(tmp_path, 33, 33)
    with pytest.raises(StateError, match="www-data"):
        state.refuse_impossible(f"{tmp_path}/missing", "origin")


@pytest.mark.parametrize(
    ("owner", "mode", "advice"),
    [(33, 0o500, "chmod 0700 {}"), (0, 0o755, 'name a directory of its own, such as state_dir = "{}/state" in the')],
)
def test_one_that_cannot_be_written_is_refused(owner: int, mode: int, advice: str) -> None:
    """The error says why and what to do, and not to give away a directory that is there; the logs are untouched."""
    with world_tree("www-data") as root:
        (root / "state").mkdir()
        (root / "state").chmod(mode)
        os.chown(root / "state", owner, owner)
        found = users.as_user("www-data", refused, root)
        assert f"{root}/state" in found.subject and "uid 33" in found.problem
        assert found.advice.startswith(advice.format(f"{root}/state")) and "install" not in found.advice


def test_a_read_only_file_system(tmp_path: Path) -> None:
    """A state directory on a read-only file system: the same, also for root."""
    (tmp_path / "read-only").mkdir()
    with mounts.read_only(tmp_path / "read-only"):
        assert f"{tmp_path}/read-only/state" in refused(tmp_path, "read-only/state").subject


def test_a_parent_that_cannot_be_written() -> None:
    """Where it cannot even be made, each way to a directory is named."""
    with world_tree("www-data") as root:
        (root / "closed").mkdir(mode=0o755)
        found = users.as_user("www-data", refused, root, "closed/state")
    for way in ('state_dir = "', "STATE_DIRECTORY", f"install -d -m 0700 -o 33 {root}/closed/state"):
        assert way in found.advice


@pytest.mark.parametrize("below", ["", "/deep/er"])
def test_a_file_in_its_place_is_named(tmp_path: Path, below: str) -> None:
    """A file where the directory or one above it should be: which one, and no advice to change its owner."""
    (tmp_path / "file").touch()
    found = refused(tmp_path, f"file{below}")
    assert found.problem.startswith(f"{tmp_path}/file is") and "install" not in found.advice


def test_what_a_run_would_refuse_is_known_before(tmp_path: Path) -> None:
    """`check` and `plan` say the same as the run, and create nothing; where the run would create it, all is well."""
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for place in ("file", "file/below", "open", "open/below"):
        with pytest.raises(StateError) as beforehand:
            state.refuse_impossible(f"{tmp_path}/{place}", "origin")
        with pytest.raises(StateError) as in_the_run:
            state.prepare(f"{tmp_path}/{place}", "origin")
        assert str(beforehand.value) == str(in_the_run.value)
    state.refuse_impossible(f"{tmp_path}/a/b/c", "origin")
    assert sorted(os.listdir(tmp_path)) == ["file", "open"] and os.listdir(tmp_path / "open") == []


# ---------------------------------------------------------------- planted


def link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "victim")


def dangling(path: Path) -> None:
    path.symlink_to(path.parent.parent / "nothing")


def hard_link(path: Path) -> None:
    os.link(path.parent.parent / "victim", path)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


PLANTS = [link, dangling, hard_link, fifo, folder, unix_socket]


@pytest.mark.parametrize("name", [state.LOCK, state.LAST_RUN])
@pytest.mark.parametrize("plant", PLANTS)
def test_what_is_planted_is_refused(tmp_path: Path, name: str, plant: Callable[[Path], None]) -> None:
    """In place of the lock or the mark stands something else: nothing is followed, opened or removed; nothing runs."""
    (tmp_path / "victim").write_bytes(b"precious\n")
    (tmp_path / "state").mkdir(mode=0o700)
    plant(tmp_path / "state" / name)
    assert refused(tmp_path).subject == f"{tmp_path}/state/{name}"
    assert (tmp_path / "victim").read_bytes() == b"precious\n"
    assert os.listdir(tmp_path / "state") == [name] and not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("beside", ["", "-journal", "-wal", "-shm"])
@pytest.mark.parametrize("plant", PLANTS)
def test_what_is_planted_as_the_history_is_set_aside(
    tmp_path: Path, beside: str, plant: Callable[[Path], None]
) -> None:
    """It is not followed, opened or removed either, and rotation does not depend on it."""
    (tmp_path / "victim").write_bytes(b"precious\n")
    (tmp_path / "state").mkdir(mode=0o700)
    plant(tmp_path / "state" / f"history.sqlite{beside}")
    report = rotator(tmp_path).run()
    assert report.exit_code == 0 and report.rotated == 1
    assert (tmp_path / "victim").read_bytes() == b"precious\n"
    assert os.path.lexists(tmp_path / "state" / f"history.sqlite.damaged-1{beside}")
    assert (tmp_path / "state" / "history.sqlite").is_file() and not (tmp_path / "nothing").exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_plan_does_not_hang_on_what_is_planted(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    """`logrotor plan` opens no FIFO and follows no link either: it refuses, or does without."""
    rotator(tmp_path)
    (tmp_path / "victim").write_bytes(b"precious\n")
    (tmp_path / "state").mkdir(mode=0o700)
    plant(tmp_path / "state" / state.HISTORY)
    config = tmp_path / "logrotor.toml"
    config.write_text('state_dir = "state"\n[[log]]\nname = "app"\npaths = ["logs/*.log"]\nmax_size = "1K"\n')
    result = command.logrotor("plan", "-c", config, timeout=30)
    assert result.code in (0, 2), result
    assert (tmp_path / "victim").read_bytes() == b"precious\n"


def test_a_state_directory_behind_a_link(tmp_path: Path) -> None:
    """The directory itself may be reached through a link: it is the user's own setting."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to("real")
    assert rotator(tmp_path).run().exit_code == 0
    assert sorted(os.listdir(tmp_path / "real")) == ["history.sqlite", "last-run", "lock", "samples.sqlite"]


# ---------------------------------------------------------------- one at a time


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """While another run holds the lock, this one waits for lock_timeout and says so; then it can go on."""
    made = rotator(tmp_path)
    (tmp_path / "state").mkdir(mode=0o700)
    with state.locked(str(tmp_path / "state"), 1.0, lambda: False), pytest.raises(Locked):
        made.run()
    assert made.run().exit_code == 0


def test_an_idle_run_needs_no_lock(tmp_path: Path) -> None:
    """With nothing to do a run does not wait, and leaves its mark all the same."""
    made = rotator(tmp_path)
    made.run()
    os.utime(tmp_path / "state/last-run", (1, 1))
    with state.locked(str(tmp_path / "state"), 1.0, lambda: False):
        assert made.run().plan.is_idle
    assert (tmp_path / "state/last-run").stat().st_mtime > 1


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    """A run that died leaves its lock file, and no lock."""
    made = rotator(tmp_path)

    def die() -> None:
        with state.locked(str(tmp_path / "state"), 1.0, lambda: False):
            os._exit(9)

    (tmp_path / "state").mkdir(mode=0o700)
    with pytest.raises(ChildProcessError):
        users.in_fork(die)
    inode = (tmp_path / "state/lock").stat().st_ino
    assert made.run().rotated == 1
    assert (tmp_path / "state/lock").stat().st_ino == inode, "it is never replaced"


def test_many_threads_at_once(tmp_path: Path) -> None:
    """Runs of one program in several threads take turns: one rotates, the others find nothing to do."""
    rotator(tmp_path)
    reports = []
    run = lambda: reports.append(rotator(tmp_path, lock_timeout="5m").run())  # noqa: E731
    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.rotated for report in reports) == [0, 0, 0, 0, 0, 1]
    assert [report.exit_code for report in reports] == [0] * 6
    oracle.count(tmp_path / "logs", "app.log", expected={"w1": 100}).check()


def test_an_interrupted_wait(tmp_path: Path) -> None:
    """Asked to stop while it waits for the lock, a run ends soon and changes nothing."""
    rotator(tmp_path)
    (tmp_path / "state").mkdir(mode=0o700)
    place = str(tmp_path / "state")
    with state.locked(place, 1.0, lambda: False):
        with pytest.raises(Interrupted), state.locked(place, 3600.0, lambda: True):
            raise AssertionError("it got a lock that somebody holds")
        assert rotator(tmp_path, lock_timeout="1h", stop=True).run().interrupted
    assert os.listdir(tmp_path / "logs") == ["app.log"]
