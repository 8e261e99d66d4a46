"""Which files does supervisord rotate itself? Its configuration, read as it reads it, and compared with supervisor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from logrotor import notify
from logrotor.disk import proc
from logrotor.model import Manager, ReopenTarget
from logrotor.notify import supervisor_config
from logrotor.notify.supervisor_ini import Unreadable
from tests.support.need import need
from tests.support.supervisor import HEAD, program, running, start, wait_for
from tests.support.users import as_user

OFF = "[supervisord]\nlogfile_maxbytes = 0\nlogfile = /dev/null\n"


def process(argv: tuple[str, ...] = (), pid: int = 0) -> proc.Process:
    argv = argv or ("/usr/bin/python3", "/opt/venv/bin/supervisord")
    return proc.Process(pid=pid or os.getpid(), parent=1, uid=0, started=0, dead=False, argv=argv, caught=None)


def of(conf: str, folder: Path, environ: Mapping[str, str] | None = None) -> tuple[dict[str, str], list[str]]:
    """(path -> advice, notes) of a configuration that stands in ``folder``."""
    (folder / "supervisord.conf").write_text(conf)
    found = supervisor_config.Located(str(folder / "supervisord.conf"), {}, environ, (str(folder),))
    notes: list[str] = []
    files: dict[str, str] = {}
    for log in supervisor_config.logfiles(found, notes):
        if log.maxbytes > 0 and not supervisor_config._is_device(log.path):
            supervisor_config._say(files, log.path, supervisor_config._advice(log))
    return files, notes


def test_the_default_is_50_megabytes(tmp_path: Path) -> None:
    """A missing stdout_logfile_maxbytes does not mean off: the line to add and its place are named."""
    files, notes = of(f"{OFF}[program:mail]\ncommand = x\nstdout_logfile = {tmp_path}/mail.log\n", tmp_path, {})
    assert files == {
        f"{tmp_path}/mail.log": f"in {tmp_path}/supervisord.conf, section [program:mail], add the line "
        "`stdout_logfile_maxbytes = 0` "
        "(without it, 50MB is meant), then `supervisorctl update`, which restarts the programs whose section changed"
    }
    assert notes == []


def test_a_size_that_is_set(tmp_path: Path) -> None:
    """The deployment's 10MB: both streams, each with its own line."""
    text = "stderr_logfile = e.log\nstdout_logfile=o.log\n"
    text += "stdout_logfile_maxbytes=10MB ; as ever\nstderr_logfile_maxbytes=1\n"
    files, _ = of(f"{OFF}[program:queue]\ncommand = x\n{text}", tmp_path, {})
    assert sorted(files) == [f"{tmp_path}/e.log", f"{tmp_path}/o.log"]
    assert "change `stdout_logfile_maxbytes = 10MB` to `stdout_logfile_maxbytes = 0`" in files[f"{tmp_path}/o.log"]
    assert "change `stderr_logfile_maxbytes = 1` to `stderr_logfile_maxbytes = 0`" in files[f"{tmp_path}/e.log"]


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
    files, _ = of("[supervisord]\n", tmp_path, {})
    (advice,) = files.values()
    assert list(files) == [f"{tmp_path}/supervisord.log"]
    assert "section [supervisord], add the line `logfile_maxbytes = 0`" in advice
    assert "restart supervisord" in advice


