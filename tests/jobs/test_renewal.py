"""What runs begins anew when it is asked, hits nobody else, and is seen to have done so: with a real supervisord."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from logrotor.disk import proc, signin
from logrotor.disk.signin import Signed
from logrotor.model import Ending
from tests.jobs import servers
from tests.jobs.bench import Host, attempt_pids, attempted, worker_pids
from tests.jobs.conftest import MakeHost
from tests.jobs.test_doctor import consumer, doctor, findings, started
from tests.support import command, supervisor, users
from tests.support.command import CHECKOUT
from tests.support.fixtures import world_tree
from tests.support.need import need
from tests.support.supervisor import Supervisord

ENGINES = ["huey", "procrastinate", "rq", "celery"]
pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]
on_each = pytest.mark.parametrize("engine", ENGINES)
on_huey = pytest.mark.parametrize("engine", ["huey"])

# As in the examples before: nothing is said of autorestart, and unexpected does not bring back what exits with 0.
PROGRAM = """\
[program:log-rotation]
command = {command}
environment = {environment}
directory = {folder}
stopwaitsecs = 100
killasgroup = true
redirect_stderr = true
stdout_logfile = {folder}/worker.log
stdout_logfile_maxbytes = 0
"""
SOCKET = """\
[unix_http_server]
file = %(here)s/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""


@contextmanager
def supervised(host: Host, argv: list[str] | None = None, more: str = "") -> Iterator[Supervisord]:
    """Worker and schedule under a supervisord of their own."""
    argv = argv or command.arguments("queue", "worker", "--schedule", "-c", host.config)
    variables = {**command.environment(host.environ), "LOGROTOR_CONFIG": str(host.config)}
    environment = ",".join(f'{key}="{value}"' for key, value in variables.items() if key != "PATH")
    program = PROGRAM.format(command=" ".join(argv), environment=environment, folder=host.folder)
    handle = supervisor.start(supervisor.HEAD + more + program, host.folder)
    try:
        yield handle
    finally:
        handle.stop()


def signed(host: Host) -> list[Signed]:
    return signin.signed(str(host.folder / "state"))


def serving(host: Host) -> Signed:
    """The one that has signed in and is what the configuration asks for."""
    host.wait_for(lambda: signed(host) and not findings(host, "queue.fresh") and not findings(host, "queue.single"))
    (entry,) = signed(host)
    return entry


def change(host: Host, old: str = "backup_count = 5", new: str = "backup_count = 4") -> None:
    assert old in host.config.read_text()
    host.config.write_text(host.config.read_text().replace(old, new))


@on_each
def test_fix_has_it_begin_anew(host: Host) -> None:
    """A touch is no change. After a change `doctor --fix` replaces the worker: the same pid for a supervisord that
    would not bring it back, the job at work is done, and the next one too."""
    with supervised(host) as manager:
        before = serving(host)
        os.utime(host.config, (before.since + 60, before.since + 60))
        assert findings(host, "queue.fresh") == []
        host.grow()
        host.slow.write_text("2")
        job = host.dispatch()
        host.wait_for(lambda: attempt_pids(host))
        change(host)
        assert len(findings(host, "queue.fresh")) == 1
        doctor(host, "--fix", "--yes", only="queue.fresh", code=0)
        after = serving(host)
        assert (after.pid, after.born) == (before.pid, before.born) and after.loaded != before.loaded
        assert [pid for pid in manager.children() if pid == after.pid] and "exited" not in manager.log
        host.wait_for(lambda: any(a.job == job and a.ended for a in host.attempts()))
        # A tick of the minute may have queued another one, which was the one at work: none is cut off, or tried again.
        assert {(a.number, a.ending) for a in host.attempts() if a.ended} == {(1, Ending.DONE)}
        host.slow.unlink()
        again = host.dispatch()
        host.wait_for(lambda: any(a.job == again and a.ending == "done" for a in host.attempts()))
    host.wait_for(lambda: signed(host) == [])  # it was killed with its supervisord


@on_huey
def test_restart_by_hand(host: Host) -> None:
    """`queue restart` needs no change, and is for all that runs; without anything that runs it says so."""
    assert host.queue("restart", check=1).stdout == ""
    schedule = command.arguments("queue", "schedule", "-c", host.config)
    with host.working(), started(schedule, host, **host.environ):
        host.wait_for(lambda: len(signed(host)) == 2 and not findings(host, "queue.single"))
        before = {each.pid: each for each in signed(host)}
        told = host.queue("restart", "--json").json
        assert len(told["restarted"]) == 2 and told["failed"] == []
        after = {each.pid: each for each in signed(host)}
        assert after.keys() == before.keys()
        assert all(after[pid].since > before[pid].since and after[pid].loaded == before[pid].loaded for pid in after)


