"""The body of the job, with attempts that end as the test says: what counts, what is tried again, what is told."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from logrotor.disk import attempts
from logrotor.disk.history import History
from logrotor.jobs import backlog, payload
from logrotor.jobs.engine import Site, mask, open_engine, open_site, queue_of
from logrotor.jobs.payload import Payload, Stale, Unacceptable
from logrotor.jobs.task import JobFailed, Result, TryAgain, rotate
from logrotor.model import Attempt, Ending, Fault

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CONFIG = """\
state_dir = "state"
[[log]]
name = "app"
paths = ["app.log"]
max_size = "1K"
[queue]
host = "alpha"
[queue.job]
tries = 3
max_exceptions = 3
backoff = ["10s", "30s"]
"""


class World:
    """A configuration, a clock, and what the next attempts become."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 1_000_000.0
        self.ends: list[Result | BaseException] = []
        self.ran: list[tuple[str, ...]] = []
        self.write(CONFIG)
        self.site = self.open()

    def write(self, text: str) -> None:
        (self.folder / "logrotor.toml").write_text(text)

    def open(self) -> Site:
        return open_site(str(self.folder / "logrotor.toml"), {"HOME": str(self.folder)})

    def job(self, **changes: Any) -> str:
        job = Payload(
            id="job-1", host="alpha", config=self.site.file, config_sha256=self.site.sha256, enqueued=self.now,
            expires=self.now + 50,
        )  # fmt: skip
        return payload.encode(replace(job, **changes))

    def run(self, text: str) -> str:
        return rotate(text, self.site, run=self._attempt, clock=lambda: self.now)

    def _attempt(self, site: Site, logs: tuple[str, ...]) -> Result:
        self.ran.append(logs)
        end = self.ends.pop(0) if self.ends else Result(Ending.DONE)
        if isinstance(end, BaseException):
            raise end
        return end

    @property
    def history(self) -> History:
        return History(self.site.config.state_dir)

    def attempts(self) -> list[Attempt]:
        return self.history.attempts_since(0)

    def endings(self) -> list[str]:
        return [attempt.ending.value for attempt in self.attempts()]

    def faults(self) -> list[Fault]:
        return self.history.faults(self.site.queue)

    def ticks(self, number: int, *ends: Result) -> list[str]:
        """So many jobs, a minute apart, that end as the ``ends`` say in turn; what the engine sees of each."""
        seen = []
        for each in range(number):
            self.now += 60
            self.ends = [ends[each % len(ends)]]
            try:
                seen.append(self.run(self.job(id=f"tick-{self.now:.0f}")))
            except (JobFailed, TryAgain) as error:
                seen.append(type(error).__name__)
        return seen


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


FAILED = Result(Ending.FAILED, "app.log: Permission denied")
TIMEOUT = Result(Ending.TIMEOUT, "did not end within 60 s")


def test_tries_and_backoff(world: World) -> None:
    """Attempt one, ten seconds, attempt two, thirty seconds, attempt three, and then it has failed."""
    world.ends = [FAILED, TIMEOUT, FAILED]
    delays = []
    for _ in range(2):
        with pytest.raises(TryAgain) as again:
            world.run(world.job())
        delays.append(again.value.delay)
    with pytest.raises(JobFailed, match=r"attempt 3 of 3: app\.log: Permission denied"):
        world.run(world.job())
    assert delays == [10.0, 30.0]
    assert world.endings() == ["failed", "timeout", "failed"]
    assert [a.final for a in world.attempts()] == [False, False, True]
    assert [f.job for f in world.faults()] == ["job-1"]


def test_a_job_that_is_delivered_once_too_often_is_not_run(world: World) -> None:
    """Three attempts began, whatever became of them: a fourth delivery does nothing but say so."""
    world.ends = [FAILED, FAILED, FAILED]
    for _ in range(3):
        with pytest.raises((TryAgain, JobFailed)):
            world.run(world.job())
    with pytest.raises(JobFailed, match="was tried 3 times"):
        world.run(world.job())
    assert len(world.ran) == 3


