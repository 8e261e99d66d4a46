"""What a script asks for: a signal, one command, or something that needs a shell."""

from __future__ import annotations

import enum
import signal
from collections.abc import Callable, Sequence

from msgspec import Struct

from logrotor.logrotate.shell import OF_SHELL, NeedsShell, Word, one_command


class Kind(enum.StrEnum):
    """Which one of our ways to ask does the same."""

    PIDFILE = "pidfile"
    SYSTEMD = "systemd"
    COMMAND = "command"
    SHELL = "shell"
    NOTHING = "nothing"


class Asked(Struct, frozen=True):
    """What a script does, as the keys of a ``[reopen.NAME]`` table; none where it needs a shell, or does nothing."""

    kind: Kind
    keys: dict[str, object] = {}
    everybody: bool = False  # the signal went to each process of the unit


def asked(script: str) -> Asked:
    """Say what a script does."""
    try:
        found = one_command(script)
    except NeedsShell:
        return Asked(Kind.SHELL)
    if found.command is None:
        return Asked(Kind.NOTHING)
    made = _classified(found.command)
    # Where there is no process to signal, nothing happens; a command does what its tests would have kept it from.
    return made if made.kind is not Kind.COMMAND or found.is_unconditional else Asked(Kind.SHELL)


# ---------------------------------------------------------------- what kind it is


def _classified(words: tuple[Word, ...]) -> Asked:
    if words[0].text == "exec":
        words = words[1:]
    name = words[0].text.rpartition("/")[2]
    kind, read = _READERS.get(name, (Kind.COMMAND, _unknown))
    if (keys := read(words[1:])) is not None:
        everybody = keys.pop("everybody", False)
        return Asked(kind, {"manager": kind.value, **keys}, bool(everybody))
    if not all(word.plain for word in words) or words[0].text in OF_SHELL:
        return Asked(Kind.SHELL)
    argv = [word.text for word in words]
    return Asked(Kind.COMMAND, {"manager": "command", "command": argv})


Keys = dict[str, object]
_Read = Callable[[Sequence[Word]], Keys | None]


def _unknown(words: Sequence[Word]) -> Keys | None:
    return None


def signal_of(written: str) -> str | None:
    """``-USR1``, ``SIGHUP`` or ``1`` as the name of a signal that a process can handle."""
    name = written.lstrip("-").upper().removeprefix("SIG")
    if name.isdecimal():
        try:
            name = signal.Signals(int(name)).name.removeprefix("SIG")
        except ValueError:
            return None
    return name if f"SIG{name}" in signal.Signals.__members__ and name not in ("KILL", "STOP") else None


def _kill(words: Sequence[Word]) -> Keys | None:
    """``kill -USR1 $(cat /run/nginx.pid)``."""
    *options, process = words
    if process.pidfile is None:
        return None
    given = [word.text for word in options if word.text != "--"]
    if given[:1] in (["-s"], ["--signal"], ["-n"]):
        given = given[1:]
    name = signal_of(given[0]) if len(given) == 1 else None
    return {"pidfile": process.pidfile, "signal": name} if name else None


def _options(words: Sequence[Word], valued: dict[str, str], flags: frozenset[str]) -> tuple[Keys, list[str]] | None:
    """The options by the names of our keys, and what is no option. None: there is one that we do not know."""
    keys: Keys = {}
    rest: list[str] = []
    left = [word.text for word in words]
    while left:
        option, equals, value = left.pop(0).partition("=")
        if option in valued and (equals or left):
            keys[valued[option]] = value if equals else left.pop(0)
        elif option.startswith("-") and option not in flags:
            if (name := signal_of(option)) is None:
                return None
            keys["signal"] = name
        elif option not in flags:
            rest.append(option)
    return keys, rest


def _by_pidfile(valued: dict[str, str], flags: str) -> _Read:
    def read(words: Sequence[Word]) -> Keys | None:
        found = _options(words, valued, frozenset(flags.split())) if all(word.plain for word in words) else None
        keys = {} if found is None else {name: value for name, value in found[0].items() if name != "other"}
        name = signal_of(str(keys.get("signal", "")))
        return {**keys, "signal": name} if "pidfile" in keys and name else None

    return read


def _systemctl(words: Sequence[Word]) -> Keys | None:
    """``systemctl kill -s HUP x.service``."""
    if not all(word.plain for word in words) or "kill" not in [word.text for word in words]:
        return None
    whom = {"--kill-who": "whom", "--kill-whom": "whom"}
    found = _options(words, {"-s": "signal", "--signal": "signal", **whom}, frozenset({"-q", "--quiet", "--no-block"}))
    if found is None:
        return None
    keys, rest = found
    name = signal_of(str(keys.get("signal", "")))
    if name is None or len(rest) != 2 or rest[0] != "kill":
        return None
    unit = rest[1] if "." in rest[1] else f"{rest[1]}.service"
    return {"unit": unit, "signal": name, "everybody": keys.get("whom", "all") != "main"}


_PKILL = _by_pidfile({"-F": "pidfile", "--pidfile": "pidfile", "--signal": "signal"}, "")
_DAEMON = _by_pidfile(
    {"-p": "pidfile", "--pidfile": "pidfile", "-s": "signal", "--signal": "signal", "--exec": "other", "-x": "other",
     "--name": "other", "-n": "other", "--user": "other", "-u": "other", "--retry": "other"},
    "--stop -K --quiet -q --oknodo -o",
)  # fmt: skip
_READERS: dict[str, tuple[Kind, _Read]] = {
    "kill": (Kind.PIDFILE, _kill),
    "pkill": (Kind.PIDFILE, _PKILL),
    "start-stop-daemon": (Kind.PIDFILE, _DAEMON),
    "systemctl": (Kind.SYSTEMD, _systemctl),
}