def test_a_line_in_an_included_file(tmp_path: Path) -> None:
    """The file to change is the one in which the line stands, or else the section."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.conf").write_text("[program:a]\ncommand=x\nstdout_logfile=%(here)s/a.log\n")
    (tmp_path / "conf.d" / "b.conf").write_text("[program:b]\nstdout_logfile_maxbytes=5MB\n")
    (tmp_path / "conf.d" / "c.txt").write_text("[program:c]\ncommand=x\nstdout_logfile=c.log\n")
    conf = f"{OFF}[include]\nfiles = conf.d/*.conf %(here)s/none/*\n"
    conf += "[program:b]\ncommand=x\nstdout_logfile=%(here)s/b.log\n"
    files, notes = of(conf, tmp_path, {})
    assert notes == []
    assert f"in {tmp_path}/conf.d/a.conf, section [program:a], add" in files.pop(f"{tmp_path}/conf.d/a.log")
    assert f"in {tmp_path}/conf.d/b.conf, section [program:b], change" in files.pop(f"{tmp_path}/b.log")
    assert files == {}


def test_two_programs_with_one_log(tmp_path: Path) -> None:
    """Each of them has its line to change."""
    section = "[program:{}]\ncommand=x\nstdout_logfile=both.log\n"
    files, _ = of(OFF + section.format("a") + section.format("b"), tmp_path, {})
    (advice,) = files.values()
    assert "section [program:a]" in advice
    assert "section [program:b]" in advice


def test_a_name_that_cannot_be_expanded_is_left_out_with_a_note(tmp_path: Path) -> None:
    """Without the environment of supervisord (another user's) nothing is claimed about that file; the others stay."""
    conf = f"{OFF}[program:a]\ncommand=x\nstdout_logfile=%(ENV_LOGS)s/a.log\n"
    conf += "[program:b]\ncommand=x\nstdout_logfile=b.log\n"
    files, notes = of(conf, tmp_path, None)
    assert list(files) == [f"{tmp_path}/b.log"]
    (note,) = notes
    assert "[program:a]" in note
    assert "ENV_LOGS" in note
    assert "may not be seen" in note


@pytest.mark.parametrize(
    "line",
    [
        "stdout_logfile_maxbytes = lots",
        "numprocs = many",
        "environment = A",
        "stdout_logfile = %(oops",
        "stdout_logfile=%d",
    ],
)
def test_nonsense_is_left_out_with_a_note(tmp_path: Path, line: str) -> None:
    """A broken section costs only itself."""
    tail = "[program:b]\ncommand=x\nstdout_logfile=b.log\n"
    files, notes = of(f"{OFF}[program:a]\ncommand=x\nstdout_logfile=a.log\n{line}\n{tail}", tmp_path, {})
    assert list(files) == [f"{tmp_path}/b.log"]
    assert len(notes) == 1


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
    "groups": """
        [supervisord]
        logfile = %(here)s/logs/main.log
        logfile_maxbytes = 3gb
        [group:g]
        programs = a, b
        [group:h]
        programs = a
        [program:a]
        command = x
        stdout_logfile = %(here)s/logs/%(group_name)s-a.log
        [fcgi-program:b]
        command = x
        socket = tcp://localhost:9
        stdout_logfile = %(here)s/logs/%(group_name)s-b.log
        stdout_logfile_maxbytes = 0
        [program:c]
        command = x
        stdout_logfile = %(here)s/logs/%(group_name)s-c.log  # a comment
        stderr_logfile = %(here)s/logs/expanded-twice-50%%%%.log
    """,
    "environment": """
        [supervisord]
        environment = SITE="shop;1",DIR='logs', N=%(ENV_OUTER)s
        [program:a]
        command = x
        environment = PART="a,b"
        stdout_logfile = %(here)s/%(ENV_DIR)s/%(ENV_OUTER)s-%(ENV_SITE)s-%(ENV_PART)s-%(ENV_N)s.log
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
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "more.ini").write_text("[program:more]\ncommand=x\nstdout_logfile=%(here)s/more.log\n")
    config = tmp_path / "supervisord.conf"
    config.write_text("\n".join(line.removeprefix(" " * 8) for line in CONFIGS[name].splitlines()))
    environ = {**os.environ, "OUTER": "2", "HOME": str(tmp_path)}
    oracle = subprocess.run(
        [sys.executable, "-c", ORACLE, str(config)],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    notes: list[str] = []
    found = supervisor_config.Located(str(config), {}, environ, (str(tmp_path),))
    ours = sorted([log.path, log.maxbytes] for log in supervisor_config.logfiles(found, notes))
    assert ours == json.loads(oracle.stdout)
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
    assert supervisor_config.locate(process(("python3", "supervisord", *option.split()))).path == str(
        tmp_path / "x.conf"
    )


@pytest.mark.parametrize(
    "place", ["venv/etc/supervisord.conf", "venv/supervisord.conf", "cwd/supervisord.conf", "cwd/etc/supervisord.conf"]
)
def test_the_search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Above the script, then in the working directory."""
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text("")
    (tmp_path / "cwd").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "cwd")
    asked = process(("python3", f"{tmp_path}/venv/bin/supervisord"))
    assert supervisor_config.locate(asked).path == str(tmp_path / place)


