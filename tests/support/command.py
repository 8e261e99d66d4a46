"""Run the real command as a user would: a process, its exit code, its two streams."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.support import users
from tests.support.drivers import Driver
from tests.support.need import need
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
    """Run ``logrotor ARGS``. ``check``: the exit code(s) that are right, anything else raises AssertionError.

    So does a traceback on stderr, whatever the code, unless ``traceback`` says that it may be there. It is a process of
    its own, forked where nothing speaks against it (LOGROTOR_FRESH=1: an interpreter each time, as :func:`run` has).
    """
    argv, who = arguments(*args), _user(user)
    if not _can_be_forked(env):
        return run(argv, cwd=cwd, user=who, env=env, timeout=timeout, check=check, traceback=traceback)
    request = {"args": argv[3:]}
    result = _forked(argv, request, timeout, env=environment(env, who), cwd=os.fspath(cwd or "/"), user=who)
    return _checked(result, check, traceback)


_MAIN = os.getpid()
_idle: dict[int, list[Driver]] = {}  # by the user that this process is just now


def _can_be_forked(env: Mapping[str, str] | None) -> bool:
    """What an interpreter reads when it starts, a fork would not see; and a fork of the tests has no drivers."""
    if os.environ.get("LOGROTOR_FRESH", "0") != "0" or os.getpid() != _MAIN:
        return False
    return not any(name.startswith(("PYTHON", "LD_", "LC_", "LANG")) for name in env or ())


def _forked(argv: list[str], request: dict[str, Any], timeout: float, **how: Any) -> Result:
    """By a driver that has nothing else to do; where several commands run at once there are several."""
    idle = _idle.setdefault(os.geteuid(), [])
    try:
        driver = idle.pop()
    except IndexError:
        driver = Driver(environment(), "tests.support.users", "logrotor.cli")
    who = how.pop("user")
    driver.channel.settimeout(timeout)
    try:
        driver.ask(request, user=dataclasses.astuple(who) if who else None, **how)
        answer = driver.answer()
    except BaseException:
        driver.kill()
        driver.close()
        raise
    idle.append(driver)
    return Result(tuple(argv), answer["code"], answer["stdout"], answer["stderr"])


def _user(who: str | int | users.User | None) -> users.User | None:
    if isinstance(who, (str, int)):
        who = users.user(who)
    if who is not None:
        need(os.geteuid() == 0, "root, to become another user")
    return who


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
    return _checked(result, check, traceback)


def _checked(result: Result, check: int | Collection[int] | None, traceback: bool) -> Result:
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
    who = _user(user)
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
