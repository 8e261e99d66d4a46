"""The strace helper sees the changes, and only these, and hits the call it aims at."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support import strace
from tests.support.fixtures import world_tree
from tests.support.need import need

SCRIPT = """
import os, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
print(os.listdir(folder))
for name in ("a", "b"):
    file = os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder)
    os.write(file, b"x"); os.fsync(file); os.close(file)
os.rename("a", "c", src_dir_fd=folder, dst_dir_fd=folder)
os.unlink("b", dir_fd=folder)
"""


def script(folder: Path) -> list[str]:
    return [sys.executable, "-S", "-E", "-c", SCRIPT, os.fspath(folder)]


def names(calls: list[strace.Call]) -> list[str]:
    return [call.name for call in calls]


def test_changes_are_named_in_order(tmp_path: Path) -> None:
    """Opens for reading and writes to pipes are no changes."""
    result, calls = strace.changes(script(tmp_path), check=0)
    assert result.stdout == "[]\n"
    assert names(calls) == ["openat", "write", "fsync"] * 2 + ["renameat", "unlinkat"]


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """A command that only looks has no changing call."""
    assert strace.changes([sys.executable, "-c", "import os; print(os.listdir('/'))"], check=0)[1] == []


def test_kill_comes_before_the_call(tmp_path: Path) -> None:
    """Each point is hit before its call happens."""
    _, calls = strace.changes(script(tmp_path), check=0)
    (tmp_path / "c").unlink()
    found = []
    for name, when in strace.points(calls):
        assert strace.run(script(tmp_path), strace.kill(name, when)).code == -9
        found.append(sorted(os.listdir(tmp_path)))
        for each in os.listdir(tmp_path):
            (tmp_path / each).unlink()
    assert found == [[], ["a"], ["a"], ["a"], ["a", "b"], ["a", "b"], ["a", "b"], ["b", "c"]]


def test_paths_narrow_what_is_counted(tmp_path: Path) -> None:
    """With a path the first fsync of that very file is the first, whichever calls came before."""
    _, calls = strace.changes(script(tmp_path), paths=[tmp_path / "b"], check=0)
    assert [(c.name, c.when) for c in calls] == [("write", 1), ("fsync", 1)]
    result = strace.run(script(tmp_path), strace.fail("fsync", "EIO"), paths=[tmp_path / "b"], traceback=True)
    assert "Input/output error" in result.stderr
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_failed_calls_are_marked(tmp_path: Path) -> None:
    """The injected error shows in the record."""
    _, calls = strace.changes(script(tmp_path), strace.fail("renameat", "ENOSPC"), traceback=True)
    assert [c.name for c in calls if c.failed] == ["renameat"]


def test_tracing_as_another_user() -> None:
    """strace itself runs as that user, so what it traces keeps its rights."""
    need(os.geteuid() == 0, "root, to become another user")
    with world_tree("www-data") as world:
        result, calls = strace.changes(script(world), user="www-data", check=0)
        assert len(calls) == 8, result
        assert os.stat(world / "c").st_uid == os.stat(world).st_uid != 0
