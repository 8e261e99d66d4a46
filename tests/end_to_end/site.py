"""A deployment in a folder of its own: logs, a configuration, the state, and the user who rotates."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import command, oracle, supervisor, users
from tests.support.command import Result
from tests.support.oracle import Tally

MB = 1 << 20

# Writes numbered lines to its standard output until a file "stop" appears; then says in "NAME.count" how many.
PROGRAM = """\
import os, signal, sys, time
sys.path.insert(0, sys.argv[3])
from tests.support.oracle import line
name, pause, number = sys.argv[1], float(sys.argv[2]), 0
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while not os.path.exists("stop"):
    number += 1
    data = line(name, number)
    while data:
        data = data[os.write(1, data):]
    time.sleep(pause)
with open(name + ".count.part", "w") as file:
    file.write(str(number))
os.rename(name + ".count.part", name + ".count")
while True:
    signal.pause()
"""


@dataclass
class Site:
    """``user`` None: whoever runs the tests (root)."""

    root: Path
    user: str | None = None

    @property
    def config(self) -> Path:
        return self.root / "logrotor.toml"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def configure(self, text: str) -> None:
        """``text`` below a ``state_dir``; keys of the top level may stand first in it."""
        self.config.write_text(f'state_dir = "{self.state}"\n{text}')

    def folder(self, name: str, mode: int = 0o755) -> Path:
        """A folder below the root, of the user who rotates, as its missing parents are."""
        made = self.root
        for part in Path(name).parts:
            made /= part
            if not made.exists():
                made.mkdir()
                self.own(made)
        made.chmod(mode)
        return made

    def file(self, path: Path | str, data: bytes = b"", *, mode: int = 0o644) -> Path:
        """A file of the user who rotates."""
        made = self.root / path
        made.write_bytes(data)
        made.chmod(mode)
        self.own(made)
        return made

    def own(self, path: Path) -> None:
        if self.user is not None:
            owner = users.user(self.user)
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)

    def run(self, *args: str | Path, check: int | None = 0, **more: Any) -> Result:
        """``logrotor run ARGS`` as the user who rotates."""
        return command.logrotor("run", "-c", self.config, *args, user=self.user, check=check, **more)

    def settle(self, *files: Path) -> None:
        """Run until these exist: whoever takes over two seconds to reopen a log is waited for by a later run."""
        supervisor.wait_for(lambda: all(file.exists() for file in files) or not self.run())

    def plan(self, *args: str | Path, check: int | None = 0) -> Result:
        return command.logrotor("plan", "-c", self.config, *args, user=self.user, check=check)

    def report(self, *args: str | Path, check: int | None = 0) -> dict[str, Any]:
        """The report of a run, as ``--json`` prints it."""
        found: dict[str, Any] = self.run("--json", *args, check=check).json
        return found

    def events(self, *args: str | Path, check: int | None = 0) -> list[dict[str, Any]]:
        """Every event of a run, as ``-vv`` tells it."""
        told = self.run("-vv", "--log-format", "json", *args, check=check).stderr
        return [json.loads(each) for each in told.splitlines()]

    def errors(self, *args: str | Path, check: int = 1) -> str:
        """What a run of the default level tells as errors, one a line."""
        told = [json.loads(each) for each in self.run("--log-format", "json", *args, check=check).stderr.splitlines()]
        return "\n".join(event["error"] for event in told)


def counted(folder: Path, base: str, **expected: int) -> Tally:
    """Every line of the log ``base`` over all of its files, counted once, and no file that should not be there."""
    return oracle.count(folder, base, expected=expected).check()


def outcomes(report: dict[str, Any], action: str | None = None, **wanted: str) -> list[dict[str, Any]]:
    """Outcomes of a report that fit."""
    found = [o for o in report["outcomes"] if action is None or o["action"] == action]
    return [o for o in found if all(o[key] == value for key, value in wanted.items())]


def fingerprint(*folders: Path) -> dict[str, tuple[int, ...]]:
    """What every file and folder is, so that any change shows: inode, size, mode, times and names."""
    found: dict[str, tuple[int, ...]] = {}
    for folder in folders:
        for path in sorted([folder, *folder.rglob("*")]):
            status = path.lstat()
            found[str(path)] = (status.st_ino, status.st_size, status.st_mode, status.st_mtime_ns, status.st_ctime_ns)
    return found


def listing(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))
