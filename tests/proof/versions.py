"""Two versions of logrotor side by side: the previous one, from its wheel, and the one under test.

Both are asked by their command line alone. Only the previous one, whose inside no longer changes, can also be killed
before any of its changing calls.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.proof.scenarios import Lacks
from tests.support import command
from tests.support.command import CHECKOUT, Argument, Result
from tests.support.drivers import Driver

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

    def __init__(self, path: Path) -> None:
        self.path = path
        self._environment = command.environment({"PYTHONPATH": str(path)})
        self._driver = Driver(self._environment)
        assert str(path) in self.python("import logrotor; print(logrotor.__file__)")

    def close(self) -> None:
        self._driver.close()

    @property
    def channel(self) -> socket.socket:
        """Readable when there is something to hear."""
        return self._driver.channel

    def run(self, *args: Argument, check: int | None = 0) -> Result:
        """``logrotor ARGS`` in this version."""
        self.begin(*args)
        return self.ended(check)

    def begin(self, *args: Argument) -> None:
        """Start it, and do not wait; :meth:`ended` does."""
        self._ask({"args": [*map(str, args)]})

    def ended(self, check: int | None = 0) -> Result:
        return self._checked(self._driver.answer(), check)

    def python(self, text: str) -> str:
        """What a piece of Python prints in this version."""
        self._ask({"python": text})
        return self.ended().stdout

    def begin_gated(self, *args: Argument, nth: int, lacks: Lacks, announce: bool = False) -> None:
        """Start a command that is killed before its ``nth`` changing call (0: never)."""
        gate = {"nth": nth, "lacks": _REFUSED[lacks], "announce": announce}
        self._ask({"args": [*map(str, args)], "gate": gate})

    def hear(self, announced: Callable[[], object]) -> Killed | None:
        """One message: the end, or None after one that announced a changing call."""
        message = self._driver.answer()
        if "before" not in message:
            return Killed(tuple(message["counted"].split()), self._checked(message, None))
        announced()
        self.channel.sendall(b".")
        return None

    def _ask(self, request: dict[str, Any]) -> None:
        self._driver.ask(request, env=self._environment)

    def _checked(self, answer: dict[str, Any], check: int | None) -> Result:
        result = Result((os.fspath(self.path),), answer["code"], answer["stdout"], answer["stderr"])
        assert "Traceback (most recent call last)" not in result.stderr, str(result)
        assert check is None or result.code == check, str(result)
        return result


def current() -> Version:
    return Version(CHECKOUT)


def previous() -> Version:
    return Version(PREVIOUS)
