"""Which files does supervisord rotate itself? It is asked, or its configuration is read as it reads it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from logrotor import notify
from logrotor.disk import proc
from logrotor.model import Manager, ReopenTarget
from logrotor.notify import supervisor_rpc, supervisord
from logrotor.notify.supervisor_ini import Ini, Unreadable
from logrotor.notify.supervisord import Logfile
from tests.support.need import need
from tests.support.supervisor import HEAD, program, running, start, wait_for
from tests.support.users import as_user

OFF = "[supervisord]\nlogfile_maxbytes = 0\nlogfile = /dev/null\n"


def process(*argv: str) -> proc.Process:
    """A supervisord with that command line, in our working directory and environment."""
    argv = ("python3", *(argv or ("/opt/venv/bin/supervisord",)))
    return proc.Process(pid=os.getpid(), parent=1, uid=0, started=0, dead=False, argv=argv, caught=None)


def read(folder: Path, environ: Mapping[str, str] | None) -> tuple[list[Logfile], list[str]]:
    """What folder/supervisord.conf says of log files, and the notes."""
    notes: list[str] = []
    located = supervisord.Located(str(folder / "supervisord.conf"), {}, environ, (str(folder),))
    return list(supervisord.logfiles(located, notes)), notes


def of(conf: str, folder: Path, environ: Mapping[str, str] | None = None) -> tuple[dict[str, Logfile], list[str]]:
    """(path -> the file that is rotated, notes) of a configuration that stands in ``folder``."""
    (folder / "supervisord.conf").write_text(conf)
    logs, notes = read(folder, environ)
    return {log.path: log for log in logs if log.maxbytes > 0 and not supervisord.is_device(log.path)}, notes


def test_a_size_that_is_set_or_missing(tmp_path: Path) -> None:
    """A missing size does not mean off but 50MB: both streams, each with its own line to change or to add."""
    text = "stderr_logfile = e.log\nstdout_logfile=o.log\nstdout_logfile_maxbytes=10MB ; as ever\n"
    files, notes = of(f"{OFF}[program:queue]\ncommand = x\n{text}", tmp_path, {})
    out, err = files[f"{tmp_path}/o.log"], files[f"{tmp_path}/e.log"]
    assert (out.section, out.key, out.setting) == ("program:queue", "stdout_logfile_maxbytes", "10MB")
    assert (err.key, err.setting, err.maxbytes) == ("stderr_logfile_maxbytes", None, 50 << 20)
    assert "change `stdout_logfile_maxbytes = 10MB` to `stdout_logfile_maxbytes = 0`" in supervisord.advice(out)
    assert "add the line `stderr_logfile_maxbytes = 0`" in supervisord.advice(err)
    assert notes == []


@pytest.mark.parametrize(
    "text",
    [
        "stdout_logfile = o.log\nstdout_logfile_maxbytes = 0",
        "stdout_logfile = o.log\nstdout_logfile_maxbytes = 0MB ; off",
        "stdout_logfile = o.log\nstdout_logfile_maxbytes = -1",
        "stdout_logfile = AUTO", "stdout_logfile = none", "stdout_logfile = OFF", "stdout_logfile = syslog", "",
        "stdout_logfile = /dev/stdout", "stdout_logfile = /dev/fd/1", "stdout_logfile = /proc/self/fd/2",
        "redirect_stderr = true\nstderr_logfile = e.log", "redirect_stderr = On\nstderr_logfile = e.log",
        "; stdout_logfile = o.log", "stdout_logfile = out",
    ],
)  # fmt: skip
def test_what_supervisord_does_not_rotate(tmp_path: Path, text: str) -> None:
    """Off, no file at all, not used, a device, or a link to one."""
    (tmp_path / "out").symlink_to("/dev/stdout")
    files, notes = of(f"{OFF}[program:x]\ncommand = x\n{text}\n", tmp_path, {})
    assert (files, notes) == ({}, [])


def test_its_own_log(tmp_path: Path) -> None:
    """[supervisord] logfile has the same default, but an update does not reach it."""
    ((path, log),) = of("[supervisord]\n", tmp_path, {})[0].items()
    assert (path, log.section, log.key) == (f"{tmp_path}/supervisord.log", "supervisord", "logfile_maxbytes")
    assert "restart supervisord" in supervisord.advice(log)


def test_a_line_in_an_included_file(tmp_path: Path) -> None:
    """The file to change is the one in which the line stands, or else the section."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.conf").write_text("[program:a]\ncommand=x\nstdout_logfile=%(here)s/a.log\n")
    (tmp_path / "conf.d" / "b.conf").write_text("[program:b]\nstdout_logfile_maxbytes=5MB\n")
    (tmp_path / "conf.d" / "c.txt").write_text("[program:c]\ncommand=x\nstdout_logfile=c.log\n")
    conf = f"{OFF}[include]\nfiles = conf.d/*.conf %(here)s/none/*\n"
    conf += "[program:b]\ncommand=x\nstdout_logfile=%(here)s/b.log\n"
    files, notes = of(conf, tmp_path, {})
    assert {path: (log.file, log.setting) for path, log in files.items()} == {
        f"{tmp_path}/conf.d/a.log": (f"{tmp_path}/conf.d/a.conf", None),
        f"{tmp_path}/b.log": (f"{tmp_path}/conf.d/b.conf", "5MB"),
    }
    assert notes == []


