"""Room on the file systems: bytes against the forecast and against what the next run needs, and inodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

from logrotor.model import Check, Codec, Finding
from logrotor.observe.site import Site
from logrotor.observe.status import mount_of, status

SOON = timedelta(days=7)
FEW_INODES = 1000


def checks(site: Site) -> list[Check]:
    return [
        Check(id="space.forecast", title="no file system is full within a week", look=lambda: full_soon(site)),
        Check(id="space.bytes", title="there is room for the next rotation", look=lambda: room(site)),
        Check(id="space.inodes", title="there are inodes left", look=lambda: inodes(site)),
    ]


def full_soon(site: Site) -> Iterator[Finding]:
    for system in status(site).file_systems:
        if system.full_on is not None and system.full_on - site.now < SOON:
            when = system.full_on.isoformat(" ", "minutes")
            left = f"{system.free} bytes are free"
            soon = f"full on {when} if the logs go on growing as they do ({left})"
            yield Finding(
                subject=system.mount,
                problem=soon if system.full_on > site.now else f"full: {left}",
                why="writers fail, and so does every rotation that has to create a file",
                advice="lower backup_count or max_age, set max_total_size or keep_free, or move archives: archive_dir",
            )


def room(site: Site) -> Iterator[Finding]:
    """To compress an archive takes room for both forms of it until the new one is verified."""
    needs: dict[int, tuple[int, int, str]] = {}
    for facts in site.survey.logs:
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


def inodes(site: Site) -> Iterator[Finding]:
    seen: set[int] = set()
    for facts in site.survey.logs:
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
