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
from datetime import UTC, datetime, timedelta
from pathlib import Path

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


@pytest.fixture
def look(here: Deployment) -> Look:
    """The findings of one check, looked at now or ``later``."""

    def run(check: str, later: timedelta = timedelta()) -> list[Finding]:
        (only,) = choose(checks(here.config, datetime.now(UTC) + later), [check])
        ((examined,)) = examine([only])
        assert all(f.subject and f.problem and f.why and f.advice for f in examined.findings)
        assert not any("could not be checked" in f.problem for f in examined.findings), examined.findings
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
    ids = [check.id for check in checks(here.config, datetime.now(UTC))]
    assert len({*ids}) == len(ids) and all(i.islower() and i.count(".") == 1 for i in ids)


def test_nothing_is_changed_without_fix(here, logrotor):
    """All checks together leave every file as it is."""
    here.log(mode=0o600)
    (here.logs / ".app.log.1.zst.tmp").write_text("x")
    here.state.mkdir(mode=0o755)
    before = sorted((str(p), p.lstat().st_ctime_ns) for p in here.folder.rglob("*"))
    logrotor("doctor", code=1)
    assert sorted((str(p), p.lstat().st_ctime_ns) for p in here.folder.rglob("*")) == before


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


def test_a_command_for_archives_that_is_not_there(here, look):
    """Told before the first archive waits for it; one that is there is fine, by its path or by $PATH."""
    here.configure('on_archive = ["/no/such/program", "{archive}"]')
    found = only(look("config.on_archive"))
    assert found.subject == "rule app" and "/no/such/program: no such program" in found.problem
    here.configure(f'on_archive = ["{here.logs}"]')
    assert len(look("config.on_archive")) == 1, "a directory is no program"
    for program in ("true", "/bin/true"):
        here.configure(f'on_archive = ["{program}"]')
        assert look("config.on_archive") == []


# ---------------------------------------------------------------- state


def test_a_state_directory_that_others_may_enter(here, look):
    """Found and mended: it is ours alone afterwards."""
    here.state.mkdir()
    here.state.chmod(0o775)
    found = only(look("state.directory"))
    assert found.subject == str(here.state) and "mode 0775" in found.problem
    assert mend(found).done and here.state.stat().st_mode & 0o777 == 0o700
    assert look("state.directory") == []


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


def test_a_state_directory_that_cannot_be_made(here, look):
    """A file stands in its way."""
    (here.folder / "file").touch()
    here.state = here.folder / "file" / "state"
    here.configure()
    assert "no run can begin" in only(look("state.directory")).why


def test_a_lock_that_others_could_take(here, look):
    """Whoever may open it could hold it for ever (CVE-2022-1348): closed by --fix."""
    here.run(force=True)
    (here.state / "lock").touch()
    (here.state / "lock").chmod(0o644)
    found = only(look("state.files"))
    assert found.subject.endswith("/lock") and mend(found).done
    assert (here.state / "lock").stat().st_mode & 0o777 == 0o600 and look("state.files") == []


def test_a_planted_history(here, look):
    """A symlink in the place of the history is told, and left alone."""
    here.state.mkdir(mode=0o700)
    (here.state / "history.sqlite").symlink_to("/dev/null")
    assert only(look("state.files")).mend is None


def test_files_of_another_user(here, look):
    """A run as another user left them; who should run logrotor is told."""
    need(os.geteuid() == 0, "root, to give a file away")
    here.state.mkdir(mode=0o700)
    (here.state / "last-run").touch()
    os.chown(here.state / "last-run", 65534, -1)
    assert "belongs to nobody" in only(look("state.files")).problem


@pytest.mark.parametrize("damage", ["rubbish", "page", "values"])
def test_a_damaged_history(here, look, damage):
    """No database, a database with a spoilt page, one with odd values: each is found."""
    for name in ("a.log", "b.log", "c.log"):
        here.log(name)
    here.run()
    file = here.state / "history.sqlite"
    if damage == "rubbish":
        file.write_bytes(b"rubbish" * 1000)
    elif damage == "page":
        data = bytearray(file.read_bytes())
        data[4096 + 8 : 8192] = b"\xff" * (4096 - 8)
        file.write_bytes(data)
    else:
        connection = sqlite3.connect(file)
        connection.execute("UPDATE logs SET last_rotation = 'yesterday'")
        connection.commit()
    assert "history.sqlite" in only(look("state.history")).subject


def test_a_history_that_was_set_aside(here, look):
    """It is mentioned until somebody has looked at it."""
    here.state.mkdir(mode=0o700)
    (here.state / "history.sqlite.damaged-1").touch()
    assert "set aside" in only(look("state.history")).problem


# ---------------------------------------------------------------- directories