@pytest.mark.parametrize(
    "line",
    [
        "stdout_logfile_maxbytes = lots", "numprocs = many", "stdout_logfile = %(oops", "stdout_logfile=%d",
        "stdout_logfile = %(ENV_LOGS)s/a.log", "environment = HOME=/\nstdout_logfile = %(ENV_HOME)s/a.log",
        "stdout_logfile = ~nobody/a.log", "[group:g]\nprograms = a\n[program:a]\nstdout_logfile = %(group_name)s.log",
    ],
)  # fmt: skip
def test_what_cannot_be_made_out_is_said(tmp_path: Path, line: str) -> None:
    """It costs only its own section; a name from an environment that is not known is not guessed at."""
    tail = "[program:b]\ncommand=x\nstdout_logfile=b.log\n"
    conf = f"{OFF}[program:a]\ncommand=x\nstdout_logfile=a.log\n{line}\n{tail}"
    files, (note,) = of(conf, tmp_path, {"HOME": "/root"})
    assert list(files) == [f"{tmp_path}/b.log"]
    assert "[program:a]" in note


def test_broken_files(tmp_path: Path) -> None:
    """An included file that cannot be parsed is a note; a broken main file is an error for the caller."""
    (tmp_path / "bad.ini").write_text("no section\n")
    files, notes = of(f"{OFF}[include]\nfiles=bad.ini\n[program:b]\ncommand=x\nstdout_logfile=b.log\n", tmp_path, {})
    assert list(files) == [f"{tmp_path}/b.log"]
    assert "bad.ini" in notes[0]
    with pytest.raises(Unreadable, match="no section headers"):
        of("nonsense", tmp_path, {})


# ---------------------------------------------------------------- the same as supervisor itself

