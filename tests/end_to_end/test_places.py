"""Where logs lie: behind symlinks, on /dev/stdout, mounted alone, with ACLs, or not there at all."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import mounts, oracle
from tests.support.deployment import Deployment, counted, fingerprint, listing
from tests.support.need import need
from tests.support.oracle import lines
from tests.support.writers import Kind, Writer

RULE = '[[log]]\nname = "app"\npaths = ["logs/*.log"]\nmax_size = "1K"\n'
LINES = lines("w1", 1, 100)


# ---------------------------------------------------------------- what is refused


def link_of_a_stranger(site: Deployment) -> tuple[Path, str]:
    """He could point it elsewhere, so it is not followed."""
    site.file(site.folder("shared/logs") / "app.log", LINES)
    link = site.root / "logs"
    link.symlink_to("shared/logs")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    return link, ""


def symlink_for_a_log(site: Deployment) -> tuple[Path, str]:
    """What it links to is left alone too."""
    site.file("elsewhere", LINES)
    link = site.folder("logs") / "app.log"
    link.symlink_to(site.root / "elsewhere")
    return link, "exclude"


def log_of_another_in_a_sticky_directory(site: Deployment) -> tuple[Path, str]:
    """Only its owner may rename it there."""
    logs = site.folder("logs", 0o777 | stat.S_ISVTX)
    log = site.file(logs / "app.log", LINES)
    os.chown(log, 65534, 65534)
    os.chown(logs, 0, 0)
    return log, 'run_as = "nobody"'


def directory_that_may_not_be_written(site: Deployment) -> tuple[Path, str]:
    closed = site.folder("logs")
    site.file(closed / "app.log", LINES)
    os.chown(closed, 0, 0)
    return closed, f"chgrp www-data {closed} && chmod g+rwxs {closed}"


def missing_log(site: Deployment) -> tuple[Path, str]:
    """``missing = "error"`` of its rule."""
    site.folder("logs")
    return site.root / "logs/app.log", ""


REFUSED = (
    link_of_a_stranger, symlink_for_a_log, log_of_another_in_a_sticky_directory, directory_that_may_not_be_written,
    missing_log,
)  # fmt: skip


@pytest.mark.parametrize("made", REFUSED, ids=lambda made: made.__name__)
def test_what_is_refused(site: Deployment, made: Callable[[Deployment], tuple[Path, str]]) -> None:
    """It is left as it is, exit 1 names it and says what to do, each time; the log of another rule is rotated."""
    subject, advice = made(site)
    other = site.file(site.folder("other") / "other.log", LINES)
    rules = RULE.replace("*", "app") + 'missing = "error"\n' + RULE.replace("app", "other").replace("logs/*", "other/*")
    site.configure(rules)
    mine = [path for path in site.root.iterdir() if path.name in ("logs", "shared", "elsewhere")]
    before = fingerprint(*mine)
    for _ in range(2):
        (problem,) = site.problems()
        assert problem["subject"] == str(subject) and advice in problem["advice"], problem
        assert listing(other.parent) == ["other.log", "other.log.1.zst"]
    assert fingerprint(*mine) == before


@pytest.mark.parametrize("method", ["rename", "copytruncate"])
def test_an_append_only_log(site: Deployment, method: str) -> None:
    """chattr +a: plan and run name the cause, and the way that works."""
    log = site.file(site.folder("logs") / "app.log", LINES)
    site.configure(RULE.replace("*", "app") + f'method = "{method}"\n')
    set_it = subprocess.run(["chattr", "+a", log], capture_output=True, text=True, check=False)
    need(set_it.returncode == 0, f"chattr: {set_it.stderr.strip()}")
    try:
        planned = site.json("plan", check=None)["logs"][0]["refused"]
        (problem,) = site.problems()
        for each in (planned, problem):
            assert each["subject"] == str(log) and "chattr +a" in each["problem"]
            assert each["advice"] == f"as root: chattr -a {log}"
        assert listing(log.parent) == ["app.log"]
    finally:
        subprocess.run(["chattr", "-a", log], check=True)
    site.run()
    assert len(listing(log.parent)) == 2


# ---------------------------------------------------------------- symlinks


@pytest.mark.parametrize("dangling", [False, True])
def test_a_symlink_that_a_glob_finds(site: Deployment, dangling: bool) -> None:
    """latest.log beside the logs is passed over; named exactly it is an error."""
    log = site.file(site.folder("logs") / "app.log", LINES)
    link = log.parent / "latest.log"
    link.symlink_to("gone.log" if dangling else "app.log")
    site.configure(RULE)
    planned = site.json("plan")
    assert [each["path"] for each in planned["logs"]] == [str(log)]
    assert [each["name"] for each in planned["skipped"]] == [str(link)]
    site.run()
    assert link.is_symlink() and listing(log.parent) == ["app.log", "app.log.1.zst", "latest.log"]
    site.configure(RULE.replace("*", "latest"))
    (problem,) = site.problems()
    assert problem["subject"] == str(link)


@pytest.mark.parametrize("owner", ["www-data", "root"])
def test_a_logs_folder_that_is_a_symlink(site: Deployment, owner: str) -> None:
    """`logs` links to a shared folder, as in many deployments: the link is resolved once, and rotation works there."""
    shared = site.folder("shared/logs")
    site.file(shared / "app.log", LINES)
    link = site.root / "logs"
    link.symlink_to("shared/logs")
    if owner == "www-data":
        site.own(link)
    site.configure(RULE)
    site.run()
    assert listing(shared) == ["app.log", "app.log.1.zst"]
    assert link.is_symlink()
    counted(shared, "app.log", w1=100)


def test_one_folder_under_two_names(site: Deployment) -> None:
    """A rule for the link and a rule for the folder meet the same log: it is rotated once, by the first."""
    shared = site.folder("shared")
    site.file(shared / "app.log", LINES)
    (site.root / "logs").symlink_to("shared")
    site.configure(RULE + '[[log]]\nname = "again"\npaths = ["shared/app.log"]\nmax_size = "1K"\n')
    events = site.events()
    assert len([e for e in events if e["event"] == "log.shadowed"]) == 1
    assert listing(shared) == ["app.log", "app.log.1.zst"]
    counted(shared, "app.log", w1=100)


@pytest.mark.parametrize("device", ["/dev/stdout", "/proc/self/fd/1", "/dev/null"])
@pytest.mark.parametrize("paths", ["logs/*.log", "logs/app.log"], ids=["glob", "path"])
def test_a_log_that_links_to_stdout_is_skipped(site: Deployment, device: str, paths: str) -> None:
    """In a container a log often links to /dev/stdout: no business of ours, and worth a word at debug level only."""
    logs = site.folder("logs")
    (logs / "app.log").symlink_to(device)
    site.file(logs / "real.log", LINES)
    site.configure(f'[[log]]\nname = "app"\npaths = ["{paths}", "logs/real.log"]\nmax_size = "1K"\n')
    events = site.events()
    skipped = [e for e in events if e["event"] == "log.skipped"]
    assert [(e["level"], e["log"]) for e in skipped] == [("debug", str(logs / "app.log"))]
    assert device in skipped[0]["reason"]
    assert os.readlink(logs / "app.log") == device
    assert "real.log.1.zst" in listing(logs)
    result = site.run("--force", "-v")
    assert "app.log" not in result.stderr


# ---------------------------------------------------------------- mounts


def test_a_bind_mounted_log_is_refused(own: Deployment) -> None:
    """A single mounted file cannot be renamed: both ways out are named, and the log is untouched."""
    logs = own.folder("logs")
    source = own.file("source", LINES)
    own.configure(RULE)
    with mounts.bind_file(source, logs / "app.log"):
        (problem,) = own.problems()
        assert problem["subject"] == str(logs / "app.log")
        assert "directory" in problem["advice"] and 'method = "copytruncate"' in problem["advice"]
        assert source.read_bytes() == LINES and listing(logs) == ["app.log"]


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_bind_mounted_log_by_copytruncate(own: Deployment, fstype: str) -> None:
    """With copytruncate it works, under a writer that appends, and nothing is lost."""
    with mounts.loop_mount(own.root, fstype) as disk:
        logs = disk.path / "logs"
        logs.mkdir()
        source = disk.path / "source"
        source.touch()
        own.configure(f'[[log]]\nname = "app"\npaths = ["{logs}/*.log"]\nmax_size = "1K"\nmethod = "copytruncate"\n')
        with mounts.bind_file(source, logs / "app.log"), Writer(logs / "app.log", Kind.HOLD, rate=5000) as writer:
            for _ in range(3):
                writer.wait_for_more(500)
                own.run()
            writer.stop()
            assert oracle.count_joined(logs, "app.log", writer.expected).check().total == writer.lines_written()
            assert [n for n in listing(logs) if n != "app.log"] == [f"app.log.{n}.zst" for n in (1, 2, 3)]


def test_a_mounted_directory_is_no_problem(own: Deployment) -> None:
    """Mounting the directory instead is what the message advises, and works."""
    with mounts.tmpfs(own.root) as logs:
        (logs / "app.log").write_bytes(LINES)
        own.configure(f'[[log]]\nname = "app"\npaths = ["{logs}/*.log"]\nmax_size = "1K"\n')
        own.run()
        counted(logs, "app.log", w1=100)
        assert listing(logs) == ["app.log", "app.log.1.zst"]


# ---------------------------------------------------------------- ACLs


def acl(path: Path) -> list[str]:
    done = subprocess.run(["getfacl", "-cpnE", path], capture_output=True, text=True, check=True)
    return done.stdout.split()


def set_acl(*arguments: str | Path) -> None:
    need(shutil.which("setfacl"), "setfacl and getfacl (package acl)")
    done = subprocess.run(["setfacl", *arguments], capture_output=True, text=True, check=False)
    need(done.returncode == 0, f"a file system with POSIX ACLs: {done.stderr.strip()}")


@pytest.mark.parametrize("protocol", ["exchange", "copytruncate"])
def test_the_acl_of_a_log_is_carried_over(own: Deployment, protocol: str) -> None:
    """A writer that was let in by an ACL is let in by the replacement too, and may read the archive."""
    logs = own.folder("logs")
    log = own.file(logs / "app.log", lines("w1", 1, 200), mode=0o664)
    set_acl("-m", "u:nobody:rw,g:games:r", log)
    before = acl(log)
    method = 'method = "copytruncate"\naccept_loss = true\n' if protocol == "copytruncate" else ""
    own.configure(RULE + method)
    own.run()
    assert acl(log) == before and any(entry.startswith("user:65534:rw") for entry in before)
    assert any(entry.startswith("user:65534:r") for entry in acl(logs / "app.log.1.zst"))
    with Writer(log, Kind.HOLD, name="w2", lines=10, user="nobody") as writer:
        writer.wait()
    tally = oracle.count_joined(logs, "app.log", {"w1": 200, "w2": 10})
    tally.check()


def test_a_default_acl_of_the_directory(own: Deployment) -> None:
    """Whom the directory's default ACL lets in may write the replacement, as he could write the log."""
    logs = own.folder("logs", 0o2775)
    set_acl("-d", "-m", "u:nobody:rw,g::rw,o::r,m::rw", logs)
    log = logs / "app.log"
    with Writer(log, Kind.SIGNAL, on_order=True) as writer:  # its umask and mode go through the default ACL
        writer.write(50)
    log.chmod(0o664)
    before = acl(log)
    assert any(entry.startswith("user:65534:rw") for entry in before)
    own.configure(RULE)
    own.run()
    assert acl(log) == before
    with Writer(log, Kind.HOLD, name="w2", lines=10, user="nobody") as other:
        other.wait()
    counted(logs, "app.log", w1=50, w2=10)


