"""The examples: each is run as it stands, at the paths that it names, or at least checked by the program it is for.

Not run: apt-get and FROM of the Dockerfile, docker itself, and systemd as a running manager.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cronsim import CronSim

from logrotor.config import load_config
from logrotor.jobs.engine import open_site
from logrotor.jobs.units import Runner, supervisor_program
from tests.papers import scenario
from tests.papers.machine import Machine, machine, ways_to_the_index
from tests.papers.story import Reader
from tests.support import command, mounts, oracle, supervisor, users
from tests.support.command import CHECKOUT
from tests.support.fixtures import world_tree
from tests.support.need import need
from tests.support.writers import Writer

EXAMPLES = CHECKOUT / "examples"
CONFIGS = sorted(EXAMPLES.rglob("logrotor.toml"))
MB = 1 << 20
NAMES = [f"{name}.log" for name in (*scenario.NAMES, "mpesa_raw", "mpesa_raw_callback")]

# A queue worker: numbered lines on both streams until "stop" appears; then it says how many, and waits to be ended.
PHP = """\
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from tests.support.oracle import line
name, number = sys.argv[-1].partition("--queue=")[2], 0
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while not os.path.exists("storage/stop"):
    number += 1
    os.write(1, line(name, number))
    os.write(2, line(name + "-error", number))
    time.sleep(0.005)
with open(f"storage/{name}.part", "w") as file:
    file.write(str(number))
os.rename(f"storage/{name}.part", f"storage/{name}.count")
while True:
    signal.pause()
"""


def large(name: str) -> bytes:
    """A history of a log, a little over 10 MB."""
    return oracle.lines(f"history-{name}", 1, 10_600, width=1000)


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.parent.relative_to(EXAMPLES)))
def test_configurations(path: Path):
    """``logrotor check`` finds nothing wrong, and each example says where its state is; run_as may not make it here."""
    found = command.logrotor("check", "-c", path, "--json", check=(0, 2)).json
    assert {problem["key"] for problem in found["problems"]} <= ({"state_dir"} if found["config"]["run_as"] else set())
    assert found["config"]["state_dir_origin"] == f"state_dir in {path}"


def test_the_scenario_names_every_log():
    """Each log of the deployment has one rule; those that supervisord writes ask it to reopen."""
    config = load_config(EXAMPLES / "scenario/logrotor.toml")
    paths = [os.path.basename(path) for spec in config.logs for path in spec.paths]
    assert sorted(paths) == sorted(NAMES)
    for spec in config.logs:
        assert (spec.max_size, spec.backup_count, spec.compress, spec.create_mode) == (10 * MB, 7, "zstd", 0o664)
    assert "laravel.log" not in [os.path.basename(path) for path in config.logs[0].paths]


# ---------------------------------------------------------------- first-run


def test_first_run(world: Path):
    """The workers' lines are all there after the run that took place in their midst."""
    folder = world / "first-run"
    shutil.copytree(EXAMPLES / "first-run", folder, ignore=shutil.ignore_patterns("logs", "state"))
    rotate = command.arguments("-c", folder / "logrotor.toml", "run", "-vv")
    done = command.run([sys.executable, str(folder / "workers.py"), *rotate], check=0)
    assert re.search(r"\n([\d,]+) lines written, \1 lines found: 0 lost, 0 doubled\n$", done.stdout), done
    assert {f"{name}-queue.log.1.zst" for name in ("default", "payments")} <= set(os.listdir(folder / "logs")), done


@pytest.mark.long
def test_first_run_sees_a_loss(world: Path):
    """If the command empties a log instead, the workers' count says so."""
    folder = world / "first-run"
    shutil.copytree(EXAMPLES / "first-run", folder, ignore=shutil.ignore_patterns("logs", "state"))
    spoil = ["truncate", "-s0", str(folder / "logs/default-queue.log")]
    done = command.run([sys.executable, str(folder / "workers.py"), *spoil], check=1)
    assert re.search(r"found: [1-9]\d* lost, 0 doubled\n$", done.stdout), done