CONFIGS = {
    "numprocs": """
        [supervisord]
        [program:w]
        command = x
        numprocs = 3
        numprocs_start = 5
        process_name = %(program_name)s_%(process_num)02d
        stdout_logfile = %(here)s/logs/%(program_name)s-%(group_name)s-%(process_num)02d-of-%(numprocs)s.log
        stderr_logfile = %(here)s/logs/%(host_node_name)s-%(process_num)d.err
        stderr_logfile_maxbytes = 1KB
    """,
    "kinds": """
        [supervisord]
        logfile = %(here)s/logs/main.log
        logfile_maxbytes = 3gb
        [group:g]
        programs = a, b
        [program:a]
        command = x
        stdout_logfile = %(here)s/%(ENV_OUTER)s/a.log
        [fcgi-program:b]
        command = x
        socket = tcp://localhost:9
        stdout_logfile = %(here)s/logs/b.log
        stdout_logfile_maxbytes = 0
        [program:c]
        command = x
        environment = PART="a,b"
        stdout_logfile = %(here)s/logs/c.log  # a comment
        stderr_logfile = %(here)s/logs/expanded-twice-50%%%%.log
        [eventlistener:l]
        command = x
        events = TICK_5
        stdout_logfile = NONE
        stderr_logfile = ~/logs/l.err
        stderr_logfile_maxbytes=%(ENV_OUTER)sMB
    """,
    "odd": """
        [DEFAULT]
        stdout_logfile_maxbytes = 7MB
        [supervisord]
        [supervisorctl]
        [program: spaced ]
        command: x
        STDOUT_logfile: logs/%(program_name)s#1.log ;trailing
        [program:twice]
        command = x
        stdout_logfile = logs/first.log
        [program:twice]
        stdout_logfile = logs/second;2.log
          ; not a continuation
        stdout_logfile_maxbytes = 0
        [include]
        files = logs/*.ini
    """,
}

ORACLE = """
import json, os, sys
from supervisor.options import ServerOptions
from supervisor.datatypes import Automatic
options = ServerOptions()
options.realize(["-c", sys.argv[1]])
found = [[options.logfile, options.logfile_maxbytes]]
for group in options.process_group_configs:
    for one in group.process_configs:
        for channel in ("stdout", "stderr"):
            path = getattr(one, channel + "_logfile")
            if path and path is not Automatic:
                found.append([os.path.abspath(path), getattr(one, channel + "_logfile_maxbytes")])
print(json.dumps(sorted(found)))
"""


@pytest.mark.parametrize("name", CONFIGS)
def test_read_as_supervisor_reads_it(tmp_path: Path, name: str) -> None:
    """Every log file and its limit, exactly as supervisor's own parser has them."""
    pytest.importorskip("supervisor", reason="supervisor is not installed")
    for folder in ("logs", "2"):
        (tmp_path / folder).mkdir()
    (tmp_path / "logs" / "more.ini").write_text("[program:more]\ncommand=x\nstdout_logfile=%(here)s/more.log\n")
    config = tmp_path / "supervisord.conf"
    config.write_text("\n".join(line.removeprefix(" " * 8) for line in CONFIGS[name].splitlines()))
    environ = {**os.environ, "OUTER": "2", "HOME": str(tmp_path)}
    argv = [sys.executable, "-c", ORACLE, str(config)]
    oracle = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    logs, notes = read(tmp_path, environ)
    assert sorted([log.path, log.maxbytes] for log in logs) == json.loads(oracle.stdout)
    assert notes == []


# ---------------------------------------------------------------- finding it


@pytest.mark.parametrize(
    "option",
    [
        "-c x.conf", "-cx.conf", "-nc x.conf", "--configuration x.conf", "--configuration=x.conf", "--config=x.conf",
        "-l -c -c x.conf",
    ],
)  # fmt: skip
def test_named_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    """As getopt reads it, relative to the working directory."""
    (tmp_path / "x.conf").write_text("")
    monkeypatch.chdir(tmp_path)
    assert supervisord.locate(process("supervisord", *option.split())).path == str(tmp_path / "x.conf")


