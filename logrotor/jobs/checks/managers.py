"""The process managers: do they give a worker the time that its job may take?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from logrotor.config.find import named_config, words_of
from logrotor.jobs.engine import Site
from logrotor.jobs.processes import look
from logrotor.model import Check, Finding
from logrotor.notify import supervisord, systemd
from logrotor.notify.supervisor_ini import Ini, Program, Unreadable, boolean
from logrotor.survey import NamedLogs
from logrotor.text import ours

_OURS = re.compile(r"\blogrotor\b.*\bqueue\s+worker\b|logrotor\.jobs\.engines\.")
_WHY = "a worker that is stopped or restarted is killed in mid-job; no line is lost, but the job is"
_FOR_EVER = "a log that nobody rotates grows until the disk is full"
_STAYS = "nothing is rotated until somebody starts it again"
_KEYS = {
    "command": "", "stopwaitsecs": "10", "stopsignal": "TERM", "stopasgroup": "false", "autorestart": "unexpected",
    "exitcodes": "0",
}  # fmt: skip


def checks(site: Site) -> list[Check]:
    return [
        Check(id="queue.stopping", title="process managers wait for a job to end", look=lambda: stopping(site)),
        Check(
            id="queue.log", title="somebody rotates the logs of the supervisord of a worker", look=lambda: logs(site)
        ),
    ]


def stopping(site: Site, units: Sequence[str] = systemd.FILES, booted: str = systemd.BOOTED) -> Iterator[Finding]:
    files: dict[str, Mapping[str, str] | None] = {
        target.supervisor_config: None for target in site.config.targets.values() if target.supervisor_config
    }
    above = {head.process.parent for head in look(site).of(site).heads}
    for process in supervisord.running():
        if not process.is_believed:  # another user's: it starts programs as that user, and none of ours
            continue
        try:
            located = supervisord.locate(process)
            files[located.path] = located.environ
        except (OSError, Unreadable) as error:
            if not above or process.pid in above:  # else ours runs under another one
                yield _unread(f"supervisord, process {process.pid}", str(error))
    for path, environ in sorted(files.items()):
        yield from supervisor(site, path, environ)
    for service in systemd.services(units, booted):
        yield from unit(site, service)


def _unread(subject: str, what: str) -> Finding:
    return Finding(
        subject=subject, problem=f"could not be read: {what}", why=f"nobody knows whether {_WHY}",
        advice="let this user read it, or run the doctor as the user of supervisord",
    )  # fmt: skip


def supervisor(site: Site, path: str, environ: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """The programs of a supervisord configuration that run a worker of this queue."""
    try:
        ini = Ini(path, environ)
    except Unreadable as error:
        yield _unread(path, str(error))
        return
    for program in ini.programs():
        if _OURS.search(ini.get(program.section, "command") or ""):
            yield from _program(site, ini, program)
    for note in dict.fromkeys(ini.notes):
        yield _unread(path, note)


def logs(site: Site) -> Iterator[Finding]:
    """Files of the supervisord of a worker that it does not rotate, nor we: those of the worker, and those beside our
    logs. The others may have another configuration."""
    above, named = {head.process.parent for head in look(site).of(site).heads}, NamedLogs(site.config.logs)
    places = {os.path.realpath(each.directory) for each in named.selectors}
    for process in supervisord.running():
        if process.pid not in above or not process.is_believed:
            continue
        notes: list[str] = []
        try:
            located = supervisord.locate(process)
            ini, found = Ini(located.path, located.environ), list(supervisord.logfiles(located, notes))
        except (OSError, Unreadable) as error:
            ini, found = None, []
            notes.append(str(error))
        for log in {
            log.path: log for log in found if log.maxbytes == 0 and not supervisord.is_device(log.path)
        }.values():
            is_workers = ini is not None and _is_ours(ini.get(log.section, "command") or "", site)
            beside = os.path.realpath(os.path.dirname(log.path)) in places
            if (is_workers or beside) and named.rule_meaning(log.path) is None:
                yield _grows(site, log)
        for note in dict.fromkeys(notes):
            yield replace(_unread(f"supervisord, process {process.pid}", note), why=f"nobody knows whether {_FOR_EVER}")


def _grows(site: Site, log: supervisord.Logfile) -> Finding:
    where = f"in {log.file}, section [{log.section}], set {log.key} = {supervisord.DEFAULT}"
    return Finding(
        subject=log.path, problem=f"no rule of {site.file} has it, and its supervisord does not rotate it either",
        why=_FOR_EVER, advice=f"add it to the paths of a rule; or {where}, then {log.control or 'restart supervisord'}",
    )  # fmt: skip


def _program(site: Site, ini: Ini, program: Program) -> Iterator[Finding]:
    try:
        values = {key: ini.value(program.section, key, default, program.names) or "" for key, default in _KEYS.items()}
    except Unreadable as error:
        ini.note(program.section, error)
        return
    for key, wrong in _wrong_keys(site, values) if _is_ours(values["command"], site) else ():
        yield Finding(
            subject=f"[{program.section}] in {ini.file_of(program.section, key)}", problem=wrong,
            why=_STAYS if key == "autorestart" else _WHY,
            advice=f"{ours('queue unit --supervisor')} prints one that fits; "
            f"then {ini.control('update') or 'restart supervisord'}",
        )  # fmt: skip


def _wrong_keys(site: Site, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    job = site.settings.job
    needed = job.timeout + job.grace
    if not _is_number(values["stopwaitsecs"]):
        yield "stopwaitsecs", f"stopwaitsecs is {values['stopwaitsecs']}, which is not a number"
    elif float(values["stopwaitsecs"]) <= needed:
        yield "stopwaitsecs", f"stopwaitsecs is {values['stopwaitsecs']}, and an attempt may take {needed:g} s"
    if values["stopsignal"].upper().removeprefix("SIG") != "TERM":
        yield "stopsignal", f"stopsignal is {values['stopsignal']}, and a worker stops gracefully on TERM"
    if boolean(values["stopasgroup"]):
        yield "stopasgroup", "stopasgroup is true: the worker gets TERM twice, and the second one ends the job at work"
    if values["autorestart"].lower() == "false":
        yield "autorestart", "autorestart is false: a worker that ends stays away"
    elif values["autorestart"].lower() == "unexpected" and "0" in re.split(r"\s*,\s*", values["exitcodes"].strip()):
        yield "autorestart", ("autorestart is unexpected and exitcodes has 0: a worker that is asked to stop, by "
                              "whomever, exits with 0 and stays away; set autorestart = true")  # fmt: skip


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*\d+\s*", text) is not None


def unit(site: Site, service: systemd.Service) -> Iterator[Finding]:
    """A service that runs a worker of this queue."""
    if not _is_ours(service.command, site):
        return
    job = site.settings.job
    needed, wrong = job.timeout + job.grace, []
    if service.stop_after <= needed:
        wrong.append(f"TimeoutStopSec is {service.stop_after:g} s, and an attempt may take {needed:g} s")
    if service.kill_signal != "TERM":
        wrong.append(f"KillSignal is SIG{service.kill_signal}, and a worker stops gracefully on SIGTERM")
    if service.kill_mode != "mixed":
        wrong.append("KillMode is not mixed: the worker gets SIGTERM twice, and the second one ends the job at work")
    stays = f"Restart is {service.restart}: a worker that is asked to stop, by whomever, stays away"
    for problem in (*wrong, *([stays] if service.restart != "always" else [])):
        yield Finding(
            subject=service.name, problem=problem, why=_STAYS if problem == stays else _WHY,
            advice=f"{ours('queue unit --systemd')} prints one that fits; then systemctl daemon-reload",
        )  # fmt: skip


def _is_ours(command: str, site: Site) -> bool:
    if not _OURS.search(command):
        return False
    named = named_config(words_of(command))
    return named is None or os.path.realpath(named) == os.path.realpath(site.file)
