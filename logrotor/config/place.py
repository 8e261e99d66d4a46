"""Where a configuration stands: makes its relative paths absolute and expands ``~``."""

from __future__ import annotations

import glob
import os
import pwd
from collections.abc import Mapping

from msgspec import Struct


class Place(Struct, frozen=True):
    """The directory that relative paths start from, and the home that ``~`` means."""

    directory: str
    home: str | None = None

    def path(self, written: str) -> str:
        """An absolute path. Raises ``ValueError`` if ``~`` is unknown."""
        return _tidy(os.path.join(self.directory, self.expanded(written)))

    def pattern(self, written: str) -> str:
        """An absolute glob. The directory in front of it stands for itself, whatever characters it holds."""
        if written.startswith("~"):
            head, slash, tail = written.partition("/")
            return _tidy(glob.escape(self.expanded(head)) + slash + tail)
        return _tidy(os.path.join(glob.escape(self.directory), written))

    def exclude(self, written: str) -> str:
        """An absolute glob, or a bare pattern for file names as it stands."""
        return self.pattern(written) if "/" in written else written

    def expanded(self, written: str) -> str:
        """``written`` with ``~`` or ``~user`` expanded, else as it stands."""
        if not written.startswith("~"):
            return written
        head, slash, tail = written.partition("/")
        return self._home_of(head[1:]) + slash + tail

    def _home_of(self, user: str) -> str:
        if not user:
            if self.home is None:
                raise ValueError("begins with ~, and there is no $HOME")
            return self.home
        try:
            return pwd.getpwnam(user).pw_dir
        except KeyError:
            raise ValueError(f"names the home of {user!r}, and there is no such user") from None


def home_of(euid: int, environ: Mapping[str, str]) -> str | None:
    """``$HOME``, else what the user database says, else None."""
    if environ.get("HOME", "").startswith("/"):
        return environ["HOME"]
    try:
        return pwd.getpwuid(euid).pw_dir
    except KeyError:
        return None


def is_user(name: str) -> bool:
    """Does the user database know ``name``?"""
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: no name that the system takes
        return False
    return True


def _tidy(path: str) -> str:
    # "a/../b" is not "b" where a is a symlink, and `logs` is one in many deployments.
    return path if ".." in path.split("/") else os.path.normpath(path)
