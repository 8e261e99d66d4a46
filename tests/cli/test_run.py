"""``logrotor run``: what is printed, and with which code it ends."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from logrotor import errors
from logrotor.cli import output
from logrotor.events import Event, Level
from logrotor.model import ConfigProblem, Outcome, Status
from tests.cli.world import LOGS, Terminal

STORY = (
    Event("run.started", Level.INFO, {"logs": 3}),
    Event("log.missing", Level.DEBUG, {"log": f"{LOGS}/mpesa_raw.log"}),
    Event("log.missing", Level.DEBUG, {"log": f"{LOGS}/mpesa_raw_callback.log"}),
    Event("reopen.signalled", Level.INFO, {"target": "workers"}),
    Event("run.completed", Level.INFO, {"rotated": 1}),
)


def tells(*events):
    def on_run(rotator):
        for event in events:
            rotator.on_event(event)

    return on_run


def raises(error):
    def on_run(rotator):
        raise error

    return on_run


def test_quiet_success_prints_nothing(logrotor, world):
    """Under cron a run in which all went well sends me no mail."""
    world.on_run = tells(*STORY)
    result = logrotor("run")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_vv_tells_the_story_in_order(logrotor, world):
    """With -vv I see the start, each missing log, the reopen and the end, in that order."""
    world.on_run = tells(*STORY)
    shown = [(event["event"], event["level"]) for event in logrotor("run", "-vv").events]
    assert shown == [(event.name, event.level.name.lower()) for event in STORY]


def test_v_hides_missing_logs(logrotor, world):
    """Missing logs are worth a line only with -vv."""
    world.on_run = tells(*STORY)
    assert [event["event"] for event in logrotor("run", "-v").events] == [
        "run.started",
        "reopen.signalled",
        "run.completed",
    ]


def test_q_hides_warnings(logrotor, world):
    """With -q I get errors only."""
    warning, error = Event("state.replaced", Level.WARNING), Event("reopen.failed", Level.ERROR, {"error": "no pid"})
    world.on_run = tells(warning, error)
    assert [event["event"] for event in logrotor("run", "-q").events] == ["reopen.failed"]
    assert len(logrotor("run").events) == 2


def test_json_line_has_time_level_and_fields(logrotor, world):
    """Each message under cron is one JSON object with a UTC timestamp, its level and its fields."""
    world.on_run = tells(Event("reopen.failed", Level.ERROR, {"target": "workers", "paths": ("/a", "/b")}))
    (event,) = logrotor("run").events
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "reopen.failed", "level": "error", "target": "workers", "paths": ["/a", "/b"]}


def test_console_on_demand(logrotor, world):
    """--log-format console is for people, without ANSI codes where there is no terminal."""
    world.on_run = tells(Event("log.refused", Level.ERROR, {"log": "a b", "why": "is a\x1b[31m link"}))
    err = logrotor("run", "--log-format", "console").err
    assert "log.refused" in err and 'log="a b"' in err and 'why="is a\\x1b[31m link"' in err
    assert "\x1b" not in err


def test_console_on_a_terminal(logrotor, world, monkeypatch):
    """On a terminal the messages are for people, coloured, unless NO_COLOR is set."""
    world.on_run = tells(Event("reopen.failed", Level.ERROR, {"target": "workers"}))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", coloured := Terminal())
    logrotor("run")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", plain := Terminal())
    logrotor("run")
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b" not in plain.getvalue() and "target=workers" in plain.getvalue()


def test_any_file_name_survives_json(logrotor, world):
    """A file name that is no UTF-8 breaks neither the messages nor the report."""
    name = os.fsdecode(b"/logs/\xff\n.log")
    world.on_run = tells(Event("log.refused", Level.ERROR, {"log": name, "event": "x"}))
    (event,) = logrotor("run").events
    assert event["log"] == name and event["event"] == "log.refused" and event["event_"] == "x"


def test_broken_stderr_does_not_stop_a_run(logrotor, world, monkeypatch):
    """A run goes on when nobody can read its messages any more."""

    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    world.on_run = tells(Event("reopen.failed", Level.ERROR))
    monkeypatch.setattr(sys, "stderr", Gone())
    assert logrotor("run").code == 0


def test_report_as_json(logrotor, world):
    """--json prints the whole report and the exit code."""
    failed = Outcome(log="/a", action="reopen", status=Status.FAILED, reason="no pid")
    world.on_run = lambda rotator: world.report(outcomes=(failed,))
    result = logrotor("run", "--json")
    assert result.code == result.json["exit_code"] == 1
    assert result.json["outcomes"][0]["status"] == "failed" and result.json["plan"]["logs"]


def test_dry_run_is_plan(logrotor, world):
    """--dry-run prints exactly what plan prints, and nothing is run."""
    dry = logrotor("run", "--dry-run", "--force", "--only", "workers")
    assert world.asked["command"] == "plan" and world.asked["force"] and world.asked["only"] == ("workers",)
    assert (dry.out, dry.code) == (logrotor("plan", "--force", "--only", "workers").out, 0)


def test_only_takes_rules_and_relative_paths(logrotor, world, tmp_path, monkeypatch):
    """--only takes the name of a rule, or a path as I type it in my shell."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.log").touch()
    logrotor("run", "--only", "workers", "--only", "logs/a.log", "--only", "here.log", "--only", "other")
    assert world.asked["only"] == ("workers", f"{tmp_path}/logs/a.log", f"{tmp_path}/here.log", "other")


