"""One rotator at a time at one log, also if two configurations with different state directories name it.

Whoever renames or removes a file of a log's family holds the lock of ``.BASE.new``, made for that or found there. So
between looking at a name and renaming or removing it, no other run can have given the name to another file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from logrotor.decide.naming import replacement_name
from logrotor.disk.directories import Directories

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def guarded(dirs: Directories, log: str) -> Iterator[None]:
    """Keep other runs away from the log of this path. Raises Busy, Refused or OSError."""
    directory, base = os.path.split(log)
    with ExitStack() as stack:
        try:
            logdir = stack.enter_context(dirs.use(directory))
            stack.enter_context(logdir.guard(replacement_name(base)))
        except FileNotFoundError:  # the directory is gone; archives elsewhere may have stayed
            pass
        except OSError as error:
            if error.errno not in _FULL:  # retention must be able to make room
                raise
        yield