@on_huey
def test_restart_tells_of_a_rule_that_is_left_out(host: Host) -> None:
    """It has begun anew, and its logs are not rotated all the same."""
    with host.working():
        serving_worker(host)
        change(host, "[queue]\n", '[[log]]\nname = "b"\npaths = ["b"]\nmax_size = 1\nbackup_cuont = 1\n[queue]\n')
        told = host.queue("restart", "--json", check=1).json
        assert len(told["restarted"]) == 1 and told["failed"] == []
        assert ["backup_cuont" in each for each in told["problems"]] == [True]


@pytest.mark.parametrize("engine", ["rq"])
def test_restart_tells_that_the_server_is_away(host: Host) -> None:
    """What has begun anew waits for it, and does no job."""
    with servers.redis() as url:
        host.url = url
        worker = host.start()
        host.wait_for(lambda: worker_pids(host) and signed(host))
    try:
        told = host.queue("restart", "--json", check=1).json
        assert len(told["restarted"]) == 1 and told["failed"] == [] and len(told["problems"]) == 1
    finally:
        host.stop(worker)


@on_huey
def test_new_code(host: Host, tmp_path: Path) -> None:
    """A deploy puts another logrotor in the place of the one that runs: by its content, not by times."""
    code = tmp_path / "code"
    shutil.copytree(CHECKOUT / "logrotor", code / "logrotor", ignore=shutil.ignore_patterns("__pycache__"))
    variables = {**host.environ, "PYTHONPATH": str(code)}

    def ask(*words: str, check: int) -> Any:
        argv = command.arguments(*words, "-c", host.config, "--json")
        return command.run(argv, env=variables, check=check).json

    with started(command.arguments("queue", "worker", "--schedule", "-c", host.config), host, **variables):
        before = serving_worker(host)
        for path in code.rglob("*.py"):
            path.touch()
        ask("doctor", "--only", "queue.fresh", check=0)
        (code / "logrotor" / "clock.py").write_text((code / "logrotor" / "clock.py").read_text() + "# newer\n")
        (check,) = ask("doctor", "--only", "queue.fresh", check=1)["checks"]
        assert len(check["findings"]) == 1 and check["findings"][0]["mendable"]
        ask("queue", "restart", check=0)
        ask("doctor", "--only", "queue.fresh", check=0)
        (after,) = signed(host)
        assert after.pid == before.pid and after.program != before.program


@on_huey
def test_one_that_is_stopped(host: Host) -> None:
    """Ctrl-Z, or a debugger: it cannot answer, which is said at once, with what helps."""
    with host.working() as worker:
        before = serving_worker(host)
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            told = host.queue("restart", "--json", check=1).json
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        assert f"kill -CONT {worker.pid}" in told["failed"][0] and signed(host) == [before]


@on_huey
def test_the_log_of_a_worker_that_nobody_rotates(host: Host) -> None:
    """supervisord was told not to, and no rule has it: found, until a rule does."""
    with supervised(host):
        serving(host)
        own = str(host.folder / "worker.log")
        assert own in [found["subject"] for found in findings(host, "queue.log")]
        with host.config.open("a") as config:
            config.write('[[log]]\nname = "worker"\npaths = ["worker.log"]\nmax_size = "1MB"\n')
        assert own not in [found["subject"] for found in findings(host, "queue.log")]


@on_huey
def test_one_whose_worker_is_stopped(host: Host) -> None:
    """It was silent for 85 s: it says at once for which process it waits, what helps, and for how long at most."""
    with host.working():
        serving_worker(host)
        host.wait_for(lambda: worker_pids(host))
        (stopped,) = worker_pids(host)
        os.kill(stopped, signal.SIGSTOP)
        host.wait_for(lambda: proc.state(stopped) == "stopped")
        argv = command.arguments("queue", "restart", "-c", host.config)
        with subprocess.Popen(argv, env=command.environment(host.environ), stderr=subprocess.PIPE) as restart:
            try:
                assert restart.stderr is not None
                said = restart.stderr.readline().decode()
                assert restart.poll() is None and f"kill -CONT {stopped};" in said, said
            finally:
                os.kill(stopped, signal.SIGCONT)
            assert restart.wait(60) == 0


