"""status tells how each log stands, what needs attention first; --check tells a monitoring system."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
import unicodedata
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from logrotor import text
from logrotor.disk.database import OURS
from logrotor.model import Finding, Problem
from logrotor.observe.attention import Thresholds, attention
from logrotor.observe.causes import Attention, causes
from logrotor.observe.forecast import SystemStatus
from logrotor.observe.rotations import records
from logrotor.observe.status import LogStatus, Pending, Status, status
from tests.support import mounts
from tests.support.writers import Kind, Writer

NOW = datetime(2026, 11, 21, 22, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def grown(here, hours: int, *, size: int = 12_800) -> float:
    """A log that was rotated every hour, ``size`` bytes each, the last time ``hours`` ago; returns that time."""
    last = time.time() - hours * 3600
    for n in (3, 2, 1, 0):
        here.log(size=size)
        here.run(last - n * 3600)
    return last


def test_a_steady_log_is_forecast(here, logrotor):
    """From its samples, across its rotations: when it will be larger than max_size, within 10 %."""
    here.configure(size="12.5KB")
    last = grown(here, 0, size=12_832)
    (here.logs / "app.log").write_bytes(b"x" * 6416)
    found = status(here.seen(datetime.fromtimestamp(last + 1800, UTC))).logs[0]
    assert found.next_due is not None and found.next_due_by == "size"
    assert abs(found.next_due.timestamp() - (last + 3600)) < 360
    assert found.pace == pytest.approx(12_832 / 3600, rel=0.1)


def test_two_points_are_no_forecast(here, logrotor):
    """Said as "unknown"; a schedule is known all the same."""
    here.log(size=12_800)
    here.run()
    here.log(size=320)
    (log,) = logrotor("status", "--json", code=0).json["logs"]
    assert log["next_due"] is None and log["pace"] is None
    here.configure('schedule = "daily"')
    (log,) = logrotor("status", "--json", code=0).json["logs"]
    assert log["next_due_by"] == "schedule" and log["pace"] is None


def test_all_facts(here, logrotor):
    """Size, limit, last rotation and its outcome, archives with bytes and ratio, file system."""
    here.log(size=32_000)
    here.run()
    here.log(size=320)
    archive = here.logs / "app.log.1.zst"
    (log,) = (found := logrotor("status", "--json", code=0).json)["logs"]
    assert (log["size"], log["max_size"], log["archives"], log["archive_bytes"]) == (
        320, 10240, 1, archive.stat().st_size
    )  # fmt: skip
    assert log["ratio"] == pytest.approx(32_000 / archive.stat().st_size) and log["last_outcome"] == "done"
    assert found["last_run"] and found["file_systems"][0]["free"] > 0 and not log["due"]


def test_a_writer_that_does_not_let_go_is_named(here, logrotor):
    """The archive, the reason, and the process that holds it."""
    with Writer(here.logs / "app.log", Kind.HOLD, on_order=True) as writer:
        writer.write(400)
        here.run(force=True)
        (log,) = logrotor("status", "--json", code=0).json["logs"]
        assert [(p["name"], p["reason"], p["pids"]) for p in log["pending"]] == [
            ("app.log.1", f"process {writer.pid} ({writer.program}) still writes it", [writer.pid])
        ]


@pytest.mark.parametrize("more", ["", 'compress = "none"'])
def test_an_archive_that_grows_instead_of_its_log(here, logrotor, more):
    """It counts as the log would: twice max_size is told at once, and its bytes are in the metrics."""
    here.configure(f'{more}\n[metrics]\ntextfile = "logrotor.prom"', size="10KB")
    with Writer(here.logs / "app.log", Kind.HOLD, on_order=True, width=100) as writer:
        writer.write(110)
        logrotor("run", code=0)
        (log,) = logrotor("status", "--json", code=0).json["logs"]
        (held,) = log["pending"]
        assert (held["held"], held["size"], held["grown"]) == (True, 11_000, 0) and codes(here) == []
        writer.write(100)
        assert logrotor("status", "--check", code=1).out.startswith("ATTENTION") and codes(here) == ["growing"]
        (log,) = logrotor("status", "--json", code=0).json["logs"]
        assert log["held_bytes"] == 21_000 and log["pending"][0]["grown"] == 10_000
        logrotor("run", code=0)
        assert "logrotor_log_held_bytes{" in (told := (here.folder / "logrotor.prom").read_text())
        assert f'{{log="{here.logs}/app.log",rule="app"}} 21000\n' in told
    logrotor("run", code=0)
    assert codes(here) == [] and logrotor("status", "--json").json["logs"][0]["held_bytes"] == 0


def test_what_needs_attention_comes_first(here, logrotor):
    """Refused, failing, due, then the others by when they are due."""
    here.configure(size="5KB")
    for name in ("a.log", "b.log", "c.log"):
        here.log(name, size=640)
    here.log("c.log", size=20_000)
    os.link(here.logs / "b.log", here.folder / "second-name")
    told = logrotor("status", "--json").json["logs"]
    assert [os.path.basename(log["path"]) for log in told] == ["b.log", "c.log", "a.log"]


def test_odd_names_are_shown_as_text(here, logrotor):
    """A name cannot act on the terminal."""
    here.log("\x1b[31m\n.log")
    assert "\\x1b[31m\\n.log" in logrotor("status", code=0).out


def test_nothing_is_changed(here, logrotor):
    """No state directory is made, no time is touched."""
    here.log()
    before = sorted((str(p), p.lstat().st_ctime_ns) for p in here.folder.rglob("*"))
    logrotor("status", code=0)
    assert sorted((str(p), p.lstat().st_ctime_ns) for p in here.folder.rglob("*")) == before


# ---------------------------------------------------------------- --check


def codes(here) -> list[str]:
    """What needs attention now, by the usual thresholds."""
    return [each.code for each in attention(status(here.seen()), Thresholds())]


def test_check_without_a_run(here, logrotor):
    """Nobody runs it: exit 1; after a run, and also an idle one: OK."""
    here.log(size=320)
    logrotor("status", "--check", code=1)
    here.run()
    assert logrotor("status", "--check", code=0).out.startswith("OK")


def test_check_after_the_last_run_has_become_old(here, logrotor):
    """The dead man's switch; its threshold can be set."""
    here.run()
    os.utime(here.state / "last-run", (time.time() - 2 * 3600,) * 2)
    assert codes(here) == ["no_run"] and logrotor("status", "--check", code=1).out.startswith("ATTENTION")
    logrotor("status", "--check", "--no-run", "1d", code=0)
    assert logrotor("status", "--check", "--no-run", "soon", code=2).err


