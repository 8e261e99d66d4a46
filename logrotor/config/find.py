"""Find the configuration file and the default state directory. Reads names and variables, no content."""

from __future__ import annotations

import os
from collections.abc import Mapping

from logrotor.config.place import home_of
from logrotor.errors import ConfigError
from logrotor.model import ConfigProblem

VARIABLE = "LOGROTOR_CONFIG"
NAME = "logrotor.toml"
ROOT_STATE = "/var/lib/logrotor"

_BEGIN = """begin with a file logrotor.toml such as
    [[log]]
    name     = "app"
    paths    = ["app.log"]
    max_size = "10MB"
and look at it with: logrotor check"""


def find_config(
    explicit: str | None = None, environ: Mapping[str, str] | None = None, *, euid: int | None = None
) -> str:
    """The absolute path of the configuration: ``explicit``, else ``$LOGROTOR_CONFIG``, else the first usual place.

    Raises :class:`ConfigError` if none is found, or if ``explicit`` is empty; an empty variable counts as unset.
    A file that was named is returned even if it does not exist: reading it says so, and no other file takes its place.
    """
    environ = os.environ if environ is None else environ
    if explicit == "":  # to look elsewhere would rotate other logs than those that were meant
        raise ConfigError((ConfigProblem("''", "file", 'is no file; is a variable unset, as in -c "$FILE"?'),))
    named = explicit or environ.get(VARIABLE)
    if named:
        return os.path.abspath(named)
    places = usual_places(environ, os.geteuid() if euid is None else euid)
    found = next((place for place in places if os.path.isfile(place)), None)
    if found is None:
        looked = ", ".join(["-c", f"${VARIABLE}", *places])
        raise ConfigError((ConfigProblem(NAME, "file", f"no configuration found; looked at {looked}; {_BEGIN}"),))
    return found


def usual_places(environ: Mapping[str, str], euid: int) -> tuple[str, ...]:
    """Where a configuration is looked for when none is named, in this order."""
    personal = _xdg(environ, "XDG_CONFIG_HOME", ".config", euid)
    return (
        os.path.abspath(NAME),
        *([os.path.join(personal, "logrotor", NAME)] if personal else []),
        f"/etc/logrotor/{NAME}",
        f"/etc/{NAME}",
    )


def default_state_dir(environ: Mapping[str, str], euid: int) -> tuple[str, str] | None:
    """The state directory if none is set, and where it comes from; None if there is nothing to go by."""
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return os.path.abspath(given), "$STATE_DIRECTORY"
    if euid == 0:
        return ROOT_STATE, "default for root"
    base = _xdg(environ, "XDG_STATE_HOME", ".local/state", euid)
    if base is None:
        return None
    origin = "$XDG_STATE_HOME" if base == environ.get("XDG_STATE_HOME") else "default for ordinary users"
    return os.path.join(base, "logrotor"), origin


def _xdg(environ: Mapping[str, str], variable: str, fallback: str, euid: int) -> str | None:
    # The XDG base directory specification: a relative path there is to be ignored.
    if environ.get(variable, "").startswith("/"):
        return environ[variable]
    home = home_of(euid, environ)
    return os.path.join(home, fallback) if home else None
