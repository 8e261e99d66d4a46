"""A daemon that rotates its own log on a timer. Its work: write each line of its standard input to its log.

    daemon.py watched|callable LOG STATE_DIR [MAX_SIZE [SECONDS]]

``watched``: a WatchedFileHandler looks at each line whether the log is still its file; nobody has to ask it.
``callable``: a plain FileHandler, and a function that logrotor calls after it has taken the log.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
from collections.abc import Callable

from logrotor import Configuration, LogRule, Rotator, load_config
from logrotor.errors import LogrotorError

log = logging.getLogger("daemon")
Reopen = Callable[[tuple[str, ...]], object]


def watched(path: str) -> tuple[logging.Handler, Reopen | None]:
    """A handler that follows the name; the old file is let go with the next line."""
    return logging.handlers.WatchedFileHandler(path), None


def plain(path: str) -> tuple[logging.Handler, Reopen]:
    """A handler that stays with its file until it is given another one."""
    handler = logging.FileHandler(path)

    def reopen(_: tuple[str, ...]) -> None:
        stream = open(path, "a")  # noqa: SIM115 - the handler keeps it
        before = handler.setStream(stream)  # locks the handler meanwhile
        if before is not None:
            before.close()

    return handler, reopen


VARIANTS: dict[str, Callable[[str], tuple[logging.Handler, Reopen | None]]] = {"watched": watched, "callable": plain}


def rotator_of(path: str, state_dir: str, max_size: str, reopen: Reopen | None) -> Rotator:
    """The configuration as a dict, with the keys of a logrotor.toml."""
    rule: LogRule = {"name": "daemon", "paths": [path], "max_size": max_size, "backup_count": 100}
    config: Configuration = {"state_dir": state_dir, "log": [rule]}
    if reopen is not None:
        rule["reopen"] = "myself"
        config["reopen"] = {"myself": {"manager": "callable", "function": reopen}}
    return Rotator(load_config(config))


def rotate_forever(rotator: Rotator, seconds: float, stopped: threading.Event) -> None:
    """Rotate what is due, again and again. What goes wrong is logged, and tried again the next time."""
    while not stopped.wait(seconds):
        try:
            report = rotator.run()
        except LogrotorError as error:  # say, another run holds the lock
            log.error("rotation: %s", error)
            continue
        for outcome in report.failed:
            log.error("rotation: %s of %s: %s", outcome.action, outcome.log, outcome.reason)


def main(variant: str, path: str, state_dir: str, max_size: str = "10MB", seconds: str = "60") -> None:
    handler, reopen = VARIANTS[variant](path)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    stopped = threading.Event()
    timer = threading.Thread(
        target=rotate_forever, args=(rotator_of(path, state_dir, max_size, reopen), float(seconds), stopped)
    )
    timer.start()
    try:
        for line in sys.stdin:
            log.info("%s", line.rstrip("\n"))
    finally:
        stopped.set()
        timer.join()


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in VARIANTS and 4 <= len(sys.argv) <= 6:
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