def test_check_failures_in_a_row(here, logrotor):
    """One failure is retried by the next run; three in a row are told."""
    here.cannot_ask()
    for n in range(3):
        here.hold()
        assert here.run().exit_code == 1
        logrotor("status", "--check", code=1 if n == 2 else 0)
    assert codes(here) == ["failed_runs", "failures"]


def refuse(here) -> None:
    """A log with a second name is not touched."""
    os.link(here.log(), here.folder / "second-name")


def recorded(here) -> list[tuple[int, int]]:
    """Of each run of the history: how it ended, and for how many runs in a row its failures stand."""
    found = records(str(here.state))
    return [(each.run.exit, max((other.runs for other in each.others), default=1)) for each in found]


def test_a_refusal_that_is_all_that_happens_is_counted(here, logrotor):
    """Five runs that end with 1 are five failures in a row, in one row of the history."""
    refuse(here)
    for n in range(1, 6):
        assert here.run().exit_code == 1
        found = status(here.seen())
        assert (found.logs[0].failures, found.failed_runs) == (n, n)
    assert recorded(here) == [(1, 5)]
    assert {"failed_runs", "failures"} <= {*codes(here)}
    assert len(logrotor("history", "--failed", "--json", code=0).json["runs"]) == 1


def test_refusals_are_counted_over_runs_that_did_something_else(here):
    """What another log does neither ends nor hides it."""
    refuse(here)
    for name in ("", "", "other.log", "", ""):
        if name:
            here.log(name)
        here.run()
    found = status(here.seen())
    assert {os.path.basename(log.path): log.failures for log in found.logs} == {"app.log": 5, "other.log": 0}
    assert recorded(here) == [(1, 2), (1, 1), (1, 2)]


def test_a_good_run_between_ends_the_row(here):
    """Mended, then broken again: that is the first failure, not the fourth."""
    refuse(here)
    began = time.time() - 1200
    for at in range(3):
        here.run(began + 60 * at)
    (here.folder / "second-name").unlink()
    here.configure(size="1MB")
    assert here.run(began + 600).exit_code == 0
    os.link(here.logs / "app.log", here.folder / "second-name")
    here.configure()
    here.run(began + 1200)
    found = status(here.seen())
    assert recorded(here) == [(1, 3), (1, 1)] and found.logs[0].failures == 1


