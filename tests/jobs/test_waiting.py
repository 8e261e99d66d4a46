"""A worker and a schedule that cannot work yet, under a real supervisord with its own defaults: they live and wait.

Three ends within a second each, and supervisord gives up for ever, also after the cause is gone.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from logrotor.disk import proc
from tests.jobs.bench import Host
from tests.support import command, supervisor, users
from tests.support.fixtures import world_tree
from tests.support.need import need

LASTING = 12.0  # seconds: supervisord gives up after 1 + 2 + 3 s between four starts of a second each
Mend = Callable[[], object]

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


def missing(host: Host) -> Mend:
    host.config.rename(host.folder / "away.toml")
    return lambda: (host.folder / "away.toml").rename(host.config)


def not_a_file(host: Host) -> Mend:
    back = missing(host)
    host.config.mkdir()

    def mend() -> None:
        host.config.rmdir()
        back()

    return mend


def wrong(host: Host) -> Mend:
    text = host.config.read_text()
    host.config.write_text("[[log]\n" + text)
    return lambda: host.config.write_text(text)


def without_engine(host: Host) -> Mend:
    text = host.config.read_text()
    host.config.write_text(text.replace('"huey"', '"hueyy"'))
    return lambda: host.config.write_text(text)


def without_url(host: Host) -> Mend:
    (host.folder / "url").rename(host.folder / "url.away")
    return lambda: (host.folder / "url.away").rename(host.folder / "url")


def read_only(host: Host) -> Mend:
    _mount(host, "remount,ro")
    return lambda: _mount(host, "remount,rw")


def full(host: Host) -> Mend:
    """The state directory is gone, and there is no room to make it."""
    for path in sorted((host.folder / "disk").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    _mount(host, "remount,nr_inodes=1")
    return lambda: _mount(host, "remount,nr_inodes=100")


def open_to_others(host: Host) -> Mend:
    state = host.folder / "disk" / "state"
    state.chmod(0o777)
    return lambda: state.chmod(0o700)


def _mount(host: Host, options: str) -> None:
    subprocess.run(["mount", "-o", options, host.folder / "disk"], check=True)


FAULTS = [missing, not_a_file, wrong, without_engine, without_url, read_only, open_to_others, full]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    need(os.geteuid() == 0, "root, to mount a file system")
    made = Host(tmp_path / "host", "huey", str(tmp_path / "queue.sqlite"), f"waiting-{tmp_path.parent.name}")
    (made.folder / "url").write_text(made.url + "\n")
    (made.folder / "disk").mkdir()
    text = made.config.read_text().replace('state_dir = "state"', 'state_dir = "disk/state"')
    text = re.sub("(?m)^url = .*", f'url = "file:{made.folder}/url"', text).replace(
        "backup_count = 5", "backup_count = 500"
    )
    made.config.write_text(text)
    with ExitStack() as stack:
        done = subprocess.run(["mount", "-t", "tmpfs", "none", made.folder / "disk"], capture_output=True, check=False)
        need(done.returncode == 0, "a tmpfs that may be mounted")
        stack.callback(subprocess.run, ["umount", "-l", made.folder / "disk"], check=True)
        yield made


def _programs(host: Host) -> str:
    """The generated program, and a schedule beside it; with the defaults of supervisord for what ends early."""
    worker = re.sub("(?m)^(startsecs|startretries) = .*\n", "", host.queue("unit", "--supervisor").stdout)
    worker = worker.replace("queue worker --schedule", "queue worker")
    schedule = worker.replace("queue worker", "queue schedule").replace("[program:", "[program:schedule-")
    log = f"stdout_logfile = {host.folder}/worker.log"
    return re.sub("stdout_logfile = .*", log, worker) + re.sub("stdout_logfile = .*", log, schedule)


def _restarted(running: supervisor.Supervisord) -> None:
    for pid in running.children():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.long
def test_what_cannot_be_used_is_waited_for(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fault outlasts the manager's patience, and the monitor is red meanwhile; mended, jobs come and are done."""
    for name, value in host.environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "supervisord").mkdir()
    with supervisor.running(_programs(host), tmp_path / "supervisord") as running:
        for fault in FAULTS:
            (host.folder / "worker.log").write_text("")
            mend = fault(host)
            _restarted(running)
            host.wait_for(lambda: len(running.children()) == 2)
            until = time.monotonic() + LASTING
            while time.monotonic() < until:
                assert host.queue("status", "--check", check=None).code in (1, 2), fault.__name__
                time.sleep(0.5)
            waiting = [event for event in host.events() if event["event"] == "worker.waiting"]
            assert len(waiting) == 2, (fault.__name__, waiting, running.log)  # once by each
            mend()
            host.wait_for(lambda: {each.ticks for each in host.site.signed} == {True, False})
            before = host.rotations()
            host.grow()
            if fault is FAULTS[-1]:  # the others need not wait for a tick
                host.wait_for(lambda before=before: host.rotations() > before)
                break
            host.dispatch()
            host.wait_for(lambda before=before: host.rotations() > before)
            host.wait_for(lambda: host.queue("status", "--check", check=None).code == 0)
        assert "FATAL" not in running.log, running.log