# ---------------------------------------------------------------- daemon


@pytest.mark.parametrize("variant", ["watched", "callable"])
def test_daemon(world: Path, variant: str):
    """A daemon rotates its own log several times while it writes, and every line is there."""
    logs = world / "logs"
    logs.mkdir()
    argv = [sys.executable, str(EXAMPLES / "daemon/daemon.py"), variant, str(logs / "daemon.log"), str(world / "state")]
    with subprocess.Popen([*argv, "20KB", "0.05"], stdin=subprocess.PIPE, env=command.environment()) as daemon:
        assert daemon.stdin is not None
        number, deadline = 0, time.monotonic() + 60
        while len(oracle.archives(logs, "daemon.log")) < 5:
            assert time.monotonic() < deadline and daemon.poll() is None, os.listdir(logs)
            daemon.stdin.write(oracle.lines("d", number + 1, number + 20))
            daemon.stdin.flush()
            number += 20
            time.sleep(0.005)
        daemon.stdin.close()
        assert daemon.wait(30) == 0
    oracle.count_joined(logs, "daemon.log", {"d": number}).check(strays=True)
    oracle.count(logs, "daemon.log", expected={"d": number}).check()
    assert any(name.endswith(".zst") for name in os.listdir(logs))


# ---------------------------------------------------------------- scenario and supervisor


@pytest.fixture
def deployment() -> Iterator[Reader]:
    """www-data's application with storage/logs, and the programs that its supervisord starts in the PATH."""
    need(os.geteuid() == 0, "root, to become www-data")
    with world_tree() as folder:
        reader = Reader(folder)
        (reader.app / "storage/logs").mkdir(parents=True)
        _install_programs(reader.bin, sys.executable)
        reader.own()
        yield reader


def _install_programs(folder: Path, python: str) -> None:
    """``php`` is a worker that counts its lines, and a minute is short."""
    (folder / "php.py").write_text(PHP)
    for name, text in (("php", f'exec {python} {folder}/php.py {CHECKOUT} "$@"'), ("sleep", "exec /bin/sleep 0.2")):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


