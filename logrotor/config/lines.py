"""Find the line on which a key stands, at best effort: tomllib reads values but keeps no places."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_STRING = r'"""(?:\\.|[^\\])*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'"
_TOKEN = re.compile(rf"(?P<opaque>{_STRING}|#[^\n]*)|(?P<open>[\[{{])|(?P<close>[\]}}])|(?P<newline>\n)", re.DOTALL)
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_KEY})[ \t]*\]\]?")
_ASSIGNMENT = re.compile(rf"[ \t]*({_KEY})[ \t]*=")
_LAST_PART = re.compile(r"\.[^.]*$|\[[0-9]+\]$")


def lines_of(text: str) -> Mapping[str, int]:
    """The line (from 1) of each table and key of a TOML text, by key path: ``log[2].max_size`` is of the second
    ``[[log]]``, ``log`` itself the first one."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    prefix = ""
    for line, statement in _statements(text):
        header, assignment = _HEADER.match(statement), _ASSIGNMENT.match(statement)
        if header:
            prefix = _opened(_parts(header[2]), is_array=header[1] == "[[", counts=counts)
            found.setdefault(prefix, line)
            found.setdefault(".".join(_parts(header[2])), line)
        elif assignment:
            key = ".".join(_parts(assignment[1]))
            found.setdefault(f"{prefix}.{key}" if prefix else key, line)
    return found


def key_at(text: str, line: int) -> str | None:
    """The key, or the name of the table, of the statement that ``line`` is part of."""
    at = [statement for first, statement in _statements(text) if first <= line][-1]
    header, assignment = _HEADER.match(at), _ASSIGNMENT.match(at)
    return header[2] if header else assignment[1] if assignment else None


def nearest_line(lines: Mapping[str, int], key: str) -> int | None:
    """The line of ``key``, else of the innermost table around it that has one."""
    while key not in lines:
        shorter = _LAST_PART.sub("", key)
        if shorter == key:
            return None
        key = shorter
    return lines[key]


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement with the line that it begins on; a list or string of several lines is one statement."""
    start, depth = 0, 0
    line = first = 1
    for token in _TOKEN.finditer(text):
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        line += token[0].count("\n")
        if token.lastgroup == "newline" and depth <= 0:
            yield first, text[start : token.start()]
            start, depth, first = token.end(), 0, line
    yield first, text[start:]


def _opened(parts: list[str], *, is_array: bool, counts: dict[str, int]) -> str:
    """The key path of a header; ``counts`` has the tables seen so far of each array of tables."""
    path = ".".join(parts)
    if is_array:
        counts[path] = counts.get(path, 0) + 1
        return f"{path}[{counts[path]}]"
    head = parts[0]
    return ".".join([f"{head}[{counts[head]}]" if head in counts else head, *parts[1:]])


def _parts(key: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_PART, key)]
