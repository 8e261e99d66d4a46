"""The doctor's checks of the core, one module per theme. The queue has its own, in its own room."""

from __future__ import annotations

from datetime import datetime

from logrotor.model import Check, Config
from logrotor.observe.checks import (
    clock,
    configuration,
    directories,
    logs,
    metrics,
    page,
    reopen,
    rivals,
    schedule,
    space,
    state,
    writers,
)
from logrotor.observe.site import Site

THEMES = (configuration, state, directories, logs, writers, reopen, rivals, space, clock, schedule, metrics, page)


def checks(config: Config, now: datetime) -> list[Check]:
    """All checks of the core, in the order in which a reader wants their findings."""
    site = Site(config, now)
    return [check for theme in THEMES for check in theme.checks(site)]