def test_max_exceptions_counts_failures_and_tries_count_all(world: World) -> None:
    """One failure is allowed here: a timeout may be followed by another attempt, a failure may not."""
    world.write(CONFIG.replace("max_exceptions = 3", "max_exceptions = 1"))
    world.ends = [TIMEOUT, FAILED]
    with pytest.raises(TryAgain):
        world.run(world.job())
    with pytest.raises(JobFailed):
        world.run(world.job())
    assert len(world.ran) == 2


def test_an_attempt_whose_worker_died_counts(world: World) -> None:
    """The history had the attempt before it began; the next delivery finds it, and goes on counting."""
    world.ends = [SystemExit()]
    with pytest.raises(SystemExit):
        world.run(world.job())
    world.run(world.job())
    assert world.endings() == ["lost", "done"]
    assert [a.number for a in world.attempts()] == [1, 2]


def test_a_job_whose_worker_was_killed_is_lost_in_the_end(world: World) -> None:
    """No engine has given it to anybody for longer than any of them waits: it is a failed job."""
    begun = Attempt(
        id=0, job="gone", number=1, engine="huey", queue=world.site.queue, host="alpha", started=world.now, ended=None,
        ending=Ending.RUNNING, final=False, detail="", pid=1, payload=world.job(id="gone"),
    )  # fmt: skip
    os.makedirs(world.site.config.state_dir, mode=0o700)
    world.history.begin_attempt(begun, overdue=0)
    world.run(world.job())
    assert world.endings() == ["running", "done"]
    world.now += 1000
    world.run(world.job(id="job-2"))
    assert world.endings() == ["lost", "done", "done"]
    (fault,) = world.faults()
    assert (fault.job, fault.ending, fault.settled) == ("gone", "lost", world.now) and "killed" in fault.detail


@pytest.mark.parametrize("ending", [Ending.DONE, Ending.BUSY])
def test_success_and_busy_are_over(world: World, ending: Ending) -> None:
    """Another run at work is a success: it does what is due."""
    world.ends = [Result(ending)]
    assert world.run(world.job()) == ending.value
    assert world.attempts()[0].final and world.faults() == []


@pytest.mark.parametrize("ending", [Ending.DONE, Ending.BUSY])
def test_a_job_that_is_over_is_not_run_when_it_is_delivered_again(world: World, ending: Ending) -> None:
    """An engine whose server was away when the job ended delivers it once more: it is done once."""
    text = world.job()
    world.ends = [Result(ending)]
    assert [world.run(text), world.run(text), world.run(text)] == [ending, Ending.STALE, Ending.STALE]
    assert len(world.ran) == 1 and world.faults() == []


def test_expiry_is_for_the_first_attempt_only(world: World) -> None:
    """A tick that waited too long is dropped; a retry that comes late is not."""
    text = world.job()
    world.ends = [FAILED]
    with pytest.raises(TryAgain):
        world.run(text)
    world.now += 3600
    assert world.run(text) == "done"
    assert world.run(world.job(id="job-2", expires=world.now - 1)) == "stale"
    assert len(world.ran) == 2


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"host": "beta"}, "for host 'beta', and this is 'alpha'"),
        ({"config": "/etc/x.toml"}, "/etc/x.toml"),
        ({"v": 7}, "upgrade the worker"),
    ],
)
def test_refused_at_once(world: World, changes: dict[str, Any], word: str) -> None:
    """What no attempt can make right is tried once, and not run at all."""
    with pytest.raises(JobFailed, match=word):
        world.run(world.job(**changes))
    assert world.ran == [] and world.endings() == ["refused"]


def test_a_configuration_that_broke_after_the_start(world: World) -> None:
    """The worker goes on with its own for the history, and the job says where the mistake is."""
    text = world.job()
    world.write(CONFIG.replace("max_size", "max_sise"))
    with pytest.raises(JobFailed, match="max_sise"):
        world.run(text)
    assert world.endings() == ["refused"]


def test_the_selection_goes_to_the_run(world: World) -> None:
    """A job for one rule rotates that rule only."""
    world.run(world.job(logs=("app",)))
    assert world.ran == [("app",)]


