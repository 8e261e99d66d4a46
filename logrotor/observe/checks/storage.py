"""Where logs and archives lie: directories that are there, safe and ours to change, and file systems with room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

from logrotor import text
from logrotor.decide.facts import Directory
from logrotor.disk.mounts import mount_of
from logrotor.model import Check, Codec, Finding, LogSpec, Method
from logrotor.observe.blocked import held
from logrotor.observe.deployment import Deployment
from logrotor.observe.status import status
from logrotor.survey import Answers, why_no_archives

SOON = timedelta(days=7)
FEW_INODES = 1000


def checks(here: Deployment) -> list[Check]:
    return [
        Check(id="directories.logs", title="log directories can be worked in", look=lambda: usable(here)),
        Check(id="directories.archives", title="archive directories can be worked in", look=lambda: archives(here)),
        Check(id="directories.locks", title="nobody keeps runs away", look=lambda: locks(here)),
        Check(id="directories.calls", title="file systems have the calls we need", look=lambda: calls(here)),
        Check(id="directories.mounts", title="no log is a mount point", look=lambda: mounts(here)),
        Check(id="space.forecast", title="no file system is seen to fill up in a week", look=lambda: full_soon(here)),
        Check(id="space.bytes", title="there is room for the next rotation", look=lambda: room(here)),
        Check(id="space.inodes", title="there are inodes left", look=lambda: inodes(here)),
    ]


# ---------------------------------------------------------------- directories


def usable(here: Deployment) -> Iterator[Finding]:
    for each in here.named.unlisted:
        yield Finding(
            subject=each.directory,
            problem=each.problem.under(each.directory).problem,
            why=f"nobody knows which logs of rule {each.spec.name} it holds; they are not rotated",
            advice=each.problem.advice or "correct that, or add it to exclude",
        )
    vanished = {gone.directory for gone in here.survey.vanished}
    for gone in here.survey.vanished:
        yield Finding(
            subject=gone.directory,
            problem=gone.problem.problem,
            why="where a file system is not mounted, their writers may fill another one, or write nothing",
            advice=gone.problem.advice,
        )
    for path, (spec, found) in _of_logs(here).items():
        if path in vanished:
            continue
        if found.missing:
            yield Finding(
                subject=path,
                problem=f"does not exist (rule {spec.name})",
                why="none of its logs can be found; a misspelt path looks like this too",
                advice=f"correct paths in the rule, or: mkdir -p {text.typed(path)}",
            )
        else:
            yield from _unusable(path, spec, found)


def archives(here: Deployment) -> Iterator[Finding]:
    seen: set[str] = set()
    for home, (spec, _) in _of_logs(here).items():
        if spec.archive_dir is None:
            continue
        path = os.path.normpath(os.path.join(here.mounts.real_path(home), spec.archive_dir))
        if path not in seen:
            seen.add(path)
            found = here.listings.look(path)
            why = why_no_archives(spec, found)
            if why is not None:
                harm = "are not rotated" if found.problem is not None else "keep plain archives beside them"
                yield Finding(
                    subject=path, problem=why.problem, why=f"the logs of rule {spec.name} {harm}", advice=why.advice
                )


def _unusable(path: str, spec: LogSpec, found: Directory) -> Iterator[Finding]:
    if found.problem is not None:
        same = found.problem.subject == found.resolved
        yield Finding(
            subject=path,
            problem=found.problem.problem if same else found.problem.under(path).problem,
            why=f"logrotor refuses it: the logs of rule {spec.name} there are not rotated",
            advice=found.problem.advice or "correct that, or name another directory",
        )
    elif found.closed is not None:
        yield Finding(
            subject=path,
            problem=found.closed.problem,
            why=f"the logs of rule {spec.name} there cannot be rotated, and grow until the disk is full",
            advice=found.closed.advice,
        )


def locks(here: Deployment) -> Iterator[Finding]:
    for path, why in held(here):
        yield Finding(
            subject=path,
            problem=why.problem,
            why="as long as that lasts, each run leaves alone what it keeps: a log, an archive, or all there is",
            advice=why.advice,
        )


def calls(here: Deployment) -> Iterator[Finding]:
    for path, (spec, found) in _of_logs(here).items():
        system = found.file_system
        if system is None:
            continue
        if spec.method is Method.COPYTRUNCATE and not system.collapse:
            loss = "lines written meanwhile are lost" if spec.accept_loss else "so every rotation there is refused"
            yield Finding(
                subject=path,
                problem=f"{system.type} cannot collapse a range",
                why=f"copytruncate (rule {spec.name}) is lossless only by that: {loss}",
                advice='use method = "rename" and a reopen target, or move the logs to ext4 or XFS',
            )
        elif spec.method is not Method.COPYTRUNCATE and system.protocol != "exchange":
            yield Finding(
                subject=path,
                problem=f"{system.type} cannot exchange two names",
                why="writers on another machine are not seen, and an archive may have to wait for them",
                advice="let one machine write and rotate there, or move the logs to a local file system",
            )


def mounts(here: Deployment) -> Iterator[Finding]:
    mounted = here.mounts.points
    for facts in here.survey.logs:
        if facts.path in mounted and facts.spec.method is not Method.COPYTRUNCATE:
            yield Finding(
                subject=facts.path,
                problem="is mounted by itself (a bind-mounted file)",
                why="a mount point cannot be renamed, so this log is never rotated",
                advice='mount its directory, or set method = "copytruncate"',
            )


def _of_logs(here: Deployment) -> dict[str, tuple[LogSpec, Directory]]:
    """Each directory that a rule names, with the first such rule."""
    found: dict[str, tuple[LogSpec, Directory]] = {}
    answers = Answers(here.config.targets)
    for selector in here.named.selectors:
        if selector.directory not in found:
            found[selector.directory] = (selector.spec, here.listings.look(selector.directory))
        answers.give(found[selector.directory][1], selector.spec)
    return found


# ---------------------------------------------------------------- room


def full_soon(here: Deployment) -> Iterator[Finding]:
    for system in status(here).file_systems:
        if system.full_on is not None and system.full_on - here.now < SOON:
            when = system.full_on.isoformat(" ", "minutes")
            left = f"{text.size(system.free)} are free"
            soon = f"full on {when} if the logs go on growing as they do ({left})"
            yield Finding(
                subject=system.mount,
                problem=soon if system.full_on > here.now else f"full: {left}",
                why="writers fail, and so does every rotation that has to create a file",
                advice="make room there: lower backup_count or max_age, set max_total_size, keep_free or archive_dir",
            )


def room(here: Deployment) -> Iterator[Finding]:
    """To compress an archive takes room for both forms of it until the new one is verified."""
    needs: dict[int, tuple[int, int, str]] = {}
    for facts in here.survey.logs:
        live, system = facts.family.live, facts.directory.file_system
        if live is None or system is None or facts.spec.compress is Codec.NONE:
            continue
        need, free, _ = needs.get(system.device, (0, system.free, ""))
        needs[system.device] = (max(need, live.size), free, facts.directory.resolved)
    for need, free, path in needs.values():
        if need > free:
            yield Finding(
                subject=mount_of(path),
                problem=f"{free} bytes are free, and the largest log has {need}",
                why="compressing it may find no room for the archive; the plain one stays until there is some",
                advice="make room: lower backup_count, remove what is not needed; keep_free does it in each run",
            )


def inodes(here: Deployment) -> Iterator[Finding]:
    seen: set[int] = set()
    for facts in here.survey.logs:
        system = facts.directory.file_system
        if system is None or system.device in seen:
            continue
        seen.add(system.device)
        space = os.statvfs(facts.directory.resolved)
        if space.f_files and space.f_favail < FEW_INODES:
            yield Finding(
                subject=mount_of(facts.directory.resolved),
                problem=f"{space.f_favail} inodes are free",
                why="without one no file can be created, whatever room is left: every rotation would fail",
                advice="remove small files (find DIR -xdev -type f | cut -d/ -f1-4 | sort | uniq -c shows where)",
            )
