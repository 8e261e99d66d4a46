"""The reference and the manual pages: whole, found by name, and without a warning from groff and mandoc."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from logrotor import events
from logrotor.cli.group import COMMANDS
from logrotor.cli.queue import COMMANDS as QUEUE
from logrotor.config import keys
from tests.support.command import environment, logrotor
from tests.support.need import need

PAGES = ("logrotor.1", "logrotor.toml.5")
TABLES = (keys.TOP, keys.LOG, keys.REOPEN, keys.QUEUE, keys.JOB, keys.MONITOR, keys.METRICS, keys.PAGE)


def test_the_reference_is_whole() -> None:
    """Every key of every table, every event, and the metrics that a configuration with a queue writes."""
    found = logrotor("reference", "--json", check=0).json
    named = [each["name"] for each in found if each["kind"] == "key"]
    assert named == [name for table in TABLES for name in table]
    assert [each["name"] for each in found if each["kind"] == "event"] == list(events.NAMES)
    assert all(each["about"] for each in found)
    shown = logrotor("reference", check=0).stdout
    assert all(f"\n{each['name']}  (" in f"\n{shown}" for each in found)


def test_metrics_of_the_reference_are_those_that_are_written(tmp_path: Path) -> None:
    """By name, help, type and labels."""
    (tmp_path / "app.log").write_text("line\n")
    config = tmp_path / "logrotor.toml"
    config.write_text(
        'state_dir = "state"\n[queue]\nhost = "h1"\n[[log]]\nname = "a"\npaths = ["*.log"]\nmax_size = 1\n'
    )
    logrotor("queue", "dispatch", "-c", config, check=0)
    logrotor("queue", "worker", "--once", "-c", config, check=0)
    written = logrotor("metrics", "-o", "-", "-c", config, check=0).stdout
    known = {e["name"]: e for e in logrotor("reference", "--json", check=0).json if e["kind"] == "metric"}
    helps = dict(re.findall(r"^# HELP (\w+) (.*)$", written, re.MULTILINE))
    kinds = dict(re.findall(r"^# TYPE (\w+) (.*)$", written, re.MULTILINE))
    assert helps and helps.keys() == kinds.keys() <= known.keys()
    for name, help in helps.items():
        assert (known[name]["about"], known[name]["facts"]["type"]) == (help, kinds[name])
    for name, labels in re.findall(r"^(\w+?)(?:_bucket|_sum|_count|)\{(.*)\} ", written, re.MULTILINE):
        assert set(re.findall(r'(\w+)="', labels)) <= set(known[name]["facts"]["labels"]), name
    unseen = {
        name for name in known.keys() - helps.keys() if not re.search("limit|next_due|full|worker_|rotation", name)
    }
    assert unseen <= {"logrotor_last_success_timestamp_seconds"}


@pytest.mark.parametrize(
    ("asked", "kinds"),
    [
        ("max_size", ["key"]), ("schedule", ["key", "key"]), ("queue.schedule", ["key"]), ("log.schedule", ["key"]),
        ("run.completed", ["event"]), ("logrotor_log_due", ["metric"]), ("[queue.job]", ["key"] * len(keys.JOB)),
        ("log", ["key"] * len(keys.LOG)), ("[[log]]", ["key"] * len(keys.LOG)), ("page", ["key"]),
        ("defaults", ["key"] * len(keys.DEFAULTS)), ("reopen.pidfile", ["key"]),
    ],
)  # fmt: skip
def test_what_is_asked_for(asked: str, kinds: list[str]) -> None:
    """A key, alone or with its table; all keys of a table; an event; a metric."""
    assert [each["kind"] for each in logrotor("reference", asked, "--json", check=0).json] == kinds


@pytest.mark.parametrize(("asked", "near"), [("max_sise", "max_size"), ("run.complete", "run.completed"),
                                             ("logrotor_log_deu", "logrotor_log_due"), ("zzzzz", None)])  # fmt: skip
def test_what_is_misspelt(asked: str, near: str | None) -> None:
    """A usage error with the nearest name, where there is one."""
    said = logrotor("reference", asked, check=2)
    assert said.stdout == "" and (f"Did you mean '{near}'?" in said.stderr) == (near is not None)


def test_facts_of_an_entry() -> None:
    """Fields of an event with their meaning; of a key what is accepted, its default, and who needs it."""
    (event,) = logrotor("reference", "archive.compressed", "--json", check=0).json
    assert event["facts"]["level"] == "debug" and event["facts"]["fields"].keys() >= {"log", "bytes", "bytes_out"}
    (key,) = logrotor("reference", "pidfile", "--json", check=0).json
    assert key["facts"]["managers"] and key["facts"]["accepted"] and key["table"] == "[reopen.NAME]"


# ---------------------------------------------------------------- man


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    logrotor("man", "--dir", tmp_path, check=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PAGES)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_groff_has_no_warning(pages: Path, page: str) -> None:
    """man --warnings says nothing, and shows the page."""
    need(shutil.which("man") is not None and shutil.which("troff") is not None, "man-db and groff")
    argv = ["man", "--warnings", "-l", str(pages / page)]
    done = subprocess.run(argv, env=environment({"MANWIDTH": "90", "MAN_KEEP_FORMATTING": ""}), capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert done.stderr == "" and "SEE ALSO" in done.stdout and "logrotor - " in done.stdout.replace(".toml", "")


@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_no_warning(pages: Path, page: str) -> None:
    """Another formatter, with another opinion: nothing above the level of style."""
    need(shutil.which("mandoc") is not None, "mandoc")
    argv = ["mandoc", "-T", "lint", "-W", "warning", str(pages / page)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def plain(page: Path) -> str:
    return page.read_text().replace("\\-", "-").replace("\\fB", "").replace("\\fR", "")


def test_the_pages_are_whole(pages: Path) -> None:
    """Every command with its options, every event and metric in the one; every key in the other."""
    first, second = (plain(pages / page) for page in PAGES)
    for name in (*COMMANDS, *(f"queue {each}" for each in QUEUE)):
        assert f'.SS "logrotor {name} ' in first, name
    assert all(f"\n{name}\n" in first for name in (*events.NAMES, "logrotor_log_due", "logrotor_queue_failed_jobs"))
    assert all(f"\n{name}\n" in second for table in TABLES for name in table)


def test_a_page_is_printed(pages: Path) -> None:
    """The same source goes to stdout; a date may be set, for builds that can be repeated."""
    env = {"SOURCE_DATE_EPOCH": "86400"}
    for page in PAGES:
        logrotor("man", "--dir", pages, env=env, check=0)
        assert logrotor("man", page, env=env, check=0).stdout == (pages / page).read_text()
        assert "1970-01-02" in (pages / page).read_text()
    assert logrotor("man", env=env, check=0).stdout == (pages / PAGES[0]).read_text()


def test_no_other_file_is_replaced(tmp_path: Path) -> None:
    """What lies at the name of a page and is none stays."""
    (tmp_path / PAGES[0]).write_text("mine\n")
    logrotor("man", "--dir", tmp_path, check=1)
    assert (tmp_path / PAGES[0]).read_text() == "mine\n"
    assert "none" in logrotor("man", "--dir", tmp_path / "none", check=1).stderr
