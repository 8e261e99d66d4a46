"""One deployment has one user and one environment: whoever else asks gets that user's answer, or is told whom to be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.bench import URL_VARIABLE, Host
from tests.support import command, users
from tests.support.fixtures import world_tree
from tests.support.need import need

pytestmark = pytest.mark.timeout(120)
USER = "www-data"


@pytest.fixture
def here() -> Iterator[Host]:
    """The configuration is root's, the logs and the state www-data's: as in an image, or under /etc."""
    need(os.geteuid() == 0, "root, to become other users")
    with world_tree() as folder:
        host = Host(folder / "app", "huey", str(folder / "app" / "state" / "queue.sqlite"), "web")
        (host.folder / "state").mkdir(mode=0o700)
        host.grow()
        for each in (host.folder / "logs", host.log, host.folder / "state"):
            shutil.chown(each, USER, USER)
        command.logrotor("run", "-c", host.config, user=USER, check=0)
        yield host


def state_of(host: Host) -> set[str]:
    """Who owns what lies there."""
    return {path.owner() for path in (host.folder / "state").iterdir()}


@pytest.mark.parametrize("words", ["status", "plan", "history", "queue status", "queue failed", "doctor --only state"])
def test_root_gets_the_answer_of_the_user(here: Host, words: str) -> None:
    """`docker exec` is root: what it sees is what www-data would, nothing of root's is left there, and a message says
    who answers. No advice takes anything from www-data."""
    said = command.logrotor(*words.split(), "-c", here.config, env=here.variables, check=0)
    as_user = command.logrotor(*words.split(), "-c", here.config, env=here.variables, user=USER, check=0)
    assert USER in said.stderr and as_user.stderr == ""
    assert _seen(said.stdout) == _seen(as_user.stdout)
    assert state_of(here) == {USER}


def _seen(stdout: str) -> list[str]:
    """Without the time of asking, and without what other programs do to the disk."""
    lines = [line for line in stdout.splitlines()[1:] if "inodes" not in line]
    return [line.partition(" at ")[0].partition("next tick: in ")[0] for line in lines]


def test_no_advice_gives_anything_to_root(here: Host) -> None:
    """The doctor's `chown root .../lock` stopped the real user."""
    (here.folder / "state" / "lock").touch(mode=0o600)
    shutil.chown(here.folder / "state" / "lock", USER, USER)
    said = command.logrotor("doctor", "-c", here.config, env=here.variables)
    assert "chown" not in said.stdout and "belongs to" not in said.stdout
    (here.folder / "state" / "last-run").unlink()
    (here.folder / "state" / "last-run").touch(mode=0o600)  # root's: www-data cannot write it
    args = ("doctor", "--only", "state.files", "-c", here.config)
    (check,) = command.logrotor(*args, "--json", env=here.variables, user=USER, check=1).json["checks"]
    assert [found["advice"].rpartition(": ")[2] for found in check["findings"]] == [f"rm {here.folder}/state/last-run"]


@pytest.mark.parametrize(
    "words", ["queue status", "queue failed", "queue restart", "queue dispatch", "doctor", "status", "plan"]
)
def test_a_monitoring_user_is_told_whom_to_be(here: Host, words: str) -> None:
    """One sentence, with the command; no nine findings of which none is true."""
    said = command.logrotor(*words.split(), "-c", here.config, env=here.variables, user="nobody", check=2)
    assert said.stdout == "" and len(said.stderr.splitlines()) == 1
    assert f"sudo -u {USER} logrotor {words} -c {here.config}" in said.stderr


def test_a_worker_is_no_question(here: Host) -> None:
    """Root's environment would be www-data's to read: root does not become that user without run_as."""
    for words in ("worker", "schedule"):
        process = command.start(command.arguments("queue", words, "-c", here.config), env=here.variables)
        assert process.stderr is not None
        told = json.loads(process.stderr.readline())
        command.end(process)
        assert told["event"] == "worker.waiting" and f"sudo -u {USER} logrotor queue {words}" in told["error"]


def test_the_unit_is_for_the_user(here: Host) -> None:
    """Root's configuration, www-data's state directory: so www-data runs it."""
    told = command.logrotor("queue", "unit", "--supervisor", "-c", here.config, "--json", check=0).json
    assert told["user"] == USER and f"user = {USER}\n" in told["text"]


