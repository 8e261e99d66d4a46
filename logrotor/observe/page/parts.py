"""The pieces that every section is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from logrotor import text
from logrotor.observe.page.html import Child, Html, tag


class Column(Struct, frozen=True):
    """A column of a table: its head, and how its cells look ("lead": the name of the row, "right": numbers)."""

    head: str
    kind: str | None = None


# A cell without anything to say; a card leaves it out.
NOTHING = tag("span", "-", class_="soft nothing")


def section(title: str, *children: Child, hint: Child = None, id: str | None = None) -> Html:
    """A box with a heading; ``hint``: what one must know to read it."""
    said = tag("p", hint, class_="soft small") if hint is not None else None
    return tag("section", tag("div", tag("h2", title), said, class_="title"), children, id=id)


def table(columns: Sequence[Column], rows: Iterable[Sequence[Child]]) -> Html:
    """Rows of cells; on a narrow screen each row becomes a card, so every cell carries the head of its column.

    The roles are there because a browser forgets that a table is one when its rows become cards.
    """
    heads = [tag("th", c.head, scope="col", role="columnheader", class_=_right(c)) for c in columns]
    body = [tag("tr", [_cell(c, each) for c, each in zip(columns, row, strict=True)], role="row") for row in rows]
    head = tag("thead", tag("tr", heads, role="row"), role="rowgroup")
    return tag("table", head, tag("tbody", body, role="rowgroup"), role="table")


def _cell(column: Column, content: Child) -> Html:
    return tag("td", tag("div", content), class_=column.kind, data_label=column.head, role="cell")


def _right(column: Column) -> str | None:
    return "right" if column.kind == "right" else None


def soft(*children: Child) -> Html:
    """What is said in a low voice, on a line of its own."""
    return tag("div", children, class_="soft small")


def when(moment: datetime) -> Html:
    """A moment that people and programs can read."""
    shown = moment.replace(microsecond=0)
    return tag("time", text.stamp(shown), datetime=shown.isoformat(), class_="number")


def when_epoch(seconds: float, now: datetime) -> Html:
    """A moment in the zone of ``now``; a dash for one that no calendar has."""
    try:
        return when(datetime.fromtimestamp(int(seconds), now.tzinfo))
    except (OverflowError, ValueError, OSError):  # a file may have any time, of any year
        return tag("span", "-")


def dash(value: object) -> str:
    """``-`` where a value is not known."""
    return "-" if value is None else str(value)
