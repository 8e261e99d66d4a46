"""What a test needs from the machine. On CI nothing may be missing: there a skip is a failure."""

from __future__ import annotations

import os

import pytest


def need(condition: object, reason: str) -> None:
    """Skip the running test unless ``condition``; with LOGROTOR_NO_SKIP=1 fail it instead."""
    if condition:
        return
    if os.environ.get("LOGROTOR_NO_SKIP") == "1":
        pytest.fail(f"LOGROTOR_NO_SKIP=1, but this machine lacks: {reason}", pytrace=False)
    pytest.skip(reason)