def test_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is claimed; the note says what to set."""
    monkeypatch.chdir(tmp_path)
    found = supervisor_config.self_rotation(process(("python3", "supervisord", "-c", "gone.conf")))
    assert found.files == {}
    assert "not found at gone.conf; set supervisor_config" in found.notes[0]
    odd = supervisor_config.self_rotation(process(("python3", "supervisord", "--new-option")))
    assert "--new-option not recognized" in odd.notes[0]


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    """-y 0 switches the rotation of supervisord's own log off, -l names another file."""
    (tmp_path / "c").write_text(HEAD.replace("logfile_maxbytes = 0", "logfile_maxbytes = 5MB"))
    argv = ("python3", "supervisord", "-c", str(tmp_path / "c"), "-l", str(tmp_path / "other.log"))
    assert list(supervisor_config.self_rotation(process(argv)).files) == [str(tmp_path / "other.log")]
    assert supervisor_config.self_rotation(process((*argv, "-y", "0"))).files == {}
    on = supervisor_config.self_rotation(process((*argv, "--logfile_maxbytes=1MB"))).files
    assert "start supervisord with -y 0 instead of -y 1MB" in on[str(tmp_path / "other.log")]


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
    assert all(f"in {world}/conf.d/queue.conf, section [program:queue], add" in text for text in found.files.values())
    assert found.notes == ()


def test_seen_by_another_user(deployment: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's environment and directory cannot be seen: what depends on them is not claimed, and a note says so."""
    need(os.geteuid() == 0, "root, to become another user")
    world, conf = deployment
    monkeypatch.setenv("SITE", "shop")
    extra = program("plain", world / "p.log", more="")
    with running(conf + extra, world) as handle:
        found = as_user("nobody", notify.self_rotation, target(handle.pidfile))
    assert list(found.files) == [os.path.realpath(world / "p.log")]
    assert any("may not be seen" in note for note in found.notes)


def test_a_given_configuration_wins(tmp_path: Path) -> None:
    """supervisor_config is for the cases in which it cannot be found."""
    (tmp_path / "other.conf").write_text(f"{OFF}[program:o]\ncommand=x\nstdout_logfile={tmp_path}/o.log\n")
    with running("", tmp_path) as handle:
        assert notify.self_rotated(target(handle.pidfile)) == {}
        files = notify.self_rotated(target(handle.pidfile, tmp_path / "other.conf"))
    assert list(files) == [f"{os.path.realpath(tmp_path)}/o.log"]


def test_where_supervisord_does_not_run_nothing_is_claimed(tmp_path: Path) -> None:
    """No pidfile, no claim: only a note."""
    found = notify.self_rotation(target(tmp_path / "none.pid"))
    assert found.files == {}
    assert "could not be checked: reopen target 'w' (supervisord)" in found.notes[0]
    for manager in set(Manager) - {Manager.SUPERVISORD}:
        assert notify.self_rotation(ReopenTarget(name="w", manager=manager)) == notify.SelfRotation()


def test_supervisord_really_rotates_what_is_reported(tmp_path: Path) -> None:
    """The claim itself, seen: it shifts .1 and .2, the names of our archives."""
    log = tmp_path / "busy.log"
    size: Callable[[str], str] = "stdout_logfile_maxbytes = {}".format
    with running(program("busy", log, pause=0, more=size("2KB")), tmp_path) as handle:
        wait_for(lambda: (tmp_path / "busy.log.2").exists())
        assert list(notify.self_rotated(target(handle.pidfile))) == [os.path.realpath(log)]
