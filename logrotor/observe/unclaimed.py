"""Files beside the logs that no rule has: nobody rotates them, and nobody removes them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from msgspec import Struct

from logrotor import text
from logrotor.decide.facts import Directory
from logrotor.disk.discover import is_excluded
from logrotor.model import Codec, Entry
from logrotor.observe.deployment import Deployment

LARGE = 100 * 1024 * 1024  # bytes
_LIVE = 86400.0  # seconds since the last write
_DATE = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}-?[01][0-9]-?[0-3][0-9]")
_PACKED = {*(codec.suffix for codec in Codec if codec.suffix), ".Z", ".lz4"}  # other rotators have more


class Series(Struct, frozen=True):
    """Files whose names differ by their date or slot only. ``pattern``: their path, with * for the date."""

    pattern: str
    files: int
    bytes: int


class Large(Struct, frozen=True):
    """A file that is written and grows."""

    path: str
    bytes: int

    @property
    def words(self) -> str:
        return f"{text.size(self.bytes)}, written in the last 24 hours, and of no rule"


def series(here: Deployment) -> Iterator[Series]:
    """Files with a date in their name, archives and temps of logs, that nobody will ever remove."""
    places = _log_directories(here)
    archived = {d.resolved: d for facts in here.survey.logs for d in facts.elsewhere}
    names = {facts.base for facts in here.survey.logs} if archived else set()
    for place, directory in sorted({**places, **archived}.items()):
        if place in archived:  # a name of ours may be claimed from anywhere; what lies beside its log is its program's
            known = names | {base for base, family in directory.families.items() if family.live is not None}
        else:
            known = _claimed(here, place)
        entries = _rest(directory, known)
        yield from _series(place, [entry for entry in entries if not _is_known(here, place, entry)])


def large(here: Deployment) -> Iterator[Large]:
    """Large files in the directories of the logs, written within a day, that are of no rule."""
    since = here.now.timestamp() - _LIVE
    for place, directory in sorted(_log_directories(here).items()):
        known = _claimed(here, place)
        for base, family in sorted(directory.families.items()):
            live = family.live
            if base in known or live is None or not live.is_regular or os.path.splitext(base)[1] in _PACKED:
                continue
            if live.size >= LARGE and live.stat.st_mtime > since and not _is_known(here, place, live):
                yield Large(os.path.join(place, base), live.size)


def _log_directories(here: Deployment) -> dict[str, Directory]:
    return {facts.directory.resolved: facts.directory for facts in here.survey.logs}


def _claimed(here: Deployment, place: str) -> set[str]:
    return {facts.base for facts in here.survey.logs if facts.directory.resolved == place}


def _is_known(here: Deployment, place: str, entry: Entry) -> bool:
    """Whoever excludes a file from a rule has seen it; what is unclear has a check of its own."""
    path = os.path.join(place, entry.name)
    return any(path == found.subject for found in here.survey.unclear) or any(
        is_excluded(spec, path) for spec in here.config.logs
    )


def _rest(directory: Directory, claimed: set[str]) -> Iterator[Entry]:
    for base, family in directory.families.items():
        if base not in claimed:
            live = [family.live] if family.live is not None and _DATE.search(family.live.name) else []
            rest = [archive.entry for archive in family.archives] + family.temps
            yield from (entry for entry in (*live, *rest) if entry.is_regular)


def _series(place: str, entries: Iterable[Entry]) -> Iterator[Series]:
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[_DATE.sub("*", _unpacked(entry.name))].append(entry)
    for pattern, members in sorted(found.items()):
        yield Series(os.path.join(place, pattern), len(members), sum(entry.size for entry in members))


def _unpacked(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}" in _PACKED else name
