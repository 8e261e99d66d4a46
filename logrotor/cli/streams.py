"""The three standard streams, also when the caller closed them or their reader went away."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterable
from typing import Any


def repair() -> None:
    """Open closed descriptors 0 to 2 on /dev/null and let no file name break the output.

    Without it the next file that is opened, a log for example, would become descriptor 1 or 2 and get our messages.
    """
    for fd in (0, 1, 2):
        _fill(fd)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _fill(fd: int) -> None:
    try:
        os.fstat(fd)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != fd:
            os.dup2(opened, fd)
            os.close(opened)
        os.set_inheritable(fd, True)  # hooks and commands that we start need them too


def write(text: str) -> None:
    """Print ``text`` on stdout at once. A reader that went away (``| head``) is no error; a full disk is one."""
    import click

    try:
        click.echo(text)
    except OSError as error:
        _went_away(error)


def pour(chunks: Iterable[bytes]) -> None:
    """Print bytes on stdout as they come, unchanged. A reader that went away is no error; a full disk is one."""
    out = sys.stdout.buffer
    for chunk in chunks:
        try:
            out.write(chunk)
        except OSError as error:
            if _went_away(error):
                return
    try:
        out.flush()
    except OSError as error:
        _went_away(error)


def _went_away(error: OSError) -> bool:
    silence(1)
    if error.errno != errno.EPIPE:
        import click

        raise click.ClickException(
            f"cannot write to standard output: {error.strerror}; make room, or send it elsewhere"
        ) from error
    return True


def write_json(value: Any) -> None:
    """Print ``value`` as JSON; only ASCII, so that a file name of any bytes comes through."""
    import json

    write(json.dumps(value, indent=2))


def settle() -> None:
    """Flush both streams, so that the interpreter has nothing to complain about when it ends."""
    for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(fd)


def silence(fd: int) -> None:
    """Point a descriptor that can no longer be written at /dev/null."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)


def is_terminal(stream: Any) -> bool:
    """Whether ``stream`` is a terminal; a closed one is not."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False
