"""Reading a file that somebody else may have put there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from logrotor.disk import files


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    """With its status, and as text whatever its bytes and line ends are."""
    path = tmp_path / "file"
    path.write_bytes(b"one\r\ntwo\xff\n")
    data, status = files.read(str(path))
    assert data == path.read_bytes() and status.st_size == len(data)
    assert files.read_text(str(path)) == "one\ntwo\udcff\n"


@pytest.mark.parametrize(
    ("what", "number"),
    [("fifo", errno.EINVAL), ("/dev/zero", errno.EINVAL), ("folder", errno.EISDIR), ("large", errno.EFBIG),
     ("endless", errno.EFBIG), ("missing", errno.ENOENT)],
)  # fmt: skip
def test_nothing_holds_a_reader(tmp_path: Path, what: str, number: int) -> None:
    """A FIFO, a device, a folder, more than anybody asked for, a sparse terabyte."""
    path = tmp_path / "file"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what in ("large", "endless"):
        path.touch()
        os.truncate(path, 101 if what == "large" else 1 << 40)
    with pytest.raises(OSError) as caught:
        files.read(what if what.startswith("/") else str(path), most=100)
    assert caught.value.errno == number
