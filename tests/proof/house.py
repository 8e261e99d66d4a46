"""A log directory in which an attacker may do what he likes, and a place outside that must stay as it is.

The attacker owns the directory above the logs and is in their group, so he can swap the whole directory and rename,
remove and create files in it. Outside lies what he wants: files that only the rotator's user can read or change.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import Thread
from typing import Any

import zstandard

from logrotor.cli import call
from logrotor.disk import identity
from logrotor.errors import LogrotorError
from tests.proof import interfere
from tests.support import oracle, users
from tests.support.fixtures import world_tree

SECRET = b"SECRET-"
ATTACKER = "daemon"
RUNNER = "www-data"


class Who(StrEnum):
    """As whom it runs: root, root that becomes the runner (``run_as``), or the runner."""

    ROOT = "root"
    RUN_AS = "run_as"
    USER = "user"


class Kind(StrEnum):
    """What stands where a regular file should."""

    SYMLINK = "symlink"
    DANGLING = "dangling symlink"
    FIFO = "fifo"
    HARD_LINK = "hard link"
    DEVICE = "device"
    DIRECTORY = "directory"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    code: int
    said: str = ""


@dataclass(slots=True)
class House:
    """The folders of one test; ``rule`` is the log's rule without its name and paths."""

    root: Path
    who: Who
    rule: dict[str, Any] = field(default_factory=dict)

    @property
    def logs(self) -> Path:
        return self.root / "var/logs"

    @property
    def log(self) -> Path:
        return self.logs / "app.log"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def owner(self) -> users.User:
        return users.user(0 if self.who is Who.ROOT else RUNNER)

    def build(self) -> None:
        """Everything as it is before the attack: a log that is due, two archives, an archive directory."""
        attacker = users.user(ATTACKER)
        for folder in (self.logs, self.logs / "old", self.outside / "sub", self.state):
            folder.mkdir(parents=True)
        self.log.write_bytes(oracle.lines("w1", 101, 250))
        (self.logs / "app.log.1").write_bytes(oracle.lines("w1", 51, 100))
        (self.logs / "app.log.2.zst").write_bytes(zstandard.compress(oracle.lines("w1", 1, 50)))
        for name in ("secret", "app.log", "app.log.1", "sub/app.log.1"):
            (self.outside / name).write_bytes(SECRET * 4000)
        for path in (self.state, self.outside, *self.outside.rglob("*"), self.logs, *self.logs.rglob("*")):
            os.chown(path, self.owner.uid, self.owner.gid)
        for path in self.outside.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        for folder in (self.logs, self.logs / "old"):
            os.chown(folder, self.owner.uid, attacker.gid)
            folder.chmod(0o2775)
        os.chown(self.logs.parent, attacker.uid, attacker.gid)
        self.state.chmod(0o700)

    # ------------------------------------------------------------ running

    def run(self, attack: Callable[[int, str], object] | None = None, *, deep: bool = False) -> Ended:
        """One run of the library in a fork; ``attack`` is called here before each change (deep: each system call)."""
        if attack is None:
            return self._as(self._carry_out)
        with _served(attack) as ask:
            announce = interfere.before_each_system_call if deep else interfere.before_each

            def attacked() -> Ended:
                with announce(ask):
                    return self._carry_out()

            return self._as(attacked)

    def command(self, *arguments: str) -> Ended:
        """The command line in a fork, with what it said on stderr."""
        file = self.root / "logrotor.json"
        text = "\n".join(f"{key} = {_toml(value)}" for key, value in self._config().items() if key != "log")
        rules = "".join(
            "\n[[log]]\n" + "\n".join(f"{k} = {_toml(v)}" for k, v in rule.items()) for rule in self._config()["log"]
        )
        run_as = f'\nrun_as = "{RUNNER}"' if self.who is Who.RUN_AS else ""
        file.write_bytes(os.fsencode(text + run_as + rules))
        file.chmod(0o644)

        def called() -> Ended:
            with tempfile.TemporaryFile() as said:
                sys.stdout = sys.stderr = open(said.fileno(), "w", errors="surrogateescape", closefd=False)  # noqa: SIM115
                code = call([*arguments, "-c", str(file)])
                sys.stdout.flush()
                said.seek(0)
                return Ended(code, said.read().decode(errors="surrogateescape"))

        return self._as(called, become=False)

    def _config(self) -> dict[str, Any]:
        return {
            "state_dir": str(self.state),
            "compress_jobs": 1,
            "log": [{"name": "app", "paths": [str(self.log)], "max_size": 1000, **self.rule}],
        }

    def _carry_out(self) -> Ended:
        config = self._config()
        try:
            report = interfere.rotator(config["state_dir"], *config["log"]).run()
        except LogrotorError as error:
            return Ended(2, str(error))
        return Ended(report.exit_code, "\n".join([*(o.reason for o in report.failed), *map(str, report.problems)]))

    def _as(self, function: Callable[[], Ended], *, become: bool = True) -> Ended:
        """In a fork, as the one who runs. Nothing may hang."""
        _import_all()
        if self.who is Who.USER:
            return users.as_user(RUNNER, function, timeout=60)
        if self.who is Who.RUN_AS and become:

            def changed() -> Ended:
                identity.become(RUNNER)
                return function()

            return users.in_fork(changed, timeout=60)
        return users.in_fork(function, timeout=60)

    # ------------------------------------------------------------ what became of it

    def leaks(self) -> list[str]:
        """Files below the logs' parent that hold something of the secret, but for the attacker's own links to it."""
        secrets = {path.stat().st_ino for path in self.outside.rglob("*")}
        regular = [p for p in self.logs.parent.rglob("*") if stat.S_ISREG(p.lstat().st_mode)]
        return [str(p) for p in regular if p.stat().st_ino not in secrets and SECRET in oracle.read(p)[0]]