@pytest.fixture
def path_of(deployment: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """supervisord, as www-data's shell has it, finds php, logrotor and sleep in the PATH."""
    monkeypatch.setenv("PATH", f"{deployment.bin}:{os.environ['PATH']}")


def test_supervisor(deployment: Reader, path_of: None):
    """supervisord starts the programs and logrotor; the logs over 10 MB are rotated and no line is lost."""
    app, due = deployment.app, ("default-queue.log", "router-checks-queue-error.log")
    _prepare(deployment, "supervisor", due)
    text = (EXAMPLES / "supervisor/supervisord.conf").read_text()
    started = _started(text, app, deployment.user)
    try:
        for name in due:
            supervisor.wait_for((app / f"storage/logs/{name}.1.zst").exists)
        _stop_workers(app)
    finally:
        started.stop()
    _check_lines(app, *due)
    told = (app / "storage/logs/logrotor.log").read_text().splitlines()
    assert all('"run.interrupted"' in line for line in told), told  # a run in which supervisord was stopped


def test_scenario(deployment: Reader, path_of: None):
    """One run as www-data under a running supervisord: what is over 10 MB is rotated, what is missing is no error."""
    app, due = deployment.app, ("default-queue.log", "scheduler.log", "laravel.log", "mpesa_raw.log")
    logs = app / "storage/logs"
    need(mounts.collapses(logs), "a file system that can collapse a range")
    _prepare(deployment, "scenario", due)
    text = (EXAMPLES / "supervisor/supervisord.conf").read_text().partition("; A run every minute")[0]
    started = _started(text, app, deployment.user)
    try:
        for name in ("router-checks-queue.log", "router-checks-queue-error.log"):
            supervisor.wait_for((logs / name).exists)
        assert deployment.shell("logrotor run -c logrotor.toml", terminal=False) == (0, "")
        code, output = deployment.shell("logrotor run -c logrotor.toml -vv", terminal=False)
        assert code == 0 and output.count('"log.missing"') == len(NAMES) - 6, output
        _stop_workers(app)
    finally:
        started.stop()
    for name in due:
        assert (logs / f"{name}.1.zst").exists()
    for name in due[1:]:
        oracle.count_joined(logs, name, {f"history-{name}": 10_600}).check(strays=True)
    assert (logs / "default-queue.log").stat().st_mode & 0o777 == 0o664
    _check_lines(app, *due)


def test_queue_embedded_is_what_queue_unit_prints():
    """But for what its comment says: paths, directory and user."""
    folder = EXAMPLES / "queue-embedded"
    site = open_site(str(folder / "logrotor.toml"), {"HOME": "/"})
    printed = _program(
        supervisor_program(site, Runner("www-data"), log=f"{folder}/storage/logs/log-rotation-queue.log")
    )
    written = _program((folder / "supervisord.conf").read_text())
    assert {"directory", "user"} == printed.keys() - written.keys() and not written.keys() - printed.keys()
    assert {key for key in written if written[key] != printed[key]} == {"command", "stdout_logfile"}


def _program(text: str) -> dict[str, str]:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read_string(text)
    return dict(parser["program:log-rotation"])


@pytest.mark.servers
def test_queue_embedded(deployment: Reader, path_of: None):
    """Worker and schedule under a real supervisord: a log over its limit is rotated within a minute, and status tells.

    Asked to stop, supervisord waits for the worker; the doctor has nothing to say of what runs.
    """
    app, name = deployment.app, "payments-queue.log"
    _prepare(deployment, "queue-embedded", (name,))
    started = _started((EXAMPLES / "queue-embedded/supervisord.conf").read_text(), app, deployment.user)
    try:
        supervisor.wait_for((app / f"storage/logs/{name}.1.zst").exists, patience=120)
        supervisor.wait_for(lambda: _queue_status(deployment)["processing"]["endings"].get("done"))
        status = _queue_status(deployment)
        assert status["troubles"] == [] and status["processing"]["endings"].keys() == {"done"}
        code, output = deployment.shell("logrotor doctor -c logrotor.toml --only queue", terminal=False)
        assert (code, "nothing found" in output) == (0, True), output
        (app / "storage/stop").touch()
        supervisor.wait_for((app / "storage/payments.count").exists)
        number = int((app / "storage/payments.count").read_text())
        _await(app / "storage/logs" / name, oracle.line("payments", number))
    finally:
        started.stop()
    expected = {f"history-{name}": 10_600, "payments": number, "payments-error": number}
    oracle.count(app / "storage/logs", name, expected=expected).check()
    events = [
        json.loads(line)["event"] for line in (app / "storage/logs/log-rotation-queue.log").read_text().splitlines()
    ]
    assert events[:4] == ["worker.started", "run.started", "reopen.signalled", "run.completed"], events


def _queue_status(reader: Reader) -> dict[str, Any]:
    code, output = reader.shell("logrotor queue status -c logrotor.toml --json", terminal=False)
    assert code == 0, output
    return json.loads(output)


def _prepare(reader: Reader, example: str, due: tuple[str, ...]) -> None:
    for name in due:
        (reader.app / "storage/logs" / name).write_bytes(large(name))
    shutil.copy(EXAMPLES / example / "logrotor.toml", reader.app)
    reader.own()


def _started(text: str, app: Path, user: str | None) -> supervisor.Supervisord:
    """The example's supervisord. The support waits for its pidfile beside the configuration."""
    (app / "supervisord.pid").symlink_to("storage/supervisord.pid")
    return supervisor.start(text, app, user)


def _stop_workers(app: Path) -> None:
    """Have the workers stop, and wait until supervisord has written their last lines."""
    (app / "storage/stop").touch()
    for worker, names in WORKERS.items():
        count = app / f"storage/{worker}.count"
        supervisor.wait_for(count.exists)
        number = int(count.read_text())
        for name, writers in names.items():
            supervisor.wait_for(lambda name=name: (app / "storage/logs" / name).exists())  # type: ignore[misc]
            for writer in writers:
                _await(app / "storage/logs" / name, oracle.line(writer, number))


def _await(log: Path, line: bytes) -> None:
    supervisor.wait_for(lambda: line in log.read_bytes())


WORKERS = {
    "default": {"default-queue.log": ["default", "default-error"]},  # redirect_stderr = true
    "router-checks": {
        "router-checks-queue.log": ["router-checks"],
        "router-checks-queue-error.log": ["router-checks-error"],
    },
}


def _check_lines(app: Path, *due: str) -> None:
    """Each line of the workers, and those that were there before, stands once in a log or its archives."""
    for worker, names in WORKERS.items():
        number = int((app / f"storage/{worker}.count").read_text())
        for name, writers in names.items():
            history = {f"history-{name}": 10_600} if name in due else {}
            expected = {**dict.fromkeys(writers, number), **history}
            tally = oracle.count(app / "storage/logs", name, expected=expected).check()
            assert len(tally.per_file) == 1 + (name in due), str(tally)


# ---------------------------------------------------------------- at their own paths


@pytest.fixture
def site(world: Path) -> Iterator[Machine]:
    """A machine with www-data's logs in /srv/app/storage/logs, one of them due, and logrotor in /opt/logrotor."""
    logs = world / "srv/app/storage/logs"
    logs.mkdir(parents=True)
    (logs / "first-worker.log").write_bytes(large("first"))
    (logs / "small.log").write_bytes(oracle.line("small", 1))
    _give(logs, "www-data")
    with machine(world, {"/srv": world / "srv"}) as made:
        made.install_logrotor()
        yield made


def test_a_throwaway_machine_keeps_all_to_itself(world: Path):
    """Nothing that is written on it comes to this machine, also not where its interpreter and the checkout lie."""
    places = ("/usr/bin", "/usr/local/bin", "/usr/src", "/etc", "/opt", CHECKOUT, sys.prefix, sys.base_prefix)
    with machine(world, {}) as made:
        for place in places:
            name = f"{place}/logrotor-probe-{os.getpid()}"
            with suppress(OSError):  # read-only there: fine too
                made.path(name).write_text("x")
            assert not os.path.exists(name)
        made.run(sys.executable, "-c", "import zstandard", user="www-data")


def _give(folder: Path, name: str) -> None:
    owner = users.user(name)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.uid, owner.gid)


