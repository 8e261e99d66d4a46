"""A deployment in a folder of its own: logs, a configuration, the state, and the user who rotates."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support import command, oracle, supervisor, users
from tests.support.command import Result
from tests.support.oracle import Tally


class Deployment:
    """``user`` None: whoever runs the tests (root). The logs are wherever the configuration says."""

    def __init__(self, root: Path, user: str | None = None) -> None:
        self.root, self.user = root, user
        self.config, self.state = root / "logrotor.toml", root / "state"

    def configure(self, *parts: str | Mapping[str, Any]) -> None:
        """A configuration below a ``state_dir``: text, or rules as mappings. Keys of the top level may stand first."""
        tables = [part if isinstance(part, str) else rule(part) for part in parts]
        self.config.write_text("\n".join([f"state_dir = {toml(self.state)}", *tables, ""]))

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

    def own(self, *paths: Path) -> None:
        """Give it to the user who rotates."""
        for path in paths if self.user is not None else ():
            owner = users.user(self.user or "")
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)

    def command(self, *args: str | Path, check: int | None = 0, **more: Any) -> Result:
        """``logrotor ARGS`` with this configuration, as the user who rotates."""
        return command.logrotor(*args, "-c", self.config, user=self.user, check=check, **more)

    def run(self, *args: str | Path, check: int | None = 0, **more: Any) -> Result:
        """``logrotor run ARGS``."""
        return self.command("run", *args, check=check, **more)

    def settle(self, *files: Path) -> None:
        """Run until these exist: whoever takes over two seconds to reopen a log is waited for by a later run."""
        supervisor.wait_for(lambda: all(file.exists() for file in files) or not self.run())

    def json(self, *args: str | Path, check: int | None = 0) -> Any:
        """What a command answers in JSON."""
        return self.command(*args, "--json", check=check).json

    def report(self, *args: str | Path, check: int | None = 0) -> dict[str, Any]:
        """The report of a run."""
        found: dict[str, Any] = self.json("run", *args, check=check)
        return found

    def events(self, *args: str | Path, check: int | None = 0) -> list[dict[str, Any]]:
        """Every event of a run, as ``-vv`` tells it."""
        told = self.run("-vv", "--log-format", "json", *args, check=check).stderr
        return [json.loads(each) for each in told.splitlines()]

    def problems(self, *args: str | Path, check: int = 1) -> list[dict[str, Any]]:
        """What is wrong in a run that fails: ``subject``, ``problem``, ``advice``."""
        report = self.report(*args, check=check)
        return [*(o["problem"] for o in report["outcomes"] if o["status"] == "failed"), *report["problems"]]


class OneLog(Deployment):
    """``logs/app.log``, rotated again and again while its rule changes; each of its lines is known by a number."""

    def __init__(self, root: Path, user: str | None = None, **keys: Any) -> None:
        super().__init__(root, user)
        self.logs = self.folder("logs")
        self.log = self.logs / "app.log"
        self.folders = [self.logs]  # and every archive directory that there ever was
        self.written = 0
        self.tables: list[str] = []  # what stands above the rule
        self.rule: dict[str, Any] = {}
        self.change(**{"name": "app", "paths": [self.log], "max_size": "1GB", **keys})

    def change(self, **keys: Any) -> None:
        """Set keys of the rule; None takes one away. ``archive_dir`` is remembered for the count."""
        self.rule = {key: value for key, value in {**self.rule, **keys}.items() if value is not None}
        if "archive_dir" in self.rule:
            folder = Path(os.path.normpath(self.logs / self.rule["archive_dir"]))
            self.folders += [folder] if folder not in self.folders else []
        self.configure(*self.tables, self.rule)

    def write(self, count: int = 10, *, width: int = 80) -> None:
        with self.log.open("ab") as file:
            file.write(oracle.lines("w1", self.written + 1, self.written + count, width))
        self.written += count

    def library(self, *, force: bool = False, now: datetime | None = None, code: int = 0) -> Any:
        """A run in this process; its report."""
        from logrotor import Rotator, load_config

        report = Rotator(load_config(self.config, environ={})).run(now, force=force)
        assert report.exit_code == code, [*report.problems, *report.outcomes]
        return report

    def rotate(self, **keys: Any) -> Any:
        """Ten more lines, rotated by the library."""
        self.change(**keys)
        self.write()
        return self.library(force=True)

    def check(self, *, gone: int = 0) -> list[str]:
        """All lines but the ``gone`` oldest are there, once, in order from the oldest archive to the live log."""
        tally = oracle.count_joined(self._present(), "app.log", {"w1": self.written})
        missing = [line.number for line in tally.lost]
        assert missing == list(range(1, gone + 1)), tally
        assert not (tally.doubled or tally.torn or tally.disorder or tally.unexpected or tally.strays), tally
        return self.archives()

    def archives(self) -> list[str]:
        """Names of the archives, oldest first."""
        return [os.path.basename(path) for path in oracle.archives(self._present(), "app.log")]

    def _present(self) -> list[Path]:
        return [folder for folder in self.folders if folder.exists()]


def rule(keys: Mapping[str, Any]) -> str:
    """A rule as TOML."""
    return "\n".join(["[[log]]", *(f"{key} = {toml(value)}" for key, value in keys.items())])


def toml(value: object) -> str:
    """A value as TOML: a string, a path, a number, a truth value, or a list of such."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, (bool, int, float)):
        return str(value).lower()
    return json.dumps(os.fspath(value) if isinstance(value, Path) else value, ensure_ascii=False)


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