@pytest.mark.parametrize(
    "place", ["venv/etc/supervisord.conf", "venv/supervisord.conf", "cwd/supervisord.conf", "cwd/etc/supervisord.conf"]
)
def test_the_search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Above the script, then in the working directory."""
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text("")
    (tmp_path / "cwd").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "cwd")
    asked = process(f"{tmp_path}/venv/bin/supervisord")
    assert supervisord.locate(asked).path == str(tmp_path / place)


def test_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is claimed; what could not be found, and what to set, is said."""
    monkeypatch.chdir(tmp_path)
    for argument, why in (("-cgone.conf", "not found at gone.conf"), ("--new-option", "--new-option")):
        found = supervisord.rotated_by(process("supervisord", argument))
        assert found.files == {}
        assert why in found.unknown[0].problem
        assert "supervisor_config" in found.unknown[0].advice


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    """-y 0 switches the rotation of supervisord's own log off, -l names another file."""
    (tmp_path / "c").write_text(HEAD.replace("logfile_maxbytes = 0", "logfile_maxbytes = 5MB"))
    argv, other = ("supervisord", "-c", str(tmp_path / "c"), "-l", str(tmp_path / "o.log")), str(tmp_path / "o.log")
    assert list(supervisord.rotated_by(process(*argv)).files) == [other]
    assert supervisord.rotated_by(process(*argv, "-y", "0")).files == {}
    on = supervisord.rotated_by(process(*argv, "--logfile_maxbytes=1MB")).files
    assert "-y 0 instead of -y 1MB" in on[other].advice


# ---------------------------------------------------------------- a running supervisord


def target(pidfile: Path, config: Path | None = None) -> ReopenTarget:
    given = None if config is None else str(config)
    return ReopenTarget(name="w", manager=Manager.SUPERVISORD, pidfile=str(pidfile), supervisor_config=given)


@pytest.fixture
def deployment(world: Path) -> Iterator[tuple[Path, str]]:
    """A configuration with an include, ``logs`` being a symlink as in many deployments."""
    (world / "storage").mkdir()
    (world / "logs").symlink_to("storage")
    (world / "conf.d").mkdir()
    (world / "conf.d" / "queue.conf").write_text(
        f'[program:queue]\ncommand = {sys.executable} -S -E -c "import time; time.sleep(600)"\nnumprocs = 2\n'
        "process_name = q%(process_num)d\nstdout_logfile = logs/%(ENV_SITE)s-%(process_num)d.log\n"
        "stopwaitsecs = 1\n"
    )
    yield world, HEAD + "[include]\nfiles = conf.d/*.conf\n"