def test_a_default_acl_where_the_log_has_none(own: Deployment) -> None:
    """A replacement gets the ACL of the old log; where that had none, nobody new is let in by mode bits alone."""
    logs = own.folder("logs")
    log = own.file(logs / "app.log", LINES, mode=0o600)
    set_acl("-d", "-m", "u:nobody:rw", logs)
    own.configure(RULE + 'create_mode = "0600"\n')
    own.run()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    with pytest.raises(ChildProcessError), Writer(log, Kind.HOLD, name="w2", lines=1, user="nobody") as other:
        other.wait()


# ---------------------------------------------------------------- owners and modes


def test_setgid_directory_and_a_foreign_owner(site: Deployment) -> None:
    """In a 2775 directory the replacement gets the directory's group, so the old owner can go on writing."""
    logs = site.folder("logs", 0o2775)
    log = site.file(logs / "app.log", LINES, mode=0o664)
    os.chown(log, 65534, 65534)  # nobody wrote it; his group is not ours
    os.chown(logs, 33, 65534)
    logs.chmod(0o2775)
    site.configure(RULE)
    site.run(check=0)
    status = log.stat()
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 0o664)
    with Writer(log, Kind.HOLD, name="w2", lines=10, user="nobody") as writer:
        writer.wait()
    oracle.count(logs, "app.log", expected={"w1": 100, "w2": 10}).check()


