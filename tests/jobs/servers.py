"""Real servers on loopback, each on a free port and in a temp folder, stopped by pid."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
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
        self.process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await_port(self.port, self.process)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


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


class PostgreSQL:
    """A cluster made by initdb as an ordinary user, which can be stopped and started again."""

    def __init__(self, folder: str) -> None:
        self._programs, self.folder, self.port = _postgresql_programs(), folder, free_port()
        self._who = users.user("nobody") if os.geteuid() == 0 else None
        if self._who is not None:
            os.chown(folder, self._who.uid, self._who.gid)
        word = Path(folder) / "password"
        word.write_text(PASSWORD)
        os.chmod(word, 0o644)
        self._run("initdb", "-U", "logrotor", "-A", "scram-sha-256", f"--pwfile={word}", "-N")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://logrotor:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "-w", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *args: str) -> None:
        _as(self._who, [f"{self._programs}/{program}", "-D", f"{self.folder}/data", *args])


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL; yields the URL of its database."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = PostgreSQL(folder)
        try:
            yield server.url
        finally:
            server.stop()


@contextmanager
def forwarded(port: int, server: int) -> Iterator[subprocess.Popen[bytes]]:
    """``port`` is where ``server`` answers; stopped by SIGSTOP, the process swallows all packets and closes nothing."""
    code = """
import asyncio, sys
async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
    finally:
        writer.close()
async def serve(reader, writer):
    try:
        there = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    except OSError:
        return writer.close()
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()
asyncio.run(main())
"""
    argv = [sys.executable, "-c", code, str(port), str(server)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        try:
            await_port(port, process)
            yield process
        finally:
            process.kill()


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