def test_www_data_under_the_supervisord_of_root() -> None:
    """The user of the deployment has no socket of that supervisord, and needs none: doctor --fix asks the worker."""
    need(os.geteuid() == 0, "root, to become another user")
    with world_tree() as folder:
        host = Host(folder / "app", "huey", "", "web")
        change(host, 'url = "env:LOGROTOR_TEST_URL"', "")
        for each in (host.folder, host.folder / "logs", host.config):
            shutil.chown(each, "www-data", "www-data")
        argv = users.as_argv("www-data", command.arguments("queue", "worker", "--schedule", "-c", host.config))
        start = host.folder / "start"
        start.write_text(f"exec {shlex.join(argv)}\n")
        ask = ("doctor", "-c", host.config, "--only", "queue.fresh")
        with supervised(host, ["/bin/sh", str(start)], SOCKET):
            host.wait_for(lambda: signed(host))
            (before,) = signed(host)
            change(host)
            command.logrotor(*ask, user="www-data", check=1)
            command.logrotor(*ask, "--fix", "--yes", user="www-data", check=0)
            (after,) = signed(host)
            assert (after.pid, after.born) == (before.pid, before.born) and after.loaded != before.loaded
            command.logrotor(
                "queue", "restart", "-c", host.config, check=0
            )  # and root's shell has it done as that user
            assert {path.owner() for path in (host.folder / "state").iterdir()} == {"www-data"}


@on_huey
def test_what_would_not_start_again_goes_on(host: Host) -> None:
    """Here the new variable is set, for the worker it is not: it refuses, and works on as it was."""
    with host.working("--schedule"):
        before = serving(host)
        host.grow()
        host.dispatch()
        host.wait_for(lambda: "done" in host.endings())  # by now the engine's own process has read the file, too
        change(host, "env:LOGROTOR_TEST_URL", "env:LOGROTOR_TEST_NEW")
        args = ("queue", "restart", "-c", host.config, "--json")
        told = command.logrotor(*args, env={"LOGROTOR_TEST_NEW": host.url}, check=1).json
        assert told["restarted"] == [] and "LOGROTOR_TEST_NEW" in told["failed"][0]
        (after,) = signed(host)
        assert (after.pid, after.since) == (before.pid, before.since)
        change(host, "env:LOGROTOR_TEST_NEW", "env:LOGROTOR_TEST_URL")
        job = host.dispatch()
        host.grow()
        host.wait_for(lambda: any(a.job == job and a.ending == "done" for a in host.attempts()))


@on_huey
def test_another_application_is_left_alone(make_host: MakeHost, tmp_path: Path) -> None:
    """Same user, same name of queue and host, another state directory and file: no finding, and no repair hits it."""
    ours, theirs = make_host("alpha"), make_host("beta")
    theirs.name, theirs.url = ours.name, str(theirs.folder / "queue.sqlite")
    change(theirs, f'host = "beta-{tmp_path.name}-{tmp_path.parent.name}"', f'host = "{ours.name}"')
    assert theirs.site.queue == ours.site.queue
    with ours.working("--schedule"), theirs.working("--schedule"):
        one, other = serving(ours), serving(theirs)
        assert findings(ours, "queue.agreement") == []
        change(ours)
        change(theirs)
        doctor(ours, "--fix", "--yes", only="queue.fresh", code=0)
        ours.queue("restart")
        assert serving(ours).since > one.since
        assert signed(theirs) == [other]


@on_huey
@pytest.mark.parametrize("socket", [SOCKET, ""], ids=["with a socket", "without"])
def test_one_that_cannot_be_asked(host: Host, socket: str) -> None:
    """The engine's own command in the program, as before logrotor signed in: supervisord restarts it, and the new
    process is seen. Where supervisord cannot be told, nothing is ended, and the command to type is shown."""
    argv = consumer(*["-w", "1", "-k", "process", "-g", "TERM", "-n", "-q"])
    with supervised(host, argv, socket) as manager:
        host.wait_for(lambda: not any("no worker" in str(f["problem"]) for f in findings(host, "queue.single")))
        (before,) = manager.children()
        told = host.queue("restart", "--json", check=0 if socket else 1).json
        (after,) = manager.children()
        if socket:
            assert after != before and f"process {after}" in told["restarted"][0]
        else:
            assert after == before and str(before) in told["failed"][0]


