"""What a run adds to the samples: what it found, before it takes anything, and what it took."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from logrotor.decide.facts import LogFacts
from logrotor.disk import mounts, snapshot
from logrotor.model import FileSystem, LogSize, Outcome, Space, Status

_TAKING = frozenset({"take", "copytruncate", "recover"})


def sizes(logs: Iterable[LogFacts]) -> list[LogSize]:
    """Of each log, with all of its archives."""
    return [LogSize(log.path, log.family.live.size if log.family.live else None, _archived(log)) for log in logs]


def _archived(log: LogFacts) -> int:
    found = sum(archive.entry.stat.st_size for archive in log.family.archives)
    for directory in log.elsewhere:
        if log.base in directory.families:
            found += sum(archive.entry.stat.st_size for archive in directory.families[log.base].archives)
    return found


def spaces(logs: Iterable[LogFacts], state_dir: str) -> list[Space]:
    """The file systems of logs, of archives and of the state."""
    found: dict[int, tuple[str, FileSystem]] = {}
    for log in logs:
        for place in (log.directory, *log.elsewhere):
            if place.file_system is not None:
                found.setdefault(place.file_system.device, (place.resolved, place.file_system))
    state, of_state = os.path.realpath(state_dir), snapshot.file_system_of(state_dir)
    if of_state is not None:
        found.setdefault(of_state.device, (state, of_state))
    return [*_spaces(found.values())]


def _spaces(found: Iterable[tuple[str, FileSystem]]) -> Iterator[Space]:
    for path, system in found:
        try:
            yield Space(mounts.mount_of(path), system.free, system.free_inodes)
        except OSError:  # it has gone meanwhile
            continue


def taken(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many bytes of each log are in an archive now that were in the log before."""
    found: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.action in _TAKING and outcome.status is Status.DONE and "inode" in outcome.details:
            found[outcome.log] = found.get(outcome.log, 0) + int(outcome.details.get("bytes") or 0)
    return found
