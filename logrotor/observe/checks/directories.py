"""The directories of logs and of archives: there, safe, ours to change, and on a file system that can do it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from logrotor.decide.facts import Directory
from logrotor.disk import discover, proc, snapshot
from logrotor.model import Check, Finding, LogSpec, Method
from logrotor.observe import obstacles
from logrotor.observe.site import Site
from logrotor.survey import why_no_archives


def checks(site: Site) -> list[Check]:
    return [
        Check(id="directories.logs", title="log directories can be worked in", look=lambda: usable(site)),
        Check(id="directories.archives", title="archive directories can be worked in", look=lambda: archives(site)),
        Check(id="directories.locks", title="no lock file keeps runs away", look=lambda: locks(site)),
        Check(id="directories.calls", title="file systems have the calls we need", look=lambda: calls(site)),
        Check(id="directories.mounts", title="no log is a mount point", look=lambda: mounts(site)),
    ]


def usable(site: Site) -> Iterator[Finding]:
    for path, (spec, found) in _of_logs(site).items():
        if found.missing:
            yield Finding(
                subject=path,
                problem=f"does not exist (rule {spec.name})",
                why="none of its logs can be found; a misspelt path looks like this too",
                advice=f"correct paths in the rule, or: mkdir -p {path}",
            )
        else:
            yield from _unusable(path, spec, found)


def archives(site: Site) -> Iterator[Finding]:
    seen: set[str] = set()
    for home, (spec, _) in _of_logs(site).items():
        if spec.archive_dir is None:
            continue
        path = os.path.normpath(os.path.join(os.path.realpath(home), spec.archive_dir))
        if path not in seen:
            seen.add(path)
            found = snapshot.look(path)
            why = why_no_archives(spec, found)
            if why is not None:
                harm = "are not rotated" if found.problem is not None else "keep plain archives beside them"
                yield Finding(
                    subject=path, problem=why.problem, why=f"the logs of rule {spec.name} {harm}", advice=why.advice
                )


def _unusable(path: str, spec: LogSpec, found: Directory) -> Iterator[Finding]:
    if found.problem is not None:
        above = found.problem.subject
        yield Finding(
            subject=path,
            problem=found.problem.problem if above in (path, found.resolved) else f"{above}: {found.problem.problem}",
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


def locks(site: Site) -> Iterator[Finding]:
    for path, why in obstacles.locks(site):
        yield Finding(
            subject=path,
            problem=why.problem,
            why="as long as it is there, no log in that directory is rotated",
            advice=why.advice,
        )


def calls(site: Site) -> Iterator[Finding]:
    for path, (spec, found) in _of_logs(site).items():
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


def mounts(site: Site) -> Iterator[Finding]:
    mounted = proc.mount_points()
    for facts in site.survey.logs:
        if facts.path in mounted and facts.spec.method is not Method.COPYTRUNCATE:
            yield Finding(
                subject=facts.path,
                problem="is mounted by itself (a bind-mounted file)",
                why="a mount point cannot be renamed, so this log is never rotated",
                advice='mount its directory, or set method = "copytruncate"',
            )


def _of_logs(site: Site) -> dict[str, tuple[LogSpec, Directory]]:
    """Each directory that a rule names, with the first such rule."""
    found: dict[str, tuple[LogSpec, Directory]] = {}
    for selector in discover.discover(site.config.logs):
        if selector.directory not in found:
            found[selector.directory] = (selector.spec, snapshot.look(selector.directory))
    return found
