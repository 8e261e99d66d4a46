"""One look at a directory: its entries sorted by the log that they belong to, and its file system. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Collection

from msgspec.structs import replace

from logrotor.decide import naming
from logrotor.decide.facts import Directory, Family
from logrotor.disk import calls, identity, walk
from logrotor.disk.logdir import LogDir
from logrotor.disk.mounts import Mounts
from logrotor.errors import LogrotorError, problem_of
from logrotor.model import Archive, Entry, FileSystem, Problem

_TYPES = {
    0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x01021994: "tmpfs", 0x794C7630: "overlay",
    0x2FC12FC1: "zfs", 0xF2F52010: "f2fs", 0x65735546: "fuse", 0x6969: "nfs", 0x01021997: "9p",
    0xFF534D42: "cifs", 0xFE534D42: "cifs", 0x517B: "cifs", 0x4D44: "vfat",
}  # fmt: skip
_TRIES = 5  # for a directory in which files are renamed all the time
_NO_RENAMEAT2 = frozenset({"fuse", "nfs", "9p"})
_COLLAPSE = frozenset({"ext4", "xfs", "overlay"})


def look(path: str, mounts: Mounts | None = None) -> Directory:
    """Scan ``path``. Never raises for a directory that cannot be used: ``problem`` or ``missing`` says so.

    Where a name vanishes between the listing and the look at its file, it is scanned again, a few times.
    """
    mounts = mounts or Mounts()
    for _ in range(_TRIES):
        found = _look(path, mounts)
        if not found.is_torn:
            break
    return found


def _look(path: str, mounts: Mounts) -> Directory:
    found = Directory(path, problem=mounts.why_silent(path))
    if found.problem is not None:
        return found
    try:
        with LogDir.resolve(path) as logdir:
            _fill(found, logdir, mounts.silent_names(logdir.path))
    except FileNotFoundError:
        found.missing = True
        _resolve_missing(found)
    except (LogrotorError, OSError) as error:
        found.problem = why_closed_to_us(error, path)
    return found


def why_closed_to_us(error: Exception, path: str) -> Problem:
    """Why a directory could not be listed."""
    problem = problem_of(error, path)
    if not isinstance(error, PermissionError):
        return problem
    us = walk.user_name(os.geteuid())
    return replace(problem, advice=f"let {us} enter and list it, or run logrotor as its owner")


def _resolve_missing(found: Directory) -> None:
    try:
        found.resolved = walk.resolve_missing(os.path.normpath(found.path))
        found.barrier = walk.barrier_to(found.resolved)
    except (LogrotorError, OSError) as error:
        found.problem = problem_of(error, found.path)


def _fill(found: Directory, logdir: LogDir, silent: Collection[str]) -> None:
    found.resolved, found.id = logdir.path, logdir.id
    found.file_system = file_system(logdir.fd, logdir.id.device)
    found.closed = None if logdir.is_writable() else identity.why_closed(logdir.path)

    def vanished(name: str) -> None:
        found.is_torn = True

    for entry in logdir.scan(silent, vanished):
        if entry.name == naming.LOCK:
            found.locked = True
        else:
            _sort_in(found.families, entry, logdir.path)


def _sort_in(families: dict[str, Family], entry: Entry, directory: str) -> None:
    name = entry.name
    archive = naming.parse_archive(name) or (naming.parse_aside(name) if name[0] == "." else None)
    if archive is not None:
        _family(families, archive.base).archives.append(Archive(archive, entry, directory))
        return
    if name[0] == ".":
        base = naming.parse_replacement(name)
        if base is not None:
            _family(families, base).replacement = entry
            return
        archive = naming.parse_temp(name)
        if archive is not None:
            _family(families, archive.base).temps.append(entry)
            return
    _family(families, name).live = entry


def _family(families: dict[str, Family], base: str) -> Family:
    family = families.get(base)
    if family is None:
        family = families[base] = Family()
    return family


def file_system_of(path: str) -> FileSystem | None:
    """That of a directory which may be closed to us; None: it is missing, or nothing can be known."""
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return file_system(fd, os.fstat(fd).st_dev)
    except OSError:
        return None
    finally:
        os.close(fd)


def file_system(fd: int, device: int) -> FileSystem:
    """Size, free space and abilities of the file system of an open directory."""
    space = os.fstatvfs(fd)
    try:
        kind = _TYPES.get(calls.file_system_magic(fd), "unknown")
    except OSError:
        kind = "unknown"
    return FileSystem(
        device=device,
        type=kind,
        total=space.f_blocks * space.f_frsize,
        free=space.f_bavail * space.f_frsize,
        block=space.f_bsize,
        protocol="link" if kind in _NO_RENAMEAT2 else "exchange",
        collapse=kind in _COLLAPSE,
        free_inodes=space.f_favail if space.f_files else None,
    )
