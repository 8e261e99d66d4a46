"""Every kind of writer, and every way to ask one to reopen its log: nothing lost, and what is not proved waits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.model import Report, Status
from tests.support.deployment import Deployment, counted, listing, outcomes
from tests.support.oracle import line
from tests.support.supervisor import wait_for
from tests.support.writers import Kind, Writer


@pytest.fixture
def logs(site: Deployment) -> Path:
    return site.folder("logs")


def rule(log: str, more: str = "") -> str:
    return f'[[log]]\nname = "{log}"\npaths = ["logs/{log}"]\nmax_size = "10MB"\n{more}\n'


def pidfile(site: Deployment, pid: int, name: str = "daemon.pid") -> Path:
    return site.file(name, f"{pid}\n".encode())


def daemon(site: Deployment, name: str = "daemon", number: str = "USR1") -> str:
    """The table of a target by pidfile."""
    return f'[reopen.{name}]\nmanager = "pidfile"\npidfile = "{name}.pid"\nsignal = "{number}"\n'


# Notes each signal that asks it to reopen with one byte.
NOTING = """
import os, signal, sys
fd = os.open(sys.argv[1] + ".part", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for number in (signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda *_: os.write(fd, b"+"))
os.rename(sys.argv[1] + ".part", sys.argv[1])
while True:
    signal.pause()
"""

# ---------------------------------------------------------------- writers of every kind


@pytest.mark.parametrize("kind", [Kind.SIGNAL, Kind.FOLLOW, Kind.PER_LINE])
def test_a_writer_that_lets_go_loses_nothing(site: Deployment, logs: Path, kind: Kind) -> None:
    """Rotated five times while it writes: every line is there once, and every archive is compressed in its run."""
    log = logs / "app.log"
    with Writer(log, kind, rate=5000, user=site.user) as writer:
        reopen = kind is Kind.SIGNAL
        site.configure((daemon(site) if reopen else "") + rule("app.log", 'reopen = "daemon"' if reopen else ""))
        pidfile(site, writer.pid)
        for _ in range(5):
            writer.wait_for_more(100)
            site.run("--force")
    site.settle(*(logs / f"app.log.{n}.zst" for n in range(1, 6)))  # what was still open when a run looked
    counted(logs, "app.log", **writer.expected)
    assert [name for name in listing(logs) if name != "app.log"] == [f"app.log.{n}.zst" for n in range(1, 6)]
    assert log.stat().st_mode & 0o777 == 0o600, "as its writer made it"


def test_a_writer_that_holds_its_log_for_ever(site: Deployment, logs: Path) -> None:
    """Its log is deferred, with its pid as the reason, until it ends; then the next run compresses it."""
    site.configure(rule("app.log"))
    with Writer(logs / "app.log", Kind.HOLD, rate=2000, user=site.user) as writer:
        writer.wait_for(100)
        for flags in (["--force"], []):
            report = site.report(*flags)
            (waiting,) = outcomes(report, "compress")
            assert (waiting["status"], waiting["name"]) == ("deferred", "app.log.1")
            assert str(writer.pid) in waiting["reason"]
            assert listing(logs) == ["app.log", "app.log.1"]
            (planned,) = site.json("plan", logs / "app.log")["logs"][0]["deferred"]
            assert planned["name"] == "app.log.1" and str(writer.pid) in planned["reason"]
            writer.wait_for_more(100)
    assert outcomes(site.report(), "compress", status="done", name="app.log.1")
    assert listing(logs) == ["app.log", "app.log.1.zst"]
    counted(logs, "app.log", **writer.expected)


def test_retention_spares_the_log_that_is_still_written(site: Deployment, logs: Path) -> None:
    """With backup_count = 1 a writer that never reopens keeps its file, however often the log is rotated."""
    site.configure(rule("app.log", "backup_count = 1\nrotate_empty = true"))
    with Writer(logs / "app.log", Kind.HOLD, on_order=True, user=site.user) as writer:
        writer.write(50)
        for _ in range(3):
            site.run("--force")
            writer.write(10)
        assert "app.log.3" in listing(logs)
        counted(logs, "app.log", **writer.expected)
        kept = [o for o in outcomes(site.report(), status="deferred") if o["name"] == "app.log.3"]
        assert str(writer.pid) in kept[0]["reason"]


def test_all_kinds_in_one_run(site: Deployment, logs: Path) -> None:
    """One run over writers of every kind: each log by its own rule, one request per target."""
    kinds = [Kind.SIGNAL, Kind.FOLLOW, Kind.PER_LINE, Kind.HOLD]
    writers = {f"{kind}.log": Writer(logs / f"{kind}.log", kind, rate=2000, user=site.user) for kind in kinds}
    try:
        pidfile(site, writers["signal.log"].pid)
        rules = [rule(name, 'reopen = "daemon"' if name == "signal.log" else "") for name in writers]
        site.configure("\n".join([daemon(site), *rules]))
        for writer in writers.values():
            writer.wait_for(200)
        report = site.report("--force")
        for writer in writers.values():
            writer.wait_for_more(50)
    finally:
        for writer in writers.values():
            writer.stop()
    assert len(outcomes(report, "take", status="done")) == 4
    assert len(outcomes(report, "reopen", status="done")) == 1
    deferred = {o["name"] for o in outcomes(report, "compress", status="deferred")}
    assert "hold.log.1" in deferred
    site.run()
    assert listing(logs) == sorted([*writers, *(f"{name}.1.zst" for name in writers)])
    for name, writer in writers.items():
        counted(logs, name, **writer.expected)


# ---------------------------------------------------------------- requests that fail


@pytest.fixture
def waiting(site: Deployment, logs: Path) -> Iterator[Writer]:
    """A writer that would reopen on a signal, and a rule that sends it."""
    site.configure(daemon(site) + rule("app.log", 'reopen = "daemon"'))
    with Writer(logs / "app.log", Kind.SIGNAL, on_order=True, user=site.user) as writer:
        writer.write(100)
        yield writer


@pytest.mark.parametrize("pid", ["none", "stale", "of the dead"])
def test_a_pidfile_that_is_wrong(site: Deployment, logs: Path, waiting: Writer, pid: str) -> None:
    """Nobody is signalled, exit 1; the log stays whole and plain, and the next runs ask until somebody is there."""
    other = Writer(site.root / "other", Kind.SIGNAL, on_order=True, user=site.user)
    if pid != "none":
        os.utime(pidfile(site, other.pid), (1, 1) if pid == "stale" else None)  # stale: before the process started
    if pid == "of the dead":
        other.stop()
    for flags in (["--force"], []):
        (failed,) = outcomes(site.report(*flags, check=1), "reopen", status="failed")
        named = f"{site.root}/daemon.pid" if pid == "none" else str(other.pid)
        assert failed["name"] == "daemon" and named in failed["problem"]["problem"], failed
        waiting.write(10)
        assert listing(logs) == ["app.log", "app.log.1"]
    assert other.stop() == other.reopened() == 0
    counted(logs, "app.log", **waiting.expected)

    pidfile(site, waiting.pid)
    assert outcomes(site.report(), "reopen", status="done")
    waiting.write(10)
    site.run()
    assert listing(logs) == ["app.log", "app.log.1.zst"]
    counted(logs, "app.log", **waiting.expected)
    assert (logs / "app.log").read_bytes().count(b"\n") == 10


@pytest.mark.parametrize("pid", ["none", "stale", "of the dead"])
def test_nobody_at_home(site: Deployment, logs: Path, waiting: Writer, pid: str) -> None:
    """The daemon is stopped: nobody writes the archive, so nobody has to be asked, and it is compressed; exit 0."""
    if pid != "none":
        os.utime(pidfile(site, waiting.pid if pid == "of the dead" else os.getpid()), (1, 1))
    waiting.stop()
    events = site.events("--force", check=0)
    assert [e["target"] for e in events if e["event"] == "reopen.unneeded"] == ["daemon"]
    assert not [e for e in events if e["event"] in ("reopen.failed", "reopen.signalled")]
    assert listing(logs) == ["app.log", "app.log.1.zst"]
    counted(logs, "app.log", **waiting.expected)


@pytest.mark.parametrize("more", ['compress = "none"', "keep_uncompressed = 1"])
def test_nobody_at_home_and_nothing_to_compress(site: Deployment, logs: Path, waiting: Writer, more: str) -> None:
    """The request that nobody needed is not repeated in the runs that follow, and status has nothing to say of it."""
    site.configure(daemon(site) + rule("app.log", f'reopen = "daemon"\n{more}'))
    waiting.stop()
    site.run("--force")
    assert [o["status"] for o in outcomes(site.report(), "reopen")] == []
    (log,) = site.json("status")["logs"]
    assert (log["request_failed"], log["failures"], log["pending"]) == (False, 0, [])


def test_one_of_a_daemons_logs_is_still_written(site: Deployment, logs: Path, waiting: Writer) -> None:
    """Of two logs of a daemon that is gone, another process has one: that one waits, exit 1; the other is done."""
    site.file("logs/other.log", b"x\n")
    site.configure(daemon(site) + rule("*.log", 'reopen = "daemon"'))
    report = site.report("--force", check=1)
    (failed,) = outcomes(report, "reopen", status="failed")
    (unneeded,) = outcomes(report, "reopen", status="skipped")
    assert failed["details"]["logs"] == [f"{logs}/app.log"] and unneeded["details"]["logs"] == [f"{logs}/other.log"]
    assert listing(logs) == ["app.log", "app.log.1", "other.log", "other.log.1.zst"]


def test_a_command_that_nobody_follows_is_not_repeated_in_each_run(
    site: Deployment, logs: Path, waiting: Writer
) -> None:
    """It could restart a service: six runs run it once; a new take runs it once more."""
    script = site.file("ask", f"#!/bin/sh\necho asked >> {site.root}/asked\n".encode())
    script.chmod(0o755)
    site.configure(
        f'[reopen.script]\nmanager = "command"\ncommand = ["{script}"]\n' + rule("app.log", 'reopen = "script"')
    )
    site.run("--force")
    for _ in range(5):
        waiting.write(10)
        site.run()
    assert (site.root / "asked").read_text() == "asked\n"
    (logs / "app.log").write_bytes(line("w2", 1))
    site.run("--force")
    assert (site.root / "asked").read_text() == "asked\n" * 2


def test_a_signal_that_nobody_follows_is_not_repeated_in_each_run(own: Deployment) -> None:
    """The daemon handles it and keeps its log: six runs send one signal, a new take sends another."""
    noted, log = own.root / "noted", own.file(own.folder("logs") / "app.log", b"x\n")
    own.configure(daemon(own) + rule("app.log", 'reopen = "daemon"'))
    process = subprocess.Popen([os.path.realpath(sys.executable), "-S", "-E", "-c", NOTING, str(noted)])
    try:
        wait_for(noted.exists)
        pidfile(own, process.pid)
        with log.open("ab", buffering=0) as held:
            own.run("--force")
            for _ in range(5):
                held.write(b"more\n")
                own.run()
            log.write_bytes(b"x\n")
            own.run("--force")
            wait_for(lambda: noted.read_bytes() == b"++")
            process.send_signal(signal.SIGUSR2)  # it notes this one too: nothing else was on its way
            wait_for(lambda: noted.read_bytes() == b"+++")
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------- requests that are bound to fail


@pytest.fixture
def strange(site: Deployment, logs: Path) -> Iterator[Writer]:
    """A writer that runs as nobody, whom www-data may not signal; it has the log of www-data open."""
    site.configure(daemon(site) + rule("app.log", 'reopen = "daemon"'))
    (site.file("logs/app.log", mode=0o666)).chmod(0o666)
    with Writer(logs / "app.log", Kind.SIGNAL, on_order=True, user="nobody") as writer:
        writer.write(100)
        os.chown(pidfile(site, writer.pid), 0, 0)  # pidfiles are root's, or of the user of the process
        yield writer


def test_a_log_whose_writer_can_never_be_asked_is_not_taken(site: Deployment, logs: Path, strange: Writer) -> None:
    """Taken, it would grow on as an archive. It stays as it is, exit 1, and what to do stands there, in plan too."""
    for _ in range(2):
        (problem,) = site.problems("--force")
        assert problem["subject"] == str(logs / "app.log") and str(strange.pid) in problem["problem"]
        assert listing(logs) == ["app.log"]
    assert site.json("plan", "--force", check=1)["logs"][0]["refused"]["advice"] == problem["advice"]
    assert strange.reopened() == 0
    strange.write(10)
    counted(logs, "app.log", **strange.expected)


def test_a_command_may_ask_whom_we_may_not(site: Deployment, logs: Path, strange: Writer) -> None:
    """A command that may signal it: from then on the log is rotated. What the advice says: test_identity.py."""
    assert len(site.problems("--force")) == 1
    site.configure(
        f'[reopen.helper]\nmanager = "command"\ncommand = ["{site.root}/helper"]\n'
        + rule("app.log", 'reopen = "helper"\ncreate_mode = "0666"')
    )
    helper = site.file("helper", b"", mode=0o755)
    served = site.folder("served")
    helper.write_text(f"#!/bin/sh\ntouch {served}/asked; while [ -e {served}/asked ]; do sleep 0.01; done\n")
    with helping(served, strange):
        site.run("--force")
    assert strange.reopened() == 1
    site.settle(logs / "app.log.1.zst")
    counted(logs, "app.log", **strange.expected)


@contextmanager
def helping(folder: Path, writer: Writer) -> Iterator[None]:
    """A helper of root that sends the signal for whoever may not."""
    ended = threading.Event()

    def serve() -> None:
        while not ended.wait(0.01):
            if (folder / "asked").exists():
                writer.reopen()
                (folder / "asked").unlink()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_nobody_has_the_log_open(site: Deployment, logs: Path) -> None:
    """The target may not be signalled, and nobody writes the log: it is taken, and the request is not needed."""
    site.configure(daemon(site) + rule("app.log", 'reopen = "daemon"'))
    site.file("logs/app.log", b"x\n")
    with Writer(site.file("other", mode=0o666), Kind.SIGNAL, on_order=True, user="nobody") as other:
        os.chown(pidfile(site, other.pid), 0, 0)
        report = site.report("--force")
    assert outcomes(report, "reopen", status="skipped")
    assert listing(logs) == ["app.log", "app.log.1.zst"]


# ---------------------------------------------------------------- other ways to ask


def test_systemd(site: Deployment, logs: Path, waiting: Writer) -> None:
    """The main process of a unit gets the signal; systemctl is only asked for its number."""
    folder = site.folder("bin")
    fake = site.file(
        "bin/systemctl", f'#!/bin/sh\necho "$@" >> {site.root}/asked\necho MainPID={waiting.pid}\n'.encode()
    )
    fake.chmod(0o755)
    site.configure(
        '[reopen.unit]\nmanager = "systemd"\nunit = "app.service"\nsignal = "USR1"\n'
        + rule("app.log", 'reopen = "unit"')
    )
    site.run("--force", env={"PATH": f"{folder}:/usr/bin:/bin"})
    assert set((site.root / "asked").read_text().splitlines()) == {"show -p MainPID -- app.service"}
    waiting.write(10)
    assert waiting.reopened() == 1
    site.settle(logs / "app.log.1.zst")
    assert listing(logs) == ["app.log", "app.log.1.zst"]
    counted(logs, "app.log", **waiting.expected)


def test_command(site: Deployment, logs: Path, waiting: Writer) -> None:
    """A command gets the logs in its environment; once it succeeds the archive is proved and compressed."""
    script = site.file("ask", f'#!/bin/sh\necho "$LOGROTOR_LOGS" > {site.root}/asked\nkill -USR1 "$1"\n'.encode())
    script.chmod(0o755)
    site.configure(
        f'[reopen.script]\nmanager = "command"\ncommand = ["{script}", "{waiting.pid}"]\n'
        + rule("app.log", 'reopen = "script"')
    )
    site.run("--force")
    assert json.loads((site.root / "asked").read_text()) == [str(logs / "app.log")]
    waiting.write(10)
    site.settle(logs / "app.log.1.zst")
    assert listing(logs) == ["app.log", "app.log.1.zst"]
    counted(logs, "app.log", **waiting.expected)


def test_a_command_that_fails(site: Deployment, logs: Path, waiting: Writer) -> None:
    """Its exit status and its last words are reported, exit 1, and the archive stays as it is."""
    site.configure(
        '[reopen.script]\nmanager = "command"\ncommand = ["/bin/sh", "-c", "echo no luck; exit 3"]\n'
        + rule("app.log", 'reopen = "script"')
    )
    (problem,) = site.problems("--force")
    assert "3" in problem["problem"] and "no luck" in problem["problem"]
    assert listing(logs) == ["app.log", "app.log.1"]
    counted(logs, "app.log", **waiting.expected)


def test_callable_in_the_library(own: Deployment) -> None:
    """A function of the program that uses the library gets the paths that were taken, and reopens its own log."""
    log = own.folder("logs") / "app.log"
    file = open(log, "ab", buffering=0)  # noqa: SIM115
    asked: list[tuple[str, ...]] = []

    def reopen(paths: tuple[str, ...]) -> None:
        nonlocal file
        asked.append(paths)
        file.close()
        file = open(log, "ab", buffering=0)  # noqa: SIM115

    file.write(line("w1", 1))
    report = rotated(own, {"manager": "callable", "function": reopen}, log)
    file.write(line("w1", 2))
    assert asked == [(str(log),)]
    assert report.exit_code == 0 and report.count("compress") == 1
    file.close()
    counted(log.parent, "app.log", w1=2)
    assert listing(log.parent) == ["app.log", "app.log.1.zst"]


def test_a_callable_that_raises(own: Deployment) -> None:
    """What a function raises becomes a failed request, and the archive stays as it is."""
    log = own.folder("logs") / "app.log"
    log.write_bytes(b"x\n")

    def reopen(paths: tuple[str, ...]) -> None:
        raise ValueError("not now")

    with log.open("ab"):
        report = rotated(own, {"manager": "callable", "function": reopen}, log)
    assert report.exit_code == 1
    (failed,) = report.failed
    assert (failed.action, failed.status) == ("reopen", Status.FAILED)
    assert "ValueError: not now" in failed.reason
    assert listing(log.parent) == ["app.log", "app.log.1"]


def rotated(site: Deployment, target: dict[str, Any], log: Path) -> Report:
    config = load_config(
        {
            "state_dir": str(site.state),
            "reopen": {"self": target},
            "log": [{"name": "app", "paths": [str(log)], "max_size": "1K", "reopen": "self"}],
        }
    )
    return Rotator(config).run(force=True)


def test_one_signal_for_all_logs_of_a_target(own: Deployment) -> None:
    """Five logs of one daemon are taken first; then it gets one signal, not five."""
    noted, logs = own.root / "noted", own.folder("logs")
    for number in range(5):
        own.file(logs / f"{number}.log", b"x\n")
    own.configure(daemon(own) + rule("*.log", 'reopen = "daemon"'))
    process = subprocess.Popen([os.path.realpath(sys.executable), "-S", "-E", "-c", NOTING, str(noted)])
    try:
        wait_for(noted.exists)
        pidfile(own, process.pid)
        report = own.report("--force")
        assert len(outcomes(report, "take", status="done")) == 5
        wait_for(lambda: noted.read_bytes() == b"+")
        process.send_signal(signal.SIGUSR2)  # it notes this one too: nothing else was on its way
        wait_for(lambda: len(noted.read_bytes()) == 2)
    finally:
        process.kill()
        process.wait()
