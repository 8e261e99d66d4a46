"""Find and read the included files. One that is broken is left out whole; the others go on."""

from __future__ import annotations

import os
from collections.abc import Iterator

from logrotor.config.document import Document, Unreadable, read_document
from logrotor.config.hooks import refuse_foreign_hooks
from logrotor.config.tables import Problems, Section


def read_included(main: Document, patterns: tuple[str, ...], euid: int, problems: Problems) -> list[Document]:
    """The included files that can be used, in the order of the globs, each sorted; each file once."""
    documents: list[Document] = []
    seen = {os.path.realpath(main.file)}
    for file in _files(patterns):
        if os.path.realpath(file) in seen:
            continue
        seen.add(os.path.realpath(file))
        document = _read(file, main.place.home, euid, problems)
        documents += [document] if document else []
    return documents


def _files(patterns: tuple[str, ...]) -> Iterator[str]:
    import glob

    for pattern in patterns:
        if glob.has_magic(pattern):
            yield from sorted(file for file in glob.glob(pattern, recursive=True) if not os.path.isdir(file))
        else:
            yield pattern


def _read(file: str, home: str | None, euid: int, problems: Problems) -> Document | None:
    before = len(problems)
    try:
        document = read_document(file, home)
    except Unreadable as error:
        problems.add(error.problem)
        return None
    section = Section(document, "", problems)
    for name in document.table:
        if name not in ("log", "reopen"):
            section.wrong(name, "does not belong here: an included file holds only [[log]] and [reopen.NAME]")
    refuse_foreign_hooks(document, euid, problems, fatal=False)
    return document if len(problems) == before else None
