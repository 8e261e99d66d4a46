"""Ask supervisord: SIGUSR2, on which it reopens its own log and those of all programs, in append mode.

Never SIGHUP, which restarts every program. And find the logs that it rotates itself: it uses our names, shifts and
deletes our archives, and afterwards writes without O_APPEND. That is on by default: a missing ``*_logfile_maxbytes``
means 50MB. It is asked itself what it does (RPC), else its configuration is read, which is what it does only after
``supervisorctl update``.
"""

from __future__ import annotations

import getopt
import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

from msgspec import Struct
from msgspec.structs import replace

from logrotor.disk import proc
from logrotor.disk.walk import user_name
from logrotor.errors import ReopenFailed
from logrotor.model import Problem, ReopenTarget
from logrotor.notify import supervisor_rpc
from logrotor.notify.common import SelfRotation, Stop
from logrotor.notify.process import Held, Sought, by_pidfile
from logrotor.notify.supervisor_ini import PROGRAMS, Ini, Program, Unreadable, boolean, byte_size
from logrotor.notify.supervisor_rpc import Told

DEFAULT = "50MB"
_SCRIPTS = frozenset({"supervisord", "supervisord.py"})
_MODULES = frozenset({"supervisor.supervisord"})
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")  # options of python that take the next argument
_SHORT = "h?c:vnu:m:d:l:y:z:e:j:i:q:a:kts"
_LONG = (
    "help", "configuration=", "version", "nodaemon", "user=", "umask=", "directory=", "logfile=",
    "logfile_maxbytes=", "logfile_backups=", "loglevel=", "pidfile=", "identifier=", "childlogdir=", "minfds=",
    "minprocs=", "nocleanup", "strip_ansi", "profile_options=", "silent",
)  # fmt: skip
_NO_FILE = frozenset({"none", "off", "auto", "syslog"})
_DEVICE = re.compile(r"/dev/(?!shm/)|/proc/")
_SLACK = 2.0  # seconds; the start of a process is known to about one
_WHY = "both shift and delete the same archives, and supervisord then writes without O_APPEND: lines get lost"


class Located(Struct, frozen=True):
    """A supervisord's configuration, and what its relative paths are relative to."""

    path: str
    options: Mapping[str, str]  # of its command line: "-y" and "--logfile_maxbytes" alike as "y"
    environ: Mapping[str, str] | None
    bases: tuple[str, ...]  # its working directory now, then the one in which it was started
    pid: int = 0
    started: float = 0.0


class Logfile(Struct, frozen=True):
    """A file that supervisord writes."""

    path: str  # absolute
    section: str
    key: str  # of its maxbytes
    maxbytes: int
    file: str  # the configuration file to change; empty: the command line
    setting: str | None  # as written there; None: absent
    control: str = ""  # what makes supervisord read it again


# ---------------------------------------------------------------- the way to ask


def held(target: ReopenTarget, stop: Stop, logs: tuple[str, ...] = ()) -> AbstractContextManager[Held]:
    """The supervisord in the target's pidfile. Raises ReopenFailed."""
    return by_pidfile(
        Sought(
            target,
            signal.SIGUSR2,
            noun="supervisord",
            hint="pidfile must be the same path as pidfile = ... in [supervisord]",
            permit="let supervisord run as the user of logrotor (user = ... in [supervisord]), "
            'or use manager = "command" with a helper that may signal it',
            is_it=is_supervisord,
            logs=logs,
        )
    )


def running() -> Iterator[proc.Process]:
    """Every supervisord that can be seen."""
    return (process for process in proc.running(b"supervisord") if is_supervisord(process.argv))


def is_supervisord(argv: tuple[str, ...]) -> bool:
    """Whether a command line is that of supervisord: its script, or ``python -m supervisor.supervisord``."""
    return _arguments(argv) is not None


def _arguments(argv: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]] | None:
    """The script (None if it was started with -m) and its arguments; None if this is not supervisord.

    Its process is named after the script only if that was executed; the command line always begins with python.
    """
    if argv and os.path.basename(argv[0]) in _SCRIPTS:
        return argv[0], argv[1:]
    if not argv or not os.path.basename(argv[0]).startswith(("python", "pypy")):
        return None
    rest = list(argv[1:])
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option.startswith("-m"):
            module, *rest = [option[2:], *rest] if option[2:] else (rest or [""])
            return (None, tuple(rest)) if module in _MODULES else None
        if option == "-c":
            return None
        if option in _WITH_VALUE and rest:
            rest.pop(0)
    return (rest[0], tuple(rest[1:])) if rest and os.path.basename(rest[0]) in _SCRIPTS else None