def _is_rotated(site: Machine, archive: str = "first-worker.log.1.zst") -> None:
    logs = site.path("/srv/app/storage/logs")
    assert (logs / archive).exists(), os.listdir(logs)
    oracle.count_joined(logs, "first-worker.log", {"history-first": 10_600}).check(strays=True)


def test_cron(site: Machine):
    """The file in /etc/cron.d is one that cron takes, and its line rotates as www-data and prints nothing."""
    site.install(EXAMPLES / "cron/logrotor", "/etc/cron.d/logrotor")
    site.install(EXAMPLES / "cron/logrotor.toml", "/etc/logrotor/logrotor.toml")
    lines = site.path("/etc/cron.d/logrotor").read_text().splitlines()
    (line,) = [line for line in lines if line and not line.startswith("#") and "=" not in line.split()[0]]
    *fields, user, words = line.split(None, 6)
    assert next(CronSim(" ".join(fields), datetime(2026, 11, 21, tzinfo=UTC)))
    (weekly,) = re.findall(r"For once a week: (.*)", "\n".join(lines))
    assert next(CronSim(weekly, datetime(2026, 11, 21, tzinfo=UTC))).weekday() == 6
    (prepare,) = re.findall(r"Before the first run: (.*)", "\n".join(lines))
    site.run("sh", "-c", prepare)
    done = site.run("/bin/sh", "-c", words, user=user, env={"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "HOME": "/"})
    assert (done.stdout, done.stderr) == ("", "")
    _is_rotated(site)
    assert site.path("/var/lib/logrotor").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["system", "user"])
def test_systemd_units_verify(site: Machine, kind: str):
    """systemd finds nothing to say about the units, with everything installed where they expect it."""
    need(shutil.which("systemd-analyze"), "systemd-analyze (package systemd)")
    where = {"system": "/etc/systemd/system", "user": "/root/.config/systemd/user"}[kind]
    for name in ("logrotor.service", "logrotor.timer"):
        site.install(EXAMPLES / f"systemd/{kind}" / name, f"{where}/{name}")
    if kind == "user":
        site.install(EXAMPLES / "systemd/user/logrotor.toml", "/root/.config/logrotor/logrotor.toml")
        site.install(site.path("/opt/logrotor/bin/logrotor"), "/root/.local/share/logrotor/bin/logrotor")
        site.run("chmod", "+x", "/root/.local/share/logrotor/bin/logrotor")
    env = {"PATH": "/usr/bin:/bin", "HOME": "/root", "XDG_RUNTIME_DIR": "/run"}
    analyze = ["systemd-analyze", f"--{kind}", "--man=no", "--recursive-errors=yes", "verify"]
    done = site.run(*analyze, f"{where}/logrotor.service", f"{where}/logrotor.timer", env=env)
    assert done.stdout + done.stderr == ""


def test_systemd_service_command(site: Machine):
    """What the service starts rotates a log that its writer never reopens, as the user and with the state it names."""
    need(mounts.collapses(site.path("/srv")), "a file system that can collapse a range")
    site.install(EXAMPLES / "systemd/system/logrotor.toml", "/etc/logrotor/logrotor.toml")
    unit = _unit(EXAMPLES / "systemd/system/logrotor.service")
    state = f"/var/lib/{unit['Service']['StateDirectory']}"
    user = unit["Service"]["User"]
    site.run("install", "-d", "-o", user, "-m", unit["Service"]["StateDirectoryMode"], state)
    site.run(*unit["Service"]["ExecStart"].split(), user=user)
    _is_rotated(site)
    assert site.path(state).joinpath("last-run").exists()
    assert load_config(EXAMPLES / "systemd/system/logrotor.toml").state_dir == state


def test_systemd_user_command(world: Path):
    """The same for a user and his own folders."""
    unit = _unit(EXAMPLES / "systemd/user/logrotor.service")
    home = Reader(world, user=None).home
    for folder in (".config/logrotor", "logs", ".local/share/logrotor/bin"):
        (home / folder).mkdir(parents=True)
    shutil.copy(EXAMPLES / "systemd/user/logrotor.toml", home / ".config/logrotor")
    (home / ".local/share/logrotor/bin/logrotor").symlink_to(world / "bin/logrotor")
    (home / "logs/mine.log").write_bytes(large("mine"))
    command.run(unit["Service"]["ExecStart"].replace("%h", str(home)).split(), env={"HOME": str(home)}, check=0)
    assert sorted(os.listdir(home / "logs")) == ["mine.log", "mine.log.1.zst"]
    assert (home / ".local/state/logrotor/last-run").exists()


def _unit(path: Path) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(path)
    return parsed


# What MemoryDenyWriteExecute=true asks of the kernel: prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN), from Linux 6.3 on.
DENY_WX = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:
    sys.exit("MDWE")
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_systemd_filters_let_logrotor_work(world: Path):
    """Every system call of a rotation is in the filter of the services, and none needs memory that is W and X."""
    need(shutil.which("systemd-analyze"), "systemd-analyze (package systemd)")
    need(shutil.which("strace"), "strace")
    for kind in ("system", "user"):
        service = _unit(EXAMPLES / f"systemd/{kind}/logrotor.service")["Service"]
        assert (service["SystemCallFilter"], service["MemoryDenyWriteExecute"]) == ("@system-service", "true")
    (world / "logs").mkdir()
    (world / "logs/app.log").write_bytes(large("app"))
    (world / "pid").write_text(str(os.getpid()))
    (world / "logrotor.toml").write_text(
        'state_dir = "state"\n[reopen.r]\nmanager = "pidfile"\npidfile = "pid"\nsignal = "CONT"\n'
        '[[log]]\nname = "a"\npaths = ["logs/*.log"]\nmax_size = "1MB"\nreopen = "r"\n'
    )
    trace = world / "trace"
    rotate = command.arguments("run", "-c", world / "logrotor.toml", "--json")
    done = command.run(["strace", "-f", "-qq", "-o", str(trace), sys.executable, "-c", DENY_WX, *rotate])
    need(done.stderr != "MDWE\n", "Linux 6.3 or newer")
    assert done.code == 0 and done.json["outcomes"], done
    used = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    assert {"renameat2", "fcntl", "fsync", "pidfd_send_signal"} <= used
    assert used - _filter("@system-service") <= {"arch_prctl"}  # which systemd always lets through


def _filter(name: str) -> set[str]:
    """The system calls of a set, with those of the sets in it."""
    argv = ["systemd-analyze", "syscall-filter", name]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    words = [line.strip() for line in shown.splitlines()[1:] if line.startswith("    ") and "#" not in line]
    sets = {word for word in words if word.startswith("@")}
    return {word for word in words if not word.startswith("@")}.union(*map(_filter, sorted(sets)))


# ---------------------------------------------------------------- container


def _instructions(example: str = "container") -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: keyword and rest, continued lines joined."""
    text = re.sub(r"\\\n", " ", (EXAMPLES / example / "Dockerfile").read_text())
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line and line[0] != "#"]


@pytest.fixture
def container(world: Path) -> Iterator[Machine]:
    """A machine in which the Dockerfile's RUN and COPY were carried out, but for apt-get and the installation."""
    need(os.geteuid() == 0, "root, for a machine in a mount namespace")
    (world / "srv").mkdir()
    with machine(world, {"/srv": world / "srv"}) as made:
        made.install_logrotor()
        made.script("/usr/bin/supervisord", f'exec {sys.executable} {supervisor.executable()} "$@"')
        _install_in(made)
        for keyword, rest in _instructions():
            if keyword == "RUN" and not rest.startswith(("apt-get", "python3 -m venv")):
                made.run("sh", "-c", rest)
            elif keyword == "COPY" and not rest.startswith("logrotor /"):
                source, target = rest.split()
                made.install(EXAMPLES / "container" / source, target)
        yield made


def _install_in(made: Machine) -> None:
    folder = made.path("/usr/local/bin")
    (folder / "php.py").write_text(PHP)
    made.script("/usr/local/bin/php", f'exec {sys.executable} /usr/local/bin/php.py {CHECKOUT} "$@"')
    made.script("/usr/local/bin/sleep", "exec /bin/sleep 0.2")


def test_container(container: Machine):
    """Started as the Dockerfile says it becomes healthy, rotates, and loses no line; without runs it gets unhealthy."""
    instructions = dict(_instructions())
    user, health = instructions["USER"], instructions["HEALTHCHECK"].partition(" CMD ")[2]
    app, name = container.path("/srv/app"), "default-queue.log"
    (app / "storage/logs" / name).write_bytes(large(name))
    _give(app / "storage", user)

    def is_healthy() -> bool:
        return container.run("sh", "-c", health, user=user, check=False).returncode == 0

    assert not is_healthy()
    with _container_started(container, instructions):
        supervisor.wait_for((app / f"storage/logs/{name}.1.zst").exists)
        supervisor.wait_for(is_healthy)
        (app / "storage/stop").touch()
        supervisor.wait_for((app / "storage/default.count").exists)
        number = int((app / "storage/default.count").read_text())
        _await(app / "storage/logs" / name, oracle.line("default-error", number))
    expected = {"default": number, "default-error": number, f"history-{name}": 10_600}
    oracle.count(app / "storage/logs", name, expected=expected).check()
    mark = container.path("/var/lib/logrotor/last-run")
    os.utime(mark, (time.time() - 360,) * 2)
    assert not is_healthy()


@contextmanager
def _container_started(container: Machine, instructions: dict[str, str]) -> Iterator[None]:
    """Its CMD, as its USER in its WORKDIR. stdout is a pipe of that user's, as runc hands it to a container."""
    words = ["sh", "-c", f'cd {instructions["WORKDIR"]} && exec "$@"', "sh", *json.loads(instructions["CMD"])]
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    reader, writer = os.pipe()
    os.fchown(writer, users.user(instructions["USER"]).uid, -1)
    argv = container.argv(*words, user=instructions["USER"], env=env)
    with open(reader, "rb") as output, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=writer) as process:
        os.close(writer)
        try:
            yield
        finally:
            process.terminate()
            told = output.read().decode()
    assert process.returncode == 0 and "EACCES" not in told and "problem" not in told, told


