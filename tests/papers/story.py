"""The reader's machine: a folder that is /srv/app to whoever looks at the output, and ``logrotor`` in the PATH."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import command, users

APP = "/srv/app"
HOME = "/home/you"
_PATIENCE = 60


@dataclass(slots=True)
class Reader:
    """Who follows a paper, in ``folder``: an ordinary user where the tests may choose one."""

    folder: Path
    user: str | None = field(default_factory=lambda: "www-data" if os.geteuid() == 0 else None)

    def __post_init__(self) -> None:
        for place in (self.app, self.home, self.bin):
            place.mkdir()
        shim(self.bin / "logrotor")
        self.own()

    @property
    def app(self) -> Path:
        return self.folder / "app"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def own(self) -> None:
        """Give all files to the reader."""
        if self.user is not None:
            owner = users.user(self.user)
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, owner.uid, owner.gid, follow_symlinks=False)

    def here(self, text: str) -> str:
        """What a paper says, for this folder."""
        return text.replace("/opt/logrotor/bin", str(self.bin)).replace(APP, str(self.app))

    def shell(self, text: str, *, shell: str = "/bin/bash", terminal: bool = True) -> tuple[int, str]:
        """Run a command as the reader would, on a terminal or not; exit code, and output as a paper shows it."""
        environment = {
            **command.environment(),
            "COLUMNS": "200",  # where a line ends depends on how long the path of the folder is
            "HOME": str(self.home),
            "PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin",
            "TZ": "Europe/Berlin",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        argv = [shell, "-c", text]
        argv = users.as_argv(self.user, argv) if self.user else argv
        code, output = (_on_terminal if terminal else _piped)(argv, self.app, environment)
        return code, output.replace(str(self.app), APP).replace(str(self.home), HOME)


def shim(path: Path) -> None:
    """The console script as an installed one would be, for the checkout."""
    checkout, python = command.CHECKOUT, sys.executable
    path.write_text(f'#!/bin/sh\nPYTHONPATH={checkout} exec {python} -m logrotor "$@"\n')
    path.chmod(0o755)


def _piped(argv: list[str], cwd: Path, environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout.decode()


def _on_terminal(argv: list[str], cwd: Path, environment: dict[str, str]) -> tuple[int, str]:
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, start_new_session=True
        )
    finally:
        os.close(slave)
    pieces = []
    with open(master, "rb", buffering=0) as terminal:
        while True:
            try:
                piece = terminal.read(65536)
            except OSError:  # EIO: the last one has closed the other end
                break
            if not piece:
                break
            pieces.append(piece)
    return process.wait(_PATIENCE), b"".join(pieces).decode().replace("\r\n", "\n")
