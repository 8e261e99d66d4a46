"""Compress the archives of a run: small ones in batches, large ones a few at a time, each with several threads.

Where the caller lets us fork, very many small ones are divided among processes: in one, Python uses one processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING

from logrotor.act import sharing
from logrotor.act.batches import Batches, Permit
from logrotor.act.sharing import Helper, Job, Stop, Tell
from logrotor.disk.directories import Directories
from logrotor.model import Status

if TYPE_CHECKING:
    from logrotor.act.executor import Executor

_SMALL = 1 << 20  # bytes
_SHARE = 128  # small archives that are worth a process of their own
_MOST_THREADS = 4  # of zstd for one archive: a run has 71 MiB resident then, and one thread verifies as much


class Compressing:
    """Works for one executor. ``jobs``: how many archives are compressed at a time; ``permit`` may say Busy to one."""

    def __init__(
        self, dirs: Directories, executor: Executor, jobs: int, progress: Callable[[int], None], permit: Permit
    ) -> None:
        self._dirs, self._executor, self._jobs, self._progress, self._permit = dirs, executor, jobs, progress, permit
        self._batches = Batches(dirs, executor, progress, permit)

    def carry_out(self, ready: Sequence[Job]) -> list[Job]:
        """Returns those that were carried out."""
        small = [job for job in ready if job[1].size < _SMALL]
        large = [job for job in ready if job[1].size >= _SMALL]
        try:
            return [*self._carry_out_small(small), *self._carry_out_large(large)]
        finally:
            self._batches.close()

    def _carry_out_large(self, jobs: Sequence[Job]) -> list[Job]:
        at_once = min(self._jobs, len(jobs))
        if at_once <= 1:
            return [job for each in jobs for job in self._one(each, self._jobs)]
        with ThreadPoolExecutor(at_once, thread_name_prefix="logrotor") as pool:
            return [job for done in pool.map(lambda job: self._one(job, self._jobs // at_once), jobs) for job in done]

    def _one(self, job: Job, share: int) -> list[Job]:
        """In any thread. ``share``: how many of the jobs it counts for."""
        return self._batches.one(job, min(share, sharing.processors(), _MOST_THREADS))

    def _carry_out_small(self, jobs: Sequence[Job]) -> list[Job]:
        fork = self._executor.fork
        processes = min(self._jobs, sharing.processors(), len(jobs) // _SHARE) if fork is not None else 1
        shares = sharing.divided(jobs, max(1, processes))
        done = sharing.carry_out(shares, fork, self._here, self._help, self._results_of)
        return list(chain(*done))

    def _here(self, jobs: Sequence[Job]) -> list[Job]:
        return list(chain(*self._in_turn(jobs)))

    def _in_turn(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        alone = self._jobs <= 1 or len(jobs) <= 1
        return self._batches.one_by_one(jobs) if alone else self._batches.in_turn(jobs)

    # ------------------------------------------------------------ helpers

    def _help(self, share: Sequence[Job], stop: Stop, tell: Tell) -> None:
        """In the helper."""
        with self._executor.helping(stop):
            batches = Batches(self._dirs, self._executor, lambda _: None, self._permit)
            for done in batches.in_turn(share):
                tell((*self._executor.hand_over(), [(log.path, step.name) for log, step in done]))
        tell((*self._executor.hand_over(), []))

    def _results_of(self, helper: Helper, share: Sequence[Job]) -> list[Job]:
        told, failure = helper.finish(self._executor.stop)
        done: set[tuple[str, str]] = set()
        known: set[tuple[str, str]] = set()
        for results, leftovers, carried_out in told:
            self._executor.take_over(results, leftovers)
            done.update(carried_out)
            known.update((outcome.log, outcome.name) for outcome in results.outcomes)
        if failure is not None:
            self._note_unknown(share, known, failure)
        self._progress(sum(step.size for _, step in share))
        return [(log, step) for log, step in share if (log.path, step.name) in done]

    def _note_unknown(self, share: Sequence[Job], known: set[tuple[str, str]], failure: str) -> None:
        """Whatever the helper did not tell of: nothing is lost, as after every crash."""
        for log, step in share:
            if (log.path, step.name) not in known and log.path not in self._executor.results.stale:
                self._executor.results.broken.add(log.path)
                reason = f"the helper process that compresses it {failure}; the next run goes on"
                self._executor.note(log, "compress", Status.FAILED, step.name, reason=reason)
