"""What /proc shows of processes, and what it does not."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from logrotor.disk import calls, proc, writers
from logrotor.model import FileId, Written
from tests.support.supervisor import wait_for

# Opens a file to append to it, leaves the work to a thread, and ends its main thread (exit(2), not exit_group(2)).
THREADED = """
import ctypes, os, platform, sys, threading, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
threading.Thread(target=lambda: time.sleep(600)).start()
libc = ctypes.CDLL(None)
os.write(1, b"+")
libc.syscall({"x86_64": 60}.get(platform.machine(), 93), 0)
"""


@pytest.fixture
def threaded(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    (tmp_path / "app.log.1").touch()
    argv = [sys.executable, "-S", "-E", "-c", THREADED, str(tmp_path / "app.log.1")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.read(1) == b"+"
        wait_for(lambda: not os.listdir(f"/proc/{process.pid}/fd"))
        yield process
        process.kill()


def test_a_writer_whose_main_thread_has_ended_is_seen(
    threaded: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc/PID shows a zombie without files then; its threads have them, and go on writing."""

    def refuse(fd: int) -> None:
        raise PermissionError(1, "not ours")

    monkeypatch.setattr(calls, "take_read_lease", refuse)
    fd = os.open(tmp_path / "app.log.1", os.O_RDONLY)
    try:
        found = writers.prove(fd, "ext4")
    finally:
        os.close(fd)
    assert isinstance(found, Written)
    assert (found.proof, found.pids) == ("/proc", (threaded.pid,))


PROC = "22 27 0:21 / /proc rw,relatime - proc proc rw"


@pytest.mark.parametrize(
    "table",
    [
        PROC + ",hidepid=invisible",
        PROC + ",hidepid=2",
        PROC + ",hidepid=noaccess,gid=4",
        PROC + ",hidepid=ptraceable",
        PROC + ",hidepid=9",
        PROC + ",subset=pid",
        "22 27 0:21 /1 /proc rw - proc proc rw",
        "22 27 0:21 / /proc rw - tmpfs tmpfs rw",
        PROC + "\n40 22 0:40 / /proc/812 ro shared:7 - tmpfs tmpfs rw",
        PROC + "\n40 22 0:41 / /proc rw,nosuid - proc proc rw,hidepid=4",
        "",
    ],
)
def test_a_proc_that_may_hide_somebody_is_not_whole(monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    """Told by its mounts, whatever they are called, unless we have the powers to see through."""
    monkeypatch.setattr(proc, "_sees_through", lambda: False)
    mounts = [proc.mount(line) for line in table.splitlines()]
    monkeypatch.setattr(proc, "mounts", lambda: iter(mounts))
    assert proc.why_hiding() is not None
    assert proc.why_not_whole() is not None


@pytest.mark.parametrize(
    "table",
    [
        PROC,
        PROC + ",hidepid=off",
        PROC + ",hidepid=0",
        PROC + "\n9 22 0:5 / /proc/sys ro shared:1 master:2 - proc proc rw",
    ],
)
def test_a_whole_proc_hides_nobody(monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    """Also where something that is no process is mounted below it, as in most containers."""
    monkeypatch.setattr(proc, "_sees_through", lambda: False)
    mounts = [proc.mount(line) for line in table.splitlines()]
    monkeypatch.setattr(proc, "mounts", lambda: iter(mounts))
    assert proc.why_hiding() is None


def test_odd_characters_of_a_mount_point_are_read() -> None:
    """mountinfo writes blanks, tabs, newlines and backslashes as octal numbers."""
    line = r"40 22 0:40 / /srv/a\040b\134\012\303\251 rw - ext4 /dev/a rw"
    assert proc.mount(line).point == "/srv/a b\\\né"


def test_what_is_mapped_shared_and_writable_is_seen_also_by_an_older_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a descriptor, in a file that has no name any more; a private mapping, and one to read, are none."""
    expected = []
    kinds = {"written": (mmap.MAP_SHARED, mmap.PROT_WRITE), "read": (mmap.MAP_SHARED, mmap.PROT_READ),
             "private": (mmap.MAP_PRIVATE, mmap.PROT_WRITE)}  # fmt: skip
    with contextlib.ExitStack() as stack:
        for name, (flags, access) in kinds.items():
            with (tmp_path / name).open("w+b") as file:
                file.truncate(8192)
                stack.enter_context(mmap.mmap(file.fileno(), 8192, flags, access))
                os.unlink(file.name)
                status = os.fstat(file.fileno())
                expected += [FileId(status.st_dev, status.st_ino)] if name == "written" else []
        here = [each for each in proc.mapped(os.getpid()) if each.device == status.st_dev]
        monkeypatch.setattr(calls, "_next_mapping", not_offered)
        assert here == [each for each in proc.mapped(os.getpid()) if each.device == status.st_dev] == expected


def not_offered(maps: int, address: int) -> tuple[int, int, int, int, int]:
    raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))


def test_a_kernel_thread_has_mapped_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor has a zombie: the answer is none, and no error."""
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert proc.mapped(child.pid) == []
        monkeypatch.setattr(calls, "_next_mapping", not_offered)
        assert proc.mapped(child.pid) == []


def test_how_a_file_is_open_is_seen(tmp_path: Path) -> None:
    """To read, to write, to append, or only by its path."""
    (tmp_path / "log").touch()
    ways = {os.O_RDONLY: False, os.O_WRONLY: True, os.O_RDWR | os.O_APPEND: True, os.O_PATH: False}
    opened = {os.open(tmp_path / "log", flags): flags for flags in ways}
    try:
        found = {each.path: each for each in proc.opened(os.getpid())}
        for fd, flags in opened.items():
            each = found[f"/proc/{os.getpid()}/fd/{fd}"]
            assert (each.for_writing, bool(each.flags & os.O_APPEND)) == (ways[flags], bool(flags & os.O_APPEND))
    finally:
        for fd in opened:
            os.close(fd)
