"""Refuse a configuration file that names commands and that somebody else could write: they would run as us."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from logrotor.config.document import Document
from logrotor.config.tables import Problems
from logrotor.model import ConfigProblem


def refuse_foreign_hooks(document: Document, euid: int, problems: Problems, *, fatal: bool) -> None:
    """Collect a problem if others may write a file with ``on_archive`` or a ``command``. A dict is the caller's."""
    reason = who_else_may_write(document.status, euid) if document.status else None
    hook = next(_hooks(document.table), None) if reason else None
    if hook:
        message = f"names a command to run, and {document.file} {reason}"
        problems.add(ConfigProblem(document.file, hook, message, document.line(hook)), fatal=fatal)


def _hooks(table: Mapping[str, Any]) -> Iterator[str]:
    logs = table.get("log")
    rules = [(f"log[{n}]", rule) for n, rule in enumerate(logs, 1)] if isinstance(logs, list) else []
    for path, rule in [("defaults", table.get("defaults")), *rules]:
        if isinstance(rule, Mapping) and rule.get("on_archive", "off") != "off":
            yield f"{path}.on_archive"
    targets = table.get("reopen")
    for name, target in targets.items() if isinstance(targets, Mapping) else ():
        if isinstance(target, Mapping) and "command" in target:
            yield f"reopen.{name}.command"


def who_else_may_write(status: os.stat_result, euid: int) -> str | None:
    """Why somebody else could put commands into this file, and what to do; None if nobody could."""
    if status.st_uid not in (0, euid):
        return f"belongs to uid {status.st_uid}, who is neither root nor uid {euid} that runs this; chown it"
    if status.st_mode & stat.S_IWOTH:
        return "may be written by anyone; chmod o-w it"
    if euid == 0 and status.st_mode & stat.S_IWGRP:
        return "may be written by its group, and root would run its commands; chmod g-w it"
    return None
