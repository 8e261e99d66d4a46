"""``logrotor run``: what is printed, and with which code it ends. Its words are in golden/run.txt."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest
import structlog

from logrotor import errors
from logrotor.cli import output, session
from logrotor.cli.group import cli
from logrotor.events import Event, Level

STORY = ["run.started", "log.missing", "reopen.signalled", "rotation.completed", "archive.compressed", "run.completed"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def story(here):
    """A log that is due, a writer that is asked, a log that is missing."""
    reopen = 'reopen = "it"\n[reopen.it]\nmanager = "command"\ncommand = ["true"]'
    here.configure(reopen, paths='["logs/*.log", "logs/gone.txt"]')
    here.log()
    return here


@pytest.fixture
def failing(here):
    """A log that is due, and a writer that cannot be asked."""
    here.cannot_ask()
    here.hold("a b.log")
    return here


def events(said) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.err.splitlines()]


@pytest.mark.parametrize(
    ("words", "told"),
    [([], []), (["-vv"], STORY), (["-v"], ["run.started", "reopen.signalled", "run.completed"])],
    ids=["", "-vv", "-v"],
)
def test_verbosity(story, logrotor, words, told):
    """Under cron a run in which all went well sends no mail; -v tells start, requests and end, -vv each step."""
    said = logrotor("run", *words, code=0)
    assert sorted(event["event"] for event in events(said)) == sorted(told) and said.out == ""
    assert [event["event"] for event in events(said)][-1:] == told[-1:]


def test_q_hides_warnings(here, logrotor):
    """A history that is set aside is a warning: with -q it is not told."""
    for words, told in (([], ["state.replaced"]), (["-q"], [])):
        here.log()
        here.run()
        (here.state / "history.sqlite").write_bytes(b"rubbish" * 1000)
        here.log()
        assert [event["event"] for event in events(logrotor("run", *words))] == told


def test_json_line_has_time_level_and_fields(failing, logrotor):
    """Each message under cron is one JSON object with a UTC timestamp, its level and its fields."""
    (event,) = events(logrotor("run", code=1))
    assert event.pop("timestamp").endswith("Z") and event.pop("error")
    assert event == {"event": "reopen.failed", "level": "error", "target": "gone", "logs": 1}


def test_console_on_a_terminal(failing, logrotor, monkeypatch):
    """Messages for people: coloured on a terminal unless NO_COLOR is set; values with blanks are quoted."""
    assert 'error="' in (told := logrotor("run", "--log-format", "console").err) and "\x1b" not in told
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown = []
    for _ in range(2):
        failing.hold("a b.log")
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        logrotor("run")
        shown.append(terminal.getvalue())
        monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" in shown[0] and "\x1b" not in shown[1] and "target=gone" in shown[1]


def test_any_file_name_survives_json(here, logrotor):
    """A file name that is no UTF-8 breaks neither the messages nor the report."""
    name = os.fsdecode(b"\xff\n.log")
    os.link(here.log(name), here.folder / "second")
    said = logrotor("run", "--json", code=1)
    assert events(said)[0]["log"] == said.json["outcomes"][0]["log"] == f"{here.logs}/{name}"


def test_fields_keep_clear_of_structlogs_own_names(capsys):
    """A field called "event" or "level" is told under another name."""
    printer = output.EventPrinter(0, as_json=True)
    printer(Event("log.refused", Level.ERROR, {"event": "x", "level": 5}))
    told = json.loads(capsys.readouterr().err)
    assert (told["event"], told["event_"], told["level_"]) == ("log.refused", "x", 5)


def test_broken_stderr_does_not_stop_a_run(failing, logrotor, monkeypatch):
    """A run goes on when nobody can read its messages any more."""

    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    logrotor("run", code=1)
    assert (failing.logs / "a b.log.1").exists()


def test_report_as_json(failing, logrotor):
    """--json prints the whole report and the exit code; why something failed stands there as fields too."""
    report = logrotor("run", "--json", code=1).json
    (failed,) = [outcome for outcome in report["outcomes"] if outcome["status"] == "failed"]
    assert report["exit_code"] == 1 and report["plan"]["logs"] and failed["action"] == "reopen"
    assert failed["problem"]["problem"] and failed["problem"]["advice"]


@pytest.mark.parametrize("where", ["before", "after", "both"])
def test_config_before_or_after_the_command(here, logrotor, where):
    """-c works before and after the command's name; the later one counts."""
    first = here.file if where == "before" else here.folder / "other.toml"
    last = [] if where == "before" else ["-c", here.file]
    found = logrotor("check", *last, "--json", file=first if where != "after" else here.file, code=0).json
    assert found["file"] == str(here.file)


