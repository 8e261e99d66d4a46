"""A rule in the making: its keys so far, and what is lost of the block that it is made of."""

from __future__ import annotations

import enum
import re
import textwrap

from msgspec import Struct

from logrotor.logrotate.blocks import SCRIPTS, Block, Statement


class Consequence(enum.StrEnum):
    """What comes of it that a directive is not carried over, the worst first."""

    KEEPS_LESS = "keeps less"
    KEEPS_MORE = "keeps more"
    RUNS_DIFFERENTLY = "runs differently"
    COSMETIC = "cosmetic"


LESS, MORE, DIFFERENTLY, COSMETIC = Consequence


class Loss(Struct, frozen=True):
    """What logrotate does and the rule does not."""

    consequence: Consequence
    word: str  # the directive; "": it is not there, and that means something
    value: str  # of a script its text
    what: str
    file: str
    line: int
    advice: str = ""


class Draft:
    """A rule that is being made of a block."""

    def __init__(self, block: Block) -> None:
        self.block, self.settings = block, block.settings
        self.keys: dict[str, object] = {}
        self.losses: list[Loss] = []
        self.left_out = False

    def get(self, word: str) -> Statement | None:
        """The directive, if it holds, and not its opposite."""
        found = self.settings.get(word)
        return found if found is not None and found.word == word else None

    def lose(self, consequence: Consequence, statement: Statement | None, what: str, advice: str = "") -> None:
        at = statement or Statement("", "", self.block.file, self.block.line)
        value = textwrap.dedent(at.value).strip() if at.word in SCRIPTS else at.value
        self.losses.append(Loss(consequence, at.word, value, what, at.file, at.line, advice))

    @property
    def counts(self) -> bool:
        """Are archives removed by their number?"""
        found = self.settings.get("rotate")
        return found is not None and (number_of(found.value) or -1) > 0


_LARGEST = (1 << 63) - 1
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def size_of(written: str) -> int | None:
    """``100k`` in bytes; None where it is not a size."""
    match = re.fullmatch(r"(\w*?)([kKMG]?)", written)
    number = number_of(match[1]) if match else None
    if match is None or number is None or number < 0:
        return None
    return min(number * _UNITS[match[2].lower()], _LARGEST)


def number_of(written: str) -> int | None:
    """A number as strtoul(3) reads it with base 0: ``010`` is eight."""
    try:
        return int(re.sub(r"^(-?)0(?=[0-7]+$)", r"\g<1>0o", written), 0) if re.fullmatch(r"-?\w+", written) else None
    except ValueError:
        return None
