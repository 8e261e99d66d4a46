"""Each check finds the fault that is planted in a real tree, names it, and mends it where that is safe."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator
from logrotor.disk import walk
from logrotor.disk import writers as disk_writers
from logrotor.model import Finding, Problem
from logrotor.observe.checks import checks, setup
from logrotor.observe.doctor import choose, examine, mend
from tests.observe.conftest import Deployment
from tests.support import command, mounts, supervisor, users
from tests.support.need import need
from tests.support.writers import Kind, Writer

Look = Callable[..., list[Finding]]
Plant = Callable[[Deployment, ExitStack], "str | Path"]


@pytest.fixture
def look(here: Deployment) -> Look:
    """The findings of one check, looked at now or ``later``."""

    def run(check: str, later: timedelta = timedelta()) -> list[Finding]:
        (only,) = choose(checks(here.seen(datetime.now(UTC) + later)), [check])
        ((examined,)) = examine([only])
        assert all(f.subject and f.problem and f.why and f.advice for f in examined.findings)
        assert not any(f.subject == only.id for f in examined.findings), "it could not look"
        return list(examined.findings)

    return run


def only(findings: list[Finding]) -> Finding:
    (found,) = findings
    return found


def test_a_sound_deployment_has_no_finding(here, logrotor):
    """After a run of a usual configuration nothing is found."""
    here.log()
    here.run()
    assert logrotor("doctor", code=0).out.endswith(" checks, nothing found.\n")


def test_every_check_has_a_name_of_its_own(here):
    """Ids are unique, lower case, and of the shape theme.thing."""
    ids = [check.id for check in checks(here.seen())]
    assert len({*ids}) == len(ids) and all(i.islower() and i.count(".") == 1 for i in ids)


def test_nothing_is_changed_without_fix(here, logrotor):
    """All checks together leave every file as it is."""
    here.log(mode=0o600)
    (here.logs / ".app.log.1.zst.tmp").write_text("x")
    here.state.mkdir(mode=0o755)
    before = sorted((str(p), p.lstat().st_ctime_ns) for p in here.folder.rglob("*"))
    logrotor("doctor", code=1)
    assert sorted((str(p), p.lstat().st_ctime_ns) for p in here.folder.rglob("*")) == before


# ---------------------------------------------------------------- one fault, one finding


def state_open(here: Deployment, _: ExitStack) -> Path:
    here.state.mkdir()
    here.state.chmod(0o775)
    return here.state


def state_below_a_file(here: Deployment, _: ExitStack) -> Path:
    (here.folder / "file").touch()
    here.state = here.folder / "file" / "state"
    here.configure()
    return here.state


def lock_open(here: Deployment, _: ExitStack) -> Path:
    here.run(force=True)
    (here.state / "lock").touch()
    (here.state / "lock").chmod(0o644)
    return here.state / "lock"


def history_planted(here: Deployment, _: ExitStack) -> Path:
    here.state.mkdir(mode=0o700)
    (here.state / "history.sqlite").symlink_to("/dev/null")
    return here.state / "history.sqlite"


def history_set_aside(here: Deployment, _: ExitStack) -> Path:
    here.state.mkdir(mode=0o700)
    (here.state / "history.sqlite.damaged-1").touch()
    return here.state / "history.sqlite.damaged-1"


def of_another_user(here: Deployment, _: ExitStack) -> Path:
    need(os.geteuid() == 0, "root, to give a file away")
    here.state.mkdir(mode=0o700)
    (here.state / "last-run").touch()
    os.chown(here.state / "last-run", 65534, -1)
    return here.state / "last-run"


def history_damaged(how: str) -> Plant:
    def plant(here: Deployment, _: ExitStack) -> Path:
        for name in ("a.log", "b.log", "c.log"):
            here.log(name)
        here.run()
        file = here.state / "history.sqlite"
        if how == "rubbish":
            file.write_bytes(b"rubbish" * 1000)
        elif how == "page":
            data = bytearray(file.read_bytes())
            data[4096 + 8 : 8192] = b"\xff" * (4096 - 8)
            file.write_bytes(data)
        else:
            with closing(sqlite3.connect(file)) as connection, connection:
                connection.execute("UPDATE logs SET last_rotation = 'yesterday'")
        return file

    return plant


def configured(more: str, subject: str, **other: str) -> Plant:
    """A configuration that names what is not there, or what cannot do; ``subject``: below the folder, or as it is."""

    def plant(here: Deployment, _: ExitStack) -> str:
        here.log()
        here.configure(more.format(here=here), **other)
        return subject if subject[0] in "[r" else str(here.folder / subject)

    return plant


def opened(name: str, more: str = "") -> Plant:
    """A directory where anyone may write."""

    def plant(here: Deployment, _: ExitStack) -> Path:
        here.log()
        here.configure(more)
        (here.folder / name).mkdir(exist_ok=True)
        (here.folder / name).chmod(0o777)
        return here.folder / name

    return plant


def file_for_archives(here: Deployment, _: ExitStack) -> Path:
    here.log()
    (here.folder / "file").touch()
    here.configure('archive_dir = "../file"')
    return here.folder / "file"


def on_tmpfs(here: Deployment, stack: ExitStack, more: str = "", **limits: Any) -> Path:
    mount = stack.enter_context(mounts.tmpfs(here.folder, **limits))
    (mount / "app.log").touch()
    here.configure(more, paths=f'["{mount}/*.log"]')
    return mount


def no_collapse(here: Deployment, stack: ExitStack) -> Path:
    return on_tmpfs(here, stack, 'method = "copytruncate"')


def no_exchange(here: Deployment, stack: ExitStack) -> Path:
    mount = stack.enter_context(mounts.fuse(here.folder))
    (mount / "app.log").write_text("one line\n")
    here.configure(paths=f'["{mount}/*.log"]')
    return mount


def no_room(here: Deployment, stack: ExitStack) -> Path:
    mount = on_tmpfs(here, stack, size="1m")
    (mount / "app.log").write_bytes(b"x" * 700_000)
    return mount


def no_inodes(here: Deployment, stack: ExitStack) -> Path:
    return on_tmpfs(here, stack, inodes=50)


def bind_mounted(here: Deployment, stack: ExitStack) -> Path:
    stack.enter_context(mounts.bind_file(here.log("real"), here.log()))
    return here.logs / "app.log"


def hard_link(here: Deployment, _: ExitStack) -> Path:
    os.link(here.log(), here.folder / "second")
    return here.logs / "app.log"


def unknown_archives(here: Deployment, _: ExitStack) -> Path:
    here.configure('archive_dir = "../old"')
    here.log()
    (here.folder / "old").mkdir()
    here.log("../old/app.log.1.gz", size=320)
    return here.folder / "old/app.log"


def unclear_file(here: Deployment, _: ExitStack) -> Path:
    here.configure("", paths='["logs/*"]')
    here.log()
    return here.log("app.log.1")


def old_inode(here: Deployment, stack: ExitStack) -> Path:
    writer = stack.enter_context(Writer(here.logs / "app.log", Kind.HOLD, on_order=True))
    writer.write(400)
    here.run(force=True)
    return here.logs / "app.log.1"


def removed_file(here: Deployment, stack: ExitStack) -> Path:
    writer = stack.enter_context(Writer(here.logs / "app.log", Kind.HOLD, on_order=True))
    writer.write(10)
    (here.logs / "app.log").unlink()
    here.log()
    return here.logs / "app.log"


def no_pidfile(here: Deployment, _: ExitStack) -> str:
    here.hold()
    here.configure(target("pidfile", pidfile="gone.pid", signal="USR1"))
    return "reopen target 'them' (pidfile)"


def no_program(here: Deployment, _: ExitStack) -> str:
    here.configure(target("command", command='["/no/such/program"]'))
    return "reopen target 'them' (command)"


def stale_pidfile(here: Deployment, _: ExitStack) -> str:
    here.hold()
    (here.folder / "it.pid").write_text("4194304\n")
    here.configure(target("pidfile", pidfile="it.pid", signal="USR1"))
    return "reopen target 'them' (pidfile)"


def unhandled_signal(here: Deployment, stack: ExitStack) -> str:
    writer = stack.enter_context(Writer(here.logs / "app.log", Kind.SIGNAL, on_order=True))
    writer.write(1)
    (here.folder / "it.pid").write_text(f"{writer.pid}\n")
    here.configure(target("pidfile", pidfile="it.pid", signal="USR2"))
    return "reopen target 'them' (pidfile)"


def from_the_future(*names: str) -> Plant:
    """Logs, or archives by the date in their name; the last one is named."""

    def plant(here: Deployment, _: ExitStack) -> Path:
        here.log()
        for number, name in enumerate(names):
            os.utime(here.log(name, size=0 if "-20" in name else 320), (time.time() + 86400 * (number + 1),) * 2)
        return here.logs / names[-1]

    return plant


def run_from_the_future(here: Deployment, _: ExitStack) -> str:
    here.log()
    here.run(time.time() + 86400)
    os.utime(here.logs / "app.log")
    return "history"


def metrics_too_old(here: Deployment, _: ExitStack) -> Path:
    here.configure('[metrics]\ntextfile = "x.prom"')
    here.run()  # by the library, which writes none
    return here.folder / "x.prom"


def target(manager: str, **keys: str) -> str:
    lines = [f'{key} = "{value}"' if not value.startswith("[") else f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(['reopen = "them"', "[reopen.them]", f'manager = "{manager}"', *lines])


FUTURE = "app.log-20990101T000000Z"


@pytest.mark.parametrize(
    ("check", "plant", "mendable"),
    [
        ("config.on_archive", configured('on_archive = ["/no/such/program", "{{archive}}"]', "rule app"), False),
        ("config.on_archive", configured('on_archive = ["{here.logs}"]', "rule app"), False),
        ("state.directory", state_open, True),
        ("state.directory", state_below_a_file, False),
        ("state.files", lock_open, True),
        ("state.history", history_planted, False),
        ("state.files", of_another_user, False),
        ("state.history", history_set_aside, False),
        *(("state.history", history_damaged(how), False) for how in ("rubbish", "page", "values")),
        ("directories.logs", configured("", "lgos", paths='["lgos/*.log"]'), False),
        ("directories.logs", opened("logs"), False),
        ("directories.archives", opened("old", 'archive_dir = "../old"'), False),
        ("directories.archives", file_for_archives, False),
        ("directories.calls", no_collapse, False),
        ("directories.calls", no_exchange, False),
        ("directories.mounts", bind_mounted, False),
        ("logs.refused", bind_mounted, False),
        ("logs.refused", hard_link, False),
        ("logs.unknown", unknown_archives, False),
        ("logs.unclear", unclear_file, False),
        ("writers.old", old_inode, False),
        ("writers.deleted", removed_file, False),
        ("reopen.targets", no_pidfile, False),
        ("reopen.targets", stale_pidfile, False),
        ("reopen.targets", unhandled_signal, False),
        ("reopen.targets", no_program, False),
        ("space.bytes", no_room, False),
        ("space.inodes", no_inodes, False),
        ("clock.time", from_the_future("app.log"), False),
        ("clock.time", from_the_future("app.log", "other.log"), False),
        ("clock.time", from_the_future(f"{FUTURE}.zst"), False),
        ("clock.time", from_the_future(f"{FUTURE}-1.zst", f"{FUTURE}.zst"), False),
        ("clock.time", run_from_the_future, False),
        ("metrics", configured('[metrics]\ntextfile = "nowhere/x.prom"', "nowhere/x.prom"), False),
        ("metrics", metrics_too_old, False),
        ("page", configured('[page]\nfile = "nowhere/page.html"', "nowhere/page.html"), False),
        ("page", configured('[page]\nfile = "logs/app.log"', "logs/app.log"), False),
    ],
)  # fmt: skip
def test_a_fault_is_found(here, look, check, plant, mendable):
    """One finding that names it, however many files have it; what is safe to repair is repaired, and nothing else."""
    with ExitStack() as stack:
        subject = plant(here, stack)
        found = only(look(check))
        assert found.subject == str(subject) and (found.mend is not None) == mendable
        if mendable:
            assert mend(found).done and look(check) == []


def test_what_is_well(here, look, logrotor):
    """A program by its path or by $PATH, outputs that were written, a clock that caught up: no finding."""
    for program in ("true", "/bin/true"):
        here.configure(f'on_archive = ["{program}"]')
        assert look("config.on_archive") == []
    asked = target("command", command='["true"]')
    here.configure(f'{asked}\n[metrics]\ntextfile = "x.prom"\n[page]\nfile = "p.html"')
    assert look("metrics") == look("page") == look("reopen.targets") == []
    logrotor("run", code=0)
    assert look("metrics") == look("page") == []
    os.utime(here.log(), (time.time() + 86400,) * 2)
    assert look("clock.time") and look("clock.time", later=timedelta(days=2)) == []


def test_a_target_is_looked_at_and_not_signalled(here, look):
    """The writer reopens nothing for it."""
    with Writer(here.logs / "app.log", Kind.SIGNAL, on_order=True) as writer:
        writer.write(1)
        (here.folder / "it.pid").write_text(f"{writer.pid}\n")
        here.configure(target("pidfile", pidfile="it.pid", signal="USR1"))
        assert look("reopen.targets") == [] and writer.reopened() == 0


# ---------------------------------------------------------------- configuration


def test_a_glob_that_matches_nothing(here, look):
    """Most often it is misspelt; a path without a log, a rule that had one, and one that another rule has are fine."""
    here.log()
    here.configure(paths='["logs/*.lgo"]')
    found = only(look("config.matches"))
    assert found.subject == "rule app" and f"{here.logs}/*.lgo matches no file" in found.problem
    here.configure(paths='["log*/gone/*.log"]')
    assert "matches no file" in only(look("config.matches")).problem
    here.configure('exclude = ["app.*"]')
    assert "exclude" in only(look("config.matches")).problem
    here.configure(paths='["logs/gone.log"]')
    assert look("config.matches") == []
    here.configure('[[log]]\nname = "second"\npaths = ["logs/app*"]\nmax_size = "1MB"')
    assert look("config.matches") == []
    here.run()
    for path in here.logs.iterdir():
        path.unlink()
    assert look("config.matches") == [], "app.log was rotated; it may come again"
    here.configure(paths='["lgos/*.log"]')
    assert look("config.matches") == [], "told by directories.logs"


# ---------------------------------------------------------------- state


@pytest.mark.parametrize("why", ["a file of another program", "a rule names it"])
def test_a_state_directory_that_others_use(here, look, why):
    """state_dir = "logs" by mistake: closing it would lock the writers out, so that is neither done nor advised."""
    if why == "a file of another program":
        here.state.mkdir()
        (here.state / "queue.sqlite").touch()
        (here.state / "app.pid").touch()
    else:
        here.state = here.logs
        here.configure(paths='["log?/*.log"]')
    here.state.chmod(0o755)
    found = only(look("state.directory"))
    assert found.mend is None and "chmod" not in found.advice and f'state_dir = "{here.state}/' in found.advice
    assert ("app.pid" if why == "a file of another program" else "logs of a rule") in found.problem
    assert "queue.sqlite" not in found.problem


# ---------------------------------------------------------------- directories


def test_a_directory_that_is_not_ours_to_change(here):
    """An ordinary user in a directory of root: told once, with whose it is, and what would really help."""
    here.log()
    here.logs.chmod(0o755)

    def looked() -> tuple[str, str, int]:
        examined = examine(choose(checks(here.seen()), ["directories.logs", "logs.refused"]))
        directories, logs = (each.findings for each in examined)
        found = only(list(directories))
        return found.problem, found.advice, len(logs)

    def as_www_data() -> tuple[str, str, int]:
        return users.as_user("www-data", looked)

    problem, advice, refused = as_www_data()
    assert problem.startswith("www-data may not create") and "is root:root 0755, and www-data is in no such" in problem
    assert f"as root: chgrp www-data {here.logs} && chmod g+rwxs {here.logs}" in advice and refused == 0
    shutil.chown(here.logs, group="www-data")
    assert as_www_data()[1].startswith(f"as root: chmod g+rwxs {here.logs}")
    here.logs.chmod(0o500)
    shutil.chown(here.logs, "www-data")
    assert as_www_data()[1] == f"chmod u+rwx {here.logs}"


@pytest.mark.parametrize("there", [False, True])
def test_an_archive_directory_that_is_not_ours(here, there):
    """Plan and doctor see beforehand that it cannot be made, or used, and say what root has to do; once."""
    need(os.geteuid() == 0, "root, to give files away")
    archives = here.folder / "archives"
    what = f"cannot be made by www-data: {here.folder} may not be written"
    advice = f"as root: install -d -o www-data {archives}"
    if there:
        archives.mkdir(0o755)
        what = "www-data may not create and rename files there: it is root:root 0755, and www-data is in no such group"
        advice = f"as root: chgrp www-data {archives} && chmod g+rwxs {archives}, or run logrotor as root"
    here.configure(f'archive_dir = "{archives}"')
    here.log()
    us = users.user("www-data")
    for path in (here.logs, *here.logs.iterdir()):
        os.chown(path, us.uid, us.gid)

    def looked() -> tuple[list[Problem], list[Finding]]:
        chosen = choose(checks(here.seen()), ["directories.archives", "logs.refused"])
        found = [finding for each in examine(chosen) for finding in each.findings]
        plan = Rotator(here.config).plan()
        assert (plan.due, [log.refused for log in plan.logs]) == (1, [None])  # its archives can wait
        return list(plan.problems), found

    problems, found = users.as_user("www-data", looked)
    what = f"cannot be the archive_dir of rule app: {what}"
    assert problems == [Problem(subject=str(archives), problem=what, advice=advice)]
    assert [(f.subject, f.problem, f.advice) for f in found] == [(str(archives), what, advice)]


def test_an_archive_directory_that_cannot_be_made_after_all(here, monkeypatch):
    """Why it cannot be made is the error of each archive that should go there, not that it does not exist."""
    here.run()  # makes the state directory
    here.log()
    here.configure(f'archive_dir = "{here.folder}/archives"')

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "archives")

    monkeypatch.setattr(walk, "make_directories", fail)
    (failed,) = here.run().failed
    assert failed.reason == f"{here.folder}/archives: archive_dir cannot be made: Permission denied (EACCES)"
    assert (failed.action, failed.errno) == ("compress", errno.EACCES)
    monkeypatch.undo()
    assert here.run().exit_code == 0 and os.listdir(here.folder / "archives") == ["app.log.1.zst"]


# ---------------------------------------------------------------- logs


def test_a_log_that_must_be_there(here, look, logrotor):
    """With missing = "error", what matches nothing is found by run, plan, status and doctor alike."""
    here.configure('missing = "error"', paths='["logs/*.lgo", "logs/gone.log"]')
    found = look("logs.refused")
    assert {finding.subject for finding in found} == {f"{here.logs}/*.lgo", f"{here.logs}/gone.log"}
    assert all("missing = error" in finding.problem for finding in found)
    for words in (["run"], ["plan"], ["status", "--check"]):
        said = logrotor(*words, code=1)
        assert f"{here.logs}/*.lgo: matches no log" in said.out + said.err, words


def test_a_mode_that_the_next_rotation_would_change(here, look):
    """Found and mended; a link that took the log's place meanwhile is not followed."""
    log = here.log(mode=0o644)
    assert look("logs.modes") == [], "without create_mode it stays as it is"
    here.configure('create_mode = "0664"')
    first = only(look("logs.modes"))
    assert "mode 0644, but create_mode = 0664" in first.problem and mend(first).told == f"chmod 0664 {log}"
    assert log.stat().st_mode & 0o777 == 0o664 and look("logs.modes") == []
    log.chmod(0o644)
    second = only(look("logs.modes"))
    log.unlink()
    log.symlink_to(here.file)
    before = here.file.stat().st_mode
    assert not mend(second).done and here.file.stat().st_mode == before


