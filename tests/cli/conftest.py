"""Real deployments, and the command line in this process."""

from __future__ import annotations

from tests.observe.conftest import here, logrotor, world  # noqa: F401