def test_a_history_that_cannot_be_written_does_not_stop_the_rotation(world: World) -> None:
    """A full disk must not stop what would empty it; but what is not counted is not tried again."""
    world.run(world.job())
    (world.folder / "state" / "history.sqlite").write_bytes(b"no database" * 1000)
    world.ends = [Result(Ending.DONE), FAILED]
    assert world.run(world.job(id="job-2")) == "done"
    with pytest.raises(JobFailed):
        world.run(world.job(id="job-3"))
    assert len(world.ran) == 3


def test_old_successes_are_forgotten(world: World) -> None:
    """A job a minute is half a million a year: successes go after a week, failures after three months; the last success
    stays, since by it the monitors judge."""
    world.ends = [Result(Ending.DONE), Result(Ending.DONE), Result(Ending.REFUSED, "no")]
    world.run(world.job())
    world.run(world.job(id="job-1b"))
    with pytest.raises(JobFailed):
        world.run(world.job(id="job-2"))
    world.now += 8 * 86400
    world.run(world.job(id="job-3"))
    assert [a.job for a in world.attempts()] == ["job-1b", "job-2", "job-3"]
    world.now += 90 * 86400
    world.run(world.job(id="job-4"))
    assert [a.job for a in world.attempts()] == ["job-3", "job-4"]


