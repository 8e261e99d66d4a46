from __future__ import annotations

from pathlib import Path

import pytest

from tests.rival.rivals import Logrotate, Logrotor, each
from tests.support.fixtures import world  # noqa: F401


@pytest.fixture
def logs(world: Path) -> Path:  # noqa: F811
    """The log directory of a scenario."""
    folder = world / "logs"
    folder.mkdir()
    return folder


@pytest.fixture
def logrotate(world: Path) -> Logrotate:  # noqa: F811
    """The rival."""
    return each(Logrotate, world / "logrotate")  # type: ignore[return-value]


@pytest.fixture
def logrotor(world: Path) -> Logrotor:  # noqa: F811
    """Ours."""
    return each(Logrotor, world / "logrotor")  # type: ignore[return-value]
