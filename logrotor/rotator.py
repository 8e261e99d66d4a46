"""``Rotator``: plan a rotation, or carry it out. The library's face, and what the command line and the jobs use.

No global side effects: no logging set-up, no signal handlers, no umask, no change of directory. Everything that
happens is told through the returned values and ``on_event``.
"""

from __future__ import annotations

import copy
import functools
import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from logrotor import events
from logrotor.act.context import Deadline
from logrotor.act.report import Run
from logrotor.clock import local_now
from logrotor.decide.planner import plan_idle_logs, plan_logs
from logrotor.decide.retention import IF_IT_RUNS, next_run
from logrotor.decide.schedule import longest_period
from logrotor.disk import files, state
from logrotor.errors import Interrupted, StoppedLooking
from logrotor.model import Config, LastRun, LogPlan, Manager, Plan, Problem, Report
from logrotor.survey import Survey, Surveyor
from logrotor.survey.asking import plan_asking
from logrotor.watch.turn import Turn

if TYPE_CHECKING:
    from logrotor.act.context import Context, Fork
    from logrotor.act.ledger import Ledger
    from logrotor.disk.history import RunHistory
    from logrotor.model import LogHistories
    from logrotor.watch.loop import Outside, Stopper

_TRIES = 3  # a stale plan is made again so often: another configuration may be at work on the same logs
_INTERRUPTED = 130  # as a shell reports Ctrl-C

OnProgress = Callable[[int, int], object]
Executed = tuple["Context", "Ledger"]