@on_huey
def test_a_worker_begins_anew_by_itself(host: Host) -> None:
    """--max-jobs and --max-time: the same process, another program image, and nothing that a manager would see."""
    with host.working("--max-jobs", "2") as worker:
        first = serving_worker(host)
        for _ in range(2):
            host.dispatch()
        host.wait_for(lambda: [e for e in signed(host) if e.since > first.since])
        job = host.dispatch()
        host.wait_for(lambda: any(a.job == job and a.ended for a in host.attempts()))
        assert worker.poll() is None and {e.pid for e in signed(host)} == {first.pid}
    with host.working("--max-time", "2s") as worker:
        first = serving_worker(host)
        host.wait_for(lambda: [e for e in signed(host) if e.since > first.since + 1])
        assert worker.poll() is None
        change(host, "env:LOGROTOR_TEST_URL", "env:LOGROTOR_TEST_NEW")  # it would not start again
        host.wait_for(lambda: "LOGROTOR_TEST_NEW" in host.said())
        assert worker.poll() is None and {e.pid for e in signed(host)} == {first.pid}


def serving_worker(host: Host) -> Signed:
    host.wait_for(lambda: signed(host))
    return signed(host)[0]


@on_each
def test_one_job_and_no_more(host: Host) -> None:
    """`queue worker --once` does one of three jobs and ends; with none it ends at once. Exit 1: the attempt failed."""
    argv = command.arguments("queue", "worker", "--once", "-c", host.config)
    assert command.run(argv, env=host.environ, check=0).stdout == ""
    assert host.attempts() == []
    host.grow()
    for _ in range(3):
        host.dispatch()
    command.run(argv, env=host.environ, check=0)
    assert host.endings() == ["done"] and signed(host) == []
    host.log.unlink()
    command.run(argv, env=host.environ, check=1)
    assert host.endings() == ["done", "failed"]


@on_each
def test_wait_for_a_job(host: Host) -> None:
    """`queue dispatch --wait` ends as the job does: 0 if it was done, 1 if it failed for good, or nobody took it."""
    change(host, "[queue.job]", '[queue.job]\ntries = 1\nexpires = "20s"')
    host.grow()
    with host.working():
        host.queue("dispatch", "--wait", check=0)
        assert host.endings() == ["done"]
        for path in (host.folder / "logs").iterdir():
            path.unlink()
        host.queue("dispatch", "--wait", check=1)
        assert host.endings() == ["done", "failed"]
    change(host, '"20s"', '"1s"')
    host.queue("dispatch", "--wait", check=1)
    assert len(host.endings()) == 2


@on_huey
def test_a_host_name_that_is_set_after_the_start(host: Host) -> None:
    """cloud-init sets it: the worker and whoever dispatches go on by the old one, the doctor says so, and `queue
    restart` takes the new one."""
    need(os.geteuid() == 0 and shutil.which("nsenter"), "root, and nsenter")
    change(host, f'host = "{host.name}"', "")
    argv = ["unshare", "--uts", "sh", "-ec", 'hostname before; exec "$@"', "sh"]
    argv += command.arguments("queue", "worker", "-c", host.config)
    with started(argv, host, **host.environ):
        entry = serving_worker(host)
        assert entry.host == "before"

        def inside(*args: str, check: int = 0) -> Any:
            within = ["nsenter", "-t", str(entry.pid), "--uts", *args]
            return command.run(within, env=host.environ, check=check)

        inside("hostname", "after")
        job = inside(*command.arguments("queue", "dispatch", "-c", host.config)).stdout.strip()
        host.grow()
        host.wait_for(lambda: any(a.job == job and a.ending == "done" for a in host.attempts()))
        asked = command.arguments("doctor", "--only", "queue.fresh", "--json", "-c", host.config)
        (check,) = json.loads(inside(*asked, check=1).stdout)["checks"]
        assert "before" in check["findings"][0]["problem"] and "after" in check["findings"][0]["problem"]
        inside(*command.arguments("queue", "restart", "-c", host.config))
        assert [each.host for each in signed(host)] == ["after"]


