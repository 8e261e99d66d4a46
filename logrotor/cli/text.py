"""How tables look on a terminal; how words and numbers look is in ``logrotor.text``, and at hand here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from logrotor.text import brief, count, lines, moment, printable, size, span, stamp

__all__ = ["brief", "count", "lines", "moment", "printable", "size", "span", "stamp", "table"]


def table(rows: Iterable[Sequence[str]], *, indent: str = "", right: frozenset[int] = frozenset()) -> list[str]:
    """Lines with aligned columns; the last column is free, and every cell is made printable."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if not cells:
        return []
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [indent + _row(row, widths, right) for row in cells]


def _row(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    parts = [
        cell.rjust(width) if i in right else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(parts).rstrip()
