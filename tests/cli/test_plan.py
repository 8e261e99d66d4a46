"""``logrotor plan``: what it shows, and with which code it ends. Its words are in golden/plan.txt."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone

import pytest

import logrotor.clock
from logrotor.cli.options import moment

NAME = os.fsdecode(b"a\x1b[2J\n\xff.log")


def actions(out: str) -> list[str]:
    """The words of the steps, in their order."""
    return [line.split()[0] for line in out.splitlines() if line.startswith("      ")]


def test_steps_stand_in_their_order(here, logrotor):
    """I see each step in the order in which it happens; the JSON has the same with exact numbers and reasons."""
    reopen = 'reopen = "it"\n[reopen.it]\nmanager = "command"\ncommand = ["true"]'
    for _ in range(3):
        here.log()
        here.run()
    here.log()
    here.configure(reopen)
    here.file.write_text(here.file.read_text().replace("backup_count = 7", "backup_count = 2"))
    shown = actions(logrotor("plan", code=0).out)
    assert shown == ["shift"] * 3 + ["take", "reopen"] + ["remove"] * 2 + ["compress"]
    (log,) = logrotor("plan", "--json", code=0).json["logs"]
    assert log["size"] == 20_000 and log["due"]["type"] == "due" and log["reopen"] == "it"
    assert all(step["reason"] for step in (*log["take"], *log["retire"], *log["compress"]))


def test_what_an_interrupted_run_left(here, logrotor):
    """Each leftover has a step of its own, before all others."""
    here.log(size=320)
    (here.logs / ".app.log.1.zst.tmp").write_text("half an archive")
    here.log("taken.log").rename(here.logs / ".taken.log.new")
    here.log("taken.log", size=320)
    assert set(actions(logrotor("plan", code=0).out)) == {"drop", "finish", "compress"}


def test_names_cannot_act_on_the_terminal(here, logrotor):
    """A log whose name holds a newline, ANSI codes or bytes that are no UTF-8 is shown escaped, everywhere."""
    path = here.log(NAME)
    here.run()
    here.log(NAME)
    here.configure(paths='["logs/*.log", "logs/gone\\u001b.log"]')
    for words in ([], ["-v"], [path], [f"{path}.1.zst"], [NAME]):
        out = logrotor("plan", *words, code=0).out
        assert "a\\x1b[2J\\n" in out and "\x1b" not in out and out.isascii()


@pytest.mark.parametrize("given", ["2026-11-22 03:00", "2026-11-22T03:00", "2026-11-22T03:00:00+00:00"])
def test_at_is_local_time(here, logrotor, given):
    """--at takes a local time, or one with an offset."""
    now = datetime.fromisoformat(logrotor("plan", "--json", "--at", given, code=0).json["now"])
    assert now.tzinfo is not None and (now.hour, now.minute) == (3, 0)


def test_local_zone_is_that_of_the_day(monkeypatch):
    """--at in summer is summer time, also when asked in winter."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    winter = datetime(2026, 11, 21, tzinfo=timezone(timedelta(hours=1)))
    try:
        monkeypatch.setattr(logrotor.clock, "local_now", lambda: winter)
        assert moment("2026-07-01 03:00").utcoffset() == timedelta(hours=2)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_force_and_only(here, logrotor):
    """plan --force --only shows what run --force --only would do."""
    here.log("a.log", size=320), here.log("b.log", size=320)
    planned = logrotor("plan", "--force", "--only", here.logs / "a.log", "--json", code=0).json["logs"]
    assert [(os.path.basename(log["path"]), log["due"]["type"]) for log in planned] == [("a.log", "due")]
    assert (
        logrotor("run", "--dry-run", "--force", "--only", "app", "--json").json["logs"]
        == (logrotor("plan", "--force", "--only", "app", "--json").json["logs"])
    )


@pytest.mark.parametrize("trouble", ["refused", "problem", "rule", "state"])
def test_trouble_is_exit_1(here, logrotor, trouble):
    """If a run would fail for some log or rule, plan says so and ends with 1; the plan is shown all the same."""
    log = here.log()
    if trouble == "refused":
        os.link(log, here.folder / "second")
    elif trouble == "problem":
        here.configure(paths='["logs/*.log", "logs/gone.log"]\nmissing = "error"')
    elif trouble == "rule":
        here.configure('[[log]]\nname = "b"\nmax_sise = 1')
    else:
        here.state.touch()
    found = logrotor("plan", "--json", code=1).json
    assert [each["path"] for each in found["logs"]] == [str(log)]
    assert bool(found["problems"]) != (found["logs"][0]["refused"] is not None)


# ---------------------------------------------------------------- PATH


def test_path_of_a_log(here, logrotor):
    """Under any path that leads to it; --json with a PATH holds just that log."""
    here.log("a.log"), here.log("b.log")
    (here.folder / "link").symlink_to("logs")
    for path in (here.logs / "a.log", here.folder / "link/a.log", "a.log"):
        found = logrotor("plan", path, "--json", code=0).json
        assert [log["path"] for log in found["logs"]] == [f"{here.logs}/a.log"] and found["missing"] == []
    assert logrotor("plan", "app", code=0).out.count("  rule") == 2


@pytest.mark.parametrize("archive_dir", ["", "old"])
def test_path_of_an_archive(here, logrotor, archive_dir):
    """It is asked for under the name that it has now, wherever it lies; the answer is that of its log."""
    here.configure(f'archive_dir = "{archive_dir}"' if archive_dir else "")
    here.log()
    here.run()
    here.log()
    for path in (here.logs / archive_dir / "app.log.1.zst", "app.log.1.zst"):
        first = logrotor("plan", path, code=0).out.splitlines()[0]
        assert str(here.logs / "app.log") in first and "app.log.2.zst" in first
    found = logrotor("plan", "app.log.1.zst", "--json", code=0).json
    assert [log["path"] for log in found["logs"]] == [f"{here.logs}/app.log"]


def test_path_of_no_log(here, logrotor):
    """A configured log that is missing is fine; a file of no rule, or of nobody, is none of ours: exit code 1."""
    here.configure(paths='["logs/*.log", "logs/gone.txt"]')
    assert logrotor("plan", here.logs / "gone.txt", "--json", code=0).json["missing"] == [f"{here.logs}/gone.txt"]
    (here.folder / "x.log").touch()
    for path in (here.folder / "x.log", here.folder / "y.log"):
        assert logrotor("plan", path, code=1).out


def test_ctrl_c_in_a_plan(here, logrotor, monkeypatch):
    """Ctrl-C while planning ends with 130 and no traceback."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("logrotor.rotator.Rotator.plan", interrupted)
    assert logrotor("plan", code=130).err.strip() == ""
