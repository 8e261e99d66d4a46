"""Metrics, page and -o: written like logs, whatever lies at their name and whoever owns the way there."""

from __future__ import annotations

import errno
import os

import pytest

from logrotor.disk.publish import LOGROTATE_STATE, METRICS, PAGE, Output, publish
from logrotor.errors import InsecureDirectory, LogrotorError, Refused
from tests.support import command, mounts, users
from tests.support.need import need

NAMES = {"metrics": "x.prom", "page": "x.html", "-o": "x.html"}
OLD = b"# HELP node_load1 1m load average.\nnode_load1 0.5\n"


@pytest.fixture
def put(here):
    """Have a run, or `page -o`, write an output in a folder; gives how that ended."""

    def put(kind: str, folder) -> command.Result:
        path = folder / NAMES[kind]
        tables = {"metrics": f'[metrics]\ntextfile = "{path}"', "page": f'[page]\nfile = "{path}"', "-o": ""}
        here.configure(tables[kind])
        words = ("page", "-o", path) if kind == "-o" else ("run",)
        return command.logrotor(*words, "-c", here.file, timeout=20)

    return put


@pytest.fixture
def folder(here):
    made = here.folder / "out"
    made.mkdir()
    return made


@pytest.mark.parametrize("kind", NAMES)
def test_an_empty_file_and_ones_own_are_replaced(put, folder, kind):
    """Again and again."""
    path = folder / NAMES[kind]
    path.touch()
    for _ in range(2):
        told = put(kind, folder)
        assert (told.code, told.stderr) == (0, "") and path.stat().st_size > 100
    assert os.listdir(folder) == [path.name]


@pytest.mark.parametrize("kind", NAMES)
def test_an_empty_log_that_somebody_writes_stays(put, folder, kind):
    """Each log is empty right after its rotation; its lines would go into a file without a name."""
    path = folder / NAMES[kind]
    with path.open("a") as log:
        before = path.stat().st_ino
        assert put(kind, folder).code == 1
        log.write("line\n")
    assert (path.stat().st_ino, path.read_text()) == (before, "line\n")


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("there", ["foreign", "fifo", "zero", "folder", "link"])
def test_what_is_something_else_stays(put, folder, kind, there):
    """Nothing foreign is replaced, and a FIFO or an endless device holds nobody; the run itself is well."""
    path, victim = folder / NAMES[kind], folder / "victim"
    victim.write_bytes(OLD)
    if there == "foreign":
        path.write_bytes(OLD)
    elif there == "fifo":
        os.mkfifo(path)
    elif there == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if there == "zero" else victim)
        os.chown(path, 65534, 65534, follow_symlinks=False)
    before = path.lstat()
    told = put(kind, folder)
    assert told.code == 1 and "is not replaced" in told.stderr
    assert path.lstat().st_ino == before.st_ino and victim.read_bytes() == OLD
    assert there != "foreign" or path.read_bytes() == OLD


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("way", ["link of another", "open to all"])
def test_the_way_there_is_walked_with_care(here, put, folder, kind, way):
    """A folder that another user may swap for a link, and one in which anyone may rename."""
    need(os.geteuid() == 0, "root, to make links of others")
    told_to = here.folder / "told"
    if way == "open to all":
        told_to.mkdir()
        told_to.chmod(0o777)
    else:
        told_to.symlink_to(folder)
        os.chown(told_to, 65534, 65534, follow_symlinks=False)
    told = put(kind, told_to)
    assert str(told_to) in told.stderr and os.listdir(told_to) == []


def test_a_folder_that_is_swapped_meanwhile(tmp_path):
    """What was opened is what is written, whatever has its name by then."""
    folder, moved, system = tmp_path / "out", tmp_path / "moved", tmp_path / "system"
    folder.mkdir()
    system.mkdir()
    with Output(str(folder / "x.prom"), METRICS) as output:
        folder.rename(moved)
        folder.symlink_to(system)
        output.write(b"# HELP logrotor_x X.\n", 0o644)
    assert os.listdir(system) == [] and os.listdir(moved) == ["x.prom"]


