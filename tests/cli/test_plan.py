"""``logrotor plan``: what it shows, and with which code it ends."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from logrotor.model import (
    Codec,
    Compress,
    ConfigProblem,
    Copytruncate,
    CreateLive,
    DropTemp,
    Due,
    FileId,
    FinishTake,
    Move,
    NotDue,
    Note,
    Plan,
    Problem,
    Remove,
    RunHook,
    Shift,
    Take,
)
from tests.cli.world import LOGS, NOW, ZONE, idle

ID = FileId(1, 2)


def busy(name: str = "payments-queue.log"):
    move = Move(LOGS, f"{name}.1.zst", f"{name}.2.zst", ID)
    return idle(
        name,
        due=Due("12.3 MiB is over max_size 10.0 MiB"),
        size=12_900_000,
        take=(Take(LOGS, name, ID, 12_900_000, (move,), True, 0o664, "over max_size"),),
        reopen="supervisor",
        reopen_reason="its log is taken",
        retire=(Remove(LOGS, f"{name}.8.zst", ID, 900_000, False, "more than backup_count 7"),),
        compress=(Compress(LOGS, f"{name}.1", ID, 1, LOGS, f"{name}.1.zst", Codec.ZSTD, 3, True, "nobody writes it"),),
        hooks=(RunHook(LOGS, f"{name}.2.zst", ID, ("upload", "--now"), 300.0),),
        deferred=(Note(f"{name}.3", "still written by pid 71"),),
        kept=(Note(f"{name}.2.zst", "1 of 7"), Note(f"{name}.7.zst", "7 of 7")),
        protocol="exchange",
        proof="lease",
    )


@pytest.fixture
def full(world):
    """One log with everything to do, two idle ones."""
    logs = (busy(), idle("a-queue.log", protocol="exchange", proof="lease"), idle("laravel.log"))
    world.plan = Plan(now=NOW, logs=logs, missing=(f"{LOGS}/mpesa_raw.log",))
    return world


def test_steps_stand_in_their_order_with_reasons(logrotor, full):
    """I see each step in the order in which it happens, with its reason."""
    lines = [line.split() for line in logrotor("plan").out.splitlines() if line.startswith("      ")]
    actions = [line[0] for line in lines]
    assert actions == ["shift", "take", "reopen", "remove", "compress", "hook", "deferred"]
    out = logrotor("plan").out
    for reason in ("due: 12.3 MiB is over", "more than backup_count 7", "still written by pid 71", "-> payments-queue"):
        assert reason in out


def test_overview_counts_and_directory(logrotor, full):
    """The first line counts; each directory says how its logs are taken and how that is proved."""
    out = logrotor("plan").out
    assert out.startswith("Plan for 2026-11-21 22:30 +01:00 (/etc/logrotor.toml): 3 logs, 1 due; 1 archive to remove")
    assert f"{LOGS}/" in out.splitlines() and "taken by exchange" in out and "lease" in out


def test_rules_without_a_log(logrotor, world):
    """A misspelt glob looks like a rule with nothing to do; the plan names it."""
    rule = Note("app", "nothing matches /srv/logs/*.lgo")
    world.plan = Plan(now=NOW, logs=(), unmatched=(rule,))
    assert "Rules without a log:\n  app  nothing matches /srv/logs/*.lgo" in logrotor("plan").out
    assert logrotor("plan", "--json").json["unmatched"] == [{"name": rule.name, "reason": rule.reason}]


def test_idle_logs_are_one_line(logrotor, full):
    """Logs with nothing to do, and missing ones, take one line; -v lists them."""
    short, long = logrotor("plan").out, logrotor("plan", "-v").out
    assert "2 logs with nothing to do" in short and "a-queue.log" not in short and "mpesa_raw" not in short
    assert "1 configured log missing" in short
    assert "a-queue.log" in long and "below max_size" in long and f"  {LOGS}/mpesa_raw.log" in long


def test_recovery_steps_have_words(logrotor, world):
    """What an interrupted run left, and what is done about it, is shown too."""
    move = Move(LOGS, "a.1", "a.2", ID)
    recover = (
        DropTemp(LOGS, ".a.1.zst.tmp", ID, "unfinished"),
        FinishTake(LOGS, "a", ID, (move,), "a crash left it"),
        Shift((move,), "two generations in slot 1"),
        CreateLive(LOGS, "a", 0o664, "missing"),
    )
    cut = Copytruncate(LOGS, "a", ID, 5000, (), collapse=True, accept_loss=False, reason="over max_size")
    world.plan = Plan(now=NOW, logs=(idle("a", recover=recover, take=(cut,)),))
    out = logrotor("plan").out
    for words in ("drop", "finish", "shift", "create", "mode 0664", "collapsed"):
        assert words in out


def test_names_cannot_act_on_the_terminal(logrotor, world):
    """A log whose name holds a newline, ANSI codes or bytes that are no UTF-8 is shown escaped, everywhere."""
    name = os.fsdecode(b"a\x1b[2J\n\xff.log")
    path = f"{LOGS}/{name}"
    world.plan = Plan(now=NOW, logs=(busy(name),), missing=(path,), skipped=(Note(path, name),), problems=(name,))
    for args in (("plan",), ("plan", "-v"), ("plan", path), ("plan", f"{path}.7.zst"), ("plan", name)):
        out = logrotor(*args).out
        assert "a\\x1b[2J\\n" in out or "a\\x1b[2J\n    \\xff" in out
        assert "\x1b" not in out and out.isascii()


def test_json_is_exact(logrotor, full):
    """--json gives exact bytes and ISO times."""
    plan = logrotor("plan", "--json").json
    assert plan["now"] == "2026-11-21T22:30:00+01:00" and plan["logs"][0]["size"] == 12_900_000
    assert plan["logs"][0]["due"] == {"type": "due", "reason": "12.3 MiB is over max_size 10.0 MiB"}


@pytest.mark.parametrize("given", ["2026-11-22 03:00", "2026-11-22T03:00", "2026-11-22T03:00:00+00:00"])
def test_at_is_local_time(logrotor, world, given):
    """--at takes a local time, or one with an offset."""
    logrotor("plan", "--at", given)
    now = world.asked["now"]
    assert now.tzinfo is not None and (now.hour, now.minute) == (3, 0)


def test_at_that_is_no_time(logrotor, world):
    """--at says what it accepts."""
    result = logrotor("plan", "--at", "tomorrow")
    assert result.code == 2 and "accepted" in result.err and "command" not in world.asked


def test_force_and_only_reach_the_planner(logrotor, world):
    """plan --force --only shows what run --force --only would do."""
    logrotor("plan", "--force", "--only", "workers")
    assert (world.asked["force"], world.asked["only"]) == (True, ("workers",))


@pytest.mark.parametrize("trouble", ["refused", "problem", "rule"])
def test_trouble_is_exit_1(logrotor, world, trouble):
    """If a run would fail for some log or rule, plan says why and ends with 1."""
    refused = idle("b.log", refused="why not") if trouble == "refused" else idle("b.log")
    world.plan = Plan(now=NOW, logs=(refused,), problems=("why not",) if trouble == "problem" else ())
    if trouble == "rule":
        world.config = replace(world.config, problems=(ConfigProblem("f", "k", "why not"),))
    result = logrotor("plan")
    assert result.code == 1 and "why not" in result.out


def test_a_state_directory_with_which_every_run_would_end(logrotor, world):
    """The plan is shown, with what is in the way of a run, and exit code 1."""
    world.state_problem = Problem(subject="state_dir /x", problem="is a file", advice="name a directory")
    result = logrotor("plan", "-v")
    assert result.code == 1 and "a-queue.log" in result.out and f"error: {world.state_problem}" in result.out


def test_path_says_rule_due_next_and_archives(logrotor, world):
    """For one log I see its rule with its limits, why it is not due, when it will be, and which archive goes next."""
    slot = NOW + timedelta(hours=3)
    log = replace(busy(), due=NotDue("schedule daily was kept at 00:00", slot), take=(), reopen=None)
    world.plan = Plan(now=NOW, logs=(idle("a-queue.log"), log))
    out = logrotor("plan", log.path).out
    assert "workers (max_size 10.0 MiB)" in out and "no: schedule daily was kept at 00:00" in out
    assert "2026-11-22 01:30 +01:00 (in 3 h)" in out and "a-queue.log" not in out
    archives = out[out.index("newest first; the last") :].splitlines()[1:]
    assert [line.split()[1] for line in archives] == ["stays", "stays", "goes"]


def test_path_through_a_symlink(logrotor, world, tmp_path):
    """A log is found under any path that leads to it."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "logs").symlink_to("shared")
    world.plan = Plan(now=NOW, logs=(replace(idle("x"), path=f"{tmp_path}/shared/x.log"),))
    assert logrotor("plan", f"{tmp_path}/logs/x.log").code == 0


