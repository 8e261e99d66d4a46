"""Looked at by the wrong user: what is not known is said, nothing is made up, and no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from logrotor.disk import proc
from tests.support import command, users
from tests.support.need import need


@pytest.fixture
def ask(here):
    def run(user: str, *words: str) -> command.Result:
        return command.logrotor(*words, "-c", here.file, user=user)

    return run


def test_an_ordinary_user_in_roots_deployment(here, ask):
    """The state directory is root's alone: each command says whom to ask, and judges nothing by our own rights."""
    here.log()
    here.run()
    for words in (("status",), ("status", "--check"), ("plan",), ("run", "--dry-run")):
        told = ask("www-data", *words)
        assert (told.code, told.stdout) == (2, "") and f"sudo -u root logrotor {words[0]} " in told.stderr
        assert ("--dry-run" in told.stderr) == ("--dry-run" in words)
    check = ask("www-data", "check", "--json")
    assert (check.code, check.json["another"], check.json["hindered"]) == (0, "root", [])
    assert f"sudo -u root logrotor check -c {here.file}" in ask("www-data", "check").stdout
    assert str(here.state) in (history := ask("www-data", "history")).stderr and history.code == 2
    doctor = ask("www-data", "doctor")
    assert doctor.code == 2 and "sudo -u root logrotor doctor" in doctor.stderr and doctor.stdout == ""
    verify = ask("www-data", "verify", "--json")
    assert verify.code == 1 and [a["state"] for a in verify.json["archives"]] == ["unreadable", "no record"]
    assert ask("www-data", "cat", "app.log").stdout.count("\n") == 20_000 // 32


def test_root_in_the_deployment_of_a_user(here, ask):
    """Root is told which run_as to set; refused directories are no sound archives."""
    here.log()
    owner = users.user("www-data")
    for path in (here.logs, *here.logs.iterdir()):
        os.chown(path, owner.uid, owner.gid)
    for words in (("status",), ("doctor",), ("verify",)):
        told = ask("root", *words)
        assert 'run_as = "www-data"' in told.stdout and "unexpected" not in told.stdout + told.stderr, words
    assert ask("root", "verify").code == 1
    assert 'run_as = "www-data"' in (cat := ask("root", "cat", "app.log")).stderr and cat.code == 2
    here.configure(head='run_as = "www-data"')
    here.state.mkdir(mode=0o700)
    os.chown(here.state, owner.uid, owner.gid)
    assert ask("root", "cat", "app.log").code == 0 and ask("root", "verify").code == 0


def test_an_ordinary_user_with_a_healthy_deployment(here, ask):
    """Its doctor finds nothing and changes nothing; a folder or an archive that may not be read is told by each."""
    owner = users.user("www-data")
    here.log()
    for path in (here.folder, here.logs, *here.logs.iterdir()):
        os.chown(path, owner.uid, owner.gid)
    assert ask("www-data", "run").code == 0
    before = _snapshot(here.folder)
    told = ask("www-data", "doctor", "--fix", "--yes")
    assert told.code == 0 and _snapshot(here.folder) == before
    (here.logs / "app.log.1.zst").chmod(0)
    for words, code in ((("verify",), 1), (("cat", "app.log"), 1), (("grep", "line", "app.log"), 2)):
        told = ask("www-data", *words)
        assert told.code == code and "app.log.1.zst: " in told.stdout + told.stderr, words
        assert ": Permission denied; ask as the user who runs logrotor" in told.stdout + told.stderr, words
    here.logs.chmod(0)
    for words in (("verify",), ("status", "--check"), ("doctor",)):
        told = ask("www-data", *words)
        assert told.code == 1 and "Permission denied" in told.stdout and "unexpected" not in told.stdout, words
        assert "let www-data enter and list it, or run logrotor as its owner" in told.stdout, words
    here.logs.chmod(0o755)


