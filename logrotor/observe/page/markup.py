"""Markup: tags from text, the pieces that every section is made of, and how the page looks.

Whatever is not markup of ours is text, and is escaped. The look is calm, light and dark, on a phone and on a wide
screen; a test holds its contrasts (WCAG AA).
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from logrotor import text

EMPTY = frozenset({"link", "meta"})  # elements without an end tag, as far as they are used here


class Html(str):
    """Markup that is fit to be put into a page as it stands. Only ``tag`` and constants of ours may make it."""

    __slots__ = ()


Child = str | Html | None | Iterable["Child"]


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Html:
    """``<name attributes>children</name>``. ``None``: left out; ``class_`` is ``class``, ``data_x`` is ``data-x``."""
    pairs = "".join(f' {_name(key)}="{escaped(str(value))}"' for key, value in attributes.items() if value is not None)
    end = "" if name in EMPTY else f"{joined(children)}</{name}>"
    return Html(f"<{name}{pairs}>{end}")


def joined(children: Child) -> Html:
    """Markup and text one after the other."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str):
        return Html(escaped(children))
    return Html("".join(map(joined, children)))


def escaped(said: str) -> str:
    """Text for an element or an attribute; control characters, direction marks and odd bytes as visible escapes."""
    return html.escape(text.printable(said), quote=True)


def paragraphs(message: str) -> Html:
    """A message of ours that may have several lines."""
    return joined(tag("span", line, class_="line") for line in message.split("\n"))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


# ---------------------------------------------------------------- the pieces of every section


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


# ---------------------------------------------------------------- how it looks


LIGHT = """
  --ground: #f4f5f7; --card: #ffffff; --ink: #1c2126; --soft: #57606a; --rule: #dfe3e8; --track: #e8ebef;
  --accent: #2463a6; --wash: #dbe7f4; --good: #1a7040; --good-wash: #e3f3e9; --warn: #855400; --warn-wash: #fbf0d9;
  --bad: #b42318; --bad-wash: #fdecea;
"""
DARK = """
  --ground: #101418; --card: #181d23; --ink: #e4e8ec; --soft: #9ba6b2; --rule: #2a323b; --track: #272e36;
  --accent: #74ade6; --wash: #1f3a56; --good: #63c389; --good-wash: #173325; --warn: #e3b45c; --warn-wash: #372b14;
  --bad: #ff9488; --bad-wash: #40201d;
"""

_BASE = """
* { box-sizing: border-box; }
html { color-scheme: light dark; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; }
main, header, footer { max-width: 1280px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 16px; margin: 0; letter-spacing: -.005em; }
p { margin: 0; }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
a { color: var(--accent); text-underline-offset: 2px; }
.list a { color: inherit; font-weight: 600; }
.soft { color: var(--soft); }
.small { font-size: 13px; }
.line { display: block; }
.number { white-space: nowrap; }
.head { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; }
.age { margin-top: 10px; color: var(--soft); }
.age strong { color: var(--ink); font-weight: 600; }
.verdict { border-radius: 999px; padding: 3px 12px; font-weight: 600; font-size: 14px; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.verdict.good { background: var(--good-wash); } .verdict.warn { background: var(--warn-wash); }
.verdict.bad { background: var(--bad-wash); }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; margin-top: 16px;
  padding: 18px 20px; }
section > .title { display: flex; flex-wrap: wrap; gap: 2px 12px; align-items: baseline; margin-bottom: 12px; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 16px; margin-top: 20px; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 14px 18px; }
.tile dt { color: var(--soft); font-size: 13px; }
.tile dd { margin: 0; } .tile .number { white-space: normal; }
.tile .big { font-size: 22px; font-weight: 600; line-height: 1.3; letter-spacing: -.01em; }
.list { list-style: none; margin: 0; padding: 0; display: grid; gap: 8px; }
.list > li { border-left: 3px solid var(--rule); padding: 6px 12px; border-radius: 4px; }
.list > li.bad { border-color: var(--bad); background: var(--bad-wash); color: var(--ink); }
.list > li.warn { border-color: var(--warn); background: var(--warn-wash); color: var(--ink); }
.finding dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 12px; margin: 4px 0 0; }
.finding dt { color: var(--soft); } .finding dd { margin: 0; }
.warn > .finding dt, .warn .soft { color: var(--ink); }
"""
_TABLES = """
table { width: 100%; border-collapse: collapse; }
.ends + table { margin-top: 14px; }
th { text-align: left; font-weight: 500; font-size: 13px; color: var(--soft); padding: 0 16px 6px 0;
  white-space: nowrap; }
td { padding: 8px 16px 8px 0; border-top: 1px solid var(--rule); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
.right { text-align: right; white-space: nowrap; } .wide { min-width: 15em; }
.name { font-weight: 600; }
.note { color: var(--bad); font-size: 13px; }
"""
_PLOTS = """
svg { display: block; }
.spark { width: 240px; max-width: 100%; height: auto; }
@media (min-width: 1191px) {
  .spark { min-width: 190px; }
  .lead { width: 22%; } td:has(> div > .bar) { min-width: 12.5em; }
}
.area { fill: var(--wash); } .mark { fill: var(--accent); }
.growth { fill: none; stroke: var(--accent); stroke-width: 1.5; stroke-linejoin: round; }
.limit { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 3; }
.cross { stroke: var(--bad); stroke-width: 2; fill: none; }
.bar { width: 100%; height: 6px; margin-top: 6px; border-radius: 3px; overflow: hidden; }
.ground { fill: var(--track); } .fill, .column { fill: var(--accent); }
.fill.warn { fill: var(--warn); } .fill.bad, .foot.bad { fill: var(--bad); } .foot { fill: var(--rule); }
.columns { width: 100%; height: 96px; } .columns .ground { opacity: .45; }
.ends { display: flex; justify-content: space-between; margin-top: 4px; }
footer { padding-top: 20px; padding-bottom: 36px; color: var(--soft); font-size: 13px; }
"""
_NARROW = """
@media (max-width: 760px) {
  main, header, footer { padding-left: 14px; padding-right: 14px; }
  header { padding-top: 18px; }
  section { padding: 14px; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; }
  .tile { padding: 10px 12px; } .tile .big { font-size: 19px; }
}
@media (max-width: 1190px) {
  table, tr, td { display: block; }
  tbody { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 0 28px; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { border-top: 1px solid var(--rule); padding: 10px 0; }
  td, td.right { border: 0; padding: 2px 0; text-align: left; display: grid;
    grid-template-columns: 7.5em minmax(0, 1fr); }
  td::before { content: attr(data-label); color: var(--soft); font-size: 13px; line-height: 23px; }
  td.lead { display: block; padding-bottom: 4px; } td.lead::before { content: none; }
  td:has(.nothing) { display: none; }
  .spark { width: 100%; max-width: 320px; } .wide { min-width: 0; } td.right { white-space: normal; }
}
@media (max-width: 379px) { .number { white-space: normal; } }
@media print { body { background: none; } section, .tile { break-inside: avoid; } }
"""

CSS = (
    f":root {{{LIGHT}}}\n@media (prefers-color-scheme: dark) {{ :root {{{DARK}}} }}\n{_BASE}{_TABLES}{_PLOTS}{_NARROW}"
)
# What is written into the style element and nothing else; scripts, requests and styles of any other origin are refused.
DIGEST = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{DIGEST}'; img-src data:; base-uri 'none'; form-action 'none'"
