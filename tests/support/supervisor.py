"""A real supervisord for tests: started in a folder of the test, stopped by its pid, as any user.

``start(conf, cwd)`` fills in what the configuration leaves out; the programs are the test's. It stays a child of the
test (nodaemon), so it cannot outlive it unseen.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import users
from tests.support.need import need

PATIENCE = 60.0  # seconds; only a broken test ever waits that long

HEAD = """\
[supervisord]
nodaemon = true
pidfile = %(here)s/supervisord.pid
logfile = %(here)s/supervisord.log
logfile_maxbytes = 0
"""

WRITER = """\
import itertools, os, sys, time
name, pause = sys.argv[1], float(sys.argv[2])
for number in itertools.count():
    os.write(1, f"{name} {number:08d}\\n".encode())
    time.sleep(pause)
"""


def executable() -> Path:
    """The supervisord of this environment; the test is skipped where supervisor is not installed."""
    path = Path(sys.executable).parent / "supervisord"
    need(path.exists(), "supervisor, in the environment that runs the tests (pip install 'logrotor[test]')")
    return path


@dataclass
class Supervisord:
    """A supervisord that runs. ``pid`` is what its pidfile says."""

    cwd: Path
    config: Path
    pidfile: Path
    pid: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def log(self) -> str:
        """What supervisord said about itself."""
        return (self.cwd / "supervisord.log").read_text()

    def children(self) -> Mapping[int, str]:
        """pid -> command line of the programs that run now."""
        return {pid: _cmdline(pid) for pid in _children(self.pid)}

    def stop(self) -> None:
        """End it and its programs, by pid and at once: it would look at the signal within a second, and then wait."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)  # meanwhile it starts no program anew
        for pid in _children(self.pid):  # each has a group of its own, but for a moment
            for end in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError):
                    end(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


def start(
    conf_text: str, cwd: Path, user: str | int | None = None, *, args: tuple[str, ...] | None = None
) -> Supervisord:
    """Start supervisord in ``cwd`` with this configuration, as ``user``, and wait until its pidfile stands.

    Without a section [supervisord] a usual one is put before it; its pidfile must be cwd/supervisord.pid.
    ``args``: its whole command line, instead of -n -c cwd/supervisord.conf. ``cwd`` must be writable for the user.
    """
    config, pidfile = cwd / "supervisord.conf", cwd / "supervisord.pid"
    (cwd / "writer.py").write_text(WRITER)
    config.write_text(conf_text if "[supervisord]" in conf_text else HEAD + conf_text)
    argv = [sys.executable, str(executable()), *(("-n", "-c", str(config)) if args is None else args)]
    with (cwd / "supervisord.out").open("wb") as output:
        process = subprocess.Popen(
            argv if user is None else users.as_argv(user, argv),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PWD": str(cwd)},
        )
    try:
        wait_for(lambda: _began(process, pidfile, cwd))
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Supervisord(cwd, config, pidfile, int(pidfile.read_text()), process)


@contextlib.contextmanager
def running(conf_text: str, cwd: Path, user: str | int | None = None) -> Iterator[Supervisord]:
    """:func:`start`, and stop at the end."""
    handle = start(conf_text, cwd, user)
    try:
        yield handle
    finally:
        handle.stop()


def program(name: str, log: Path | str, *, pause: float = 0.01, more: str = "stdout_logfile_maxbytes = 0") -> str:
    """A section [program:NAME] that writes "NAME 00000000" and so on, for ever, into ``log``."""
    command = f"{sys.executable} -S -E %(here)s/writer.py {name} {pause}"
    # A TERM that comes between fork and exec is swallowed by the handler that the child still has from supervisord.
    quick = "stopwaitsecs = 1\nstartsecs = 0"
    return f"[program:{name}]\ncommand = {command}\nredirect_stderr = true\nstdout_logfile = {log}\n{more}\n{quick}\n"


def wait_for(condition: Callable[[], object], *, patience: float = PATIENCE) -> None:
    """Poll until ``condition`` holds. The deadline is for a hanging test only."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.01)


def _began(process: subprocess.Popen[bytes], pidfile: Path, cwd: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"supervisord ended with {process.returncode}: {(cwd / 'supervisord.out').read_text()}")
    return pidfile.exists() and pidfile.read_text().strip().isdigit()


def _children(parent: int) -> list[int]:
    # /proc/PID/task/TID/children is not in every kernel.
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            stat = Path(f"/proc/{pid}/stat").read_bytes()
            if int(stat[stat.rindex(b")") + 1 :].split()[1]) == parent:
                found.append(int(pid))
    return found


def _cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
