"""What explains logrotor itself: -h, -V, help, version, completion, and the shells that complete by it."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import logrotor as package
from logrotor.cli.group import COMMANDS
from logrotor.cli.queue import COMMANDS as QUEUE
from tests.support.command import arguments, environment, logrotor
from tests.support.need import need

HEAVY = {"sqlite3", "structlog", "zstandard", "filelock", "cronsim", "logrotor.config", "logrotor.rotator", "asyncio"}


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS), *(["queue", name] for name in QUEUE)])
def test_help_in_three_ways(words: list[str]) -> None:
    """-h, --help and `help` say the same, of each command and subcommand."""
    told = {logrotor(*each, check=0).stdout for each in ([*words, "-h"], [*words, "--help"], ["help", *words])}
    (one,) = told
    assert one.startswith(" ".join(["Usage: logrotor", *words]))


@pytest.mark.parametrize("words", [["pln"], ["queue", "workr"], ["plan", "x"], ["nonsense"]])
def test_help_of_what_is_not_there(words: list[str]) -> None:
    """A usage error, with the nearest command where one looks like it."""
    said = logrotor("help", *words, check=2)
    assert said.stdout == "" and "Usage: logrotor" in said.stderr
    assert ("Did you mean 'plan'" in said.stderr) == (words == ["pln"])
    assert ("Did you mean 'worker'" in said.stderr) == (words == ["queue", "workr"])


def test_version(tmp_path: Path) -> None:
    """-V is the number; `version` also has Python, the engines, and the file that would be used."""
    assert package.__version__ in logrotor("-V", check=0).stdout
    assert logrotor("-V").stdout == logrotor("--version", check=0).stdout
    (tmp_path / "logrotor.toml").touch()
    found = logrotor("version", "--json", cwd=tmp_path, check=0).json
    assert found["version"] == package.__version__ and found["python"].startswith(f"3.{sys.version_info.minor}.")
    assert found["configuration"] == f"{tmp_path}/logrotor.toml"
    assert found["engines"].keys() >= {"huey", "procrastinate", "rq", "celery"} and found["engines"]["huey"]
    assert logrotor("version", "--json", "-c", "x.toml", cwd=tmp_path).json["configuration"] == f"{tmp_path}/x.toml"
    bare = logrotor("version", "--json", cwd=tmp_path, env={"LOGROTOR_CONFIG": ""}, check=0)
    assert bare.json["configuration"] is not None
    (tmp_path / "logrotor.toml").unlink()
    none = logrotor("version", "--json", cwd=tmp_path, env={"HOME": str(tmp_path)}, check=0).json
    need(not os.path.exists("/etc/logrotor.toml") and not os.path.exists("/etc/logrotor"), "no logrotor of the system")
    assert none["configuration"] is None and none["found"]
    shown = logrotor("version", cwd=tmp_path, check=0).stdout
    assert package.__version__ in shown and found["engines"]["huey"] in shown


def test_an_engine_that_is_not_installed(tmp_path: Path) -> None:
    """It is named, and has no version: without the site's packages there is no engine at all."""
    code = """\
import importlib.metadata as metadata, sys
real = metadata.version
def version(name):
    if name == "rq":
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
from logrotor.cli import call
sys.exit(call(["version", "--json"]))
"""
    argv = [sys.executable, "-c", code]
    told = subprocess.run(argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True).stdout
    assert json.loads(told)["engines"]["rq"] is None


@pytest.mark.parametrize("word", ["-V", "--version", "-h", "--help"])
def test_what_explains_is_light(word: str) -> None:
    """They import neither the configuration nor the rotator, and nothing heavy."""
    argv = [sys.executable, "-X", "importtime", "-m", "logrotor", word]
    told = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=True).stderr
    loaded = {line.rsplit("|", 1)[1].strip() for line in told.splitlines() if "|" in line}
    assert "click" in loaded and not loaded & HEAVY


# ---------------------------------------------------------------- completion


@pytest.fixture
def on_path(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``logrotor`` is a command."""
    folder = tmp_path / "bin"
    folder.mkdir()
    words = " ".join(arguments())
    (folder / "logrotor").write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    (folder / "logrotor").chmod(0o755)
    made = environment(
        {"HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "TERM": "dumb", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    )
    return {**made, "PATH": f"{folder}:{made['PATH']}"}


def script(shell: str) -> str:
    return logrotor("completion", shell, check=0).stdout


CASES = [("logrotor st", {"status"}), ("logrotor queue wo", {"worker"}), ("logrotor help pl", {"plan"})]


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_bash_completes(on_path: dict[str, str], tmp_path: Path, line: str, offered: set[str]) -> None:
    """The real bash, with the script that `logrotor completion bash` prints."""
    (tmp_path / "script").write_text(script("bash"))
    words = line.split()
    asked = f"""
        source {tmp_path}/script && complete -p logrotor >&2
        COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _logrotor_completion logrotor
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    argv = ["bash", "--norc", "-c", asked]
    done = subprocess.run(argv, env=on_path, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered and "-F _logrotor_completion logrotor" in done.stderr


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_fish_completes(on_path: dict[str, str], tmp_path: Path, line: str, offered: set[str]) -> None:
    """The real fish."""
    need(shutil.which("fish") is not None, "fish")
    (tmp_path / "script").write_text(script("fish"))
    argv = ["fish", "--no-config", "-c", f"source {tmp_path}/script; complete -C '{line}'"]
    done = subprocess.run(argv, env=on_path, capture_output=True, text=True, check=True)
    assert {each.split("\t")[0] for each in done.stdout.splitlines()} == offered


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_zsh_completes(on_path: dict[str, str], tmp_path: Path, line: str, offered: set[str]) -> None:
    """The real zsh, on a terminal: a TAB completes the word."""
    need(shutil.which("zsh") is not None, "zsh")
    (tmp_path / "script").write_text(script("zsh"))
    (tmp_path / ".zshrc").write_text(f"PS1='ready> '\nautoload -U compinit; compinit -u -D\nsource {tmp_path}/script\n")
    (word,) = offered
    with Zsh(on_path) as shell:
        assert "ready>" in until(shell, "ready>")
        os.write(shell, f"{line}\t".encode())
        assert f" {word}" in until(shell, f" {word}")


class Zsh:
    """An interactive zsh on a terminal of its own."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env

    def __enter__(self) -> int:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvpe("zsh", ["zsh", "-i"], self._env)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)  # SIGHUP
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)


def until(fd: int, wanted: str, seconds: float = 60) -> str:
    """What the terminal shows until that is there, or the time is over."""
    return "".join(_shown(fd, wanted, time.monotonic() + seconds))


def _shown(fd: int, wanted: str, limit: float) -> Iterator[str]:
    seen = ""
    while wanted not in seen and time.monotonic() < limit:
        if select.select([fd], [], [], 1)[0]:
            try:
                piece = os.read(fd, 4096).decode(errors="replace")
            except OSError:  # the shell has ended
                return
            seen += piece
            yield piece


def test_an_unknown_shell() -> None:
    """It is a usage error that names those that there are."""
    said = logrotor("completion", "tcsh", check=2).stderr
    assert all(shell in said for shell in ("bash", "zsh", "fish"))