# ---------------------------------------------------------------- what it rotates itself


def self_rotation(target: ReopenTarget, paths: tuple[str, ...] = ()) -> SelfRotation:
    """The logs that the target's supervisord rotates itself. Never raises."""
    try:
        with held(target, lambda: False, paths) as found:
            return rotated_by(found.process, given=target.supervisor_config)
    except ReopenFailed as error:
        return SelfRotation(unknown=(unknown(error.problem.subject, error.problem.problem, error.problem.advice),))


def rotated_by(process: proc.Process, *, given: str | None = None) -> SelfRotation:
    """The logs that this supervisord rotates itself. Never raises."""
    subject, files, notes = f"supervisord, process {process.pid}", dict[str, Problem](), list[str]()
    try:
        for log in logfiles(locate(process, given), notes):
            path = os.path.realpath(log.path)
            if log.maxbytes > 0 and not is_device(log.path):
                what = "supervisord rotates this file itself"
                files[path] = Problem(subject=path, problem=what, why=_WHY, advice=advice(log))
    except (Unreadable, OSError) as error:
        return SelfRotation({}, (unknown(subject, str(error), "set supervisor_config in the reopen target"),))
    return SelfRotation(files, tuple(unknown(subject, note) for note in dict.fromkeys(notes)))


def pidfile_of(process: proc.Process) -> str:
    """Where it writes its pid. Raises Unreadable or OSError."""
    found = locate(process)
    name = found.options.get("pidfile") or found.options.get("j")
    name = name or Ini(found.path, found.environ).value("supervisord", "pidfile", "supervisord.pid") or ""
    return _absolute(name, found, prefer_existing=True)


def locate(process: proc.Process, given: str | None = None) -> Located:
    """The configuration by ``given``, by its command line, or by its search path. Raises Unreadable."""
    script, arguments = _arguments(process.argv) or (None, ())
    options = _options(arguments, given)
    if given is None and not process.is_believed:
        raise Unreadable(f"it is {user_name(process.uid)}'s, so the file that it names is not read")
    environ = proc.environ(process.pid) if process.is_believed else None
    started_in = (environ or {}).get("PWD")
    bases = tuple(base for base in (proc.cwd(process.pid), started_in) if base and os.path.isabs(base))
    named = given or options.get("c")
    names = [named] if named else _search_path(script)
    for name in names:
        for base in bases or ("",):
            path = os.path.join(base, name)
            if os.path.isabs(path) and os.path.exists(path):
                return Located(os.path.normpath(path), options, environ, bases, process.pid, process.started)
    raise Unreadable(f"its configuration was not found at {', '.join(names)}")


def logfiles(found: Located, notes: list[str]) -> Iterator[Logfile]:
    """Every file that supervisord writes. What cannot be made out is left out, with a note. Raises Unreadable."""
    ini = Ini(found.path, found.environ)
    told = supervisor_rpc.processes(ini, found.pid)
    if told is not None:
        ini.notes.clear()  # what could not be read of its files is known by now
    else:
        notes.extend(_not_read_again(found, ini))
    if "supervisord" in ini.sections:
        yield from _noting(ini, "supervisord", _own(found, ini))
    for program in ini.programs() if told is None else ():
        yield from _noting(ini, program.section, _as_written(found, ini, program))
    for process in told or ():
        yield from _noting(ini, process.name, _as_told(found, ini, process))
    notes.extend(ini.notes)


# ---------------------------------------------------------------- finding its configuration


def _options(arguments: tuple[str, ...], given: str | None) -> dict[str, str]:
    try:
        pairs, _ = getopt.getopt(list(arguments), _SHORT, list(_LONG))
    except getopt.GetoptError as error:  # a supervisord of another version
        if given:
            return {}
        raise Unreadable(f"its command line: {error}") from None
    short = {"configuration": "c", "logfile": "l", "logfile_maxbytes": "y"}
    return {short.get(name.lstrip("-"), name.lstrip("-")): value for name, value in pairs}


def _search_path(script: str | None) -> list[str]:
    names = ["supervisord.conf", "etc/supervisord.conf", "/etc/supervisord.conf", "/etc/supervisor/supervisord.conf"]
    if script is None:
        return names
    above = os.path.dirname(os.path.dirname(script))
    return [os.path.join(above, "etc/supervisord.conf"), os.path.join(above, "supervisord.conf"), *names]


# ---------------------------------------------------------------- what it writes


