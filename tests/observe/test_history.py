"""history tells what runs did; the tables behind it do not grow without an end."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from datetime import UTC, datetime

import pytest

from logrotor import Rotator
from logrotor.act import run as act
from logrotor.cli.options import moment, moment_or_age
from logrotor.disk import database, forgetting, rows
from logrotor.disk.history import History, RunHistory
from logrotor.model import CopyInFlight, Outcome, PastOutcome, Status
from logrotor.observe.attention import Thresholds, attention
from logrotor.observe.rotations import rotations
from logrotor.observe.status import status
from tests.support import mounts, users

DAY = 86400.0
PACKED = {"source": 1, "inode": 1, "bytes": 5, "from": "/", "to": "/a.1.gz"}
COUNTS = {"rotated": 0, "failed": 0, "deferred": 0, "removed": 0}


def past(action: str, time: float, log: str = "/logs/a", reason: str = "", **details) -> PastOutcome:
    return PastOutcome(run=int(time), time=time, log=log, action=action, status="done", reason=reason, details=details)


def test_a_rotation_is_its_take_and_its_compression():
    """Also when the archive was compressed in a later run; each compression belongs to the file that was taken."""
    found = rotations([
        past("take", 1, bytes=100, inode=11, seconds=0.1, reason="larger"),
        past("take", 1, log="/logs/b", bytes=70, inode=11),
        past("take", 2, bytes=200, inode=12),
        past("compress", 3, bytes=110, bytes_out=11, source=11, lines=5, seconds=0.2),
    ])  # fmt: skip
    assert [(r.log, r.bytes, r.archive_bytes, r.lines) for r in found] == [
        ("/logs/a", 110, 11, 5), ("/logs/b", 70, None, None), ("/logs/a", 200, None, None)
    ]  # fmt: skip
    assert (found[0].ratio, found[0].seconds, found[0].reason) == (10.0, 0.3, "larger")


def logs_in(said) -> list[str]:
    return [rotation["log"] for run in said.json["runs"] for rotation in run["rotations"]]


def test_what_a_run_did(here, logrotor):
    """Each rotation with reason, bytes before and after, ratio, duration; the record has its lines too."""
    log = here.log(size=32_000)
    here.run()
    (run,) = logrotor("history", "--json", code=0).json["runs"]
    (rotation,) = run["rotations"]
    assert rotation["log"] == str(log) and (rotation["bytes"], rotation["lines"]) == (32_000, 1000)
    assert rotation["archive_bytes"] == (here.logs / "app.log.1.zst").stat().st_size
    assert rotation["seconds"] >= 0 and run["exit"] == 0 and run["ended"] >= run["started"]


def test_the_reason_of_an_older_run(here, logrotor):
    """It stands among the details, where runs of an older logrotor put it."""
    here.state.mkdir(mode=0o700)
    history = RunHistory(str(here.state))
    history.run_started(5e9, False)
    outcomes = [Outcome(log="/logs/a", action=action, status=Status.DONE, details={"why": f"for {action}"})
                for action in ("take", "remove")]  # fmt: skip
    history.run_completed(5e9, outcomes, {**COUNTS, "rotated": 1, "removed": 1}, 0)
    history.close()
    (run,) = logrotor("history", "--json", code=0).json["runs"]
    assert [each["reason"] for each in (*run["rotations"], *run["others"])] == ["for take", "for remove"]


def test_a_rotation_that_the_next_run_finished(here, logrotor):
    """A run was killed between the exchange and the move: the rotation is told by the run that finished it."""
    here.log(size=32_000).rename(here.logs / ".app.log.new")
    here.log(size=320)
    here.run()
    (run,) = logrotor("history", "--json", code=0).json["runs"]
    (rotation,) = run["rotations"]
    assert (rotation["bytes"], rotation["lines"], rotation["status"]) == (32_000, 1000, "done")


def test_one_log(here, logrotor):
    """A log is named by its path, or by its bare name; other logs are left out."""
    here.log("a.log"), here.log("b.log")
    here.run()
    for name in (here.logs / "a.log", here.logs / "../logs/a.log", "a.log"):
        assert logs_in(logrotor("history", name, "--json", code=0)) == [f"{here.logs}/a.log"]
    (here.logs / "a.log").unlink(), (here.logs / "a.log.1.zst").unlink()
    assert logs_in(logrotor("history", "a.log", "--json", code=0)), "it is gone, its past is not"
    here.log("new.log")
    for words in (["a.log", "--failed"], ["new.log"]):
        assert logrotor("history", *words, "--json", code=0).json["runs"] == []


def test_what_is_no_log(here, logrotor):
    """An unknown name, a rule and an archive are told for what they are, as by cat and verify."""
    here.log("a.log")
    here.run()
    for command in ("history", "cat", "verify"):
        assert f"{here.logs}/a.log" not in logrotor(command, "c.log", code=2).err
        for given in ("app", "a.log.1.zst", here.logs / "a.log.1.zst"):
            assert f"{here.logs}/a.log" in logrotor(command, given, code=2).err.replace("a.log.1.zst:", "")


def test_failures_only(here, logrotor):
    """--failed shows runs that failed and what failed in them, also one that never came to its end."""
    here.log("a.log")
    here.run()
    here.cannot_ask()
    here.hold("b.log")
    here.run()
    history = RunHistory(str(here.state))
    history.run_started(5e9, False)
    history.close()
    failed, killed = logrotor("history", "--failed", "--json", code=0).json["runs"]
    (request,) = failed["others"]
    assert (failed["exit"], request["action"], request["name"]) == (1, "reopen", "gone")
    assert request["log"] == f"{here.logs}/b.log"
    assert killed["ended"] is None and killed["others"] == []


def test_a_request_for_several_logs(here, logrotor):
    """One request failed once, and for each of its logs: the history of each has it, and each counts it."""
    here.cannot_ask()
    for name in ("a.log", "b.log", "c.log", "d.log"):
        here.hold(name)
    assert [(o.action, len(o.details["logs"])) for o in here.run().failed] == [("reopen", 4)]
    (asked,) = logrotor("history", "--failed", "d.log", "--json").json["runs"][0]["others"]
    assert asked["log"] == f"{here.logs}/d.log" and len(asked["details"]["logs"]) == 4
    assert [(run["rotated"], run["failed"]) for run in logrotor("history", "--json").json["runs"]] == [(4, 1)]
    assert [log["failures"] for log in logrotor("status", "--json").json["logs"]] == [1] * 4


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run(here, logrotor, monkeypatch, signum, code):
    """Its exit code stands in the history as the command gave it, and --failed shows it."""
    here.log()

    def strike(*_, **__):
        monkeypatch.undo()
        os.kill(os.getpid(), signum)
        return request(*_, **__)

    request = act._reopen
    monkeypatch.setattr(act, "_reopen", strike)
    logrotor("run", code=code)
    told = logrotor("history", "--failed", code=0).out
    assert f"1 rotated; interrupted, exit {code}, " in told
    assert [run["exit"] for run in logrotor("history", "--json", code=0).json["runs"]] == [code]


def test_an_interrupted_run_of_a_library(here, logrotor):
    """Whoever asks a run to stop without a signal interrupts it as Ctrl-C does."""
    here.log()
    told: list[str] = []
    rotator = Rotator(here.config, on_event=lambda event: told.append(event.name), stop=lambda: bool(told))
    assert rotator.run().interrupted
    (run,) = logrotor("history", "--failed", "--json", code=0).json["runs"]
    assert (run["exit"], run["rotations"]) == (130, [])


def test_since(here, logrotor):
    """--since takes a moment or an age."""
    here.log("a.log")
    here.run()
    for since, runs in (("1h", 1), ("2001-01-01 10:00", 1), ("2200-01-01", 0)):
        assert len(logrotor("history", "--since", since, "--json", code=0).json["runs"]) == runs
    for words in (["history", "--since", "yesterday"], ["history", "--since", "2"], ["cat", "a.log", "--until", "3"]):
        assert words[-2] in logrotor(*words, code=2).err


def test_a_moment_of_iso_8601():
    """Also in its basic form, which is no number of seconds."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    for given in ("20261101", "2026-11-01", "20261101T00:00"):
        assert moment_or_age(given, now, "--since") == moment("2026-11-01T00:00").timestamp()
    assert moment_or_age("2d", now, "--since") == now.timestamp() - 2 * 86400


