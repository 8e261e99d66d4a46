"""The library: values that travel, events by name, and no trace left in the process that uses it."""

from __future__ import annotations

import ast
import importlib
import json
import logging
import os
import pickle
import pkgutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import logrotor
from logrotor import Rotator, events, load_config
from logrotor.disk import snapshot
from logrotor.errors import ConfigError, LogrotorError, Stale
from logrotor.events import Event, Level
from logrotor.model import Config, ConfigProblem, Manager, Plan, ReopenTarget, Report, as_json
from tests.support import oracle, users

ODD = os.fsdecode(b'odd \xff\n"name".log')


class Shop:
    """Two logs, one of them with a name that is no text, and everything that a rotation may do."""

    def __init__(self, root: Path) -> None:
        self.root, self.logs = root, root / "logs"
        self.logs.mkdir()
        self.events: list[Event] = []
        self.asked: list[tuple[str, ...]] = []
        self.written = 0
        self.write()

    def write(self) -> None:
        for name in ("app.log", ODD):
            with (self.logs / name).open("ab") as file:
                file.write(oracle.lines("w1", self.written + 1, self.written + 100))
        self.written += 100

    def config(self, **more: Any) -> Config:
        rule = {
            "name": "app", "paths": [f"{self.logs}/*.log", f"{self.logs}/gone.log"], "max_size": "1K",
            "backup_count": 2, "reopen": "self", "on_archive": ["/bin/true"], **more,
        }  # fmt: skip
        target = {"manager": "callable", "function": self.asked.append}
        return load_config({"state_dir": f"{self.root}/state", "log": [rule], "reopen": {"self": target}}, environ={})

    def rotator(self, **more: Any) -> Rotator:
        return Rotator(self.config(**more), on_event=self.events.append)

    def check(self) -> None:
        for name in ("app.log", ODD):
            oracle.count_joined(self.logs, name, {"w1": self.written}).check()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# ---------------------------------------------------------------- errors


def every_error() -> list[type[LogrotorError]]:
    for found in pkgutil.walk_packages(logrotor.__path__, "logrotor."):
        # An engine's module needs its package, and what its worker loads a configuration.
        if not found.name.endswith("__main__") and ".jobs.engines." not in found.name:
            importlib.import_module(found.name)
    known: list[type[LogrotorError]] = []
    wanted = [LogrotorError]
    while wanted:
        known.append(wanted.pop())
        wanted += known[-1].__subclasses__()
    return known


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_errors_pickle(kind: type[LogrotorError]) -> None:
    """Every error comes through a process pool or a queue as it was: type, arguments, text, notes."""
    problem = ConfigProblem("logrotor.toml", "log[1].max_size", "'x' is no size", 7, "app")
    error = kind((problem,)) if issubclass(kind, ConfigError) else kind("/logs/app.log: says what, where and why")
    error.add_note("in the night")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(error, protocol))
        assert (type(back), back.args, str(back), back.__notes__) == (kind, error.args, str(error), ["in the night"])


def test_errors_that_happened_pickle(shop: Shop) -> None:
    """So do those that were really raised, with the problems that they carry."""
    with pytest.raises(LogrotorError) as unknown:
        shop.rotator().run(only=["nonsense"])
    with pytest.raises(ConfigError) as wrong:
        load_config({"log": [{"name": "a", "paths": ["a"], "max_size": "10 potatoes"}]}, environ={"HOME": "/root"})
    for caught in (unknown, wrong):
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert pickle.loads(pickle.dumps(wrong.value)).problems == wrong.value.problems


# ---------------------------------------------------------------- values


def reports(shop: Shop) -> Iterator[Plan | Report]:
    """Plans and reports of every kind: idle, with each step, with failures and refusals."""
    for changes in ({}, {"compress": "gzip"}, {"naming": "dated"}, {"method": "copytruncate", "reopen": "off"},
                    {"archive_dir": "old"}, {"keep_free": "1%"}, {"max_age": "30d", "schedule": "daily"}):  # fmt: skip
        shop.write()
        yield shop.rotator(**changes).plan(force=True)
        yield shop.rotator(**changes).run(force=True)
        yield shop.rotator(**changes).run()
    for name in (".app.log.new", ".app.log.1.zst.tmp"):
        (shop.logs / name).write_bytes(b"x\n")
    os.mkfifo(shop.logs / "odd.log")
    yield shop.rotator().plan()
    yield shop.rotator(on_archive=["/bin/false"], missing="error", reopen="off").run(force=True)


