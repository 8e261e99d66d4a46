"""Directories and logs as the planner would be told of them, made up: no disk, no clock."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from logrotor.decide import naming
from logrotor.decide.facts import Directory, Family, LogFacts
from logrotor.model import (
    Archive,
    ArchiveName,
    Codec,
    Entry,
    FileId,
    FileSystem,
    LogHistory,
    LogSpec,
    Nobody,
    Problem,
    Writers,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HERE, DEVICE, OTHER_DEVICE = "/logs", 1, 2
DAY = 86_400.0

_inodes = itertools.count(1000)


def entry(
    name: str,
    size: int = 100,
    *,
    age: float = DAY,
    inode: int | None = None,
    device: int = DEVICE,
    mode: int = 0o100664,
    nlink: int = 1,
    uid: int = 33,
    since: float | None = None,
) -> Entry:
    """A directory entry, last written ``age`` seconds before NOW; it got its name ``since`` (by default then too)."""
    mtime = NOW.timestamp() - age
    ctime = mtime if since is None else NOW.timestamp() - since
    basic = (mode, inode if inode is not None else next(_inodes), device, nlink, uid, uid, size)
    whole = (int(mtime), int(mtime), int(ctime))
    exact = {"st_atime": mtime, "st_mtime": mtime, "st_ctime": ctime, "st_blocks": -(-size // 512)}
    return Entry(name, os.stat_result((*basic, *whole), exact | {"st_mtime_ns": int(mtime * 1e9)}))


def archive(name: str, size: int = 100, *, directory: str = HERE, **more: Any) -> Archive:
    """The archive of that name."""
    parsed = naming.parse_archive(name)
    assert parsed is not None, name
    return Archive(parsed, entry(name, size, **more), directory)


def system(kind: str = "ext4", *, device: int = DEVICE, total: int = 10**9, free: int = 5 * 10**8) -> FileSystem:
    return FileSystem(device, kind, total, free, 4096, "exchange", kind in ("ext4", "xfs", "overlay"))


def directory(
    *entries: Entry, path: str = HERE, closed: Problem | None = None, fs: FileSystem | None = None
) -> Directory:
    """A directory that holds these, sorted by the log that they belong to."""
    fs = fs or system()
    found = Directory(path, path, FileId(fs.device, hash(path) & 0xFFFF), {}, fs, closed)
    for each in entries:
        parsed, base = naming.parse_archive(each.name), naming.parse_replacement(each.name)
        parsed = parsed or naming.parse_aside(each.name)
        temp = naming.parse_temp(each.name)
        if parsed is not None:
            _family(found, parsed.base).archives.append(Archive(parsed, each, path))
        elif base is not None:
            _family(found, base).replacement = each
        elif temp is not None:
            _family(found, temp.base).temps.append(each)
        else:
            _family(found, each.name).live = each
    return found


def _family(found: Directory, base: str) -> Family:
    return found.families.setdefault(base, Family())


def spec(**more: Any) -> LogSpec:
    return LogSpec(**{"name": "app", "paths": ("/logs/app.log",), "max_size": 1000, **more})


def facts(
    *entries: Entry,
    base: str = "app.log",
    rule: LogSpec | None = None,
    history: LogHistory | None = None,
    writers: Mapping[str, Writers] | None = None,
    elsewhere: Iterable[Directory] = (),
    here: Directory | None = None,
    **more: Any,
) -> LogFacts:
    """Everything of one log; ``writers`` by file name, of all others nobody writes."""
    found = here or directory(*entries)
    others = tuple(elsewhere)
    known = dict(writers or {})
    plain = [
        each.entry
        for place in (found, *others)
        for family in place.families.values()
        for each in family.archives
        if each.name.codec is Codec.NONE
    ]
    replacement = found.families.get(base, Family()).replacement
    plain += [replacement] if replacement is not None else []
    return LogFacts(
        spec=rule or spec(),
        path=os.path.join(found.path, base),
        base=base,
        directory=found,
        family=found.families.get(base, Family()),
        elsewhere=others,
        archive_dir=more.pop("archive_dir", None),
        history=history or LogHistory(),
        writers={each.id: known.get(each.name, Nobody("lease")) for each in plain},
        **more,
    )


def name(base: str = "app.log", **more: Any) -> ArchiveName:
    return ArchiveName(base, **more)
