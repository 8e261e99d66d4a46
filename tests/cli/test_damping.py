"""A problem that lasts, under cron: told when it begins, changes or ends, and once an hour; never hidden otherwise."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from logrotor.disk import state
from logrotor.disk.history import RunHistory
from tests.support.command import Result, arguments, environment, logrotor
from tests.support.fixtures import world_tree
from tests.support.need import need


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two logs with a second name each, which are refused."""
    (tmp_path / "logs").mkdir()
    for name in ("a.log", "b.log"):
        (tmp_path / "logs" / name).write_bytes(b"a line\n")
        os.link(tmp_path / "logs" / name, tmp_path / name)
    configure(tmp_path)
    return tmp_path


def configure(site: Path, *more: str) -> None:
    rule = '[[log]]\nname = "app"\npaths = ["logs/*.log"]\nmax_size = "1MB"\n'
    (site / "logrotor.toml").write_text("\n".join([f'state_dir = "{site}/state"', *more, rule]))


def run(site: Path, *args: str, check: int = 1) -> list[dict[str, Any]]:
    """What a run prints."""
    found: Result = logrotor("run", *args, "-c", site / "logrotor.toml", check=check)
    return [json.loads(line) for line in found.stderr.splitlines()]


def told(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(e["event"], os.path.basename(e.get("log", e.get("subject", "")))) for e in events]


def ago(site: Path, seconds: float) -> None:
    """All that is remembered was so long ago."""
    memory = site / "state/problems.json"
    known = json.loads(memory.read_bytes())
    for each in known:
        each["since"] -= seconds
        each["printed"] -= seconds
    memory.write_text(json.dumps(known))


def test_told_when_it_begins_and_once_an_hour(site: Path) -> None:
    """The exit code stays 1 in each run; after an hour it is told again, with its begin and the number of runs."""
    assert told(run(site)) == [("log.refused", "a.log"), ("log.refused", "b.log")]
    for _ in range(3):
        assert run(site) == []
    ago(site, 3600)
    again = run(site)
    assert told(again) == [("log.refused", "a.log"), ("log.refused", "b.log")]
    assert [e["runs"] for e in again] == [5, 5] and all(e["since"] for e in again)
    assert run(site) == []
    assert (site / "state/problems.json").stat().st_mode & 0o777 == 0o600


def test_told_when_it_changes_and_when_it_ends(site: Path) -> None:
    """Another problem of the same log replaces the first; what is over is told once, and the next run says nothing."""
    run(site)
    (site / "logs/a.log").unlink()
    os.mkfifo(site / "logs/a.log")
    assert told(run(site)) == [("log.refused", "a.log")]
    assert run(site) == []
    (site / "b.log").unlink()
    ended = run(site)
    assert told(ended) == [("problem.ended", "b.log")]
    assert (ended[0]["problem"], ended[0]["runs"], ended[0]["level"]) == ("log.refused", 3, "warning")
    (site / "logs/a.log").unlink()
    assert told(run(site, check=0)) == [("problem.ended", "a.log")]
    assert run(site, check=0) == []
    os.link(site / "logs/b.log", site / "b.log")
    assert told(run(site)) == [("log.refused", "b.log")]


def test_the_same_problem_in_other_words(site: Path) -> None:
    """A third name changes a number in the sentence, and is no news."""
    run(site)
    os.link(site / "a.log", site / "a.copy")
    assert run(site) == []


@pytest.mark.parametrize("args", [("-v",), ("-vv",), ("--json",)])
def test_whoever_asks_for_more_gets_all_of_it(site: Path, args: tuple[str, ...]) -> None:
    """With -v or --json each run tells everything, and does not count as having told it to cron."""
    for _ in range(2):
        assert ("log.refused", "a.log") in told(run(site, *args))
    assert len(run(site)) == 2


def test_on_a_terminal_each_run_tells_it(site: Path) -> None:
    """Somebody sits there."""
    for _ in range(2):
        assert b"log.refused" in on_a_terminal(site)


def on_a_terminal(site: Path, code: int = 1) -> bytes:
    """What a run prints on a terminal."""
    master, slave = pty.openpty()
    argv = [*arguments("run", "-c", site / "logrotor.toml")]
    process = subprocess.Popen(argv, stderr=slave, cwd=site, env=environment())
    os.close(slave)
    printed = b""
    try:
        while chunk := os.read(master, 4096):
            printed += chunk
    except OSError:  # EIO: the other end is closed
        pass
    os.close(master)
    assert process.wait() == code
    return printed


@pytest.mark.parametrize("rubbish", [b"rubbish", b"", b'[{"scope": 1}]'])
def test_a_memory_that_cannot_be_read(site: Path, rubbish: bytes) -> None:
    """All is told, as if it were new; the next run knows it again."""
    run(site)
    (site / "state/problems.json").write_bytes(rubbish)
    assert len(run(site)) == 2
    assert run(site) == []


