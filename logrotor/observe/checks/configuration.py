"""Is every rule right, and does each file belong to one rule only?"""

from __future__ import annotations

from collections.abc import Iterator

from logrotor.model import Check, Finding
from logrotor.observe.site import Site


def checks(site: Site) -> list[Check]:
    return [
        Check(id="config.rules", title="every rule can run", look=lambda: rules(site)),
        Check(id="config.overlap", title="each log belongs to one rule", look=lambda: overlap(site)),
    ]


def rules(site: Site) -> Iterator[Finding]:
    for problem in site.config.problems:
        yield Finding(
            subject=f"{problem.file}:{problem.line}" if problem.line else problem.file,
            problem=f"{problem.key}: {problem.message}",
            why="this rule is left out: its logs grow without a limit, and every run ends with exit 1",
            advice=f"correct it; logrotor check -c {site.config.files[0] if site.config.files else problem.file}",
        )


def overlap(site: Site) -> Iterator[Finding]:
    for shadowed in site.survey.shadowed:
        yield Finding(
            subject=shadowed.name,
            problem=shadowed.reason,
            why="only the first of the two rules is used, whatever the second one says",
            advice="exclude it from one of them: exclude = [...]",
        )
