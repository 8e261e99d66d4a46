"""Fixtures for the tests. A conftest.py imports those that its tests use."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import users


@contextmanager
def world_tree(who: str | int | None = None, *, mode: int = 0o755) -> Iterator[Path]:
    """A fresh folder that every user can reach (tmp_path is 0700), owned by ``who``; removed afterwards."""
    parent = tempfile.gettempdir()
    if any(not os.stat(each).st_mode & 0o001 for each in (parent, *map(str, Path(parent).parents))):
        parent = "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="logrotor-test-", dir=parent))
    try:
        folder.chmod(mode)
        if who is not None:
            owner = users.user(who)
            os.chown(folder, owner.uid, owner.gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def world() -> Iterator[Path]:
    """A fresh folder of mode 0755 that every user can reach."""
    with world_tree() as folder:
        yield folder