def test_a_private_log_is_not_opened_to_everybody(here, look):
    """What it holds was written for a few: --fix leaves it, and says what the next rotation does."""
    here.configure('create_mode = "0664"')
    log = here.log(mode=0o640)
    found = only(look("logs.modes"))
    assert 'create_mode = "0640"' in found.advice and "more may read or write it then" in found.why
    assert not mend(found).done and log.stat().st_mode & 0o777 == 0o640
    log.chmod(0o666)
    assert "locked out" in (found := only(look("logs.modes"))).why and mend(found).done


def test_what_an_interrupted_run_left(here, look):
    """A temp is found and removed; one that a run works on is left alone."""
    here.log()
    temp = here.logs / ".app.log.1.zst.tmp"
    temp.write_text("half an archive")
    found = only(look("logs.leftovers"))
    assert found.subject == str(temp) and mend(found).done and not temp.exists()
    temp.write_text("half an archive")
    busy = only(look("logs.leftovers"))
    with temp.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not mend(busy).done and temp.exists()
        assert look("logs.leftovers") == [], "a run is at work"


def test_dated_files_of_no_rule(here, look):
    """One finding for each series, archives of logs that no rule names as well; what a rule claims is none."""
    here.configure(paths='["logs/app.log", "logs/daily-*.log"]')
    here.log()
    for name in ("laravel-2025-10-09.log", "laravel-2025-10-10.log", "laravel-2025-10-08.log.gz", "other.log.1.gz",
                 "daily-2025-10-09.log", "app.log.1", "plain.txt"):  # fmt: skip
        here.log(name, size=320)
    found = look("logs.unclaimed")
    assert [f.subject for f in found] == [str(here.logs / "laravel-*.log"), str(here.logs / "other.log.1")]
    assert found[0].problem.startswith("3 dated or archived files, 960 bytes")
    here.configure('exclude = ["laravel-*", "other.*"]', paths='["logs/app.log", "logs/daily-*.log"]')
    assert look("logs.unclaimed") == [], "who excludes them knows them"


