"""Missing evidence is not proof: where nobody could look, the answer is unknown, an error, or said."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from logrotor import Rotator, load_config
from logrotor.act import copy
from logrotor.cli.gather import ask_queue
from logrotor.config.find import find_config
from logrotor.disk import descent, files, proc
from logrotor.disk.history import History, RunHistory
from logrotor.disk.logdir import LogDir
from logrotor.disk.writers import Processes
from logrotor.errors import ConfigError
from logrotor.model import FileId
from tests.support import command, mounts, users
from tests.support.command import logrotor
from tests.support.deployment import Deployment, OneLog
from tests.support.fixtures import world_tree
from tests.support.need import need
from tests.support.oracle import lines


def test_a_writer_that_is_born_while_others_are_looked_at_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may leave its files to a child that was not there when the list was made."""
    log = tmp_path / "app.log"
    log.touch()
    status = log.stat()
    children: list[subprocess.Popen[bytes]] = []
    listed = proc.pids

    def pids() -> list[int]:
        found = listed()
        if not children:
            with log.open("ab") as file:
                children.append(subprocess.Popen(["sleep", "100"], stdout=file))
        return found

    monkeypatch.setattr(proc, "pids", pids)
    try:
        assert Processes.look().pids(FileId(status.st_dev, status.st_ino)) == (children[0].pid,)
    finally:
        children[0].kill()
        children[0].wait()


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), OSError(5, "Input/output error")])
def test_a_process_whose_files_cannot_be_read_is_unseen(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    """Neither nobody's, nor the end of the run."""
    opened = proc.opened

    def fails(pid: int) -> Iterator[proc.OpenFile]:
        if pid == os.getpid():
            raise error
        yield from opened(pid)

    monkeypatch.setattr(proc, "opened", fails)
    monkeypatch.setattr(proc, "why_not_whole", lambda: None)
    assert Processes.look().unseen is not None


def test_an_attribute_or_a_hole_that_cannot_be_asked_for_is_unknown(tmp_path: Path) -> None:
    """Nothing noted, and no data, are answers; an error is none."""
    (tmp_path / "app.log").touch()
    here = os.open(tmp_path / "app.log", os.O_PATH)
    read, write = os.pipe()
    try:
        for ask in (descent.has_noted, descent.source):
            with pytest.raises(OSError, match="descriptor"):
                ask(here)
        with pytest.raises(OSError, match="seek"):
            files.starts_with_hole(read, 1)
    finally:
        for fd in (here, read, write):
            os.close(fd)


def test_a_copy_that_cannot_be_opened_for_now_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed copytruncate is finished once its copy can be read: until then runs fail, and no line comes twice."""
    with world_tree() as root:
        site = OneLog(root, method="copytruncate", compress="none", accept_loss=False)
        need(mounts.collapses(site.logs), "a file system that can collapse a range")
        site.write(200)
        with monkeypatch.context() as killed, site.log.open("ab"):
            killed.setattr(copy, "advance", _die)
            with pytest.raises(KeyboardInterrupt):
                site.library(force=True)
        with monkeypatch.context() as closed:
            closed.setattr(LogDir, "open_archive", _refuse)
            site.library(code=1)
        site.library()
        assert site.check() == ["app.log.1"]


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def _refuse(_: LogDir, name: str, *rest: object, **more: object) -> int:
    raise PermissionError(13, "Permission denied", name)


# ---------------------------------------------------------------- what another user may not see


COUNTS = dict.fromkeys(("rotated", "failed", "deferred", "removed"), 0)


@pytest.fixture
def shut() -> Iterator[Path]:
    """A folder with one in it that is closed to www-data."""
    need(os.geteuid() == 0, "root, to become another user")
    with world_tree() as root:
        (root / "closed").mkdir(mode=0o700)
        yield root


def configured(folder: Path, *tables: str) -> Path:
    """A configuration; after the first of its parts a rule comes."""
    config = folder / "logrotor.toml"
    rule = '[[log]]\nname = "a"\npaths = ["app.log"]\nschedule = "daily"\n'
    config.write_text("\n".join([tables[0], rule, *tables[1:]]))
    return config


def test_a_plan_without_a_look_at_the_history_says_so(shut: Path) -> None:
    """A state directory of somebody else: that there is no history is not known."""
    (shut / "closed/history.sqlite").touch()
    (shut / "app.log").write_bytes(lines("w1", 1, 10))
    config = configured(shut, f'state_dir = "{shut}/closed"')
    assert "sudo -u root logrotor plan" in logrotor("plan", "-c", config, user="www-data", check=2).stderr
    notes = users.as_user("www-data", lambda: Rotator(load_config(config, environ={})).plan().notes)
    assert any("history.sqlite" in note for note in notes)


def test_a_queue_that_may_not_be_looked_at_is_a_trouble(shut: Path) -> None:
    """It is not one without jobs."""
    queue = f'[queue]\nengine = "huey"\nurl = "{shut}/closed/queue.sqlite"\n'
    loaded = load_config(configured(shut, f'state_dir = "{shut}/state"', queue), environ={})
    assert users.as_user("www-data", ask_queue, loaded, datetime.now(UTC)).problem is not None
    assert ask_queue(loaded, datetime.now(UTC)).problem is None


def test_what_is_closed_is_not_gone(shut: Path) -> None:
    """A log in a folder that was closed for a season stays known: what it had, and what may hide there."""
    log, state = shut / "closed/logs/app.log", shut / "state"
    log.parent.mkdir()
    log.touch()
    shutil.chown(state_of(state, log), "www-data")
    shutil.chown(state, "www-data")

    def remembers() -> tuple[bool, bool]:
        with closing(RunHistory(str(state))) as history:
            history.run_started(400 * 86400.0, False)
            history.run_completed(400 * 86400.0, [], COUNTS, 0)
            assert history.problems == []
        found = History(str(state)).recall().of(str(log))
        return found.last_rotation is not None, found.unclear is not None

    assert users.as_user("www-data", remembers) == (True, True)
    shutil.rmtree(shut / "closed")
    assert users.as_user("www-data", remembers) == (False, False)


def state_of(state: Path, log: Path) -> Path:
    """Made by a run of long ago."""
    state.mkdir(mode=0o700)
    with closing(RunHistory(str(state))) as history:
        history.run_started(0.0, False)
        history.rotated([str(log)], 0.0)
        history.found_unclear([str(log)])
        history.run_completed(0.0, [], COUNTS, 0)
    return Path(history.path)


def test_a_place_that_cannot_be_looked_at_does_not_count_as_missing(shut: Path) -> None:
    """Neither that of the page, nor that of a configuration."""
    (shut / "closed/page").mkdir()
    (shut / "state").mkdir()
    shutil.chown(shut / "state", "www-data")
    tables = f'state_dir = "{shut}/state"\n[page]\nfile = "{shut}/closed/page/a.html"\n'
    config = configured(shut, tables)
    found = logrotor("doctor", "--json", "-c", config, user="www-data", check={0, 1}).json
    findings = [each for check in found["checks"] for each in check["findings"]]
    advices = [each["advice"] for each in findings if str(shut / "closed/page") in str(each)]
    assert advices and not any("create it" in advice for advice in advices)
    with pytest.raises(ConfigError) as error:
        users.as_user("www-data", find_config, None, {"HOME": str(shut / "closed")})
    assert "(www-data: " in str(error.value)


def test_an_include_folder_that_cannot_be_listed_is_a_mistake(shut: Path) -> None:
    """Its rules would be left out without a word."""
    config = configured(shut, f'include = ["closed/*.toml", "none/*.toml"]\nstate_dir = "{shut}/state"')
    found = logrotor("check", "--json", "-c", config, user="www-data", check={1, 2}).json
    assert [problem["key"] for problem in found["problems"]][:1] == ["include"]
    assert load_config(config, environ={}, euid=1).problems == ()


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_of_logrotates_that_root_keeps_from_others(site: Deployment, mode: int) -> None:
    """An ordinary user's doctor says what it could not read, and exits 0: it is no fault of his. A rule is one."""
    log = site.folder("logs") / "app.log"
    log.write_bytes(b"line\n")
    site.own(log)
    site.configure({"name": "app", "paths": [log], "max_size": "1M"})
    rules = site.root / "logrotate.d"
    rules.mkdir()
    (rules / "app").write_text(f"{log} {{\n  daily\n}}\n")
    (rules / "app").chmod(mode)
    argv = command.arguments("doctor", "-c", site.config, "--only", "rivals", "--json")
    over = f"mount --bind {rules} /etc/logrotate.d"
    found = command.run(users.as_argv("www-data", argv, mount=over), check=int(mode == 0o644)).json
    (told,) = found["checks"][0]["findings"]
    assert told["note"] == (mode == 0o600)
    assert told["subject"] == ("/etc/logrotate.d/app" if mode == 0o600 else str(log))