def fingerprint(folder: Path) -> dict[str, object]:
    """Each path with what must not change; the number of links and ctime are the attacker's to change."""
    found: dict[str, object] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        found[os.fspath(path)] = (
            status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev, content,
        )  # fmt: skip
    return found


def place(kind: Kind, path: Path, outside: Path) -> None:
    """Put something of the attacker's at ``path``."""
    match kind:
        case Kind.SYMLINK:
            path.symlink_to(outside / "secret")
        case Kind.DANGLING:
            path.symlink_to(outside / "made")
        case Kind.FIFO:
            os.mkfifo(path, 0o666)
        case Kind.HARD_LINK:
            os.link(outside / "secret", path)
            return
        case Kind.DEVICE:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: reading it would never end
        case Kind.DIRECTORY:
            path.mkdir()
        case Kind.SOCKET:
            _socket(path)
    os.chown(path, users.user(ATTACKER).uid, users.user(ATTACKER).gid, follow_symlinks=False)


def take_away(path: Path) -> None:
    """Remove what :func:`place` put there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def house(who: Who, **rule: Any) -> Iterator[House]:
    """A house that is built; removed afterwards."""
    with ExitStack() as stack:
        root = stack.enter_context(interfere.memory_folder(lambda: stack.enter_context(world_tree())))
        built = House(root, who, rule)
        built.build()
        yield built


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


@contextmanager
def _served(attack: Callable[[int, str], object]) -> Iterator[Callable[[int, str], None]]:
    """Gives a function for a fork; each of its calls is carried out here, by ``attack``, while the fork waits."""
    asked, ask = os.pipe()
    answered, answer = os.pipe()

    def serve() -> None:
        with open(asked, "rb") as requests:
            while True:
                try:
                    number, name = pickle.load(requests)
                except EOFError:
                    return
                attack(number, name)
                os.write(answer, b".")

    def call_home(number: int, name: str) -> None:
        os.write(ask, pickle.dumps((number, name)))
        os.read(answered, 1)

    server = Thread(target=serve)
    server.start()
    try:
        yield call_home
    finally:
        os.close(ask)
        server.join()
        os.close(answer)
        os.close(answered)


def _toml(value: object) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value).lower()


def _import_all() -> None:
    """What a run imports when it needs it: after a change of user the interpreter's folder may be closed to us."""
    import _strptime
    import concurrent.futures.thread
    import sqlite3
    import urllib.parse

    import cronsim
    import filelock
    import structlog

    import logrotor.act.run
    import logrotor.cli.check
    import logrotor.cli.output
    import logrotor.cli.planning
    import logrotor.cli.rotation
    import logrotor.cli.session
    import logrotor.disk.history

    _ = (
        _strptime,
        concurrent.futures.thread,
        sqlite3,
        urllib.parse,
        cronsim,
        filelock,
        structlog,
        logrotor.act.run,
    )