@pytest.mark.parametrize(
    ("mark", "data"),
    [
        (METRICS, b"# HELP logrotor_last_run_timestamp_seconds When the last run ended.\n"),
        (PAGE, b'<!doctype html>\n<html lang="en"><head><meta name="generator" content="logrotor 1.2"></head>'),
        (LOGROTATE_STATE, b'logrotate state -- version 2\n"/var/log/app.log" 2026-11-30-6:0:0\n'),
    ],
)
def test_each_kind_knows_its_own(tmp_path, mark, data):
    """And no other kind."""
    path = str(tmp_path / "file")
    publish(path, data, 0o644, mark)
    publish(path, data, 0o644, mark)
    for other in {METRICS, PAGE, LOGROTATE_STATE} - {mark}:
        with pytest.raises(Refused):
            publish(path, b"", 0o644, other)


def test_root_writes_in_the_folder_of_the_collector(tmp_path):
    """The collector's folder belongs to its user on Debian; nothing outside of it can be reached through it."""
    need(os.geteuid() == 0, "root")
    folder = tmp_path / "node-exporter"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    publish(str(folder / "x.prom"), b"# HELP logrotor_x X.\n", 0o644, METRICS)
    assert os.listdir(folder) == ["x.prom"]


@pytest.mark.parametrize("old", [False, True])
def test_a_full_file_system_keeps_no_temps(tmp_path, old):
    """What could not be written is removed again, also one that a killed run had left; then it is written."""
    with mounts.tmpfs(tmp_path, size="64k") as folder:
        (folder / "x.prom").write_bytes(b"# HELP logrotor_x X.\n")
        if old:
            (folder / ".x.prom.tmp").touch(0o600)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            publish(str(folder / "x.prom"), b"# HELP logrotor_x X.\n" * 10_000, 0o644, METRICS)
        assert os.listdir(folder) == ["x.prom"] and (folder / "x.prom").stat().st_size == 21
        (folder / ".x.prom.tmp").write_bytes(b"half of")
        publish(str(folder / "x.prom"), b"# HELP logrotor_x X.\n" * 2, 0o644, METRICS)
        assert os.listdir(folder) == ["x.prom"] and (folder / "x.prom").stat().st_size == 42


def test_a_temp_that_is_not_ours_stays(tmp_path):
    """A failure removes what we have made, and nothing else."""
    victim = tmp_path / "victim"
    victim.touch()
    os.link(victim, tmp_path / ".x.prom.tmp")
    with pytest.raises(Refused):
        publish(str(tmp_path / "x.prom"), b"# HELP logrotor_x X.\n", 0o644, METRICS)
    assert sorted(os.listdir(tmp_path)) == [".x.prom.tmp", "victim"]


def test_an_ordinary_user_through_the_link_of_a_third(world):
    """Root's links and one's own are followed."""
    folder = world / "out"
    folder.mkdir()
    owner = users.user("www-data")
    os.chown(folder, owner.uid, owner.gid)
    for number, uid in enumerate((0, owner.uid, 65534)):
        link = world / f"link{number}"
        link.symlink_to(folder)
        os.chown(link, uid, uid, follow_symlinks=False)
        try:
            users.as_user("www-data", publish, str(link / f"{number}.prom"), b"# HELP logrotor_\n", 0o644, METRICS)
        except LogrotorError as error:
            assert isinstance(error, InsecureDirectory) and uid == 65534
    assert sorted(os.listdir(folder)) == ["0.prom", "1.prom"]


def test_doctor_says_what_a_run_would_not_replace(here, folder):
    """Before the run does."""
    (folder / "x.prom").write_bytes(OLD)
    here.configure(f'[metrics]\ntextfile = "{folder}/x.prom"')
    told = command.logrotor("doctor", "--only", "metrics", "-c", here.file, check=1)
    assert "is not replaced" in told.stdout