@pytest.mark.parametrize("busy", [False, True], ids=["the other one idles", "the other one rotates"])
def test_cron_lines_of_a_rule_each_count_their_own(here, logrotor, busy: bool):
    """A run that was for other logs alone neither ends a row nor mends anything, nor does it add rows; its own does."""
    here.configure('[[log]]\nname = "other"\npaths = ["other.log"]\nmax_size = "10KB"')
    (here.folder / "other.log").touch()
    refuse(here)

    def failures() -> int:
        (found,) = [log for log in status(here.seen()).logs if log.rule == "app"]
        return found.failures

    began = time.time() - 3600
    for number in range(1, 5):
        run_only(here, "app", began + 60 * number, code=1)
        if busy:
            (here.folder / "other.log").write_bytes(b"a line\n" * 3000)
        run_only(here, "other", began + 60 * number + 30, code=0)
        assert failures() == number
    assert sum(exit == 1 for exit, _ in recorded(here)) == 1
    (here.folder / "second-name").unlink()
    (here.logs / "app.log").write_text("")
    run_only(here, "other", began + 600, code=0)
    assert failures() == 4
    run_only(here, "app", began + 660, code=0)
    assert failures() == 0
    assert codes(here) == []


def test_a_run_of_all_mends_what_a_cron_line_of_a_rule_found(here, logrotor):
    refuse(here)
    began = time.time() - 3600
    for number in range(3):
        run_only(here, "app", began + 60 * number, code=1)
    assert status(here.seen()).logs[0].failures == 3
    (here.folder / "second-name").unlink()
    (here.logs / "app.log").write_text("")
    here.run(began + 300)
    assert status(here.seen()).logs[0].failures == 0


def run_only(here, rule: str, at: float, *, code: int) -> None:
    """``logrotor run --only RULE`` at a time."""
    assert here.run(at, only=[rule]).exit_code == code
    os.utime(here.state / "last-run", (at, at))


def test_another_reason_is_another_row(here):
    """It is a failure in a row all the same."""
    refuse(here)
    here.run()
    (here.folder / "second-name").unlink()
    here.logs.chmod(0o777)
    here.run()
    assert recorded(here) == [(1, 1), (1, 1)] and status(here.seen()).failed_runs == 2


def test_a_problem_of_no_log_is_counted_too(here):
    """A rule that cannot be used fails each run, and the history says why."""
    here.configure('[[log]]\nname = "bad"\npaths = ["logs/*.out"]\nmax_size = "many"')
    here.log(size=320)
    for _ in range(3):
        assert here.run().exit_code == 1
    assert recorded(here) == [(1, 3)] and status(here.seen()).failed_runs == 3
    assert records(str(here.state))[0].others[0].reason


def a_log(**more) -> LogStatus:
    names = ("schedule", "next_due", "next_due_by", "pace", "due_since", "last_rotation", "last_outcome",
             "last_problem", "ratio", "refused")  # fmt: skip
    unknown = dict.fromkeys(names)
    return LogStatus(**{
        **unknown, "path": "/logs/a", "rule": "a", "size": 5, "max_size": 10, "due": False, "reason": "", "failures": 0,
        "archives": 0, "archive_bytes": 0, "pending": (), "held_bytes": 0, "request_failed": False,
        **more,
    })  # fmt: skip


def a_system(full_on: datetime) -> SystemStatus:
    return SystemStatus(mount="/", type="ext4", total=9, free=1, free_inodes=1, full_on=full_on, forecast="known")


def waits(name: str, hours: int) -> LogStatus:
    return a_log(last_rotation=NOW, pending=(Pending(name=name, reason="busy", since=NOW - hours * HOUR),))


def grows(hours: float, size: int, grown: int, max_size: int | None = 10) -> LogStatus:
    held = Pending(name="a.1", reason="busy", since=NOW - hours * HOUR, size=size, held=True, grown=grown)
    return a_log(max_size=max_size, pending=(held,))


