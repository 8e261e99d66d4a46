"""A dry run is honest: it changes nothing, and a run right after it does what it said, no more and no less."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import zstandard
from msgspec.structs import replace

from logrotor.model import LogPlan, Plan, Report, Status, action_of
from tests.proof import interfere
from tests.proof.test_debris import build, draw
from tests.support import command, oracle, strace

# ---------------------------------------------------------------- it changes nothing

SITUATIONS = ("first", "due", "debris", "nothing due", "missing directory", "broken rule", "unsafe")
COMMANDS = (("plan",), ("plan", "--json"), ("run", "--dry-run"), ("run", "--dry-run", "--force"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "logs/old").mkdir(parents=True)
    return tmp_path


def situate(site: Path, situation: str) -> None:
    """A log with archives; and, but for "first", a state directory that knows of an earlier run."""
    logs, file = site / "logs", site / "logrotor.toml"
    text = f"""
state_dir = "{site}/state"
[[log]]
name = "app"
paths = ["{logs}/*.log"]
max_size = {1_000_000 if situation == "nothing due" else 1000}
backup_count = 2
archive_dir = "old"
[[log]]
name = "other"
paths = ["{site}/{"nowhere/" if situation == "missing directory" else ""}other.txt"]
max_size = 1000
create_missing = true
"""
    file.write_text(text)
    (logs / "app.log").write_bytes(oracle.lines("w1", 1, 50))
    if situation != "first":
        command.logrotor("run", "-c", file, check=0)
        (logs / "app.log").write_bytes(oracle.lines("w1", 51, 100))
    if situation == "debris":
        (logs / "app.log.1").write_bytes(oracle.lines("w1", 101, 110))
        (logs / "app.log.1.zst").write_bytes(zstandard.compress(oracle.lines("w1", 101, 110)))
        (logs / ".app.log.new").write_bytes(oracle.lines("w1", 111, 120))
        (logs / "old/.app.log.7.zst.tmp").write_bytes(b"unfinished")
    if situation == "broken rule":
        file.write_text(text + '[[log]]\nname = "wrong"\npaths = ["wrong.log"]\nmax_size = "10 potatoes"\n')
    if situation == "unsafe":
        logs.chmod(0o777)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_no_changing_system_call(site, situation):
    """Under strace, neither ``plan`` nor ``run --dry-run`` makes a single call that changes something."""
    situate(site, situation)
    for arguments in COMMANDS[:: 1 if situation in ("first", "debris") else 3]:
        result, calls = strace.changes(command.arguments(*arguments, "-c", site / "logrotor.toml"))
        assert result.code in (0, 1), result
        assert [str(call) for call in calls] == [], arguments


def test_strace_sees_a_change(site):
    """The same look at a real run finds its changes: the check can fail."""
    situate(site, "due")
    _, calls = strace.changes(command.arguments("run", "-c", site / "logrotor.toml"))
    assert {"renameat2", "unlink", "unlinkat"} & {call.name for call in calls}


def test_dry_run_is_plan(site):
    """``run --dry-run`` is ``plan``, but for the moment."""
    situate(site, "debris")
    shown = [
        command.logrotor(*arguments, "--json", "-c", site / "logrotor.toml", check=0).json
        for arguments in (("plan",), ("run", "--dry-run"))
    ]
    for plan in shown:
        del plan["now"]
    assert json.dumps(shown[0], sort_keys=True) == json.dumps(shown[1], sort_keys=True)


# ---------------------------------------------------------------- it is what happens


@pytest.mark.parametrize("part", range(2))
def test_plan_is_what_the_run_does(part, tmp_path):
    """In hundreds of situations the plan is the run's plan, and each of its steps is done, in this order."""
    steps = follow(range(50_000 + part, 50_300, 2), tmp_path)
    assert steps > 200


@pytest.mark.long
@pytest.mark.parametrize("part", range(2))
def test_plan_is_what_the_run_does_at_length(part, tmp_path):
    """In thousands."""
    assert follow(range(60_000 + part, 64_000, 2), tmp_path) > 2000


def follow(numbers: range, otherwise: Path) -> int:
    """Plan and run each case; the number of steps that were compared."""
    compared = 0
    with interfere.memory_folder(lambda: otherwise) as root:
        for number in numbers:
            case = draw(number)
            place = root / "case"
            build(place / "logs", case)
            size = 60 if case.due else 1_000_000
            rule = {"name": "app", "paths": [str(place / "logs/*.log")], "max_size": size, **case.rule}
            rotator = interfere.rotator(place / "state", rule)
            try:
                plan = rotator.plan(force=case.force)
                report = rotator.run(force=case.force)
                assert shown(report.plan) == shown(plan)
                compared += sum(done_as_planned(log, report) for log in plan.logs)
            except AssertionError as error:
                error.add_note(str(case))
                raise
            finally:
                shutil.rmtree(place)
    return compared


def shown(plan: Plan) -> tuple[LogPlan, ...]:
    """All that a plan says. What it counted in seconds may have grown by the time of the run."""
    return tuple(replace(log, due=type(log.due)(log.due.reason)) for log in plan.logs)


def done_as_planned(log: LogPlan, report: Report) -> int:
    """Each step has an outcome, in order within its phase, and there is no other outcome; the number of steps."""
    outcomes = [o for o in report.outcomes if o.log == log.path and o.status is not Status.DEFERRED]
    if log.refused is not None:
        assert [(o.action, o.status, o.reason) for o in outcomes] == [("plan", Status.FAILED, log.refused)]
        return 1
    assert all(o.status is Status.DONE for o in outcomes), outcomes
    first = [(action_of(step), step_name(step)) for step in (*log.recover, *log.take, *log.retire)]
    later = sorted((action_of(step), step_name(step)) for step in log.compress)  # the smallest first
    found = [(o.action, o.name) for o in outcomes]
    assert found[: len(first)] == first
    assert sorted(found[len(first) :]) == later
    return len(found)


def step_name(step: object) -> str:
    return getattr(step, "name", None) or getattr(step, "base", "") or "slots"
