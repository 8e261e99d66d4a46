"""The process behind a pidfile: found, identified, signalled; anything doubtful is refused with what to do."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from logrotor import notify
from logrotor.disk import calls, proc
from logrotor.model import Manager, ReopenTarget
from logrotor.notify import process
from tests.notify.conftest import Daemon, refusal
from tests.support.need import need
from tests.support.supervisor import wait_for
from tests.support.users import CHECKOUT, as_argv, as_user

Target = Callable[..., ReopenTarget]


@pytest.mark.parametrize("name", ["USR1", "SIGUSR2", "hup"])
def test_the_named_signal_arrives(daemon: Daemon, by_pidfile: Target, name: str) -> None:
    """The process in the pidfile gets exactly the signal that the target names."""
    delivered = notify.request(by_pidfile(daemon.pidfile, name), ("/a.log", "/b.log"))
    wait_for(daemon.signals)
    assert daemon.signals() == ["SIG" + name.upper().removeprefix("SIG")]
    assert delivered.pids == (daemon.pid,)
    assert str(daemon.pid) in delivered.detail


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_a_kernel_without_pidfds_is_served_by_kill(
    daemon: Daemon, by_pidfile: Target, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Before Linux 5.3, and under an old seccomp profile, the same checks are made and kill(2) is used."""

    def missing(pid: int, flags: int = 0) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", missing)
    notify.request(by_pidfile(daemon.pidfile), ())
    wait_for(daemon.signals)
    os.utime(daemon.pidfile, (0, 0))
    assert "is stale" in refusal(by_pidfile(daemon.pidfile)).problem
    assert daemon.signals() == ["SIGUSR1"]


