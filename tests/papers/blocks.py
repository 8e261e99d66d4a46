"""Take the fenced blocks of a Markdown file, each with the HTML comment right above it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^(?:<!-- (?P<comment>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. ``comment`` is "KIND: VALUE" in ``<!-- -->`` on the line above, or empty."""

    language: str
    text: str
    comment: str
    line: int

    @property
    def kind(self) -> str:
        return self.comment.partition(":")[0]

    @property
    def value(self) -> str:
        return self.comment.partition(":")[2].strip()

    def __str__(self) -> str:
        return f"{self.language or 'text'} block at line {self.line}"


@dataclass(frozen=True, slots=True)
class Shown:
    """A command and the output that the block shows for it."""

    command: str
    output: str


def blocks(path: Path) -> list[Block]:
    """All fenced blocks, in their order."""
    text = path.read_text()
    return [
        Block(m["language"], m["text"], m["comment"] or "", text.count("\n", 0, m.start()) + 1)
        for m in _BLOCK.finditer(text)
    ]


def command(path: Path, name: str) -> str:
    """The one block under ``<!-- command: NAME -->``."""
    (found,) = [block for block in blocks(path) if block.kind == "command" and block.value == name]
    return found.text.strip()


def session(block: Block) -> list[Shown]:
    """The commands of a console block ("$ " in front), each with the output below it."""
    pieces = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not pieces[0].strip(), f"{block}: output before the first command"
    return [Shown(*piece.partition("\n")[::2]) for piece in pieces[1:]]


def alike(shown: str, real: str) -> bool:
    """Whether two outputs are the same but for numbers, times and blanks."""
    return _skeleton(shown) == _skeleton(real)


def _skeleton(text: str) -> list[str]:
    """Numbers, times and ids become 0, runs of blanks one; of a line with a progress bar what stays is taken."""
    shown = [re.sub(r"\b[0-9a-f]{32}\b", "0", line.rpartition("\r")[2]) for line in text.strip().split("\n")]
    return [re.sub(r"\d+(?:[.:]\d+)*", "0", " ".join(line.split())) for line in shown]
