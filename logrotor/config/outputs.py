"""Read ``[metrics]`` and ``[page]``: what each run writes for others. What is wrong there leaves that out alone."""

from __future__ import annotations

from collections.abc import Mapping

from logrotor.config.document import Document
from logrotor.config.keys import METRICS, PAGE, Key
from logrotor.config.tables import Problems, Section, read_table
from logrotor.config.values import shown


def read_metrics(document: Document, problems: Problems) -> str | None:
    """Where the metrics of each run go; None: nowhere."""
    return _read(document, problems, "metrics", METRICS)


def read_page(document: Document, problems: Problems) -> str | None:
    """Where the page goes after each run; None: nowhere."""
    return _read(document, problems, "page", PAGE)


def _read(document: Document, problems: Problems, name: str, keys: Mapping[str, Key]) -> str | None:
    """The value of the only key of the table."""
    table = document.table.get(name)
    if table is None:
        return None
    section = Section(document, name, problems)
    if not isinstance(table, Mapping):
        section.wrong("", f"{shown(table)} is no table; accepted: [{name}] with {', '.join(keys)}")
        return None
    (key,) = keys
    found: str | None = read_table(section, table, keys).values.get(key)
    return found
