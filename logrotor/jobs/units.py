"""The supervisor program and the systemd unit that fit a configuration. Text only; nothing is installed."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Sequence

from msgspec import Struct

from logrotor.disk import programs
from logrotor.errors import LogrotorError
from logrotor.jobs.engine import Site
from logrotor.model import Problem
from logrotor.survey import NamedLogs

_COMMENT = re.compile(r"\s[;#]")  # supervisord takes it for one, also within quotes
_QUOTE = re.compile(r"\s[;#]|[\"\\$]")


class NoUnit(LogrotorError):
    """A name in the unit cannot be written there so that it is read as it is."""


class Runner(Struct, frozen=True):
    """Who runs the worker, and what that user's environment has to say."""

    user: str
    home: str | None = None  # None: no such user here
    state_dir: str | None = None

    @property
    def variables(self) -> dict[str, str]:
        """supervisord leaves root's HOME to the programs of other users; the state directory may depend on it."""
        found = {"HOME": self.home, "STATE_DIRECTORY": self.state_dir}
        # A configuration in a folder of such a name says itself where the state is.
        return {name: v for name, v in found.items() if v is not None and v.isprintable() and not _QUOTE.search(v)}


def command(site: Site) -> list[str]:
    """What both of them start: worker and schedule in one."""
    return [*programs.ourselves(), "queue", "worker", "--schedule", "-c", site.file]


def supervisor_program(site: Site, who: Runner, *, log: str | None = None) -> str:
    """A ``[program:...]`` section; ``log``: its file. Where a rule has that, supervisord must not rotate it.

    Raises NoUnit.
    """
    job = site.settings.job
    _refuse(who.user, log or "", comment=_COMMENT)
    _refuse(site.file)
    environment = ",".join(f'{name}="{_percent(value)}"' for name, value in who.variables.items())
    lines = [
        f"; Worker and schedule of {site.file}",
        *_secret(site, ";", "the environment of supervisord, or environment=... in a file that only it may read"),
        f"[program:{site.settings.name}]",
        f"command = {_percent(' '.join(map(_supervisor_word, command(site))))}",
        "process_name = %(program_name)s",
        "numprocs = 1",
        "directory = /",
        f"user = {_percent(who.user)}",
        *([f"environment = {environment}"] if environment else []),
        "priority = 999",
        "autostart = true",
        "; Not unexpected: a worker that is asked to stop, by whomever, exits with 0.",
        "autorestart = true",
        "startsecs = 5",
        "startretries = 10",
        "exitcodes = 0",
        "stopsignal = TERM",
        f"; An attempt may take {job.timeout:g} s and {job.grace:g} s more.",
        f"stopwaitsecs = {math.ceil(job.stop_wait)}",
        "; logrotor passes TERM on to its worker; a second TERM would end the job at work.",
        "stopasgroup = false",
        "killasgroup = true",
        "redirect_stderr = true",
        *_logfile(site, log),
    ]
    return "\n".join(lines) + "\n"


def systemd_unit(site: Site, who: Runner) -> str:
    """A service unit. Raises NoUnit."""
    head = [
        f"# Worker and schedule of {site.file}",
        *_secret(site, "#", "the file that EnvironmentFile= names, of mode 0600"),
    ]
    return _service(site, who, head, f"rotation jobs on the queue {site.queue}", _quoted(command(site)))


def systemd_template(site: Site, who: Runner) -> str:
    """``logrotor-worker@.service``: an instance for each configuration beside this one. Raises NoUnit."""
    folder = os.path.dirname(site.file)
    name = os.path.basename(site.file).removesuffix(".toml")
    head = [
        "# /etc/systemd/system/logrotor-worker@.service",
        f"# systemctl enable --now logrotor-worker@{name}    worker and schedule of {folder}/{name}.toml",
        "# Each configuration names a state_dir and a [queue] name of its own; the limits are those of this one.",
        *_secret(site, "#", "the file that EnvironmentFile= names, of mode 0600"),
    ]
    start = f"{_quoted(command(site)[:-1])} {_systemd_word(folder)}/%i.toml"
    return _service(site, Runner(who.user, who.home), head, "rotation jobs of %i", start)


def _service(site: Site, who: Runner, head: list[str], what: str, start: str) -> str:
    job = site.settings.job
    _refuse(who.user, site.file)
    lines = [
        *head,
        "[Unit]",
        f"Description=logrotor: {what}",
        "After=network-online.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={start}",
        f"User={_percent(who.user)}",
        *(f'Environment="{name}={_percent(value)}"' for name, value in who.variables.items()),
        *(["EnvironmentFile=/etc/logrotor/queue.env"] if _variable(site) else []),
        "# Not on-failure: a worker that is asked to stop, by whomever, exits with 0.",
        "Restart=always",
        "RestartSec=5",
        "# TERM to the first process only: it passes it on; then KILL to all.",
        "KillMode=mixed",
        "KillSignal=SIGTERM",
        f"TimeoutStopSec={math.ceil(job.stop_wait)}",
        "NoNewPrivileges=true",
        "# Attempts are processes of their own, so the worker does not grow; this is for all of them.",
        "MemoryMax=512M",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def unclaimed(site: Site, log: str) -> Problem | None:
    """Why logrotor does not rotate the file, so that supervisord has to; None: a rule has it."""
    path = os.path.abspath(log)
    if NamedLogs(site.config.logs).rule_meaning(path) is not None:
        return None
    what = f"no rule of {site.file} has this file, so this program has supervisord rotate it"
    return Problem(subject=path, problem=what, advice="to have logrotor do that, add it to the paths of a rule first")


def _logfile(site: Site, log: str | None) -> Sequence[str]:
    if log is None:
        return ("stdout_logfile = AUTO",)
    written = f"stdout_logfile = {_percent(os.path.abspath(log))}"
    if unclaimed(site, log) is None:
        return (written, "; logrotor rotates it: supervisord must not.", "stdout_logfile_maxbytes = 0")
    return (
        written,
        "; No rule of logrotor has it: supervisord rotates it.",
        "stdout_logfile_maxbytes = 50MB",
        "stdout_logfile_backups = 10",
    )


def _variable(site: Site) -> str | None:
    written = site.settings.url or ""
    return written.removeprefix("env:") if written.startswith("env:") else None


def _secret(site: Site, mark: str, where: str) -> list[str]:
    name = _variable(site)
    return [f"{mark} {name} must be set in {where}."] if name else []


def _refuse(*values: str, comment: re.Pattern[str] | None = None) -> None:
    for value in values:
        if not value.isprintable() or (comment is not None and comment.search(value)):
            raise NoUnit(f"{value!r} cannot stand in a unit; give it a name without control characters, and "
                         "without ; or # after a blank")  # fmt: skip


def _supervisor_word(word: str) -> str:
    """Quoted as for a shell; a ; or # after a blank outside of the quotes, with a backslash before it."""
    return _COMMENT.sub(lambda found: f"{found[0][0]}'\\{found[0][1]}'", shlex.quote(word))


def _percent(text: str) -> str:
    """supervisord expands %(names)s, and systemd %n and the like."""
    return text.replace("%", "%%")


def _quoted(argv: Sequence[str]) -> str:
    """systemd.service(5), COMMAND LINES: quotes and backslashes; % and $ are doubled."""
    return " ".join(_systemd_word(word) for word in argv)


def _systemd_word(word: str) -> str:
    word = word.replace("%", "%%").replace("$", "$$").replace("\\", "\\\\")
    return word if word and not set(word) & set(" \t'\";") else '"' + word.replace('"', '\\"') + '"'
