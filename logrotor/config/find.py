"""Find the configuration file and the default state directory. Reads names and variables, not contents."""

from __future__ import annotations

import enum
import itertools
import os
from collections.abc import Mapping, Sequence

from msgspec import Struct

from logrotor.config.paths import home_of
from logrotor.disk.identity import home_of_user
from logrotor.disk.walk import user_name
from logrotor.errors import ConfigError, InsecureDirectory
from logrotor.model import ConfigProblem
from logrotor.text import typed

VARIABLE = "LOGROTOR_CONFIG"
NAME = "logrotor.toml"
ROOT_STATE = "/var/lib/logrotor"

_BEGIN = """begin with a file logrotor.toml such as
    [[log]]
    name     = "app"
    paths    = ["app.log"]
    max_size = "10MB"
and look at it with: logrotor check"""


class Origin(enum.StrEnum):
    """How a configuration was found."""

    OPTION = "given with -c"
    VARIABLE = f"named by ${VARIABLE}"
    USUAL_PLACE = "found in the usual places"


class Found(Struct, frozen=True):
    """The configuration file to be read: an absolute path, and how it was found."""

    file: str
    origin: Origin


def find_config(
    explicit: str | None = None, environ: Mapping[str, str] | None = None, *, euid: int | None = None
) -> Found:
    """Find the configuration: ``explicit``, else ``$LOGROTOR_CONFIG``, else the first of the usual places.

    Raises :class:`ConfigError` if none is found, if ``explicit`` is empty, or if the one in the working directory is
    somebody else's; an empty variable counts as unset.
    A file that was named is returned even if it does not exist: reading it says so, and no other file takes its place.
    """
    environ = os.environ if environ is None else environ
    if explicit == "":  # to look elsewhere would rotate other logs than those that were meant
        problem = ConfigProblem("''", "file", "is not a file name", advice='is a variable unset, as in -c "$FILE"?')
        raise ConfigError((problem,))
    if explicit:
        return Found(os.path.abspath(explicit), Origin.OPTION)
    if environ.get(VARIABLE):
        return Found(os.path.abspath(environ[VARIABLE]), Origin.VARIABLE)
    places = usual_places(environ, os.geteuid() if euid is None else euid)
    found = next((place for place in places if os.path.isfile(place)), None)
    if found == places[0]:
        _refuse_strangers(found, os.geteuid() if euid is None else euid)
    if found is None:
        looked = ", ".join(["-c", f"${VARIABLE}", *map(_looked_at, places)])
        raise ConfigError((ConfigProblem(NAME, "file", f"no configuration found; looked at {looked}", advice=_BEGIN),))
    return Found(found, Origin.USUAL_PLACE)


def _looked_at(place: str) -> str:
    try:
        os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return place
    except OSError as error:
        return f"{place} ({user_name(os.geteuid())}: {error.strerror})"
    return place


def _refuse_strangers(place: str, euid: int) -> None:
    """Whoever works in another one's folder has not asked for what lies there: the file, the link, the folder."""
    folder = os.path.dirname(place)
    owners = ((place, os.stat(place).st_uid), (place, os.lstat(place).st_uid), (folder, os.stat(folder).st_uid))
    for path, uid in owners:
        if uid not in (0, euid):
            owner = user_name(uid)
            what = f"{path} belongs to {owner}, and nobody named this file: it only lies in the working directory"
            advice = f"if it is meant, name it: -c {typed(place)}"
            raise ConfigError((ConfigProblem(place, "file", what, advice=advice),))


def named_config(argv: Sequence[str]) -> str | None:
    """The file of ``-c FILE`` or ``--config=FILE`` in a command line of logrotor; the -c of a shell, of su, is none."""
    inner = next((word for word in argv if "logrotor" in word and len(words_of(word)) > 1), None)
    if inner is not None:
        return named_config(words_of(inner))
    ours = [place for place, word in enumerate(argv) if os.path.basename(word) == "logrotor"]
    argv = argv[ours[0] :] if ours else argv
    for place, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name in ("-c", "--config"):
            return value if equals else next(iter(argv[place + 1 : place + 2]), None)
    return None


def words_of(command: str) -> list[str]:
    """A command line as it stands in a crontab or a unit, in words; also one with a quote that nobody closes."""
    import shlex

    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


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


def state_of_broken(file: str, environ: Mapping[str, str], euid: int) -> tuple[str | None, str | None]:
    """The state directory and the user of a configuration that does not load, as far as its text shows them."""
    import re

    from logrotor.disk.files import read
    from logrotor.disk.mounts import refuse_silent
    from logrotor.disk.trust import read_as_root

    try:
        refuse_silent(file)
        content, _ = read(file) if euid else read_as_root(file)
    except (OSError, InsecureDirectory):
        content = b""
    lines = content.decode(errors="surrogateescape").splitlines()
    top = "\n".join(itertools.takewhile(lambda line: not line.lstrip().startswith("["), lines))
    named = dict(re.findall(r"""(?m)^[ \t]*(state_dir|run_as)[ \t]*=[ \t]*["']([^"'\n]+)["']""", top))
    user = named.get("run_as") if euid == 0 else None
    home = home_of_user(user) if user is not None else home_of(euid, environ)
    given = named.get("state_dir")
    if given is None:
        found = default_state_dir(environ, euid)
        return found[0] if found is not None else None, user
    if home is not None and (given == "~" or given.startswith("~/")):
        given = home + given[1:]
    return os.path.join(os.path.dirname(file), given), user


def _xdg(environ: Mapping[str, str], variable: str, fallback: str, euid: int) -> str | None:
    # The XDG base directory specification: relative paths are ignored.
    if environ.get(variable, "").startswith("/"):
        return environ[variable]
    home = home_of(euid, environ)
    return os.path.join(home, fallback) if home else None
