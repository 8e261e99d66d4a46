"""A program that runs command lines of one version of logrotor, each in a fork of itself: a few milliseconds instead of
an interpreter's start. It imports nothing of the tests, so that ``PYTHONPATH`` alone decides which version it is.

Started with the number of a socket, it takes one request a line (JSON) and answers each with one line, see versions.py.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO


def serve(talk: BinaryIO) -> None:
    """Until the other end is closed."""
    for line in talk:
        request = json.loads(line)
        said = [os.memfd_create(name) for name in ("stdout", "stderr", "operations")]
        gc.freeze()  # else the child's first collection writes to every page that it shares with us
        pid = os.fork()
        if pid == 0:
            _play(request, talk, said)
        _, status = os.waitpid(pid, 0)
        out, err, operations = (_content(fd) for fd in said)
        if "imports" in request:
            _import(out.split())
        answer = {
            "code": os.waitstatus_to_exitcode(status), "stdout": out, "stderr": err, "operations": operations.split(),
        }  # fmt: skip
        _tell(talk, answer)


def _play(request: dict[str, Any], talk: BinaryIO, said: list[int]) -> None:
    """In the fork; never returns."""
    code: object = 70
    try:
        for fd, stream in zip(said, (1, 2), strict=False):
            os.dup2(fd, stream)
        if "gate" in request:
            _gate(request["gate"], talk, said[2])
        code = _called(request)
    except BaseException:
        traceback.print_exc()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 70)


def _called(request: dict[str, Any]) -> object:
    if "python" in request:
        exec(request["python"], {})
        return 0
    from logrotor.cli import main

    sys.argv = ["logrotor", *request["args"]]
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    if "imports" in request:
        sys.stdout.write("\n" + "\n".join(sys.modules))
    return code


def _gate(gate: dict[str, Any], talk: BinaryIO, operations: int) -> None:
    """Only in the previous version, whose inside no longer changes: be killed before the n-th changing call.

    ``announce``: the tests are told of each, and answer when they have done what they want meanwhile.
    """
    from logrotor.act import executor
    from logrotor.disk import calls

    executor._PATIENCE = executor._BRIEF = (
        0.0  # the writers have reopened their logs when the request returns, or never
    )
    number = 0

    def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal number
        number += 1
        os.write(operations, operation.encode() + b"\n")
        if gate["announce"]:
            _tell(talk, {"before": operation})
            talk.readline()
        if number == gate["nth"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if gate["lacks"] and function is calls.renameat2:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if operation in gate["lacks"]:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return function(*args, **kwargs)

    calls.invoke = invoke  # type: ignore[assignment]


def _tell(talk: BinaryIO, message: dict[str, Any]) -> None:
    talk.write(json.dumps(message).encode() + b"\n")
    talk.flush()


def _import(names: list[str]) -> None:
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)


def _content(fd: int) -> str:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read().decode(errors="surrogateescape")


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection, connection.makefile("rwb") as channel:
        serve(channel)
