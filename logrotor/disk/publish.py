"""Put a file that others read in place at once: readers find the old one whole or the new one whole.

Its folder is walked to with care and stays open, so nobody swaps it between two calls. What lies at the name is
replaced only if it is such a file itself, or empty: a slip of the pen, or of a link, destroys nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Sequence

from logrotor.disk import files, mounts, walk
from logrotor.disk.calls import change
from logrotor.disk.identity import why_closed
from logrotor.errors import HELD, Busy, Refused
from logrotor.model import Problem, Written

GENERATOR = "logrotor"

# How the files begin that may be replaced, each by one of its kind.
METRICS = re.compile(rb"\A# HELP logrotor_")
PAGE = re.compile(rb'\A.{0,4096}?<meta name="generator" content="' + GENERATOR.encode() + rb' [^"]*">', re.DOTALL)
MANUAL = re.compile(rb'\A\.\\" Made by logrotor man')
LOGROTATE_STATE = re.compile(rb"\Alogrotate state -- version [12]\r?\n")
NOTHING = re.compile(rb"(?!)")  # no file that has anything in it
Mark = re.Pattern[bytes]

_HEAD = 1 << 16  # bytes that are looked at
_FLAGS = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {
    METRICS: "metrics of logrotor",
    PAGE: "a page of logrotor",
    MANUAL: "a manual page of logrotor",
    LOGROTATE_STATE: "a state file of logrotate",
}


class Output:
    """A file for others, in a folder that stays open. Close it, or use it as a context manager.

    ``head`` is how the file begins that lies there now; nothing if there is none. Raises Refused, InsecureDirectory or
    OSError.
    """

    def __init__(self, path: str, mark: Mark | None) -> None:
        self._path, self._name = path, os.path.basename(path)
        self._directory = _opened(path)
        try:
            self.head = self._judged(mark)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._directory)

    def write(self, data: bytes, mode: int) -> None:
        """Replace it by ``data``, with ``mode`` whatever the umask is. Raises Busy, Refused or OSError.

        killed before ... | directory shows              | next time
        rename            | .NAME.tmp beside the old one | overwritten
        """
        temp = f".{self._name}.tmp"
        fd = self._create(temp)
        try:
            self._refuse_odd(fd, temp)
            try:
                change("truncate", os.ftruncate, fd, 0)
                files.write_all(fd, data)
                change("chmod", os.fchmod, fd, mode)
                change("rename", os.rename, temp, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            except BaseException:  # a full disk, mostly: it is ours, and locked until it is closed
                with contextlib.suppress(OSError):
                    change("unlink", os.unlink, temp, dir_fd=self._directory)
                raise
        finally:
            os.close(fd)

    def _judged(self, mark: Mark | None) -> bytes:
        if mark is None:
            return b""
        try:
            fd = files.open_regular(self._name, os.O_NOFOLLOW, directory=self._directory)
        except FileNotFoundError:
            return b""
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO):
                what = "is not a regular file, so it is not replaced"
                raise Refused(self._problem(what, "give another name")) from None
            raise
        try:
            head = os.pread(fd, _HEAD, 0)
            if not head and _is_written(fd):  # a log is empty after each rotation
                what = "is empty, and a process has it open for writing: a log, say"
                raise Refused(self._problem(what, "give another name"))
        finally:
            os.close(fd)
        if head and not mark.match(head):
            if mark is NOTHING:
                raise Refused(self._problem("is there already", "give another name, or --overwrite"))
            what = f"is not {_KINDS[mark]}, so it is not replaced"
            raise Refused(self._problem(what, "remove it, or give another name"))
        return head

    def _create(self, temp: str) -> int:
        try:
            return int(change("create", os.open, temp, _FLAGS, 0o600, dir_fd=self._directory))
        except PermissionError:
            directory = os.path.dirname(self._path)
            if os.access(directory, os.W_OK | os.X_OK, effective_ids=True):  # the temp of another user
                raise
            closed = why_closed(directory)
            what = f"cannot be written: {directory}: {closed.problem}"
            raise Refused(self._problem(what, closed.advice)) from None

    def _refuse_odd(self, fd: int, temp: str) -> None:
        """Only what we made ourselves, and nobody else works on."""
        place = os.path.join(os.path.dirname(self._path), temp)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(Problem(subject=place, problem="another run writes it right now", kind=HELD)) from None
        own, there = os.fstat(fd), None
        with contextlib.suppress(FileNotFoundError):
            there = os.stat(temp, dir_fd=self._directory, follow_symlinks=False)
        if there is None or (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino):
            raise Busy(Problem(subject=place, problem="another run has just written it", kind=HELD))
        if not stat.S_ISREG(own.st_mode) or own.st_nlink > 1 or own.st_uid != os.geteuid():
            what = "not a file of ours with one name only"
            raise Refused(Problem(subject=place, problem=what, advice="look at it, then remove it"))

    def _problem(self, what: str, advice: str) -> Problem:
        return Problem(subject=self._path, problem=what, advice=advice)


def _is_written(fd: int) -> bool:
    from logrotor.disk import writers

    return isinstance(writers.prove(fd, ""), Written)


def publish(path: str, data: bytes, mode: int, mark: Mark | None = None) -> None:
    """Write ``data`` to ``path``. Without a ``mark`` the folder is ours alone, and whatever lies there is replaced.

    Raises Busy, Refused, InsecureDirectory or OSError.
    """
    with Output(path, mark) as output:
        output.write(data, mode)


def refuse_other(path: str, mark: Mark) -> None:
    """Raise Refused or InsecureDirectory where a file of this kind must not be written at ``path``, or OSError."""
    Output(path, mark).close()


def _opened(path: str) -> int:
    directory = os.path.dirname(path)
    mounts.refuse_silent(os.path.abspath(directory))
    try:
        return walk.open_to_write(directory)
    except FileNotFoundError:
        what, advice = f"cannot be written: {directory} does not exist", "create it, or name another"
        raise Refused(Problem(subject=path, problem=what, advice=advice)) from None


def create(files: Sequence[tuple[str, bytes, int]], *, replace: bool) -> None:
    """Write new files, each with its mode, in this order; none of them unless all may be written.

    What is at a name is not replaced without ``replace``, unless it is empty. Raises as :func:`publish` does.
    """
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(Output(path, None if replace else NOTHING)) for path, _, _ in files]
        for output, (_, data, mode) in zip(outputs, files, strict=True):
            output.write(data, mode)