@on_each
def test_a_worker_of_another_user_does_not_start(host: Host) -> None:
    """On a server nobody would see it until each of its jobs was refused: it says so at the start, and does none."""
    with world_tree() as folder:
        here = Host(folder / "app", host.engine_name, host.url)
        attempted(here, Ending.DONE)  # the state directory is ours
        for command_ in ("worker", "schedule"):
            argv = command.arguments("queue", command_, "-c", here.config)
            process = command.start(argv, user="nobody", env=here.variables)
            assert process.stderr is not None and process.poll() is None
            told = json.loads(process.stderr.readline())
            command.end(process)
            assert told["event"] == "worker.waiting" and "state" in told["error"] and here.endings() == ["done"]


def test_an_entry_of_nobody(tmp_path: Path) -> None:
    """Killed workers leave an entry: it is nobody's, also where another process has the number by now."""
    pid, born, space = signin.itself()
    entry = Signed(
        pid=pid, born=born, space=space, since=0, config="c", loaded="", program="", engine="huey", queue="q", host="h",
        works=True, ticks=False,
    )  # fmt: skip
    state = str(tmp_path)
    signin.sign_in(state, entry)
    assert signin.signed(state) == [entry]
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child.communicate(b"\n")
    for odd in ({"pid": pid, "born": born + 1}, {"pid": child.pid}):
        from msgspec.structs import replace

        signin.sign_out(state, pid)
        signin.sign_in(state, replace(entry, **odd))
        assert signin.signed(state) == []
        signin.clear_away(state, time.time())
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "worker-7.json").write_text("{")
    assert signin.signed(state) == []


@on_each
def test_jobs_of_a_host_that_is_gone(make_host: MakeHost) -> None:
    """`queue clear --host` forgets what waits for it; this host is not one that is gone; one job goes by its id."""
    here, gone = make_host("alpha"), make_host("beta")
    for _ in range(3):
        gone.dispatch()
    kept, other = here.dispatch(), here.dispatch()
    assert here.queue("clear", "--host", gone.name, "--json").json["removed"]["jobs"] == 3
    assert gone.engine.pending(gone.site.queue) == []
    here.queue("clear", "--host", here.name, check=2)
    here.queue("clear", "nope", check=1)
    assert here.queue("clear", other[:12], "--json").json["removed"]["jobs"] == 1
    (entry,) = here.engine.pending(here.site.queue)
    assert kept in entry.payload


SYSTEMCTL = """\
#!/bin/sh
# The unit of the test, for whoever asks as logrotor does. There is no systemd in a container.
[ "$1" = --user ] && exit 1
case "$*" in
show*) printf 'Id=rotation.service\\nMainPID=%s\\nRestart=always\\n' "$(cat {folder}/main.pid)" ;;
"restart rotation.service")
    kill "$(cat {folder}/main.pid)"
    while kill -0 "$(cat {folder}/main.pid)" 2> /dev/null; do sleep 0.1; done
    setsid {command} > /dev/null 2>&1 < /dev/null &
    echo $! > {folder}/main.pid ;;
esac
"""


@on_huey
def test_one_that_systemd_runs(host: Host) -> None:
    """A worker that cannot be asked is the main process of a unit: systemctl restarts it, and the new one is seen."""
    need(os.geteuid() == 0 and shutil.which("unshare"), "root, and unshare")
    argv = consumer("-w", "1", "-k", "process", "-g", "TERM", "-n", "-q")
    tool = host.folder / "systemctl"
    tool.write_text(SYSTEMCTL.format(folder=host.folder, command=shlex.join(argv)))
    tool.chmod(0o755)
    booted = "mount -t tmpfs none /run && mkdir -p /run/systemd/system"
    path = f"{host.folder}:/usr/local/bin:/usr/bin:/bin"
    variables = {**host.environ, "LOGROTOR_CONFIG": str(host.config), "PATH": path}
    ask = shlex.join(command.arguments("queue", "restart", "-c", host.config, "--json"))
    main = host.folder / "main.pid"
    with started(["sh", "-c", f"{shlex.join(argv)} & echo $! > {main}"], host, **variables):
        host.wait_for(lambda: main.exists() and main.read_text() and host.site and worker_pids(host))
        before = int(main.read_text())
        told = command.run(["unshare", "--mount", "sh", "-ec", f"{booted}; {ask}"], env=variables, check=0)
        after = int(main.read_text())
        try:
            assert after != before and f"process {after}" in json.loads(told.stdout)["restarted"][0]
        finally:
            os.kill(after, signal.SIGTERM)
            host.wait_for(lambda: not worker_pids(host))
