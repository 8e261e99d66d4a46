"""A real deployment in a folder, and the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.cli import call
from logrotor.model import Config, Report
from logrotor.observe import deployment
from tests.support.fixtures import world  # noqa: F401


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Deployment:
    """Logs, a configuration and a state directory of the running user."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.logs, self.state = folder, folder / "logs", folder / "state"
        self.logs.mkdir(mode=0o755)
        self.file = folder / "logrotor.toml"
        self.held = ExitStack()
        self.configure()

    def configure(self, more: str = "", *, size: str = "10KB", head: str = "", paths: str = '["logs/*.log"]') -> None:
        """One rule ``app``; ``more`` are its further lines and further tables, ``head`` stands at the top."""
        rule = f'[[log]]\nname = "app"\npaths = {paths}\nmax_size = "{size}"\nbackup_count = 7\n'
        self.file.write_text(f'state_dir = "{self.state}"\n{head}\n{rule}{more}\n')

    @property
    def config(self) -> Config:
        return load_config(self.file, environ={})

    def log(self, name: str = "app.log", size: int = 20_000, mode: int = 0o664) -> Path:
        path = self.logs / name
        path.write_bytes(b"a line of the log, as it may be\n" * (size // 32))
        path.chmod(mode)
        return path

    def hold(self, name: str = "app.log", **more: Any) -> Path:
        """A log that this process has open, and never lets go of."""
        path = self.log(name, **more)
        self.held.enter_context(path.open("ab"))
        return path

    def cannot_ask(self) -> None:
        """The rule names a daemon whose pidfile is gone."""
        self.configure('reopen = "gone"\n[reopen.gone]\nmanager = "pidfile"\npidfile = "gone.pid"\nsignal = "USR1"')

    def seen(self, at: datetime | None = None) -> deployment.Deployment:
        """What checks and status look at, now or at another moment."""
        return deployment.Deployment(self.config, at or datetime.now(UTC))

    def run(self, at: float | None = None, **more: Any) -> Report:
        """A run whose clock stands at ``at``."""
        if at is None:
            return Rotator(self.config).run(**more)
        return Rotator(self.config, clock=lambda: at).run(now=datetime.fromtimestamp(at, UTC), **more)


@pytest.fixture
def here(world: Path) -> Iterator[Deployment]:  # noqa: F811
    found = Deployment(world)
    with found.held:
        yield found


@pytest.fixture
def logrotor(here: Deployment, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*args: Any, code: int | None = None, file: Path | None = None) -> Said:
        capsys.readouterr()
        found = call(["-c", str(file or here.file), *map(str, args)])
        out, err = capsys.readouterr()
        assert code is None or found == code, f"exit {found}\n{out}\n{err}"
        return Said(found, out, err)

    return run