WELL = Status(
    now=NOW, last_run=NOW, failed_runs=0, logs=(a_log(),), file_systems=(), missing=(), unclaimed=(), problems=()
)
ODD = Problem(subject="/logs/a", problem="odd: a; b", advice="even it; or not")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"last_run": NOW - 2 * HOUR}, "no_run"),
        ({"last_run": NOW - HOUR}, None),
        ({"failed_runs": 3}, "failed_runs"),
        ({"failed_runs": 2}, None),
        ({"logs": (a_log(due=True, due_since=NOW - 3 * HOUR),)}, "overdue"),
        ({"logs": (a_log(due=True, due_since=NOW - HOUR / 2),)}, None),
        ({"logs": (a_log(due=True, size=21),)}, "overdue"),
        ({"logs": (a_log(due=True, size=19),)}, None),
        ({"logs": (a_log(failures=3, last_outcome="failed", last_problem=ODD),)}, "failures"),
        ({"logs": (a_log(refused=ODD),)}, "refused"),
        ({"file_systems": (a_system(NOW + 5 * HOUR),)}, "full"),
        ({"file_systems": (a_system(NOW + 25 * HOUR),)}, None),
        ({"file_systems": (a_system(NOW),)}, "full"),
        ({"logs": (waits("a.2", 25),)}, "waiting"),
        ({"logs": (waits("a.1", 1),)}, None),
        ({"logs": (grows(0.5, 21, 10),)}, "growing"),
        ({"logs": (grows(0.5, 20, 10),)}, None),
        ({"logs": (grows(0.5, 21, 0),)}, None),
        ({"logs": (grows(2, 5, 1, max_size=None),)}, "growing"),
        ({"logs": (grows(2, 5, 0, max_size=None),)}, None),
        ({"last_run": NOW + HOUR}, "clock"),
        ({"last_run": NOW + HOUR / 60}, None),
        ({"problems": (ODD,)}, "problem"),
    ],
)
def test_thresholds(change, code):
    """Each condition on its own, above its threshold and below; a problem keeps its subject and its advice whole."""
    found = attention(replace(WELL, **change), Thresholds())
    assert [each.code for each in found] == ([code] if code else [])
    if code in ("failures", "refused", "problem"):
        assert (found[0].subject, found[0].advice) == (ODD.subject, ODD.advice)
        assert found[0].problem.endswith(ODD.problem)
    elif code is not None:
        assert found[0].subject == {"full": "/", "overdue": "/logs/a", "growing": "/logs/a", "waiting": "/logs/a"}.get(
            code, ""
        )


def test_every_missed_slot_counts(here, logrotor):
    """A log of each hour that nobody has rotated for six: not since the latest slot, which is never an hour ago."""
    here.configure('schedule = "hourly"', size="10MB")
    grown(here, hours=0, size=3200)
    here.log(size=19_200)
    now = datetime.now(UTC)
    (log,) = status(here.seen(now + timedelta(hours=6))).logs
    assert log.due and timedelta() < log.due_since - now <= timedelta(hours=1)


def test_an_empty_log_misses_nothing(here, logrotor):
    """It was empty at each slot and has its first line now: the next run takes it, and nobody is woken."""
    here.configure('schedule = "*/10 * * * *"', size="10MB")
    grown(here, hours=0, size=320)
    now = datetime.now(UTC) + timedelta(hours=6)
    log = here.logs / "app.log"
    log.write_bytes(b"a line\n")
    for path, age in ((log, 1), (here.state / "last-run", 60)):
        os.utime(path, (now.timestamp() - age,) * 2)
    found = status(here.seen(now))
    assert found.logs[0].due and attention(found, Thresholds()) == []


def test_an_old_archive_that_waits_is_told_though_its_log_is_rotated_often(here, logrotor):
    """One of two writers reopens: the log goes on being rotated, and the archive of two days ago is still written."""
    now = time.time()
    with (here.log()).open("ab"):
        here.run(now - 2 * 86400)
        here.log()
        here.run(now - 3600)
        (waits,) = attention(status(here.seen()), Thresholds())
    assert waits.code == "waiting" and waits.about.endswith("/app.log.2")


def test_check_is_one_line_for_a_monitoring_system(here, logrotor):
    """Most show the first line only: it says what is wrong, and how much more there is."""
    here.log(size=30_000)
    told = logrotor("status", "--check", code=1).out.splitlines()
    assert told[0].startswith("ATTENTION: ") and told[0].endswith("(and 1 more)") and len(told) == 2


