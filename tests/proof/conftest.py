"""What holds for all sweeps."""

from __future__ import annotations

import pytest

from logrotor.disk import database

_SEVERAL_BEGIN = ("test_together", "test_turns", "test_worlds")


@pytest.fixture(autouse=True)
def nobody_else_begins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty history was left by a killed run: no other is about to write it, for which 3 s would be waited."""
    if request.module.__name__.rpartition(".")[2] not in _SEVERAL_BEGIN:
        monkeypatch.setattr(database, "_PATIENCE", 1)
