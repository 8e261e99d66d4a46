"""The kill sweep for Debian's logrotate and for logrotor, by the same harness: the figures that the README quotes.

A rotation with three compressed generations is killed before each system call that changes a file; one ordinary run
follows, and what an undisturbed run leaves is compared with what lies there. ``python -m tests.proof.test_rival_sweep``
prints the table.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.rival.rivals import Logrotate, Logrotor, Rival, Rule, each
from tests.support import mounts, oracle, strace
from tests.support.need import need

KEPT, LINES = 3, 100
KINDS = ("lost", "doubled", "no live log", "unreadable archive", "stray", "not removed", "exit not 0")


@dataclass(slots=True)
class Figures:
    """Points of one sweep, and at how many of them something is wrong after the next run."""

    points: int = 0
    harmed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    where: list[str] = field(default_factory=list)

    def row(self, name: str) -> str:
        return _row(name, self.points, self.harmed, *(self.kinds[kind] for kind in KINDS))


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


HEADER = _row("killed before each changing call, then run again", "points", "harmed", *KINDS)
HEADER += "\n" + _row("---", *["--:"] * (2 + len(KINDS)))


class Sweep:
    """One rival, one rule, one tree that every point starts from."""

    def __init__(self, rival: Rival, folder: Path, *, copytruncate: bool) -> None:
        self.rival, self.logs, self.folder = rival, folder / "logs", folder
        self.live, self.template = self.logs / "app.log", folder / "template"
        self.logs.mkdir()
        rival.configure(Rule([self.live], keep=KEPT, compress=True, copytruncate=copytruncate))
        self.generations = KEPT + 2  # the oldest is gone already, the next goes in the rotation that is killed
        for number in range(1, self.generations + 1):
            with open(self.live, "ab") as log:
                log.write(oracle.lines(f"g{number}", 1, LINES))
            if number < self.generations:
                assert rival.rotate().code == 0
        self._copy(self.logs, self.template / "logs")
        self._copy(rival.folder, self.template / "rival")

    def _copy(self, source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, symlinks=True)

    def _lay_out(self) -> None:
        self._copy(self.template / "logs", self.logs)
        self._copy(self.template / "rival", self.rival.folder)

    def run(self, step: int = 1) -> Figures:
        """Kill at every (or every ``step``-th) point; one that only kills the compressor, a helper process, counts."""
        self._lay_out()
        _, calls = strace.changes(self.rival.argv(), cwd=self.rival.folder, check=0)
        undisturbed = self._lines()
        assert undisturbed.total() == len(undisturbed)
        figures = Figures()
        for name, when in strace.points(call for call in calls if str(self.folder) in call.arguments)[::step]:
            self._lay_out()
            if self.rival.rotate(strace.kill(name, when)).code == 0:
                continue  # not met: how many files a Python program opens depends on what else runs on the machine
            figures.points += 1
            harm = self._harm(self.rival.rotate().code, undisturbed)
            if harm:
                figures.harmed += 1
                figures.kinds.update(harm)
                figures.where.append(f"{name}#{when}: {', '.join(sorted(harm))}")
        return figures

    def _harm(self, code: int, undisturbed: Counter[bytes]) -> set[str]:
        lines = self._lines()
        found = {
            "lost": undisturbed - lines,
            "doubled": any(copies > 1 for copies in lines.values()),
            "no live log": not self.live.exists(),
            "unreadable archive": any(oracle.read(path)[1] for path in oracle.archives(self.logs, "app.log")),
            "stray": oracle.strays(self.logs, "app.log"),
            "not removed": lines.keys() - undisturbed.keys(),
            "exit not 0": code,
        }
        return {kind for kind, wrong in found.items() if wrong}

    def _lines(self) -> Counter[bytes]:
        """Every line in the archives, as far as they can be read, in the log, and in whatever else lies there."""
        paths = [*oracle.archives(self.logs, "app.log"), *([self.live] if self.live.exists() else [])]
        paths += [self.logs / name for name in oracle.strays(self.logs, "app.log")]
        return Counter(b"".join(oracle.read(path)[0] for path in paths).splitlines())


def swept(rival: type[Rival], folder: Path, *, copytruncate: bool, step: int = 1) -> Figures:
    return Sweep(each(rival, folder / "rival"), folder, copytruncate=copytruncate).run(step)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("copytruncate", [False, True], ids=["rename", "copytruncate"])
def test_logrotate_is_harmed(tmp_path: Path, copytruncate: bool) -> None:
    """At several points the rival loses data, doubles it, or leaves no live log."""
    figures = swept(Logrotate, tmp_path, copytruncate=copytruncate)
    print(HEADER, figures.row("logrotate"), *figures.where, sep="\n")
    assert figures.points >= 20
    assert figures.kinds["lost"] > 0
    assert figures.kinds["doubled"] > 0
    assert copytruncate or figures.kinds["no live log"] > 0


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("copytruncate", [False, True], ids=["rename", "copytruncate"])
def test_logrotor_is_not(tmp_path: Path, copytruncate: bool) -> None:
    """The same sweep: each eighth point of it, for the kill sweep has them all."""
    need(not copytruncate or mounts.collapses(tmp_path), "a file system that collapses ranges")
    figures = swept(Logrotor, tmp_path, copytruncate=copytruncate, step=8)
    print(HEADER, figures.row("logrotor"), sep="\n")
    assert figures.points >= 8
    assert figures.harmed == 0, figures.where


def main() -> None:
    print(HEADER)
    for rival in (Logrotate, Logrotor):
        for copytruncate in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                figures = swept(rival, Path(folder), copytruncate=copytruncate)
            print(figures.row(f"{rival.name}, {'copytruncate' if copytruncate else 'rename'}, gzip"))
            sys.stdout.flush()
            if "-v" in sys.argv:
                print(*figures.where, sep=os.linesep)


if __name__ == "__main__":
    main()
