"""What a benchmark is made of: rounds in which both sides run one after the other, and what comes of them."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.command import environment

MEASURED = Path(__file__).with_name("measured.py")
SCRIPT = "import sys\nfrom logrotor.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"  # as pip's


@dataclass(frozen=True, slots=True)
class Taken:
    """What one command took."""

    seconds: float
    cpu: float
    resident: int  # bytes


@dataclass(frozen=True, slots=True)
class Side:
    """One command, ready to run once, and the proof that it did its work (AssertionError)."""

    argv: Sequence[str]
    proof: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Round:
    """Both sides, in one and the same minute."""

    rival: Taken
    ours: Taken


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table."""

    case: str
    rival: str
    at_most: float  # times the rival's time; or seconds, if ``plus``
    rounds: Sequence[Round]
    resident_at_most: int  # bytes
    plus: bool = False  # what counts is the difference, not the ratio
    notes: Sequence[str] = field(default=())

    @property
    def values(self) -> list[float]:
        """The ratio of each round; or the difference in seconds, or our time alone where there is no rival."""
        if self.plus:
            return [r.ours.seconds - r.rival.seconds for r in self.rounds]
        return [r.ours.seconds / r.rival.seconds for r in self.rounds]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def cpu(self) -> float:
        """The ratio of the CPU times, which a busy machine disturbs less."""
        return statistics.median(r.ours.cpu / max(r.rival.cpu, 1e-6) for r in self.rounds)

    @property
    def resident(self) -> int:
        return max(r.ours.resident for r in self.rounds)

    @property
    def reached(self) -> bool:
        return self.median <= self.at_most and self.resident <= self.resident_at_most


def measure(argv: Sequence[str]) -> Taken:
    """Run a command through ``measured.py``; AssertionError if it fails."""
    found = shutil.which(argv[0])
    assert found is not None, f"{argv[0]} is missing"
    command = [sys.executable, "-I", "-S", str(MEASURED), found, *argv[1:]]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, cwd="/")
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == 0, f"{argv}: exit {told['code']}\n{done.stdout}{done.stderr}"
    return Taken(told["seconds"], told["cpu"], told["resident"])


def play(rounds: Sequence[tuple[Side, Side]], wait: float, rest: float = 0.0) -> list[Round]:
    """Run every pair, the rival first in every other one, after what was prepared has come to rest.

    ``wait``: seconds before the first; ``rest``: before each one.
    """
    os.sync()
    time.sleep(wait)
    return [_play(number, rest, *pair) for number, pair in enumerate(rounds)]


def _play(number: int, rest: float, rival: Side, ours: Side) -> Round:
    taken: dict[int, Taken] = {}
    for which in (0, 1) if number % 2 == 0 else (1, 0):
        side = (rival, ours)[which]
        os.sync()  # what the other side left to be written is not ours to wait for
        time.sleep(rest)
        taken[which] = measure(side.argv)
        side.proof()
    return Round(taken[0], taken[1])


def logrotor(config: Path, *more: str) -> list[str]:
    """The argv of the console script, as pip makes it, of this checkout."""
    script = config.with_name("logrotor")
    script.write_text(SCRIPT)
    return [sys.executable, str(script), "run", "-c", str(config), *more]