def test_failures_that_are_mended_are_told_no_longer(here, logrotor):
    """A run that had nothing to do any more came after them: what fails is tried again by each run."""
    hook = here.folder / "hook"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    here.configure(f'on_archive = ["{hook}"]')
    here.log()
    for _ in range(3):
        assert here.run().exit_code == 1
    assert "failures" in codes(here)
    (here.logs / "app.log.1.zst").unlink()
    assert here.run().exit_code == 0
    os.utime(here.state / "last-run", (time.time() + 60,) * 2)
    logrotor("status", "--check", code=0)


def test_requests_that_failed_are_told_though_nothing_is_to_do(here, logrotor):
    """A reopen request is not tried again: that the run after it was idle says nothing."""
    here.cannot_ask()
    for _ in range(3):
        here.hold()
        here.run()
    os.utime(here.state / "last-run", (time.time() + 60,) * 2)
    assert codes(here) == ["failed_runs", "failures"]


def test_a_history_of_a_newer_format_hides_nothing_else(here, logrotor):
    """No run can begin, and status, cat and verify tell all that does not need it; doctor has one finding for it."""
    here.log()
    here.run()
    with closing(sqlite3.connect(here.state / "history.sqlite")) as connection:
        connection.executescript(f"PRAGMA user_version = 99; PRAGMA application_id = {OURS + 99}")
    assert codes(here) == ["problem"] and logrotor("status", "--check", code=1)
    assert "app.log" in logrotor("status", code=0).out and logrotor("cat", "app.log", code=0)
    checks = logrotor("doctor", "--only", "state", "--only", "logs", "--json", code=1).json["checks"]
    assert [check["id"] for check in checks if check["findings"]] == ["state.history"]


def test_damage_to_what_is_known_of_past_runs(here, logrotor):
    """Rows that are not ours are left out, and a table that cannot be read is unknown: neither is well, nor a crash."""
    here.log()
    here.run()
    with closing(sqlite3.connect(here.state / "history.sqlite")) as connection, connection:
        connection.execute("UPDATE outcomes SET time = 'x' WHERE id = (SELECT max(id) FROM outcomes)")
    assert codes(here) == ["problem"] and logrotor("status", "--json", code=0).json["known"] is True
    with closing(sqlite3.connect(here.state / "history.sqlite")) as connection, connection:
        connection.execute("ALTER TABLE outcomes RENAME COLUMN action TO other")
    assert codes(here) == ["problem"] and logrotor("status", "--json", code=0).json["known"] is False
    for command in (("page", "-o", "-"), ("plan",), ("doctor",)):
        said = logrotor(*command)
        assert said.code in (0, 1) and "bug" not in said.out + said.err


def test_logs_that_have_gone(here, logrotor):
    """A file system that is not mounted must not look as if all were well."""
    here.log()
    here.run()
    here.logs.rename(here.folder / "elsewhere")
    assert "problem" in codes(here)


def test_a_disk_that_is_full_now(here, logrotor):
    """Without any forecast: nothing is free. The doctor says so, too."""
    with mounts.tmpfs(here.folder, size="100k") as mount:
        here.configure(paths=f'["{mount}/app.log"]')
        (mount / "app.log").touch()
        here.run()
        logrotor("status", "--check", code=0)
        with contextlib.suppress(OSError), open(mount / "other", "wb", buffering=0) as other:
            while True:
                other.write(b"x" * 4096)
        assert f"ATTENTION: {mount}: full: 0 B are free" in logrotor("status", "--check", code=1).out
        assert "full: 0 B are free" in logrotor("doctor", "--only", "space.forecast", code=1).out


# ---------------------------------------------------------------- the queue


def test_the_queue_is_part_of_it(here, logrotor):
    """Jobs that nobody takes, or an engine that cannot be asked; and looking changes nothing."""
    pytest.importorskip("huey")
    here.configure("[queue]")
    here.run()
    before = sorted(os.listdir(here.state))
    assert "no job was ever done" in logrotor("status", "--check", code=1).out
    assert sorted(os.listdir(here.state)) == before
    for _ in range(12):
        logrotor("queue", "dispatch", code=0)
    assert "pending, more than 10" in logrotor("status", "--check", code=1).out
    here.configure('[queue]\nengine = "rq"\nurl = "redis://127.0.0.1:1/0"')
    assert "queue: " in logrotor("status", "--check", code=1).out


# ---------------------------------------------------------------- by cause, and in the width that there is


def refuse_ten(here) -> None:
    for number in range(1, 11):
        os.link(here.log(f"a{number}.log"), here.folder / f"second-{number}")
    for _ in range(3):
        here.run()


