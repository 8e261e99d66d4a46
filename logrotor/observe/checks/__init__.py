"""The doctor's checks of the core, one module per theme. The queue has its own, in its own room."""

from __future__ import annotations

from datetime import datetime

from logrotor.model import Check, Config
from logrotor.observe.checks import configuration
from logrotor.observe.site import Site


def checks(config: Config, now: datetime) -> list[Check]:
    """All checks of the core, in the order in which a reader wants their findings."""
    site = Site(config, now)
    return [*configuration.checks(site)]
