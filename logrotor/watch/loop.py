"""The loop of a watch. At most two runs are at work: one that takes what is due, and one that does all the rest.

A log that is due by its size is taken by a run of its own in the first thread, which leaves the archives alone and so
ends in a moment. Retention, compression, hooks and schedules are the business of whole runs in the second thread. Both
want the one lock of the state directory: while the first waits for it, the second puts off what would take long.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from logrotor.decide.looks import LONGEST, MOST, next_try
from logrotor.errors import Busy, Interrupted, Locked, UnknownSelection
from logrotor.model import Config, Plan, Report, Status
from logrotor.watch.pauses import Retries, Slots
from logrotor.watch.sight import Sight
from logrotor.watch.turn import Turn

_SHARE = 1000  # whole runs come after so many times their own processor time: 0.1 % of one CPU
_RARELY = 300.0  # seconds, but no later than that
_SOON = 20  # the same for a survey where a directory is new: 5 %
_PRESSES = 3  # times in a row that an archive is put off for other logs; then they wait until it is done


class Wish(enum.Enum):
    """What whoever started the watch wants of it now."""

    GO_ON = enum.auto()
    LOOK = enum.auto()  # at everything, at once
    LEAVE = enum.auto()  # end between two runs


class Stopper(Protocol):
    """As :class:`threading.Event`."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class Runner(Protocol):
    """Plans and runs, as a rotator does."""

    def plan(self, stop: Callable[[], bool]) -> Plan: ...

    def run(self, turn: Turn) -> Report: ...


class Rotates(Protocol):
    """As a rotator."""

    def plan(self) -> Plan: ...

    def run(self, *, only: Sequence[str]) -> Report: ...


class Turns:
    """Each turn by a rotator that is made for it."""

    def __init__(self, make: Callable[[Turn], Rotates]) -> None:
        self._make = make

    def plan(self, stop: Callable[[], bool]) -> Plan:
        return self._make(Turn(stop=stop)).plan()

    def run(self, turn: Turn) -> Report:
        return self._make(turn).run(only=turn.only)


class Standing(Struct, frozen=True):
    """How a watch stands: the logs that it knows, those that it has taken, and what failed in the last whole run."""

    logs: int = 0
    taken: int = 0
    failed: int = 0


class Outside:
    """What a watch tells whoever started it, and asks of it."""

    def beat(self, standing: Standing) -> Wish:
        """Called at least each second as long as all is well, by the thread of the watch; it must not wait."""
        return Wish.GO_ON

    def ended(self, report: Report, *, whole: bool) -> None:
        """A run has ended. Called by the thread that had it, which may be a second one."""

    def failed(self, error: Exception) -> None:
        """A run could not take place; it is tried again. Called as ``ended``."""