def test_archives_of_no_log_in_an_archive_directory(here, look):
    """A log that is gone and of which the history knows nothing; what lies beside its own live log is not ours."""
    here.configure('archive_dir = "../old"')
    here.log()
    (here.folder / "old").mkdir()
    for name in ("app.log.1.gz", "gone.log.1.gz", "gone.log.2.gz", "dpkg.log", "dpkg.log.1", "daily-2025-10-09.log"):
        here.log(f"../old/{name}", size=320)
    (found,) = look("logs.unclaimed")
    assert found.subjects == tuple(str(here.folder / f"old/gone.log.{n}") for n in (1, 2))


# ---------------------------------------------------------------- writers


def test_a_writer_without_append_under_copytruncate(here, look):
    """It would leave NUL bytes; one that appends is fine, and so is rotation by rename."""
    here.configure('method = "copytruncate"\naccept_loss = true')
    for kind, expected in ((Kind.NO_APPEND, 1), (Kind.HOLD, 0)):
        with Writer(here.logs / "app.log", kind, on_order=True) as writer:
            writer.write(10)
            found = look("writers.append")
            who = f"process {writer.pid} ({writer.program})"  # as status and plan name it
            assert len(found) == expected and all(who in f.problem for f in found)


def test_processes_that_hide_are_left_out(here, look, monkeypatch):
    """A process that ended or may not be looked at stops no check."""
    monkeypatch.setattr(disk_writers.os, "readlink", lambda *a, **k: (_ for _ in ()).throw(PermissionError(13, "no")))
    here.log()
    assert look("writers.deleted") == []