def test_rule_name(logrotor, full):
    """The name of a rule shows all its logs at length."""
    out = logrotor("plan", "workers").out
    assert out.count("  rule") == 3


def test_archive_path(logrotor, full):
    """For an archive I see whose it is and why it stays or goes."""
    stays = logrotor("plan", f"{LOGS}/payments-queue.log.7.zst")
    goes = logrotor("plan", f"{LOGS}/payments-queue.log.8.zst")
    assert stays.code == goes.code == 0
    assert "an archive of" in stays.out and "7 of 7" in stays.out.splitlines()[0]
    assert "it is removed now" in goes.out.splitlines()[0]


def test_archive_that_is_shifted(logrotor, full):
    """An archive is asked for under the name it has now; the answer says which it gets."""
    first = logrotor("plan", f"{LOGS}/payments-queue.log.1.zst").out.splitlines()[0]
    assert "it becomes payments-queue.log.2.zst; 1 of 7" in first


def test_archive_in_archive_dir(logrotor, full):
    """An archive in archive_dir is found too."""
    spec = replace(full.config.logs[0], archive_dir="old")
    full.config = replace(full.config, logs=(spec,))
    assert "an archive of" in logrotor("plan", f"{LOGS}/old/payments-queue.log.2.zst").out


def test_path_as_json(logrotor, full):
    """--json with a PATH holds just that log."""
    plan = logrotor("plan", f"{LOGS}/payments-queue.log", "--json").json
    assert [log["path"] for log in plan["logs"]] == [f"{LOGS}/payments-queue.log"] and plan["missing"] == []


