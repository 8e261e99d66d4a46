from __future__ import annotations

from tests.support.fixtures import world  # noqa: F401