def test_volumes_hold_state_and_logs():
    """What must outlive the container is on a volume: the state directory and the logs."""
    config = load_config(EXAMPLES / "container/logrotor.toml")
    volumes = dict(_instructions())["VOLUME"].split()
    assert volumes == [config.state_dir, os.path.dirname(config.logs[0].paths[0])]


@pytest.mark.long
def test_container_installation(world: Path):
    """The RUN that installs logrotor works with Debian's Python, and /opt/logrotor/bin/logrotor is there."""
    need(os.path.exists("/usr/bin/python3"), "Debian's own Python")
    with machine(world, {}) as made:
        clone = made.path("/usr/src/logrotor")
        skipped = shutil.ignore_patterns(".*", "__pycache__", "logs", "state")
        shutil.copytree(CHECKOUT, clone, ignore=skipped, symlinks=True)
        (run,) = [rest for keyword, rest in _instructions() if keyword == "RUN" and rest.startswith("python3 -m venv")]
        made.run("sh", "-c", run, env={"PATH": "/usr/bin:/bin", "HOME": "/root", **ways_to_the_index()})
        assert "logrotor" in made.run("/opt/logrotor/bin/logrotor", "--version", user="www-data").stdout


# ---------------------------------------------------------------- watch


@pytest.mark.long
def test_watch_under_supervisor(deployment: Reader, path_of: None):
    """supervisord starts the programs and the watch: what is over 10 MB is rotated, with no run in between."""
    app, due = deployment.app, ("default-queue.log",)
    _prepare(deployment, "watch/supervisor", due)
    started = _started((EXAMPLES / "watch/supervisor/supervisord.conf").read_text(), app, deployment.user)
    try:
        supervisor.wait_for((app / "storage/logs/default-queue.log.1.zst").exists)
        (app / "storage/stop").touch()
        supervisor.wait_for((app / "storage/default.count").exists)
        number = int((app / "storage/default.count").read_text())
        for name in ("default", "default-error"):
            _await(app / "storage/logs/default-queue.log", oracle.line(name, number))
        os.kill(started.pid, signal.SIGTERM)  # it asks its programs to end, and the watch says that it does
        started.process.wait(supervisor.PATIENCE)
    finally:
        if started.process.poll() is None:
            started.stop()
    expected = {"default": number, "default-error": number, "history-default-queue.log": 10_600}
    oracle.count(app / "storage/logs", "default-queue.log", expected=expected).check()
    told = [json.loads(line)["event"] for line in (app / "storage/logs/logrotor.log").read_text().splitlines()]
    assert told[0] == "watch.started" and told[-1] == "watch.ended" and "run.completed" in told


