"""The only door to a log directory: one descriptor, and every call relative to it.

Nothing here follows a symlink, overwrites a file by accident, or acts on a name without knowing whose inode
it is. A temp is locked (flock) by its maker; a temp whose lock is taken belongs to another run and is busy.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable

from logrotor.decide.naming import LOCK, UNFINISHED_MODE, aside_name, is_unfinished
from logrotor.disk import access, calls
from logrotor.disk.acl import Access, Place
from logrotor.disk.calls import change
from logrotor.disk.opendir import READ, OpenDir
from logrotor.disk.turns import Turns
from logrotor.errors import HELD, Busy, Stale
from logrotor.model import CreateMode, FileId, Problem

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
_NO_RENAMEAT2 = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_NO_FLOCK = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL})
_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LogDir(OpenDir):
    """An open log directory, in which logs and archives are created, renamed and removed."""

    def _begin(self, fd: int, path: str) -> None:
        super()._begin(fd, path)
        self._renameat2 = True  # until the file system says that it does not offer it
        self.leftovers: list[OSError] = []  # temps that could not be removed; the next run drops them
        self.turns = Turns(self.fd, path)
        self.place = Place(self.fd)

    def close(self) -> None:
        if self.fd >= 0:
            try:
                self.turns.close()
            except OSError as error:
                error.filename = self._path(LOCK)
                self.leftovers.append(error)
            finally:
                super().close()

    def abandon(self) -> None:
        """Close it, and no more: after a fork, its lock file is the other process's."""
        self.turns.abandon()
        super().close()

    # ------------------------------------------------------------ creating

    def create_temp(self, name: str) -> int:
        """Create ``name``, mode 0600, locked by us; returns its descriptor. Raises Busy if another run was faster."""
        fd = self._create(name)
        if fd is None:
            raise self._held(name, "exists")
        return self._locked(fd, name)

    def _create(self, name: str) -> int | None:
        try:
            return change("create", os.open, name, _NEW | os.O_RDWR, 0o600, dir_fd=self.fd)
        except FileExistsError:
            return None

    def _locked(self, fd: int, name: str) -> int:
        """The same descriptor, locked, and still of the file that has the name; closed on any failure."""
        try:
            self._lock(fd, name)
            self._refuse_other(fd, name)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _refuse_other(self, fd: int, name: str) -> None:
        entry, own = self.stat(name), os.fstat(fd)
        if entry is None or entry.id != (own.st_dev, own.st_ino):
            raise Busy(f"{self._path(name)}: taken away by another run")

    def reserve(self, name: str) -> int:
        """Keep ``name`` with an empty file of the unfinished mode, and give that open. Raises Stale if it exists."""
        try:
            return change("create", os.open, name, _NEW | os.O_RDONLY, UNFINISHED_MODE, dir_fd=self.fd)
        except FileExistsError:
            raise Stale(f"{self._path(name)}: exists by now") from None

    def dress(self, fd: int, name: str, mode: CreateMode, old: Access | None, *, need: int, mark: int = 0) -> int:
        """Give a new file its mode, which is returned, and whom ``old`` lets in (:func:`access.dress`)."""
        return access.dress(fd, self.place, old, mode, self._path(name), need=need, mark=mark)

    def set_mode(self, fd: int, mode: int) -> None:
        change("chmod", os.fchmod, fd, mode)

    def create_live(self, name: str, mode: CreateMode, old: Access | None = None) -> bool:
        """Create a missing live log. False: a writer was faster, which is just as well.

        killed before ... | directory shows                    | next plan
        chmod             | the log, with the unfinished mode  | dress it
        """
        try:
            fd, made = change("create", os.open, name, _NEW | os.O_RDONLY, UNFINISHED_MODE, dir_fd=self.fd), True
        except FileExistsError:
            fd, made = self.open_file(name), False
        try:
            if not made and not is_unfinished(os.fstat(fd).st_mode):  # FUSE may lose the mark of one that we made
                return False
            self.dress(fd, name, mode, old, need=0)
        finally:
            os.close(fd)
        return True

    # ------------------------------------------------------------ renaming

    def exchange(self, one: str, other: str) -> None:
        """Swap two names in one step. OSError of ``calls.NOT_OFFERED`` where the file system cannot."""
        change("exchange", calls.renameat2, self.fd, one, self.fd, other, calls.RENAME_EXCHANGE)

    def move(self, source: str, target: str, to: LogDir | None = None) -> None:
        """Rename, never over anything: FileExistsError. renameat2, else link + unlink, else a reserved name."""
        try:
            self._move(source, target, to or self)
        except OSError as error:
            error.filename = self._path(source)
            raise

    def _move(self, source: str, target: str, to: LogDir) -> None:
        if self._renameat2:
            try:
                change("rename", calls.renameat2, self.fd, source, to.fd, target, calls.RENAME_NOREPLACE)
                return
            except OSError as error:
                if error.errno not in _NO_RENAMEAT2:
                    raise
                self._renameat2 = False
        try:
            self.link(source, target, to)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._move_to_reserved(source, target, to)
        else:
            self._unlink(source)

    def move_this(self, source: str, target: str, file: FileId, to: LogDir | None = None) -> None:
        """Rename surely this file: looked at before and after, and put back if it is another one. Raises Stale.

        rename(2) takes a name, not a file; a run with another state directory may have given the name away.
        """
        self.expect(source, file)
        self.move_seen(source, target, file, to)

    def move_seen(self, source: str, target: str, file: FileId, to: LogDir | None = None) -> None:
        """:meth:`move_this` for a name that has just been looked at."""
        to = to or self
        self.publish(source, target, to)
        moved = to.stat(target)
        if moved is not None and moved.id != file:
            to.move(target, source, self)
            raise Stale(f"{self._path(source)}: changed since the plan was made")

    def publish(self, temp: str, name: str, to: LogDir | None = None) -> None:
        """Give a finished temp its name. Raises Stale if that is taken by now."""
        try:
            self.move(temp, name, to)
        except FileExistsError:
            raise Stale(f"{(to or self)._path(name)}: exists by now") from None

    def link(self, source: str, target: str, to: LogDir | None = None) -> None:
        """A second name for a file; FileExistsError if the name is taken."""
        there = (to or self).fd
        try:
            change("link", os.link, source, target, src_dir_fd=self.fd, dst_dir_fd=there, follow_symlinks=False)
        except OSError as error:
            error.filename = self._path(source)
            raise

    def replace(self, source: str, target: str) -> None:
        """rename(2): ``target`` loses its name. Only for a target that has a second one, or is a reservation."""
        change("rename", os.rename, source, target, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def _move_to_reserved(self, source: str, target: str, to: LogDir) -> None:
        """Where neither renameat2 nor link exists: keep the name with an empty file of our own, then rename over it.

        killed before ... | directory shows                           | next plan
        rename            | the target, empty, of the unfinished mode | drop it
        """
        fd = to.reserve(target)
        try:
            change("rename", os.rename, source, target, src_dir_fd=self.fd, dst_dir_fd=to.fd)
        except OSError:
            change("unlink", os.unlink, target, dir_fd=to.fd)
            raise
        finally:
            os.close(fd)

    # ------------------------------------------------------------ removing

    def drop(self, name: str, file: FileId) -> None:
        """Remove a temp that nobody works on. Raises Busy while its maker lives, Stale if it is another file.

        A reserved name is that of an archive, which somebody may have opened by it: then it is one. Raises Busy. Where
        an archive has been set aside from that very name, it cannot be set aside itself, and goes after the last look.
        """
        fd = os.open(name, READ, dir_fd=self.fd)
        try:
            self._lock(fd, name)
            if name[0] != "." and self.stat(aside_name(name)) is None:
                self.remove(name, file, lambda: self._refuse_used(fd, name))
                return
            if name[0] != ".":
                self._refuse_used(fd, name)
            self.expect(name, file)
            self._unlink(name)
        finally:
            os.close(fd)

    def discard(self, name: str, fd: int) -> None:
        """Remove a temp of our own, by the descriptor that we made it with; nothing if the name is another file's."""
        own, entry = os.fstat(fd), self.stat(name)
        if entry is not None and entry.id == (own.st_dev, own.st_ino):
            change("unlink", os.unlink, name, dir_fd=self.fd)

    def clear_away(self, name: str, fd: int) -> None:
        """:meth:`discard` at the end of a step, which is done or failed already: an error is kept in ``leftovers``."""
        try:
            self.discard(name, fd)
        except OSError as error:
            error.filename = self._path(name)
            self.leftovers.append(error)

    def release(self, name: str, fd: int) -> None:
        """Give a reserved name back, unless somebody has opened it by its name meanwhile: then it is an archive."""
        own, entry = os.fstat(fd), self.stat(name)
        if entry is None or entry.id != (own.st_dev, own.st_ino):
            return
        try:
            self.remove(name, entry.id, lambda: self._refuse_used(fd, name))
        except (Busy, Stale):
            pass
        except OSError as error:
            self.leftovers.append(error)

    def _refuse_used(self, fd: int, name: str) -> None:
        try:
            calls.take_read_lease(fd)
        except BlockingIOError:
            raise Busy(f"{self._path(name)}: somebody writes it") from None
        except OSError:  # no leases here, or the file is somebody else's: who is seen to have it open tells as much
            from logrotor.disk.writers import Processes

            status = os.fstat(fd)
            if Processes.look().pids(FileId(status.st_dev, status.st_ino)):
                raise Busy(f"{self._path(name)}: somebody writes it") from None
        if os.fstat(fd).st_size:
            raise Busy(f"{self._path(name)}: somebody has written it")

    def drop_alias(self, name: str, file: FileId) -> None:
        """Remove one of the two names of a file."""
        if self.expect(name, file).stat.st_nlink < 2:
            raise Stale(f"{self._path(name)}: has only this name by now")
        self._unlink(name)

    def remove(self, name: str, file: FileId, check: Callable[[], None] = lambda: None) -> None:
        """Remove an archive, and surely this one: it is set aside, looked at, then unlinked. Raises Stale or OSError.

        unlink(2) takes a name, not a file; if the archives were shifted between our look and our unlink, a newer
        generation would go. ``check`` is asked when nobody can open it by its name any more; if it raises, the archive
        is put back.

        killed before ...   | directory shows    | next plan
        unlink, or put back | .app.log.1.aside   | give it its name back, decide anew
        """
        aside = aside_name(name)
        self.move_this(name, aside, file)
        try:
            check()
        except BaseException:
            self._put_back(aside, name)
            raise
        with contextlib.suppress(FileNotFoundError):  # somebody removed it by hand: it is gone, as it should be
            self._unlink(aside)

    def _put_back(self, aside: str, name: str) -> None:
        try:
            self.move(aside, name)
        except FileExistsError:  # somebody appends by name, and made a new file of it: the next plan sees two
            raise Stale(f"{self._path(name)}: was created anew meanwhile") from None

    def _unlink(self, name: str) -> None:
        try:
            change("unlink", os.unlink, name, dir_fd=self.fd)
        except OSError as error:
            error.filename = self._path(name)
            raise

    def sync(self) -> None:
        """Make the names durable (fsync of the directory)."""
        change("sync", os.fsync, self.fd)

    def _held(self, name: str, how: str) -> Busy:
        return Busy(Problem(subject=self._path(name), problem=f"{how}; another run works on this log", kind=HELD))

    def hold(self, fd: int, name: str) -> None:
        """Lock an open file of ours. Raises Busy."""
        self._lock(fd, name)

    def _lock(self, fd: int, name: str) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._held(name, "locked") from None
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