class Rotator:
    """Rotates the logs of one configuration.

    ``on_event`` gets each event as it happens; if it raises, the run goes on, and its report has that as a problem.
    ``on_progress`` gets the bytes compressed so far and in all;
    ``stop`` is asked between steps and during long ones: once it says so, what has begun is finished or undone,
    and the run returns with ``interrupted``; the history keeps its ``exit_code`` then, if it has one.
    ``clock`` (epoch seconds) times what is done; it is compared with the times of files, so it must be the one that
    they get. ``fork`` starts a process that shares the work on very many archives, as the command line does; without
    it, all is done in this process. Safe to use from a thread and after a fork.
    """

    def __init__(
        self,
        config: Config,
        *,
        on_event: events.OnEvent | None = None,
        on_progress: OnProgress | None = None,
        stop: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.time,
        fork: Fork | None = None,
    ) -> None:
        if not isinstance(config, Config):
            raise TypeError(f"{config!r} is no loaded configuration; give load_config(...) of a file or a dict")
        self._config, self._fork = config, fork
        self._on_event, self._on_progress = on_event, on_progress
        self._stop = stop or (lambda: False)
        self._clock = clock
        self._unheard: list[Problem] = []  # what on_event raised in this run
        self._deadline, self._turn = Deadline(), Turn()

    def plan(self, now: datetime | None = None, *, force: bool = False, only: Sequence[str] = ()) -> Plan:
        """What a run at ``now`` would do, and why. Changes nothing.

        ``now`` must be aware (ValueError if not); schedules are meant in its time zone. ``only``: a list of names of
        rules, or of paths of logs (TypeError for a single string). Raises UnknownSelection, StateError.
        """
        _refuse_misuse(now, only)
        self._deadline = Deadline()
        state.refuse_silent(self._config.state_dir, self._config.state_dir_origin)
        last, moment = state.known_run(self._config.state_dir), now or local_now()
        this = self._next(last, moment)
        if now is None or last is None:
            last = this  # else it is what a run would do, had there been others until then
        made = self._plan(_recall(self._config.state_dir), moment, force, only, last.since)
        notes = list(made.notes)
        aged = {spec.name for spec in self._config.logs if spec.max_age is not None}
        if last.since != this.since and any(log.retire and log.rule in aged for log in made.logs):
            notes.append(IF_IT_RUNS)
        return replace(made, notes=(*notes, *state.notes_of_run(self._config.state_dir)))

    def run(
        self,
        now: datetime | None = None,
        *,
        force: bool = False,
        only: Sequence[str] = (),
        time_limit: float | None = None,
    ) -> Report:
        """Carry out the plan for ``now``: by default the moment when the lock is ours. One bad log fails alone.

        ``now`` and ``only`` are as for :meth:`plan`.
        ``time_limit`` (seconds): logs are taken and writers asked in any case, but no compression is begun that
        would not fit, and one under way is put off; both end ``deferred``.
        Raises Locked if another run holds the state directory, Interrupted if ``stop`` said so meanwhile, StateError,
        UnknownSelection.
        """
        _refuse_misuse(now, only)
        self._unheard, self._deadline = [], self._turn.deadline(time_limit)
        run = Run(now or local_now(), force, self._emit, self._clock, self._deadline, only=tuple(only))
        state.prepare(self._config.state_dir, self._config.state_dir_origin)
        known, this = _recall(self._config.state_dir), self._next(state.known_run(self._config.state_dir), run.now)
        try:
            takes = self._turn.takes_only  # by somebody who has seen that they are due
            plan = None if takes else self._idle_plan(known, run, only, this.since)
            # A commit that was killed half-way leaves a history that only its next writer can read: without it, an
            # idle plan is a guess, and would stay one until something is due.
            if plan is None or (known is not None and known.note is not None):
                plan = self._locked_run(run, only, now, this)
            else:
                run.tell_start(plan)
                run.remember_idle(plan, self._config.state_dir, self._stop)
        except StoppedLooking:
            plan = Plan(now=run.now, logs=())
        if plan.locked:
            _unlock(plan)
        run.mark(plan, this, self._config.state_dir, interrupted=self._stop())
        report = run.report(plan, interrupted=self._stop())
        return replace(report, problems=(*report.problems, *self._unheard)) if self._unheard else report

    def watch(self, stop: Stopper, outside: Outside | None = None) -> None:
        """Run whenever something is due, until ``stop`` (a :class:`threading.Event`, say) is set.

        By size a log is taken within half a second, by schedule at its slot; each rotation is a run as any other, and
        another one beside it does no harm. ``on_event`` is called by a second thread, too. Of what fails ``outside``
        is told, and it is tried again.
        """
        from logrotor.watch.loop import Outside, Turns, Watch

        Watch(self._config, Turns(self._for), outside or Outside(), clock=self._clock, now=local_now).serve(stop)

    def _for(self, turn: Turn) -> Rotator:
        """A rotator of its own for each turn, as two may be at work at once."""
        made = copy.copy(self)
        made._turn, made._stop = turn, turn.stop or self._stop
        return made

    # ------------------------------------------------------------ planning

    def _next(self, last: LastRun | None, now: datetime) -> LastRun:
        """A run at ``now``, after the last one."""
        period = functools.partial(longest_period, [spec.schedule for spec in self._config.logs if spec.schedule], now)
        return next_run(last, now.timestamp(), period)

    def _surveyor(self, known: LogHistories | None, only: Sequence[str], since: float) -> Surveyor:
        resting, late = self._turn.resting, self._deadline.passed
        return Surveyor(self._config, known, only, since=since, stop=self._stop, late=late, resting=resting)

    def _plan(
        self,
        known: LogHistories | None,
        now: datetime,
        force: bool,
        only: Sequence[str],
        since: float,
        run: Run | None = None,
    ) -> Plan:
        with self._surveyor(known, only, since) as surveyor:
            survey = surveyor.survey()
            if run is not None and not self._turn.only:
                run.sample(survey.logs, self._config.state_dir)
            return self._plan_of(survey, plan_logs(survey.logs, now, force=force), known, now, force)

    def _idle_plan(self, known: LogHistories | None, run: Run, only: Sequence[str], since: float) -> Plan | None:
        """The plan, if there is nothing to do; None as soon as there is: it has to be planned under the lock anyway."""
        with self._surveyor(known, only, since) as surveyor:
            logs = plan_idle_logs(surveyor.walk(), run.now, force=run.force, unsure=self._may_be_supervisords)
            if logs is None:
                return None
            plan = self._plan_of(surveyor.found, logs, known, run.now, run.force)
            if not plan.is_idle:
                return None
            if not self._turn.only:  # else whole runs beside it do so
                run.sample(surveyor.found.logs, self._config.state_dir)
            return plan

    def _plan_of(
        self, survey: Survey, logs: tuple[LogPlan, ...], known: LogHistories | None, now: datetime, force: bool
    ) -> Plan:
        logs, notes = plan_asking(self._config, survey, now, force=force, logs=logs)
        return Plan(
            now=now,
            logs=self._turn.of(logs),
            missing=tuple(survey.missing),
            unmatched=tuple(survey.unmatched),
            skipped=tuple(survey.skipped),
            shadowed=tuple(survey.shadowed),
            vanished=tuple(survey.vanished),
            unclear=tuple(survey.unclear),
            problems=(*(found.as_problem for found in self._config.problems), *survey.problems),
            notes=(*notes, *((known.note,) if known and known.note else ())),
            directories=survey.directories,
            locked=tuple(survey.locked),
        )

    def _may_be_supervisords(self, log: LogPlan) -> bool:
        return log.reopen is not None and self._config.targets[log.reopen].manager is Manager.SUPERVISORD

    # ------------------------------------------------------------ running

    def _locked_run(self, run: Run, only: Sequence[str], now: datetime | None, this: LastRun) -> Plan:
        from logrotor.disk.history import RunHistory

        config = self._config
        with ExitStack() as opened:
            lock = opened.enter_context(ExitStack())
            lock.enter_context(state.locked(config.state_dir, config.lock_timeout, self._stop))
            # What another run did while we waited must not lie in the future: it would count as none.
            run.now = now or local_now()
            history = RunHistory(config.state_dir, tell=lambda event, detail: self._emit(event, detail=detail))
            opened.callback(history.close)
            known = history.recall()
            plan = self._plan(known, run.now, run.force, only, this.since, run)
            run.tell_start(plan)
            if plan.is_idle:
                run.record_idle(history, plan, self._interrupted())
                return plan
            taken = [log.path for log in plan.logs if log.take]
            history.run_started(run.started, run.force, taken)
            history.found_unclear([problem.subject for problem in plan.unclear])
            history.found_unclear([stranger.name for log in plan.logs for stranger in log.strangers])
            executed = [self._execute(run, plan, history, known)]
            stale, tries = executed[0][1].stale, _TRIES
            with suppress(Interrupted):  # of what was done all is told
                while stale and tries:
                    tries -= 1
                    rotated = {log for _, ledger in executed for log in ledger.rotated}  # once is enough, if forced
                    groups, stale = ((stale - rotated, run.force), (stale & rotated, False)), set()
                    for group, force in groups:
                        if group:
                            known = history.recall()
                            again = self._plan_again(known, run.now, force, group, this.since)
                            executed.append(self._execute(run, again, history, known, last=not tries))
                            run.add_found(again, plan)
                            stale |= executed[-1][1].stale
            run.remember(history, plan, self._interrupted())
            lock.close()
            if any(ledger.hooks for _, ledger in executed):
                state.remember_last_run(config.state_dir, this, state.last_report(config.state_dir))
                self._run_hooks(run, plan, history, executed)
            return plan

    def _run_hooks(self, run: Run, plan: Plan, history: RunHistory, executed: Sequence[Executed]) -> None:
        """Without the lock of the run: a slow one holds up no log but its own."""
        from logrotor.act.run import run_hooks

        before = len(run.outcomes)
        for context, ledger in executed:
            told = len(ledger.outcomes)
            run_hooks(context, ledger)
            run.outcomes += ledger.outcomes[told:]
        run.remember(history, plan, self._interrupted(), run.outcomes[before:])

    def _interrupted(self) -> int | None:
        """The exit code of a run that was asked to stop."""
        return getattr(self._stop, "exit_code", _INTERRUPTED) if self._stop() else None

    def _plan_again(
        self, known: LogHistories, now: datetime, force: bool, paths: Collection[str], since: float
    ) -> Plan:
        """A new plan for some logs. Not by ``only``: one that is gone by now is nobody's mistake."""
        found = self._plan(known, now, force, (), since)
        return replace(found, logs=tuple(log for log in found.logs if log.path in paths))

    def _execute(
        self, run: Run, plan: Plan, history: RunHistory, known: LogHistories, *, last: bool = False
    ) -> Executed:
        from logrotor.act.context import Context
        from logrotor.act.run import execute
        from logrotor.disk.directories import Directories
        from logrotor.disk.writers import Processes

        context = Context(
            dirs=Directories(plan.directories),
            history=history,
            known=known,
            targets=self._config.targets,
            emit=self._emit,
            stop=self._stop,
            clock=self._clock,
            deadline=run.deadline,
            processes=functools.cache(Processes.look),
            jobs=self._config.compress_jobs,
            progress=self._on_progress,
            fork=self._fork,
        )
        ledger = execute(plan, context, last=last)
        run.outcomes += ledger.outcomes
        return context, ledger

    def _emit(self, name: str, /, *, subject: str = "", kind: str = "", **fields: Any) -> None:
        if self._on_event is not None:
            try:
                self._on_event(events.made(name, fields, subject, kind))
            except Exception as error:  # whoever listens must not stop a rotation half-way
                what, advice = f"raised {type(error).__name__}: {error}", "on_event must not raise; the run went on"
                found = Problem(subject="on_event", problem=what, advice=advice)
                self._unheard += [found] if found not in self._unheard else []


def _refuse_misuse(now: datetime | None, only: Sequence[str]) -> None:
    """A naive time would be taken for whatever zone the machine has, and a string for a list of its letters."""
    if now is not None and now.utcoffset() is None:
        raise ValueError(f"now = {now!r} has no time zone; give an aware one, such as datetime.now().astimezone()")
    if isinstance(only, str):
        raise TypeError(f"only = {only!r} is a string; give a list, such as only=[{only!r}]")


def _unlock(plan: Plan) -> None:
    """Remove the locks that killed runs left."""
    from logrotor.disk.directories import Directories

    with Directories(plan.directories) as dirs:
        dirs.remove_locks(plan.locked)


def _recall(state_dir: str) -> LogHistories | None:
    """What is remembered; sqlite3 is imported only if there is a history, as far as one can see."""
    history = os.path.join(state_dir, state.HISTORY)
    with suppress(PermissionError):
        if not files.is_there(history):
            return None
    from logrotor.disk.history import History

    return History(state_dir).recall()