def test_the_pidfd_is_open_before_anything_is_looked_at(
    daemon: Daemon, by_pidfile: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends after the checks gets no signal, and neither does another one with its number."""
    order: list[str] = []
    opened, looked = os.pidfd_open, proc.look

    def open_first(pid: int, flags: int = 0) -> int:
        order.append("pidfd")
        return opened(pid, flags)

    def look(pid: int) -> proc.Process:
        order.append("look")
        seen = looked(pid)
        daemon.end()
        return seen

    monkeypatch.setattr(os, "pidfd_open", open_first)
    monkeypatch.setattr(proc, "look", look)
    invoke = calls.invoke
    sent: list[object] = []

    def note(operation: str, function: Callable[..., object], *args: object) -> object:
        sent.append(function)
        return invoke(operation, function, *args)

    monkeypatch.setattr(calls, "invoke", note)
    assert refusal(by_pidfile(daemon.pidfile)).problem == f"there is no process {daemon.pid}"
    assert order == ["pidfd", "look"]
    assert sent == [signal.pidfd_send_signal], "never by number"


def test_every_signal_passes_the_one_gate(daemon: Daemon, by_pidfile: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault sweeps replace calls.invoke; a request without it changes nothing."""
    seen: list[str] = []
    monkeypatch.setattr(calls, "invoke", lambda operation, *args, **kwargs: seen.append(operation))
    notify.request(by_pidfile(daemon.pidfile), ())
    assert seen == ["signal"]
    assert daemon.signals() == []


def test_a_recycled_pid_is_not_signalled(daemon: Daemon, by_pidfile: Target) -> None:
    """A pidfile that is older than the process belongs to an earlier process with that number."""
    started = proc.look(daemon.pid).started
    os.utime(daemon.pidfile, (started - 60, started - 60))
    found = refusal(by_pidfile(daemon.pidfile))
    assert "is stale" in found.problem
    assert found.advice.endswith(f"touch {daemon.pidfile}")
    assert daemon.signals() == []
    daemon.pidfile.touch()  # the way where it was the clock that was set forward
    notify.request(by_pidfile(daemon.pidfile), ())


def test_a_clock_that_was_set(world: Path, by_pidfile: Target) -> None:
    """By the clock the process is younger than its pidfile; it writes the log that it is to reopen: it is the one."""
    log = world / "app.log"
    with log.open("ab") as stdout:
        daemon = Daemon(world, "SIGUSR1", stdout=stdout)
    try:
        os.utime(daemon.pidfile, (0, 0))
        log.rename(world / "app.log.1")
        assert "is stale" in refusal(by_pidfile(daemon.pidfile), (str(world / "other.log"),)).problem
        assert "is stale" in refusal(by_pidfile(daemon.pidfile), (str(world / "app"),)).problem
        assert notify.request(by_pidfile(daemon.pidfile), (str(log),)).pids == (daemon.pid,)
        wait_for(daemon.signals)
    finally:
        daemon.end()


def test_two_seconds_of_slack(daemon: Daemon, by_pidfile: Target) -> None:
    """The start of a process is known to the second only, so a pidfile written at once is not called stale."""
    started = proc.look(daemon.pid).started
    assert abs(started - daemon.noted.stat().st_ctime) < 60
    os.utime(daemon.pidfile, (started - 1.5, started - 1.5))
    notify.request(by_pidfile(daemon.pidfile), ())


@pytest.mark.parametrize("name", [b"sh", b"a b", b"a) R 1 1 (b", b"((", b"\xff)"])
def test_a_process_name_cannot_forge_its_stat(name: bytes) -> None:
    """The name may hold spaces and parentheses; the fields are counted from the last one."""
    line = b"42 (" + name + b") S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9"
    fields = proc.stat_fields(line)
    assert (fields[0], fields[19]) == (b"S", b"777")


def test_a_zombie_is_dead(world: Path, by_pidfile: Target) -> None:
    """A process that ended and was not collected by its parent is not running."""
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    (world / "pid").write_text(str(child.pid))
    found = refusal(by_pidfile(world / "pid"))
    child.wait()
    assert "zombie" in found.problem


def test_a_process_that_is_gone(daemon: Daemon, by_pidfile: Target) -> None:
    """A pidfile left by a daemon that ended."""
    daemon.end()
    assert refusal(by_pidfile(daemon.pidfile)).problem == f"there is no process {daemon.pid}"


def test_an_unhandled_signal_would_end_the_process(world: Path, by_pidfile: Target) -> None:
    """A daemon that does not handle USR1 would die of it: it is not sent."""
    daemon = Daemon(world, "SIGUSR2")
    try:
        assert "does not handle SIGUSR1" in refusal(by_pidfile(daemon.pidfile)).problem
        assert daemon.process.poll() is None
    finally:
        daemon.end()


def test_term_is_for_the_operator_to_choose(world: Path, by_pidfile: Target) -> None:
    """Any signal may be configured; one that ends processes by its meaning is sent as asked."""
    daemon = Daemon(world, "SIGUSR2")
    notify.request(by_pidfile(daemon.pidfile, "TERM"), ())
    assert daemon.process.wait() == -signal.SIGTERM


def test_no_such_signal(daemon: Daemon, by_pidfile: Target) -> None:
    """A misspelt signal, or none, names what would be right."""
    assert "'USR9'" in refusal(by_pidfile(daemon.pidfile, "USR9")).problem
    bare = ReopenTarget(name="daemon", manager=Manager.PIDFILE, pidfile=str(daemon.pidfile))
    assert 'signal = "USR1"' in refusal(bare).advice


# ---------------------------------------------------------------- pidfiles


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"), ("\n \n", "is empty"), ("garbage\n", "b'garbage'"), ("12x\n", "not a pid"),
        ("1_2\n", "not a pid"), ("99999999999999999999\n", "not a pid"), ("0\n", "0 is not a pid"),
        ("-1\n", "-1 is not a pid"), ("-7\n", "-7 is not a pid"), ("9999999\n", "9999999 is not a pid"),
        ("4194304\n", "no process 4194304"), ("1" * 5000, "5000 bytes"), ("OURS\n", "logrotor itself"),
    ],
)  # fmt: skip
def test_a_pidfile_that_names_no_process(tmp_path: Path, by_pidfile: Target, content: str, says: str) -> None:
    """0 and negative numbers mean whole groups to kill(2); what is not a number means nothing; ours is stale."""
    (tmp_path / "pid").write_text(content.replace("OURS", str(os.getpid())))
    assert says in refusal(by_pidfile(tmp_path / "pid")).problem


def test_pid_1_is_legal() -> None:
    """In a container supervisord often is process 1: the number alone is no reason to refuse."""
    target = ReopenTarget(name="daemon", manager=Manager.PIDFILE)
    process.check_pid(process.Sought(target, signal.SIGUSR1), 1)