@pytest.mark.parametrize("args", [("-c", "x.toml", "run"), ("run", "-c", "x.toml"), ("-c", "y", "run", "-c", "x.toml")])
def test_config_before_or_after_the_command(logrotor, world, args):
    """-c works before and after the command's name; the later one counts."""
    logrotor(*args)
    assert world.asked["config"] == "x.toml"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Locked("locked by pid 7; wait for it"), 3),
        (errors.StateError("state_dir cannot be written"), 2),
        (errors.UnknownSelection("no rule or log is called x"), 2),
        (errors.Refused("something else"), 1),
    ],
)
def test_expected_errors_are_one_line(logrotor, world, error, code):
    """An expected error is one message without a traceback, and has its own exit code."""
    world.on_run = raises(error)
    result = logrotor("run", "--log-format", "console")
    assert (result.code, result.out, result.err) == (code, "", f"logrotor: {error}\n")
    (event,) = logrotor("run").events
    assert event["error"] == str(error) and event["level"] == "error"


def test_every_config_problem_is_told(logrotor, world):
    """With a configuration that cannot run I get all its problems at once, and exit code 2."""
    world.broken = (
        ConfigProblem("a.toml", "log[1].size", "unknown key", 3),
        ConfigProblem("a.toml", "log[2].paths", "missing"),
    )
    result = logrotor("run", "--log-format", "console")
    assert result.code == 2
    assert result.err.splitlines() == [f"logrotor: {problem}" for problem in world.broken]


def test_a_bug_says_so(logrotor, world):
    """An unexpected error says that it is a bug; the traceback comes with -vv only."""
    world.on_run = raises(ZeroDivisionError("division by zero"))
    short = logrotor("run", "--log-format", "console")
    long = logrotor("run", "--log-format", "console", "-vv")
    assert short.code == long.code == 1
    assert "this is a bug" in short.err and "Traceback" not in short.err and "Traceback" in long.err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_first_signal_ends_cleanly(logrotor, world, signum, code):
    """Ctrl-C and SIGTERM let the run end cleanly; the code says which it was, and the handlers are restored."""

    def on_run(rotator):
        assert not rotator.stop()
        os.kill(os.getpid(), signum)
        return world.report(interrupted=rotator.stop())

    before = signal.getsignal(signum)
    world.on_run = on_run
    result = logrotor("run", "--json")
    assert result.code == result.json["exit_code"] == code
    assert signal.getsignal(signum) is before


def test_signal_after_the_work_changes_nothing(logrotor, world):
    """A signal that comes when all is done does not make a failure of it."""
    world.on_run = lambda rotator: os.kill(os.getpid(), signal.SIGTERM)
    assert logrotor("run").code == 0


def test_signal_while_waiting_for_the_lock(logrotor, world):
    """Ctrl-C while another run holds the lock is an interruption (130), not exit 3."""

    def on_run(rotator):
        os.kill(os.getpid(), signal.SIGINT)
        raise errors.Locked("locked")

    world.on_run = on_run
    result = logrotor("run")
    assert (result.code, result.err) == (130, "")


def test_second_signal_ends_at_once(logrotor, world):
    """A second Ctrl-C does not wait."""

    def on_run(rotator):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("still running")

    world.on_run = on_run
    assert logrotor("run").code == 130


