"""One look at a directory: who belongs to which log, and what the file system can do."""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from logrotor import Rotator, load_config
from logrotor.disk import calls
from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.disk.snapshot import file_system, look
from logrotor.errors import MAKE_ROOM, Refused, message
from logrotor.model import Codec, FileSystem
from tests.support import mounts, users
from tests.support.fixtures import world_tree
from tests.support.strace import changes
from tests.support.writers import Kind, Writer


def test_entries_are_sorted_by_their_log(fs: FakeFilesystem) -> None:
    """Live log, archives of both kinds, replacement and temps come together; strangers are logs of their own."""
    for name in ("app.log", "app.log.1", "app.log.2.zst", "app.log-20261121T070000Z-1.gz", ".app.log.new",
                 ".app.log.1.zst.tmp", "other.txt", ".swp", "gone.log.3.xz"):  # fmt: skip
        fs.create_file(f"/logs/{name}", contents="x" * len(name))
    found = look("/logs")
    assert (found.problem, found.missing, found.resolved, found.closed) == (None, False, "/logs", None)
    assert sorted(found.families) == [".swp", "app.log", "gone.log", "other.txt"]
    family = found.families["app.log"]
    assert family.live is not None and family.live.size == len("app.log")
    assert family.replacement is not None and family.replacement.name == ".app.log.new"
    assert [temp.name for temp in family.temps] == [".app.log.1.zst.tmp"]
    assert sorted(a.name.codec for a in family.archives) == [Codec.GZIP, Codec.NONE, Codec.ZSTD]
    assert {a.directory for a in family.archives} == {"/logs"}
    gone = found.families["gone.log"]
    assert gone.live is None and [a.name.slot for a in gone.archives] == [3]


def test_a_missing_directory_is_missing(fs: FakeFilesystem) -> None:
    """No problem: a path in it is a missing log."""
    assert look("/none").missing and look("/none").problem is None


def test_a_file_is_no_directory(fs: FakeFilesystem) -> None:
    """A path that goes through a file is a problem, said with the errno's name."""
    fs.create_file("/logs")
    problem = look("/logs/below").problem
    assert problem is not None and (problem.subject, "ENOTDIR" in problem.problem) == ("/logs", True)


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777, 0o2775, 0o770, 0o700])
def test_only_a_world_writable_directory_is_refused(fs: FakeFilesystem, mode: int) -> None:
    """Anybody could swap files there; with the sticky bit, or writable for a group, it is fine."""
    fs.create_dir("/logs")
    fs.chmod("/logs", mode)
    problem = look("/logs").problem
    assert (problem is not None) == (mode in (0o777, 0o757))
    assert problem is None or (problem.subject == "/logs" and "chmod o-w /logs" in problem.advice)


