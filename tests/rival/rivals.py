"""logrotate and logrotor behind one face, so that a scenario is told once and run with both."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from tests.support import command, strace
from tests.support.command import Result
from tests.support.deployment import rule, toml
from tests.support.need import need


@dataclass(frozen=True, slots=True)
class Rule:
    """What to rotate, in words that both understand. ``size``: due from 2 bytes on; else daily."""

    paths: Sequence[Path]
    keep: int = 7
    size: bool = True
    compress: bool = False  # gzip
    copytruncate: bool = False
    archive_dir: Path | None = None
    reopen: str | None = None  # a shell command
    odd: str = ""  # a line of that rotator's own language


class Rival(Protocol):
    """A rotator with its configuration and state in ``folder``."""

    name: str
    folder: Path

    def configure(self, *rules: Rule) -> None:
        """Replace the configuration."""

    def argv(self, *, force: bool = False) -> list[str]:
        """The command of one run."""

    def rotate(
        self, *injects: strace.Inject, force: bool = False, paths: Sequence[Path] = (), traceback: bool = False
    ) -> Result:
        """One run, with faults if there are any."""

    def let_days_pass(self, *logs: Path) -> None:
        """From now on the last rotation of ``logs`` lies days back."""

    def rotate_with_compressor_failing(self, rule: Rule, *, kill: bool) -> Result:
        """One run in which the compression of slot 1 fails or, with ``kill``, the whole run dies."""

    def dry_run(self) -> Result:
        """Only say what would be done."""


def each(rival: type[Rival], folder: Path) -> Rival:
    """A rival that keeps its own things in ``folder``."""
    folder.mkdir(exist_ok=True)
    return rival(folder)  # type: ignore[call-arg]


@dataclass
class Logrotate:
    """Debian's logrotate."""

    folder: Path
    name: str = "logrotate"

    def __post_init__(self) -> None:
        need(shutil.which("logrotate"), "logrotate")
        need(os.geteuid() == 0, "root, for logrotate refuses much else")

    @property
    def state(self) -> Path:
        return self.folder / "status"

    def configure(self, *rules: Rule) -> None:
        self._write(self._config(*rules))

    def argv(self, *, force: bool = False) -> list[str]:
        return [
            "logrotate",
            *(["--force"] if force else []),
            "-s",
            str(self.state),
            str(self.folder / "logrotate.conf"),
        ]

    def rotate(
        self, *injects: strace.Inject, force: bool = False, paths: Sequence[Path] = (), traceback: bool = False
    ) -> Result:
        argv = self.argv(force=force)
        return strace.run(argv, *injects, paths=paths, cwd=self.folder) if injects else command.run(argv)

    def let_days_pass(self, *logs: Path) -> None:
        days_ago = datetime.now() - timedelta(days=2)
        stamp = f"{days_ago.year}-{days_ago.month}-{days_ago.day}-0:0:0"
        self.state.write_text("logrotate state -- version 2\n" + "".join(f'"{log}" {stamp}\n' for log in logs))
        self.state.chmod(0o640)

    def rotate_with_compressor_failing(self, rule: Rule, *, kill: bool) -> Result:
        program = self.folder / "compressor"
        program.write_text("#!/bin/sh\n" + ("kill -9 $PPID\n" if kill else "") + "exit 1\n")
        program.chmod(0o755)
        self._write(self._config(rule).replace("compress\n", f"compress\n  compresscmd {program}\n"))
        result = self.rotate()
        self.configure(rule)
        return result

    def dry_run(self) -> Result:
        return command.run(["logrotate", "--debug", *self.argv()[1:]])

    def _write(self, text: str) -> None:
        (self.folder / "logrotate.conf").write_text(text)
        (self.folder / "logrotate.conf").chmod(0o644)

    def _config(self, *rules: Rule) -> str:
        return "".join(_logrotate_section(rule) for rule in rules)


def _logrotate_section(rule: Rule) -> str:
    lines = [f"rotate {rule.keep}", "size 2" if rule.size else "daily"]
    lines += ["copytruncate" if rule.copytruncate else "create 0664 root root"]
    lines += ["compress"] if rule.compress else []
    lines += [f"olddir {rule.archive_dir}", "createolddir 0755 root root"] if rule.archive_dir else []
    lines += [rule.odd] if rule.odd else []
    lines += ["postrotate", rule.reopen, "endscript"] if rule.reopen else []
    return "\n  ".join([" ".join(f'"{path}"' for path in rule.paths) + " {", *lines]) + "\n}\n"


@dataclass
class Logrotor:
    """The command of this checkout. After :meth:`let_days_pass` the library runs instead, for it takes a ``now``."""

    folder: Path
    name: str = "logrotor"
    days: int = 0
    lock_timeout: str = "20s"

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def config(self) -> Path:
        return self.folder / "logrotor.toml"

    def configure(self, *rules: Rule) -> None:
        tables = [f"state_dir = {toml(self.state_dir)}\nlock_timeout = {toml(self.lock_timeout)}"]
        tables += [_logrotor_tables(f"rule{number}", rule) for number, rule in enumerate(rules, 1)]
        self.config.write_text("\n\n".join([*tables, ""]))
        self.config.chmod(0o644)

    def argv(self, *, force: bool = False) -> list[str]:
        return command.arguments(*self._arguments(force))

    def _arguments(self, force: bool) -> list[str]:
        return ["run", "-c", str(self.config), *(["--force"] if force else [])]

    def rotate(
        self, *injects: strace.Inject, force: bool = False, paths: Sequence[Path] = (), traceback: bool = False
    ) -> Result:
        if injects:
            return strace.run(self.argv(force=force), *injects, paths=paths, traceback=traceback)
        if self.days:
            return self._later()
        return command.logrotor(*self._arguments(force), traceback=traceback)

    def _later(self) -> Result:
        from logrotor import Rotator, load_config

        report = Rotator(load_config(self.config)).run(now=datetime.now(UTC) + timedelta(days=self.days))
        return Result((), report.exit_code, "", str(report.failed))

    def let_days_pass(self, *logs: Path) -> None:
        self.days += 2

    def rotate_with_compressor_failing(self, rule: Rule, *, kill: bool) -> Result:
        unfinished = [path.parent / f".{path.name}.1.gz.tmp" for path in rule.paths]
        self.configure(rule)
        fault = strace.kill("write") if kill else strace.fail("fsync", "EIO")
        return self.rotate(fault, paths=unfinished)

    def dry_run(self) -> Result:
        return command.logrotor(*self._arguments(force=False), "--dry-run")


def _logrotor_tables(name: str, wanted: Rule) -> str:
    keys: dict[str, object] = {"name": name, "paths": [*wanted.paths], "backup_count": wanted.keep}
    keys |= {"max_size": "1"} if wanted.size else {"schedule": "daily"}
    keys["compress"] = "gzip" if wanted.compress else "none"
    keys |= {"method": "copytruncate"} if wanted.copytruncate else {"create_mode": "0664"}
    keys |= {"archive_dir": wanted.archive_dir} if wanted.archive_dir else {}
    keys |= {"reopen": name} if wanted.reopen else {}
    lines = [rule(keys), wanted.odd]
    if wanted.reopen:
        lines += [f"[reopen.{name}]", 'manager = "command"', 'timeout = "60s"']
        lines += [f"command = {toml(['/bin/sh', '-c', wanted.reopen])}"]
    return "\n".join(lines)


def touched(path: Path) -> str:
    """A shell command that leaves a mark."""
    return f"echo done >> {shlex.quote(str(path))}"
