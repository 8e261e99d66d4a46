"""Real servers on loopback, each on a free port and in a temp folder, stopped by pid."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import users
from tests.support.need import need

PASSWORD = "swordfish-" + secrets.token_hex(8)  # a secret of its own, so that a search for it cannot hit by chance


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """A redis-server that can be stopped and started again."""

    def __init__(self, folder: Path, conf: str, port: int) -> None:
        program = shutil.which("redis-server")
        need(program, "redis-server")
        self.port, self._argv = port, [str(program), str(folder / "redis.conf")]
        (folder / "redis.conf").write_text(conf)
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await_port(self.port, self._process)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextmanager
def redis() -> Iterator[str]:
    """A redis-server with a password; yields its URL."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = redis_in(Path(folder), 'save ""\nappendonly no\n')
        try:
            yield f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"
        finally:
            server.stop()


def redis_in(folder: Path, more: str) -> RedisServer:
    """``more``: lines of its redis.conf."""
    port = free_port()
    return RedisServer(folder, f"bind 127.0.0.1\nport {port}\nrequirepass {PASSWORD}\ndir {folder}\n{more}", port)


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL cluster made by initdb as an ordinary user; yields the URL of its database."""
    programs = _postgresql_programs()
    who = users.user("nobody") if os.geteuid() == 0 else None
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        if who is not None:
            os.chown(folder, who.uid, who.gid)
        word = Path(folder) / "password"
        word.write_text(PASSWORD)
        data = f"{folder}/data"
        os.chmod(word, 0o644)
        _as(who, [f"{programs}/initdb", "-D", data, "-U", "logrotor", "-A", "scram-sha-256", f"--pwfile={word}", "-N"])
        options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder} -c fsync=off"
        _as(who, [f"{programs}/pg_ctl", "-D", data, "-w", "-l", f"{folder}/log", "-o", options, "start"])
        try:
            yield f"postgresql://logrotor:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            _as(who, [f"{programs}/pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"])


def _postgresql_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    need(found, "PostgreSQL")
    return found[-1].parent


def _as(who: users.User | None, argv: list[str]) -> None:
    whole = users.as_argv(who, argv) if who else argv
    # Not captured by a pipe: the server that pg_ctl starts would hold it open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(whole, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/", check=False)
        output.seek(0)
        assert done.returncode == 0, output.read().decode()


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody listens there."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert process.poll() is None, "the server ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the server does not answer")