class Watch:
    """``clock``: epoch seconds; ``now``: the same moment in the zone of the schedules, which takes longer to tell."""

    def __init__(
        self,
        config: Config,
        runner: Runner,
        outside: Outside,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._runner, self._outside = runner, outside
        self._sight, self._slots = Sight(config), Slots(config, clock, now)
        self._archives = Retries()  # logs whose archives wait for more than the next whole run
        self._taken, self._failed = 0, 0
        self._wish = Wish.GO_ON
        self._survey_at, self._survey_costs = 0.0, 0.0
        self._whole_at, self._whole_costs = 0.0, 0.0
        self._whole_wanted = False  # at once: a slot has come, or somebody has asked for it
        self._failures = 0  # of whole runs, in a row
        self._work: Future[Report] | None = None
        self._working_on: tuple[str, ...] = ()
        self._hurry = False  # the first thread wants the lock
        self._was_hurried, self._may_hurry = False, True
        self._hurried: dict[str, int] = {}  # logs -> how often in a row their archives were put off for others

    def serve(self, stop: Stopper) -> None:
        """Until ``stop`` is set, or it is told to leave. What is at work then ends as any run that is stopped."""
        self._stop = stop
        with ThreadPoolExecutor(1, thread_name_prefix="logrotor-watch") as self._second:
            while not stop.is_set():
                self._turn()
                if self._wish is Wish.LEAVE and self._work is None:
                    return
                stop.wait(max(0.0, min(self._until() - time.monotonic(), MOST)))

    def _until(self) -> float:
        wanted = [self._sight.next(), self._survey_at]
        if self._work is None:
            wanted += [self._whole_at, self._archives.next()]
        return min(wanted)

    def _turn(self) -> None:
        at_once, now = self._beat(), time.monotonic()
        if at_once or self._slots.has_come():
            self._whole_wanted = True
        self._end_work(now)
        if self._sight.has_new_places(now) or at_once:
            self._survey_at = min(self._survey_at, now + (0.0 if at_once else _SOON * self._survey_costs))
        if now >= self._survey_at:
            self._survey(now)
        due = self._sight.due(now, all_of_them=at_once)
        if due:
            self._take(due)
        if self._work is None and self._wish is not Wish.LEAVE:
            self._begin_work(time.monotonic())

    def _beat(self) -> bool:
        """Whether everything is to be looked at, at once."""
        standing = Standing(len(self._sight.logs), self._taken, self._failed)
        wish = self._outside.beat(standing)
        if wish is Wish.LEAVE:
            self._wish = wish
        return wish is Wish.LOOK

    def _is_stopped(self) -> bool:
        """Asked in the midst of what takes long; whoever asks is alive. A wish to look at once is for later."""
        if self._beat():
            self._survey_at, self._whole_wanted = 0.0, True
        return self._stop.is_set()

    def _tell(self, error: Exception) -> None:
        if not (isinstance(error, Interrupted) and self._stop.is_set()):
            self._outside.failed(error)

    # ------------------------------------------------------------ what there is

    def _survey(self, now: float) -> None:
        began = time.thread_time()
        try:
            plan = self._runner.plan(self._is_stopped)
        except Exception as error:
            self._failures += 1
            self._survey_at = now + next_try(self._failures)
            self._tell(error)
            return
        self._survey_costs, self._survey_at = time.thread_time() - began, float("inf")
        self._sight.renew(plan, now)

    # ------------------------------------------------------------ takes

    def _take(self, due: list[str]) -> None:
        self._hurry = True
        try:
            report = self._told(Turn(only=tuple(due), takes_only=True, stop=self._is_stopped))
        except UnknownSelection:
            self._forget(due)
            return
        except (Busy, Locked):  # it is free again soon, and no log has failed
            self._sight.look_again(due, time.monotonic() + MOST)
            return
        except Exception:
            self._sight.put_off(due, time.monotonic())
            return
        finally:
            self._hurry = False
        now, taken = time.monotonic(), _taken(report)
        self._note_taken(taken, now)
        waiting = {o.log for o in report.outcomes if o.status is Status.DEFERRED}  # a hook, say, has the log's turn
        self._sight.look_again(waiting - taken, now + MOST)
        self._sight.put_off([path for path in due if path not in taken | waiting], now)

    def _note_taken(self, paths: Iterable[str], now: float) -> None:
        for path in paths:
            self._taken += 1
            self._sight.taken(path, now)
            self._archives.begin(path, now)

    def _forget(self, paths: Collection[str]) -> None:
        """One of them has gone, or is no log; a survey tells which of them is there."""
        self._sight.forget(paths)
        self._archives.forget(paths)
        self._survey_at = min(self._survey_at, time.monotonic() + _SOON * self._survey_costs)

    # ------------------------------------------------------------ all the rest

    def _begin_work(self, now: float) -> None:
        is_whole, ready = self._whole_wanted or now >= self._whole_at, self._archives.ready(now)
        if not (is_whole or ready):
            return
        self._working_on, self._was_hurried = () if is_whole else ready, False
        self._may_hurry = max(self._hurried.values(), default=0) < _PRESSES
        self._whole_wanted = self._whole_wanted and not is_whole
        turn = Turn(
            only=self._working_on,
            resting=self._sight.resting(now),
            stop=self._stop.is_set,
            pressed=self._is_pressed,
        )
        self._work = self._second.submit(self._timed, turn)

    def _timed(self, turn: Turn) -> Report:
        began = time.thread_time()
        try:
            return self._told(turn)
        finally:
            if not turn.only:
                self._whole_costs = time.thread_time() - began

    def _told(self, turn: Turn) -> Report:
        try:
            report = self._runner.run(turn)
        except UnknownSelection:  # a log that has gone is nobody's mistake
            raise
        except Exception as error:
            self._tell(error)
            raise
        self._outside.ended(report, whole=not turn.only)
        return report

    def _is_pressed(self) -> bool:
        """Asked by the second thread: whether it is to let go of the lock as soon as it can."""
        hurry = self._hurry or self._whole_wanted or self._wish is Wish.LEAVE
        self._was_hurried |= hurry and self._may_hurry
        return self._was_hurried

    def _end_work(self, now: float) -> None:
        """See what has come of what the second thread was at, once it has ended."""
        if self._work is None or not self._work.done():
            return
        work, only, self._work = self._work, self._working_on, None
        try:
            report = work.result()
        except UnknownSelection:
            self._forget(only)
        except Exception as error:
            self._failures += not isinstance(error, (Busy, Locked))
            if only:
                self._archives.again(only, now)
            else:
                self._whole_at = now + next_try(self._failures)
        else:
            self._failures = 0
            self._judge(report, only, now)

    def _judge(self, report: Report, only: tuple[str, ...], now: float) -> None:
        self._note_taken(_taken(report), now)
        waiting = {o.log for o in report.outcomes if o.status is Status.DEFERRED}
        late = {log.path for log in report.plan.logs if log.compress} & waiting if self._was_hurried else set()
        self._hurried = {path: self._hurried.get(path, 0) + 1 for path in late}
        if not only and not report.interrupted:
            self._sight.renew(report.plan, now)
            self._failed = len(report.failed) + len(report.problems)
            self._whole_at = now + min(_RARELY, max(LONGEST, _SHARE * self._whole_costs))
        if self._was_hurried:  # what was put off for others is tried at once
            self._archives.begin_all(waiting, now)
        else:
            self._archives.again([path for path in only if path in waiting], now)
        self._archives.forget([path for path in only if path not in waiting])


def _taken(report: Report) -> set[str]:
    done = (o for o in report.outcomes if o.action in ("take", "copytruncate") and o.status is Status.DONE)
    return {o.log for o in done}