def test_only_takes_rules_and_relative_paths(here, logrotor, monkeypatch):
    """--only takes the name of a rule, or a path as I type it in my shell."""
    here.configure('[[log]]\nname = "other"\npaths = ["b.log"]\nmax_size = 1')
    here.log("a.log", size=320), here.log("../b.log", size=320)
    monkeypatch.chdir(here.folder)
    for only, taken in (("logs/a.log", "logs/a.log"), ("b.log", "b.log"), ("other", "b.log")):
        report = logrotor("run", "--force", "--only", only, "--json", code=0).json
        assert [log["path"] for log in report["plan"]["logs"]] == [str(here.folder / taken)]


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.Locked("x"), 3), (errors.StateError("x"), 2), (errors.UnknownSelection("x"), 2),
     (errors.ConfigError(()), 2), (errors.Refused("x"), 1), (ZeroDivisionError(), 1)],
)  # fmt: skip
def test_each_error_has_its_exit_code(error, code):
    """2: nothing can run as asked; 3: locked; 1: anything else."""
    assert session.exit_code(error) == code


def test_a_bug_says_so(here, logrotor, monkeypatch):
    """An unexpected error is one message; the traceback comes with -vv only."""

    def fail(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("logrotor.rotator.Rotator.run", fail)
    short, long = (logrotor("run", "--log-format", "console", *more, code=1).err for more in ([], ["-vv"]))
    assert short.count("\n") == 1 and "bug" in short and "Traceback" in long


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize(("name", "code"), [("INT", 130), ("TERM", 143)])
def test_first_signal_ends_cleanly(here, logrotor, name, code):
    """Ctrl-C and SIGTERM let the run end cleanly; the code says which it was, and the handlers are restored."""
    here.configure(f'on_archive = ["sh", "-c", "kill -{name} {os.getpid()}"]')
    here.log()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    said = logrotor("run", "--json", code=code)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert said.json["exit_code"] == code and said.json["interrupted"]


def test_second_signal_ends_at_once():
    """It does not wait for what the first one let end."""
    with pytest.raises(KeyboardInterrupt), session.Stop() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop() and stop.exit_code == 143
        signal.raise_signal(signal.SIGINT)


def test_ignored_sigint_stays_ignored(here, logrotor):
    """Under nohup, or in the background of a script, Ctrl-C is still ignored."""
    here.configure(f'on_archive = ["sh", "-c", "kill -INT {os.getpid()}"]')
    here.log()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        logrotor("run", code=0)
    finally:
        signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------- progress


def test_bar_for_long_compressions(here, logrotor, monkeypatch):
    """On a terminal the line is empty afterwards; -q and --json have no bar, nor has what is short or no terminal."""
    shown = {}
    for words in ([], ["-q"], ["--json"], ["small"]):
        log = here.log()
        if words != ["small"]:
            os.truncate(log, output.LARGE + 1)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal := Terminal())
            logrotor("run", *(word for word in words if word != "small"), code=0)
        shown["".join(words)] = terminal.getvalue()
    assert "%" in shown[""] and shown[""].endswith(" \r") and "\x1b" not in shown[""]
    assert shown["-q"] == shown["--json"] == shown["small"] == ""


def test_bar_after_a_second(monkeypatch):
    """A small compression that takes long shows its progress too."""
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    times = iter([0.0, 0.5, 2.0, 2.0])
    bar = output.Progress(clock=lambda: next(times))
    bar(0, 100)
    assert shown.getvalue() == ""
    bar(30, 100)
    assert "30%" in shown.getvalue()


# ---------------------------------------------------------------- the commands


def test_usage(here, logrotor):
    """A misspelt option or command is a usage error; the nearest command is told, also below `queue`."""
    logrotor("run", "--onyl", "x", code=2)
    for words, meant in ((("rnu",), "'run'"), (("queue", "stat"), "'status'")):
        assert meant in logrotor(*words, code=2).err
    assert "?" not in logrotor("xyzzy", code=2).err


def test_structlog_is_never_configured(story, logrotor):
    """A program that hosts the command line keeps its own structlog and logging set-up."""
    handlers = list(logging.getLogger().handlers)
    assert logrotor("run", "-vv", code=0).err
    assert not structlog.is_configured() and logging.getLogger().handlers == handlers


def commands(group: Any = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command by its path, and the groups."""
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            yield (*path, name), command
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))


def test_list_of_commands_matches_the_commands():
    """The one-line help that the list shows belongs to a command that exists, and is the one that completion shows."""
    for path, command in commands():
        name = path[-1]
        assert command.name == name and command.help
        group = importlib.import_module("logrotor.cli.queue" if len(path) == 2 else "logrotor.cli.group")
        assert command.short_help == group.COMMANDS[name][1]


def test_each_command_has_the_exit_codes_that_it_can_have(logrotor):
    """Only a run, and a watch, keep others away."""
    assert len(list(commands())) > 15
    for path, _ in commands():
        shown = logrotor(*path, "--help").out.split("Exit codes")[1]
        codes = dict(re.findall(r"^ +([\d/]+) {2,}(.*)$", shown, re.MULTILINE))
        assert {"0", "1", "2"} <= codes.keys() and ("3" in codes) == (path in (("run",), ("watch",))), path
