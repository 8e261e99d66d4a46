"""What one call of the command line knows of itself, and the exit codes that all commands share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from logrotor.errors import StateError

if TYPE_CHECKING:
    from logrotor.model import Config

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
        from logrotor.disk.access import become

        become(config.run_as)


def why_no_run(config: Config) -> str | None:
    """Why every run would end with 2: its state directory cannot be used. None: it can, or it is not ours to judge."""
    from logrotor.disk import state

    if config.run_as and not _is_us(config.run_as):
        return None
    try:
        state.refuse_impossible(config.state_dir, config.state_dir_origin)
    except StateError as error:
        return str(error)
    return None


def _is_us(user: str) -> bool:
    import pwd

    try:
        return pwd.getpwnam(user).pw_uid == os.geteuid()
    except KeyError:
        return False


def selection(config: Config, given: Iterable[str]) -> tuple[str, ...]:
    """Rule names as they are, paths made absolute."""
    rules = {spec.name for spec in config.logs}
    return tuple(os.path.abspath(item) if item not in rules and _is_path(item) else item for item in given)


def _is_path(item: str) -> bool:
    return "/" in item or os.path.lexists(item)
