"""The doctor's checks of the core, by subject. The queue has its own, in its own room."""

from __future__ import annotations

from datetime import datetime

from logrotor.model import Check, Config
from logrotor.observe.checks import logs, own_files, setup, storage
from logrotor.observe.deployment import Deployment


def checks(config: Config, now: datetime) -> list[Check]:
    """All checks of the core, in the order in which a reader wants their findings."""
    here = Deployment(config, now)
    return [check for subject in (setup, own_files, storage, logs) for check in subject.checks(here)]
