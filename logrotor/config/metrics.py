"""Read ``[metrics]``. What is wrong there leaves the metrics out, and the rules run."""

from __future__ import annotations

from collections.abc import Mapping

from logrotor.config.document import Document
from logrotor.config.keys import METRICS
from logrotor.config.tables import Problems, Section, read_table
from logrotor.config.values import shown


def read_metrics(document: Document, problems: Problems) -> str | None:
    """Where the metrics of each run go; None: nowhere."""
    table = document.table.get("metrics")
    if table is None:
        return None
    section = Section(document, "metrics", problems)
    if not isinstance(table, Mapping):
        section.wrong("", f"{shown(table)} is no table; accepted: [metrics] with {', '.join(METRICS)}")
        return None
    found: str | None = read_table(section, table, METRICS).values.get("textfile")
    return found
