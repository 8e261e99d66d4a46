"""Read a supervisord configuration as supervisord 4.3 does, includes and expansions with it. Imports no supervisor.

Source: supervisor/options.py (UnhosedConfigParser, ServerOptions.read_config, _processes_from_section, expand)
and supervisor/datatypes.py (byte_size, boolean, dict_of_key_value_pairs). Its quirks are kept on purpose.
"""

from __future__ import annotations

import configparser
import glob
import os
from collections.abc import Iterator, Mapping

from msgspec import Struct, field

_TRUE = frozenset({"yes", "true", "on", "1"})
_UNITS = {"kb": 1024, "mb": 1024**2, "gb": 1024**3}


class Unreadable(Exception):
    """A file or a value that cannot be made sense of; the text says which and why."""


class Ini(Struct, frozen=True):
    """The sections of all files, merged."""

    path: str  # of the main file, absolute
    parser: configparser.RawConfigParser
    origin: Mapping[tuple[str, str], str]  # (section, key) -> the file that sets it last
    section_file: Mapping[str, str]  # section -> the file that begins it
    environ: dict[str, str]  # of supervisord, [supervisord] environment added
    hidden: bool  # its environment may not be seen
    notes: list[str] = field(default_factory=list)

    @property
    def here(self) -> str:
        return os.path.dirname(self.path)

    def value(self, section: str, key: str, default: str | None, names: Mapping[str, object]) -> str | None:
        """An expanded value, or the expanded default. Raises Unreadable."""
        text = self.parser.get(section, key, fallback=default)
        return None if text is None else self.expand(text, names)

    def expand(self, text: str, names: Mapping[str, object]) -> str:
        """``%(name)s`` replaced; ``names`` win over the environment (``%(ENV_X)s``). Raises Unreadable."""
        known = {f"ENV_{key}": value for key, value in self.environ.items()}
        try:
            return text % {**known, "here": self.here, **names}
        except KeyError as error:
            hidden = " (the environment of supervisord may not be seen)" if self.hidden else ""
            raise Unreadable(f"{text!r} uses the unknown name {error}{hidden}") from None
        except (TypeError, ValueError) as error:
            raise Unreadable(f"{text!r} is badly formatted: {error}") from None

    def file_of(self, section: str, key: str) -> str:
        """The file that sets the key, or else the one in which its section begins."""
        return self.origin.get((section, key)) or self.section_file.get(section, self.path)


class Instance(Struct, frozen=True):
    """One process of a program section, with the names that its values may use."""

    section: str
    names: Mapping[str, object]


def load(path: str, environ: Mapping[str, str] | None) -> Ini:
    """Read the main file and what it includes. Raises Unreadable for the main file; others only make a note."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    ini = Ini(path, parser, {}, {}, dict(environ or {}), environ is None)
    _add(ini, path)
    if parser.has_section("include"):
        _replace_here(parser, ini.here)
        for name in _included(ini):
            try:
                _add(ini, name)
            except Unreadable as error:
                ini.notes.append(str(error))
            else:
                _replace_here(parser, os.path.dirname(os.path.abspath(name)))
    _add_environment(ini)
    return ini


def instances(ini: Ini) -> Iterator[Instance]:
    """Each process of each program, fcgi-program and eventlistener section, under each of its groups."""
    for section, group in _grouped(ini):
        try:
            yield from _numbered(ini, section, group)
        except (Unreadable, ValueError) as error:
            ini.notes.append(f"{ini.file_of(section, '')}: [{section}]: {error}")


def byte_size(text: str) -> int:
    """``10MB`` and the like, 1024-based. Raises Unreadable."""
    unit = _UNITS.get(text.lower()[-2:])
    try:
        return int(text[:-2]) * unit if unit else int(text)
    except ValueError:
        raise Unreadable(f"{text!r} is no size") from None


def boolean(text: str) -> bool:
    return text.lower() in _TRUE


# ---------------------------------------------------------------- files


def _add(ini: Ini, path: str) -> None:
    own = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
        own.read_string(text, path)
        ini.parser.read_string(text, path)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    except configparser.Error as error:
        raise Unreadable(f"{path}: {error}".replace("\n", " ")) from None
    _remember(ini, own, path)


def _remember(ini: Ini, own: configparser.RawConfigParser, path: str) -> None:
    assert isinstance(ini.origin, dict) and isinstance(ini.section_file, dict)
    for section in own.sections():
        ini.section_file.setdefault(section, path)
        for key in own.options(section):
            ini.origin[section, key] = path


def _replace_here(parser: configparser.RawConfigParser, here: str) -> None:
    for section in parser.sections():
        for key, value in parser.items(section):
            if value and "%(here)s" in value:
                parser.set(section, key, value.replace("%(here)s", here))


def _included(ini: Ini) -> Iterator[str]:
    try:
        files = ini.value("include", "files", "", {"host_node_name": os.uname().nodename}) or ""
    except Unreadable as error:
        ini.notes.append(f"{ini.path}: [include] files: {error}")
        return
    for pattern in files.split():
        yield from sorted(glob.glob(os.path.join(ini.here, pattern)))


def _add_environment(ini: Ini) -> None:
    """[supervisord] environment takes part in the expansions of the programs."""
    text = ini.parser.get("supervisord", "environment", fallback="")
    try:
        names = {"host_node_name": os.uname().nodename}
        ini.environ.update(_pairs(ini.expand(ini.expand(text, names), names)))
    except (Unreadable, ValueError) as error:
        ini.notes.append(f"{ini.path}: [supervisord] environment: {error}")


def _pairs(text: str) -> dict[str, str]:
    """``KEY=value,KEY2="a, b"``. Raises ValueError."""
    import shlex

    lexer = shlex.shlex(text)
    lexer.wordchars += "/.+-():"
    tokens = list(lexer)
    if any(tokens[i + 1 : i + 2] != ["="] or len(tokens) < i + 3 for i in range(0, len(tokens), 4)):
        raise ValueError(f"{text!r} are no pairs KEY=value")
    return {tokens[i]: tokens[i + 2].strip("'\"") for i in range(0, len(tokens), 4)}


# ---------------------------------------------------------------- programs


def _grouped(ini: Ini) -> Iterator[tuple[str, str]]:
    """(section, group name): once for each group that names the program, else under its own name."""
    taken: set[str] = set()
    sections = ini.parser.sections()
    for section in (s for s in sections if s.startswith("group:")):
        for name in ini.parser.get(section, "programs", fallback="").split(","):
            for member in (f"program:{name.strip()}", f"fcgi-program:{name.strip()}"):
                if member in sections:
                    taken.add(member)
                    yield member, section.partition(":")[2].strip()
    for section in sections:
        kind, colon, name = section.partition(":")
        if colon and kind in ("program", "fcgi-program", "eventlistener") and section not in taken:
            yield section, name.strip()


def _numbered(ini: Ini, section: str, group: str) -> Iterator[Instance]:
    names: dict[str, object] = {
        "program_name": section.partition(":")[2].strip(),
        "group_name": group,
        "host_node_name": os.uname().nodename,
    }
    count = int(ini.value(section, "numprocs", "1", names) or 1)
    first = int(ini.value(section, "numprocs_start", "0", names) or 0)
    for number in range(first, first + count):
        names |= {"process_num": number, "numprocs": count}
        text = ini.parser.get(section, "environment", fallback="")
        names |= {f"ENV_{key}": value for key, value in _pairs(ini.expand(text, names)).items()}
        yield Instance(section, dict(names))
