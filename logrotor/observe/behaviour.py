"""What the writer of a log does when the log is moved away: as far as /proc, configurations and scripts tell.

/proc tells who has a file open and how, not what a program does when the file is moved. So where nothing else is known,
it is taken to stay with its file.
"""

from __future__ import annotations

import contextlib
import enum
import glob
import itertools
import os
import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from logrotor.disk import files, proc
from logrotor.disk.descent import is_noted
from logrotor.errors import ReopenFailed
from logrotor.model import Manager, Problem, ReopenTarget
from logrotor.notify import probe

ANY_DATE = "[0-9]*[0-9]"  # as a glob; not "*": app-worker.log is no app-2026-11-30.log
_DATE = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}-?[01][0-9]-?[0-3][0-9](?![0-9])")
SLOT = re.compile(r"(?s)(.+?)[.-](?:[0-9]{1,4}|(?:19|20)[0-9]{2}-?[0-9]{2}-?[0-9]{2}\S*)(?:\.(?:gz|zst|xz|bz2))?")
_HANDLER = re.compile(rb"\b(\w*Rotating\w*FileHandler|WatchedFileHandler)\b")
# By their manuals: the signal on which each reopens its logs.
DAEMONS = {
    "nginx": "USR1", "apache2": "USR1", "httpd": "USR1", "php-fpm": "USR1", "gunicorn": "USR1", "mongod": "USR1",
    "dovecot": "USR1", "lighttpd": "HUP", "rsyslogd": "HUP", "syslog-ng": "HUP", "named": "HUP", "unbound": "HUP",
    "mysqld": "HUP", "mariadbd": "HUP", "freeradius": "HUP",
}  # fmt: skip


class Kind(enum.StrEnum):
    """What its writer does about a log that was moved away."""

    REOPENS = "reopens"  # when it is asked: ``target``
    FOLLOWS = "follows"  # looks at each line whether the name is still its file
    APPENDS = "appends"  # nobody has it open: opens it for each line, or does not run
    STAYS = "stays"  # has it open in append mode, and nothing says that it would let go
    OVERWRITES = "overwrites"  # has it open without append mode
    ROTATES = "rotates"  # rotates it itself
    UNSEEN = "unseen"  # who writes it cannot be seen
    REFUSED = "refused"  # logrotor would refuse it


class Writer(Struct, frozen=True):
    """A process that has a log open for writing."""

    process: proc.Process
    program: str
    appends: bool

    @property
    def pid(self) -> int:
        return self.process.pid


class Log(Struct, frozen=True):
    """A log that was found. ``handles``: signals that its writer handles; ``why``: why it is not to be rotated."""

    path: str
    kind: Kind
    writers: tuple[Writer, ...] = ()
    target: ReopenTarget | None = None
    handles: tuple[str, ...] = ()
    evidence: str = ""  # by what the kind was known, in words
    why: Problem | None = None
    pattern: str = ""  # of a log with a date in its name, the glob for all of them

    @property
    def is_proposed(self) -> bool:
        return self.kind not in (Kind.ROTATES, Kind.OVERWRITES, Kind.REFUSED)


# ---------------------------------------------------------------- what each writer does


def judged(path: str, writers: tuple[Writer, ...], *, all_seen: bool) -> Log:
    """What the writers of a log do about it. ``all_seen``: a writer would be known."""
    log = Log(path, Kind.STAYS, writers, pattern=_pattern(path))
    if not writers:
        return _with(log, Kind.APPENDS if all_seen else Kind.UNSEEN)
    for judge in (_by_supervisord, _by_itself, _by_signal):
        found = judge(log)
        if found is not None:
            return found
    if not all(writer.appends for writer in writers):
        return _with(log, Kind.OVERWRITES)
    return _with(log, Kind.STAYS, handles=tuple(_handled(writers[0].process)))


def _with(log: Log, kind: Kind, **more: object) -> Log:
    from msgspec.structs import replace

    return replace(log, kind=kind, **more)


def _pattern(path: str) -> str:
    folder, name = os.path.split(path)
    parts = [glob.escape(part) for part in _DATE.split(name)]
    return os.path.join(glob.escape(folder), ANY_DATE.join(parts)) if parts[1:] else ""


def _by_supervisord(log: Log) -> Log | None:
    """supervisord writes what its programs print; some of it it rotates itself, by default."""
    from logrotor.notify import supervisord
    from logrotor.notify.supervisor_ini import Unreadable

    found = next((w.process for w in log.writers if supervisord.is_supervisord(w.process.argv)), None)
    if found is None:
        return None
    own = supervisord.rotated_by(found)
    why = own.files.get(os.path.realpath(log.path)) or next(iter(own.unknown), None)
    if why is not None:
        return _with(log, Kind.ROTATES, why=why, evidence="its configuration")
    try:
        pidfile = supervisord.pidfile_of(found)
    except (Unreadable, OSError) as error:
        return _with(log, Kind.REFUSED, why=Problem(subject=log.path, problem=f"supervisord's pidfile: {error}"))
    return _asked(log, ReopenTarget(name="supervisord", manager=Manager.SUPERVISORD, pidfile=pidfile))


def _by_itself(log: Log) -> Log | None:
    """A handler of Python, by the script that names it; or a file that its process made when an archive was done."""
    for writer in log.writers:
        handler = _handler(writer.process)
        if handler == "WatchedFileHandler":
            return _with(log, Kind.FOLLOWS, evidence=handler)
        if handler:
            what = f"its program rotates it itself ({handler})"
            advice = "have the program use a WatchedFileHandler, then claim the log here"
            return _with(
                log, Kind.ROTATES, why=Problem(subject=log.path, problem=what, advice=advice), evidence=handler
            )
    if _daemon(log) is None and (archive := _own_archive(log)):
        what = f"its program seems to rotate it itself: it made this file after {archive}"
        advice = "switch its own rotation off, then claim the log here"
        return _with(log, Kind.ROTATES, why=Problem(subject=log.path, problem=what, advice=advice), evidence=archive)
    return None


