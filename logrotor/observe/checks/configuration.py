"""Is every rule right, does it find any file, does each file belong to one rule only, and can its command run?"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator

from logrotor.disk import programs
from logrotor.disk.walk import user_name
from logrotor.model import Check, Finding
from logrotor.observe.site import Site
from logrotor.survey import NamedLogs


def checks(site: Site) -> list[Check]:
    return [
        Check(id="config.rules", title="every rule can run", look=lambda: rules(site)),
        Check(id="config.matches", title="each rule has a log", look=lambda: matches(site)),
        Check(id="config.overlap", title="each log belongs to one rule", look=lambda: overlap(site)),
        Check(id="config.on_archive", title="the programs of on_archive are there", look=lambda: programs_of(site)),
    ]


def rules(site: Site) -> Iterator[Finding]:
    for problem in site.config.problems:
        yield Finding(
            subject=f"{problem.file}:{problem.line}" if problem.line else problem.file,
            problem=f"{problem.key}: {problem.message}",
            why="this rule is left out: its logs grow without a limit, and every run ends with exit 1",
            advice=f"correct it; logrotor check -c {site.config.files[0] if site.config.files else problem.file}",
        )


def matches(site: Site) -> Iterator[Finding]:
    """A path without a log is nothing odd; a glob that has never had one is, most often, misspelt."""
    if not site.survey.unmatched:
        return
    named = NamedLogs(site.config.logs)
    past = {outcome.log for outcome in site.outcomes}
    having = {facts.spec.name for facts in site.survey.logs} | {s.spec.name for p in past for s in named.naming(p)}
    specs = {spec.name: spec for spec in site.config.logs}
    for spec in (specs[unmatched.name] for unmatched in site.survey.unmatched):
        places = {each.directory for each in named.selectors if each.spec is spec}
        if spec.name in having or (places and not any(map(os.path.lexists, places))):  # see directories.logs
            continue
        globs = ", ".join(path for path in spec.paths if glob.has_magic(path))
        left_out = ", or only what exclude leaves out" if spec.exclude else ""
        yield Finding(
            subject=f"rule {spec.name}",
            problem=f"{globs} matches no file{left_out}, and no run has rotated one",
            why="a misspelt path looks like this: the logs that were meant grow, and no run says a word",
            advice="correct paths in the rule; nothing, if the logs are still to come",
        )


def overlap(site: Site) -> Iterator[Finding]:
    for shadowed in site.survey.shadowed:
        yield Finding(
            subject=shadowed.name,
            problem=shadowed.reason,
            why="only the first of the two rules is used, whatever the second one says",
            advice="exclude it from one of them: exclude = [...]",
        )


def programs_of(site: Site) -> Iterator[Finding]:
    us = user_name(os.geteuid())
    for spec in site.config.logs:
        if spec.on_archive and not programs.is_there(spec.on_archive[0]):
            yield Finding(
                subject=f"rule {spec.name}",
                problem=f"on_archive: {spec.on_archive[0]}: no such program, or {us} may not run it",
                why="archives wait for it and are not removed, and every run with one ends with exit 1",
                advice="correct on_archive (a whole path: cron and systemd have a short PATH), or install the program",
            )