def test_the_last_runs(here, logrotor):
    """-n shows the last so many and says that there are more."""
    for _ in range(3):
        here.log("a.log")
        here.run()
    for number, runs in ((1, 1), (0, 3)):
        assert len(logrotor("history", "-n", number, "--json", code=0).json["runs"]) == runs


def test_a_name_that_acts_on_a_terminal(here, logrotor):
    """It is shown as text, whole in JSON."""
    here.log("\x1b[31m.log")
    here.run()
    assert "\\x1b[31m.log" in logrotor("history", code=0).out
    assert logrotor("history", "--json", code=0).json["runs"][0]["rotations"][0]["log"].endswith("\x1b[31m.log")


# ---------------------------------------------------------------- pruning


def times(folder) -> list[float]:
    rows = sqlite3.connect(folder / "history.sqlite").execute("SELECT time FROM outcomes ORDER BY id").fetchall()
    return [row[0] for row in rows]


@pytest.fixture
def remember(tmp_path):
    def run(at: float, number: int = 1) -> None:
        history = RunHistory(str(tmp_path))
        history.run_started(at, False)
        outcome = Outcome(log="/a", action="take", status=Status.DONE)
        history.run_completed(at, [outcome] * number, COUNTS, 0)
        assert history.problems == []
        history.close()

    return run


