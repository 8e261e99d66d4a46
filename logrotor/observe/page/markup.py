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


def filled(template: str, **values: Child) -> Html:
    """A template of ours with what belongs into it, escaped as by ``tag``; much faster where there are thousands."""
    return Html(template.format_map({key: joined(value) for key, value in values.items()}))


def paragraphs(message: str) -> Child:
    """A message of ours that may have several lines."""
    first, *more = message.split("\n")
    return [first, [tag("span", line, class_="line") for line in more]]


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


# ---------------------------------------------------------------- the pieces of every section


class Column(Struct, frozen=True):
    """A column of a table: its head, and how its cells look ("lead": the name of the row, "right": numbers)."""

    head: str
    kind: str | None = None


SIGNS = {"good": "✓", "warn": "!", "bad": "✕", "note": "i"}  # for who does not see colours


def mark(kind: str) -> Html:
    """A sign in its colour; the words beside it say the same."""
    return tag("span", SIGNS[kind], class_=f"sign {kind}", aria_hidden="true")


def section(title: str, *children: Child, hint: Child = None) -> Html:
    """A box with a heading; ``hint``: what one must know to read it."""
    said = tag("p", hint, class_="soft small") if hint is not None else None
    return tag("section", tag("div", tag("h2", title), said, class_="title"), children)


def table(columns: Sequence[Column], rows: Iterable[Sequence[Child]]) -> Html:
    """Rows of cells; on a narrow screen each row becomes a card, so every cell carries the head of its column.

    The roles are there because a browser forgets that a table is one when its rows become cards.
    """
    body = [tag("tr", [_cell(c, each) for c, each in zip(columns, row, strict=True)], role="row") for row in rows]
    return tag("table", head(columns), tag("tbody", body, role="rowgroup"), role="table", class_="cards")


