"""Looked at by the wrong user: what is not known is said, nothing is made up, and no traceback."""

from __future__ import annotations

import os

import pytest

from tests.support import command, users


@pytest.fixture
def ask(here):
    def run(user: str, *words: str) -> command.Result:
        return command.logrotor(*words, "-c", here.file, user=user)

    return run


def test_an_ordinary_user_in_roots_deployment(here, ask):
    """The state directory is root's alone: status and doctor tell the rest, history says whom to ask."""
    here.log()
    here.run()
    told = ask("www-data", "status", "--json")
    assert told.code == 0 and told.stderr == "" and len(told.json["logs"]) == len(told.json["problems"]) == 1
    assert str(here.state) in (history := ask("www-data", "history")).stderr and history.code == 2
    doctor = ask("www-data", "doctor")
    assert doctor.code == 1 and "state.directory: " in doctor.stdout and "unexpected" not in doctor.stdout
    assert [archive["recorded"] for archive in ask("www-data", "verify", "--json").json["archives"]] == [False]
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
        assert told.code == code and "app.log.1.zst: Permission denied" in told.stdout + told.stderr, words
        assert "; ask as the user who runs logrotor" in told.stdout + told.stderr, words
    here.logs.chmod(0)
    for words in (("verify",), ("status", "--check"), ("doctor",)):
        told = ask("www-data", *words)
        assert told.code == 1 and "Permission denied" in told.stdout and "unexpected" not in told.stdout, words
        assert "let www-data enter and list it, or run logrotor as its owner" in told.stdout, words
    here.logs.chmod(0o755)


def _snapshot(folder):
    found = [folder, *sorted(folder.rglob("*"))]
    return [(path, (s := path.lstat()).st_mode, s.st_uid, s.st_ino, s.st_size, s.st_mtime_ns) for path in found]