def test_old_rows_are_pruned(remember, tmp_path):
    """What is older than 90 days goes in a run that has something to do."""
    for day in (0, 1, 90, 90.5, 91.5):
        remember(day * DAY)
    assert times(tmp_path) == [90 * DAY, 90.5 * DAY, 91.5 * DAY]
    assert [run.started for run in History(str(tmp_path)).runs()] == [90 * DAY, 90.5 * DAY, 91.5 * DAY]


def test_too_many_rows_are_pruned(remember, tmp_path, monkeypatch):
    """However many outcomes a run has, the newest stay and the file does not grow for ever."""
    monkeypatch.setattr(database, "MOST", 10)
    for at in range(20):
        remember(float(at), 3)
    assert times(tmp_path) == sorted(times(tmp_path)) and 10 <= len(times(tmp_path)) <= 13
    assert times(tmp_path)[-1] == 19.0


def test_pruning_keeps_up_with_what_is_added(remember, tmp_path, monkeypatch):
    """However many rows the runs of a season have left: each run forgets more than it adds."""
    monkeypatch.setattr(forgetting, "_ROWS", 1)
    for at in range(4):
        remember(float(at), 50)
    for at in range(4):
        before = len(times(tmp_path))
        remember(91 * DAY + at, 20)
        assert len(times(tmp_path)) < before


def known_logs(folder) -> set[str]:
    return {os.path.basename(path) for path in History(str(folder)).recall()._logs}


def test_logs_that_are_gone_are_forgotten(tmp_path, monkeypatch):
    """Once no file of theirs is left, here or in an archive directory, and after a week; however many they are."""
    monkeypatch.setattr(forgetting, "_LOGS", 20)
    logs, old = tmp_path / "logs", tmp_path / "old"
    logs.mkdir()
    old.mkdir()
    for path in (logs / "live", logs / "archived.1.gz", logs / ".taken.new", logs / ".aside.1.aside", old / "moved.3"):
        path.touch()
    kept = {"live", "archived", "taken", "aside", "moved", "flying", "unmounted", "lately"}
    paths = {name: str((tmp_path / "away" if name == "unmounted" else logs) / name) for name in kept}
    paths |= {f"gone-{number}": str(logs / f"gone-{number}") for number in range(100)}
    for day in range(30):
        history = RunHistory(str(tmp_path))
        history.run_started(day * DAY, False)
        if day == 0:
            history.rotated([path for name, path in paths.items() if name != "lately"], 0.0)
            history.archives_in([(paths["moved"], str(old)), (paths["gone-1"], str(old))])
            history.hooked(paths["gone-2"], 1, 2)
            history.found_unclear([str(logs / "live")])
            history.begin_copy(CopyInFlight(paths["flying"], 1, 0.0, 2, 3, "marked", "collapse"))
        history.rotated([paths["lately"]], day * DAY)
        history.run_completed(day * DAY, [], COUNTS, 0)
        assert history.problems == []
        history.close()
        assert day > 6 or len(known_logs(tmp_path)) == len(paths)
    assert known_logs(tmp_path) == kept


@pytest.mark.parametrize("number", [2**63 - 1, 10**13, -5])
def test_a_row_with_a_number_that_none_of_ours_has(remember, tmp_path, number):
    """The rows after it would count as the oldest, and be pruned as they come: it alone goes."""
    remember(0.0, 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "history.sqlite")) as connection, connection:
        for table in ("runs", "outcomes", "attempts", "archives"):
            columns = [row[1:3] for row in connection.execute(f"PRAGMA table_info({table})")]
            values = [number if name == "id" else b"x" if kind == "BLOB" else 1 for name, kind in columns]
            connection.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(values))})", values)
    for at in (1.0, 2.0):
        remember(at, 1)
    assert [run.started for run in History(str(tmp_path)).runs()] == [0.0, 1.0, 2.0]
    assert times(tmp_path) == [0.0, 1.0, 2.0]


def test_a_damaged_history_is_told(here, logrotor):
    """Exit 2 with what happens next, and no traceback."""
    here.log()
    here.run()
    (here.state / "history.sqlite").write_bytes(b"no database" * 1000)
    assert str(here.state / "history.sqlite") in logrotor("history", code=2).err


