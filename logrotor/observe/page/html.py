"""Markup from tags and text. Whatever is not markup of ours is text, and is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

from logrotor.text import printable

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


def escaped(text: str) -> str:
    """Text for an element or an attribute; control characters, direction marks and odd bytes as visible escapes."""
    return html.escape(printable(text), quote=True)


def paragraphs(message: str) -> Html:
    """A message of ours that may have several lines."""
    return joined(tag("span", line, class_="line") for line in message.split("\n"))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