# ---------------------------------------------------------------- reopen


@pytest.mark.parametrize("held", ["live", "archive", ""])
def test_a_daemon_that_is_stopped(here, look, held):
    """A run asks nobody where it is proved that nobody writes, and ends with 0: then the doctor finds nothing."""
    here.configure(target("pidfile", pidfile="gone.pid", signal="USR1"))
    log = here.hold() if held else here.log()
    if held == "archive":
        log.rename(here.logs / "app.log.1")
        here.log()
    assert bool(look("reopen.targets")) == bool(held) == bool(here.run(force=True).exit_code)


def test_a_target_that_is_not_ours_to_signal(here):
    """An ordinary user cannot signal a process of root."""
    with Writer(here.logs / "app.log", Kind.SIGNAL, on_order=True) as writer:
        writer.write(1)
        (here.folder / "it.pid").write_text(f"{writer.pid}\n")
        here.configure(target("pidfile", pidfile="it.pid", signal="USR1"))

        def looked() -> str:
            (found,) = examine(choose(checks(here.seen()), ["reopen.targets"]))
            return only(list(found.findings)).problem

        assert "www-data may not send SIGUSR1" in users.as_user("www-data", looked)


def test_supervisord_that_rotates_the_same_file(here, look):
    """A real supervisord with its default of 50MB, also where no rule names it as a target."""
    here.log()
    conf = f"[program:app]\ncommand = /bin/true\nautostart = false\nstdout_logfile = {here.logs}/app.log\n"
    with supervisor.running(conf, here.folder):
        # Others may run on this machine too.
        found = only([each for each in look("reopen.supervisord") if each.subject == str(here.logs / "app.log")])
    assert "stdout_logfile_maxbytes = 0" in found.advice


