"""Two versions of logrotor side by side: the previous one, from its wheel, and the one under test.

Both are asked by their command line alone. Only the previous one, whose inside no longer changes, can also be killed
before any of its changing calls.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.proof.scenarios import Lacks
from tests.support import command
from tests.support.command import CHECKOUT, Argument, Result

PREVIOUS = next((Path(__file__).parent / "previous").glob("*.whl"))
_REFUSED = {Lacks.NOTHING: [], Lacks.RENAMEAT2: ["renameat2"], Lacks.LINKS: ["renameat2", "link"]}


@dataclass(frozen=True, slots=True)
class Killed:
    """The operations of a run, and whether it was killed before the last of them."""

    operations: tuple[str, ...]
    result: Result

    @property
    def point(self) -> str | None:
        return self.operations[-1] if self.result.code == -9 else None


class Version:
    """One version, in a process that forks for each command. ``path``: what stands first in PYTHONPATH."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        ours, theirs = socket.socketpair()
        environment = self.environment
        argv = [sys.executable, "-P", str(Path(__file__).with_name("_driver.py")), str(theirs.fileno())]
        self._process = subprocess.Popen(argv, env=environment, cwd="/", pass_fds=[theirs.fileno()])
        theirs.close()
        self.channel, self._heard = ours, ours.makefile("rb")
        self._warm_up(folder)

    @property
    def environment(self) -> dict[str, str]:
        return command.environment({"PYTHONPATH": str(self.path)})

    def close(self) -> None:
        self._heard.close()
        self.channel.close()
        self._process.wait(60)

    def run(self, *args: Argument, check: int | None = 0) -> Result:
        """``logrotor ARGS`` in this version."""
        self.begin(*args)
        return self.ended(check)

    def begin(self, *args: Argument) -> None:
        """Start it, and do not wait; :meth:`ended` does."""
        self._ask({"args": [*map(str, args)]})

    def ended(self, check: int | None = 0) -> Result:
        return self._checked(self._answer(), check)

    def python(self, text: str) -> str:
        """What a piece of Python prints in this version."""
        self._ask({"python": text})
        return self._checked(self._answer(), 0).stdout

    def begin_gated(self, *args: Argument, nth: int, lacks: Lacks, announce: bool = False) -> None:
        """Start a command that is killed before its ``nth`` changing call (0: never)."""
        gate = {"nth": nth, "lacks": _REFUSED[lacks], "announce": announce}
        self._ask({"args": [*map(str, args)], "gate": gate})

    def hear(self, announced: Callable[[], object]) -> Killed | None:
        """One message: the end, or None after one that announced a changing call."""
        message = self._answer()
        if "before" not in message:
            return Killed(tuple(message["operations"]), self._checked(message, None))
        announced()
        self.channel.sendall(b"\n")
        return None

    def _warm_up(self, folder: Path) -> None:
        """What a run imports is imported once and for all."""
        place = folder / f"warm-{self._process.pid}"
        place.mkdir()
        for log in ("app", "cut"):
            (place / f"{log}.log").write_bytes(b"x\n" * 4000)
        rule = f'[[log]]\nname = "app"\npaths = ["{place}/app.log"]\nmax_size = 10\n'
        (place / "c.toml").write_text(f'state_dir = "{place}/state"\n{rule}')
        for args in (["run", "--json"], ["plan", "--json"]):
            self._ask({"args": [*args, "-c", str(place / "c.toml")], "imports": True})
            self._checked(self._answer(), 0)
        assert str(self.path) in self.python("import logrotor; print(logrotor.__file__)")

    def _ask(self, request: dict[str, Any]) -> None:
        self.channel.sendall(json.dumps(request).encode() + b"\n")

    def _answer(self) -> dict[str, Any]:
        line = self._heard.readline()
        assert line, f"the driver of {self.path} has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _checked(self, answer: dict[str, Any], check: int | None) -> Result:
        result = Result((os.fspath(self.path),), answer["code"], answer["stdout"], answer["stderr"])
        assert "Traceback (most recent call last)" not in result.stderr, str(result)
        assert check is None or result.code == check, str(result)
        return result


def current(folder: Path) -> Version:
    return Version(CHECKOUT, folder)


def previous(folder: Path) -> Version:
    return Version(PREVIOUS, folder)
