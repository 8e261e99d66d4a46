"""Put something in a run's way: a function that is called right before each of its changing calls.

The gate is :func:`logrotor.disk.calls.invoke`, through which every change passes; it is replaced in this process only.
"""

from __future__ import annotations

import errno
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from logrotor import Rotator, load_config
from logrotor.disk import calls
from logrotor.model import Config

Action = Callable[[int, str], object]  # the number of the call, from 1, and what it does ("rename")


@contextmanager
def before_each(action: Action) -> Iterator[None]:
    """Call ``action`` before each changing call; its own changing calls are not counted."""
    real, count, busy = calls.invoke, 0, False

    def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal count, busy
        if not busy:
            count, busy = count + 1, True
            try:
                action(count, operation)
            finally:
                busy = False
        return real(operation, function, *args, **kwargs)

    calls.invoke = invoke
    try:
        yield
    finally:
        calls.invoke = real


@contextmanager
def before(nth: int, action: Callable[[], object]) -> Iterator[list[str]]:
    """Call ``action`` before the ``nth`` changing call; gives the list of all operations so far."""
    seen: list[str] = []

    def one(number: int, operation: str) -> None:
        seen.append(operation)
        if number == nth:
            action()

    with before_each(one):
        yield seen


def operations(run: Callable[[], object]) -> list[str]:
    """The changing calls of ``run``, in order."""
    with before(0, lambda: None) as seen:
        run()
    return seen


@contextmanager
def before_each_system_call(action: Callable[[int, str], object]) -> Iterator[None]:
    """Call ``action`` before each call into :mod:`posix` that takes part in the run, and before each changing call."""
    count, busy = 0, False

    def announce(name: str) -> None:
        nonlocal count, busy
        if busy:
            return
        count, busy = count + 1, True
        try:
            action(count, name)
        finally:
            busy = False

    def profile(frame: object, event: str, function: Any) -> None:
        if event == "c_call" and getattr(function, "__module__", "") == "posix" and function.__name__ not in _INNOCENT:
            announce(function.__name__)

    sys.setprofile(profile)
    try:
        with before_each(lambda _, operation: announce(operation)):
            yield
    finally:
        sys.setprofile(None)


# They look at nothing that somebody could change meanwhile.
_INNOCENT = frozenset({"close", "fspath", "fstat", "get_inheritable", "getcwd", "getegid", "geteuid", "getpid"})


@contextmanager
def protocol(name: str) -> Iterator[None]:
    """Make the file system offer only the protocols from ``name`` on: "exchange", "link" (no renameat2), "rename"."""
    real = calls.invoke

    def invoke(operation: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if function is calls.renameat2 and name != "exchange":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if operation == "link" and name == "rename":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return real(operation, function, *args, **kwargs)

    calls.invoke = invoke
    try:
        yield
    finally:
        calls.invoke = real


def killed(nth: int, run: Callable[[], object]) -> bool:
    """Carry out ``run`` in a fork that kills itself before its ``nth`` changing call; False: it had fewer."""
    pid = os.fork()
    if pid == 0:
        gc.freeze()  # else the first collection writes to every page that it shares with us
        try:
            with before(nth, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                run()
        except BaseException:
            os._exit(70)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, f"the run that should have been killed before call {nth} failed"
    return False


@contextmanager
def memory_folder(otherwise: Callable[[], Path]) -> Iterator[Path]:
    """A fresh folder in memory, where a sweep of thousands of runs is quick; ``otherwise`` where there is none."""
    shm = "/dev/shm"
    if not os.access(shm, os.W_OK | os.X_OK):
        yield otherwise()
        return
    folder = Path(tempfile.mkdtemp(prefix="logrotor-", dir=shm))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def config(state: str | os.PathLike[str], *rules: Mapping[str, Any], **top: Any) -> Config:
    """A configuration with these rules, each a dict as in TOML; compression in one thread, so that points repeat."""
    whole = {"state_dir": os.fspath(state), "compress_jobs": 1, "log": [dict(rule) for rule in rules], **top}
    return load_config(whole, environ={})


def rotator(state: str | os.PathLike[str], *rules: Mapping[str, Any], **top: Any) -> Rotator:
    """A rotator with :func:`config`."""
    return Rotator(config(state, *rules, **top))
