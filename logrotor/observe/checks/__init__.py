"""The doctor's checks of the core, by subject. The queue has its own, in its own room."""

from __future__ import annotations

from logrotor.model import Check
from logrotor.observe.checks import logs, own_files, setup, storage
from logrotor.observe.deployment import Deployment


def checks(here: Deployment) -> list[Check]:
    """All checks of the core, in the order in which a reader wants their findings."""
    return [check for subject in (setup, own_files, storage, logs) for check in subject.checks(here)]
