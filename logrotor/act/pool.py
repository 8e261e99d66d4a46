"""How many at once: jobs are divided among processes, archives among threads and into batches.

Thousands of small archives wait for little but fsync. So three batches are under way: one is compressed, the bytes of
the one before and the names of the one before that are on their way to the disk, together. Each archive by itself goes
through the stages of :class:`~logrotor.act.form.Form`, in their order. Large ones are few at a time, each with several
threads. In one process Python uses one processor: where the caller lets us fork, helpers do a share of what is plenty.
"""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from logrotor.act.context import Context, Helper, Job, Stop, Tell
from logrotor.act.form import Form
from logrotor.act.ledger import Ended, dump, load, name_of, room
from logrotor.act.step import done, failed, leftovers, put_off
from logrotor.disk.calls import processors
from logrotor.errors import LogrotorError
from logrotor.model import Codec, Compress, LogPlan

Packing = tuple[LogPlan, Compress]
Work = Callable[[Context, Sequence[Job]], Iterator[Ended]]

_SMALL = 1 << 20  # bytes
_SHARE = 128  # small archives that are worth a process of their own
_MOST_THREADS = 4  # of zstd for one archive: a run has 71 MiB resident then, and one thread verifies as much
_BATCH = 64  # archives, each with at most three open files, and three batches at a time
_FILES = 16  # that must be allowed to be open for each archive of a batch
_AT_ONCE = 64  # steps that a helper tells of together


# ---------------------------------------------------------------- processes