def test_missing_path(logrotor, full):
    """A configured log that does not exist is said to be missing; that is fine."""
    result = logrotor("plan", f"{LOGS}/mpesa_raw.log")
    assert result.code == 0 and "missing, which is fine" in result.out


def test_stranger(logrotor, full, tmp_path):
    """A file of no rule is said to be none of ours: exit code 1."""
    (tmp_path / "x.log").touch()
    result = logrotor("plan", str(tmp_path / "x.log"))
    assert result.code == 1 and "is no log or archive of any rule" in result.out
    assert "does not exist" in logrotor("plan", str(tmp_path / "y.log")).out


def test_ctrl_c_in_a_plan(logrotor, world, monkeypatch):
    """Ctrl-C while planning ends with 130 and no traceback."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("logrotor.cli.planning._plan", lambda *a, **k: interrupted())
    result = logrotor("plan")
    assert (result.code, result.err.strip()) == (130, "")


def test_local_zone_is_that_of_the_day(monkeypatch):
    """--at in summer is summer time, also when asked in winter."""
    import logrotor.clock
    from logrotor.cli.options import moment

    monkeypatch.setenv("TZ", "Europe/Berlin")
    import time

    time.tzset()
    try:
        monkeypatch.setattr(logrotor.clock, "local_now", lambda: datetime(2026, 11, 21, tzinfo=ZONE))
        assert moment("2026-07-01 03:00").utcoffset() == timedelta(hours=2)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
