"""What a lease, granted or refused, proves: on a remote file system never that nobody writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from logrotor.disk import calls, writers
from logrotor.model import Nobody, Unknown, Written

LOCAL = ("ext4", "xfs", "btrfs", "tmpfs", "overlay")
REMOTE = ("nfs", "fuse", "9p", "cifs")


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """An archive of ours, open for reading."""
    (tmp_path / "app.log.1").touch()
    opened = os.open(tmp_path / "app.log.1", os.O_RDONLY)
    yield opened
    os.close(opened)


def answer(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """What the kernel says when it is asked for a lease; 0: granted."""

    def lease(fd: int) -> None:
        if code:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(calls, "take_read_lease", lease)


@pytest.mark.parametrize("system", LOCAL)
def test_a_lease_granted_is_the_proof(monkeypatch: pytest.MonkeyPatch, fd: int, system: str) -> None:
    """On a local file system the kernel sees every writer."""
    answer(monkeypatch, 0)
    assert writers.prove(fd, system) == Nobody("lease")
    assert writers.expected_proof(os.geteuid(), system) == "lease"


@pytest.mark.parametrize("system", REMOTE)
@pytest.mark.parametrize("code", [0, errno.EINVAL, errno.EACCES])
def test_a_remote_file_system_proves_nothing(monkeypatch: pytest.MonkeyPatch, fd: int, system: str, code: int) -> None:
    """A writer on another machine, or behind a FUSE mount, is not seen: unknown, also where the lease is granted."""
    answer(monkeypatch, code)
    found = writers.prove(fd, system, writers.Processes())
    assert isinstance(found, Unknown)
    assert f"a {system} file system may have writers elsewhere" in found.why
    assert writers.expected_proof(os.geteuid(), system).startswith("unknown")


@pytest.mark.parametrize("system", [*LOCAL, "fuse", "9p"])
def test_a_lease_refused_is_a_writer(monkeypatch: pytest.MonkeyPatch, fd: int, system: str) -> None:
    """Our own kernel refuses it for a writer alone."""
    answer(monkeypatch, errno.EAGAIN)
    assert writers.prove(fd, system) == Written("lease")


@pytest.mark.parametrize("system", ["nfs", "cifs"])
def test_a_delegation_refused_says_nothing(monkeypatch: pytest.MonkeyPatch, fd: int, system: str) -> None:
    """There EAGAIN says that the server gave no delegation, so nobody is accused, and nobody cleared."""
    answer(monkeypatch, errno.EAGAIN)
    assert isinstance(writers.prove(fd, system), Unknown)
