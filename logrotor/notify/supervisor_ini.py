"""Read a supervisord configuration as supervisord 4.3 does, includes and expansions with it. Imports no supervisor.

Source: supervisor/options.py (UnhosedConfigParser, ServerOptions.read_config) and supervisor/datatypes.py. What cannot
be made out is said in ``notes``, or raises Unreadable; it never gets the meaning of a default.
"""

from __future__ import annotations

import configparser
import glob
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

from msgspec import Struct

from logrotor.disk import files
from logrotor.errors import LogrotorError
from logrotor.text import typed

_UNITS = {"kb": 1024, "mb": 1024**2, "gb": 1024**3}
PROGRAMS = ("program", "fcgi-program", "eventlistener")


class Unreadable(LogrotorError):
    """A file or a value that cannot be made sense of; the text says which and why."""


class Program(Struct, frozen=True):
    """One process of a program section, with the names that its values may use."""

    section: str
    names: Mapping[str, object]


class Ini:
    """The main file and what it includes. Raises Unreadable for the main file; others only make a note.

    ``environ``: of supervisord; None: it may not be seen.
    """

    def __init__(self, path: str, environ: Mapping[str, str] | None) -> None:
        self.path = path
        self.notes: list[str] = []
        self._environ = {f"ENV_{key}": value for key, value in (environ or {}).items()}
        self._files: list[tuple[str, configparser.RawConfigParser]] = []
        self._add(path)
        for name in self._included():
            try:
                self._add(name)
            except Unreadable as error:
                self.notes.append(str(error))

    @property
    def _here(self) -> str:
        return os.path.dirname(self.path)

    def changed_since(self, moment: float) -> str | None:
        """A file that was written after that; None: none was."""
        return next((path for path, _ in self._files if os.stat(path).st_mtime > moment), None)

    def control(self, command: str) -> str:
        """``supervisorctl COMMAND`` as it is typed for this supervisord; "" where it can have none."""
        if "supervisorctl" in self.sections:
            return f"supervisorctl -c {typed(self.path)} {command}"
        with suppress(Unreadable):
            if "unix_http_server" in self.sections:
                return f"supervisorctl -s {typed('unix://' + (self.value('unix_http_server', 'file') or ''))} {command}"
            if "inet_http_server" in self.sections:
                port = (self.value("inet_http_server", "port") or "").removeprefix("*:").rpartition(":")
                return f"supervisorctl -s http://{port[0] or '127.0.0.1'}:{port[2]} {command}"
        return ""

    @property
    def sections(self) -> list[str]:
        return list(dict.fromkeys(section for _, parser in self._files for section in parser.sections()))

    def get(self, section: str, key: str) -> str | None:
        """A value as written: the last file that sets it wins."""
        file = self._file_with(section, key)
        return file[1].get(section, key) if file else None

    def value(
        self, section: str, key: str, default: str | None = None, names: Mapping[str, object] | None = None
    ) -> str | None:
        """A value or the default, expanded. Raises Unreadable."""
        text = self.get(section, key)
        text = default if text is None else text
        return None if text is None else self.expand(section, text, names)

    def expand(self, section: str, text: str, names: Mapping[str, object] | None = None) -> str:
        """``%(name)s`` replaced. Raises Unreadable, also where a section sets variables, and one (ENV_X) is used."""
        known = {} if self.get("supervisord", "environment") or self.get(section, "environment") else self._environ
        try:
            return text % {**known, "here": self._here, "host_node_name": os.uname().nodename, **(names or {})}
        except KeyError as error:
            raise Unreadable(f"{text!r} uses {error}, which is not known from here") from None
        except (TypeError, ValueError) as error:
            raise Unreadable(f"{text!r} is badly formatted: {error}") from None

    def file_of(self, section: str, key: str) -> str:
        """The file that sets the key, or else the one in which its section begins."""
        file = self._file_with(section, key)
        return file[0] if file else next((path for path, p in self._files if p.has_section(section)), self.path)

    def note(self, section: str, error: Exception) -> None:
        self.notes.append(f"{self.file_of(section, '')}: [{section}]: {error}")

    def programs(self) -> Iterator[Program]:
        """Each process of each program, fcgi-program and eventlistener section."""
        for section in self.sections:
            kind, _, name = section.partition(":")
            if kind in PROGRAMS and name:
                try:
                    yield from self._processes(section, name.strip())
                except (Unreadable, ValueError) as error:
                    self.note(section, error)

    def _processes(self, section: str, name: str) -> Iterator[Program]:
        names: dict[str, object] = {"program_name": name}
        if not any(each.startswith("group:") for each in self.sections):
            names["group_name"] = name
        count = int(self.value(section, "numprocs", "1", names) or 1)
        first = int(self.value(section, "numprocs_start", "0", names) or 0)
        for number in range(first, first + count):
            yield Program(section, {**names, "process_num": number, "numprocs": count})

    def _file_with(self, section: str, key: str) -> tuple[str, configparser.RawConfigParser] | None:
        return next((file for file in reversed(self._files) if file[1].has_option(section, key)), None)

    def _add(self, path: str) -> None:
        defaults = dict(self._files[0][1].defaults()) if self._files else None
        parser = configparser.RawConfigParser(defaults, inline_comment_prefixes=(";", "#"), strict=False)
        try:
            text = files.read_text(path)
            if self._files or "[include]" in text:  # only then supervisord does so, before it takes %% for a %
                text = text.replace("%(here)s", os.path.dirname(os.path.abspath(path)))
            parser.read_string(text, path)
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror}") from None
        except configparser.Error as error:
            raise Unreadable(f"{path}: {error}".replace("\n", " ")) from None
        self._files.append((path, parser))

    def _included(self) -> Iterator[str]:
        try:
            files = self.value("include", "files", "") or ""
        except Unreadable as error:
            self.note("include", error)
            return
        for pattern in files.split():
            yield from sorted(glob.glob(os.path.join(self._here, pattern)))


def byte_size(text: str) -> int:
    """``10MB`` and the like, 1024-based. Raises Unreadable."""
    unit = _UNITS.get(text.lower()[-2:])
    try:
        return int(text[:-2]) * unit if unit else int(text)
    except ValueError:
        raise Unreadable(f"{text!r} is not a size") from None


def boolean(text: str) -> bool:
    return text.lower() in ("yes", "true", "on", "1")
