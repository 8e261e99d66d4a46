"""Compress the archives of a run: small ones in batches that share the waits for the disk, large ones a few at a time.

Thousands of small archives wait for little but fsync: those of a batch wait at the same time, while the next batch is
compressed, and their directory is synced once for all of them. Each archive by itself goes through the stages of
:class:`~logrotor.act.compress.Rewriting`, in their order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from logrotor.act.compress import Rewriting
from logrotor.act.endings import note_done, note_failure
from logrotor.act.guard import guarded
from logrotor.disk.directories import Directories
from logrotor.model import Compress, LogPlan, Status

if TYPE_CHECKING:
    from logrotor.act.executor import Executor

Job = tuple[LogPlan, Compress]

_SMALL = 1 << 20  # bytes
_BATCH = 32  # archives, each with three open files
_WAITING = 16  # fsyncs at a time: one commit of the journal serves them all
_MOST_THREADS = 2  # of zstd for one archive: with two of them a run has 95 MiB resident


class _Work(Struct):
    """One archive under way."""

    log: LogPlan
    step: Compress
    rewriting: Rewriting
    synced: Future[None] | None = None
    seconds: float = 0.0  # without the waits that it shares

    def sync(self) -> None:
        if self.synced is None:
            self.rewriting.sync()
        else:
            self.synced.result()

    def close(self) -> None:
        if self.synced is not None:
            wait([self.synced])
        self.rewriting.close()


class Compressing:
    """Works for one executor; ``jobs``: how many archives are compressed at a time."""

    def __init__(self, dirs: Directories, executor: Executor, jobs: int, progress: Callable[[int], None]) -> None:
        self._dirs, self._executor, self._jobs, self._progress = dirs, executor, jobs, progress
        self._open: list[_Work] = []

    def carry_out(self, ready: Sequence[Job]) -> list[Job]:
        """Returns those that were carried out."""
        small = [job for job in ready if job[1].size < _SMALL]
        large = [job for job in ready if job[1].size >= _SMALL]
        try:
            return [*self._carry_out_small(small), *self._carry_out_large(large)]
        finally:  # after Ctrl-C, say
            for work in list(self._open):
                self._close(work)

    def _carry_out_small(self, jobs: Sequence[Job]) -> list[Job]:
        if self._jobs <= 1 or len(jobs) <= 1:
            return [job for batch in _batches(jobs) for job in self._finish(self._begin(batch))]
        done: list[Job] = []
        before: list[_Work] = []
        with ThreadPoolExecutor(_WAITING, thread_name_prefix="logrotor") as pool:
            for batch in _batches(jobs):
                begun = self._begin(batch)
                for work in begun:
                    work.synced = pool.submit(work.rewriting.sync)
                done += self._finish(before)
                before = begun
            return done + self._finish(before)

    def _carry_out_large(self, jobs: Sequence[Job]) -> list[Job]:
        at_once = min(self._jobs, len(jobs))
        if at_once <= 1:
            return [job for each in jobs for job in self._one(each, self._jobs)]
        with ThreadPoolExecutor(at_once, thread_name_prefix="logrotor") as pool:
            return [job for done in pool.map(lambda job: self._one(job, self._jobs // at_once), jobs) for job in done]

    def _one(self, job: Job, share: int) -> list[Job]:
        """In any thread. ``share``: how many of the jobs it counts for."""
        return self._finish(self._begin([job], min(share, len(os.sched_getaffinity(0)), _MOST_THREADS)))

    # ------------------------------------------------------------ stages

    def _begin(self, batch: Sequence[Job], threads: int = 1) -> list[_Work]:
        """Compress and verify."""
        begun = []
        for log, step in batch:
            if self._executor.stop():
                break
            late = self._executor.deadline.why_not(step.size)
            if late is not None:
                self._executor.note(log, "compress", Status.DEFERRED, step.name, reason=late)
                continue
            work = _Work(log, step, Rewriting(self._dirs, step, lambda log=log: guarded(self._dirs, log.path)))  # type: ignore[misc]
            self._open.append(work)
            if self._try(work, lambda w: w.rewriting.fill(self._no_time, self._progress, threads)):
                begun.append(work)
        return begun

    def _finish(self, works: list[_Work]) -> list[Job]:
        """Make durable, publish, and remove the originals; returns what was carried out."""
        made = [work for work in works if work.rewriting.made is not None]
        works = [work for work in works if work.rewriting.made is None]
        works = self._stage(works, _Work.sync)
        works = self._stage(works, lambda work: work.rewriting.publish())
        works = self._stage(works, _once_a_directory())
        works = self._stage(works, lambda work: work.rewriting.remove())
        for work in (*made, *works):
            self._close(work)
            note_done(self._executor, work.log, "compress", work.step, _details(work))
        return [(work.log, work.step) for work in (*made, *works)]

    def _stage(self, works: list[_Work], do: Callable[[_Work], None]) -> list[_Work]:
        return [work for work in works if self._try(work, do)]

    def _try(self, work: _Work, do: Callable[[_Work], None]) -> bool:
        began = time.monotonic()
        try:
            do(work)
        except Exception as error:
            self._close(work)
            note_failure(self._executor, work.log, "compress", work.step, error)
            return False
        work.seconds += time.monotonic() - began
        return True

    def _close(self, work: _Work) -> None:
        self._open.remove(work)
        work.close()

    def _no_time(self) -> bool:
        return self._executor.stop() or self._executor.deadline.passed()


def _batches(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """A few archives at a time, all of different logs: whoever removes the one original would lock out the other."""
    batch: dict[str, Job] = {}
    for log, step in jobs:
        if len(batch) == _BATCH or log.path in batch:
            yield list(batch.values())
            batch = {}
        batch[log.path] = log, step
    if batch:
        yield list(batch.values())


def _once_a_directory() -> Callable[[_Work], None]:
    settled: dict[str, Exception | None] = {}

    def settle(work: _Work) -> None:
        where = work.step.to_directory
        if where not in settled:
            settled[where] = OSError()  # as long as it is not known
            try:
                work.rewriting.settle()
            except Exception as error:
                settled[where] = error
                raise
            settled[where] = None
        failed = settled[where]
        if failed is not None:
            raise failed

    return settle


def _details(work: _Work) -> dict[str, Any]:
    step, made = work.step, work.rewriting.made
    assert made is not None
    return {
        "to": os.path.join(step.to_directory, step.to_name), "bytes": made.taken, "bytes_out": made.size,
        "source": step.id.inode, "inode": made.inode, "mtime_ns": made.mtime_ns, "lines": made.lines,
        "seconds": round(work.seconds, 3),
    }  # fmt: skip
