"""Rotation never stops without a word: what was seen before and is not now, or cannot be looked at, is said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support import command, mounts, users
from tests.support.deployment import Deployment, listing
from tests.support.need import need
from tests.support.oracle import lines

LOCALES = {
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "utf-8": {"LC_ALL": "C.UTF-8"},
}


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("locale", LOCALES)
def test_a_name_beyond_ascii_is_found_in_each_locale(own: Deployment, locale: str) -> None:
    """By a path, by a glob, as an argument of a hook: names are UTF-8 as the configuration is."""
    folder, env = own.folder("prötokolle"), LOCALES[locale]
    for name in ("größe.log", "zählung.log"):
        (folder / name).write_bytes(lines("w1", 1, 50))
    hook = ["/usr/bin/touch", str(folder / "getan-ü")]
    paths = [folder / "größe.log", folder / "zä*.log"]
    own.configure({"name": "größe", "paths": paths, "max_size": 100, "on_archive": hook})
    own.command("check", env=env)
    assert [log["due"] for log in own.command("plan", "--json", env=env).json["logs"]] != []
    own.run("--only", "größe", env=env)
    assert [name for name in listing(folder) if not name.endswith(".log")] == [
        "getan-ü", "größe.log.1.zst", "zählung.log.1.zst"
    ]  # fmt: skip
    for args in (("status",), ("doctor", "--only", "directories.logs"), ("history",), ("page", "-o", "-")):
        own.command(*args, env=env)
    assert own.command("cat", folder / "größe.log", env=env).stdout.encode() == lines("w1", 1, 50)


def test_what_has_no_name_in_the_encoding_is_a_mistake(own: Deployment) -> None:
    """A rule of a dict with half a surrogate names no file; the other rules run."""
    from logrotor import load_config

    rules = [{"name": name, "paths": [f"/srv/{name}.log"], "max_size": 1} for name in ("a", "b\ud800")]
    config = load_config({"state_dir": os.fspath(own.state), "log": rules}, environ={})
    assert [spec.name for spec in config.logs] == ["a"] and {p.key for p in config.problems} == {
        "log[2].name", "log[2].paths"
    }  # fmt: skip


# ---------------------------------------------------------------- folders that cannot be looked into


def subjects(found: list[dict[str, Any]]) -> list[str]:
    return [each["subject"] for each in found]


def doctor(site: Deployment, check: int = 1) -> list[str]:
    report = site.json("doctor", "--only", "directories.logs", check=check)
    return [finding["subject"] for check in report["checks"] for finding in check["findings"]]


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("*/logs/app.log", "a1/logs"),
        ("**/app.log", "a1"),
        ("a*/*/*.log", "a1"),
        ("**/logs/*.log", "a1"),
        ("a*/logs/*", "a1/logs"),
    ],
)
def test_a_folder_that_can_no_longer_be_listed(site: Deployment, pattern: str, named: str) -> None:
    """Wherever it stands in the glob: run, plan, status and doctor name it, and the other logs are rotated."""
    shut, unknown = site.folder("a1"), f"{site.root}/{named}"
    for place in (site.folder("a1/logs"), site.folder("a2/logs")):
        site.file(place / "app.log", lines("w1", 1, 50))
    rule = {"name": "app", "paths": [site.root / pattern], "max_size": 100}
    site.configure(rule)
    site.run()
    shut.chmod(0)
    site.file("a2/logs/app.log", lines("w1", 51, 100))
    assert subjects(site.problems()) == [unknown]
    assert "app.log.2.zst" in listing(site.root / "a2/logs")
    assert subjects(site.json("plan", check=1)["problems"]) == [unknown]
    assert subjects(site.json("status")["problems"]) == [unknown]
    assert doctor(site) == [unknown]
    site.command("status", "--check", check=1)
    site.configure({**rule, "exclude": [f"{shut}/*"]})
    site.run()
    assert doctor(site, check=0) == []
    shut.chmod(0o755)


def test_a_link_in_a_circle_hides_no_other_folder(own: Deployment) -> None:
    """Nor one to nowhere: the folders listed after it are found, and nothing is wrong."""
    for name in ("a", "m", "z"):
        (own.folder(name) / "app.log").write_bytes(lines("w1", 1, 50))
    for name in ("loop", "nowhere"):
        (own.root / name).symlink_to(own.root / ("loop" if name == "loop" else "none"))
    own.configure({"name": "app", "paths": [own.root / "*/app.log"], "max_size": 100})
    assert own.report()["plan"]["problems"] == []
    assert all(listing(own.root / name) == ["app.log", "app.log.1.zst"] for name in ("a", "m", "z"))


def test_a_link_to_where_nobody_may_look_hides_no_other_folder(site: Deployment) -> None:
    """What it leads to is unknown, and said; what is listed after it is rotated."""
    for name in ("a", "z"):
        site.file(site.folder(name) / "app.log", lines("w1", 1, 50))
    (site.root / "m").symlink_to("/root/somewhere")
    site.own(site.root / "m")
    site.configure({"name": "app", "paths": [site.root / "*/app.log"], "max_size": 100})
    assert subjects(site.problems()) == [f"{site.root}/m"]
    assert listing(site.root / "a") == listing(site.root / "z") == ["app.log", "app.log.1.zst"]


# ---------------------------------------------------------------- what was there and is not


def vanished(site: Deployment) -> list[str]:
    return [each["directory"] for each in site.json("plan")["vanished"]]


def test_a_folder_whose_logs_are_gone_is_said_once(own: Deployment) -> None:
    """Unmounted or removed: a warning once, exit 0; --check only where its rule has no log left. Once back, an end."""
    for name in ("a", "b"):
        (own.folder(f"{name}/logs") / "app.log").write_bytes(lines("w1", 1, 50))
    own.configure({"name": "app", "paths": [own.root / "*/logs/*.log"], "max_size": 100})
    assert own.run().stderr == "" and vanished(own) == []
    (own.root / "a").rename(own.root / ".away")
    told = [json.loads(line) for line in own.run().stderr.splitlines()]
    assert [(e["event"], e["level"], e["logs"]) for e in told] == [("logs.vanished", "warning", 1)]
    assert own.run().stderr == "" and vanished(own) == [f"{own.root}/a/logs"]
    assert doctor(own) == [f"{own.root}/a/logs"]
    own.command("status", "--check")
    (own.root / "b/logs").rename(own.root / ".kept")
    own.folder("b/logs")  # as an empty mount point
    told = [json.loads(line) for line in own.run().stderr.splitlines()]
    assert [e["event"] for e in told] == ["logs.vanished"]
    own.command("status", "--check", check=1)
    (own.root / ".away").rename(own.root / "a")
    (own.root / "b/logs").rmdir()
    (own.root / ".kept").rename(own.root / "b/logs")
    ended = [json.loads(line) for line in own.run().stderr.splitlines()]
    assert [e["event"] for e in ended] == ["problem.ended"] * 2
    own.command("status", "--check")


def test_a_log_that_is_gone_alone_is_not_worth_a_word(own: Deployment) -> None:
    """It may be removed, with others or with archives beside it, or taken by a run that creates none."""
    folder = own.folder("logs")
    for name in ("a.log", "b.log"):
        (folder / name).write_bytes(lines("w1", 1, 50))
    rule = {"name": "app", "paths": [folder / "*.log", folder / "b.log"], "max_size": 100}
    own.configure(rule)
    own.run()
    (folder / "a.log").unlink()
    (folder / "a.log.1.zst").unlink()
    assert own.run().stderr == "" and vanished(own) == []
    (folder / "b.log").unlink()
    assert own.run().stderr == "" and vanished(own) == []
    own.configure({**rule, "create": False})
    (folder / "b.log.1.zst").unlink()
    assert own.run().stderr == "" and vanished(own) == []


# ---------------------------------------------------------------- archive directories


@pytest.mark.parametrize("method", ["rename", "copytruncate"])
def test_an_archive_dir_that_is_read_only_stops_no_log(own: Deployment, method: str) -> None:
    """With archives in it: new ones wait beside the log, with exit 1; once it can be written they go on, in order."""
    logs, away = own.folder("logs"), own.folder("away")
    need(method == "rename" or mounts.collapses(logs), "a file system that can collapse a range")
    rule = {"name": "app", "paths": [logs / "app.log"], "max_size": 100, "archive_dir": str(away), "method": method}
    own.configure({**rule, "backup_count": 3})

    def rotate(number: int, code: int) -> None:
        with (logs / "app.log").open("ab") as log:
            log.write(lines("w1", 10 * number + 1, 10 * number + 10))
        own.run("--force", check=code)

    for number in range(2):
        rotate(number, 0)
    assert listing(away) == ["app.log.1.zst", "app.log.2.zst"]
    with mounts.read_only(away):
        for number in range(2, 4):
            rotate(number, 1)
        assert own.command("cat", logs / "app.log").stdout.encode() == lines("w1", 1, 40)
    assert listing(logs) == ["app.log", "app.log.1", "app.log.2"]
    rotate(4, 0)
    assert (listing(logs), listing(away)) == (["app.log"], ["app.log.1.zst", "app.log.2.zst", "app.log.3.zst"])
    assert own.command("cat", logs / "app.log").stdout.encode() == lines("w1", 21, 50)


# ---------------------------------------------------------------- file systems that do not answer


def commands(site: Deployment) -> list[tuple[str, ...]]:
    return [
        ("run",), ("run", "--only", "ok"), ("plan",), ("plan", str(site.root / "ok/app.log")), ("check",), ("status",),
        ("status", "--check"), ("doctor",), ("history",), ("page", "-o", "-"), ("cat", str(site.root / "ok/app.log")),
        ("verify",), ("verify", str(site.root / "ok/app.log")),
    ]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("mounted", [mounts.silent, mounts.deaf], ids=["stopped", "deaf"])
def test_a_mount_that_hangs_holds_up_no_other_log(
    own: Deployment, mounted: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    """Reached by a path, a glob, a link, an archive_dir, from the folder above: it is said, and every command ends."""
    ok = own.folder("ok")
    with mounted(own.root) as place:
        (own.root / "link").symlink_to(place / "sub")
        away, paths = place / "away", [place / "app.log", place / "*.log", own.root / "**/y.log", own.root / "l*/*.log"]
        own.configure(
            {"name": "ok", "paths": [ok / "*.log", own.root / "*.log"], "max_size": 100},
            {"name": "kept", "paths": [own.folder("kept") / "app.log"], "max_size": 100, "archive_dir": str(away)},
            {"name": "bad", "paths": paths, "max_size": 100},
        )
        for log in (ok / "app.log", own.root / "kept/app.log"):
            log.write_bytes(lines("w1", 1, 50))
        found = own.problems()
        assert {each["subject"] for each in found} == {str(place), str(away)}
        assert listing(ok) == listing(own.root / "kept") == ["app.log", "app.log.1.zst"]
        for args in commands(own):
            own.command(*args, check={0, 1}, timeout=20)
        assert own.command("status", "--check", check=1).stdout
        waiting = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert waiting.count(f"stat -f {place}") <= 1, "runs leave no more than one behind"


@pytest.mark.parametrize(
    "args",
    [
        ("run",),
        *(
            pytest.param((each,), marks=pytest.mark.long)
            for each in ("plan", "check", "status", "doctor", "page", "history", "verify", "cat")
        ),
    ],
)
def test_a_state_directory_that_hangs(state_away: Deployment, args: tuple[str, ...]) -> None:
    """Nothing can run without it: each command says so and ends, and the log is as it was."""
    more = (str(state_away.root / "logs/app.log"),) if args == ("cat",) else ()
    done = state_away.command(*args, *more, check=2, timeout=20)
    assert str(state_away.state) in done.stderr and str(state_away.state.parent) in done.stderr
    assert listing(state_away.root / "logs") == ["app.log"]


def test_a_state_directory_that_hangs_for_the_library(state_away: Deployment) -> None:
    """A plan, a run, and what jobs look up and remember: each raises."""
    ask = (
        "import sys; from logrotor import Rotator, load_config; from logrotor.errors import LogrotorError\n"
        "from logrotor.disk.history import History\n"
        "config = load_config(sys.argv[1]); history = History(config.state_dir)\n"
        "for ask in (Rotator(config).plan, Rotator(config).run, history.runs, lambda: history.attempts_since(0),\n"
        "            lambda: history.prune_attempts(0)):\n"
        "    try:\n        ask()\n    except LogrotorError as error:\n        print(type(error).__name__)\n"
    )
    done = command.run([sys.executable, "-c", ask, state_away.config], timeout=30, check=0)
    assert done.stdout.split() == ["StateError", "StateError", "HistoryUnread", "HistoryUnusable", "HistoryUnusable"]


# What a configuration may name besides logs and the state; how a run that cannot reach it ends.
AWAY = {
    "metrics": ('[metrics]\ntextfile = "{place}/x.prom"\n', 1),
    "page": ('[page]\nfile = "{place}/x.html"\n', 1),
    "pidfile": ('[reopen.a]\nmanager = "pidfile"\npidfile = "{place}/pid"\nsignal = "USR1"\n', 0),
    "command": ('[reopen.a]\nmanager = "command"\ncommand = ["{place}/program"]\n', 0),
    "hook": ('[defaults]\non_archive = ["{place}/program"]\n', 1),
    "include": ('include = ["{place}/*.toml"]\n', 1),
}


@pytest.mark.parametrize("what", [pytest.param(name, marks=[pytest.mark.long] * (name != "metrics")) for name in AWAY])
def test_what_else_a_configuration_names_hangs(own: Deployment, what: str) -> None:
    """The log is rotated all the same, and each command ends; where nobody writes the log, nobody need be asked."""
    log = own.folder("logs") / "app.log"
    log.write_bytes(lines("w1", 1, 50))
    text, code = AWAY[what]
    rule = {"name": "app", "paths": [log], "max_size": 100}
    with mounts.silent(own.root) as place:
        own.configure(text.format(place=place), {**rule, "reopen": "a"} if "reopen.a" in text else rule)
        done = own.run(check=code, timeout=20)
        assert listing(log.parent) == ["app.log", "app.log.1.zst"]
        assert code == 0 or str(place) in done.stderr
        for name in ("check", "doctor", "status", "plan"):
            own.command(name, check={0, 1}, timeout=20)


def test_a_configuration_that_hangs(own: Deployment) -> None:
    with mounts.silent(own.root) as place:
        done = command.logrotor("run", "-c", place / "logrotor.toml", check=2, timeout=20)
        assert str(place) in done.stderr


@pytest.fixture
def state_away(own: Deployment) -> Iterator[Deployment]:
    """A deployment whose state directory lies on a mount that hangs."""
    log = own.folder("logs") / "app.log"
    log.write_bytes(lines("w1", 1, 50))
    with mounts.silent(own.root) as place:
        own.state = place / "state"
        own.configure({"name": "app", "paths": [log], "max_size": 100})
        yield own


@pytest.mark.parametrize("limits", ["no stat", "no process"])
def test_a_mount_that_nobody_can_ask(own: Deployment, limits: str) -> None:
    """Without stat(1) a Python asks; where no process can be started at all, nothing is known, and that is no yes."""
    ask = (
        "import resource, sys; from logrotor.disk.mounts import Mounts\n"
        "if sys.argv[2] == 'no process': resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n"
        "print([found is None or found.kind for found in map(Mounts().why_silent, sys.argv[1:2] + ['/'])])"
    )
    hide = f"mount --bind /dev/null {shutil.which('stat')}" if limits == "no stat" else ""
    with mounts.silent(own.root) as place:
        argv = users.as_argv("www-data", [sys.executable, "-c", ask, place, limits], mount=hide)
        assert command.run(argv, timeout=30, check=0).stdout.strip() == "['silent', True]"
    if limits == "no stat":
        with mounts.answering(own.root) as place:
            argv = users.as_argv("root", [sys.executable, "-c", ask, place, limits], mount=hide)
            assert command.run(argv, timeout=30, check=0).stdout.strip() == "[True, True]"


def test_what_is_open_on_a_mount_that_hangs_is_passed_over(own: Deployment) -> None:
    """Who writes an archive elsewhere is found out among all open files, and no server is asked for that."""
    look = "from logrotor.disk.writers import Processes as P; print(P.look().unseen)"
    with mounts.silent(own.root, opened="app.log"):
        told = command.run([sys.executable, "-c", look], timeout=20, check=0)
    assert told.stdout


@pytest.mark.long
def test_a_run_does_not_wait_for_long_behind_one_that_hangs(own: Deployment) -> None:
    """One that is stopped with the lock held: the next one ends with exit 3, and does not wait beside it."""
    log = own.folder("logs") / "app.log"
    own.configure("lock_timeout = 1", {"name": "app", "paths": [log], "max_size": 100, "on_archive": ["/bin/true"]})
    log.write_bytes(lines("w1", 1, 50))
    own.run()
    with (own.state / "lock").open("a") as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        log.write_bytes(lines("w1", 51, 100))
        begun = time.monotonic()
        assert own.run(check=3).code == 3 and time.monotonic() - begun < 60


def test_a_link_in_place_of_a_rotated_log(tmp_path: Path) -> None:
    """A log that was moved to another disk, with a link left behind: a pattern finds it, and it is no latest.log."""
    logs, moved = tmp_path / "logs", tmp_path / "moved"
    logs.mkdir()
    moved.mkdir()
    (logs / "a.log").write_bytes(b"a line\n" * 100)
    (logs / "latest.log").symlink_to("a.log")
    config = tmp_path / "logrotor.toml"
    rule = f'[[log]]\nname = "a"\npaths = ["{logs}/*.log"]\nmax_size = 10\n'
    config.write_text(f'state_dir = "{tmp_path}/state"\n{rule}')
    assert command.logrotor("run", "-c", config, check=0).code == 0
    (logs / "a.log").rename(moved / "a.log")
    (logs / "a.log").symlink_to(moved / "a.log")
    plan = command.logrotor("plan", "--json", "-c", config, check=1).json
    assert [log["path"] for log in plan["logs"] if log["refused"]] == [str(logs / "a.log")]
    assert len(plan["skipped"]) == 1 and str(logs / "latest.log") in str(plan["skipped"])
    assert command.logrotor("run", "-c", config, check=1).code == 1
    assert command.logrotor("status", "--check", "-c", config, check=1).code == 1
