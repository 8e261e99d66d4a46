"""Each extra alone, in an environment without anything else: it rotates; without it ``check`` says which is missing.

As a user installs it, by pip from the wheel, in the newest versions that the bounds allow.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.jobs.bench import Host
from tests.support import command
from tests.support.command import CHECKOUT
from tests.support.need import need

pytestmark = [pytest.mark.long, pytest.mark.servers, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(CHECKOUT))
    (made,) = folder.glob("*.whl")
    return made


def pip(*args: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "-q", *args], capture_output=True, text=True, check=False)
    need("No matching distribution" not in done.stderr or os.environ.get("LOGROTOR_NO_SKIP"), "a package index")
    assert done.returncode == 0, done.stderr


def installed(what: str, folder: Path) -> str:
    """The ``logrotor`` of a new environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip("--python", str(folder / "bin" / "python"), "install", what)
    return str(folder / "bin" / "logrotor")


@contextmanager
def working(host: Host, program: str) -> Iterator[None]:
    with (host.folder / "worker.log").open("wb") as log:
        argv = [program, "queue", "worker", "-c", str(host.config)]
        worker = subprocess.Popen(argv, cwd="/", env=environ(host), stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        host.stop(worker)


def environ(host: Host) -> dict[str, str]:
    """Without this checkout."""
    return {name: value for name, value in command.environment(host.variables).items() if name != "PYTHONPATH"}


@pytest.mark.parametrize("engine", ["huey", "procrastinate", "rq", "celery"])
def test_an_extra_alone_rotates(engine: str, wheel: Path, urls: Callable[[str], str | None], tmp_path: Path) -> None:
    """What logrotor needs of an engine's surroundings is in its extra."""
    program = installed(f"{wheel}[{engine}]", tmp_path / "venv")
    host = Host(tmp_path / "host", engine, urls(engine) or str(tmp_path / "queue.sqlite"), "alone",
                queue_name=tmp_path.name)  # fmt: skip
    host.grow()
    asked = ["-c", str(host.config)]
    for words in (["check"], ["queue", "dispatch"]):
        command.run([program, *words, *asked], cwd="/", env=environ(host), check=0)
    with working(host, program):
        host.wait_for(lambda: host.endings() == ["done"])
    assert host.rotations() == 1
    command.run([program, "queue", "status", "--check", *asked], cwd="/", env=environ(host), check=0)


def test_without_an_extra_check_says_which(wheel: Path, tmp_path: Path) -> None:
    """No job of such a configuration would ever run: check fails, and gives the command."""
    program = installed(str(wheel), tmp_path / "venv")
    for engine in ("huey", "procrastinate", "rq", "celery"):
        host = Host(tmp_path / engine, engine, "redis://127.0.0.1:1/0")
        argv = [program, "check", "-c", str(host.config)]
        done = command.run(argv, cwd="/", env=environ(host), check=1)
        assert f"-m pip install 'logrotor[{engine}]'" in done.stdout