@contextmanager
def _watching(argv: list[str], said: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Ended as its manager would: by TERM, and it ends well."""
    with said.open("wb") as output, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)
    assert process.returncode in (0, -9), said.read_text()


@pytest.mark.long
def test_watch_as_a_service_at_full_speed(site: Machine, world: Path):
    """A writer of 50 MB/s under the service: every line is there, and each archive is about as large as the limit.

    The limits are generous, for a machine may have other things to do: what is measured stands in the README.
    """
    unit = _unit(EXAMPLES / "watch/systemd/logrotor-watch.service")["Service"]
    text = (EXAMPLES / "watch/systemd/logrotor.toml").read_text()
    site.install(EXAMPLES / "watch/systemd/logrotor.toml", "/etc/logrotor/logrotor.toml")
    site.path("/etc/logrotor/logrotor.toml").write_text(text + 'min_interval = "0s"\ncompress_level = 1\n')
    site.run("install", "-d", "-o", unit["User"], "-m", unit["StateDirectoryMode"], "/var/lib/logrotor")
    logs, socket_name = site.path("/srv/app/storage/logs"), f"logrotor-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{socket_name}")
        manager.settimeout(60)
        env = {"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": f"@{socket_name}"}
        with _watching(site.argv(*unit["ExecStart"].split(), user=unit["User"], env=env), world / "said"):
            assert manager.recv(4096).startswith(b"READY=1")
            place = world / "srv/app/storage/logs"  # the same, where others may go
            fast = Writer(place / "fast.log", "follow", name="fast", rate=6250, width=8000, user=unit["User"])
            with fast as writer:
                writer.wait_for(75_000)  # 600 MB
                expected = {"fast": writer.stop()}
            supervisor.wait_for(lambda: not [n for n in os.listdir(logs) if re.search(r"^[.]|fast.log.[0-9]+$", n)])
    tally = oracle.count(logs, "fast.log", expected=expected).check()
    taken = [lines * 8000 for name, lines in tally.per_file.items() if not name.endswith("/fast.log")]
    print("over the limit, in MB:", [round((size - 100 * MB) / 1e6, 1) for size in taken])
    assert len(taken) >= 2 and all(100 * MB < size < 350 * MB for size in taken), taken


def test_watch_service_verifies(site: Machine):
    """systemd has nothing to say about the unit."""
    need(shutil.which("systemd-analyze"), "systemd-analyze (package systemd)")
    target = "/etc/systemd/system/logrotor-watch.service"
    site.install(EXAMPLES / "watch/systemd/logrotor-watch.service", target)
    env = {"PATH": "/usr/bin:/bin", "HOME": "/root", "XDG_RUNTIME_DIR": "/run"}
    done = site.run("systemd-analyze", "--man=no", "--recursive-errors=yes", "verify", target, env=env)
    assert done.stdout + done.stderr == ""


@pytest.mark.long
def test_watch_in_a_sidecar(world: Path):
    """In a pid namespace of its own it sees no writer, and loses no line of theirs; killed, it is unhealthy."""
    instructions = dict(_instructions("watch/sidecar"))
    user, health = instructions["USER"], instructions["HEALTHCHECK"].partition(" CMD ")[2]
    (world / "srv").mkdir()
    with machine(world, {"/srv": world / "srv"}) as made:
        made.install_logrotor()
        for keyword, rest in _instructions("watch/sidecar"):
            if keyword == "RUN" and rest.startswith("install "):
                made.run("sh", "-c", rest)
        made.install(EXAMPLES / "watch/sidecar/logrotor.toml", "/etc/logrotor/logrotor.toml")
        logs = made.path("/srv/app/logs")
        (logs / "app.log").write_bytes(oracle.lines("history", 1, 13_200, width=8000))
        _give(logs, user)
        apart = ["unshare", "--pid", "--fork", "--mount", "--mount-proc"]
        argv = made.argv(*json.loads(instructions["CMD"]), user=user)
        argv = [*argv[: argv.index("setpriv")], *apart, *argv[argv.index("setpriv") :]]
        with (
            Writer(world / "srv/app/logs/app.log", "follow", name="app", rate=3000, user=user) as writer,
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as watch,
        ):
            try:
                supervisor.wait_for((logs / "app.log.1.zst").exists)
                healthy = ("sh", "-c", health)
                supervisor.wait_for(lambda: made.run(*healthy, user=user, check=False).returncode == 0)
                expected = {"app": writer.stop(), "history": 13_200}
            finally:  # unshare's child is the first process there
                (child,) = Path(f"/proc/{watch.pid}/task/{watch.pid}/children").read_text().split()
                os.kill(int(child), signal.SIGKILL)
        beat = made.path("/var/lib/logrotor/watch.json")
        old = re.sub(r'"at":[0-9.]+', '"at":1000000000', beat.read_text())
        beat.write_text(old)
        assert made.run(*healthy, user=user, check=False).returncode == 1
        oracle.count(logs, "app.log", expected=expected).check()
