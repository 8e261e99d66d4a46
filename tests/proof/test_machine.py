"""A long life: settings change, runs are killed, an administrator interferes. A model keeps every line and compares.

What may be missing afterwards is what somebody removed: the administrator, or retention as its plan had said. After a
run that was not killed each line is there once, nothing unfinished lies about, and the run was a success.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from logrotor.rotator import Rotator
from tests.proof import interfere
from tests.proof.sampling import EXHAUSTIVE
from tests.proof.test_debris import unpacked
from tests.support import oracle

FOLDERS = ("", "old", "older")
RULES = st.fixed_dictionaries(
    {"compress": st.sampled_from(["zstd", "gzip", "none"])},
    optional={
        "naming": st.sampled_from(["numbered", "dated"]),
        "backup_count": st.integers(1, 4),
        "archive_dir": st.sampled_from(["old", "older"]),
        "keep_uncompressed": st.integers(1, 2),
        "method": st.just("copytruncate"),
        "max_total_size": st.integers(500, 5000),
        "create": st.just(False),
    },
).filter(lambda found: not ("create" in found and "method" in found))
ACTIONS = ("restore from a backup", "delete", "rename", "touch", "compress by hand", "lose the state")
LINE = Counter[bytes]


class Life(RuleBasedStateMachine):
    """One log and everything that happens to it."""

    def __init__(self) -> None:
        super().__init__()
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.root = Path(tempfile.mkdtemp(prefix="logrotor-life-", dir=base))
        self.logs = self.root / "logs"
        for folder in FOLDERS:
            (self.logs / folder).mkdir(parents=True, exist_ok=True)
        self.written = 0
        self.model: set[bytes] = set()  # every line that must be there
        self.finished = True  # the last run was not killed

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @initialize(found=RULES)
    def first_settings(self, found: dict[str, Any]) -> None:
        self.rule = found

    # ------------------------------------------------------------ what happens

    @rule(count=st.integers(1, 4))
    def write(self, count: int) -> None:
        """The writer opens the log by name and appends."""
        self._put(self.logs / "app.log", self._lines(count))

    @rule(found=RULES)
    def change_settings(self, found: dict[str, Any]) -> None:
        self.rule = found

    @rule(force=st.booleans(), count=st.integers(0, 4))
    def rotate(self, force: bool, count: int) -> None:
        """The writer writes, and an ordinary run follows."""
        self.write(count)
        before, planned = len(self._archives()), self._planned_to_go(force)
        report = self._rotator().run(force=force)
        self.finished = True
        assert report.exit_code == 0, (report.failed, report.problems)
        self._lose(planned)
        limit = self.rule.get("backup_count")
        if limit and report.count("remove") and "max_total_size" not in self.rule:
            assert len(self._archives()) >= limit, f"{before} archives before, fewer than {limit} after"
        found = self._found()
        assert not [line for line in found if found[line] > 1], (found, self._listing())
        assert self._strays() == []

    @rule(nth=st.integers(3, 30), force=st.booleans(), count=st.integers(1, 4))
    def crash(self, nth: int, force: bool, count: int) -> None:
        """The writer writes, and a run is killed before one of its changes."""
        self.write(count)
        planned = self._planned_to_go(force)
        rotator = self._rotator()
        self.finished = not interfere.killed(nth, lambda: rotator.run(force=force))
        self._lose(planned)

    # ------------------------------------------------------------ the administrator

    @rule(
        action=st.sampled_from(ACTIONS), which=st.integers(0, 99), slot=st.integers(1, 12), count=st.integers(1, 3),
        suffix=st.sampled_from(["", ".gz", ".zst"]), ago=st.sampled_from([-3600, 0, 3600, 86_400]),
    )  # fmt: skip
    def administer(self, action: str, which: int, slot: int, count: int, suffix: str, ago: int) -> None:
        """He does something to the archives; only what makes sense to a killed run's twins.

        All is drawn before it is known what there is: threads of a run end in any order, and what they leave must not
        decide what is drawn.
        """
        archives = self._archives()
        if action == "restore from a backup":
            self.restore_from_backup(slot, suffix, count)
        elif action == "lose the state":
            if self.finished:
                shutil.rmtree(self.root / "state", ignore_errors=True)
        elif archives:
            self._handle(action, archives[which % len(archives)], slot, ago)

    def _handle(self, action: str, path: Path, slot: int, ago: int) -> None:
        if action == "delete":
            path.unlink()
            self.model &= set(self._found())
        elif not self.is_calm:
            return
        elif action == "rename":
            suffix = path.suffix if path.suffix in (".gz", ".zst") else ""
            target = path.with_name(f"app.log.{slot}{suffix}")
            if not target.exists():
                path.rename(target)
        elif action == "touch":
            then = path.stat().st_mtime - ago
            os.utime(path, (then, then))
        elif action == "compress by hand":
            target = path.with_name(path.name + ".gz")
            if path.suffix not in (".gz", ".zst") and not target.exists():
                target.write_bytes(gzip.compress(path.read_bytes()))
                shutil.copystat(path, target)
                path.unlink()

    def restore_from_backup(self, slot: int, suffix: str, count: int) -> None:
        path = self.logs / f"app.log.{slot}{suffix}"
        if not path.exists():
            pack: Callable[[bytes], bytes] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
            path.write_bytes(pack(self._lines(count)))

    @property
    def is_calm(self) -> bool:
        """No line stands twice: a twin that a killed run left must not be renamed, or nobody could tell what it is."""
        return all(count == 1 for count in self._found().values())

    # ------------------------------------------------------------ what must hold at any time

    @invariant()
    def no_line_is_lost(self) -> None:
        found = self._found()
        assert set(found) == self.model, (self.model ^ set(found), self._listing())

    # ------------------------------------------------------------ how

    def _rotator(self) -> Rotator:
        loss = {"accept_loss": True} if self.rule.get("method") == "copytruncate" else {}
        rule = {"name": "app", "paths": [str(self.logs / "app.log")], "max_size": 200, **self.rule, **loss}
        return interfere.rotator(self.root / "state", rule)

    def _lines(self, count: int) -> bytes:
        data = oracle.lines("w", self.written + 1, self.written + count)
        self.written += count
        self.model |= set(data.splitlines())
        return data

    def _put(self, path: Path, data: bytes) -> None:
        with open(path, "ab") as file:
            file.write(data)

    def _planned_to_go(self, force: bool) -> set[bytes]:
        """The lines that retention would remove: those of the archives that the plan names, by inode."""
        plan = self._rotator().plan(force=force)
        inodes = {step.id.inode for log in plan.logs for step in log.retire}
        return {line for path in self._files() if path.stat().st_ino in inodes for line in self._read(path)}

    def _lose(self, allowed: set[bytes]) -> None:
        lost = self.model - set(self._found())
        assert lost <= allowed, (lost - allowed, self._listing())
        self.model -= lost

    def _found(self) -> LINE:
        """All lines, but for those of unfinished archives."""
        return sum((Counter(self._read(path)) for path in self._files()), Counter())

    def _read(self, path: Path) -> list[bytes]:
        if path.name.endswith(".tmp"):
            return []
        data = unpacked(Path(path.name.removesuffix(".aside")).suffix, path.read_bytes())
        if path.name == "app.log" and data[:1] == bytes([ord("w") ^ 0xFF]):  # about to be truncated
            data = b"w" + data[1:]
        return data.splitlines()

    def _files(self) -> list[Path]:
        return [path for folder in FOLDERS for path in sorted((self.logs / folder).iterdir()) if path.is_file()]

    def _archives(self) -> list[Path]:
        return [path for path in self._files() if path.name.startswith("app.log") and path.name != "app.log"]

    def _strays(self) -> list[str]:
        return [str(path) for path in self._files() if path.name != "app.log" and path not in self._archives()]

    def _listing(self) -> list[str]:
        return [str(path.relative_to(self.logs)) for path in self._files()]


def live(examples: int, steps: int, *, same: bool) -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, derandomize=same, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_a_life():
    """Some lives, the same in each run of the tests."""
    live(30, 20, same=True)


@pytest.mark.long
@pytest.mark.parametrize("part", range(2))
def test_many_lives(part):
    """Many long ones, others each time."""
    live(600 if EXHAUSTIVE else 30, 50, same=False)
