"""An open directory, and every look into it relative to its descriptor: no symlink is followed, nothing is changed."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Self

from logrotor.disk import descent, walk
from logrotor.errors import Refused, Stale
from logrotor.model import Entry, FileId

ANY = sys.maxsize  # names of a file
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def is_private(directory: os.stat_result) -> bool:
    """May nobody but us make files in it, or names for them?"""
    return directory.st_uid == os.geteuid() and not directory.st_mode & 0o022


class OpenDir:
    """Close it, or use it as a context manager.

    ``path`` is one that :meth:`resolve` gave: a symlink on it was put there since, and is refused (Stale).
    """

    def __init__(self, path: str) -> None:
        self._begin(walk.open_directory(path), path)

    @classmethod
    def resolve(cls, path: str) -> Self:
        """Open a configured path, where links of root and of ours are followed."""
        made = cls.__new__(cls)
        made._begin(*walk.resolve_directory(path))
        return made

    def _begin(self, fd: int, path: str) -> None:
        self.fd, self.path = fd, path
        status = os.fstat(self.fd)
        self.id = FileId(status.st_dev, status.st_ino)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def scan(
        self, silent: Collection[str] = (), vanished: Callable[[str], None] = lambda name: None
    ) -> Iterator[Entry]:
        """Every entry but ``.`` and ``..``, with its lstat; one that vanishes meanwhile is left out, and told.

        ``silent``: mount points of file systems that do not answer, at which no call returns.
        """
        with os.scandir(self.fd) as found:
            for item in found:
                if item.name in silent:
                    continue
                try:
                    yield Entry(item.name, item.stat(follow_symlinks=False))
                except FileNotFoundError:
                    vanished(item.name)

    def stat(self, name: str) -> Entry | None:
        try:
            return Entry(name, os.stat(name, dir_fd=self.fd, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def expect(self, name: str, file: FileId) -> Entry:
        """The entry ``name``, which must still be ``file``. Raises Stale."""
        entry = self.stat(name)
        if entry is None or entry.id != file:
            raise Stale(f"{self._path(name)}: changed since the plan was made")
        return entry

    def open_file(self, name: str, file: FileId | None = None, flags: int = os.O_RDONLY, *, names: int = 1) -> int:
        """Open a regular file, never waiting (O_NONBLOCK) and never through a link.

        It has no name besides this one; ``names``: or no more than these, which the caller knows to be ours.
        """
        return self.open_known(name, file, flags, names=names)[0]

    def open_archive(self, name: str, file: FileId | None = None, flags: int = os.O_RDONLY) -> int:
        """The same for an archive, which may have other names elsewhere (``cp -al``).

        But if others may write here, only one that bears our mark: they could have linked a file that they cannot read.
        """
        fd, status = self.open_known(name, file, flags, names=ANY)
        try:
            known = status.st_nlink == 1 or is_private(os.fstat(self.fd)) or descent.has_noted(fd)
            self._refuse_odd(name, status, file, ANY if known else 1)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def open_known(
        self, name: str, file: FileId | None = None, flags: int = os.O_RDONLY, *, names: int = 1
    ) -> tuple[int, os.stat_result]:
        """:meth:`open_file`, with its status."""
        try:
            fd = os.open(name, READ | flags, dir_fd=self.fd)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Refused(f"{self._path(name)}: a symlink stands there") from None
            error.filename = self._path(name)
            raise
        try:
            status = os.fstat(fd)
            self._refuse_odd(name, status, file, names)
        except BaseException:
            os.close(fd)
            raise
        return fd, status

    def _refuse_odd(self, name: str, status: os.stat_result, file: FileId | None, names: int) -> None:
        if file is not None and (status.st_dev, status.st_ino) != file:
            raise Stale(f"{self._path(name)}: changed since the plan was made")
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{self._path(name)}: not a regular file")
        if status.st_nlink > names:  # planned with, it had one: another run may be in the middle of a link + unlink
            error = Stale if file is not None else Refused
            raise error(f"{self._path(name)}: has more than one name")

    def is_writable(self) -> bool:
        """May we create, rename and remove here? (faccessat(2); a read-only file system says no.)"""
        return os.access(".", os.W_OK | os.X_OK, dir_fd=self.fd, effective_ids=True)

    def _path(self, name: str) -> str:
        return os.path.join(self.path, name)
