"""Standard streams that are closed, full or unread."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOGROTOR = [sys.executable, "-m", "logrotor"]


def shell(command: str, **more):
    env = {**os.environ, "L": " ".join(LOGROTOR)}
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env, **more)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(closed):
    """Started with closed descriptors, logrotor works and complains about nothing."""
    result = shell(f"$L --help {closed}")
    assert result.returncode == 0 and result.stderr == ""


def test_closed_descriptors_are_not_given_to_files():
    """With closed descriptors no file that is opened later becomes descriptor 0, 1 or 2."""
    code = "import os; from logrotor.cli import output; output.repair(); f = os.open('/', 0); os._exit(f)"
    assert shell(f'{sys.executable} -c "{code}" <&- >&- 2>&-').returncode > 2


def test_reader_that_went_away():
    """logrotor ... | head ends without a traceback."""
    result = shell("trap '' PIPE; (sleep 0.3; $L --help; echo $? >&2) | true")
    assert "Traceback" not in result.stderr and "Broken" not in result.stderr and "Exception" not in result.stderr


def test_full_disk_is_an_error(tmp_path):
    """A report that cannot be written is an error, not a silent success."""
    result = shell("$L --help > /dev/full")
    assert result.returncode == 1 and "Traceback" not in result.stderr and "No space left" in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1:strict"])
def test_any_locale_shows_any_text(encoding):
    """A locale that lacks a character breaks no output."""
    code = "from logrotor.cli import output; output.repair(); output.write('log \\u65e5')"
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env)
    assert result.stdout.startswith(b"log ") and (result.returncode, result.stderr) == (0, b"")
