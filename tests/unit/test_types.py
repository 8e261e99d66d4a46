"""The types that the library promises: of a configuration as a dict, of events, of outcomes, for whoever runs mypy."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
import tempfile
import typing
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import logrotor
from logrotor import Event, Outcome, Rotator, Status, events, load_config
from logrotor.config import keys, shape
from logrotor.model import Details
from tests.support.command import CHECKOUT, environment
from tests.support.need import need
from tests.unit.test_library import Shop, reports

# ---------------------------------------------------------------- a configuration as a dict

TABLES: list[tuple[type, Mapping[str, keys.Key], set[str]]] = [
    (shape.Defaults, keys.DEFAULTS, set()),
    (shape.LogRule, keys.LOG, set()),
    (shape.Reopen, keys.REOPEN, {"function"}),
    (shape.Queue, keys.QUEUE, {"job", "monitor"}),
    (shape.Job, keys.JOB, set()),
    (shape.Monitor, keys.MONITOR, set()),
    (shape.Metrics, keys.METRICS, set()),
    (shape.Page, keys.PAGE, set()),
    (shape.Configuration, keys.TOP, set(keys.TABLES)),
]


@pytest.mark.parametrize(("table", "known", "more"), TABLES, ids=lambda value: getattr(value, "__name__", ""))
def test_the_shape_has_the_keys(table: Any, known: Mapping[str, keys.Key], more: set[str]) -> None:
    """Exactly the keys of the table that decides at run time, and the same are required."""
    assert set(typing.get_type_hints(table)) == known.keys() | more
    required = {name for name, key in known.items() if key.value is msgspec.NODEFAULT and not key.without}
    # Of the classes that inherit, Python knows only once the strings are evaluated.
    said = {name for name, hint in typing.get_type_hints(table, include_extras=True).items()
            if typing.get_origin(hint) is typing.Required}  # fmt: skip
    assert said - {"log"} == required


@pytest.mark.parametrize("table", [each for each, _, _ in TABLES], ids=lambda table: table.__name__)
def test_the_shape_accepts_what_the_keys_accept(table: Any) -> None:
    """A value of each type of a duration or a path is read, and off where the key has it."""
    known = next(known for each, known, _ in TABLES if each is table)
    hints = typing.get_type_hints(table)
    for name, key in known.items():
        offered: list[Any] = [timedelta(hours=1)] if timedelta in typing.get_args(hints[name]) else []
        offered += [Path("/srv/x.prom")] if os.PathLike[str] in typing.get_args(hints[name]) else []
        if key.off is not keys.NO_OFF:
            assert str in (hints[name], *typing.get_args(hints[name])) or shape.Off in _flat(hints[name]), name
        for value in offered:
            key.kind.parse(value)


def _flat(hint: Any) -> set[Any]:
    """The members of a union; of literals each as a literal of its own."""
    found = {hint}
    for each in typing.get_args(hint):
        found |= _flat(each) if not isinstance(each, str) else {typing.Literal[each]}  # type: ignore[valid-type]
    return found


def test_paths_and_durations_of_python(tmp_path: Path) -> None:
    """Path and timedelta mean what the words in a file mean."""
    rule: dict[str, Any] = {"name": "app", "max_size": "1K", "on_archive_timeout": timedelta(minutes=5)}
    mine: Any = {
        "state_dir": tmp_path / "state", "lock_timeout": timedelta(seconds=1.5), "page": {"file": Path("page.html")},
        "log": [{**rule, "paths": [tmp_path / "*.log"], "exclude": [Path("x.log")], "max_age": timedelta(days=30),
                 "archive_dir": Path("old"), "on_archive": [Path("/bin/true"), "--now"], "reopen": "d"}],
        "reopen": {"d": {"manager": "pidfile", "pidfile": tmp_path / "d.pid", "signal": "HUP"}},
        "queue": {"url": tmp_path / "queue", "job": {"backoff": [timedelta(seconds=10)], "timeout": timedelta(0, 120)}},
    }  # fmt: skip
    words: Any = {
        "state_dir": f"{tmp_path}/state", "lock_timeout": 1.5, "page": {"file": "page.html"},
        "log": [{**rule, "paths": [f"{tmp_path}/*.log"], "exclude": ["x.log"], "max_age": "30d",
                 "archive_dir": "old", "on_archive": ["/bin/true", "--now"], "reopen": "d"}],
        "reopen": {"d": {"manager": "pidfile", "pidfile": f"{tmp_path}/d.pid", "signal": "HUP"}},
        "queue": {"url": f"{tmp_path}/queue", "job": {"backoff": ["10s"], "timeout": "2m"}},
    }  # fmt: skip
    config = load_config(mine, environ={})
    assert config == load_config(words, environ={}) and config.problems == ()
    assert config.logs[0].max_age == 30 * 86400 and config.queue is not None and config.queue.job.timeout == 120


@pytest.mark.parametrize("value", [timedelta(0), timedelta(days=-1), timedelta(days=99999)])
def test_a_timedelta_that_is_no_age(value: timedelta) -> None:
    """It is refused as the same words would be."""
    with pytest.raises(ValueError):
        keys.LOG["max_age"].kind.parse(value)


# ---------------------------------------------------------------- events and outcomes


def test_fields_of_events(shop: Shop) -> None:
    """Each event has only the fields that events.NAMES lists for it, of the types that events.Fields says."""
    for _ in reports(shop):
        pass
    assert len({event.name for event in shop.events}) > 8
    for event in shop.events:
        assert event.fields.keys() <= set(events.NAMES[event.name].fields.split()), event
        assert msgspec.convert(dict(event.fields), events.Fields) == event.fields, event


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_the_table_of_events_is_whole() -> None:
    """It lists known fields only, each of them somewhere, with words for each."""
    hints = typing.get_type_hints(events.Fields, include_extras=True)
    listed = {name for kind in events.NAMES.values() for name in kind.fields.split()}
    assert listed == hints.keys()
    assert all(hint.__metadata__[0].description for hint in hints.values())


def test_no_event_has_a_field_that_is_not_listed() -> None:
    """Wherever an event is told by name, in the code: its keywords are fields of it."""
    found = 0
    for path in Path(logrotor.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if name not in ("emit", "_emit", "tell", "made") or not isinstance(node.args[0], ast.Constant):
                continue
            told = {word.arg for word in node.keywords if word.arg} - {"subject", "kind"}
            assert told <= set(events.NAMES[node.args[0].value].fields.split()), (path, node.args[0].value)
            found += 1
    assert found > 15


def test_details_of_outcomes(shop: Shop) -> None:
    """Each outcome has only details that model.Details has, of those types."""
    known = typing.get_type_hints(Details)
    seen: set[str] = set()
    for report in reports(shop):
        for outcome in getattr(report, "outcomes", ()):
            assert outcome.details.keys() <= known.keys(), outcome
            assert msgspec.convert(dict(outcome.details), Details) == outcome.details
            seen |= outcome.details.keys()
    assert seen >= {"bytes", "bytes_out", "protocol", "guarantee", "seconds", "inode", "to", "from", "logs", "pids"}


def test_counts_of_a_report(shop: Shop) -> None:
    """What was put off is a tuple of outcomes, each with its reason; the numbers are those of run.completed."""
    with (shop.logs / "app.log").open("ab"):  # somebody who does not let go
        report = shop.rotator(on_archive="off").run()
    (put_off,) = report.deferred
    assert put_off.status is Status.DEFERRED and put_off.log == f"{shop.logs}/app.log" and put_off.reason
    assert (report.rotated, report.compressed, report.removed, report.failed) == (2, 1, 0, ())
    end = shop.events[-1].fields
    assert (end["rotated"], end["compressed"], end["removed"]) == (2, 1, 0)
    assert (end["deferred"], end["failed"], end["exit_code"]) == (1, 0, report.exit_code)


def test_a_function_says_that_it_reopens_for_its_process_only(shop: Shop) -> None:
    """Where the process has children, the event names them: they keep what they have open."""

    def children() -> list[int]:
        shop.write()
        shop.events.clear()
        assert shop.rotator().run(force=True).exit_code == 0
        (asked,) = [event for event in shop.events if event.name == "reopen.signalled"]
        return asked.fields.get("children", [])

    with subprocess.Popen(["sleep", "600"]) as child:
        try:
            assert child.pid in children()
        finally:
            child.kill()
    assert child.pid not in children()


# ---------------------------------------------------------------- mypy

PROGRAM = """\
from datetime import timedelta
from pathlib import Path