def _not_read_again(found: Located, ini: Ini) -> Iterator[str]:
    """What stands in its files may be what it does after an update, which would have started some program anew."""
    file = ini.changed_since(found.started + _SLACK) if found.started else None
    last_child = max((each.started for each in proc.children(found.pid)), default=0.0) if file is not None else 0.0
    if file is not None and ini.changed_since(last_child + _SLACK) is not None:
        update = ini.control("update")
        do = f": `{update}` has it read them" if update else ""
        yield f"{file} was changed after it was read, and supervisord may not be asked what it does{do}"


def _noting(ini: Ini, section: str, logs: Iterator[Logfile]) -> Iterator[Logfile]:
    control = ini.control("reload" if section == "supervisord" else "update")
    try:
        yield from (replace(log, control=control) for log in logs)
    except Unreadable as error:
        ini.note(section, error)


def _own(found: Located, ini: Ini) -> Iterator[Logfile]:
    """supervisord's own log; its command line wins over [supervisord]."""
    section, key = "supervisord", "logfile_maxbytes"
    name = found.options.get("l") or ini.value(section, "logfile", "supervisord.log") or ""
    if name != "syslog":
        path = _absolute(name, found, prefer_existing=True)
        size = found.options.get("y")
        if size is None:
            yield _logfile(ini, path, section, key)
        else:
            yield Logfile(path, section, key, byte_size(size), file="", setting=size)


def _as_told(found: Located, ini: Ini, process: Told) -> Iterator[Logfile]:
    """The files of one process, as supervisord itself says; the configuration only says where that stands."""
    names = [f"{kind}:{name}" for kind in PROGRAMS for name in (process.name, process.group)]
    section = next((name for name in names if name in ini.sections), f"program:{process.name}")
    for key, path, size in process.logs:
        if path.lower() not in _NO_FILE:
            yield Logfile(_absolute(path, found), section, key, size, ini.file_of(section, key), ini.get(section, key))


def _as_written(found: Located, ini: Ini, program: Program) -> Iterator[Logfile]:
    """The files of one process, as its section says."""
    section, names = program.section, program.names
    for channel in ("stdout", "stderr"):
        name = ini.value(section, f"{channel}_logfile", None, names)
        if channel == "stderr" and boolean(ini.value(section, "redirect_stderr", "false", names) or ""):
            return
        if name is not None:
            name = ini.expand(section, name, names)  # supervisord expands this one twice
            if name.lower() not in _NO_FILE:
                yield _logfile(ini, _absolute(name, found), section, f"{channel}_logfile_maxbytes", names)


def _logfile(ini: Ini, path: str, section: str, key: str, names: Mapping[str, object] | None = None) -> Logfile:
    size = byte_size(ini.value(section, key, DEFAULT, names) or DEFAULT)
    return Logfile(path, section, key, size, ini.file_of(section, key), ini.get(section, key))


def _absolute(name: str, found: Located, *, prefer_existing: bool = False) -> str:
    """As supervisord opens it. Its own log it opens from where it was started, the others from where it is now."""
    home = (found.environ or {}).get("HOME")
    if name.startswith("~/") and home:
        name = home + name[1:]
    paths = [os.path.normpath(os.path.join(base, name)) for base in found.bases or ("",)]
    if name.startswith("~") or not os.path.isabs(paths[0]):
        raise Unreadable(f"{name!r}: from where it counts, in the process of supervisord, may not be seen")
    return next((path for path in paths if prefer_existing and os.path.exists(path)), paths[0])


def is_device(path: str) -> bool:
    """/dev/stdout and its like, behind links too; resolved here, it would be a file of ours."""
    for _ in range(40):
        if _DEVICE.match(path):
            return True
        if not os.path.islink(path):
            return False
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    return False


# ---------------------------------------------------------------- what to do


def unknown(subject: str, why: str, do: str = "") -> Problem:
    """A supervisord of which it is not known which logs it rotates."""
    what = f"its own rotation of logs could not be checked: {why}"
    return Problem(subject=subject, problem=what, why=_WHY, advice=do)


def advice(log: Logfile) -> str:
    """The exact line to change, where it stands, and what it takes to have an effect."""
    if log.section == "supervisord" or not log.control:
        how = f" (`{log.control}`)" if log.control else " (it has no socket for supervisorctl)"
        after = f"then restart supervisord{how}, which restarts all programs"
    else:
        after = f"then `{log.control}`, which restarts the programs whose section changed"
    if not log.file:
        return f"start supervisord with -y 0 instead of -y {log.setting}"
    where = f"in {log.file}, section [{log.section}]"
    if log.setting is None:
        return f"{where}, add the line `{log.key} = 0` (without it, {DEFAULT} is meant), {after}"
    return f"{where}, change `{log.key} = {log.setting}` to `{log.key} = 0`, {after}"
