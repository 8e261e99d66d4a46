"""The process managers: do they give a worker the time that its job may take?"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from logrotor.disk import proc
from logrotor.jobs.site import Site
from logrotor.model import Check, Finding
from logrotor.notify import supervisor_config, supervisor_ini, supervisord

UNITS = (
    "/etc/systemd/system/*.service", "/usr/lib/systemd/system/*.service", "/etc/systemd/user/*.service",
    "~/.config/systemd/user/*.service",
)  # fmt: skip
_OURS = re.compile(r"\blogrotor\b.*\bqueue\s+worker\b|logrotor\.jobs\.engines\.")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|w|$)")
_SECONDS = {"us": 1e-6, "ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_WHY = "a worker that is stopped or restarted is killed in mid-job; no line is lost, but the job is"


def checks(site: Site) -> list[Check]:
    return [Check(id="queue.stopping", title="process managers wait for a job to end", look=lambda: stopping(site))]


def stopping(site: Site, units: Sequence[str] = UNITS) -> Iterator[Finding]:
    for path, environ in sorted(_supervisor_files(site).items()):
        yield from supervisor(site, path, environ)
    for path in sorted(path for pattern in units for path in glob.glob(os.path.expanduser(pattern))):
        yield from systemd(site, path)


def _supervisor_files(site: Site) -> dict[str, Mapping[str, str] | None]:
    """The configurations that a target names, and those of the supervisords that run."""
    found: dict[str, Mapping[str, str] | None] = {
        target.supervisor_config: None for target in site.config.targets.values() if target.supervisor_config
    }
    for process in proc.running(b"supervisord"):
        if supervisord.is_supervisord(process.argv):
            with contextlib.suppress(OSError, supervisor_ini.Unreadable):
                located = supervisor_config.locate(process)
                found[located.path] = located.environ
    return found


def supervisor(site: Site, path: str, environ: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """The programs of a supervisord configuration that run a worker of this queue."""
    ini = supervisor_ini.load(path, environ)
    for instance in supervisor_ini.instances(ini):
        values = {
            key: ini.value(instance.section, key, default, instance.names) or "" for key, default in _KEYS.items()
        }
        if not _is_ours(values["command"], site):
            continue
        for key, wrong in _wrong_keys(site, values):
            yield Finding(
                subject=f"[{instance.section}] in {ini.file_of(instance.section, key)}", problem=wrong, why=_WHY,
                advice="logrotor queue unit --supervisor prints one that fits; then supervisorctl update",
            )  # fmt: skip


_KEYS = {
    "command": "", "stopwaitsecs": "10", "stopsignal": "TERM", "stopasgroup": "false", "autorestart": "unexpected",
}  # fmt: skip


def _wrong_keys(site: Site, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    job = site.settings.job
    needed = job.timeout + job.grace
    if not _is_number(values["stopwaitsecs"]):
        yield "stopwaitsecs", f"stopwaitsecs is {values['stopwaitsecs']}, which is no number"
    elif float(values["stopwaitsecs"]) <= needed:
        yield "stopwaitsecs", f"stopwaitsecs is {values['stopwaitsecs']}, and an attempt may take {needed:g} s"
    if values["stopsignal"].upper().removeprefix("SIG") != "TERM":
        yield "stopsignal", f"stopsignal is {values['stopsignal']}, and a worker stops gracefully on TERM"
    if supervisor_ini.boolean(values["stopasgroup"]) and "--schedule" in values["command"]:
        yield "stopasgroup", "stopasgroup is true: the worker gets TERM twice, and the second one ends the job at work"
    if values["autorestart"].lower() == "false":
        yield "autorestart", "autorestart is false: a worker that ends stays away"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*\d+\s*", text) is not None


def systemd(site: Site, path: str) -> Iterator[Finding]:
    """A unit file whose service runs a worker of this queue. Defaults are those of systemd.service(5)."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            keys = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", file.read(), re.MULTILINE))
    except OSError:
        return
    if not _is_ours(keys.get("ExecStart", "").replace("%%", "%").replace("$$", "$"), site):
        return
    job = site.settings.job
    needed, given = job.timeout + job.grace, keys.get("TimeoutStopSec", "90")
    wrong = []
    if _seconds(given) <= needed:
        wrong.append(f"TimeoutStopSec is {given}, and an attempt may take {needed:g} s")
    if keys.get("KillSignal", "SIGTERM") not in ("SIGTERM", "TERM", "15"):
        wrong.append(f"KillSignal is {keys['KillSignal']}, and a worker stops gracefully on SIGTERM")
    if keys.get("KillMode", "control-group") != "mixed" and "--schedule" in keys["ExecStart"]:
        wrong.append("KillMode is not mixed: the worker gets SIGTERM twice, and the second one ends the job at work")
    for problem in wrong:
        yield Finding(
            subject=path, problem=problem, why=_WHY,
            advice="logrotor queue unit --systemd prints one that fits; then systemctl daemon-reload",
        )  # fmt: skip


def _seconds(text: str) -> float:
    """A time span of systemd.time(7)."""
    if text == "infinity" or text == "0":
        return float("inf")
    return sum(float(number) * _SECONDS[unit] for number, unit in _SPAN.findall(text))


def _is_ours(command: str, site: Site) -> bool:
    if not _OURS.search(command):
        return False
    named = _named(command)
    return named is None or os.path.realpath(named) == os.path.realpath(site.file)


def _named(command: str) -> str | None:
    """The configuration that a command line names."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote that nobody closes
        words = command.split()
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("-c", "--config"):
            return value if equals else next(iter(words[place + 1 : place + 2]), None)
    return None
