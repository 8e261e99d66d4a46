"""`logrotor init` on logs that real processes write: what it finds out, what it writes, and that a check is content."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_about import until
from tests.support import supervisor, users
from tests.support.command import Result, arguments, environment, logrotor
from tests.support.need import need
from tests.support.waiting import readable

HANDLERS = {"file": "FileHandler", "watched": "WatchedFileHandler", "rotating": "RotatingFileHandler"}
SCRIPT = """\
import logging, logging.handlers, sys
logging.getLogger().addHandler({handler}(sys.argv[1]))
logging.warning("first")
print("ready", flush=True)
for line in sys.stdin:
    logging.warning(line.strip())
    print("written", flush=True)
"""
MOVES = """\
import os, sys
path = sys.argv[1]
def reopened():
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
fd = reopened()
os.write(fd, b"first\\n")
os.rename(path, path + ".1")
fd = reopened()
os.write(fd, b"second\\n")
print("ready", flush=True)
sys.stdin.read()
"""
TRUNCATES = 'import sys\nfile = open(sys.argv[1], "w")\nprint("ready", flush=True)\nsys.stdin.read()\n'


@contextmanager
def process(folder: Path, name: str, script: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A script that has opened its log, and ends with its standard input."""
    (folder / f"{name}.py").write_text(script)
    argv = [sys.executable, str(folder / f"{name}.py"), str(log)]
    with subprocess.Popen(argv, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdin is not None
        try:
            assert readable([child.stdout], 60) and child.stdout.readline() == b"ready\n"
            yield child
        finally:
            child.kill()


def handler(folder: Path, name: str) -> Any:
    word = HANDLERS[name]
    script = SCRIPT.format(handler=f"logging.{'' if name == 'file' else 'handlers.'}{word}")
    return process(folder, name, script, folder / f"logs/{name}.log")


@pytest.fixture
def site(world: Path) -> Path:
    (world / "logs").mkdir(mode=0o755)
    return world


def init(site: Path, *words: object, code: int = 0, **more: Any) -> Result:
    """In a site with a state directory of its own."""
    env = {"HOME": str(site), "STATE_DIRECTORY": str(site / "state"), **more.pop("env", {})}
    return logrotor("init", *words, cwd=site, env=env, check=code, **more)


def rules(site: Path) -> dict[str, dict[str, Any]]:
    """What was written, by rule; a check of it is content."""
    env = {"STATE_DIRECTORY": str(site / "state")}
    checked = logrotor("check", "--json", cwd=site, env=env)
    assert (checked.code, checked.json["problems"], checked.json["hindered"]) == (0, [], []), checked
    return {rule["name"]: rule for rule in tomllib.loads((site / "logrotor.toml").read_text())["log"]}


# ---------------------------------------------------------------- real writers


def test_handlers_of_python(site: Path) -> None:
    """FileHandler stays: copytruncate. WatchedFileHandler follows: nothing. RotatingFileHandler: left to itself."""
    with ExitStack() as running:
        written = {name: running.enter_context(handler(site, name)) for name in HANDLERS}
        init(site, "logs")
        found = rules(site)
        assert found["file"]["method"] == "copytruncate" and found["file"]["paths"] == [f"{site}/logs/file.log"]
        assert found["watched"].keys() == {"name", "paths"} and found.keys() == {"file", "watched"}
        told = (site / "logrotor.toml").read_text()
        assert '# name  = "rotating"' in told and "RotatingFileHandler" in told
        assert all(str(child.pid) in told for child in written.values())
        env = {"STATE_DIRECTORY": str(site / "state")}
        with (site / "logs/file.log").open("a") as log:
            log.write("a line of many\n" * 10_000)  # within one block nothing is cut
        report = logrotor("run", "--force", "--json", cwd=site, env=env, check=0).json
        assert {(o["action"], o["log"]) for o in report["outcomes"] if o["action"] in ("take", "copytruncate")} == {
            ("take", f"{site}/logs/watched.log"), ("copytruncate", f"{site}/logs/file.log"),
        }  # fmt: skip
        for name in ("file", "watched"):
            child = written[name]
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(b"second\n")
            child.stdin.flush()
            assert child.stdout.readline() == b"written\n"
            assert (site / f"logs/{name}.log").read_text().endswith("second\n")
            assert (site / f"logs/{name}.log").stat().st_size < 10_000


def test_what_a_process_made_after_its_archive(site: Path) -> None:
    """A program of no known kind that renames its own log: seen by the archive that is older than the file."""
    with process(site, "moves", MOVES, site / "logs/own.log"):
        said = init(site, "logs", code=1).stderr
        assert "own.log.1" in said and not (site / "logrotor.toml").exists()


def test_a_writer_without_append_mode(site: Path) -> None:
    """Nothing can be done for it but to say so."""
    with process(site, "truncates", TRUNCATES, site / "logs/over.log"):
        (site / "logs/quiet.log").write_text("line\n")
        init(site, "logs")
        assert rules(site).keys() == {"quiet"} and '# name  = "over"' in (site / "logrotor.toml").read_text()


def test_what_processes_of_this_user_append_to(site: Path) -> None:
    """Without arguments: open logs, wherever they lie; files that nobody has open, or that are no logs, are not."""
    (site / "logs/closed.log").write_text("line\n")
    with handler(site, "watched"), process(site, "data", MOVES.replace(".1", ".old"), site / "journal.dat"):
        init(site)
        claimed = [path for rule in rules(site).values() for path in rule["paths"]]
        assert f"{site}/logs/watched.log" in claimed or f"{site}/logs/*.log" in claimed
        assert not [path for path in claimed if path.startswith(str(site)) and "watched" not in path]


@pytest.mark.long
def test_supervisord_and_nginx(site: Path) -> None:
    """Both are asked by their pidfiles; what supervisord rotates itself is left out with the line to change."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    need(program is not None, "nginx")
    assert program is not None
    (site / "web").mkdir()
    (site / "web/nginx.conf").write_text(
        f"pid {site}/web/server.pid;\nerror_log {site}/web/error.log;\ndaemon off;\nevents {{}}\n"
        f"http {{ access_log {site}/web/access.log; server {{ listen unix:{site}/web/socket; }} }}\n"
    )
    programs = "".join(
        f"[program:{name}]\ncommand = sleep 600\nredirect_stderr = true\n"
        f"stdout_logfile = {site}/logs/{name}.log\n{more}\n"
        for name, more in (("one", "stdout_logfile_maxbytes = 0"), ("two", "stdout_logfile_maxbytes = 0"), ("own", ""))
    )
    web = subprocess.Popen([program, "-c", site / "web/nginx.conf", "-e", site / "web/error.log"])
    try:
        with supervisor.running(programs, site) as managed:
            supervisor.wait_for(lambda: (site / "web/server.pid").exists() and len(managed.children()) == 3)
            init(site, "logs", "web")
            found = rules(site)
            table = tomllib.loads((site / "logrotor.toml").read_text())
            targets = {name: target["manager"] for name, target in table["reopen"].items()}
            assert targets == {"supervisord": "supervisord", "nginx": "pidfile"}
            assert table["reopen"]["nginx"] == {
                "manager": "pidfile",
                "pidfile": f"{site}/web/server.pid",
                "signal": "USR1",
            }
            assert table["reopen"]["supervisord"]["pidfile"] == str(managed.pidfile)
            reopened = {path: rule["reopen"] for rule in found.values() for path in rule["paths"]}
            assert reopened == {f"{site}/logs/one.log": "supervisord", f"{site}/logs/two.log": "supervisord",
                                f"{site}/web/*.log": "nginx"}  # fmt: skip
            assert "[program:own]" in (site / "logrotor.toml").read_text()
            env = {"STATE_DIRECTORY": str(site / "state")}
            (site / "logs/one.log").open("a").write("line\n")
            report = logrotor("run", "--force", "--json", cwd=site, env=env, check=0).json
            assert {o["name"] for o in report["outcomes"] if o["action"] == "reopen"} <= {"supervisord", "nginx"}
    finally:
        web.send_signal(signal.SIGTERM)
        web.wait(60)


# ---------------------------------------------------------------- other files


def test_names_that_are_odd(site: Path) -> None:
    """Blanks, quotes, brackets, newlines, control characters: each is found as it is; what TOML cannot name is said."""
    odd = [
        "a b.log",
        'q"uote.log',
        "[brackets].log",
        "new\nline.log",
        "bell\x07\x7f.log",
        "ümlaut.log",
        "back\\slash.log",
    ]
    for name in odd:
        (site / "logs" / name).write_text("line\n")
    (site / "logs" / os.fsdecode(b"byte\xff.log")).write_text("line\n")
    init(site, "logs")
    rules(site)
    env = {"STATE_DIRECTORY": str(site / "state")}
    plan = logrotor("plan", "--json", cwd=site, env=env, check=0).json
    assert {os.path.basename(log["path"]) for log in plan["logs"]} == set(odd)
    assert "# paths = [" in (site / "logrotor.toml").read_text()


def test_logs_with_a_date_and_archives(site: Path) -> None:
    """One rule for all days of a name; archives of another rotator are no logs."""
    for name in ("app-2026-11-28.log", "app-2026-11-29.log", "app-worker.log",
                 "web.log", "web.log.1", "web.log.2.gz", "web.log-20261101", "notes.txt"):  # fmt: skip
        (site / "logs" / name).write_text("line\n")
    init(site, "logs")
    found = rules(site)
    assert {tuple(rule["paths"]) for rule in found.values()} == {
        (f"{site}/logs/app-[0-9]*[0-9].log",), (f"{site}/logs/app-worker.log", f"{site}/logs/web.log")
    }  # fmt: skip
    assert found["app"]["max_age"] == "30d" and found["app"]["create"] is False


def test_what_would_be_refused_is_left_out(site: Path) -> None:
    """A log in a directory where anyone may write is a comment with the reason; the others are rules."""
    (site / "open").mkdir()
    (site / "open").chmod(0o777)
    for name in ("logs/good.log", "open/bad.log"):
        (site / name).write_text("line\n")
    init(site, "logs", "open")
    assert rules(site).keys() == {"good"}
    text = (site / "logrotor.toml").read_text()
    assert "# Left out" in text and f"{site}/open" in text


def test_a_glob_where_all_are_alike(site: Path) -> None:
    """Several logs of one kind are one rule, which has those to come as well."""
    for name in ("a.log", "b.log", "c.err"):
        (site / "logs" / name).write_text("line\n")
    init(site, "logs/a.log", "logs/b.log")
    (rule,) = rules(site).values()
    assert rule["paths"] == [f"{site}/logs/*.log"]


def test_processes_of_others(site: Path) -> None:
    """Who may not see them says so in the file, and takes no log for one that nobody has open."""
    for folder in (site, site / "logs"):
        os.chown(folder, users.user("www-data").uid, -1)
    with handler(site, "file"):
        init(site, "logs", user="www-data")
    table = tomllib.loads((site / "logrotor.toml").read_text())
    assert [rule.keys() for rule in table["log"]] == [{"name", "paths"}]
    assert "# Not seen" in (site / "logrotor.toml").read_text()


def test_no_file_is_overwritten(site: Path) -> None:
    """Not even an empty one, or a link to nothing."""
    (site / "logs/a.log").write_text("line\n")
    (site / "logrotor.toml").touch()
    (site / "link.toml").symlink_to("nowhere.toml")
    for words in ([], ["-c", "link.toml"]):
        init(site, *words, "logs", code=1)
    assert (site / "logrotor.toml").read_text() == "" and not (site / "nowhere.toml").exists()
    shown = init(site, "-c", "-", "logs").stdout
    assert (
        tomllib.loads(shown)["log"]
        and init(site, "-c", "new.toml", "logs")
        and (site / "new.toml").read_text() == shown
    )


def test_nothing_to_write(site: Path) -> None:
    """No log: exit 1, and no file; a place that is not there is a usage error."""
    init(site, "logs", code=1)
    init(site, "none", code=2)
    assert not (site / "logrotor.toml").exists()


def test_questions_on_a_terminal(site: Path) -> None:
    """Which logs, how large, how many; --yes asks nothing."""
    (site / "other").mkdir()
    for name in ("logs/a.log", "other/b.log"):
        (site / name).write_text("line\n")
    env = environment({"STATE_DIRECTORY": str(site / "state"), "TERM": "dumb"})
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(site)
        argv = arguments("init", "logs", "other")
        os.execve(argv[0], argv, env)
    for answer in ("y", "n", "many", "5MB", "3"):
        until(fd, ": ")
        os.write(fd, f"{answer}\n".encode())
    until(fd, "\0")  # to its end
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(fd)
    found = rules(site)
    assert [rule["paths"] for rule in found.values()] == [[f"{site}/logs/a.log"]]
    defaults = tomllib.loads((site / "logrotor.toml").read_text())["defaults"]
    assert defaults == {"max_size": "5MB", "backup_count": 3}


def test_a_state_directory_that_can_be_used(site: Path) -> None:
    """Where the default one cannot be made, one beside the configuration is proposed, and a run takes place."""
    (site / "logs/a.log").write_text("line\n")
    (site / "file").touch()
    env = {"HOME": str(site), "STATE_DIRECTORY": str(site / "file/state")}
    logrotor("init", "logs", cwd=site, env=env, check=0)
    assert tomllib.loads((site / "logrotor.toml").read_text())["state_dir"] == "state"
    logrotor("check", cwd=site, env=env, check=0)
    logrotor("run", cwd=site, env=env, check=0)
    assert (site / "state/last-run").exists()


def test_another_rotator(site: Path) -> None:
    """A rule of logrotate's for the same log is a comment at the top."""
    log = next(Path("/var/log/nginx").glob("*.log"), None)
    need(log is not None and Path("/etc/logrotate.d/nginx").exists(), "Debian's nginx, with logs and logrotate's rule")
    shown = init(site, "-c", "-", log).stdout
    assert "/etc/logrotate.d/nginx" in shown.partition("[defaults]")[0]
