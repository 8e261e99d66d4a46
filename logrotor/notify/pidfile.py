"""Ask the process that a pidfile names, by any signal."""

from __future__ import annotations

from logrotor.model import ReopenTarget
from logrotor.notify import Delivered, Stop, process

EXPECTED = process.Expected(
    noun="the daemon",
    hint="pidfile must name the file that the daemon writes its pid to",
    permit='let the daemon run as the user of logrotor, or use manager = "command" with a helper that may signal it',
)


def request(target: ReopenTarget, paths: tuple[str, ...], *, stop: Stop) -> Delivered:
    """Send the target's signal to the process in its pidfile. Raises ReopenFailed."""
    number = process.number_of(target)
    with process.by_pidfile(target, EXPECTED) as found:
        process.send(target, found, number, EXPECTED)
        return Delivered(target, (found.process.pid,), f"{number.name} to process {found.process.pid}")


def probe(target: ReopenTarget) -> None:
    """Could it be asked? Raises ReopenFailed."""
    number = process.number_of(target)
    with process.by_pidfile(target, EXPECTED) as found:
        process.check_permitted(target, found, number, EXPECTED)
