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
from tests.support import command, mounts, oracle, users
from tests.support.fixtures import world_tree
from tests.support.need import need


def rotator(root: Path, state_dir: str = "state", lock_timeout: str = "1s") -> Rotator:
    logs = root / "logs"
    if not logs.exists():
        logs.mkdir()
        (logs / "app.log").write_bytes(oracle.lines("w1", 1, 100))
    rule = {"name": "app", "paths": [str(logs / "*.log")], "max_size": "1K"}
    config = {"state_dir": str(root / state_dir), "log": [rule], "lock_timeout": lock_timeout}
    return Rotator(load_config(config, environ={}))


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
        "lock": 0o600, "history.sqlite": 0o600, "last-run": 0o600
    }  # fmt: skip


@pytest.mark.parametrize(("mode", "advice"), [(0o777, "chmod 0700 {}"), (0o770, "chmod 0700 {}"), (0o1777, "name a")])
def test_one_that_others_may_write_is_refused(tmp_path: Path, mode: int, advice: str) -> None:
    """Nothing runs with a state directory in which others could plant files. The sticky bit does not help, so it is
    not advised; a place that has it is shared, and not closed either."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    with pytest.raises(StateError) as caught:
        rotator(tmp_path).run()
    assert f"others may write there; {advice.format(tmp_path / 'state')}" in str(caught.value)
    assert f'state_dir = "{tmp_path}/state/state"' in str(caught.value) and "+t" not in str(caught.value)
    assert os.listdir(tmp_path / "logs") == ["app.log"] and os.listdir(tmp_path / "state") == []


def test_one_of_another_user_is_refused(tmp_path: Path) -> None:
    """Root does not work in a state directory of somebody else, who could put links there."""
    need(os.geteuid() == 0, "root, to give a folder away")
    (tmp_path / "state").mkdir(mode=0o700)
    os.chown(tmp_path / "state", 33, 33)
    with pytest.raises(StateError, match="belongs to www-data"):
        rotator(tmp_path).run()
    assert os.listdir(tmp_path / "state") == []


def read_only(folder: Path) -> None:
    folder.chmod(0o500)


def of_root(folder: Path) -> None:
    os.chown(folder, 0, 0)


def of_root_and_open(folder: Path) -> None:
    of_root(folder)
    folder.chmod(0o755)


@pytest.mark.parametrize(
    ("close", "told"),
    [
        (read_only, "its mode is 0500; chmod 0700 {}"),
        (of_root_and_open, 'it belongs to root; name a directory of its own, such as state_dir = "{}/state" in the'),
    ],
)
def test_one_that_cannot_be_written_is_refused(close: Callable[[Path], None], told: str) -> None:
    """The error says why and what to do, and not to give away a directory that is there; the logs are untouched."""
    with world_tree("www-data") as root:
        users.as_user("www-data", _prepare, root)
        (root / "state").mkdir(mode=0o700)
        os.chown(root / "state", 33, 33)
        close(root / "state")
        with pytest.raises(StateError) as caught:
            users.as_user("www-data", _run, root)
        message = str(caught.value)
        assert f"state_dir {root}/state" in message and "cannot be written by uid 33" in message
        assert told.format(f"{root}/state") in message and "install" not in message
        assert os.listdir(root / "logs") == ["app.log"]


def _prepare(root: Path) -> None:
    rotator(root)


def _run(root: Path) -> None:
    rotator(root).run()


def test_a_read_only_file_system(tmp_path: Path) -> None:
    """A state directory on a read-only file system: the same, also for root."""
    (tmp_path / "read-only").mkdir()
    with mounts.read_only(tmp_path / "read-only"), pytest.raises(StateError, match="cannot be written by uid"):
        rotator(tmp_path, "read-only/state").run()
    assert os.listdir(tmp_path / "logs") == ["app.log"]


def test_a_parent_that_cannot_be_written() -> None:
    """Where it cannot even be made, the error says the same."""
    with world_tree() as root, pytest.raises(StateError) as caught:
        users.as_user("www-data", _run_in_a_closed_folder, root)
    for way in ('state_dir = "', "STATE_DIRECTORY", f"install -d -m 0700 -o 33 {root}/closed/state"):
        assert way in str(caught.value)


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


def test_root_is_told_beforehand_of_a_place_in_somebody_elses(tmp_path: Path) -> None:
    """Who owns the directory above could put another one there."""
    need(os.geteuid() == 0, "root, to give a folder away")
    os.chown(tmp_path, 33, 33)
    with pytest.raises(StateError, match="belongs to www-data"):
        state.refuse_impossible(f"{tmp_path}/state", "origin")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("below", ["", "/deep/er"])
def test_a_file_in_its_place_is_named(tmp_path: Path, below: str) -> None:
    """A file where the directory or one above it should be: which one, and no advice to change its owner."""
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=f"{tmp_path}/file is a file; name a directory of its own, such as state_dir"):
        rotator(tmp_path, f"file{below}").run()


def _run_in_a_closed_folder(root: Path) -> None:
    rule = {"name": "app", "paths": [f"{root}/*.log"], "max_size": "1K"}
    Rotator(load_config({"state_dir": f"{root}/closed/state", "log": [rule]}, environ={})).run()


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


@pytest.mark.parametrize("name", [state.LOCK, state.HISTORY, state.LAST_RUN])
@pytest.mark.parametrize("plant", [link, dangling, hard_link, fifo, folder, unix_socket])
def test_what_is_planted_is_refused(tmp_path: Path, name: str, plant: Callable[[Path], None]) -> None:
    """In place of lock, history or mark stands something else: nothing is followed, opened or removed; nothing runs."""
    made = rotator(tmp_path)
    (tmp_path / "victim").write_bytes(b"precious\n")
    (tmp_path / "state").mkdir(mode=0o700)
    plant(tmp_path / "state" / name)
    with pytest.raises(StateError, match=f"{name}: not a regular file with one name only; look at it, then remove it"):
        made.run()
    assert (tmp_path / "victim").read_bytes() == b"precious\n"
    assert os.listdir(tmp_path / "logs") == ["app.log"]
    assert os.listdir(tmp_path / "state") == [name] and not (tmp_path / "nothing").exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("plant", [link, dangling, hard_link, fifo, folder, unix_socket])
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
    assert sorted(os.listdir(tmp_path / "real")) == ["history.sqlite", "last-run", "lock"]


# ---------------------------------------------------------------- one at a time


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """While another run holds the lock, this one waits for lock_timeout and says so; then it can go on."""
    made = rotator(tmp_path)
    (tmp_path / "state").mkdir(mode=0o700)
    with state.locked(str(tmp_path / "state"), 1.0, lambda: False), pytest.raises(Locked, match=r"waited 1 s"):
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
    config = load_config(
        {
            "state_dir": str(tmp_path / "state"),
            "lock_timeout": "1h",
            "log": [{"name": "app", "paths": [str(tmp_path / "logs/*.log")], "max_size": "1K"}],
        },
        environ={},
    )
    with state.locked(str(tmp_path / "state"), 1.0, lambda: False), pytest.raises(Interrupted):
        Rotator(config, stop=lambda: True).run()
    assert os.listdir(tmp_path / "logs") == ["app.log"]
