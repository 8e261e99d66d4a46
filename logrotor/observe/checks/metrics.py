"""Do the metrics of each run reach the exporter?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from logrotor.disk.access import why_closed
from logrotor.model import Check, Finding
from logrotor.observe.site import Site

SLACK = 60.0  # seconds; it is written right after last-run


def checks(site: Site) -> list[Check]:
    """None where no metrics are written."""
    if site.config.metrics_textfile is None:
        return []
    path = site.config.metrics_textfile
    return [Check(id="metrics.textfile", title="metrics are written and found", look=lambda: textfile(site, path))]


def textfile(site: Site, path: str) -> Iterator[Finding]:
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        yield _finding(path, f"{directory} does not exist", "create it, or correct [metrics] textfile")
    elif not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        closed = why_closed(directory)
        yield _finding(path, f"{directory}: {closed.problem}", closed.advice)
    elif site.last_run is not None and _age(path, site.last_run) > SLACK:
        yield _finding(path, "the last run did not write it", "logrotor run tells why: it prints the error")


def _age(path: str, run: float) -> float:
    try:
        return run - os.stat(path).st_mtime
    except FileNotFoundError:
        return run


def _finding(path: str, problem: str, advice: str) -> Finding:
    why = "alerts and dashboards see nothing, or the past for the present"
    return Finding(subject=path, problem=problem, why=why, advice=advice)
