"""Ask supervisord: SIGUSR2, on which it reopens its own log and those of all programs, in append mode.

Never SIGHUP, which restarts every program.
"""

from __future__ import annotations

import os
import signal

from logrotor.errors import ReopenFailed
from logrotor.model import ReopenTarget
from logrotor.notify import Delivered, SelfRotation, Stop, process

_SCRIPTS = frozenset({"supervisord", "supervisord.py"})
_MODULES = frozenset({"supervisor.supervisord"})
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")  # options of python that take the next argument


def request(target: ReopenTarget, paths: tuple[str, ...], *, stop: Stop) -> Delivered:
    """Send SIGUSR2 to the supervisord in the target's pidfile. Raises ReopenFailed."""
    with process.by_pidfile(target, EXPECTED) as found:
        process.send(target, found, signal.SIGUSR2, EXPECTED)
        return Delivered(target, (found.process.pid,), f"SIGUSR2 to supervisord, process {found.process.pid}")


def probe(target: ReopenTarget) -> None:
    """Could it be asked? Raises ReopenFailed."""
    with process.by_pidfile(target, EXPECTED) as found:
        process.check_permitted(target, found, signal.SIGUSR2, EXPECTED)


def self_rotation(target: ReopenTarget) -> SelfRotation:
    """The log files that the running supervisord rotates itself, with what to change."""
    from logrotor.notify import supervisor_config

    try:
        with process.by_pidfile(target, EXPECTED) as found:
            return supervisor_config.self_rotation(found.process, given=target.supervisor_config)
    except ReopenFailed as error:
        return SelfRotation(notes=(f"supervisord's own rotation could not be checked: {error}",))


def is_supervisord(argv: tuple[str, ...]) -> bool:
    """Whether a command line is that of supervisord: its script, or ``python -m supervisor.supervisord``."""
    return arguments(argv) is not None


def arguments(argv: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]] | None:
    """The script (None if it was started with -m) and its arguments; None if this is not supervisord.

    Its process is named after the script only if that was executed; the command line always begins with python.
    """
    if argv and os.path.basename(argv[0]) in _SCRIPTS:
        return argv[0], argv[1:]
    if not argv or not os.path.basename(argv[0]).startswith(("python", "pypy")):
        return None
    rest = list(argv[1:])
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option.startswith("-m"):
            return _module([option[2:], *rest] if option[2:] else rest)
        if option == "-c":
            return None
        if option in _WITH_VALUE and rest:
            rest.pop(0)
    return (rest[0], tuple(rest[1:])) if rest and os.path.basename(rest[0]) in _SCRIPTS else None


def _module(rest: list[str]) -> tuple[None, tuple[str, ...]] | None:
    return (None, tuple(rest[1:])) if rest and rest[0] in _MODULES else None


EXPECTED = process.Expected(
    noun="supervisord",
    hint="pidfile must be the same path as pidfile = ... in [supervisord]",
    permit=(
        "let supervisord run as the user of logrotor (user = ... in [supervisord]), "
        'or use manager = "command" with a helper that may signal it'
    ),
    is_it=is_supervisord,
)