def test_one_cause_of_ten_logs_is_said_once(here, logrotor):
    """Refused, and failing for that: one cause with ten subjects, in natural order, in each form."""
    refuse_ten(here)
    said = logrotor("status", "--json", code=0).json
    (cause,) = said["causes"]
    paths = [str(here.logs / f"a{number}.log") for number in range(1, 11)]
    assert [each["name"] for each in cause["subjects"]] == paths and cause["codes"] == ["refused", "failures"]
    assert {each["detail"] for each in cause["subjects"]} == {"failed in 3 runs in a row"}
    assert len(said["attention"]) == 1 and len(said["logs"]) == 10
    for words in ((), ("--check",)):
        shown = logrotor("status", *words).out
        assert shown.count("and rotation sees one") == 1 and "a1.log, a2.log, a3.log and 7 more" in shown


def test_what_the_doctor_found_explains_it(here):
    """A threshold and a finding of the same words at the same subject, or of its directory, or of its archive."""
    logs = [Attention(code="refused", subject=f"/l/{n}", at="/l", problem="is closed", advice="open /l") for n in "ab"]
    held = Attention(code="waiting", subject="/l/c", about="/l/c.1", problem="busy", detail="for 2 d")
    closed = Finding(subject="/l", problem="is closed", why="no rotation", advice="chmod u+w /l")
    written = Finding(subject="/l/c.1", problem="is written", why="it grows", advice="restart it")
    other = Finding(subject="/x", problem="is odd", why="so", advice="even it", note=True)
    found = causes([*logs, held], [("x", other), ("directories", closed), ("writers", written)])
    assert [(each.level, each.codes) for each in found] == [
        ("bad", ("refused", "directories")), ("bad", ("waiting", "writers")), ("note", ("x",)),
    ]  # fmt: skip
    assert [each.name for each in found[0].subjects] == ["/l", "/l/a", "/l/b"] and found[0].at == "/l"
    assert found[0].advice == "chmod u+w /l" and found[0].why == "no rotation"
    assert [(each.name, each.detail) for each in found[1].subjects] == [("/l/c.1", "for 2 d")]


def test_the_advice_of_several_names_one(here):
    """It says that the others are meant too; and the one that it names is the first."""
    told = [Attention(code="x", subject=f"/l/a{n}", problem="odd", advice=f"chmod 0664 /l/a{n}") for n in (10, 9)]
    (cause,) = causes(told)
    assert cause.what_to_do == "chmod 0664 /l/a9 (and so for the other 1)"
    assert str(cause) == "a9, a10 in /l: odd; chmod 0664 /l/a9"
    assert len(causes([*told, replace(told[0], problem="even")])) == 2
    names = ("/l/a b", "/l/it's", "/l/c")
    quoted = [Attention(code="x", subject=each, problem="odd", advice=f"rm {text.typed(each)}") for each in names]
    assert [each.what_to_do for each in causes(quoted)] == ["rm '/l/a b' (and so for the other 2)"]


@pytest.mark.parametrize("columns", [40, 80, 100, 200])
@pytest.mark.parametrize(
    "names",
    [
        ["a.log"],
        ["x" * 240 + ".log"],
        ["日本語の記録" * 8 + ".log"],
        ["\u202egol.log", "a\nb.log", "\x1b[31m.log", "b.log"],
    ],
)
def test_it_fits_the_terminal(here, logrotor, monkeypatch, columns, names):
    """No line is wider, whatever the names are; a long name is whole all the same."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in names:
        here.log(name, size=640)
    os.link(here.logs / names[0], here.folder / "second-name")
    shown = logrotor("status", code=0).out
    wide = [sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in line) for line in shown.splitlines()]
    assert max(wide) <= columns and not set("\x1b\u202e") & set(shown)
    whole = re.sub(r"\s", "", shown)
    assert all(text.printable(name) in whole for name in names)


def test_without_a_terminal_it_has_eighty_columns(here, logrotor, monkeypatch):
    """Columns that do not fit are left out by name; JSON has all."""
    monkeypatch.delenv("COLUMNS", raising=False)
    here.log("a-log-with-a-name-of-thirty.log", size=640)
    here.run(force=True)
    lines = logrotor("status", code=0).out.splitlines()
    assert max(map(len, lines)) <= 80 and any(line.startswith("  (not in 80 columns: ") for line in lines)
    assert logrotor("status", "--json", code=0).json["logs"][0]["archives"] == 1