def test_attempts_and_runs_share_a_history(world: World) -> None:
    """The table of attempts is one more in the history's file; the run's own tables are untouched."""
    world.run(world.job())
    with sqlite3.connect(world.folder / "state" / "history.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (1,)
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    from logrotor import Rotator

    (world.folder / "app.log").write_text("x" * 5000)
    assert Rotator(world.site.config).run().exit_code == 0
    world.run(world.job(id="job-2"))
    assert world.endings() == ["done", "done"]


# ---------------------------------------------------------------- a lasting fault

CLOSED = Result(Ending.FAILED, "app.log: refused", True, "plan EACCES")
BUSY = Result(Ending.BUSY)


def test_a_lasting_fault_is_one_fault(world: World) -> None:
    """A directory that cannot be written for a day: 1,440 jobs, one attempt each, one failed job for the engine, and
    one entry, which the next success settles."""
    assert world.ticks(10, CLOSED) == ["JobFailed", *["failed"] * 9]
    assert world.endings() == ["failed"] * 10 and all(a.final for a in world.attempts())
    (fault,) = world.faults()
    assert (fault.count, fault.last - fault.first, fault.settled) == (10, 540.0, None)
    assert world.ticks(1, Result(Ending.DONE)) == ["done"]
    (fault,) = world.faults()
    assert fault.settled == world.now
    assert world.ticks(2, CLOSED) == ["JobFailed", "failed"]  # it begins anew, as an entry of its own
    assert sorted((f.count, f.settled is None) for f in world.faults()) == [(2, True), (10, False)]


def test_causes_are_entries_of_their_own(world: World) -> None:
    """Two faults in turn are two entries; a success for one selection settles no fault of another."""
    other = Result(Ending.FAILED, "app.log: no space", True, "take ENOSPC")
    assert world.ticks(6, CLOSED, other).count("JobFailed") == 2
    assert [fault.count for fault in world.faults()] == [3, 3]
    world.run(world.job(id="for one", logs=("app",)))
    assert all(fault.settled is None for fault in world.faults())
    world.run(world.job(id="for all"))
    assert all(fault.settled is not None for fault in world.faults())


def test_one_job_is_queued_again_for_one_selection(world: World) -> None:
    """``retry all`` queued 270 identical jobs."""
    other = Result(Ending.FAILED, "app.log: no space", True, "take ENOSPC")
    world.ticks(8, CLOSED, other)
    world.ends = [CLOSED]
    with suppress(JobFailed):
        world.run(world.job(id="one rule", logs=("app",)))
    engine = open_engine(world.site)
    assert sorted(job.logs for job in backlog.retry(world.site, engine, ["all"], NOW)) == [("*",), ("app",)]
    assert len(engine.pending(world.site.queue)) == 2 and world.faults() == []


def test_what_an_older_logrotor_had_as_failed(world: World) -> None:
    """Each was a failed job of its own; they are grouped by why they ended so, and those that were cleared stay so."""
    world.run(world.job(id="first"))
    with sqlite3.connect(world.history.path) as old:
        old.executescript("DROP TABLE faults; DROP TABLE totals")
        row = "INSERT INTO attempts (job, number, queue, started, ended, ending, final, detail, pid, payload, settled) "
        many = [
            (f"job-{n}", world.site.queue, 5.0 + n, 6.0 + n, f"why {n % 2}", "" if n < 40 else "cleared")
            for n in range(50)
        ]
        old.executemany(f"{row} VALUES (?, 3, ?, ?, ?, 'failed', 1, ?, 1, '{{}}', ?)", many)
    old.close()
    world.run(world.job(id="second"))
    assert sorted((f.detail, f.count, f.first) for f in world.faults()) == [("why 0", 20, 5.0), ("why 1", 20, 6.0)]


def test_busy_for_several_jobs_in_a_row_is_a_problem(world: World) -> None:
    """Once it is a success: another run does the work. A stopped run did none for days, and all jobs were well."""
    assert world.ticks(2, BUSY) == ["busy", "busy"]
    assert world.ticks(1, Result(Ending.DONE)) == ["done"]
    assert world.ticks(5, BUSY) == ["busy", "busy", "JobFailed", "failed", "failed"]
    (fault,) = world.faults()
    assert (fault.cause, fault.count, fault.settled) == ("busy", 3, None)
    assert world.ticks(3, Result(Ending.DONE), BUSY) == ["done", "busy", "done"]
    assert [f.settled is None for f in world.faults()] == [False]


def test_the_stopped_run_that_keeps_jobs_away_is_named(world: World) -> None:
    """``logrotor run`` stopped with Ctrl-Z: its process, and what helps."""
    os.makedirs(world.site.config.state_dir, mode=0o700)
    lock = os.path.join(world.site.config.state_dir, "lock")
    script = (
        f"import fcntl, os; f = open({lock!r}, 'w'); fcntl.flock(f, 2); print(flush=True); os.kill(os.getpid(), 19)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"\n"
            os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
            world.ticks(3, BUSY)
            (fault,) = world.faults()
            assert f"process {holder.pid} " in fault.detail and f"kill -CONT {holder.pid}" in fault.detail
        finally:
            holder.kill()


def test_an_attempt_that_the_engine_ended_is_lost_and_tried_again(world: World) -> None:
    """The engine's own limit: with a reason, and in the list if it was the last try."""
    world.ends = [RuntimeError("limit")] * 3
    for error in (TryAgain, TryAgain, JobFailed):
        with pytest.raises(error):
            world.run(world.job())
    assert world.endings() == ["lost"] * 3 and all("RuntimeError" in a.detail for a in world.attempts())
    assert [fault.ending for fault in world.faults()] == ["lost"]


def test_attempts_are_counted_for_ever(world: World) -> None:
    """Whatever is forgotten: a counter of Prometheus never goes back."""
    world.ticks(4, Result(Ending.DONE), CLOSED)
    world.now += 200 * 86400
    world.ticks(1, Result(Ending.DONE))
    found = {(total.ending.value): total.attempts for total in world.history.totals(world.site.queue)}
    assert found == {"done": 3, "failed": 2} and len(world.attempts()) == 2


# ---------------------------------------------------------------- the payload


def test_a_payload_comes_back_as_it_was(world: World) -> None:
    """Every field goes through the queue."""
    job = payload.decode(world.job(logs=("a", "b"), app="1.2"))
    assert payload.decode(payload.encode(job)) == job


def test_unknown_fields_are_ignored(world: World) -> None:
    """A newer logrotor may add fields without a new format."""
    text = json.dumps({**json.loads(world.job()), "colour": "blue"})
    assert payload.decode(text).id == "job-1"


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", '{"v": "1"}', '{"v": true}', '{"v": 1}', "\x80\x04pickle", "{" * 9999, "[" * 50000,
        '{"a":' * 9999, "[" * 10**6, "\ud800", "9" * 5000, 5, None, ["*"],
    ],
)  # fmt: skip
def test_what_is_no_payload(world: World, text: Any) -> None:
    """Whatever stands on the queue, the worker says what it is, keeps little of it, and goes on."""
    with pytest.raises(Unacceptable):
        payload.decode(text)
    assert payload.enqueued(text) is None
    with pytest.raises(JobFailed, match="cannot be read"):
        world.run(text)
    (failed,) = world.faults()
    assert len(failed.job) == 32 and len(failed.payload) <= payload.LONGEST


HOSTILE = [
    {"expires": 10**400}, {"expires": float("nan")}, {"enqueued": float("-inf")}, {"expires": -5}, {"expires": "1"},
    {"enqueued": True}, {"logs": ["a\0b"]}, {"logs": "--force"}, {"logs": {"--force": 1}}, {"logs": ["\ud800"]},
    {"logs": [["a"]]}, {"logs": ["a" * 5000]}, {"config": "/a\0b"}, {"config": "/\ud800"}, {"config": "/a" * 5000},
    {"config": 3}, {"host": "\ud800\x1b[2J"}, {"host": None}, {"v": 10**4000}, {"v": 2, "app": "\ud800" * 5000},
]  # fmt: skip


@pytest.mark.parametrize("changes", HOSTILE)
def test_a_crafted_field_is_refused(world: World, changes: dict[str, Any]) -> None:
    """Whoever may write to the queue cannot make the worker run, look at, or stumble over anything else."""
    text = json.dumps({**json.loads(world.job()), **changes})
    with pytest.raises(JobFailed) as failed:
        world.run(text)
    assert len(str(failed.value)) < 1000
    assert world.ran == [] and world.endings() == ["refused"]


@pytest.mark.parametrize(
    "id", ["\x1b[2J", "a\0b", "\ud800", "-rf", "a'; DROP TABLE attempts; --", "x" * 9999, "", 7, [1]]
)
def test_an_id_that_cannot_be_shown_gets_a_name(world: World, id: Any) -> None:
    """Always the same one, so its attempts are counted; and it can be typed after "queue retry"."""
    text = json.dumps({**json.loads(world.job()), "id": id})
    assert payload.decode(text).id == payload.identify(text)
    world.ends = [FAILED]
    with pytest.raises(TryAgain):
        world.run(text)
    assert world.run(text) == "done"
    first, second = world.attempts()
    assert first.job == second.job and first.job.isalnum() and len(first.job) == 32


def test_an_error_with_a_name_that_is_no_utf8(world: World) -> None:
    """A log may be named with any bytes; the history has them escaped."""
    world.ends = [Result(Ending.REFUSED, "/srv/\udcff.log: Permission denied")]
    with pytest.raises(JobFailed):
        world.run(world.job())
    assert world.attempts()[0].detail == "/srv/\\udcff.log: Permission denied"


def test_versions(world: World) -> None:
    """Older than understood: stale. Newer: a failure that says to upgrade."""
    with pytest.raises(Stale):
        payload.decode(world.job(v=0))
    with pytest.raises(Unacceptable, match="upgrade the worker"):
        payload.decode(world.job(v=2))


# ---------------------------------------------------------------- names and secrets


@pytest.mark.parametrize(
    ("host", "queue"), [("web-1.example.org", "q-web-1_example_org"), ("a b/c", "q-a_b_c"), ("ü", "q-_")]
)
def test_every_engine_accepts_the_name(host: str, queue: str) -> None:
    """Letters, digits, _ and -: dots are illegal in names of rq."""
    assert queue_of("q", host) == queue


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    """PostgreSQL refuses channels of 64 characters; two hosts of one domain still have two queues."""
    hosts = [f"ip-10-0-12-{number}.eu-central-1.compute.internal" for number in range(100)]
    queues = {queue_of("log-rotation", host) for host in hosts}
    assert len(queues) == 100 and {len(queue) for queue in queues} == {40}
    assert all(queue.startswith("log-rotation-ip-10-0-12-") for queue in queues)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://app:secret@db:5432/queue", "postgresql://app:***@db:5432/queue"),
        ("redis://:secret@cache/0", "redis://:***@cache/0"),
        ("postgresql://app:se/cret@db/queue", "postgresql://app:***@db/queue"),
        ("postgresql://app:se@cr@et@db/queue", "postgresql://app:***@db/queue"),
        ("postgresql://app:se?c#r:et@db/queue", "postgresql://app:***@db/queue"),
        ("postgresql://db/queue?user=app&password=secret&sslmode=require",
         "postgresql://db/queue?user=app&password=***&sslmode=require"),
        ("host=db password='my secret' user=app", "host=db password=*** user=app"),
        ("postgresql://db:5432/queue", "postgresql://db:5432/queue"),
        ("postgresql://app:s3:cr@h@db/x?a=b", "postgresql://app:***@db/x?a=b"),
        ("cannot reach amqp://app:secret@mq// now", "cannot reach amqp://app:***@mq// now"),
    ],
)  # fmt: skip
def test_passwords_are_masked(text: str, shown: str) -> None:
    """Also those that are written against the rules of URLs."""
    assert mask(text) == shown


