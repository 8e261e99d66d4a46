"""The few requests of man(7) that the manual pages need. Takes click's help texts, with their "\\b" before a block."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby


def page(name: str, lines: Iterable[str]) -> str:
    """The source of a manual page such as logrotor.1."""
    import os
    import time

    import logrotor

    title, _, number = name.rpartition(".")
    # https://reproducible-builds.org/specs/source-date-epoch/
    made = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))
    head = [
        '.\\" Made by logrotor man, from the help of the commands and the tables of keys and events',
        f'.TH {title.upper()} {number} {made} "logrotor {logrotor.__version__}" "logrotor"',
    ]
    return "\n".join([*head, *_packed(lines)]) + "\n"


def _packed(lines: Iterable[str]) -> Iterator[str]:
    """Without the paragraphs that man(7) makes anyway, before and after a heading: mandoc would say so."""
    before, waiting = ".SH", False
    for line in lines:
        if line == ".PP":
            waiting = not before.startswith((".SH", ".SS"))
            continue
        if waiting and not line.startswith((".SH", ".SS", ".TP")):
            yield ".PP"
        waiting, before = False, line
        yield line


def section(title: str, first: str = "") -> Iterator[str]:
    """A section; ``first`` is a line as it stands."""
    yield f'.SH "{escaped(title)}"' if " " in title else f".SH {escaped(title)}"
    if first:
        yield first


def heading(text: str) -> Iterator[str]:
    yield f'.SS "{escaped(text)}"'


def item(term: str, text: str, *more: str) -> Iterator[str]:
    """A term with what it means, and further facts, each on a line of its own."""
    yield from (".TP", f"\\fB{escaped(term)}\\fR", *_folded(text))
    for fact in more:
        yield from (".br", *_folded(fact))


def prose(text: str) -> Iterator[str]:
    """Paragraphs; one that begins with a backspace keeps its lines."""
    for is_text, found in groupby(text.splitlines(), key=lambda line: bool(line.strip())):
        lines = [line.rstrip() for line in found]
        if is_text and lines[0].strip() == "\b":
            yield from (".PP", ".nf", *(_line(line.replace("\b", "")) for line in lines[1:]), ".fi")
        elif is_text:
            yield from (".PP", *_folded(" ".join(lines)))


def _folded(text: str) -> Iterator[str]:
    """A sentence a line or less, as mandoc wants them."""
    from textwrap import wrap

    for sentence in re.sub(r"(?<=[.?!]) (?=[A-Z])", "\n", " ".join(text.split())).splitlines():
        yield from map(_line, wrap(sentence, 60, break_on_hyphens=False, break_long_words=False))


def _line(text: str) -> str:
    """A line that is no request, whatever it begins with; `words` are bold."""
    shown = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", escaped(text))
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown


def escaped(text: str) -> str:
    """Text as it is typed: hyphens that can be copied, quotes that end no argument."""
    made = (
        text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("'", "\\(aq").replace("~", "\\(ti")
    )
    return made.replace("^", "\\(ha").encode("ascii", "xmlcharrefreplace").decode()
