"""Can the page of each run get into its place?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from logrotor.disk.access import why_closed
from logrotor.errors import Refused
from logrotor.model import Check, Finding
from logrotor.observe.page.age import earlier
from logrotor.observe.site import Site


def checks(site: Site) -> list[Check]:
    """None where no page is written."""
    if site.config.page_file is None:
        return []
    path = site.config.page_file
    return [Check(id="page.file", title="the page can be written", look=lambda: file(site, path))]


def file(site: Site, path: str) -> Iterator[Finding]:
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        yield _finding(path, f"{directory} does not exist", "create it, or correct [page] file")
    elif not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        closed = why_closed(directory)
        yield _finding(path, f"{directory}: {closed.problem}", closed.advice)
    else:
        yield from _occupied(site, path)


def _occupied(site: Site, path: str) -> Iterator[Finding]:
    try:
        earlier(path, site.now.timestamp())
    except Refused as error:
        yield _finding(path, str(error).removeprefix(f"{path}: "), "give [page] file a name of its own")


def _finding(path: str, problem: str, advice: str) -> Finding:
    why = "who looks there sees an old page, or none"
    return Finding(subject=path, problem=problem, why=why, advice=advice)