@pytest.mark.parametrize("what", ["worker", "schedule"])
def test_it_ends_as_asked_while_it_waits(host: Host, what: str) -> None:
    """With 0, also while it tries; what the command line has wrong is no state of the world: 2, at once."""
    missing(host)
    argv = command.arguments("queue", what, "-c", host.config)
    process = command.start(argv, env=host.environ)
    try:
        assert process.stdout is not None and process.stderr is not None
        assert b"worker.waiting" in process.stderr.readline()
        process.terminate()
        assert process.wait(10) == 0
    finally:
        command.end(process)
    command.logrotor("queue", what, "-c", host.config, "--nope", check=2)
    command.logrotor("queue", "worker", "--once", "-c", host.config, check=2)


@contextmanager
def _as(user: str, host: Host) -> Iterator[subprocess.Popen[bytes]]:
    argv = users.as_argv(user, command.arguments("queue", "worker", "-c", host.config))
    with (host.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            argv, cwd="/", env=command.environment(host.environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        host.stop(process)


def test_what_a_user_may_not_is_waited_for() -> None:
    """A configuration that it may not read, then a state directory that it may not make, then one of another user."""
    need(os.geteuid() == 0, "root, to become other users")
    with world_tree() as folder:
        here = Host(folder / "app", "huey", str(folder / "app" / "queue" / "queue.sqlite"), "web")
        (here.folder / "queue").mkdir()
        here.grow()
        for each in (here.folder / "logs", here.log, here.folder / "queue"):
            shutil.chown(each, "nobody")
        here.config.chmod(0o600)

        def waits(times: int) -> bool:
            return sum(event["event"] == "worker.waiting" for event in here.events()) == times

        with _as("nobody", here):
            here.wait_for(lambda: waits(1))
            here.config.chmod(0o644)
            here.wait_for(lambda: waits(2))
            (here.folder / "state").mkdir(mode=0o700)
            here.wait_for(lambda: waits(3))
            shutil.chown(here.folder / "state", "nobody")
            here.wait_for(lambda: any(event["event"] == "worker.started" for event in here.events()))


def test_a_state_directory_that_was_away(host: Host) -> None:
    """Its worker signs in again: by that it is known, asked to begin anew, and not called missing."""
    with host.working() as worker:
        host.wait_for(lambda: [each.pid for each in host.site.signed] == [worker.pid])
        shutil.rmtree(host.folder / "disk" / "state")
        (host.folder / "disk" / "state").mkdir(mode=0o700)
        host.wait_for(lambda: [each.pid for each in host.site.signed] == [worker.pid])
        assert proc.born(worker.pid) == host.site.signed[0].born


@pytest.mark.long
def test_a_schedule_whose_url_is_gone_goes_on(host: Host) -> None:
    """Told at the tick; the next one after it is back queues a job."""
    host.config.write_text(host.config.read_text().replace("[queue.job]", 'schedule = "* * * * *"\n[queue.job]'))
    argv = command.arguments("queue", "schedule", "-c", host.config)
    with (host.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(argv, env=command.environment(host.environ), stdout=log, stderr=log)
    try:
        host.wait_for(lambda: "worker.started" in host.said())
        mend = without_url(host)
        host.wait_for(lambda: "job.undelivered" in host.said())
        mend()
        host.wait_for(lambda: host.engine.pending(host.site.queue))
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