def test_plans_and_reports_are_json(shop: Shop) -> None:
    """json.dumps takes them without help, in strict JSON, and each step says what it is."""
    kinds: set[str] = set()
    for value in reports(shop):
        back = json.loads(json.dumps(as_json(value), allow_nan=False))
        logs = back["logs"] if isinstance(value, Plan) else back["plan"]["logs"]
        kinds |= {
            s["type"] for log in logs for part in ("recover", "take", "retire", "compress", "hooks") for s in log[part]
        }
        assert all(datetime.fromisoformat(back[key]).tzinfo for key in ("now", "started") if key in back)
    assert kinds >= {"take", "copytruncate", "compress", "remove", "run_hook", "drop_temp", "finish_take"}


def test_plans_and_reports_pickle(shop: Shop) -> None:
    """They go through a queue or a process pool as they are."""
    for value in reports(shop):
        assert pickle.loads(pickle.dumps(value)) == value


def test_values_cannot_be_changed(shop: Shop) -> None:
    """A plan is what it is."""
    plan = shop.rotator().plan()
    with pytest.raises(AttributeError):
        plan.logs[0].path = "/etc/passwd"  # type: ignore[misc]


def test_run_carries_out_the_plan(shop: Shop) -> None:
    """What plan says is what run does: the same steps for the same moment."""
    now = datetime.now(UTC)
    planned = shop.rotator().plan(now)
    report = shop.rotator().run(now)
    assert as_json(report.plan.logs) == as_json(planned.logs)
    taken = {o.log for o in report.outcomes if o.action == "take"}
    assert taken == {log.path for log in planned.logs if log.take}
    shop.check()


# ---------------------------------------------------------------- configuration


def test_configuration_from_a_dict_with_a_built_target(shop: Shop) -> None:
    """A target may stand built in the place of its name."""
    target = ReopenTarget(name="built", manager=Manager.CALLABLE, function=shop.asked.append)
    rule = {"name": "app", "paths": [f"{shop.logs}/app.log"], "max_size": "1K", "reopen": target}
    config = load_config({"state_dir": f"{shop.root}/state", "log": [rule]}, environ={})
    assert Rotator(config).run().exit_code == 0
    assert shop.asked == [(f"{shop.logs}/app.log",)]


# ---------------------------------------------------------------- events


def test_events_have_their_names_and_levels(shop: Shop) -> None:
    """Every event that is told stands in events.NAMES, with that level, and its fields are JSON-able."""
    for _ in reports(shop):
        pass
    usual = {"run.started", "rotation.completed", "archive.compressed", "archive.removed", "reopen.signalled"}
    assert {event.name for event in shop.events} >= {*usual, "run.completed"}
    for event in shop.events:
        assert event.level is events.NAMES[event.name][0]
        json.dumps(as_json(event.fields), allow_nan=False)


def test_every_event_is_told_somewhere() -> None:
    """events.NAMES lists no event that nobody tells, and nobody tells one that is not listed."""
    written: set[str] = set()
    told: set[str] = set()
    for path in Path(logrotor.__path__[0]).rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text()))) if path.name != "events.py" else []
        written |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        for node in nodes:
            name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if name in ("emit", "_emit", "tell", "made") and isinstance(node.args[0], ast.Constant):
                told.add(node.args[0].value)
    assert len(told) > 10
    assert sorted(events.NAMES.keys() - written) == []
    assert sorted(told - events.NAMES.keys()) == []


def test_one_word_for_a_reason(shop: Shop) -> None:
    """Whatever was done or put off has a ``reason``, whatever failed or was refused an ``error``; nothing has a why."""
    for _ in reports(shop):
        pass
    told = {event.name: event.fields for event in shop.events}
    for name in ("rotation.completed", "archive.removed", "log.recovered", "log.refused", "hook.failed"):
        assert ("error" if events.NAMES[name][0] is Level.ERROR else "reason") in told[name], name
    assert not any("why" in event.fields for event in shop.events)


def test_a_success_is_silent_but_for_three_events(shop: Shop) -> None:
    """At info: starting, reopen signalled, completed, in this order; missing logs in between, at debug."""
    shop.rotator().run()
    assert [e.name for e in shop.events if e.level >= Level.INFO] == [
        "run.started",
        "reopen.signalled",
        "run.completed",
    ]
    names = [e.name for e in shop.events]
    assert names[:2] == ["run.started", "log.missing"] and names[-1] == "run.completed"