import logrotor
from logrotor import Configuration, Event, LogRule, Outcome, Plan, Report, Rotator, load_config


def heard(event: Event) -> None:
    if event.name == "rotation.completed":
        log: str = event.fields["log"]
        size: int = event.fields["bytes"]
        print(log, size)


def reopen(paths: tuple[str, ...]) -> None:
    print(paths)


rule: LogRule = {"name": "app", "paths": [Path("logs/app.log")], "max_size": "10MB", "max_age": timedelta(days=30)}
config: Configuration = {
    "state_dir": Path("state"),
    "reopen": {"me": {"manager": "callable", "function": reopen}},
    "log": [rule, {"name": "other", "paths": ["other.log"], "max_size": 4096, "reopen": "me", "backup_count": "off"}],
}
rotator = Rotator(load_config(config), on_event=heard)
plan: Plan = rotator.plan()
report: Report = rotator.run(only=["app"])
put_off: tuple[Outcome, ...] = report.deferred
numbers: list[int] = [report.rotated, report.compressed, report.removed, len(put_off), len(report.failed)]
for outcome in report.outcomes:
    lost: str = outcome.details.get("guarantee", "")
    print(outcome.details.get("bytes_out", 0) + 1, lost, report.count("take"))
print(logrotor.as_json(report), logrotor.__version__)
"""
WRONG = [
    ('"max_size": "10MB"', '"max_sise": "10MB"', "max_sise"),
    ('"state_dir": Path("state")', '"stat_dir": Path("state")', "stat_dir"),
    ('"manager": "callable"', '"manager": "callabel"', "dict-item"),
    ('{"name": "other", ', "{", '"name"'),
    ('event.fields["bytes"]', 'event.fields["byte"]', "byte"),
    ('.get("bytes_out", 0)', '.get("byte_out", 0)', "operator"),
    ('report.count("take")', 'report.count("tak")', "tak"),
    ("load_config(config)", 'load_config({"log": [{"nam": "x"}]})', "Configuration"),
    ("import logrotor\n", "import logrotor\nfrom logrotor import rotate\n", "rotate"),
]


@pytest.fixture(scope="module")
def mypy(tmp_path_factory: pytest.TempPathFactory) -> typing.Callable[[str], tuple[int, str]]:
    """mypy --strict on a program outside the checkout, which has the package as an installed one."""
    need(importlib.util.find_spec("mypy") is not None, "mypy")
    folder = tmp_path_factory.mktemp("user")

    def check(text: str) -> tuple[int, str]:
        # A name of its own each time: of two texts of one size in one instant its cache has the first.
        program = Path(tempfile.mkstemp(".py", "program", folder)[1])
        program.write_text(text)
        argv = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), program.name]
        env = environment({"MYPYPATH": str(CHECKOUT)})
        done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return check


@pytest.mark.long
def test_a_program_of_a_user_passes_mypy(mypy: typing.Callable[[str], tuple[int, str]]) -> None:
    """--strict finds nothing in a program that uses the public interface; a wrong key, field or word is an error."""
    code, said = mypy(PROGRAM)
    assert code == 0, said
    for right, wrong, named in WRONG:
        assert PROGRAM.count(right) == 1, right
        code, said = mypy(PROGRAM.replace(right, wrong))
        assert code == 1 and said.startswith("program") and named in said, said


def test_the_program_runs(tmp_path: Path) -> None:
    """The very program that mypy sees."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/app.log").write_bytes(b"line\n" * 3_000_000)
    argv = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "app.log 15000000" in done.stdout and logrotor.__version__ in done.stdout


def test_names_of_the_public_interface() -> None:
    """Each is there, by import and by dir()."""
    for name in logrotor.__all__:
        assert getattr(logrotor, name) is not None and name in dir(logrotor)
    assert (logrotor.Rotator, logrotor.Event, logrotor.Outcome) == (Rotator, Event, Outcome)
