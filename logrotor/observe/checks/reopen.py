"""The reopen targets: could each be asked right now? And does supervisord rotate the same files itself?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from logrotor import notify
from logrotor.disk import proc
from logrotor.errors import ReopenFailed
from logrotor.model import Check, Finding
from logrotor.notify import supervisor_config, supervisord
from logrotor.observe.site import Site


def checks(site: Site) -> list[Check]:
    return [
        Check(id="reopen.targets", title="every reopen target can be asked", look=lambda: targets(site)),
        Check(id="reopen.supervisord", title="supervisord rotates no log of ours", look=lambda: self_rotation(site)),
    ]


def targets(site: Site) -> Iterator[Finding]:
    used = {spec.reopen for spec in site.config.logs}
    for name, target in site.config.targets.items():
        try:
            if name in used:
                notify.probe(target)
        except ReopenFailed as error:
            what, _, advice = str(error).rpartition("; ")
            yield Finding(
                subject=f"[reopen.{name}]",
                problem=what,
                why="after a rotation its writers go on with the old file; it waits, neither compressed nor removed",
                advice=advice,
            )


def self_rotation(site: Site) -> Iterator[Finding]:
    """Asked of every supervisord that can be seen, whether or not a rule names it."""
    ours = {os.path.realpath(facts.path): facts.path for facts in site.survey.logs}
    found: dict[str, str] = {}
    for process in _supervisords():
        given = next((t.supervisor_config for t in site.config.targets.values() if t.supervisor_config), None)
        found.update(supervisor_config.self_rotation(process, given=given).files)
    for path in sorted(found.keys() & ours.keys()):
        what, _, advice = found[path].partition(": ")
        yield Finding(
            subject=ours[path],
            problem=what,
            why="both shift and delete the same archives, and supervisord then writes without O_APPEND: lines get lost",
            advice=advice,
        )


def _supervisords() -> Iterator[proc.Process]:
    return (process for process in proc.running(b"supervisord") if supervisord.is_supervisord(process.argv))