# ---------------------------------------------------------------- what is kept of them


def flood(world: World, number: int, make: Callable[[int], str]) -> None:
    for each in range(number):
        with suppress(JobFailed):
            world.run(make(each))


@pytest.mark.parametrize("why", ["another host", "no payload", "expired"])
def test_little_is_kept_of_what_a_stranger_sends(world: World, why: str) -> None:
    """60 KiB each were kept for 90 days."""
    padding = "x" * 60_000

    def make(number: int) -> str:
        fields = {**json.loads(world.job(id=f"job-{number}", expires=world.now - 1)), "more": padding}
        if why == "another host":
            fields["host"] = "elsewhere"
        return padding if why == "no payload" else json.dumps(fields)

    flood(world, 10, make)
    assert all(len(attempt.payload) <= 1000 and len(attempt.detail) <= 4000 for attempt in world.attempts())
    assert os.path.getsize(world.history.path) < 250_000


def test_refused_jobs_are_bounded_and_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest attempts are kept, and their number stays until the operator clears it."""
    monkeypatch.setattr(attempts, "MOST_REFUSED", 5)
    flood(world, 12, lambda number: world.job(id=f"job-{number}", host="elsewhere"))
    world.run(world.job(id="good"))
    (fault,) = world.faults()
    assert fault.count == 12 and fault.settled is None  # what a producer does wrong, no success of ours makes right
    assert world.endings() == [*["refused"] * 5, "done"]
    engine, moment = open_engine(world.site), datetime.fromtimestamp(world.now, UTC)
    assert next(q.failed for q in backlog.status(world.site, engine, moment).queues if q.is_ours) == 12
    assert backlog.clear_failed(world.site, engine) == 12
    assert world.faults() == []


def test_attempts_of_any_kind_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write to the queue could have any number of them made."""
    monkeypatch.setattr(attempts, "MOST", 5)
    flood(world, 9, lambda number: world.job(id=f"job-{number}", expires=world.now - 1))
    assert world.endings() == ["stale"] * 6


def test_a_failed_job_keeps_its_logs_for_a_retry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, as long as there are not too many of them; what is longer comes back for all logs."""
    monkeypatch.setattr(attempts, "_MOST_LONG", 2)
    logs = tuple(f"/var/log/{number:0900}" for number in range(10))
    for number in range(5):
        world.ends = [FAILED] * 3
        for _ in range(3):
            with suppress(JobFailed, TryAgain):
                world.run(world.job(id=f"job-{number}", logs=(f"{number}", *logs[1:])))
    found = {fault.job: fault.payload for fault in world.faults()}
    assert payload.decode(found["job-4"]).logs == ("4", *logs[1:]) and len(found["job-0"]) == 1000
    assert [job.logs for job in backlog.retry(world.site, open_engine(world.site), ["job-0"], NOW)] == [("*",)]
