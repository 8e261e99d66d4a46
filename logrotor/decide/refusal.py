"""Decide which logs must not be touched, and say what to do about each."""

from __future__ import annotations

import os

from logrotor.decide.facts import Family, LogFacts
from logrotor.decide.naming import is_ours, is_too_long, longest_base, parse_archive
from logrotor.model import Entry, Problem

HIGHEST_SLOT = 999_000_000  # of nine digits; nobody rotates that often


def refusal(facts: LogFacts) -> Problem | None:
    """Why nothing may be done to this log, with what to do about it; None if nothing speaks against it."""
    if facts.directory.problem is not None:
        return facts.directory.problem
    if is_ours(facts.base):
        return Problem(subject=facts.path, problem="has the name of an archive or temp", advice="rename the log")
    if is_too_long(facts.base, facts.spec.naming):
        room = longest_base(facts.spec.naming)
        what, advice = "the name is too long for archives beside it", f"shorten it to {room} bytes"
        return Problem(subject=facts.path, problem=what, advice=advice)
    return _odd_live(facts) or _odd_member(facts) or facts.refusal


def _odd_live(facts: LogFacts) -> Problem | None:
    live = facts.family.live
    if live is None:
        return None
    if not live.is_regular:
        what, advice = f"is a {live.kind}, not a regular file", "name the log itself, or add it to exclude"
        return Problem(subject=facts.path, problem=what, advice=advice)
    if live.stat.st_nlink > 1 and not any(a.entry.id == live.id for a in facts.family.archives):
        what = f"has {live.stat.st_nlink} hard links, and rotation sees one"
        return Problem(subject=facts.path, problem=what, advice="remove the other names")
    return None


def _odd_member(facts: LogFacts) -> Problem | None:
    """Something with the name of an archive or temp of ours that is not one."""
    known = [
        (directory, entry)
        for directory in (facts.directory, *facts.elsewhere)
        for entry in _members(directory.families.get(facts.base))
    ]
    names: dict[object, int] = {}
    for _, entry in known:
        names[entry.id] = names.get(entry.id, 0) + 1
    if facts.family.live is not None:
        names[facts.family.live.id] = names.get(facts.family.live.id, 0) + 1
    for directory, entry in known:
        where = os.path.join(directory.resolved, entry.name)
        if not entry.is_regular:
            what = f"is a {entry.kind} with the name of an archive or temp of ours"
            return Problem(subject=where, problem=what, advice="move it away")
        name = parse_archive(entry.name)
        if name is not None and (name.slot or 0) > HIGHEST_SLOT:
            what = "leaves no higher slot for the archives to move to"
            return Problem(subject=where, problem=what, advice="rename or remove it")
        if entry.stat.st_nlink > names[entry.id]:
            what = "has a hard link elsewhere, so it may be somebody else's file"
            return Problem(subject=where, problem=what, advice="remove the other name")
    return None


def _members(family: Family | None) -> list[Entry]:
    if family is None:
        return []
    entries = [a.entry for a in family.archives] + family.temps
    return [*entries, family.replacement] if family.replacement is not None else entries
