"""Find the configuration of the running supervisord, and the files in it that supervisord rotates itself.

Its own rotation uses our names, shifts and deletes our archives, and afterwards writes without O_APPEND. It is on
by default: a missing ``*_logfile_maxbytes`` means 50MB. Knows what the files say now, which is not what supervisord
does until ``supervisorctl update``.
"""

from __future__ import annotations

import getopt
import os
from collections.abc import Iterator, Mapping

from msgspec import Struct

from logrotor.disk import proc
from logrotor.notify import SelfRotation, supervisor_ini, supervisord
from logrotor.notify.supervisor_ini import Ini, Instance, Unreadable

DEFAULT = "50MB"
_SHORT = "h?c:vnu:m:d:l:y:z:e:j:i:q:a:kts"
_LONG = (
    "help", "configuration=", "version", "nodaemon", "user=", "umask=", "directory=", "logfile=",
    "logfile_maxbytes=", "logfile_backups=", "loglevel=", "pidfile=", "identifier=", "childlogdir=", "minfds=",
    "minprocs=", "nocleanup", "strip_ansi", "profile_options=", "silent",
)  # fmt: skip
_NO_FILE = frozenset({"none", "off", "auto", "syslog"})
_UPDATE = "then `supervisorctl update`, which restarts the programs whose section changed"
_RESTART = "then restart supervisord (`supervisorctl reload`), which restarts all programs"


class Located(Struct, frozen=True):
    """A supervisord's configuration, and what its relative paths are relative to."""

    path: str
    options: Mapping[str, str]  # of its command line: "-y" and "--logfile_maxbytes" alike as "y"
    environ: Mapping[str, str] | None
    bases: tuple[str, ...]  # its working directory now, then the one in which it was started


class Logfile(Struct, frozen=True):
    """A file that supervisord writes, as configured."""

    path: str  # absolute
    file: str  # the configuration file to change; empty: the command line
    section: str
    key: str  # of its maxbytes
    setting: str | None  # as written; None: absent
    maxbytes: int


def self_rotation(process: proc.Process, *, given: str | None = None) -> SelfRotation:
    """The files that this supervisord rotates itself, by real path, each with what to change. Never raises."""
    notes: list[str] = []
    try:
        found = locate(process, given)
        files: dict[str, str] = {}
        for log in logfiles(found, notes):
            if log.maxbytes > 0 and not _is_device(log.path):
                _say(files, os.path.realpath(log.path), _advice(log))
    except (Unreadable, OSError) as error:
        return SelfRotation({}, (f"supervisord's own rotation could not be checked: {error}",))
    prefix = "supervisord's own rotation could not be checked everywhere: "
    return SelfRotation(files, tuple(prefix + note for note in dict.fromkeys(notes)))


def locate(process: proc.Process, given: str | None = None) -> Located:
    """The configuration by ``given``, by its command line, or by its search path. Raises Unreadable."""
    script, arguments = supervisord.arguments(process.argv) or (None, ())
    options = _options(arguments, given)
    environ = proc.environ(process.pid)
    started_in = (environ or {}).get("PWD")
    bases = tuple(base for base in (proc.cwd(process.pid), started_in) if base and os.path.isabs(base))
    named = given or options.get("c")
    names = [named] if named else _search_path(script)
    for name in names:
        for base in bases or ("",):
            path = os.path.join(base, name)
            if os.path.isabs(path) and os.path.exists(path):
                return Located(os.path.normpath(path), options, environ, bases)
    what = f"the configuration of supervisord, process {process.pid}, was not found at {', '.join(names)}"
    raise Unreadable(f"{what}; set supervisor_config in the reopen target")


def logfiles(found: Located, notes: list[str]) -> Iterator[Logfile]:
    """Every file that supervisord writes. What cannot be made out is left out, with a note. Raises Unreadable."""
    ini = supervisor_ini.load(found.path, found.environ)
    if ini.parser.has_section("supervisord"):
        yield from _noting(ini, "supervisord", _own(found, ini))
    for instance in supervisor_ini.instances(ini):
        for channel in ("stdout", "stderr"):
            yield from _noting(ini, instance.section, _channel(found, ini, instance, channel))
    notes.extend(ini.notes)


# ---------------------------------------------------------------- finding it


def _options(arguments: tuple[str, ...], given: str | None) -> dict[str, str]:
    try:
        pairs, _ = getopt.getopt(list(arguments), _SHORT, list(_LONG))
    except getopt.GetoptError as error:  # a supervisord of another version
        if given:
            return {}
        raise Unreadable(f"its command line: {error}; set supervisor_config in the reopen target") from None
    short = {"configuration": "c", "logfile": "l", "logfile_maxbytes": "y"}
    return {short.get(name.lstrip("-"), name.lstrip("-")): value for name, value in pairs}


