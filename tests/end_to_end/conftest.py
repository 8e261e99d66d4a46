"""Deployments for the scenarios: one of www-data, as in production, and one of root."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.deployment import Deployment
from tests.support.fixtures import world_tree
from tests.support.need import need


@pytest.fixture
def site() -> Iterator[Deployment]:
    """A deployment in which everything belongs to www-data, who rotates."""
    need(os.geteuid() == 0, "root, to become another user")
    with world_tree("www-data") as root:
        yield Deployment(root, "www-data")


@pytest.fixture
def own() -> Iterator[Deployment]:
    """A deployment of whoever runs the tests, in a folder that every user can reach."""
    with world_tree() as root:
        yield Deployment(root)
