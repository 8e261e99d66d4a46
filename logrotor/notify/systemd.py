"""Ask the main process of a systemd unit, by a signal of our own: ``systemctl kill`` needs privilege.

It helps only if the program reopens its log; what systemd itself opened (StandardOutput=append:) never is reopened.
"""

from __future__ import annotations

from logrotor.model import ReopenTarget
from logrotor.notify import Delivered, Stop, command, failure, process

_NO_BUS = "outside of a login, say under cron, systemctl --user needs XDG_RUNTIME_DIR=/run/user/UID in the environment"


def request(target: ReopenTarget, paths: tuple[str, ...], *, stop: Stop) -> Delivered:
    """Send the target's signal to the MainPID of its unit. Raises ReopenFailed."""
    number = process.number_of(target)
    expected = _expected(target)
    pid = main_pid(target, stop)
    with process.opened(target, pid, expected) as found:
        # Asked again with the pidfd in hand: the number was not recycled between the answer and the opening.
        if main_pid(target, stop) != pid:
            raise failure(target, f"{target.unit} is being restarted", do="nothing; the next run asks again")
        process.send(target, found, number, expected)
        return Delivered(target, (pid,), f"{number.name} to {target.unit}, process {pid}")


def probe(target: ReopenTarget) -> None:
    """Could it be asked? Raises ReopenFailed."""
    number, expected = process.number_of(target), _expected(target)
    with process.opened(target, main_pid(target, lambda: False), expected) as found:
        process.check_permitted(target, found, number, expected)


def main_pid(target: ReopenTarget, stop: Stop) -> int:
    """``systemctl show -p MainPID --value UNIT``. Raises ReopenFailed if the unit does not run or cannot be asked."""
    if target.unit is None:
        raise failure(target, "no unit is set", do='set unit = "NAME.service"')
    argv = ["systemctl", *(["--user"] if target.user_unit else []), "show", "-p", "MainPID", "--value", target.unit]
    finished = command.run(
        target, argv, stop=stop, do='without systemd, as in most containers, use manager = "pidfile"'
    )
    command.check(target, argv, finished, do=_NO_BUS if target.user_unit else "run it by hand to see why")
    numbers = [line for line in finished.output.splitlines() if line.isdecimal()]
    if not numbers:
        what = f"systemctl said {finished.output[:80]!r} for the MainPID of {target.unit}"
        raise failure(target, what, do="is this the right unit, and does systemd run here?")
    if int(numbers[0]) == 0:
        raise failure(target, f"{target.unit} has no main process, so it does not run", do=_start(target))
    return int(numbers[0])


def _start(target: ReopenTarget) -> str:
    ctl = "systemctl --user" if target.user_unit else "systemctl"
    other = "unit = " if target.user_unit else "user_unit = true "
    return f"see {ctl} status {target.unit}; start it, or correct unit ({other}for one of the other manager)"


def _expected(target: ReopenTarget) -> process.Expected:
    return process.Expected(
        noun=str(target.unit),
        hint=f"see systemctl status {target.unit}",
        permit="let the unit run as the user of logrotor (User=)",
    )