def spread(context: Context, jobs: Sequence[Job], work: Work, *, least: int) -> Generator[Ended, None, None]:
    """Carry out jobs by ``work``; where each process would have ``least`` of them, in several."""
    most = min(context.jobs, processors(), len(jobs) // least) if context.fork is not None else 1
    shares = _shares(jobs, max(1, most))
    fork = context.fork or (lambda _: None)
    helpers = [fork(partial(_help, context, share, work)) for share in shares[1:]]
    try:
        yield from work(context, shares[0])
        for share, helper in zip(shares[1:], helpers, strict=True):
            yield from work(context, share) if helper is None else _told_by(context, helper, share)
    finally:
        for helper in helpers:
            if helper is not None:
                helper.kill()


def _shares(jobs: Sequence[Job], shares: int) -> list[list[Job]]:
    """Of about the same size. All archives of a log are in the same one: it is locked while one is worked on."""
    logs = dict.fromkeys(log.path for log, _ in jobs)
    share_of = {path: number * shares // len(logs) for number, path in enumerate(logs)}
    divided: list[list[Job]] = [[] for _ in range(shares)]
    for job in jobs:
        divided[share_of[job[0].path]].append(job)
    return divided


def _help(context: Context, share: Sequence[Job], work: Work, stop: Stop, tell: Tell) -> None:
    """In the helper. It tells how its steps ended, a few at a time: what it did before it is killed counts."""
    context.dirs.begin_anew()
    alone = replace(context, stop=stop, progress=None, fork=None)
    with context.dirs:
        endings = work(alone, share)
        while some := list(islice(endings, _AT_ONCE)):
            tell(dump(some))
    tell(dump(leftovers(context, [log for log, _ in share])))


def _told_by(context: Context, helper: Helper, share: Sequence[Job]) -> Iterator[Ended]:
    """Whatever the helper did not tell of is unknown: nothing is lost, as after every crash."""
    lines, failure = helper.finish(context.stop, room(len(share)))
    steps = [(log.path, step) for log, step in share]
    known: set[tuple[str, str]] = set()
    for line in lines:
        try:
            for ended in load(line, steps):
                known.add((ended.outcome.log, ended.outcome.name))
                yield ended
        except ValueError as error:
            failure = failure or f"told nonsense: {error}"
    if failure is not None:
        for log, step in share:
            if (log.path, name_of(step)) not in known:
                does = "compresses" if isinstance(step, Compress) else "takes"
                yield failed(
                    log, step, LogrotorError(f"the helper process that {does} it {failure}; the next run goes on")
                )


# ---------------------------------------------------------------- archives


def compress(context: Context, jobs: Sequence[Packing]) -> Generator[Ended, None, None]:
    """Put archives in their final form and place, the smallest first."""
    ready = sorted(jobs, key=lambda job: job[1].size)
    progress = _Progress(context, ready)
    small = [job for job in ready if job[1].size < _SMALL]
    if small:
        yield from spread(context, small, partial(_small, progress), least=_SHARE)
        progress.reach(sum(step.size for _, step in small))  # helpers tell of no progress
    yield from _large(context, [job for job in ready if job[1].size >= _SMALL], progress)


def _small(progress: _Progress, context: Context, jobs: Sequence[Job]) -> Iterator[Ended]:
    packing = cast("Sequence[Packing]", jobs)
    with closing(Belt(context, progress if context.progress is not None else lambda _: None)) as belt:
        if context.jobs <= 1 or len(jobs) <= 1:
            for batch in _batches(packing):
                yield from belt.one_by_one(batch)
        else:
            yield from belt.in_turn(packing)


def _large(context: Context, jobs: Sequence[Packing], progress: _Progress) -> Iterator[Ended]:
    at_once = min(context.jobs, len(jobs))
    if at_once <= 1:
        yield from chain.from_iterable(_one(context, progress, context.jobs, job) for job in jobs)
        return
    with ThreadPoolExecutor(at_once, thread_name_prefix="logrotor") as pool:
        yield from chain.from_iterable(pool.map(partial(_one, context, progress, context.jobs // at_once), jobs))


def _one(context: Context, progress: _Progress, share: int, job: Packing) -> list[Ended]:
    """In any thread. ``share``: how many of the jobs it counts for."""
    with closing(Belt(context, progress, min(share, processors(), _MOST_THREADS))) as belt:
        return belt.one_by_one([job])


class _Progress:
    """Adds up what several threads have read."""

    def __init__(self, context: Context, jobs: Iterable[Packing]) -> None:
        self._tell, self._done = context.progress, 0
        self._total = sum(step.size for _, step in jobs if step.codec is not Codec.NONE)
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        if self._tell is not None:
            with self._lock:
                self._done += count
                self._tell(self._done, self._total)

    def reach(self, count: int) -> None:
        """So many have been read, here or elsewhere."""
        self(max(0, min(count, self._total) - self._done))


# ---------------------------------------------------------------- batches


class _Work(Struct, eq=False):
    """One archive under way."""

    log: LogPlan
    step: Compress
    form: Form
    waited_for: Future[None] | None = None  # by its whole batch
    failure: Exception | None = None  # of that wait
    seconds: float = 0.0  # without the waits that it shares

    def check(self) -> None:
        """Did the wait go well? Raises its failure."""
        if self.failure is not None:
            raise self.failure


class Belt:
    """Archives of one thread under way, in stages. What is left open, after Ctrl-C say, :meth:`close` lets go."""

    def __init__(self, context: Context, progress: Callable[[int], None], threads: int = 1) -> None:
        self._context, self._progress, self._threads = context, progress, threads
        self._open: set[_Work] = set()
        self._closed: list[_Work] = []  # whose originals are still open
        self._endings: list[Ended] = []

    def close(self) -> None:
        for work in list(self._open):
            self._close(work)
        _let_go(self._take_closed())

    def one_by_one(self, batch: Sequence[Packing]) -> list[Ended]:
        """A batch in this thread alone."""
        made, written = _separated(self._begin(batch))
        named = self._stage(self._stage(written, lambda work: work.form.sync()), lambda work: work.form.publish())
        self._remove(made, self._stage(named, _once_a_directory()))
        _let_go(self._take_closed())
        return self._take_endings()

    def in_turn(self, jobs: Sequence[Packing]) -> Iterator[Ended]:
        """Batch after batch, waiting for the disk in a thread.

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
            for batch in _batches(jobs):
                begun = self._begin(batch)
                if durable is not None:
                    durable.result()
                before = self._stage(named, _Work.check)
                named = self._stage(self._stage(written, _Work.check), lambda work: work.form.publish())
                made, written = _separated(begun)
                durable = pool.submit(_make_durable, written, named, self._take_closed())
                for work in (*written, *named):
                    work.waited_for = durable
                self._remove(made, before)
                yield from self._take_endings()

    # ------------------------------------------------------------ stages

    def _begin(self, batch: Sequence[Packing]) -> list[_Work]:
        """Compress and verify."""
        begun = []
        for log, step in batch:
            if self._context.stop():
                break
            late = self._context.deadline.why_not(step.size)
            if late is not None:
                self._endings.append(put_off(log, step, late))
                continue
            work = _Work(log, step, Form(self._context, log, step))
            self._open.add(work)
            if self._try(work, lambda w: w.form.fill(self._progress, self._threads)):
                begun.append(work)
        return begun

    def _remove(self, made: list[_Work], works: list[_Work]) -> None:
        """Remove the originals. Of ``made`` there are none: a new name was enough."""
        for work in [*made, *self._stage(works, lambda work: work.form.remove())]:
            self._close(work)
            self._endings.append(done(work.log, work.step, work.form.made or {}, work.seconds))

    def _stage(self, works: list[_Work], do: Callable[[_Work], None]) -> list[_Work]:
        return [work for work in works if self._try(work, do)]

    def _try(self, work: _Work, do: Callable[[_Work], None]) -> bool:
        began = time.monotonic()
        try:
            do(work)
        except Exception as error:
            self._close(work)
            self._endings.append(failed(work.log, work.step, error))
            return False
        work.seconds += time.monotonic() - began
        return True

    def _close(self, work: _Work) -> None:
        self._open.remove(work)
        if work.waited_for is not None:
            wait([work.waited_for])
        work.form.close()
        self._closed.append(work)

    def _take_closed(self) -> list[_Work]:
        closed, self._closed = self._closed, []
        return closed

    def _take_endings(self) -> list[Ended]:
        endings, self._endings = self._endings, []
        return endings


def _batches(jobs: Sequence[Packing]) -> Iterator[list[Packing]]:
    """A few archives at a time. Those of one log are never under way together: whoever removes one locks out the other.

    So all logs have their turn before one has its second, and two empty batches let the last ones come to their end.
    """
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    size = _BATCH if soft == resource.RLIM_INFINITY else max(1, min(_BATCH, soft // _FILES))
    rounds: list[list[Packing]] = []
    turns: Counter[str] = Counter()
    for job in jobs:
        if turns[job[0].path] == len(rounds):
            rounds.append([])
        rounds[turns[job[0].path]].append(job)
        turns[job[0].path] += 1
    for turn in rounds:
        yield from (turn[at : at + size] for at in range(0, len(turn), size))
        yield from ([], [])


def _separated(works: list[_Work]) -> tuple[list[_Work], list[_Work]]:
    """Those for which a new name was enough, and the others."""
    made = [work for work in works if work.form.made is not None]
    return made, [work for work in works if work.form.made is None]


def _make_durable(written: Sequence[_Work], named: Sequence[_Work], closed: Sequence[_Work]) -> None:
    """All bytes are on their way before the first are waited for, so few waits serve them all, and the names too.

    Meanwhile the blocks of removed originals are freed; where each is discarded at once, that is a wait as well.
    """
    for work in written:
        work.form.start_sync()
    _let_go(closed)
    settle = _once_a_directory()
    for works, wait_for in ((written, lambda work: work.form.sync()), (named, settle)):
        for work in works:
            try:
                wait_for(work)
            except Exception as error:
                work.failure = error


def _let_go(works: Sequence[_Work]) -> None:
    for work in works:
        work.form.let_go()


def _once_a_directory() -> Callable[[_Work], None]:
    settled: dict[str, Exception | None] = {}

    def settle(work: _Work) -> None:
        where = work.step.to_directory
        if where not in settled:
            settled[where] = OSError()  # as long as it is not known
            try:
                work.form.settle()
            except Exception as error:
                settled[where] = error
                raise
            settled[where] = None
        if (failure := settled[where]) is not None:
            raise failure

    return settle