# ---------------------------------------------------------------- rivals, space, clock, schedule


def test_a_rule_of_logrotate(here):
    """Found by path and by glob; scripts, comments and other paths are not taken for it, nor a folder above."""
    log = here.log()
    rules = here.folder / "logrotate.d"
    rules.mkdir()
    (rules / "app").write_text(f"""\
# {here.logs}/commented.log {{
/var/log/other.log {{ weekly }}
{here.folder}/*.log {{ weekly }}
"{here.logs}/*.log" /x/y.log
{{
    daily
    postrotate
        test -f {here.logs}/z {{ && true
    endscript
}}
""")
    (rules / "broken").write_text("{ } ' {")
    (rules / "old.disabled").write_text(f"{here.logs}/app.log {{ weekly }}")
    (here.folder / "conf").write_text(f"weekly\ninclude {rules}\ninclude {rules}/none\n")
    unread, found = setup.logrotate(here.seen(datetime.now(UTC)), f"{here.folder}/conf")
    assert found.subject == str(log) and f"{here.logs}/*.log in {rules}/app:4" in found.problem
    assert (unread.subject, unread.note) == (f"{rules}/none", False)
    assert not list(setup.logrotate(here.seen(datetime.now(UTC)), f"{here.folder}/none"))


def test_a_disk_that_will_be_full(here, look):
    """The forecast of the history against the free bytes of a small file system."""
    with mounts.tmpfs(here.folder, size="300k") as mount:
        logs = mount / "logs"
        logs.mkdir()
        here.configure('compress = "none"\nmax_total_size = "100MB"', paths=f'["{logs}/app.log"]')
        now = time.time()
        for hours in (3, 2, 1):
            (logs / "app.log").write_bytes(os.urandom(50_000))
            here.run(now - hours * 3600)
        (logs / "app.log").write_bytes(os.urandom(50_000))
        found = only(look("space.forecast"))
        assert found.subject == str(mount) and "full on 20" in found.problem


