"""Run the real command as a user would: a process, its exit code, its two streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.support import users
from tests.support.users import CHECKOUT, as_user, in_fork

__all__ = ["CHECKOUT", "Result", "arguments", "as_user", "end", "environment", "in_fork", "logrotor", "run", "start"]

Argument = str | bytes | os.PathLike[str] | int


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended. A negative ``code`` is the signal that killed it."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    def __str__(self) -> str:
        return f"{' '.join(self.argv)}\nexit {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def logrotor(
    *args: Argument,
    cwd: str | os.PathLike[str] | None = None,
    user: str | int | users.User | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    check: int | Collection[int] | None = None,
    traceback: bool = False,
) -> Result:
    """Run ``python -m logrotor ARGS``. ``check``: the exit code(s) that are right, anything else raises AssertionError.

    So does a traceback on stderr, whatever the code, unless ``traceback`` says that it may be there.
    """
    return run(arguments(*args), cwd=cwd, user=user, env=env, timeout=timeout, check=check, traceback=traceback)


def arguments(*args: Argument) -> list[str]:
    """The argv of ``logrotor ARGS``. ``sys.executable`` of a venv is a link to the real interpreter, fit for strace."""
    return [sys.executable, "-m", "logrotor", *(os.fsdecode(a) if isinstance(a, bytes) else str(a) for a in args)]


def environment(env: Mapping[str, str] | None = None, who: users.User | None = None) -> dict[str, str]:
    """A small environment that does not depend on who runs the tests, plus ``env``."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    home = who.home if who else os.environ.get("HOME", "/")
    return {"PATH": path, "HOME": home, "LANG": "C.UTF-8", "PYTHONPATH": str(CHECKOUT), **(env or {})}


def run(
    argv: list[str],
    *,
    cwd: str | os.PathLike[str] | None = None,
    user: str | int | users.User | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    check: int | Collection[int] | None = None,
    traceback: bool = False,
) -> Result:
    """As :func:`logrotor`, for any argv (one wrapped in strace, say, or logrotate)."""
    process = start(argv, cwd=cwd, user=user, env=env)
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except BaseException:
        end(process)
        raise
    result = Result(
        tuple(argv), process.returncode, *(out.decode(errors="surrogateescape") for out in (stdout, stderr))
    )
    accepted = (check,) if isinstance(check, int) else check
    if accepted is not None and result.code not in accepted:
        raise AssertionError(f"expected exit code {check}\n{result}")
    if not traceback and "Traceback (most recent call last)" in result.stderr:
        raise AssertionError(f"a traceback\n{result}")
    return result


def start(
    argv: list[str],
    *,
    cwd: str | os.PathLike[str] | None = None,
    user: str | int | users.User | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` with stdin at /dev/null and both streams piped, and do not wait for it."""
    who = users.user(user) if isinstance(user, (str, int)) else user
    return subprocess.Popen(
        users.as_argv(who, argv) if who else argv,
        cwd=cwd or "/",
        env=environment(env, who),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what :func:`start` started if it still runs, with its session: strace and a shell have children."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.communicate()
