"""What a page holds, by the standard library's parser: elements, text, and whether every tag is closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link"}


@dataclass(slots=True)
class Element:
    name: str
    attributes: dict[str, str]
    text: str = ""  # of the element and all in it


@dataclass
class Markup(HTMLParser):
    """``Markup(page)``; raises AssertionError for a tag that is not closed in its order."""

    page: str
    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag}: an attribute twice"
        element = Element(tag, {key: value or "" for key, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, name: str, **attributes: str) -> list[Element]:
        """The elements of that name, with these words in these attributes (``class_`` is ``class``)."""
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [
            each
            for each in self.elements
            if each.name == name and all(word in each.attributes.get(key, "").split() for key, word in wanted.items())
        ]

    @property
    def text(self) -> str:
        """Everything that is said in the body, titles of plots included."""
        (body,) = self.all("body")
        return body.text
