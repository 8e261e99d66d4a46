"""Remove: archives that retention no longer keeps, and the debris of interrupted runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from logrotor.disk import calls, files, writers
from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.disk.snapshot import file_system
from logrotor.errors import Busy, Stale
from logrotor.model import DropAlias, DropDuplicate, DropTemp, Remove, Written


def retire(dirs: Directories, step: Remove, check: Callable[[], None] = lambda: None) -> None:
    """Remove one archive, and surely this one. ``check``: as of :meth:`LogDir.remove`. Raises Stale or OSError."""
    with dirs.use(step.directory) as logdir:
        logdir.remove(step.name, step.id, check)


def drop_temp(dirs: Directories, step: DropTemp) -> None:
    """Remove a temp that nobody works on. Raises Busy, Stale or OSError."""
    with dirs.use(step.directory) as logdir:
        logdir.drop(step.name, step.id)


def drop_alias(dirs: Directories, step: DropAlias) -> None:
    """Remove the second name of a file."""
    with dirs.use(step.directory) as logdir:
        logdir.drop_alias(step.name, step.id)


def drop_duplicate(dirs: Directories, step: DropDuplicate) -> None:
    """Remove an archive of which another file holds every byte. Raises Stale, Busy or OSError.

    Whoever made one of the other is gone, for we have the log's turn; it may have been killed before the name of the
    other file was durable, as it has to be before this one goes.
    """
    with dirs.use(step.directory) as logdir, dirs.use(step.twin_directory) as other, ExitStack() as opened:
        fd = other.open_file(step.twin, step.twin_id)
        opened.callback(os.close, fd)
        files.sync(fd)
        other.sync()
        one = logdir.open_file(step.name, step.id)
        opened.callback(os.close, one)
        logdir.remove(step.name, step.id, lambda: _refuse_changed(logdir, one, step))


def _refuse_changed(logdir: LogDir, fd: int, step: DropDuplicate) -> None:
    """Raises Stale if it no longer is what was compared, Busy if the next line could go into it."""
    if step.plain:
        refuse_written(logdir, fd)
    status = os.fstat(fd)  # last: who had it open until just now may have written
    if (status.st_size, status.st_mtime_ns) != (step.size, step.mtime_ns):
        raise Stale(f"{step.name}: was written since the plan was made")


def refuse_written(logdir: LogDir, fd: int) -> None:
    """The last look at a plain archive, which has lost its name. Raises Busy if a process has it open for writing.

    What cannot be known was judged before: it depends on the last rename, and there was one since.
    """
    try:
        calls.take_read_lease(fd)
    except OSError:
        if isinstance(writers.prove(fd, file_system(logdir.fd, logdir.id.device).type), Written):
            raise Busy("a process still writes it") from None