def test_run_as_names_the_user(here: Host) -> None:
    """With run_as nothing is guessed; without a state_dir it is that user's own, since nobody has made root's."""
    text = here.config.read_text().replace('state_dir = "state"', f'run_as = "{USER}"')
    here.config.write_text(text)
    found = command.logrotor("check", "-c", here.config, "--json", env=here.variables).json["config"]["state_dir"]
    theirs = command.logrotor("check", "-c", here.config, "--json", user=USER, env=here.variables)
    assert found == theirs.json["config"]["state_dir"] != "/root/.local/state/logrotor"


@pytest.mark.servers
def test_a_shell_without_the_environment(here: Host) -> None:
    """`env:NAME` is only where the worker is: it is taken from there, since its user asks. Without a worker: exit 2."""
    assert URL_VARIABLE in command.logrotor("queue", "status", "-c", here.config, user=USER, check=2).stderr
    argv = users.as_argv(USER, command.arguments("queue", "worker", "-c", here.config))
    worker = subprocess.Popen(argv, env=command.environment(here.environ), cwd="/", start_new_session=True)
    try:
        here.wait_for(lambda: command.logrotor("queue", "status", "-c", here.config, user=USER).code == 0)
        job = command.logrotor("queue", "dispatch", "-c", here.config, check=0).stdout.strip()
        here.wait_for(lambda: any(a.job == job and a.ending == "done" for a in here.attempts()))
        (check,) = command.logrotor("doctor", "--only", "queue.fresh", "--json", "-c", here.config, check=0).json[
            "checks"
        ]
        assert check["findings"] == []
        said = command.logrotor("queue", "restart", "-c", here.config, check=0).stdout
        assert f"process {worker.pid}" in said
    finally:
        here.stop(worker)


@pytest.mark.servers
def test_a_worker_of_another_user_is_seen(here: Host) -> None:
    """It cannot do its jobs, and is not ours to end: the doctor names it, with its user."""
    script = here.folder / "logrotor"  # what ps shows of one that another user has started, whatever it does then
    argv = users.as_argv(
        "nobody", ["/usr/bin/python3", "-c", "import time; time.sleep(60)", str(script), "queue", "worker"]
    )
    worker = subprocess.Popen([*argv, f"--config={here.config}"], cwd="/", start_new_session=True)
    try:
        args = ("doctor", "--only", "queue.agreement", "--json", "-c", here.config)
        here.wait_for(lambda: "as nobody" in command.logrotor(*args, env=here.variables, user=USER).stdout)
        command.logrotor("doctor", "--fix", "--yes", "-c", here.config, env=here.variables, user=USER, check=1)
        assert worker.poll() is None
    finally:
        here.kill(worker)


@pytest.mark.parametrize("written", ["file:queue.url", "file:{folder}/queue.url"])
def test_the_url_in_a_file(here: Host, written: str) -> None:
    """Beside the configuration, for its user alone: every command of his finds it, whatever the environment."""
    text = here.config.read_text().replace(f"env:{URL_VARIABLE}", written.format(folder=here.folder))
    here.config.write_text(text)
    secret = here.folder / "queue.url"
    secret.write_text(f"{here.url}\n")
    secret.chmod(0o600)
    shutil.chown(secret, USER, USER)
    found = command.logrotor("queue", "status", "--json", "-c", here.config, check=0)
    assert found.json["url"] == here.url
    assert Path(here.url).owner() == USER
    secret.chmod(0o644)
    doctor = ("doctor", "--only", "queue.secret", "-c", here.config)
    command.logrotor(*doctor, check=1)
    command.logrotor(*doctor, "--fix", "--yes", check=0)
    assert secret.stat().st_mode & 0o777 == 0o600
    for content, word in (("", "one line"), ("a\nb\n", "one line")):
        secret.write_text(content)
        assert word in command.logrotor("queue", "status", "-c", here.config, check=2).stderr
    secret.chmod(0o000)
    assert (
        f"{secret} cannot be read by {USER}" in command.logrotor("queue", "status", "-c", here.config, check=2).stderr
    )
    secret.unlink()
    assert str(secret) in command.logrotor("queue", "status", "-c", here.config, check=2).stderr