def test_blanks_and_further_lines_are_allowed(daemon: Daemon, by_pidfile: Target) -> None:
    """The first line counts: postmaster.pid holds more of them, and some daemons pad the number."""
    daemon.pidfile.write_text(f"\n   {daemon.pid} \n/var/lib/data\n5432\n")
    assert notify.request(by_pidfile(daemon.pidfile), ()).pids == (daemon.pid,)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_does_not_hang(
    tmp_path: Path, by_pidfile: Target, make: Callable[[Path], None]
) -> None:
    """A FIFO that nobody writes would block a plain open for ever."""
    make(tmp_path / "pid")
    assert "not a regular file" in refusal(by_pidfile(tmp_path / "pid")).problem


def test_a_missing_pidfile_or_folder(tmp_path: Path, by_pidfile: Target) -> None:
    """Missing: is it running?"""
    for path in (tmp_path / "pid", tmp_path / "no" / "pid"):
        assert refusal(by_pidfile(path)).problem == f"{path}: no such pidfile"
    bare = ReopenTarget(name="daemon", manager=Manager.PIDFILE, signal="USR1")
    assert "[reopen.daemon]" in refusal(bare).advice


def test_a_pidfile_that_anyone_may_write(daemon: Daemon, by_pidfile: Target) -> None:
    """Who may write the pidfile chooses who is signalled, so its owner proves nothing."""
    daemon.pidfile.chmod(0o666)
    assert refusal(by_pidfile(daemon.pidfile)).advice == f"chmod o-w {daemon.pidfile}"


# ---------------------------------------------------------------- users (root makes them)


@pytest.fixture
def nobody() -> pwd.struct_passwd:
    need(os.geteuid() == 0, "root, to make files of other users")
    return pwd.getpwnam("nobody")


def test_a_pidfile_of_a_stranger_is_refused(daemon: Daemon, by_pidfile: Target, nobody: pwd.struct_passwd) -> None:
    """Who is neither root nor the user of the process cannot have us signal it."""
    os.chown(daemon.pidfile, nobody.pw_uid, -1)
    assert "belongs to nobody" in refusal(by_pidfile(daemon.pidfile)).problem
    assert daemon.signals() == []


def test_a_link_of_a_stranger_is_refused(daemon: Daemon, by_pidfile: Target, nobody: pwd.struct_passwd) -> None:
    """Who owns a symlink chooses which of root's pidfiles is read."""
    link = daemon.pidfile.with_name("link.pid")
    link.symlink_to(daemon.pidfile)
    assert notify.request(by_pidfile(link), ()).pids == (daemon.pid,)
    os.chown(link, nobody.pw_uid, -1, follow_symlinks=False)
    assert "belongs to nobody" in refusal(by_pidfile(link)).problem


def test_a_signal_that_is_not_permitted(daemon: Daemon, by_pidfile: Target, nobody: pwd.struct_passwd) -> None:
    """An ordinary user may not signal root's daemon: says as whom to run."""
    found = as_user("nobody", refusal, by_pidfile(daemon.pidfile))
    assert f"nobody may not send SIGUSR1 to process {daemon.pid}" in found.problem
    assert 'run_as = "root"' in found.advice
    assert daemon.signals() == []


def test_a_pidfile_that_may_not_be_read(daemon: Daemon, by_pidfile: Target, nobody: pwd.struct_passwd) -> None:
    """A pidfile of mode 0600 of another user: says who has to read it."""
    daemon.pidfile.chmod(0o600)
    assert as_user("nobody", refusal, by_pidfile(daemon.pidfile)).advice == "let nobody read it"


def test_roots_pidfile_may_name_a_process_of_another_user(
    world: Path, by_pidfile: Target, nobody: pwd.struct_passwd
) -> None:
    """Masters write their pidfile as root and then drop their privileges."""
    program = (
        "import signal,time; signal.signal(signal.SIGUSR1, lambda *a: exit(7)); print(1, flush=True); time.sleep(600)"
    )
    child = subprocess.Popen(as_argv("nobody", [sys.executable, "-c", program]), stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline()
    (world / "pid").write_text(str(child.pid))
    notify.request(by_pidfile(world / "pid"), ())
    assert child.wait() == 7
    child.stdout.close()


def test_a_light_start() -> None:
    """Importing the room loads no module of any way to ask."""
    heavy = {"subprocess", "configparser", "signal", "select", "json", "getopt", "glob", "pwd"}
    code = f"import sys, logrotor.notify; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-E", "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.strip() == "[]"