def test_ignored_sigint_stays_ignored(logrotor, world):
    """Under nohup, or in the background of a script, Ctrl-C is still ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        world.on_run = lambda rotator: os.kill(os.getpid(), signal.SIGINT)
        assert logrotor("run").code == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_bar_without_a_terminal(logrotor, world):
    """Under cron there is no progress bar."""
    world.on_run = lambda rotator: rotator.on_progress and rotator.on_progress(1, 1 << 40)
    assert logrotor("run").err == ""


def test_bar_only_for_long_compressions(logrotor, world, monkeypatch):
    """On a terminal a long compression shows its progress, and the line is empty afterwards; a short one shows none."""
    monkeypatch.setattr(sys, "stderr", short := Terminal())
    world.on_run = lambda rotator: rotator.on_progress(1000, 2000)
    logrotor("run")
    monkeypatch.setattr(sys, "stderr", long := Terminal())
    world.on_run = lambda rotator: rotator.on_progress(output.LARGE, 2 * output.LARGE)
    logrotor("run")
    assert short.getvalue() == ""
    assert "Compressing" in long.getvalue() and "50%" in long.getvalue()
    assert long.getvalue().endswith(" \r") and "\x1b" not in long.getvalue()


def test_bar_after_a_second(monkeypatch):
    """A small compression that takes long shows its progress too."""
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    times = iter([0.0, 0.5, 2.0, 2.0])
    bar = output.Progress(clock=lambda: next(times))
    bar(0, 100)
    assert shown.getvalue() == ""
    bar(30, 100)
    assert "30%" in shown.getvalue()


def test_q_and_json_have_no_bar(logrotor, world, monkeypatch):
    """-q and --json show no bar, terminal or not."""
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    world.on_run = lambda rotator: rotator.on_progress and rotator.on_progress(1, 1 << 40)
    logrotor("run", "-q")
    logrotor("run", "--json")
    assert shown.getvalue() == ""


def test_usage_error_is_exit_2(logrotor):
    """A misspelt option is a usage error: exit code 2."""
    assert logrotor("run", "--onyl", "x").code == 2
    assert logrotor("rnu").code == 2


def test_the_command_that_was_meant(logrotor):
    """A slip in the name of a command is told with the nearest one, also below `queue`."""
    for args, meant in ((("rnu",), "run"), (("queue", "stat"), "status")):
        result = logrotor(*args)
        assert result.code == 2 and f"No such command {args[-1]!r}. Did you mean {meant!r}?" in result.err
    assert "Did you mean" not in logrotor("xyzzy").err


@pytest.mark.parametrize("command", [(), ("run",), ("plan",), ("check",)])
def test_help_teaches(logrotor, command):
    """Every --help has an example and the exit codes."""
    result = logrotor(*command, "--help")
    assert result.code == 0
    assert "Examples:" in result.out and "Exit codes:" in result.out and "130/143" in result.out


def test_structlog_is_never_configured(logrotor, world):
    """A program that hosts the command line keeps its own structlog and logging set-up."""
    import logging

    import structlog

    world.on_run = tells(*STORY)
    handlers = list(logging.getLogger().handlers)
    logrotor("run", "-vv")
    assert not structlog.is_configured() and logging.getLogger().handlers == handlers


def test_quiet_run_imports_only_what_it_needs():
    """A plain run that prints nothing pays for no option parser, no structlog, no plan command and no completion."""
    code = """
import sys, types
from logrotor.cli import call
import logrotor.model as m, datetime, json
config = m.Config(state_dir="", state_dir_origin="", logs=(), targets={})
plan = m.Plan(now=datetime.datetime.now(), logs=())
class Rotator:
    def __init__(self, *a, **k): pass
    def run(self, **k): return m.Report(started=plan.now, duration=0.0, outcomes=(), plan=plan)
for name, face in (("config", {"load_config": lambda *a, **k: config}), ("rotator", {"Rotator": Rotator})):
    sys.modules["logrotor." + name] = made = types.ModuleType(name)
    made.__dict__.update(face)
assert call(["run"]) == 0
print(json.dumps(sorted(sys.modules)))
"""
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    heavy = {"click", "structlog", "filelock", "sqlite3", "zstandard", "difflib", "click.shell_completion"}
    assert not heavy & set(loaded)
    assert not [name for name in loaded if name.startswith("logrotor.cli.plan")]


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command by its path, and the groups."""
    import click

    from logrotor.cli.group import cli

    group = group or cli
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
    """Only a run takes the lock, asks writers, and may fail for some logs."""
    assert len(list(commands())) > 15
    for path, _ in commands():
        shown = logrotor(*path, "--help").out.split("Exit codes")[1]
        codes = dict(re.findall(r"^ +([\d/]+) {2,}(.*)$", shown, re.MULTILINE))
        assert {"0", "1", "2"} <= codes.keys() and ("3" in codes) == (path == ("run",)), path
        assert ("reopen request" in codes["1"]) == (path == ("run",)), path