def test_one_number_of_due_logs(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event, the plan and the report count alike: a log that is refused is due all the same."""
    monkeypatch.setattr(snapshot, "_COLLAPSE", frozenset())
    rotator = shop.rotator(method="copytruncate", reopen="off")
    planned = rotator.plan()
    assert [log.refused is not None for log in planned.logs] == [True, True]
    report = rotator.run()
    assert shop.events[0].fields["due"] == planned.due == report.plan.due == 2


def test_the_end_of_a_run_has_its_exit_code(shop: Shop) -> None:
    """run.completed says how the run ended, as the documentation has it."""
    for code, more in ((0, {}), (1, {"missing": "error"})):
        assert shop.rotator(**more).run().exit_code == code
        assert (shop.events[-1].name, shop.events[-1].fields["exit_code"]) == ("run.completed", code)


def test_a_listener_that_raises_stops_nothing(shop: Shop) -> None:
    """Whatever event it fails at, the run goes on, and reports that, once for each error."""
    told: list[str] = []

    def listen(event: Event) -> None:
        told.append(event.name)
        raise ZeroDivisionError("always the same")

    report = Rotator(shop.config(backup_count=99), on_event=listen).run(force=True)
    (problem,) = report.problems
    assert (problem.subject, report.exit_code) == ("on_event", 1) and "ZeroDivisionError" in problem.problem
    assert report.rotated == 2 and report.failed == () and told[-1] == "run.completed" and len(told) > 5
    shop.check()


# ---------------------------------------------------------------- progress and stop


def test_progress_adds_up(shop: Shop) -> None:
    """on_progress tells the bytes read so far and in all; at the end they are equal."""
    seen: list[tuple[int, int]] = []
    Rotator(shop.config(), on_progress=lambda done, total: seen.append((done, total))).run()
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1] == 2 * len(oracle.lines("w1", 1, 100))


def test_stopped_before_it_began(shop: Shop) -> None:
    """Asked to stop at once, a run says that it was interrupted and has rotated nothing."""
    report = Rotator(shop.config(), stop=lambda: True).run(force=True)
    assert report.interrupted and report.rotated == 0
    assert sorted(os.listdir(shop.logs)) == sorted(["app.log", ODD])


def test_stopped_at_any_point(shop: Shop) -> None:
    """Asked to stop at the N-th look, for every N, nothing is half done, and the next run finishes."""
    looks = 0
    while True:
        shop.write()
        count = 0

        def stop(limit: int = looks) -> bool:
            nonlocal count
            count += 1
            return count > limit

        report = Rotator(shop.config(backup_count=99), stop=stop).run(force=True)
        assert report.exit_code == 0
        assert not [name for name in os.listdir(shop.logs) if name.startswith(".")]
        if not report.interrupted:
            break
        assert shop.rotator(backup_count=99).run().exit_code == 0
        shop.check()
        looks += 1
    assert looks > 5


# ---------------------------------------------------------------- no trace


def traces() -> dict[str, object]:
    """Everything of this process that a library has no business to change."""
    umask = os.umask(0)
    os.umask(umask)
    return {
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "umask": umask,
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "logging": (logging.root.level, list(logging.root.handlers), logging.lastResort, logging.raiseExceptions),
        "loggers": sorted(n for n in logging.root.manager.loggerDict if n.startswith(("logrotor", "structlog"))),
        "warnings": list(warnings.filters),
        "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr, sys.getswitchinterval()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "ids": (os.getresuid(), os.getresgid(), os.getgroups(), os.getpid(), os.getpgrp()),
        "children": children(),
    }  # fmt: skip


def children() -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text[text.rindex(")") + 2 :].split()[1] == str(os.getpid()):
            found.append(pid)
    return found


def test_no_trace_in_the_process(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    """Signal handlers, umask, cwd, logging, threads, descriptors, children: all as before; nothing is printed."""
    assert shop.rotator().run(force=True).exit_code == 0  # what is imported late stays, and is no trace
    shop.write()
    before = traces()
    for changes in (
        {},
        {"compress": "gzip"},
        {"method": "copytruncate", "reopen": "off"},
        {"on_archive": ["/bin/false"]},
    ):
        shop.write()
        shop.rotator(**changes).plan(force=True)
        shop.rotator(**changes).run(force=True)
    with pytest.raises(LogrotorError):
        shop.rotator().run(only=["nonsense"])
    assert traces() == before
    assert capfd.readouterr() == ("", "")


def test_in_a_thread(shop: Shop) -> None:
    """It runs in a thread that is not the main one, where no signal handler could be set."""
    found: list[Report] = []
    thread = threading.Thread(target=lambda: found.append(shop.rotator().run()))
    thread.start()
    thread.join(60)
    assert found[0].exit_code == 0 and found[0].rotated == 2
    shop.check()


def test_after_a_fork(shop: Shop) -> None:
    """A rotator that was used before runs in a forked child, and in the parent again."""
    rotator = shop.rotator(backup_count=99)
    assert rotator.run(force=True).rotated == 2
    for _ in range(2):
        shop.write()
        assert users.in_fork(lambda: rotator.run(force=True)).rotated == 2
        shop.write()
        assert rotator.run(force=True).rotated == 2
        shop.check()


def test_sigchld_ignored_by_the_host(shop: Shop) -> None:
    """A daemon that ignores SIGCHLD gets no false success of a hook, and no exception."""

    def run() -> tuple[int, str]:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        report = shop.rotator(on_archive=["/bin/true"]).run()
        return report.exit_code, " ".join(outcome.reason for outcome in report.failed)

    code, said = users.in_fork(run)
    assert code == 0 or "cannot be known" in said or "ended with None" in said
    shop.check()


def test_the_face_of_the_library() -> None:
    """What __all__ names is there; anything else is an AttributeError."""
    assert {"Rotator", "__version__", "load_config"} < set(logrotor.__all__)
    with pytest.raises(AttributeError):
        logrotor.rotate  # type: ignore[attr-defined]  # noqa: B018
    assert (Path(logrotor.__path__[0]) / "py.typed").exists()


def test_help_shows_both_faces() -> None:
    """help(logrotor) in a fresh interpreter tells of Rotator and load_config, which are imported when asked for."""
    code = "import logrotor, pydoc; print(pydoc.plain(pydoc.render_doc(logrotor)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "class Rotator(" in told and "load_config(source" in told


def test_what_is_no_loaded_configuration_is_refused_at_once() -> None:
    """The path of a file in place of a configuration is told where it is given, with what to give."""
    with pytest.raises(TypeError, match=r"'logrotor.toml' is no loaded configuration; give load_config\(...\)"):
        Rotator("logrotor.toml")  # type: ignore[arg-type]


@pytest.mark.parametrize("call", ["plan", "run"])
def test_a_naive_time_and_a_bare_string_are_refused(shop: Shop, call: str) -> None:
    """A time without a zone is no moment, and a string is no list of names; nothing is touched."""
    before = sorted(os.listdir(shop.logs))
    with pytest.raises(ValueError, match="has no time zone; give an aware one"):
        getattr(shop.rotator(), call)(datetime(2026, 11, 21))
    with pytest.raises(TypeError, match=r"only = 'app' is a string; give a list, such as only=\['app'\]"):
        getattr(shop.rotator(), call)(only="app")
    assert sorted(os.listdir(shop.logs)) == before


@pytest.mark.parametrize(("times", "code"), [(1, 0), (3, 0), (9, 1)])
def test_stale_is_not_for_users(shop: Shop, times: int, code: int) -> None:
    """A log that changes between plan and run is planned again, not reported as an error, unless that goes on."""
    from logrotor.disk.logdir import LogDir

    real, met = LogDir.expect, []

    def expect(self: LogDir, name: str, file: Any) -> Any:
        if name == "app.log.1" and len(met) < times:
            met.append(name)
            raise Stale("changed since the plan was made")
        return real(self, name, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogDir, "expect", expect)
        report = shop.rotator().run()
    assert met and (report.exit_code, report.rotated) == (code, 2 - code)
    assert len(report.failed) == code
    shop.check()


def test_a_temp_that_another_run_has_dropped(shop: Shop) -> None:
    """Both saw what a killed run had left; who comes later finds it gone, which is what it wanted."""
    from logrotor.disk.logdir import LogDir

    (shop.logs / ".app.log.1.zst.tmp").write_bytes(b"half of it")
    drop = LogDir.drop

    def after_another(self: LogDir, name: str, file: Any) -> None:
        drop(self, name, file)
        drop(self, name, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogDir, "drop", after_another)
        report = shop.rotator().run()
    assert report.exit_code == 0 and not report.failed and not list(shop.logs.glob(".*.tmp"))
    shop.check()
