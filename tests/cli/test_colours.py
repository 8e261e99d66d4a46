"""Colours on a terminal, and nowhere else."""

from __future__ import annotations

import importlib.util
import os
import pty
import re
import subprocess

import pytest

from tests.support import command
from tests.support.need import need

CODES = re.compile(rb"\x1b\[[0-9]*m")


def on_a_terminal(*args: object, **env: str) -> bytes:
    """What the command prints on a terminal, with the newlines of a file."""
    master, slave = pty.openpty()
    argv, around = command.arguments(*args), {**command.environment(), "TERM": "xterm", **env}
    with subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, env=around) as started:
        os.close(slave)
        shown = b""
        while chunk := _read(master):
            shown += chunk
        os.close(master)
    assert started.returncode in (0, 1)
    return shown.replace(b"\r\n", b"\n")


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # EIO: the last one who had the other end is gone
        return b""


COMMANDS = [
    ("status",), ("status", "--check"), ("doctor", "--only", "logs", "-v"), ("queue", "status"),
    ("queue", "status", "--check"),
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_only_on_a_terminal(here, words):
    """The words are the same: without colours in a pipe, with NO_COLOR, on a dumb terminal."""
    if words[0] == "queue":
        need(importlib.util.find_spec("huey"), "the package huey")
        here.configure('[queue]\nengine = "huey"\nhost = "h"')
    here.log(size=40_000)
    here.run()
    here.log(size=320)
    os.link(here.log("linked.log"), here.folder / "second-name")
    args = (*words, "-c", here.file)
    coloured = on_a_terminal(*args)
    plain = [on_a_terminal(*args, NO_COLOR="1"), on_a_terminal(*args, TERM="dumb")]
    plain.append(command.logrotor(*args).stdout.encode())
    assert CODES.search(coloured) and not any(b"\x1b" in each for each in plain)
    blurred = [re.sub(rb"\d+", b"N", each) for each in (CODES.sub(b"", coloured), *plain)]
    assert len({*blurred}) == 1 and blurred[0]