def test_a_memory_that_cannot_be_written(site: Path) -> None:
    """All is told in each run: a directory stands where the file would be made."""
    run(site)
    (site / "state/.problems.json.tmp").mkdir()
    for _ in range(2):
        assert len(run(site)) == 2


def test_runs_of_a_part_tell_and_end_their_own(site: Path) -> None:
    """Two cron lines of one state directory, each for one log: neither takes the other's problems for ended."""
    a, b = (("--only", str(site / f"logs/{name}.log")) for name in "ab")
    assert told(run(site, *a)) == [("log.refused", "a.log")]
    assert told(run(site, *b)) == [("log.refused", "b.log")]
    assert run(site, *a) == run(site, *b) == []


def test_plain_text_for_cron(site: Path) -> None:
    """With --log-format console what cron mails is text, before or after the configuration's name."""
    texts = ("--log-format", "console")
    for args in ((*texts, "-c", site / "logrotor.toml"), ("-c", site / "logrotor.toml", "--log-format=console")):
        mail = logrotor("run", *args, check=1).stderr
        assert mail.count("\n") == 2 and "log.refused" in mail and not mail.startswith("{")
        (site / "state/problems.json").unlink()


# ---------------------------------------------------------------- nothing can run


BROKEN = {"syntax": "oops", "key": "oops = 1", "another": 'max_size = "ten"'}


@pytest.mark.parametrize("text", [(), ("--log-format=console",)])
def test_a_broken_configuration_is_told_once(site: Path, text: tuple[str, ...]) -> None:
    """Exit 2 in each run; told when it begins, changes, ends, and once an hour. What the rules had is still known."""
    rule, config = (site / "logrotor.toml").read_text(), site / "logrotor.toml"
    run(site)

    def broken(how: str) -> str:
        config.write_text(f"{rule}{BROKEN[how]}\n".replace('max_size = "1MB"\nmax', "max"))
        return logrotor("run", *text, "-c", config, check=2).stderr

    assert [broken(how).count("\n") for how in ("syntax", "syntax", "key", "key", "another")] == [1, 0, 1, 0, 1]
    ago(site, 3600)
    again = broken("another")
    assert again.count("\n") == 1 and ("2 runs" in again if text else json.loads(again)["runs"] == 2)
    assert broken("another") == ""
    config.write_text(rule)
    assert told(run(site))[-1] == ("problem.ended", "logrotor.toml:5")
    assert run(site) == []


def test_a_broken_configuration_without_a_state_directory_is_told_each_time(site: Path) -> None:
    """Where nothing can be remembered it is printed, and nothing is made."""
    (site / "logrotor.toml").write_text(f'state_dir = "{site}/other"\noops = 1\n')
    for _ in range(2):
        assert logrotor("run", "-c", site / "logrotor.toml", check=2).stderr.count("\n") == 2
    assert not (site / "other").exists()


def test_a_broken_configuration_with_run_as(site: Path) -> None:
    """Its memory belongs to the user that runs are carried out as."""
    need(os.geteuid() == 0, "root, to become another user")
    with world_tree() as home:
        config = home / "logrotor.toml"
        config.write_text('state_dir = "state"\nrun_as = "www-data"\noops = 1\n')
        shutil.chown(config, "www-data")
        state_dir = home / "state"
        state_dir.mkdir(mode=0o700)
        shutil.chown(state_dir, "www-data")
        assert [logrotor("run", "-c", config, check=2).stderr.count("\n") > 0 for _ in range(2)] == [True, False]
        assert (state_dir / "problems.json").owner() == "www-data"


# ---------------------------------------------------------------- another run at work


def test_another_run_at_work_is_no_news(site: Path) -> None:
    """Exit 3 and not a word, since rotation goes on; who asks with -v, or sits at a terminal, is told."""
    configure(site, "lock_timeout = 0.2")
    for name in "ab":
        (site / f"{name}.log").unlink()
    (site / "logs/a.log").write_bytes(b"a line\n" * 300_000)
    with state.locked(str(site / "state"), 1.0, lambda: False):
        need(state.holder(str(site / "state")), "a file system that /proc/locks knows by the number of stat")
        assert run(site, check=3) == []
        assert len(run(site, "-v", check=3)) == 1
        assert b"lock" in on_a_terminal(site, code=3)


def test_a_run_that_hangs_is_news(site: Path) -> None:
    """The run that holds the lock began hours ago, and none has ended since: this one says so."""
    configure(site, "lock_timeout = 0.2")
    for name in "ab":
        (site / f"{name}.log").unlink()
    run(site, check=0)
    history = RunHistory(str(site / "state"))
    history.run_started(time.time() - 7200, forced=False)
    history.close()
    os.utime(site / "state/last-run", (time.time() - 7200,) * 2)
    (site / "logs/a.log").write_bytes(b"a line\n" * 300_000)
    with state.locked(str(site / "state"), 1.0, lambda: False):
        need(state.holder(str(site / "state")), "a file system that /proc/locks knows by the number of stat")
        assert len(run(site, check=3)) == 1