def _snapshot(folder):
    found = [folder, *sorted(folder.rglob("*"))]
    return [(path, (s := path.lstat()).st_mode, s.st_uid, s.st_ino, s.st_size, s.st_mtime_ns) for path in found]


# ---------------------------------------------------------------- processes of strangers


@contextmanager
def a_process(argv: list[str], **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of nobody's that waits; ``argv`` is what /proc shows of it once it has said so."""
    wait = "import time; print(flush=True); time.sleep(600)"
    words, environ = users.as_argv("nobody", ["/usr/bin/python3", "-c", wait, *argv]), {"PATH": os.environ["PATH"]}
    process = subprocess.Popen(words, env={**environ, **variables}, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def trap(here):
    """A FIFO that nobody writes: whoever reads it waits for ever."""
    here.folder.chmod(0o755)
    os.mkfifo(here.folder / "trap", 0o666)
    return here.folder / "trap"


@pytest.mark.parametrize("command_line", [["logrotor.jobs.engines.huey.app"], ["logrotor", "queue", "schedule"]])
def test_what_a_strangers_worker_names_is_not_read(here, ask, trap, command_line):
    """The right words in the arguments, and a FIFO as LOGROTOR_CONFIG: doctor hung, and with [page] every run."""
    here.configure(f'[queue]\nhost = "h"\n[page]\nfile = "{here.folder}/page.html"')
    here.log()
    with a_process(command_line, LOGROTOR_CONFIG=str(trap)) as stranger:
        for words in (("doctor", "--json"), ("run",), ("page", "-o", "-")):
            told = command.logrotor(*words, "-c", here.file, timeout=30)
            assert f"process {stranger.pid}" not in told.stdout and "unexpected" not in told.stdout + told.stderr
    assert (here.folder / "page.html").exists()


def test_nor_what_one_names_who_started_a_program_of_roots(here, trap):
    """A set-user-ID program is root's, and its arguments and environment are the stranger's."""
    here.configure('[queue]\nhost = "h"')
    program = here.folder / "program"
    shutil.copy(os.path.realpath("/usr/bin/python3"), program)
    program.chmod(0o4755)
    wait = "import time; print(flush=True); time.sleep(600)"
    argv = [str(program), "-c", wait, "logrotor.jobs.engines.huey.app"]
    need(not os.statvfs(here.folder).f_flag & os.ST_NOSUID, "a file system with set-user-ID programs")
    environ = {"PATH": os.environ["PATH"], "LOGROTOR_CONFIG": str(trap)}
    argv = ["setpriv", "--reuid=65534", "--clear-groups", *argv]
    process = subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        seen = proc.look(process.pid)
        assert (seen.uid, seen.real, seen.is_believed) == (0, 65534, False)
        told = command.logrotor("doctor", "--only", "queue", "--json", "-c", here.file, timeout=30)
        assert f"process {process.pid}" not in told.stdout
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("owner", ["root", "nobody"])
def test_what_a_strangers_supervisord_names_is_not_read(here, ask, trap, owner):
    """It is said that it was not, where it could rotate a log of ours, and has one open there."""
    here.log()
    shutil.chown(here.logs, owner)
    script = here.folder / "supervisord"
    script.write_text(
        "import sys, time; opened = [open(p, 'a') for p in sys.argv[3:]]; print(flush=True); time.sleep(600)"
    )
    held = [here.logs / "worker.log"] if owner == "nobody" else []  # as a supervisord has the logs of its programs
    argv = users.as_argv("nobody", ["/usr/bin/python3", script, "-c", trap, *held])
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        told = command.logrotor("doctor", "--only", "reopen", "--json", "-c", here.file, timeout=30).json
        found = [each for check in told["checks"] for each in check["findings"]]  # other tests have their supervisords
        assert ["nobody" in each["problem"] for each in found if str(process.pid) in each["subject"]] == [True] * (
            owner == "nobody"
        )
    finally:
        process.kill()
        process.communicate()
