"""One call of the command line: how its messages look, its exit codes, its user, its signals, and how it fails."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Mapping
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from logrotor import errors

if TYPE_CHECKING:
    from logrotor.model import Config, Problem

_CODES = {
    "0": "all well; nothing due and deferred included",
    "1": "some log, rule or reopen request failed",
    "2": "usage, or a configuration with which nothing can run",
    "3": "locked by another run",
    "130/143": "interrupted by Ctrl-C or SIGTERM; ended cleanly",
}


def exit_codes(own: Mapping[str, str]) -> str:
    """Those that one command can have, for its help: ``own`` is what they mean there; nothing: it has no such one."""
    common = {**_CODES, "0": "all well", "1": "it could not be done; stderr says why", "3": ""}
    return _shown({code: meaning for code, meaning in {**common, **own}.items() if meaning})


def _shown(codes: Mapping[str, str]) -> str:
    return "\n".join(["\b", "Exit codes:", *(f"  {code:7}  {meaning}" for code, meaning in codes.items())])


EXIT_CODES = _shown(_CODES)  # of a run

INTERRUPTED = (130, 143)


class Session(Struct):
    """How messages are to look. A command sets it as soon as it has parsed its options."""

    verbosity: int = 0  # -1: errors only, 0: warnings, 1: info, 2: debug
    json_messages: bool = False  # one JSON object a line on stderr


def become(config: Config) -> None:
    """Started as root with ``run_as``: be that user from here on."""
    if config.run_as and os.geteuid() == 0:
        from logrotor.disk.identity import become

        os.environ.update(become(config.run_as))


def why_no_run(config: Config) -> Problem | None:
    """Why every run would end with 2: its state directory cannot be used. None: it can, or it is not ours to judge."""
    from logrotor.disk import state
    from logrotor.disk.identity import is_us

    if config.run_as and not is_us(config.run_as):
        return None
    try:
        state.refuse_impossible(config.state_dir, config.state_dir_origin)
    except errors.StateError as error:
        return error.problem
    return None


def selection(config: Config, given: Iterable[str]) -> tuple[str, ...]:
    """Rule names as they are, paths made absolute."""
    rules = {spec.name for spec in config.logs}
    return tuple(os.path.abspath(item) if item not in rules and _is_path(item) else item for item in given)


def _is_path(item: str) -> bool:
    return "/" in item or os.path.lexists(item)


# ---------------------------------------------------------------- signals


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """A flag that a signal sets; call it to read it. As a context manager it holds the handlers and restores them."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.signum is not None

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM, as a shell reports them."""
        return 128 + (self.signum or signal.SIGINT)

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:
                self._hold(signum)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _hold(self, signum: int) -> None:
        handler = signal.getsignal(signum)
        # nohup and "command &" in a script ignore SIGINT for us; None is a handler that was not set from Python.
        if handler is not signal.SIG_IGN and handler is not None:
            self._before[signum] = signal.signal(signum, self._arrived)

    def _arrived(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            raise KeyboardInterrupt
        self.signum = signum


# ---------------------------------------------------------------- failures


def fail(error: Exception, session: Session) -> int:
    """One message for each thing that is wrong; a traceback only for a bug, and only with -vv."""
    fail_with(((message, {}) for message in messages(error)), session)
    if not isinstance(error, errors.LogrotorError) and session.verbosity >= 2:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(error)))
    return exit_code(error)


def fail_with(found: Iterable[tuple[str, Mapping[str, Any]]], session: Session) -> None:
    """Messages, each with more fields of its event."""
    for message, fields in found:
        _print(message, fields, session)


def exit_code(error: Exception) -> int:
    """2: nothing can run as asked; 3: another run holds the lock; 1: anything else."""
    if isinstance(error, errors.ConfigError | errors.StateError | errors.UnknownSelection):
        return 2
    return 3 if isinstance(error, errors.Locked) else 1


def messages(error: Exception) -> list[str]:
    """One for each thing that is wrong."""
    if isinstance(error, errors.ConfigError):
        return [str(problem) for problem in error.problems]
    if isinstance(error, errors.LogrotorError):
        return [str(error)]
    return [f"unexpected {type(error).__name__}: {error}; this is a bug, please report it with the output of -vv"]


def _print(message: str, fields: Mapping[str, Any], session: Session) -> None:
    if session.json_messages:
        from logrotor.cli.output import EventPrinter
        from logrotor.events import NAMES, Event

        printer = EventPrinter(session.verbosity, as_json=True)
        printer(Event("run.failed", NAMES["run.failed"][0], {**fields, "error": message}))
    else:
        import click

        from logrotor.text import lines

        past = f" (since {fields['since']}, {fields['runs']} runs)" if "since" in fields else ""
        click.echo(f"logrotor: {lines(message)}{past}", err=True)
