"""What a worker looks after at each tick: metrics where no run writes them, and whether it still works."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from logrotor.jobs.watch import Watch
from logrotor.model import Ending
from tests.jobs.bench import Host, attempted, worker_pids
from tests.support import command

pytestmark = pytest.mark.parametrize("engine", ["huey"])


class Clock:
    """It stands at a whole minute of now, and goes where the test says."""

    def __init__(self) -> None:
        self.moment = time.time() // 60 * 60

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.moment, UTC)


def watching(host: Host, monkeypatch: pytest.MonkeyPatch, clock: Clock, *, works: bool = True) -> Watch:
    for name, value in {**command.environment(), **host.variables}.items():
        monkeypatch.setenv(name, value)
    return Watch(host.site, clock, works=works)


def settled(watch: Watch) -> bool:
    """What it says once what it has started has ended."""
    found = watch.is_idle()
    for started in (watch._metrics, watch._asked):
        while started is not None and started.is_under_way():
            time.sleep(0.05)
    return found or watch.is_idle()


def test_metrics_are_written_where_no_run_takes_place(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a schedule whose worker is gone, too: the numbers are the same whoever asks."""
    text = host.config.read_text()
    host.config.write_text(text.replace("[queue]", '[metrics]\ntextfile = "x.prom"\n[queue]'))
    clock = Clock()
    watch = watching(host, monkeypatch, clock, works=False)
    settled(watch)
    assert not (host.folder / "x.prom").exists()
    clock.moment += 75
    settled(watch)
    told = (host.folder / "x.prom").read_text()
    assert "logrotor_metrics_timestamp_seconds " in told and "logrotor_worker_up{" in told


def test_a_worker_that_does_nothing_is_idle_once_jobs_have_waited(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before three ticks, not without a job that waits, and not while an attempt is at work."""
    clock = Clock()
    watch = watching(host, monkeypatch, clock)
    clock.moment += 135
    assert not settled(watch)  # two ticks
    clock.moment += 60
    assert not settled(watch)  # no job waits
    host.dispatch()
    clock.moment += 60
    assert settled(watch)


@pytest.mark.parametrize("ending", [Ending.DONE, Ending.RUNNING])
def test_a_worker_that_works_is_not(host: Host, monkeypatch: pytest.MonkeyPatch, ending: Ending) -> None:
    """A job ended within three ticks, or one is at work."""
    clock = Clock()
    watch = watching(host, monkeypatch, clock)
    host.dispatch()
    clock.moment += 600
    attempted(host, ending, ago=time.time() - clock.moment + 5, seconds=1)
    assert not settled(watch)


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.timeout(400)
def test_a_worker_that_is_stopped_ends_for_its_manager(host: Host) -> None:
    """Alive, and all is well for whoever only looks for a process: it is ended with exit 1 within three ticks."""
    host.config.write_text(host.config.read_text() + "[queue.monitor]\nticks = 2\n")
    worker = host.start("--schedule")
    try:
        host.wait_for(lambda: worker_pids(host))
        pids = sorted(worker_pids(host))
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        assert worker.wait(250) == 1
        (told,) = [event for event in host.events() if event["event"] == "worker.idle"]
        assert told["stopped"] == pids and told["pending"] > 0 and "stopped" in told["error"]
        assert not worker_pids(host)
    finally:
        host.kill(worker)


@pytest.mark.servers
@pytest.mark.timeout(120)
def test_the_log_of_a_worker_tells_its_life(host: Host) -> None:
    """When it began and with which configuration, that it began anew, and which signal has ended it."""
    worker = host.start("--schedule")
    try:
        host.wait_for(lambda: worker_pids(host))
        host.queue("restart", check=0)
        host.wait_for(lambda: len(starts(host)) == 2 and worker_pids(host) == [starts(host)[1]["worker"]])
        assert [(each["anew"], each["process"]) for each in starts(host)] == [(False, worker.pid), (True, worker.pid)]
        assert {each["config"] for each in starts(host)} == {str(host.config)}
        os.kill(starts(host)[1]["worker"], signal.SIGKILL)
        assert worker.wait(60) == 1
        (ended,) = [event for event in host.events() if event["event"] == "worker.ended"]
        assert (ended["signal"], ended["worker"], ended["level"]) == ("SIGKILL", starts(host)[1]["worker"], "error")
        assert [line for line in host.said().splitlines() if line.startswith("logrotor:")] == []
    finally:
        host.kill(worker)


def starts(host: Host) -> list[dict[str, Any]]:
    return [event for event in host.events() if event["event"] == "worker.started"]
