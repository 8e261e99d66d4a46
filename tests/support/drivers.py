"""Command lines of logrotor without the start of an interpreter for each: see _driver.py, the program behind it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_PROGRAM = str(Path(__file__).with_name("_driver.py"))


class Driver:
    """A process that forks for each request. ``environment``: what it runs in, PYTHONPATH above all."""

    def __init__(self, environment: Mapping[str, str], *modules: str) -> None:
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-P", _PROGRAM, str(theirs.fileno()), *modules]
        self._process = subprocess.Popen(
            argv, env=environment, cwd="/", pass_fds=[theirs.fileno()], start_new_session=True
        )
        theirs.close()
        self.channel = ours
        self._files: list[int] = []
        self._pid = 0

    def close(self) -> None:
        self.channel.close()
        self._process.wait(60)

    def ask(
        self,
        request: dict[str, Any],
        *,
        env: Mapping[str, str],
        cwd: str = "/",
        user: tuple[Any, ...] | None = None,
    ) -> None:
        """Start something: ``args`` of the command line, or ``python``."""
        self._pid = 0
        self._files = [os.memfd_create(name) for name in ("stdout", "stderr", "counted")]
        whole = {**request, "env": dict(env), "cwd": cwd, "user": user, "umask": _umask()}
        socket.send_fds(self.channel, [json.dumps(whole).encode() + b"\n"], self._files)
        self._pid = int.from_bytes(self.channel.recv(8, socket.MSG_WAITALL), "little")

    def answer(self) -> dict[str, Any]:
        """The next message; the last one has the exit ``code``, ``stdout``, ``stderr`` and what was ``counted``."""
        text = b""
        while not text.endswith(b"\n"):  # never more than one message at a time
            piece = self.channel.recv(1 << 20)
            if not piece:
                raise ChildProcessError("the driver has ended")
            text += piece
        message: dict[str, Any] = json.loads(text)
        if "code" in message:
            message |= dict(zip(("stdout", "stderr", "counted"), map(_content, self._files), strict=True))
        return message

    def kill(self) -> None:
        """End what runs, with all that it has started; then :meth:`answer` tells."""
        if self._pid:  # 0 would be our own group
            for end in (os.killpg, os.kill):  # it has its own group only in a moment
                with suppress(ProcessLookupError):
                    end(self._pid, signal.SIGKILL)


def _content(fd: int) -> str:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read().decode(errors="surrogateescape")


def _umask() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("Umask:")[2].split()[0], 8)
