"""Paths and rules may have any punctuation in their names: subject, problem and advice of what is found stay whole."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from logrotor.disk.database import OURS
from tests.observe.conftest import Deployment
from tests.support.fixtures import world  # noqa: F401

NAME = "a: b; c (d)"


@pytest.fixture
def here(world: Path) -> Deployment:  # noqa: F811
    """Every path of it has what sentences are joined with."""
    (world / NAME).mkdir(mode=0o755)
    return Deployment(world / NAME)


@pytest.fixture
def finding(logrotor):
    """The one finding of a check."""

    def only(check: str) -> dict[str, str]:
        ((found,),) = [
            each["findings"] for each in logrotor("doctor", "--only", check, "--json", code=1).json["checks"]
        ]
        return found

    return only


def test_a_damaged_archive(here, logrotor):
    """verify: its whole path, and all of what is wrong with it."""
    here.log()
    here.run()
    archive = here.logs / "app.log.1.zst"
    archive.write_bytes(archive.read_bytes()[:-20])
    (verdict,) = logrotor("verify", "--json", code=1).json["archives"]
    assert verdict["path"] == str(archive) and verdict["problem"] and NAME not in verdict["problem"]
    assert logrotor("verify", code=1).out.count(str(archive)) == 1


def test_a_directory_that_is_refused(here, logrotor, finding):
    """verify and doctor name the whole of it."""
    here.log()
    here.logs.chmod(0o777)
    assert logrotor("verify", "--json", code=1).json["archives"][0]["path"] in (str(here.logs), f"{here.logs}/app.log")
    assert finding("directories.logs")["subject"] == str(here.logs)


def test_a_rule_of_any_name(here, logrotor, finding):
    """A rule called "shop: orders; old" is one rule everywhere."""
    rule = "shop: orders; old"
    here.log()
    (here.folder / "file").touch()
    here.file.write_text(
        f'state_dir = "{here.state}"\n[[log]]\nname = "{rule}"\npaths = ["logs/*.log", "logs/*.lgo"]\nmax_size = 1\n'
        'missing = "error"\narchive_dir = "../file"\n'
    )
    found = finding("directories.archives")
    assert found["subject"] == str(here.folder / "file") and rule in found["why"]
    assert finding("logs.refused")["subject"] == f"{here.logs}/*.lgo"
    (log,) = logrotor("plan", "--json", code=1).json["logs"]
    assert log["rule"] == rule and log["refused"]["subject"] == str(here.folder / "file")


def test_a_refused_log(here, logrotor, finding):
    """doctor and status name the log once, and the advice is that of the refusal."""
    os.link(log := here.log(), here.folder / "second")
    found, (row,) = finding("logs.refused"), logrotor("status", "--json").json["logs"]
    assert found["subject"] == row["refused"]["subject"] == str(log)
    assert found["problem"] == row["refused"]["problem"] and NAME not in found["problem"]
    assert found["advice"] == row["refused"]["advice"]


def test_a_state_directory_that_is_a_file(here, finding):
    """What is wrong and what to do stay apart wherever the path has a semicolon."""
    (here.folder / "file").touch()
    here.state = here.folder / "file" / "state"
    here.configure()
    found = finding("state.directory")
    assert found["subject"] == str(here.state)
    assert str(here.folder / "file") in found["problem"] and "STATE_DIRECTORY" in found["advice"]
    assert "STATE_DIRECTORY" not in found["problem"]


def test_a_damaged_history(here, finding):
    """The finding is that of the history, with what SQLite says of it."""
    here.log()
    here.run()
    history = here.state / "history.sqlite"
    history.write_bytes(b"rubbish" * 1000)
    found = finding("state.history")
    assert found["subject"] == str(history) and "not a database" in found["problem"]


def test_a_history_of_a_newer_logrotor(here, finding):
    """What to do is whole, and none of it stands in what is wrong."""
    here.log()
    here.run()
    with closing(sqlite3.connect(here.state / "history.sqlite")) as connection:
        connection.executescript(f"PRAGMA user_version = 99; PRAGMA application_id = {OURS + 99}")
    found = finding("state.history")
    assert found["subject"] == str(here.state / "history.sqlite")
    assert "upgrade logrotor" in found["advice"] and "upgrade" not in found["problem"]


def test_a_supervisord_that_does_not_run(here, finding):
    """Its pidfile names a process that is gone: that it may be hidden is the last of the advice, not all of it."""
    (here.folder / "s.pid").write_text("4194303\n")
    here.configure('reopen = "queue"\n[reopen.queue]\nmanager = "supervisord"\npidfile = "s.pid"')
    found = finding("reopen.targets")
    assert found["subject"] == "reopen target 'queue' (supervisord)" and "4194303" in found["problem"]
    assert "supervisord running" in found["advice"] and "hide" not in found["problem"]


def test_a_page_that_has_no_place(here, finding):
    """A log in the place of the page: the path is the subject, and is not said again."""
    log = here.log()
    here.configure(f'[page]\nfile = "{log}"')
    found = finding("page.file")
    assert found["subject"] == str(log) and NAME not in found["problem"] and ";" not in found["problem"]


def test_a_failure_that_repeats_itself(here, logrotor):
    """status: how the last rotation ended is one word, and why it did is whole."""
    here.cannot_ask()
    here.hold()
    (failed,) = here.run().failed
    assert failed.problem is not None and str(failed.problem) == failed.reason
    (run,) = logrotor("history", "--json").json["runs"]
    (kept,) = [other["details"]["problem"] for other in run["others"] if other["status"] == "failed"]
    assert kept == {
        "subject": failed.problem.subject, "problem": failed.problem.problem, "advice": failed.problem.advice
    }  # fmt: skip
    assert str(here.folder / "gone.pid") in kept["problem"] and kept["advice"]
