"""What was found on the disk: entries, archives, who writes them, file systems."""

from __future__ import annotations

import os
import stat as stat_module
from typing import NamedTuple

from msgspec import Struct

from logrotor.model.settings import Codec


class FileId(NamedTuple):
    """Identity of a file within a run."""

    device: int
    inode: int


_KINDS = {
    stat_module.S_IFREG: "regular file",
    stat_module.S_IFDIR: "directory",
    stat_module.S_IFLNK: "symlink",
    stat_module.S_IFIFO: "FIFO",
    stat_module.S_IFSOCK: "socket",
    stat_module.S_IFCHR: "character device",
    stat_module.S_IFBLK: "block device",
}


class Entry(Struct, frozen=True):
    """A directory entry with its ``lstat``."""

    name: str
    stat: os.stat_result

    @property
    def id(self) -> FileId:
        return FileId(self.stat.st_dev, self.stat.st_ino)

    @property
    def size(self) -> int:
        return self.stat.st_size

    @property
    def allocated(self) -> int:
        """Bytes that removing it gives back."""
        return self.stat.st_blocks * 512

    @property
    def mtime(self) -> float:
        return self.stat.st_mtime

    @property
    def ctime(self) -> float:
        return self.stat.st_ctime

    @property
    def is_regular(self) -> bool:
        return stat_module.S_ISREG(self.stat.st_mode)

    @property
    def kind(self) -> str:
        """The kind of file in words, for messages."""
        return _KINDS.get(stat_module.S_IFMT(self.stat.st_mode), "unknown kind of file")


class ArchiveName(Struct, frozen=True):
    """The parts of an archive's name: ``BASE.N`` or ``BASE-STAMP[-COPY]``, with or without a codec's suffix."""

    base: str
    slot: int | None = None
    stamp: str | None = None  # "20261121T070000Z"
    copy: int = 0  # 0: no "-n"
    codec: Codec = Codec.NONE


class Archive(Struct, frozen=True):
    """An archive as found: the parts of its name, its entry, and the directory that holds it."""

    name: ArchiveName
    entry: Entry
    directory: str

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.entry.name)


class Nobody(Struct, frozen=True):
    """Proof that no process has the file open for writing."""

    proof: str  # "lease" or "/proc"


class Written(Struct, frozen=True):
    """Some process has the file open for writing. ``pids`` may be empty: the lease tells that, not who."""

    proof: str
    pids: tuple[int, ...] = ()
    names: tuple[str, ...] = ()  # of their programs, in the same order; "" where it is not known


class Unknown(Struct, frozen=True):
    """It cannot be known whether a process writes; never to be taken for nobody."""

    why: str


Writers = Nobody | Written | Unknown


class FileSystem(Struct, frozen=True):
    """What a directory's file system offers. Sizes in bytes; ``type`` as in ``mount``, "unknown" if not known."""

    device: int
    type: str
    total: int
    free: int
    block: int
    protocol: str  # the take protocol to be expected: "exchange", "link", "rename"
    collapse: bool  # a range can be collapsed: lossless copytruncate
    free_inodes: int | None = None  # None: it has no fixed number
