"""The doctor's checks of the queue: does everything that runs agree with the configuration?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from logrotor.errors import ConfigError
from logrotor.jobs.checks import faults, managers, soundness, workers
from logrotor.jobs.engine import find_engine, open_site
from logrotor.model import Check, Config, Finding

THEMES = (soundness, workers, faults, managers)


def checks(config: Config, environ: Mapping[str, str]) -> list[Check]:
    """All checks of the queue of this configuration."""
    try:
        site = open_site(config.files[0], environ)
        site.url  # noqa: B018  # raises if its variable is not set
        find_engine(site.file, site.settings.engine)
    except ConfigError as error:
        return [Check(id="queue.configuration", title="the queue can be opened", look=partial(_told, error))]
    return [check for theme in THEMES for check in theme.checks(site)]


def _told(error: ConfigError) -> Iterator[Finding]:
    for problem in error.problems:
        yield Finding(
            subject=f"{problem.file}: {problem.key}",
            problem=problem.message,
            why="no job can be queued or worked on, and nothing else of the queue can be checked",
            advice="set it as the message says, then run this check again",
        )