def head(columns: Sequence[Column]) -> Html:
    """The names of the columns."""
    names = [tag("th", c.head, scope="col", role="columnheader", class_=_right(c)) for c in columns]
    return tag("thead", tag("tr", names, role="row"), role="rowgroup")


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
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; }
main, header, footer { max-width: 1320px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 20px; }
h1 { font-size: 22px; line-height: 1.3; margin: 0 0 4px; letter-spacing: -.01em; }
h1 .soft { font-weight: 400; }
h2 { font-size: 16px; margin: 0; letter-spacing: -.005em; }
h3 { font-size: 14px; font-weight: 600; margin: 0; }
p { margin: 0; }
code { font: .93em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.soft { color: var(--soft); } .small { font-size: 13px; }
.line { display: block; } .begins::first-letter { text-transform: uppercase; }
.number { white-space: nowrap; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.sign { display: inline-grid; place-items: center; width: 1.35em; height: 1.35em; border-radius: 50%; font-weight: 700;
  font-size: .8em; background: var(--track); color: var(--soft); vertical-align: .1em; }
.sign.good { background: var(--good-wash); color: var(--good); }
.sign.warn { background: var(--warn-wash); color: var(--warn); }
.sign.bad { background: var(--bad-wash); color: var(--bad); }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; margin-top: 14px;
  padding: 14px 20px 16px; }
section > .title { display: flex; flex-wrap: wrap; gap: 2px 12px; align-items: baseline; margin-bottom: 8px; }
summary { cursor: pointer; }
section > details > summary { color: var(--soft); padding: 6px 0; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
.causes { list-style: none; margin: 0; padding: 0; }
.causes > li { display: grid; grid-template-columns: 6.5em minmax(0, 11fr) minmax(0, 10fr); gap: 2px 18px;
  border-top: 1px solid var(--rule); padding: 8px 0; }
.causes > li:last-child { padding-bottom: 2px; }
.kind { font-size: 13px; white-space: nowrap; } .kind.note { color: var(--soft); }
"""
_TABLES = """
table { width: 100%; border-collapse: collapse; }
.ends + table { margin-top: 14px; }
th { text-align: left; font-weight: 500; font-size: 13px; color: var(--soft); padding: 0 16px 5px 0;
  white-space: nowrap; }
td { padding: 6px 16px 6px 0; border-top: 1px solid var(--rule); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
.right { text-align: right; white-space: nowrap; } .wide { min-width: 15em; }
.name { font-weight: 600; }
.logs { table-layout: fixed; }
.logs td { padding-top: 4px; padding-bottom: 4px; }
.logs summary { font-weight: 600; } .logs summary b, .logs summary i { font-style: normal; font-size: 13px;
  font-weight: 500; margin-left: .7em; }
.logs summary i { color: var(--soft); }
.logs p { color: var(--soft); font-size: 13px; padding: 2px 0 4px 15px; }
"""
_PLOTS = """
svg { display: block; }
.spark { width: 170px; max-width: 100%; height: 26px; }
.spark path { fill: none; stroke-linecap: round; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.spark .growth { fill: var(--wash); stroke: var(--accent); stroke-width: 1.3; }
.spark .limit { stroke: var(--soft); stroke-dasharray: 3 3; stroke-linecap: butt; }
.spark .mark { stroke: var(--accent); stroke-width: 4; }
.spark .cross { stroke: var(--bad); stroke-width: 2; }
td > div:has(> .bar) { display: flex; gap: 12px; align-items: center; }
td > div:has(> .bar) > .number { flex: 0 0 7.5em; }
.bar { width: 100%; height: 6px; border-radius: 3px; overflow: hidden; }
.ground { fill: var(--track); } .fill, .column { fill: var(--accent); } .tick { fill: var(--ink); }
.fill.warn { fill: var(--warn); } .fill.bad, .foot.bad { fill: var(--bad); } .foot { fill: var(--rule); }
.columns { width: 100%; height: 88px; } .columns .ground { opacity: .45; }
.ends { display: flex; justify-content: space-between; margin-top: 4px; }
footer { padding-top: 16px; padding-bottom: 32px; color: var(--soft); font-size: 13px; }
@media (min-width: 1000px) {
  .logs th:nth-child(1) { width: 23%; } .logs th:nth-child(2) { width: 190px; }
  .logs th:nth-child(3), .logs th:nth-child(4) { width: 8%; } .logs th:nth-child(5) { width: 21%; }
  .logs th:nth-child(6) { width: 11%; } .logs td:nth-child(n+3):not(:nth-child(5)) { white-space: nowrap; }
  .logs p { width: max-content; max-width: min(90vw, 1230px); margin-top: 8px; }
  .logs th:nth-child(5), .logs td:nth-child(5) { padding-left: 12px; }
  .logs td:nth-child(3), .logs td:nth-child(4), .logs td:nth-child(7) { text-align: right; }
  .cards .lead { width: 22%; } td:has(> div > .bar) { min-width: 14em; }
}
"""
_NARROW = """
@media (max-width: 999px) {
  table, tr, td { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 0 28px; }
  tr { border-top: 1px solid var(--rule); padding: 8px 0; }
  .cards td { border: 0; padding: 2px 0; text-align: left; display: grid;
    grid-template-columns: 7em minmax(0, 1fr); }
  .cards td::before { content: attr(data-label); color: var(--soft); font-size: 13px; }
  .cards td.lead { display: block; } td.lead::before { content: none !important; }
  .logs tr { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1px 16px; align-content: start; }
  .logs td { border: 0; padding: 0; }
  .logs tr:has(details[open]) td:nth-child(-n+2), .logs td:nth-child(5) { grid-column: 1 / -1; }
  .logs td:nth-child(n+3)::before { color: var(--soft); font-size: 13px; }
  .logs td:nth-child(3)::before { content: "size "; } .logs td:nth-child(4)::before { content: "rate "; }
  .logs td:nth-child(5)::before { content: "due "; } .logs td:nth-child(6)::before { content: "rotated "; }
  .logs td:nth-child(7)::before { content: "archives "; }
  .spark { width: 100%; } .wide { min-width: 0; } td.right { white-space: normal; }
}
@media (max-width: 760px) {
  main, header, footer { padding-left: 14px; padding-right: 14px; }
  header { padding-top: 14px; } h1 { font-size: 19px; }
  section { padding: 12px 14px; }
  .causes > li { display: block; } .causes h3, .causes p { margin-top: 2px; }
}
@media (max-width: 379px) { .number { white-space: normal; } }
@media print {
  body { background: none; font-size: 11px; }
  section { border: 0; padding: 0; }
  tr, li { break-inside: avoid; }
}
"""

_DARKER = f"@media screen and (prefers-color-scheme: dark) {{ :root {{{DARK}}} }}"  # paper is light
CSS = f":root {{{LIGHT}}}\n{_DARKER}\n{_BASE}{_TABLES}{_PLOTS}{_NARROW}"
# What is written into the style element and nothing else; scripts, requests and styles of any other origin are refused.
DIGEST = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{DIGEST}'; img-src data:; base-uri 'none'; form-action 'none'"
