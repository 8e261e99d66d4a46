"""Ask by running a command, without a shell, in a process group of its own, with a timeout; or by calling a function.

The command gets LOGROTOR_TARGET, the target's name, and LOGROTOR_LOGS, a JSON list of the paths (bytes that are not
UTF-8 as lone surrogates, as Python's os.fsdecode gives them). A list of over 120,000 characters is left out: Linux
takes no longer variable (MAX_ARG_STRLEN, execve(2)).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence

from logrotor.disk import calls, proc, programs
from logrotor.disk.trust import refuse_command
from logrotor.errors import InsecureDirectory
from logrotor.model import Manager, ReopenTarget
from logrotor.notify.common import Delivered, Stop, failure

MAX_VARIABLE = 120_000


def request(target: ReopenTarget, paths: tuple[str, ...], *, stop: Stop) -> Delivered:
    """Run the target's command, or call its function. Anything but a success in time raises ReopenFailed."""
    if target.manager is Manager.CALLABLE:
        return _call(target, paths)
    if not target.command:
        raise failure(target, "no command is set", do='set command = ["/path/to/program", "argument"]')
    logs = json.dumps(paths)
    variables = {"LOGROTOR_TARGET": target.name, "LOGROTOR_LOGS": logs if len(logs) <= MAX_VARIABLE else None}
    output(target, target.command, stop=stop, variables=variables)
    return Delivered(target, (), f"{target.command[0]} ended with 0")


def probe(target: ReopenTarget) -> None:
    """Is the program there? Nothing is run. Raises ReopenFailed."""
    name = target.command[0] if target.command else ""
    if not programs.is_there(name):
        raise failure(target, f"{name}: no such program", do="correct the command")


def output(
    target: ReopenTarget,
    argv: Sequence[str],
    *,
    stop: Stop,
    variables: Mapping[str, str | None] | None = None,
    not_started: str = "correct the command",
    failed: str = "run it by hand to see why",
) -> str:
    """What ``argv`` prints. Raises ReopenFailed unless it ends by itself with 0 within ``target.timeout`` seconds.

    ``not_started``, ``failed``: what to do if it could not be started, or fails.
    """
    try:
        refuse_command(argv[0])  # again: the program may have come since the configuration was read
        finished = programs.run(argv, timeout=target.timeout, stop=stop, variables=variables)
    except (OSError, ValueError, subprocess.SubprocessError, InsecureDirectory) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise failure(target, f"{argv[0]} could not be started: {why}", do=not_started, kind="not started") from error
    said = finished.said
    if finished.cut_short:
        what = f"{argv[0]} {finished.cut_short}, and its process group was killed{said}"
        raise failure(target, what, do="make it faster, or raise timeout; the next run asks again", kind="cut short")
    if finished.status is None:
        what = f"how {argv[0]} ended cannot be known, since this process does not keep its children (SIGCHLD){said}"
        raise failure(target, what, do="set SIGCHLD to its default in the program that uses logrotor")
    if finished.status:
        how = f"exit status {finished.status}" if finished.status > 0 else f"signal {-finished.status}"
        raise failure(target, f"{argv[0]} ended with {how}{said}", do=failed, kind=how)
    return finished.output


def _call(target: ReopenTarget, paths: tuple[str, ...]) -> Delivered:
    """Call the target's function with the paths. Whatever it raises becomes ReopenFailed."""
    if target.function is None:
        raise failure(target, "no function is given", do="pass one that takes the tuple of paths")
    name = getattr(target.function, "__qualname__", repr(target.function))
    try:
        # invoke, not change: an InterruptedError of the function is its own affair, no reason to call it again.
        result = calls.invoke("call", target.function, paths)
    except Exception as error:
        what = f"{name}() raised {type(error).__name__}: {error}"
        raise failure(target, what, do="correct the function; the next run calls it again") from error
    if hasattr(result, "__await__"):
        getattr(result, "close", lambda: None)()
        raise failure(target, f"{name}() is asynchronous and was not run", do="pass a function that is not async")
    # A function reopens what this process has open, and no other one.
    children = tuple(child.pid for child in proc.children(os.getpid()))
    return Delivered(target, (), f"called {name}()", children)