def test_a_directory_that_does_not_exist(here, look):
    """A misspelt path looks like that."""
    here.configure(paths='["lgos/*.log"]')
    assert only(look("directories.logs")).subject == str(here.folder / "lgos")


def test_a_directory_that_is_refused(here, look):
    """Anyone may write there: with what to do."""
    here.log()
    here.logs.chmod(0o777)
    found = only(look("directories.logs"))
    assert "anyone may write there" in found.problem and "chmod o-w" in found.advice


def test_a_directory_that_is_not_ours_to_change(here):
    """An ordinary user in a directory of root: told once, with whose it is, and what would really help."""
    here.log()
    here.logs.chmod(0o755)

    def looked() -> tuple[str, str, int]:
        examined = examine(choose(checks(here.config, datetime.now(UTC)), ["directories.logs", "logs.refused"]))
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


def test_an_archive_directory_that_is_refused(here, look):
    """The same checks for where archives go."""
    here.configure('archive_dir = "old"')
    (here.logs / "old").mkdir()
    (here.logs / "old").chmod(0o777)
    assert only(look("directories.archives")).subject == str(here.logs / "old")


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
        chosen = choose(checks(here.config, datetime.now(UTC)), ["directories.archives", "logs.refused"])
        found = [finding for each in examine(chosen) for finding in each.findings]
        plan = Rotator(here.config).plan()
        assert (plan.due, [log.refused for log in plan.logs]) == (1, [None])  # its archives can wait
        return list(plan.problems), found

    problems, found = users.as_user("www-data", looked)
    what = f"cannot be the archive_dir of rule app: {what}"
    assert problems == [Problem(subject=str(archives), problem=what, advice=advice)]
    assert [(f.subject, f.problem, f.advice) for f in found] == [(str(archives), what, advice)]


def test_a_file_in_the_place_of_an_archive_directory(here, look, logrotor):
    """The key and the rule are named, and what to do is not the error once more."""
    here.log()
    (here.folder / "file").touch()
    here.configure(f'archive_dir = "{here.folder}/file"')
    found = only(look("directories.archives"))
    assert (found.subject, found.advice) == (
        str(here.folder / "file"),
        "name a directory that logrotor can make or use",
    )
    (log,) = logrotor("plan", "--json", code=1).json["logs"]
    assert (log["refused"]["problem"], log["refused"]["advice"]) == (found.problem, found.advice)


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


def test_a_file_system_without_collapse(here, look):
    """copytruncate on tmpfs is refused, and said before."""
    here.configure('method = "copytruncate"')
    with mounts.tmpfs(here.folder) as mount:
        here.configure('method = "copytruncate"', paths=f'["{mount}/*.log"]')
        assert "tmpfs cannot collapse a range" in only(look("directories.calls")).problem


def test_a_file_system_without_an_exchange(here, look):
    """FUSE and its like exchange no names and show no writers behind them: said before the first rotation."""
    with mounts.fuse(here.folder) as mount:
        (mount / "app.log").write_text("one line\n")
        here.configure(paths=f'["{mount}/*.log"]')
        assert "cannot exchange two names" in only(look("directories.calls")).problem


def test_a_bind_mounted_log(here, look):
    """A single mounted file cannot be renamed."""
    here.log()
    here.log("real")
    with mounts.bind_file(here.logs / "real", here.logs / "app.log"):
        assert only(look("directories.mounts")).subject == str(here.logs / "app.log")
        assert only(look("logs.refused")).subject == str(here.logs / "app.log")


# ---------------------------------------------------------------- logs


def test_a_log_that_cannot_be_taken(here, look):
    """A second hard link: refused, with what to do."""
    os.link(here.log(), here.folder / "second")
    found = only(look("logs.refused"))
    assert "2 hard links" in found.problem and "remove the other names" in found.advice


def test_a_log_that_must_be_there(here, look, logrotor):
    """With missing = "error", what matches nothing is found by run, plan, status and doctor alike."""
    here.configure('missing = "error"', paths='["logs/*.lgo", "logs/gone.log"]')
    found = look("logs.refused")
    assert {finding.subject for finding in found} == {f"{here.logs}/*.lgo", f"{here.logs}/gone.log"}
    assert all("missing = error" in finding.problem for finding in found)
    for words in (["run"], ["plan"], ["status", "--check"]):
        said = logrotor(*words, code=1)
        assert f"{here.logs}/*.lgo: matches no log" in said.out + said.err, words


def test_a_log_whose_writer_would_be_locked_out(here, look):
    """Its owner could not write a replacement of ours."""
    need(os.geteuid() == 0, "root, to give a file away")
    os.chown(here.log(), users.user("www-data").uid, -1)
    assert "www-data, who could not write a replacement" in only(look("logs.refused")).problem


