"""Ask the main process of a systemd unit, by a signal of our own: ``systemctl kill`` needs privilege.

It helps only if the program reopens its log; what systemd itself opened (StandardOutput=append:) never is reopened.
Where systemd runs it is asked what holds of a unit, since drop-ins change what stands in its file.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec import Struct

from logrotor.disk import files, programs
from logrotor.model import ReopenTarget
from logrotor.notify.command import output
from logrotor.notify.common import Stop, failure
from logrotor.notify.process import Held, Sought, opened, signal_of

BOOTED = "/run/systemd/system"  # is there where systemd is the manager of the machine (sd_booted(3))
FILES = (
    "/etc/systemd/system/*.service", "/usr/lib/systemd/system/*.service", "/etc/systemd/user/*.service",
    "~/.config/systemd/user/*.service",
)  # fmt: skip
_NO_BUS = "outside of a login, say under cron, systemctl --user needs XDG_RUNTIME_DIR=/run/user/UID in the environment"
_PROPERTIES = "Id,ExecStart,TimeoutStopUSec,KillMode,KillSignal,Restart,MainPID"
_ARGV = re.compile(r"argv\[\]=(.*?) ; ignore_errors=")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|min|month|[smhdwy]|$)")
_SECONDS = {"us": 1e-6, "ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0,
            "w": 604800.0, "month": 2629800.0, "y": 31557600.0}  # fmt: skip


class Service(Struct, frozen=True):
    """A service unit, with the defaults of systemd.service(5) and systemd.kill(5)."""

    name: str  # "web.service", or the path of its file
    command: str
    stop_after: float = 90.0  # seconds until it is killed; inf: never
    kill_mode: str = "control-group"
    kill_signal: str = "TERM"
    restart: str = "no"
    main_pid: int = 0  # 0: it does not run, or nobody says
    of_user: bool = False  # of the systemd of this user


# ---------------------------------------------------------------- the way to ask


@contextmanager
def held(target: ReopenTarget, stop: Stop, logs: tuple[str, ...] = ()) -> Iterator[Held]:
    """The main process of the target's unit. Raises ReopenFailed."""
    sought = Sought(
        target,
        signal_of(target),
        noun=str(target.unit),
        hint=f"see systemctl status {target.unit}",
        permit="let the unit run as the user of logrotor (User=)",
    )
    pid = main_pid(target, stop)
    with opened(sought, pid) as found:
        # Asked again with the pidfd in hand: the number was not recycled between the answer and the opening.
        if main_pid(target, stop) != pid:
            raise failure(target, f"{target.unit} is being restarted", do="nothing; the next run asks again")
        yield found


def main_pid(target: ReopenTarget, stop: Stop) -> int:
    """The main process of the target's unit. Raises ReopenFailed if it does not run or cannot be asked for."""
    if target.unit is None:
        raise failure(target, "no unit is set", do='set unit = "NAME.service"')
    said = output(
        target,
        _show(target.unit, "MainPID", user=target.user_unit),
        stop=stop,
        not_started='without systemd, as in most containers, use manager = "pidfile"',
        failed=_NO_BUS if target.user_unit else "run it by hand to see why",
    )
    pid = next(_blocks(said), {}).get("MainPID", "")
    if not pid.isdecimal():
        what = f"systemctl said {said[:80]!r} for the MainPID of {target.unit}"
        raise failure(target, what, do="is this the right unit, and does systemd run here?")
    if int(pid) == 0:
        raise failure(target, f"{target.unit} has no main process, so it does not run", do=_start(target))
    return int(pid)


def _start(target: ReopenTarget) -> str:
    ctl = "systemctl --user" if target.user_unit else "systemctl"
    other = "unit = " if target.user_unit else "user_unit = true "
    return f"see {ctl} status {target.unit}; start it, or correct unit ({other}for one of the other manager)"


# ---------------------------------------------------------------- what holds of the units


def services(files: Sequence[str] = FILES, booted: str = BOOTED) -> Iterator[Service]:
    """The services of the machine and of this user: those that systemd has loaded, or, without it, their files.

    Raises OSError or subprocess.SubprocessError if systemd runs and cannot be asked.
    """
    if not os.path.isdir(booted):
        for path in sorted(path for pattern in files for path in glob.glob(os.path.expanduser(pattern))):
            yield from _read(path)
        return
    for user in (False, True):
        argv = _show("*.service", _PROPERTIES, user=user)
        finished = programs.run(argv, timeout=10, stop=lambda: False, keep=1 << 22)
        if finished.status == 0:
            yield from (_loaded(block, user) for block in _blocks(finished.output))
        elif not user:  # that of the user runs only while it is logged in
            raise OSError(f"systemctl show failed{finished.said}")


def _show(unit: str, properties: str, *, user: bool) -> list[str]:
    return ["systemctl", *(["--user"] if user else []), "show", "-p", properties, "--", unit]


def _blocks(said: str) -> Iterator[dict[str, str]]:
    """The properties of one unit after the other, between empty lines."""
    for block in said.strip().split("\n\n"):
        yield {key: value for key, _, value in (line.partition("=") for line in block.splitlines())}


def _loaded(properties: Mapping[str, str], of_user: bool) -> Service:
    argv = _ARGV.search(properties.get("ExecStart", ""))
    return Service(
        name=properties.get("Id", ""),
        command=argv[1] if argv else "",
        stop_after=_seconds(properties.get("TimeoutStopUSec", "")),
        kill_mode=properties.get("KillMode", ""),
        kill_signal=_signal(properties.get("KillSignal", "")),
        restart=properties.get("Restart", "no"),
        main_pid=int(properties.get("MainPID", "0") or 0),
        of_user=of_user,
    )


def _read(path: str) -> Iterator[Service]:
    """A unit file with its drop-ins; nothing if it may not be read."""
    text = ""
    try:
        for part in (path, *sorted(glob.glob(f"{glob.escape(path)}.d/*.conf"))):
            text += files.read_text(part) + "\n"
    except OSError:
        return
    keys = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
    yield Service(
        name=path,
        command=keys.get("ExecStart", "").replace("%%", "%").replace("$$", "$"),
        stop_after=_seconds(keys.get("TimeoutStopSec", "90")),
        kill_mode=keys.get("KillMode", "control-group"),
        kill_signal=_signal(keys.get("KillSignal", "TERM")),
        restart=keys.get("Restart", "no"),
    )


def _seconds(text: str) -> float:
    """A time span of systemd.time(7)."""
    if text in ("infinity", "0"):
        return float("inf")
    return sum(float(number) * _SECONDS[unit] for number, unit in _SPAN.findall(text))


def _signal(text: str) -> str:
    import signal

    return (signal.Signals(int(text)).name if text.isdecimal() else text).removeprefix("SIG")