# ---------------------------------------------------------------- logs that are not there


def test_a_missing_folder_is_a_missing_log(site: Deployment) -> None:
    """A path in a folder that does not exist is skipped at debug level too."""
    site.configure('[[log]]\nname = "app"\npaths = ["none/app.log", "none/**/*.log"]\nmax_size = "1K"\n')
    events = site.events()
    assert [e["log"] for e in events if e["event"] == "log.missing"] == [f"{site.root}/none/app.log"]
    assert site.run("-v").stderr.count("none") == 0
    assert not (site.root / "none").exists()


def test_create_missing_with_its_folders(site: Deployment) -> None:
    """create_missing makes the log with its mode and the folders above it with 0755; the next run does nothing."""
    site.configure(
        '[[log]]\nname = "app"\npaths = ["storage/new/logs/app.log"]\nmax_size = "1K"\n'
        'create_missing = true\ncreate_mode = "0660"\n'
    )
    site.run()
    log = site.root / "storage/new/logs/app.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o660 and log.read_bytes() == b""
    for folder in list(log.parents)[:3]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {p.stat().st_uid for p in (log, *list(log.parents)[:3])} == {33}
    before = fingerprint(site.root / "storage")
    site.run()
    assert fingerprint(site.root / "storage") == before


def test_archives_of_a_log_that_is_gone_are_still_kept_in_order(site: Deployment) -> None:
    """For a glob, retention and compression go on also when the live log was deleted."""
    logs = site.folder("logs")
    for number in range(1, 5):
        site.file(logs / f"app.log.{number}", lines(f"w{number}", 1, 10))
        os.setxattr(logs / f"app.log.{number}", "user.logrotor.source", b"1 2 3.000 app.log")
    site.configure(RULE + "backup_count = 3\n")
    site.run()
    assert listing(logs) == ["app.log.1.zst", "app.log.2.zst", "app.log.3.zst"]
    counted(logs, "app.log", w1=10, w2=10, w3=10)
