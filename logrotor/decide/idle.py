"""Decide at a glance that a log has nothing to recover, retire or compress, as most logs have in most runs.

A shortcut that answers as the planner would, and only where little has to be looked at: a log beside its numbered
archives, each a file of one name in its final form, within the limits. Of anything else it says nothing.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from datetime import datetime

from logrotor.decide import retention
from logrotor.decide.facts import LogFacts
from logrotor.decide.naming import is_too_long, is_unfinished
from logrotor.decide.refusal import HIGHEST_SLOT
from logrotor.model import Archive, Codec, Entry, LogSpec, Method, Naming, Note


def kept(facts: LogFacts, now: datetime) -> tuple[Note, ...] | None:
    """The archives, which all stay as they are, newest first; None: it takes a closer look."""
    spec, family, live = facts.spec, facts.family, facts.family.live
    if live is None or facts.refusal or facts.elsewhere or facts.archive_dir or facts.memory.in_flight:
        return None
    if family.replacement or family.temps or not _is_sound(live) or is_unfinished(live.stat.st_mode):
        return None
    if facts.directory.problem or is_too_long(facts.base, spec.naming):
        return None  # that it has no name of ours is known: no such file is taken for a live log
    if not family.archives:
        return ()
    if spec.on_archive or spec.keep_free or spec.naming is Naming.DATED:
        return None
    archives = sorted(family.archives, key=_slot) if len(family.archives) > 1 else family.archives
    if not _are_settled(spec, archives) or not _are_within(spec, archives, now):
        return None
    return tuple([Note(a.entry.name, retention.why_kept(spec, index)) for index, a in enumerate(archives)])


def _is_sound(entry: Entry) -> bool:
    return stat.S_ISREG(entry.stat.st_mode) and entry.stat.st_nlink == 1


def _slot(archive: Archive) -> int:
    return archive.name.slot or 0


def _are_settled(spec: LogSpec, archives: Sequence[Archive]) -> bool:
    """Each in a slot of its own and in its final form, and none that a writer would be asked for."""
    asks = spec.reopen is not None and spec.method is not Method.COPYTRUNCATE
    before = 0
    for index, archive in enumerate(archives):
        slot, entry = archive.name.slot, archive.entry
        if slot is None or not before < slot <= HIGHEST_SLOT or not _is_sound(entry):
            return False
        if archive.name.codec is Codec.NONE and (
            asks or not (spec.compress is Codec.NONE or index < spec.keep_uncompressed) or _is_reserved(entry)
        ):
            return False
        before = slot
    return True


def _is_reserved(entry: Entry) -> bool:
    return entry.size == 0 and is_unfinished(entry.stat.st_mode)


def _are_within(spec: LogSpec, archives: Sequence[Archive], now: datetime) -> bool:
    if spec.backup_count is not None and len(archives) > spec.backup_count:
        return False
    if spec.max_age is None and spec.max_total_size is None:
        return True
    from logrotor.decide.slots import time_of

    moment = now.timestamp()
    generations = [retention.Generation(moment - time_of(a), a.entry.size) for a in archives]
    return not any(retention.decide(spec, generations))
