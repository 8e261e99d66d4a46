"""Ask by running a command: an argument list without a shell, in a process group of its own, with a timeout.

The command gets LOGROTOR_TARGET, the target's name, and LOGROTOR_LOGS, a JSON list of the paths (bytes that are no
UTF-8 as lone surrogates, as Python's os.fsdecode gives them). A list of over 120,000 characters is left out: Linux
takes no longer variable (MAX_ARG_STRLEN, execve(2)).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence

from logrotor.disk import programs
from logrotor.disk.programs import Finished
from logrotor.model import ReopenTarget
from logrotor.notify import Delivered, Stop, failure

MAX_VARIABLE = 120_000


def request(target: ReopenTarget, paths: tuple[str, ...], *, stop: Stop) -> Delivered:
    """Run the target's command. Anything but exit status 0 within the timeout raises ReopenFailed."""
    if not target.command:
        raise failure(target, "no command is set", do='set command = ["/path/to/program", "argument"]')
    finished = run(target, target.command, stop=stop, variables=_variables(target, paths))
    check(target, target.command, finished)
    return Delivered(target, (), f"{target.command[0]} ended with 0")


def probe(target: ReopenTarget) -> None:
    """Is the program there? Nothing is run. Raises ReopenFailed."""
    name = target.command[0] if target.command else ""
    if not programs.is_there(name):
        raise failure(target, f"{name}: no such program", do="correct the command")


def run(
    target: ReopenTarget,
    argv: Sequence[str],
    *,
    stop: Stop,
    variables: Mapping[str, str | None] | None = None,
    do: str = "correct the command",
) -> Finished:
    """Run ``argv``, at most ``target.timeout`` seconds. Raises ReopenFailed if it cannot be started."""
    try:
        return programs.run(argv, timeout=target.timeout, stop=stop, variables=variables)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise failure(target, f"{argv[0]} could not be started: {why}", do=do) from error


def check(
    target: ReopenTarget, argv: Sequence[str], finished: Finished, *, do: str = "run it by hand to see why"
) -> None:
    """Raises ReopenFailed unless the command ended by itself with 0."""
    said = finished.said
    if finished.cut_short:
        what = f"{argv[0]} {finished.cut_short}, and its process group was killed{said}"
        raise failure(target, what, do="make it faster, or raise timeout; the next run asks again")
    if finished.status is None:
        what = f"how {argv[0]} ended cannot be known, since this process does not keep its children (SIGCHLD){said}"
        raise failure(target, what, do="set SIGCHLD to its default in the program that uses logrotor")
    if finished.status:
        how = f"exit status {finished.status}" if finished.status > 0 else f"signal {-finished.status}"
        raise failure(target, f"{argv[0]} ended with {how}{said}", do=do)


def _variables(target: ReopenTarget, paths: tuple[str, ...]) -> dict[str, str | None]:
    logs = json.dumps(paths)
    return {"LOGROTOR_TARGET": target.name, "LOGROTOR_LOGS": logs if len(logs) <= MAX_VARIABLE else None}
