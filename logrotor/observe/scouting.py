"""Find logs, who writes them, and how each would be rotated: what ``logrotor init`` proposes. Changes nothing.

What a writer does is judged in :mod:`behaviour`.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator

from msgspec import Struct

from logrotor.decide.naming import parse_archive
from logrotor.disk import calls, mounts, proc, writers
from logrotor.model import Codec, FileId
from logrotor.observe.behaviour import SLOT, Log, Writer, judged

_MOST = 10_000  # files of a directory and those below it
_LOG = re.compile(r"(?is).*\.(?:log|err|out)|.*[._-](?:log|access|error)s?|syslog|messages")
_FOLDER = re.compile(r"/logs?(?:/|$)")
_PACKED = {*(codec.suffix for codec in Codec if codec.suffix), ".Z", ".lz4"}


class Found(Struct, frozen=True):
    """All logs, and why a process or a directory may be missing."""

    logs: tuple[Log, ...]
    unseen: tuple[str, ...] = ()


def scout(places: Iterable[str]) -> Found:
    """The logs in these directories, and these files; without any, those that processes of this user append to."""
    seen = _Open.look()
    given = list(places)
    problems: list[str] = []
    paths = list(_below(given, seen, problems)) if given else sorted(seen.mine)
    logs = tuple(
        judged(path, seen.of(path), all_seen=not seen.unseen) for path in dict.fromkeys(paths) if not _is_archive(path)
    )
    return Found(logs, (*problems, *([seen.unseen] if seen.unseen else [])))


# ---------------------------------------------------------------- which files


class _Open(Struct):
    """What processes have open for writing. ``mine``: what those of our own user append to, and looks like a log."""

    writers: dict[FileId, list[Writer]]
    mine: set[str]
    unseen: str = ""

    @classmethod
    def look(cls) -> _Open:
        found = cls({}, set(), proc.why_not_whole() or "")
        hidden = 0
        for pid in proc.pids():
            try:
                process = proc.look(pid)
                found._add(process)
            except PermissionError:
                hidden += 1
            except OSError:  # it has ended
                continue
        if hidden:
            what = f"the open files of {hidden} {'process' if hidden == 1 else 'processes'}"
            found.unseen = "; ".join(filter(None, (found.unseen, what)))
        return found

    def _add(self, process: proc.Process) -> None:
        if process.dead or process.pid == os.getpid():
            return
        for file in proc.opened(process.pid):
            with contextlib.suppress(OSError):
                status = os.stat(file.path) if file.for_writing else None
                if status is not None and stat.S_ISREG(status.st_mode) and status.st_nlink:
                    self._add_file(process, file, FileId(status.st_dev, status.st_ino))

    def _add_file(self, process: proc.Process, file: proc.OpenFile, id: FileId) -> None:
        appends, known = writers.appends(file), self.writers.setdefault(id, [])
        if not any(writer.pid == process.pid for writer in known):
            known.append(Writer(process, proc.program(process.pid), appends))
        if appends and process.uid == os.geteuid() and looks_like_log(file.name) and _is_at(file.name, id):
            self.mine.add(file.name)

    def of(self, path: str) -> tuple[Writer, ...]:
        with contextlib.suppress(OSError):
            return tuple(self.writers.get(calls.identify(path), ()))
        return ()


def looks_like_log(path: str) -> bool:
    folder, name = os.path.split(path)
    return bool(_LOG.fullmatch(name)) or bool(_FOLDER.search(folder) and not name.startswith("."))


def _is_at(path: str, id: FileId) -> bool:
    try:
        return calls.identify(path) == id
    except OSError:
        return False


def _below(places: Iterable[str], seen: _Open, problems: list[str]) -> Iterator[str]:
    """Files that were named, and in directories what looks like a log by its name or is open for writing."""
    for place in map(os.path.abspath, places):
        mounts.refuse_silent(place)
        if not os.path.isdir(place):
            yield place
            continue
        for folder, _, names in _walk(place, problems):
            for path in (os.path.join(folder, name) for name in sorted(names)):
                if os.path.isfile(path) and not os.path.islink(path) and (_LOG.fullmatch(os.path.basename(path))
                                                                          or seen.of(path)):  # fmt: skip
                    yield path


def _walk(place: str, problems: list[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    count = 0
    for found in os.walk(place, onerror=lambda error: problems.append(f"{error.filename}: {error.strerror}")):
        yield found
        count += len(found[2])
        if count > _MOST:
            problems.append(f"{place}: more than {_MOST} files, of which the first were looked at")
            return


def _is_archive(path: str) -> bool:
    """By its name: a compressed file, or one that has the name of a file beside it and a number or date behind."""
    folder, name = os.path.split(path)
    found, slot = parse_archive(name), SLOT.fullmatch(name)
    bases = {found.base if found is not None else "", slot[1] if slot else ""} - {""}
    return os.path.splitext(name)[1] in _PACKED or any(os.path.exists(os.path.join(folder, base)) for base in bases)
