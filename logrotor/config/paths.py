"""Parse paths and globs, and make them absolute: from the directory of the configuration, or from a home."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from glob import escape

from msgspec import Struct

from logrotor.config.values import Invalid, text
from logrotor.disk.trust import refuse_command

_VARIABLE = r"\$[A-Za-z_{]"
_BRACES = r"(?<!\[)\{[^{}]*,[^{}]*\}"


def path(value: object) -> str:
    """A path as written."""
    written = text(value)
    if re.search(_VARIABLE, written):
        raise Invalid("contains a variable, and variables are not expanded", "write ~ or the path")
    return written


def file_path(value: object) -> str:
    """The path of a file."""
    written = path(value)
    if written.endswith("/"):
        raise Invalid("is a directory", 'for the logs in it write "DIR/*.log"')
    return written


def glob(value: object) -> str:
    """A glob for files. ``{a,b}`` is the shell's, and here would match only a file with braces in its name."""
    written = file_path(value)
    if re.search(_BRACES, written):
        raise Invalid("contains braces, which are not a glob here", "write two items")
    return written


def textfile(value: object) -> str:
    """The path of a file for the textfile collector, which reads no file of another name."""
    written = file_path(value)
    if not written.endswith(".prom"):
        raise Invalid("does not end in .prom, and the collector reads no other file")
    return written


class Place(Struct, frozen=True):
    """The directory that relative paths start from, the home that ``~`` means, and whose power commands will have."""

    directory: str
    home: str | None = None
    is_roots: bool = False

    def path(self, written: str) -> str:
        """An absolute path. Raises :class:`Invalid` if ``~`` is unknown."""
        return _tidy(os.path.join(self.directory, self.expanded(written)))

    def url(self, written: str) -> str:
        """A URL as it stands; the file that holds it is found as any other."""
        kind, colon, rest = written.partition(":")
        return f"file:{self.path(rest)}" if kind == "file" and colon else written

    def pattern(self, written: str) -> str:
        """An absolute glob. The directory in front of it stands for itself, whatever characters it holds."""
        if written.startswith("~"):
            head, slash, tail = written.partition("/")
            return _tidy(escape(self.expanded(head)) + slash + tail)
        return _tidy(os.path.join(escape(self.directory), written))

    def patterns(self, written: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(self.pattern, written))

    def command(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """As it stands. Raises InsecureDirectory where root would run a program that others could change."""
        if self.is_roots:
            refuse_command(argv[0])
        return argv

    def excludes(self, written: tuple[str, ...]) -> tuple[str, ...]:
        """Absolute globs; a pattern without "/" is for file names and stays as it is."""
        return tuple(self.pattern(item) if "/" in item else item for item in written)

    def expanded(self, written: str) -> str:
        """``written`` with ``~`` or ``~user`` expanded."""
        if not written.startswith("~"):
            return written
        head, slash, tail = written.partition("/")
        return self._home_of(head[1:]) + slash + tail

    def _home_of(self, user: str) -> str:
        if not user:
            if self.home is None:
                raise Invalid("begins with ~, and there is no $HOME")
            return self.home
        try:
            return pwd.getpwnam(user).pw_dir
        except (KeyError, ValueError):  # ValueError: not a name that the system takes
            raise Invalid(f"names the home of {user!r}, and there is no such user") from None


def _tidy(path: str) -> str:
    # "a/../b" is not "b" where a is a symlink, and `logs` is one in many deployments.
    return path if ".." in path.split("/") else os.path.normpath(path)


def home_of(euid: int, environ: Mapping[str, str]) -> str | None:
    """``$HOME``, else the home in the user database, else None."""
    if environ.get("HOME", "").startswith("/"):
        return environ["HOME"]
    try:
        return pwd.getpwuid(euid).pw_dir
    except KeyError:
        return None
