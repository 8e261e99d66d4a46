"""Compress archives in batches that share the waits for the disk.

Thousands of small archives wait for little but fsync. So three batches are under way: one is compressed, the bytes of
the one before and the names of the one before that are on their way to the disk, together. Each archive by itself goes
through the stages of :class:`~logrotor.act.compress.Rewriting`, in their order.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from logrotor.act.compress import Rewriting
from logrotor.act.endings import note_done, note_failure
from logrotor.act.guard import Guard
from logrotor.act.sharing import Job
from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.model import Compress, LogPlan, Status

if TYPE_CHECKING:
    from logrotor.act.executor import Executor

Permit = Callable[[LogPlan, Compress, LogDir, int], None]
_BATCH = 64  # archives, each with at most three open files, and three batches at a time
_FILES = 16  # that must be allowed to be open for each archive of a batch


class _Work(Struct, eq=False):
    """One archive under way."""

    log: LogPlan
    step: Compress
    rewriting: Rewriting
    waited_for: Future[None] | None = None  # by its whole batch
    failure: Exception | None = None  # of that wait
    seconds: float = 0.0  # without the waits that it shares

    def check(self) -> None:
        """Did the wait go well? Raises its failure."""
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        if self.waited_for is not None:
            wait([self.waited_for])
        self.rewriting.close()


class Batches:
    """Works for one executor. What is left open, after Ctrl-C say, :meth:`close` lets go."""

    def __init__(self, dirs: Directories, executor: Executor, progress: Callable[[int], None], permit: Permit) -> None:
        self._dirs, self._executor, self._progress, self._permit = dirs, executor, progress, permit
        self._open: set[_Work] = set()
        self._ended: list[_Work] = []
        self._handing = threading.Lock()  # each that has ended goes to one thread

    def close(self) -> None:
        for work in list(self._open):
            self._close(work)
        _let_go(self._take_ended())

    def one(self, job: Job, threads: int = 1) -> list[Job]:
        """Compress one archive, in any thread; returns it if it was carried out."""
        return self._one_by_one([job], threads)

    def one_by_one(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Batch after batch in this thread alone, what was carried out."""
        return (self._one_by_one(batch) for batch in _divided(jobs))

    def in_turn(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Batch after batch, what was carried out, waiting for the disk in a thread.

        turn | here                             | in the thread
        n    | compress and verify batch n      | sync the bytes of n-1, then the names of n-2
             | wait for the thread              |
             | publish n-1                      |
             | remove the originals of n-2      | from here to the next wait: bytes of n, names of n-1

        So in three turns a batch is made, gets its names once its bytes are durable, and loses its originals once its
        names are.
        """
        written: list[_Work] = []
        named: list[_Work] = []
        durable: Future[None] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="logrotor-sync") as pool:
            for batch in _divided(jobs):
                begun = self._begin(batch)
                if durable is not None:
                    durable.result()
                before, named = self._stage(named, _Work.check), self._publish(self._stage(written, _Work.check))
                made, written = _separated(begun)
                durable = pool.submit(_make_durable, written, named, self._take_ended())
                for work in (*written, *named):
                    work.waited_for = durable
                yield self._remove(made, before)

    def _one_by_one(self, batch: Sequence[Job], threads: int = 1) -> list[Job]:
        made, written = _separated(self._begin(batch, threads))
        named = self._publish(self._stage(written, lambda work: work.rewriting.sync()))
        done = self._remove(made, self._stage(named, _once_a_directory()))
        _let_go(self._take_ended())
        return done

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
            guard, permit = partial(Guard, self._dirs, log.path), partial(self._permit, log, step)
            work = _Work(log, step, Rewriting(self._dirs, step, guard, permit))
            self._open.add(work)
            if self._try(work, lambda w: w.rewriting.fill(self._no_time, self._progress, threads)):
                begun.append(work)
        return begun

    def _publish(self, works: list[_Work]) -> list[_Work]:
        return self._stage(works, lambda work: work.rewriting.publish())

    def _remove(self, made: list[_Work], works: list[_Work]) -> list[Job]:
        """Remove the originals; returns what was carried out, ``made`` included: a new name was enough for those."""
        works = [*made, *self._stage(works, lambda work: work.rewriting.remove())]
        for work in works:
            self._close(work)
            note_done(self._executor, work.log, "compress", work.step, _details(work))
        return [(work.log, work.step) for work in works]

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
        with self._handing:
            self._ended.append(work)

    def _take_ended(self) -> list[_Work]:
        with self._handing:
            ended, self._ended = self._ended, []
        return ended

    def _no_time(self) -> bool:
        return self._executor.stop() or self._executor.deadline.passed()


def _divided(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """A few archives at a time. Those of one log are never under way together: whoever removes one locks out the other.

    So all logs have their turn before one has its second, and two empty batches let the last ones come to their end.
    """
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    size = _BATCH if soft == resource.RLIM_INFINITY else max(1, min(_BATCH, soft // _FILES))
    rounds: list[list[Job]] = []
    turns: Counter[str] = Counter()
    for job in jobs:
        path = job[0].path
        if turns[path] == len(rounds):
            rounds.append([])
        rounds[turns[path]].append(job)
        turns[path] += 1
    for turn in rounds:
        yield from (turn[at : at + size] for at in range(0, len(turn), size))
        yield from ([], [])


def _separated(works: list[_Work]) -> tuple[list[_Work], list[_Work]]:
    """Those for which a new name was enough, and the others."""
    made = [work for work in works if work.rewriting.made is not None]
    return made, [work for work in works if work.rewriting.made is None]


def _make_durable(written: Sequence[_Work], named: Sequence[_Work], ended: Sequence[_Work]) -> None:
    """All bytes are on their way before the first are waited for, so few waits serve them all, and the names too.

    Meanwhile the blocks of removed originals are freed; where each is discarded at once, that is a wait as well.
    """
    for work in written:
        work.rewriting.start_sync()
    _let_go(ended)
    settle = _once_a_directory()
    for works, wait_for in ((written, lambda work: work.rewriting.sync()), (named, settle)):
        for work in works:
            try:
                wait_for(work)
            except Exception as error:
                work.failure = error


def _let_go(works: Sequence[_Work]) -> None:
    for work in works:
        work.rewriting.let_go()


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
