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
from logrotor.text import name_configuration, typed

if TYPE_CHECKING:
    from logrotor.config.find import Found
    from logrotor.events import Event, Fields
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
    bound: Mapping[str, Any] = {}  # further fields of each of them


class Entered(Struct, frozen=True):
    """A configuration, and the user who does its work from here on."""

    config: Config
    owner: str | None = None  # whose it is, where root has become that user for that alone
    owned: str = ""  # the file or directory that says so


def enter(given: str | None, *, asks: bool = False) -> Entered:
    """The configuration that ``-c`` or the like names, read and obeyed as the user who may say so.

    As root, an ordinary user's is worked on as that user, from before it is read. Then ``run_as`` holds. Who only
    ``asks`` about root's own gets the answer of the user whose state directory it is.
    Raises ConfigError, StateError.
    """
    from logrotor.config import find_config

    return enter_found(find_config(given, os.environ), asks=asks)


def enter_found(found: Found, *, asks: bool = False) -> Entered:
    """The same for a configuration that was found."""
    from logrotor.config import load_config
    from logrotor.config.find import Origin
    from logrotor.disk.state import refuse_silent

    name_configuration(found.file if found.origin is Origin.OPTION else None)
    owner = _step_down(found.file)
    config = load_config(found, environ=os.environ)
    owned = found.file
    if owner is None and config.run_as and os.geteuid() == 0:
        _be(config.run_as)
    elif owner is not None and config.run_as is not None:
        _refuse_other_user(found.file, config.run_as, owner)
    elif owner is None and asks:
        owner, owned = _step_down(config.state_dir), config.state_dir
    refuse_silent(config.state_dir, config.state_dir_origin)
    return Entered(config, owner if config.run_as is None else None, owned)


def refuse_stranger(config: Config, command: str) -> None:
    """Raise StateError where the answers would be those of somebody who has nothing to do with the deployment."""
    from logrotor.disk.trust import stranger_to
    from logrotor.model import Problem
    from logrotor.text import ours

    user = stranger_to(config.state_dir, config.run_as)
    if user is not None:
        from logrotor.disk.walk import user_name

        what = f"belongs to {user}, and this is {user_name(os.geteuid())}"
        advice = f"ask as {user}: sudo -u {user} {ours(command)}"
        raise errors.StateError(Problem(subject=config.state_dir, problem=what, advice=advice))


def _step_down(file: str) -> str | None:
    """Started as root with what belongs to an ordinary user: be that user. Returns who that is."""
    if os.geteuid() != 0:
        return None
    from logrotor.disk.trust import owner_of
    from logrotor.disk.walk import user_name

    uid = owner_of(file)
    if uid is None:
        return None
    _be(user_name(uid))
    return user_name(uid)


def _be(user: str) -> None:
    from logrotor.disk.identity import become

    os.environ.update(become(user))
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):  # root's own
        os.environ.pop(variable, None)


def _refuse_other_user(file: str, run_as: str, owner: str) -> None:
    """Nobody makes root become somebody else."""
    from logrotor.disk.identity import is_us
    from logrotor.model import ConfigProblem

    if not is_us(run_as):
        what = f"{run_as!r}, but {owner} owns this file, and only root's can name another user than its owner"
        advice = f'set run_as = "{owner}" or leave it out; or as root: chown root {typed(file)}'
        raise errors.ConfigError((ConfigProblem(file, "run_as", what, advice=advice),))


def notice_of(entered: Entered) -> Event | None:
    """The line that says whom root has become, where the configuration itself does not say so."""
    from logrotor.events import made

    if entered.owner is None:
        return None
    file = entered.config.files[0]
    advice = f'run_as = "{entered.owner}" in the configuration says so without this line'
    fields = {"user": entered.owner, "reason": f"{entered.owner} owns {file}", "advice": advice}
    return made("user.changed", fields, file, entered.owner)


def why_no_run(config: Config) -> Problem | None:
    """Why every run would end with 2: its state directory cannot be used. None: it can, or it is not ours to judge."""
    from logrotor.disk import state
    from logrotor.disk.identity import is_us
    from logrotor.disk.trust import stranger_to

    if (config.run_as and not is_us(config.run_as)) or stranger_to(config.state_dir, config.run_as) is not None:
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


def fail_with(found: Iterable[tuple[str, Fields]], session: Session) -> None:
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


def _print(message: str, fields: Fields, session: Session) -> None:
    if session.json_messages:
        from logrotor.cli.output import EventPrinter
        from logrotor.events import made

        printer = EventPrinter(session.verbosity, as_json=True, bound=session.bound)
        printer(made("run.failed", {**fields, "error": message}))
    else:
        import click

        from logrotor.text import lines

        past = f" (since {fields['since']}, {fields['runs']} runs)" if "since" in fields else ""
        click.echo(f"logrotor: {lines(message)}{past}", err=True)
