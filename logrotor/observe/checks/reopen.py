"""The reopen targets: could each be asked right now? And does supervisord rotate the same files itself?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from msgspec.structs import replace

from logrotor import notify
from logrotor.disk import proc
from logrotor.errors import ReopenFailed
from logrotor.model import Check, Finding
from logrotor.notify import supervisord
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
            yield Finding(
                subject=f"[reopen.{name}]",
                problem=error.problem.problem,
                why="after a rotation its writers go on with the old file; it waits, neither compressed nor removed",
                advice=error.problem.advice,
            )


def self_rotation(site: Site) -> Iterator[Finding]:
    """Asked of every supervisord that can be seen, whether or not a rule names it."""
    ours = {os.path.realpath(facts.path): facts.path for facts in site.survey.logs}
    given = next((t.supervisor_config for t in site.config.targets.values() if t.supervisor_config), None)
    found = [supervisord.rotated_by(process, given=given) for process in supervisord.running()]
    files = {path: problem for rotation in found for path, problem in rotation.files.items()}
    problems = [replace(files[path], subject=ours[path]) for path in sorted(files.keys() & ours.keys())]
    problems += [problem for rotation in found for problem in rotation.unknown]
    hiding = proc.why_hiding()
    if not found and hiding is not None:
        why = f"/proc does not show every process: {hiding}"
        problems.append(supervisord.unknown("supervisord", why, "run the doctor as root"))
    for each in problems:
        yield Finding(subject=each.subject, problem=each.problem, why=each.why, advice=each.advice)
