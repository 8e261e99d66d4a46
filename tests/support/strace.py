"""The independent check by strace: which calls of a command change something, and what if one of them fails or kills.

strace counts the calls of a name per thread, those that change nothing too; with ``paths`` (directories and files,
through any descriptor) it counts, and meddles with, only the calls that concern one of them. So record with the same
``paths`` as you inject with. Programs wrapped here must have no other tracer.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support import command, users
from tests.support.need import need

PathLike = str | os.PathLike[str]

# Always a change, where the call exists on this machine ("?": no error if it does not).
_ALWAYS = [
    "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "link", "linkat", "symlink", "symlinkat",
    "mkdir", "mkdirat", "mknod", "mknodat", "chmod", "fchmod", "fchmodat", "fchmodat2",
    "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "futimesat", "utimensat",
    "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
    "truncate", "ftruncate", "fallocate", "fsync", "fdatasync", "sync_file_range", "syncfs",
]  # fmt: skip
_OPENS = ["open", "openat", "openat2", "creat"]
_WRITES = ["write", "writev", "pwrite64", "pwritev", "pwritev2", "copy_file_range", "sendfile", "splice"]
CHANGING = (*_ALWAYS, *_OPENS, *_WRITES)

_CALL = re.compile(r"^(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)")
_RESULT = re.compile(r"\) += (\?|-?\d+|0x[0-9a-f]+)(?:<[^>]*>)?( [A-Z]\w+)?[^=]*$")


@dataclass(frozen=True, slots=True)
class Call:
    """The ``when``-th call of ``name`` in its thread."""

    name: str
    when: int
    thread: int
    arguments: str  # as strace shows them, descriptors with their paths
    failed: bool = False
    first_thread: bool = True

    @property
    def point(self) -> tuple[str, int]:
        return self.name, self.when

    def __str__(self) -> str:
        return f"{self.name}#{self.when}({self.arguments}"


@dataclass(frozen=True, slots=True)
class Inject:
    """What shall happen instead of, or before, a call. ``when`` as strace takes it: "3", "3+", "2..5"."""

    names: str  # one name or several with commas
    what: str
    when: str

    @property
    def option(self) -> str:
        return f"inject={self.names}:{self.what}:when={self.when}"


def kill(name: str, when: int = 1) -> Inject:
    """The process is killed before the ``when``-th call."""
    return Inject(name, "signal=KILL", str(when))


def stop(name: str, when: int = 1) -> Inject:
    """The process stops (SIGSTOP) right after the ``when``-th call, until someone sends SIGCONT."""
    return Inject(name, "signal=STOP", str(when))


def fail(name: str, errno: str, when: int = 1, *, persistent: bool = False) -> Inject:
    """The ``when``-th call, or with ``persistent`` each from there on, only fails with ``errno`` ("ENOSPC")."""
    return Inject(name, f"error={errno}", f"{when}+" if persistent else str(when))


def delay(name: str, seconds: float, when: str = "1+") -> Inject:
    """The calls begin ``seconds`` late: widens a race."""
    return Inject(name, f"delay_enter={int(seconds * 1_000_000)}", when)


def argv(
    wrapped: Sequence[str],
    *injects: Inject,
    trace: Iterable[str] = (),
    paths: Collection[PathLike] = (),
    output: PathLike = "/dev/null",
) -> list[str]:
    """``wrapped`` under strace, following forks and threads."""
    need(shutil.which("strace"), "strace")
    names = dict.fromkeys([*trace, *(name for each in injects for name in each.names.split(","))])
    options = ["-f", "-qq", "-y", "-s", "64", "-e", "signal=none", "-o", os.fspath(output)]
    options += ["-e", "trace=" + (",".join("?" + name for name in names) or "none")]
    for each in injects:
        options += ["-e", each.option]
    for path in paths:
        options += ["-P", os.fspath(path)]
    return ["strace", *options, "--", *wrapped]


def run(
    wrapped: Sequence[str],
    *injects: Inject,
    paths: Collection[PathLike] = (),
    env: Mapping[str, str] | None = None,
    **how: Any,
) -> command.Result:
    """Run ``wrapped`` with ``injects``; keywords as in :func:`tests.support.command.run`. Code -9: it was killed."""
    who = _user(how.pop("user", None))
    return command.run(argv(wrapped, *injects, paths=paths), env=_env(env), user=who, **how)


def changes(
    wrapped: Sequence[str],
    *injects: Inject,
    paths: Collection[PathLike] = (),
    trace: Sequence[str] = CHANGING,
    env: Mapping[str, str] | None = None,
    everything: bool = False,
    **how: Any,
) -> tuple[command.Result, list[Call]]:
    """Run ``wrapped`` and give the calls that change something, in order (``everything``: all calls of ``trace``).

    Failed ones are among them. Writes to pipes, sockets, terminals and /dev do not count, nor does a mere open for
    reading. Byte-code files are not written, for they are not the command's doing.
    """
    who = _user(how.pop("user", None))
    with tempfile.NamedTemporaryFile(prefix="strace-") as output:
        if who is not None:
            os.chown(output.name, who.uid, who.gid)
        wrapping = argv(wrapped, *injects, paths=paths, trace=trace, output=output.name)
        result = command.run(wrapping, env=_env(env), user=who, **how)
        with open(output.name, encoding="utf-8", errors="surrogateescape") as file:
            calls = parse(file)
    return result, [call for call in calls if everything or is_change(call)]


def points(calls: Iterable[Call]) -> list[tuple[str, int]]:
    """Where to inject so that each of ``calls`` is met: (name, K), each once, in order.

    A K-th call of a later thread is met at the K-th of whichever thread comes to it first; narrow ``paths`` to tell
    them apart.
    """
    return list(dict.fromkeys(call.point for call in calls))


def parse(output: Iterable[str]) -> list[Call]:
    """The calls in what ``strace -f -o`` wrote."""
    counts: Counter[tuple[int, str]] = Counter()
    calls: list[Call] = []
    open_calls: dict[int, int] = {}
    first: int | None = None
    for text in output:
        if match := _RESUMED.match(text):
            thread, _, rest = match.groups()
            at = open_calls.pop(int(thread), None)
            if at is not None:
                old = calls[at]
                calls[at] = Call(old.name, old.when, old.thread, *_ended(old.arguments + rest), old.first_thread)
        elif match := _CALL.match(text):
            thread, name, rest = int(match[1]), match[2], match[3]
            first = thread if first is None else first
            counts[thread, name] += 1
            unfinished = rest.endswith("<unfinished ...>")
            if unfinished:
                open_calls[thread] = len(calls)
                rest = rest.removesuffix("<unfinished ...>")
            calls.append(Call(name, counts[thread, name], thread, *_ended(rest), thread == first))
    return calls


def _ended(rest: str) -> tuple[str, bool]:
    """The arguments, and whether the call failed."""
    match = _RESULT.search(rest)
    return rest.rstrip(), bool(match and match[1].startswith("-"))


def is_change(call: Call) -> bool:
    """Whether the call changes something, as :func:`changes` has it."""
    if call.name in _OPENS:
        writes = call.name == "creat" or re.search(r"\bO_(CREAT|TRUNC|WRONLY|RDWR|TMPFILE)\b", call.arguments)
        return bool(writes) and '"/dev/' not in call.arguments
    if call.name in _WRITES:
        return _regular(call)
    return True


def _regular(call: Call) -> bool:
    """Whether it writes to a file: descriptors show as ``4</path>``, others as ``1<pipe:[7]>`` or ``3<socket:[8]>``."""
    into = -1 if call.name in ("copy_file_range", "splice") else 0
    descriptors = re.findall(r"\b\d+<([^>]*)>", call.arguments.split("= ")[0])
    if not descriptors:
        return True
    path = descriptors[into]
    return path.startswith("/") and not path.startswith(("/dev/", "/proc/", "/memfd:", "/anon"))


def _env(env: Mapping[str, str] | None) -> dict[str, str]:
    return {"PYTHONDONTWRITEBYTECODE": "1", **(env or {})}


def _user(who: str | int | users.User | None) -> users.User | None:
    return users.user(who) if isinstance(who, (str, int)) else who