def test_a_mode_that_the_next_rotation_would_change(here, look):
    """Found and mended; a link that took the log's place meanwhile is not followed."""
    log = here.log(mode=0o644)
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
    found = look("logs.unclaimed")
    assert [f.subject for f in found] == [str(here.folder / f"old/gone.log.{n}") for n in (1, 2)]


def test_archives_that_the_history_does_not_know(here, look):
    """Another configuration may have put them there; once a run has put one there, nobody can tell."""
    here.configure('archive_dir = "../old"')
    here.log()
    (here.folder / "old").mkdir()
    here.log("../old/app.log.1.gz", size=320)
    assert only(look("logs.unknown")).subject == str(here.folder / "old/app.log")
    here.run()
    assert look("logs.unknown") == []


# ---------------------------------------------------------------- writers


def test_a_writer_on_an_old_inode(here, look):
    """The archive, the process, and what could make it reopen."""
    with Writer(here.logs / "app.log", Kind.HOLD, on_order=True) as writer:
        writer.write(400)
        assert look("writers.old") == []
        here.run(force=True)
        found = only(look("writers.old"))
    assert found.subject == str(here.logs / "app.log.1") and f"process {writer.pid} (python" in found.problem


def test_a_writer_on_a_removed_file(here, look):
    """Its lines would be lost with it."""
    with Writer(here.logs / "app.log", Kind.HOLD, on_order=True) as writer:
        writer.write(10)
        (here.logs / "app.log").unlink()
        here.log()
        found = look("writers.deleted")
    assert found and found[0].subject == str(here.logs / "app.log") and f"/proc/{writer.pid}/fd" in found[0].advice


def test_a_writer_without_append_under_copytruncate(here, look):
    """It would leave NUL bytes; one that appends is fine, and so is rotation by rename."""
    here.configure('method = "copytruncate"\naccept_loss = true')
    for kind, expected in ((Kind.NO_APPEND, 1), (Kind.HOLD, 0)):
        with Writer(here.logs / "app.log", kind, on_order=True) as writer:
            writer.write(10)
            found = look("writers.append")
            assert len(found) == expected and all(f"process {writer.pid}" in f.problem for f in found)


def test_processes_that_hide_are_left_out(here, look, monkeypatch):
    """A process that ended or may not be looked at stops no check."""
    monkeypatch.setattr(disk_writers.os, "readlink", lambda *a, **k: (_ for _ in ()).throw(PermissionError(13, "no")))
    here.log()
    assert look("writers.deleted") == []


# ---------------------------------------------------------------- reopen


