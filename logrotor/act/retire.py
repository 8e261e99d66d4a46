"""Remove: archives that retention no longer keeps, and the debris of interrupted runs."""

from __future__ import annotations

import os

from logrotor.disk import files
from logrotor.disk.directories import Directories
from logrotor.errors import Stale
from logrotor.model import DropAlias, DropDuplicate, DropTemp, Remove


def retire(dirs: Directories, step: Remove) -> None:
    """Remove one archive, and surely this one. Raises Stale or OSError."""
    with dirs.use(step.directory) as logdir:
        logdir.remove(step.name, step.id)


def drop_temp(dirs: Directories, step: DropTemp) -> None:
    """Remove a temp that nobody works on and nobody writes. Raises Busy, Stale or OSError."""
    with dirs.use(step.directory) as logdir:
        logdir.drop(step.name, step.id)


def drop_alias(dirs: Directories, step: DropAlias) -> None:
    """Remove the second name of a file."""
    with dirs.use(step.directory) as logdir:
        logdir.drop_alias(step.name, step.id)


def drop_duplicate(dirs: Directories, step: DropDuplicate) -> None:
    """Remove a plain archive, while its equal twin is locked: so its maker is gone and will not take it back.

    The maker may have been killed before the twin's name was durable, as it has to be before the original goes.
    Raises Stale, Busy or OSError.
    """
    with dirs.use(step.directory) as logdir, dirs.use(step.twin_directory) as other:
        fd = other.open_file(step.twin, step.twin_id)
        try:
            other.hold(fd, step.twin)
            other.expect(step.twin, step.twin_id)
            files.sync(fd)
            other.sync()
            if logdir.expect(step.name, step.id).size != step.size:
                raise Stale(f"{step.name}: was written since the plan was made")
            logdir.remove(step.name, step.id)
        finally:
            os.close(fd)