def test_found_from_the_running_supervisord(deployment: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line, working directory and environment of the process lead to the real paths."""
    world, conf = deployment
    monkeypatch.setenv("SITE", "shop")
    handle = start(conf, world, args=("-n", "-c", "supervisord.conf"))
    monkeypatch.delenv("SITE")
    try:
        found = notify.self_rotation(target(handle.pidfile))
    finally:
        handle.stop()
    real = os.path.realpath(world / "storage")
    assert sorted(found.files) == [f"{real}/shop-0.log", f"{real}/shop-1.log"]
    assert all(f"in {world}/conf.d/queue.conf, section [program:queue], add" in p.advice for p in found.files.values())
    assert found.unknown == ()


SERVERS = {
    "unix": "[unix_http_server]\nfile = %(here)s/s.sock\n",
    "inet": "[inet_http_server]\nport = 127.0.0.1:{port}\nusername = u\npassword = p\n",
}
INTERFACE = (
    "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
)


@pytest.mark.parametrize("server", SERVERS)
def test_supervisord_is_asked_what_it_does(world: Path, server: str) -> None:
    """Its file was changed and no update made: it goes on as before. It also knows every name that it expanded."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    conf = HEAD + SERVERS[server].format(port=port) + INTERFACE + "[group:g]\nprograms = busy\n"
    more = "environment = A=b\nstdout_logfile_maxbytes = {}"
    busy = program("busy", "%(here)s/%(group_name)s-busy.log", more=more.format("7MB"))
    with running(conf + busy, world) as handle:
        handle.config.write_text(conf + program("busy", world / "other.log", more=more.format("0")))
        os.utime(handle.config, (time.time() + 60,) * 2)  # the start of a process is known to a second or two
        wait_for(lambda: "entered RUNNING state" in handle.log)
        found = notify.self_rotation(target(handle.pidfile))
        # A socket that is closed to us: the file is read.
        closed = as_user("nobody", notify.self_rotation, target(handle.pidfile)) if server == "unix" else None
    ((path, problem),) = found.files.items()
    assert path == os.path.realpath(world / "g-busy.log")
    assert f"in {world}/supervisord.conf, section [program:busy]" in problem.advice
    assert found.unknown == ()
    assert closed is None or closed.files == {}
    # Who cannot ask it does not take the file for what it does.
    assert closed is None or [str(handle.config) in each.problem for each in closed.unknown] == [True]


@pytest.mark.parametrize("section", ["supervisorctl", ""])
def test_the_command_in_an_advice_reaches_this_supervisord(world: Path, section: str) -> None:
    """Whatever the directory: supervisorctl finds this one by its file, or by its socket; typed as it stands."""
    control = "[supervisorctl]\nserverurl = unix://%(here)s/s.sock\n" if section else ""
    conf = HEAD + SERVERS["unix"] + INTERFACE + control
    with running(conf + program("busy", world / "b.log", more="stdout_logfile_maxbytes = 7MB"), world) as handle:
        wait_for(lambda: "entered RUNNING state" in handle.log)
        (problem,) = notify.self_rotation(target(handle.pidfile)).files.values()
        handle.config.write_text(conf + program("busy", world / "b.log", more="stdout_logfile_maxbytes = 0"))
        (command,) = re.findall(r"`(supervisorctl .*?)`", problem.advice)
        path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
        subprocess.run(command, shell=True, check=True, cwd="/", env={**os.environ, "PATH": path})
        assert notify.self_rotation(target(handle.pidfile)).files == {}


def test_an_answer_of_another_supervisord_counts_for_nothing(tmp_path: Path) -> None:
    """The socket in a configuration may belong to an earlier or later one."""
    with running(HEAD + SERVERS["unix"] + INTERFACE, tmp_path) as handle:
        ini = Ini(str(handle.config), {})
        wait_for(lambda: supervisor_rpc.processes(ini, handle.pid) == [])
        assert supervisor_rpc.processes(ini, os.getpid()) is None


def test_seen_by_another_user(deployment: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's environment and directory cannot be seen: what depends on them is not claimed but said."""
    need(os.geteuid() == 0, "root, to become another user")
    world, conf = deployment
    monkeypatch.setenv("SITE", "shop")
    extra = program("plain", world / "p.log", more="")
    with running(conf + extra, world) as handle:
        found = as_user("nobody", notify.self_rotation, target(handle.pidfile))
    assert list(found.files) == [os.path.realpath(world / "p.log")]
    assert any("ENV_SITE" in problem.problem for problem in found.unknown)


def test_a_given_configuration_wins(tmp_path: Path) -> None:
    """supervisor_config is for the cases in which it cannot be found."""
    (tmp_path / "other.conf").write_text(f"{OFF}[program:o]\ncommand=x\nstdout_logfile={tmp_path}/o.log\n")
    with running("", tmp_path) as handle:
        assert notify.self_rotation(target(handle.pidfile)).files == {}
        files = notify.self_rotation(target(handle.pidfile, tmp_path / "other.conf")).files
    assert list(files) == [f"{os.path.realpath(tmp_path)}/o.log"]


def test_where_supervisord_does_not_run_nothing_is_claimed(tmp_path: Path) -> None:
    """No pidfile, no claim: it is unknown."""
    found = notify.self_rotation(target(tmp_path / "none.pid"))
    assert found.files == {}
    assert "no such pidfile" in found.unknown[0].problem
    for manager in set(Manager) - {Manager.SUPERVISORD}:
        assert notify.self_rotation(ReopenTarget(name="w", manager=manager)) == notify.SelfRotation()


def test_supervisord_really_rotates_what_is_reported(tmp_path: Path) -> None:
    """The claim itself, seen: it shifts .1 and .2, the names of our archives."""
    log = tmp_path / "busy.log"
    with running(program("busy", log, pause=0, more="stdout_logfile_maxbytes = 2KB"), tmp_path) as handle:
        wait_for(lambda: (tmp_path / "busy.log.2").exists())
        assert list(notify.self_rotation(target(handle.pidfile)).files) == [os.path.realpath(log)]