def test_a_history_of_which_nothing_was_left(here, logrotor):
    """The run that set it aside had nothing to do: that runs are not known is said, and not that there were none."""
    here.log()
    here.run()
    (here.state / "history.sqlite").write_bytes(b"no database" * 1000)
    RunHistory(str(here.state)).close()
    (here.state / "history.sqlite.damaged-1-journal").touch()
    assert str(here.state / "history.sqlite.damaged-1.") in logrotor("history", code=0).out
    aside = str(here.state / "history.sqlite.damaged-1")
    assert logrotor("history", "--json", code=0).json == {"runs": [], "set_aside": aside}
    here.log()
    here.run()
    assert logrotor("history", "--json", code=0).json["set_aside"] == aside
    assert "damaged-1" not in logrotor("history", code=0).out


# ---------------------------------------------------------------- a history that cannot be read


@pytest.mark.parametrize("fault", ["full", "rubbish", "cut"])
def test_what_cannot_be_read_is_unknown(here, logrotor, fault):
    """Not "never", and not "no run yet": why, in each command; exit 2 of history, 1 of doctor and status --check."""
    here.log(size=32_000)
    with contextlib.ExitStack() as held:
        if fault == "full":
            here.state = held.enter_context(mounts.tmpfs(here.folder, size="64k", mode="0700"))
            here.configure()
            (here.state / "fill").write_bytes(b"x" * 65_536)
            here.run()
        else:
            here.run()
            file = here.state / "history.sqlite"
            file.write_bytes(b"rubbish" if fault == "rubbish" else file.read_bytes()[:5000])
        said = logrotor("history", code=2)
        assert said.out == "" and "history.sqlite" in said.err
        shown = logrotor("status", "--json", code=0).json
        assert shown["known"] is False and shown["logs"][0]["known"] is False
        assert any("history.sqlite" in each for each in shown["attention"])
        text = logrotor("status", code=0).out
        assert "unknown" in text and "never" not in text
        assert logrotor("status", "--check", code=1).out.startswith("ATTENTION")
        assert "history.sqlite" in logrotor("doctor", "--only", "state", code=1).out
        if fault == "full":
            (system,) = [each for each in shown["file_systems"] if each["type"] == "tmpfs"]
            assert system["free"] == 0 and any(each.startswith(system["mount"]) for each in shown["attention"])
            assert [f["subject"] for c in logrotor("doctor", "--only", "space", "--json", code=1).json["checks"]
                    for f in c["findings"]] == [system["mount"]]  # fmt: skip


def test_a_state_directory_that_may_not_be_entered(here, logrotor):
    """Whoever is not the user that rotates learns nothing of the runs, and is told so."""
    here.log(size=32_000)
    here.run()
    here.state.chmod(0o700)
    assert users.as_user("www-data", logrotor, "history").code == 2
    refused = users.as_user("www-data", logrotor, "status", "--json")
    assert refused.code == 2 and "sudo -u root logrotor status" in refused.err and not refused.out
    shown = users.as_user("www-data", lambda: status(here.seen()))  # as a page of that user would have it
    assert (shown.known, shown.last_run, shown.logs[0].known) == (False, None, False)
    told = [str(each) for each in attention(shown, Thresholds())]
    assert not any("cron" in each for each in told) and str(here.state) in str(told)
    found = users.as_user("www-data", logrotor, "doctor", "--only", "schedule", "--json")
    assert found.code == 2 and "sudo -u root logrotor doctor" in found.err and not found.out


def test_archives_without_a_record_were_rotated_at_some_time(here, logrotor):
    """The history was removed: when is unknown, and not never."""
    here.log(size=32_000)
    here.run()
    (here.state / "history.sqlite").unlink()
    (log,) = logrotor("status", "--json", code=0).json["logs"]
    assert (log["last_rotation"], log["known"]) == (None, False)


def test_a_page_is_made_of_the_newest_of_each_log(tmp_path, monkeypatch):
    """Rows beyond that are never read, however many there are; totals are made of all takes."""
    history = RunHistory(str(tmp_path))
    taken = Outcome(log="/a", action="take", status=Status.DONE, details={"inode": 1, "bytes": 5})
    failed = Outcome(log="/b", action="take", status=Status.FAILED)
    packed = Outcome(log="/a", action="compress", status=Status.DONE, name="a.1", details=PACKED)
    for at in range(100):
        history.run_started(float(at), False)
        history.run_completed(float(at), [taken, packed] * 10 + [failed] * (at == 3), COUNTS, 0)
    history.close()
    made = []
    monkeypatch.setattr(rows, "outcome", lambda row, real=rows.outcome: made.append(row) or real(row))
    found = History(str(tmp_path)).settled_outcomes()
    assert len(made) == len(found) == 61 and {outcome.log for outcome in found} == {"/a", "/b"}
    assert found[-1].time == 99.0 and found == sorted(found, key=lambda outcome: outcome.time)
    takes = History(str(tmp_path)).takes(10.0)
    assert len(takes) == 900 and sum(take.bytes or 0 for take in takes) == 4500
    assert [run.started for run in History(str(tmp_path)).runs(most=2)] == [98.0, 99.0]