def _handler(process: proc.Process) -> str:
    """The file handler of logging that a Python script names; empty if it names none, or may not be read."""
    if not process.argv or not os.path.basename(process.argv[0]).startswith("python") or not process.is_believed:
        return ""
    if "-c" in process.argv[1:-1]:
        text = os.fsencode(process.argv[process.argv.index("-c") + 1])
    else:
        script = next((word for word in process.argv[1:] if word.endswith(".py")), "")
        try:
            text, _ = files.read(os.path.join(proc.cwd(process.pid) or "/", script)) if script else (b"", None)
        except (OSError, ValueError):
            return ""
    named = {match[1].decode() for match in _HANDLER.finditer(text)}
    return named.pop() if len(named) == 1 else ""


def _own_archive(log: Log) -> str:
    """A file beside it with its name and a number or date behind, older than it, of no rotation by logrotor."""
    folder, base = os.path.split(log.path)
    born = files.birth(log.path)
    if born is None or not any(writer.process.started < born for writer in log.writers):
        return ""
    for name in sorted(os.listdir(folder)) if os.access(folder, os.R_OK) else ():
        found, path = SLOT.fullmatch(name), os.path.join(folder, name)
        with contextlib.suppress(OSError):  # it went meanwhile
            if found and found[1] == base and not is_noted(path, base) and os.stat(path).st_mtime <= born + 60:
                return name
    return ""


def _by_signal(log: Log) -> Log | None:
    """A daemon whose manual says on which signal it reopens its logs."""
    master = _daemon(log)
    if master is None:
        return None
    name = _name_of(master)
    number = DAEMONS[name]
    if (unit := _unit(master)) and os.path.isdir("/run/systemd/system"):
        return _asked(log, ReopenTarget(name=name, manager=Manager.SYSTEMD, unit=unit, signal=number))
    for pidfile in _pidfiles(master):
        found = _asked(log, ReopenTarget(name=name, manager=Manager.PIDFILE, pidfile=pidfile, signal=number))
        if found.kind is Kind.REOPENS:
            return found
    what = f"{name}, process {master.pid}, reopens its logs on {number}, but no pidfile of it was found"
    advice = f'have it write one, and claim the log with manager = "pidfile" and signal = "{number}"'
    return _with(log, Kind.REFUSED, why=Problem(subject=log.path, problem=what, advice=advice))


def _asked(log: Log, target: ReopenTarget) -> Log:
    try:
        probe(target, (log.path,))
    except ReopenFailed as error:
        return _with(log, Kind.REFUSED, why=error.problem, target=target)
    return _with(log, Kind.REOPENS, target=target)


def _daemon(log: Log) -> proc.Process | None:
    """The topmost process of a known daemon that has the log open: its workers have it too."""
    for writer in log.writers:
        process = writer.process
        while _name_of(process):
            with contextlib.suppress(OSError):
                parent = proc.look(process.parent)
                if _name_of(parent) == _name_of(process):
                    process = parent
                    continue
            return process
    return None


def _name_of(process: proc.Process) -> str:
    """Which daemon it is, by its program; a worker's title begins with the name too."""
    words = [proc.program(process.pid), *(os.path.basename(word) for word in process.argv[:2])]
    for name in DAEMONS:
        if any(word == name or re.match(rf"{name}(?:[0-9.]+)?(?:$|:)", word) for word in words):
            return name
    return ""


def _unit(process: proc.Process) -> str:
    """The service of the system's systemd that it runs in."""
    group = proc.cgroup(process.pid)
    name = os.path.basename(group)
    return name if group.startswith("/system.slice/") and name.endswith(".service") else ""


def _pidfiles(process: proc.Process) -> Iterator[str]:
    """Files that hold its number: in /run, where it works, and where its command line or configuration says."""
    places = ["/run/*.pid", "/run/*/*.pid"]
    cwd = proc.cwd(process.pid)
    places += [os.path.join(glob.escape(cwd), "*.pid")] if cwd and cwd != "/" else []
    named = [found for word in _said(process) for found in re.findall(r"\bpid(?:-?file)?[ =]+([^;\s]+)", word)]
    candidates = [
        *(os.path.join(cwd or "/", name) for name in named),
        *(p for place in places for p in glob.glob(place)),
    ]
    for path in dict.fromkeys(candidates):
        with contextlib.suppress(OSError, ValueError):
            if files.read(path, 4096)[0].split()[:1] == [str(process.pid).encode()]:
                yield path


def _said(process: proc.Process) -> Iterator[str]:
    """Its command line, which may be a title of one string, and the configuration that it names, if we believe it."""
    words = " ".join(process.argv).split()
    yield " ".join(words)
    for option, word in itertools.pairwise(words):
        if option == "-c" and process.is_believed:
            with contextlib.suppress(OSError, ValueError):
                yield files.read(os.path.join(proc.cwd(process.pid) or "/", word))[0].decode(errors="replace")


_SIGNALS: Mapping[str, int] = {"HUP": 1, "USR1": 10, "USR2": 12}


def _handled(process: proc.Process) -> Iterator[str]:
    for name, number in _SIGNALS.items():
        if process.caught is not None and process.caught >> (number - 1) & 1:
            yield name
