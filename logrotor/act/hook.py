"""Run ``on_archive`` for a finished archive: an argument list, no shell, a timeout, a documented environment."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable

from logrotor.disk import programs
from logrotor.errors import HookFailed, Interrupted
from logrotor.model import RunHook

_PLACE = re.compile(r"\{(?:archive|log)\}")


def run_hook(step: RunHook, log: str, rule: str, *, stop: Callable[[], bool]) -> None:
    """Run the command; ``{archive}`` and ``{log}`` in its arguments are replaced by the paths.

    Environment: LOGROTOR_ARCHIVE, LOGROTOR_LOG, LOGROTOR_RULE besides our own. Raises HookFailed, Interrupted.
    """
    archive = os.path.join(step.directory, step.name)
    paths = {"{archive}": archive, "{log}": log}
    # In one pass: a log may be named "{log}.log", and its own name is not to be replaced in turn.
    argv = [_PLACE.sub(lambda found: paths[found[0]], part) for part in step.argv]
    variables = {"LOGROTOR_ARCHIVE": archive, "LOGROTOR_LOG": log, "LOGROTOR_RULE": rule}
    try:
        finished = programs.run(argv, timeout=step.timeout, stop=stop, variables=variables)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise HookFailed(
            f"{archive}: on_archive: {argv[0]} could not be started: {error}; correct on_archive in rule {rule}; "
            "archives that it has not had stay until then, unless keep_free needs the room"
        ) from error
    if finished.stopped:
        raise Interrupted(f"{archive}: stopped while on_archive ran")
    if finished.cut_short or finished.status != 0:
        how = finished.cut_short or f"ended with {finished.status}"
        raise HookFailed(f"{archive}: on_archive: {argv[0]} {how}{finished.said}; the next run tries again")