@pytest.mark.parametrize("name", ["logrotor.toml", "50% of it.toml"])
def test_the_cron_line_works_under_cron(here, name):
    """Where $PATH is short and the directory another one; and a % is the end of a line: crontab(5)."""
    here.log()
    here.file = here.file.rename(here.folder / name)
    crontab = here.folder / "crontab"
    found = only(list(setup.runs(here.seen(datetime.now(UTC)), [str(crontab)])))
    line = found.advice.removeprefix("crontab -e: ").partition(" (or a timer")[0]
    assert line.startswith("* * * * * /") and not re.search(r"(?<!\\)%", line)
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(command.CHECKOUT), "HOME": str(here.folder)}
    done = subprocess.run(["sh", "-c", line[len("* * * * * ") :].replace(r"\%", "%")], env=env, cwd="/", check=False)
    assert done.returncode == 0 and (here.logs / "app.log.1.zst").exists()
    crontab.write_text(line)
    assert setup.named_in([str(crontab)], here.config.files), "and it is found again"


def test_nobody_runs_it(here):
    """Without a run: whether a cron line or the like names it is told; a fresh run is proof enough."""
    crontab = here.folder / "crontab"

    def looked(days: float = 0) -> list[Finding]:
        moment = datetime.now(UTC) + timedelta(days=days)
        return list(setup.runs(here.seen(moment), [str(crontab)]))

    def names_it(days: float = 0) -> bool:
        found = only(looked(days))
        assert ("crontab -e" in found.advice) != (str(crontab) in found.problem)
        return str(crontab) in found.problem

    crontab.write_text("# logrotor was here\n")
    assert not names_it()
    crontab.write_text("0 3 * * 0 logrotor run\n")
    assert names_it()
    here.run()
    assert looked() == [] and looked(days=2) == [], "once a week is often enough"
    assert names_it(days=9)
    for line in ("* * * * * logrotor run\n", "*/5 * * * * me logrotor run\n", "@hourly logrotor run\n"):
        crontab.write_text(line)
        assert looked(days=0.06) == [] and names_it(days=0.11), line
    crontab.write_text(f"* * * * * logrotor run -c {here.folder}/another.toml\n")
    assert not names_it(days=0.09), "that is another deployment"
    crontab.write_text(f"0 3 * * 0 logrotor run -c {here.file}\n")
    assert looked(days=2) == []
    for shell in ("su www-data -c '/opt/x/bin/logrotor run -c {}'", 'sh -c "cd / && logrotor run --config={}"'):
        crontab.write_text(f"* * * * * {shell.format(here.file)}\n")
        assert looked(days=0.06) == [], shell
        crontab.write_text(f"* * * * * {shell.format('/etc/another.toml')}\n")
        assert not names_it(days=0.09), shell
    crontab.unlink()
    assert not names_it(days=0.09)


def test_files_that_may_not_be_read_are_left_out(tmp_path: Path):
    """A crontab of root is nobody else's business."""
    assert setup.named_in([str(tmp_path / "nothing"), str(tmp_path)]) == []


def test_a_large_file_of_no_rule_beside_the_logs(here, look, logrotor):
    """What grows there and is nobody's is named by doctor and status; not what is excluded, packed, old or small."""
    here.configure('exclude = ["known.txt"]')
    here.log(size=320)
    for name in ("grows.out", "known.txt", "old.out", "grows.out.lz4"):
        with (here.logs / name).open("wb") as file:
            file.truncate(200 * 1024 * 1024)
    (here.logs / "small.out").write_bytes(b"a line\n")
    os.utime(here.logs / "old.out", (time.time() - 3 * 86400,) * 2)
    found = look("logs.large")
    assert [each.subject for each in found] == [str(here.logs / "grows.out")]
    shown = logrotor("status", "--json", code=0).json
    assert shown["unclaimed"] == [{"path": str(here.logs / "grows.out"), "bytes": 200 * 1024 * 1024}]
    assert "grows.out" in logrotor("status", code=0).out and "grows.out" not in str(shown["attention"])
