"""A program that runs command lines of logrotor, each in a fork of itself: milliseconds instead of the start of an
interpreter. A fork is a process of its own like any other: own streams, session, user, environment and exit code.

``PYTHONPATH`` alone decides which version of logrotor it is, so it imports nothing of the tests before it is asked to.
Started with the number of a socket and names of modules to import, it takes one request a line (JSON), see drivers.py.
"""

from __future__ import annotations

import array
import errno
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_NOT_HERE = ("logrotor.jobs.engines.", "__main__")  # an engine's module makes the app of one configuration


def serve(connection: socket.socket) -> None:
    """Until the other end is closed. Three files come with each request: for stdout, stderr, and what is counted."""
    while True:
        text, fds = _heard(connection)
        if not text:
            return
        request = json.loads(text)
        pid = os.fork()
        if pid == 0:
            gc.freeze()  # else the first collection writes to every page that it shares with us
            connection.sendall(os.getpid().to_bytes(8, "little"))  # before it announces anything
            _play(request, connection, fds)
        _, status = os.waitpid(pid, 0)
        if "gate" not in request:
            os.lseek(fds[2], 0, os.SEEK_SET)
            _import(os.read(fds[2], 1 << 20).decode().split())
        for fd in fds:
            os.close(fd)
        _tell(connection, {"code": os.waitstatus_to_exitcode(status)})


def _heard(connection: socket.socket) -> tuple[bytes, list[int]]:
    """One message with its files; none: the other end is closed."""
    fds = array.array("i")
    data, control, _, _ = connection.recvmsg(1 << 20, socket.CMSG_LEN(3 * fds.itemsize))
    for _, _, payload in control:
        fds.frombytes(payload)
    while data and not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    return data, list(fds)


def _tell(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _import(names: list[str]) -> None:
    """What one command has imported, the later ones need not."""
    for name in names:
        if not name.startswith(_NOT_HERE):
            with suppress(Exception):
                importlib.import_module(name)


def _play(request: dict[str, Any], connection: socket.socket, fds: list[int]) -> None:
    """In the fork; never returns."""
    code: object = 70
    try:
        _settle_in(request, fds)
        if "gate" in request:
            _gate(request["gate"], connection, fds[2])
        else:
            connection.close()
        known = set(sys.modules)
        code = _called(request)
        if "gate" not in request:
            os.write(fds[2], "\n".join(name for name in sys.modules if name not in known).encode())
    except BaseException:
        traceback.print_exc()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 70)


def _settle_in(request: dict[str, Any], fds: list[int]) -> None:
    os.setsid()
    for fd, stream in zip((os.open(os.devnull, os.O_RDONLY), *fds[:2]), (0, 1, 2), strict=True):
        os.dup2(fd, stream)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.umask(request["umask"])
    if request["user"] is not None:
        from tests.support import users

        users.become(users.User(*request["user"]))
    os.chdir(request["cwd"])


def _called(request: dict[str, Any]) -> object:
    if "python" in request:
        exec(request["python"], {})
        return 0
    from logrotor.cli import main

    sys.argv = ["logrotor", *request["args"]]
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0


def _gate(gate: dict[str, Any], connection: socket.socket, counted: int) -> None:
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
        os.write(counted, operation.encode() + b"\n")
        if gate["announce"]:
            _tell(connection, {"before": operation})
            connection.recv(1)
        if number == gate["nth"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if gate["lacks"] and function is calls.renameat2:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if operation in gate["lacks"]:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return function(*args, **kwargs)

    calls.invoke = invoke  # type: ignore[assignment]


if __name__ == "__main__":
    _import(sys.argv[2:])
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        serve(channel)
