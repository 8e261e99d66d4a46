"""The phases after the take: prove that nobody writes, retire, compress, run hooks."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from logrotor.act import hook, retire
from logrotor.act.compress import open_plain
from logrotor.act.compressing import Compressing
from logrotor.act.endings import ArchiveStep, note_done, note_failure
from logrotor.act.guard import Guard
from logrotor.decide import proof
from logrotor.disk import writers
from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.disk.memory import Memory
from logrotor.disk.snapshot import file_system
from logrotor.errors import Busy, LogrotorError, Stale
from logrotor.model import (
    Codec,
    Compress,
    Entry,
    FileId,
    LogPlan,
    Nobody,
    Remove,
    RunHook,
    Writers,
    Written,
)

if TYPE_CHECKING:
    from logrotor.act.executor import Executor

_UNASKED = "the reopen request failed, so its writer may still have it"


class Archives:
    """Works for one executor; ``asked``: the logs whose target has just been asked to reopen them."""

    def __init__(self, dirs: Directories, memory: Memory, executor: Executor, asked: set[str]) -> None:
        self.dirs, self.memory, self.executor, self.asked = dirs, memory, executor, asked
        self._delivered = memory.recall()
        self._processes: writers.Processes | None = None
        self._kinds: dict[int, str] = {}  # of file systems, by device

    # ------------------------------------------------------------ proof

    def await_writers(self, logs: Iterable[LogPlan], patience: float) -> None:
        """Give the processes that were asked a moment to let go; what they still hold then is deferred."""
        waiting: list[Compress | Remove] = []
        for log in logs:
            waiting += [step for step in log.compress if step.plain]
            waiting += [step for step in log.retire if step.plain]
        deadline, pause = time.monotonic() + patience, 0.002
        while waiting and not self.executor.stop():
            waiting = [step for step in waiting if isinstance(self._proof(step.directory, step.name, step.id), Written)]
            if not waiting or time.monotonic() > deadline:
                return
            time.sleep(pause)
            pause = min(pause * 2, 0.1)

    def _proof(self, directory: str, name: str, file: FileId) -> Writers | None:
        with self.dirs.use(directory) as logdir:
            try:
                fd = logdir.open_file(name, file)
            except (LogrotorError, OSError):
                return None
            try:
                return writers.prove(fd, self._kind_of(logdir))
            finally:
                os.close(fd)

    def _kind_of(self, logdir: LogDir) -> str:
        kind = self._kinds.get(logdir.id.device)
        if kind is None:
            kind = self._kinds[logdir.id.device] = file_system(logdir.fd, logdir.id.device).type
        return kind

    def _permit(self, log: LogPlan, step: ArchiveStep, logdir: LogDir, fd: int) -> None:
        """Raises Busy if this plain archive, open at ``fd``, has to wait."""
        if log.path in self.executor.results.unasked:
            raise Busy(_UNASKED)
        found = writers.prove(fd, self._kind_of(logdir))
        if isinstance(found, Nobody):
            return
        entry = Entry(step.name, os.fstat(fd))
        if isinstance(found, Written) and not found.pids:
            found = self._look_at_processes().writing(entry.id, found.proof)
        delivered = self._delivered.of(log.path).request_delivered
        why_not = proof.why_not(found, entry, delivered, self.executor.clock())
        if why_not is not None:
            raise Busy(why_not)

    def _look_at_processes(self) -> writers.Processes:
        """The lease tells that somebody writes; /proc tells who. One look a run."""
        if self._processes is None:
            self._processes = writers.Processes.look()
        return self._processes

    # ------------------------------------------------------------ retire

    def retire(self, log: LogPlan) -> None:
        for step in log.retire:
            if self.executor.stop() or not self._guarded(log, "remove", step, lambda s=step: self._retire(log, s)):  # type: ignore[misc]
                return

    def _retire(self, log: LogPlan, step: Remove) -> dict[str, Any]:
        with self._proving(log, step, step.id) as check, Guard(self.dirs, log.path):
            retire.retire(self.dirs, step, check)
        self.memory.forget_hooks(log.path, step.id.inode)
        return {"bytes": step.size, "reason": step.reason}

    @contextlib.contextmanager
    def _proving(self, log: LogPlan, step: Remove | RunHook, file: FileId) -> Iterator[Callable[[], None]]:
        """Proves that nobody writes the archive, and gives the last look before it goes. Both raise Busy."""
        if isinstance(step, Remove) and not step.plain:
            yield lambda: None
            return
        with self.dirs.use(step.directory) as logdir:
            fd = open_plain(logdir, step.name, file)
            try:
                self._permit(log, step, logdir, fd)
                yield lambda: self._refuse_changed(step, logdir, fd)
            finally:
                os.close(fd)

    def _refuse_changed(self, step: Remove | RunHook, logdir: LogDir, fd: int) -> None:
        retire.refuse_written(logdir, fd)
        if isinstance(step, Remove) and os.fstat(fd).st_size != step.size:
            raise Stale(f"{step.name}: was written since the plan was made")

    # ------------------------------------------------------------ compress

    def compress(self, logs: Sequence[LogPlan], jobs: int, progress: Callable[[int, int], object] | None) -> None:
        """Smallest first, a few at a time; that nobody writes it is proved for each right before."""
        ready = sorted(((log, step) for log in logs for step in log.compress), key=lambda job: job[1].size)
        told = _Progress(sum(step.size for _, step in ready if step.codec is not Codec.NONE), progress)
        elsewhere = [(log, step) for log, step in ready if step.to_directory != step.directory]
        self.memory.archives_in({(log.path, step.to_directory) for log, step in elsewhere})
        unmade = self._make_archive_dirs({step.to_directory for _, step in elsewhere})
        for log, step in elsewhere:
            if step.to_directory in unmade:
                note_failure(self.executor, log, "compress", step, unmade[step.to_directory])
        ready = [job for job in ready if job[1].to_directory not in unmade]
        for log, step in Compressing(self.dirs, self.executor, jobs, told.add, self._permit).carry_out(ready):
            self._keep_hooked(log, step)

    def _no_time(self) -> bool:
        return self.executor.stop() or self.executor.deadline.passed()

    def _make_archive_dirs(self, directories: Iterable[str]) -> dict[str, Exception]:
        """Those that cannot be made, and why."""
        failed: dict[str, Exception] = {}
        for directory in directories:
            try:
                self.dirs.make(directory)
            except LogrotorError as error:
                failed[directory] = error
            except OSError as error:  # it names the last component alone
                failed[directory] = OSError(error.errno, f"archive_dir cannot be made: {error.strerror}", directory)
        return failed

    def _keep_hooked(self, log: LogPlan, step: Compress) -> None:
        """What on_archive has had is not handed to it again because a changed setting made a new file of it."""
        hooked = self._delivered.of(log.path).hooked
        if not hooked:
            return
        entry = None
        with contextlib.suppress(LogrotorError, OSError), self.dirs.use(step.to_directory) as logdir:
            entry = logdir.stat(step.to_name)
        if entry is None or entry.id.inode == step.id.inode:
            return
        if (step.id.inode, entry.stat.st_mtime_ns) in hooked:
            self.memory.hooked(log.path, entry.id.inode, entry.stat.st_mtime_ns)
            self.memory.forget_hooks(log.path, step.id.inode)

    # ------------------------------------------------------------ hooks

    def run_hooks(self, log: LogPlan) -> None:
        for step in log.hooks:
            self._guarded(log, "hook", step, lambda s=step: self._hook(log, s))  # type: ignore[misc]

    def _hook(self, log: LogPlan, step: RunHook) -> dict[str, Any]:
        with self.dirs.use(step.directory) as logdir:
            entry = logdir.stat(step.name)
        if entry is None or (step.id is not None and entry.id != step.id):
            return {"skipped": "not there in its final form yet"}
        with self._proving(log, step, entry.id):
            pass
        hook.run_hook(step, log.path, log.rule, stop=self._no_time)
        self.memory.hooked(log.path, entry.id.inode, entry.stat.st_mtime_ns)
        return {}

    # ------------------------------------------------------------ how a step ends

    def _guarded(self, log: LogPlan, action: str, step: ArchiveStep, work: Callable[[], dict[str, Any]]) -> bool:
        """False: nothing more is done to this log's archives."""
        began = time.monotonic()
        try:
            details = {**work(), "seconds": round(time.monotonic() - began, 3)}
        except Exception as error:
            return note_failure(self.executor, log, action, step, error)
        note_done(self.executor, log, action, step, details)
        return True


class _Progress:
    """Adds up what several threads have read."""

    def __init__(self, total: int, tell: Callable[[int, int], object] | None) -> None:
        self._done, self._total, self._tell = 0, total, tell
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        if self._tell is None:
            return
        with self._lock:
            self._done += count
            self._tell(self._done, self._total)
