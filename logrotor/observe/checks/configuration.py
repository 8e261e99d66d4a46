"""Is every rule right, does it find any file, does each file belong to one rule only, and can its command run?"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator

from logrotor.disk import discover, programs, snapshot
from logrotor.disk.walk import user_name
from logrotor.model import Check, Finding, LogSpec
from logrotor.observe.site import Site


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
    having = {facts.spec.name for facts in site.survey.logs}
    for spec in site.config.logs:
        globs = [path for path in spec.paths if glob.has_magic(path)]
        if spec.name in having or not globs or not _is_empty(site, spec):
            continue
        left_out = ", or only what exclude leaves out" if spec.exclude else ""
        yield Finding(
            subject=f"rule {spec.name}",
            problem=f"{', '.join(globs)} matches no file{left_out}, and no run has rotated one",
            why="a misspelt path looks like this: the logs that were meant grow, and no run says a word",
            advice="correct paths in the rule; nothing, if the logs are still to come",
        )


def _is_empty(site: Site, spec: LogSpec) -> bool:
    """False also where that is not known, or told elsewhere: a directory that is missing or refused."""
    selectors = list(discover.discover((spec,)))
    places = [snapshot.look(path) for path in {selector.directory for selector in selectors}]
    if any(place.problem for place in places) or (places and all(place.missing for place in places)):
        return False
    others = [waiting.name for waiting in (*site.survey.shadowed, *site.survey.skipped)]
    return not any(_is_named(path, selectors) for path in {*others, *(outcome.log for outcome in site.outcomes)})


def _is_named(path: str, selectors: list[discover.Selector]) -> bool:
    head, name = os.path.split(path)
    return any(each.takes(name) and os.path.realpath(each.directory) == head for each in selectors)


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