def test_odd_names(tmp_path: Path) -> None:
    """Names are bytes: newlines, spaces and what is no UTF-8 come through as they are."""
    names = [b"a b\n'c'.log", b"\xff\xfe.log", b"\xff\xfe.log.1", "ü☃.log.2.gz".encode(), b"-rf", b"~", b"*", b"%s"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    families = look(str(tmp_path)).families
    assert set(families) == {os.fsdecode(n) for n in (b"a b\n'c'.log", b"\xff\xfe.log", b"-rf", b"~", b"*", b"%s")} | {
        "ü☃.log"
    }
    assert [a.name.slot for a in families[os.fsdecode(b"\xff\xfe.log")].archives] == [1]


def test_kinds_of_files(tmp_path: Path) -> None:
    """What is no regular file is told by its kind, and never opened: a FIFO would wait for ever."""
    os.mkfifo(tmp_path / "fifo.log")
    (tmp_path / "dir.log").mkdir()
    (tmp_path / "link.log").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket.log"))
    kinds = {name: f.live.kind for name, f in look(str(tmp_path)).families.items() if f.live is not None}
    assert kinds == {"fifo.log": "FIFO", "dir.log": "directory", "link.log": "symlink", "socket.log": "socket"}


def test_a_look_changes_nothing(tmp_path: Path) -> None:
    """No changing system call at all."""
    (tmp_path / "app.log").write_bytes(b"x")
    code = f"from logrotor.disk.snapshot import look; assert look({str(tmp_path)!r}).families"
    result, calls = changes([sys.executable, "-c", code])
    assert result.code == 0 and [str(call) for call in calls] == []


def test_a_symlink_of_ours_is_resolved(tmp_path: Path) -> None:
    """The path that everything is reported with is the one without symlinks; both names are one directory."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    link, real = look(str(tmp_path / "link")), look(str(tmp_path / "real"))
    assert (link.resolved, link.id) == (str(tmp_path / "real"), real.id)


def test_a_link_in_a_circle(tmp_path: Path) -> None:
    """A problem in words, not an endless walk."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    problem = look(str(tmp_path / "a" / "logs")).problem
    assert problem is not None and problem.subject in (f"{tmp_path}/a", f"{tmp_path}/b") and problem.advice


def test_a_directory_that_may_not_be_read_or_written() -> None:
    """One is a problem with the errno's name; the other is looked at: its logs may well have nothing to do."""
    with world_tree() as root:
        (root / "shut").mkdir(mode=0o700)
        problem = users.as_user("www-data", look, str(root / "shut")).problem
        assert problem is not None and problem.subject == str(root / "shut")
        assert "EACCES" in problem.problem and problem.advice
        for owner, is_closed in ((0, True), (users.user("www-data").uid, False)):
            os.chown(root, owner, owner)
            assert (users.as_user("www-data", look, str(root)).closed is not None) == is_closed


# ---------------------------------------------------------------- file systems


def of(path: Path) -> FileSystem:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return file_system(fd, os.fstat(fd).st_dev)
    finally:
        os.close(fd)


@pytest.mark.parametrize(("fstype", "collapse"), [("ext4", True), ("xfs", True), ("btrfs", False)])
def test_file_systems_on_disk(tmp_path: Path, fstype: str, collapse: bool) -> None:
    """Each is known by its name, and whether it can collapse a range."""
    with mounts.loop_mount(tmp_path, fstype) as mounted:
        found = of(mounted.path)
    assert (found.type, found.protocol, found.collapse) == (fstype, "exchange", collapse)


def test_file_systems_in_memory(tmp_path: Path) -> None:
    """tmpfs with its size; what df says."""
    with mounts.tmpfs(tmp_path, "2m") as path:
        found = of(path)
        (path / "file").write_bytes(bytes(1 << 20))
        later = of(path)
    assert (found.type, found.total, found.collapse) == ("tmpfs", 2 << 20, False)
    assert found.free - later.free == 1 << 20


def test_overlay(tmp_path: Path) -> None:
    """Most containers: known by its own name."""
    with mounts.overlay(tmp_path) as path:
        assert of(path).type == "overlay"


# ---------------------------------------------------------------- open directories


@pytest.mark.parametrize(
    ("limit", "most"), [(64, 4), (8, 1), (1024, 64), (resource.RLIM_INFINITY, 64)], ids=["64", "8", "1024", "none"]
)
def test_no_more_directories_are_open_than_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    """A service may be allowed few open files (ulimit -n); with too many of its directories open, no archive opens."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    with Directories({}) as dirs:
        for number in range(70):
            path = tmp_path / str(number)
            path.mkdir()
            with dirs.use(str(path)):
                pass
        assert len(dirs._open) == most


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "app.log"), "/logs/app.log: Permission denied (EACCES)"),
        (OSError(28, "No space left on device"), f"/logs/app.log: No space left on device (ENOSPC); {MAKE_ROOM}"),
        (OSError(5, "Input/output error", "/other/x"), "/other/x: Input/output error (EIO)"),
        (OSError("no number"), "no number"),
        (Refused("/logs/app.log: says it all"), "/logs/app.log: says it all"),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_in_one_line(error: BaseException, said: str) -> None:
    """The file with its whole path, what is wrong, and the errno's name for a search."""
    assert message(error, "/logs/app.log") == said


@pytest.mark.parametrize("fails", ["rename", "link", "unlink"])
def test_an_error_names_the_file_that_it_is_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """Not the log whose archive it is: an archive that is immutable, say, hinders the rotation."""
    (tmp_path / "app.log.1").touch()
    real = calls.invoke

    def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if operation == fails:
            raise PermissionError(1, "Operation not permitted", "app.log.1")
        return real(operation, function, *args, **kwargs)

    monkeypatch.setattr(calls, "invoke", invoke)
    with LogDir(str(tmp_path)) as logdir:
        entry = logdir.stat("app.log.1")
        assert entry is not None
        change: Callable[[], None] = {
            "rename": lambda: logdir.move("app.log.1", "app.log.2"),
            "link": lambda: logdir.link("app.log.1", "app.log.2"),
            "unlink": lambda: logdir.remove("app.log.1", entry.id),
        }[fails]
        with pytest.raises(PermissionError) as caught:
            change()
    name = ".app.log.1.aside" if fails == "unlink" else "app.log.1"
    assert message(caught.value, "/logs/app.log") == f"{tmp_path}/{name}: Operation not permitted (EPERM)"


def test_who_writes_is_named(tmp_path: Path) -> None:
    """A log that a process has open is known as written, with its pid and its program once /proc was asked."""
    config = {
        "state_dir": str(tmp_path / "state"),
        "log": [{"name": "a", "paths": [f"{tmp_path}/app.log"], "max_size": "1K"}],
    }
    with Writer(tmp_path / "app.log", Kind.HOLD, on_order=True) as writer:
        (tmp_path / "app.log").rename(tmp_path / "app.log.1")
        (waiting,) = Rotator(load_config(config, environ={})).plan().logs[0].deferred
        assert waiting.reason == f"process {writer.pid} ({writer.program}) still writes it"