def _search_path(script: str | None) -> list[str]:
    names = ["supervisord.conf", "etc/supervisord.conf", "/etc/supervisord.conf", "/etc/supervisor/supervisord.conf"]
    if script is None:
        return names
    above = os.path.dirname(os.path.dirname(script))
    return [os.path.join(above, "etc/supervisord.conf"), os.path.join(above, "supervisord.conf"), *names]


# ---------------------------------------------------------------- what it writes


def _noting(ini: Ini, section: str, logs: Iterator[Logfile]) -> Iterator[Logfile]:
    try:
        yield from logs
    except Unreadable as error:
        ini.notes.append(f"{ini.file_of(section, '')}: [{section}]: {error}")


def _own(found: Located, ini: Ini) -> Iterator[Logfile]:
    """supervisord's own log; its command line wins over [supervisord]."""
    section, key = "supervisord", "logfile_maxbytes"
    name = found.options.get("l") or ini.value(section, "logfile", "supervisord.log", {})
    if name is None or name == "syslog":
        return
    path = _absolute(name, found, prefer_existing=True)
    if "y" in found.options:
        size = found.options["y"]
        yield Logfile(path, "", section, key, size, supervisor_ini.byte_size(size))
    else:
        yield _logfile(ini, path, section, key, {})


def _channel(found: Located, ini: Ini, instance: Instance, channel: str) -> Iterator[Logfile]:
    section, names = instance.section, instance.names
    name = ini.value(section, f"{channel}_logfile", None, names)
    if name is None or _unused(ini, instance, channel):
        return
    name = ini.expand(name, names)  # supervisord expands this one twice
    if name.lower() not in _NO_FILE:
        yield _logfile(ini, _absolute(name, found), section, f"{channel}_logfile_maxbytes", names)


def _unused(ini: Ini, instance: Instance, channel: str) -> bool:
    redirect = ini.value(instance.section, "redirect_stderr", "false", instance.names) or "false"
    return channel == "stderr" and supervisor_ini.boolean(redirect)


def _logfile(ini: Ini, path: str, section: str, key: str, names: Mapping[str, object]) -> Logfile:
    setting = ini.value(section, key, None, names)
    size = supervisor_ini.byte_size(DEFAULT if setting is None else setting)
    return Logfile(path, ini.file_of(section, key), section, key, setting, size)


def _absolute(name: str, found: Located, *, prefer_existing: bool = False) -> str:
    """As supervisord opens it. Its own log it opens from where it was started, the others from where it is now."""
    if name.startswith("~"):
        name = _expand_home(name, found.environ)
    if os.path.isabs(name):
        return os.path.normpath(name)
    if not found.bases:
        raise Unreadable(f"{name!r} is relative, and the working directory of supervisord may not be seen")
    paths = [os.path.join(base, name) for base in found.bases]
    existing = [path for path in paths if os.path.exists(path)] if prefer_existing else []
    return os.path.normpath((existing or paths)[0])


def _expand_home(name: str, environ: Mapping[str, str] | None) -> str:
    user, slash, rest = name[1:].partition("/")
    if user:
        return os.path.expanduser(name)
    if not environ or "HOME" not in environ:
        raise Unreadable(f"{name!r}: the HOME of supervisord may not be seen")
    return environ["HOME"] + slash + rest


def _is_device(path: str) -> bool:
    """/dev/stdout and its like, behind links too; resolved here, it would be a file of ours."""
    for _ in range(40):
        if path.startswith(("/dev/", "/proc/")) and not path.startswith("/dev/shm/"):
            return True
        if not os.path.islink(path):
            return False
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    return False


# ---------------------------------------------------------------- what to do


def _say(files: dict[str, str], path: str, advice: str) -> None:
    if advice not in files.get(path, ""):
        files[path] = f"{files[path]}; {advice}" if path in files else advice


def _advice(log: Logfile) -> str:
    """The exact line to change, where it stands, and what it takes to have an effect."""
    after = _RESTART if log.section == "supervisord" else _UPDATE
    if not log.file:
        return f"start supervisord with -y 0 instead of -y {log.setting}"
    where = f"in {log.file}, section [{log.section}]"
    if log.setting is None:
        do = f"{where}, add the line `{log.key} = 0` (without it, {DEFAULT} is meant)"
    else:
        do = f"{where}, change `{log.key} = {log.setting}` to `{log.key} = 0`"
    return f"{do}, {after}"