def target(manager: str, **keys: str) -> str:
    lines = [f'{key} = "{value}"' if not value.startswith("[") else f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(['reopen = "them"', "[reopen.them]", f'manager = "{manager}"', *lines])


def test_a_target_that_is_not_there(here, look):
    """No pidfile, a stale one, a program that does not exist; a rule that uses it gives it its meaning."""
    here.configure(target("pidfile", pidfile="gone.pid", signal="USR1"))
    assert "no such pidfile" in only(look("reopen.targets")).problem
    (here.folder / "gone.pid").write_text("4194304\n")
    assert "there is no process 4194304" in only(look("reopen.targets")).problem
    here.configure(target("command", command='["/no/such/program"]'))
    assert "no such program" in only(look("reopen.targets")).problem
    here.configure(target("command", command='["true"]'))
    assert look("reopen.targets") == []


def test_a_target_that_is_well(here, look):
    """It is looked at and not signalled."""
    with Writer(here.logs / "app.log", Kind.SIGNAL, on_order=True) as writer:
        writer.write(1)
        (here.folder / "it.pid").write_text(f"{writer.pid}\n")
        here.configure(target("pidfile", pidfile="it.pid", signal="USR1"))
        assert look("reopen.targets") == [] and writer.reopened() == 0
        here.configure(target("pidfile", pidfile="it.pid", signal="USR2"))
        assert "does not handle SIGUSR2" in only(look("reopen.targets")).problem


def test_a_target_that_is_not_ours_to_signal(here):
    """An ordinary user cannot signal a process of root."""
    with Writer(here.logs / "app.log", Kind.SIGNAL, on_order=True) as writer:
        writer.write(1)
        (here.folder / "it.pid").write_text(f"{writer.pid}\n")
        here.configure(target("pidfile", pidfile="it.pid", signal="USR1"))

        def looked() -> str:
            (found,) = examine(choose(checks(here.config, datetime.now(UTC)), ["reopen.targets"]))
            return only(list(found.findings)).problem

        assert "www-data may not send SIGUSR1" in users.as_user("www-data", looked)


def test_supervisord_that_rotates_the_same_file(here, look):
    """A real supervisord with its default of 50MB, also where no rule names it as a target."""
    here.log()
    conf = f"[program:app]\ncommand = /bin/true\nautostart = false\nstdout_logfile = {here.logs}/app.log\n"
    with supervisor.running(conf, here.folder):
        found = only(look("reopen.supervisord"))
    assert found.subject == str(here.logs / "app.log") and "stdout_logfile_maxbytes = 0" in found.advice


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
    found = only(list(setup.logrotate(here.seen(datetime.now(UTC)), (f"{rules}/*",))))
    assert found.subject == str(log) and f"{here.logs}/*.log in {rules}/app" in found.problem


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


def test_no_room_to_compress(here, look):
    """The largest log is larger than what is free."""
    with mounts.tmpfs(here.folder, size="1m") as mount:
        here.configure(paths=f'["{mount}/app.log"]')
        (mount / "app.log").write_bytes(b"x" * 700_000)
        assert "the largest log has 700000" in only(look("space.bytes")).problem


def test_no_inodes(here, look):
    """A file system with few inodes."""
    with mounts.tmpfs(here.folder, inodes=50) as mount:
        here.configure(paths=f'["{mount}/app.log"]')
        (mount / "app.log").touch()
        assert "inodes are free" in only(look("space.inodes")).problem


def test_a_log_from_the_future(here, look):
    """A clock that was set back is noticed by the files."""
    os.utime(here.log(), (time.time() + 86400,) * 2)
    assert "which is to come" in only(look("clock.time")).problem
    assert look("clock.time", later=timedelta(days=2)) == []
    os.utime(here.log("other.log"), (time.time() + 99_999,) * 2)
    found = only(look("clock.time"))
    assert found.subject.endswith("other.log") and "and 1 more log" in found.problem, "one finding, however many logs"


def test_archives_from_the_future(here, look):
    """A clock that was ahead at a rotation: dates of archives to come are told, apart from the log's own time."""
    here.log()
    (here.logs / "app.log-20990101T000000Z.zst").touch()
    found = only(look("clock.time"))
    assert found.subject.endswith("app.log-20990101T000000Z.zst") and "is of 2099-01-01" in found.problem
    (here.logs / "app.log-20990101T000000Z-1.zst").touch()
    assert "and 1 more archive" in only(look("clock.time")).problem, "also one that only got the date of that before"


def test_runs_from_the_future(here, look):
    """And by the history."""
    here.log()
    here.run(time.time() + 86400)
    os.utime(here.logs / "app.log")
    assert only(look("clock.time")).subject == "history"


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
    crontab.unlink()
    assert not names_it(days=0.09)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("logrotor.service", "[Service]\nExecStart=/opt/logrotor/bin/logrotor run -c {file}\n"),
        ("rotation.conf", "[program:rotation]\ncommand = logrotor queue worker --schedule -c {file}\n"),
    ],
    ids=["timer", "worker"],
)
def test_a_timer_or_a_worker_that_runs_it(here, name, text):
    """What a timer starts and a supervised worker are told by their name, with when it last ran."""
    place = here.folder / name
    place.write_text(text.format(file=here.file))

    def looked(days: float = 0) -> list[Finding]:
        moment = datetime.now(UTC) + timedelta(days=days)
        return list(setup.runs(here.seen(moment), [str(place)]))

    assert str(place) in only(looked()).problem
    here.run()
    assert looked(days=2) == [] and str(place) in only(looked(days=9)).problem


def test_metrics_that_nobody_finds(here, look, logrotor):
    """A missing directory, a file that is older than the last run."""
    here.configure('[metrics]\ntextfile = "nowhere/logrotor.prom"')
    assert "nowhere does not exist" in only(look("metrics")).problem
    here.configure('[metrics]\ntextfile = "logrotor.prom"')
    assert look("metrics") == []
    here.run()  # by the library, which writes none
    assert "the last run did not write it" in only(look("metrics")).problem
    logrotor("run", code=0)
    assert look("metrics") == []


def test_files_that_may_not_be_read_are_left_out(tmp_path: Path):
    """A crontab of root is nobody else's business."""
    assert setup.named_in([str(tmp_path / "nothing"), str(tmp_path)]) == []


def test_a_page_that_has_no_place(here, look, logrotor):
    """A missing directory, or a file there that is something else."""
    here.configure('[page]\nfile = "nowhere/page.html"')
    assert "nowhere does not exist" in only(look("page")).problem
    here.configure('[page]\nfile = "logs/app.log"')
    here.log()
    assert "not a page of logrotor" in only(look("page")).problem
    here.configure('[page]\nfile = "page.html"')
    assert look("page") == []
    logrotor("run", code=0)
    assert look("page") == []
