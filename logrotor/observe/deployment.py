"""What checks and status look at: one survey, one plan, one look at the processes, each made when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from logrotor import text
from logrotor.decide.facts import LogFacts
from logrotor.decide.schedule import first_due, slot_after
from logrotor.disk import heartbeat, sampled, signin, state, writers
from logrotor.disk.history import History
from logrotor.disk.mounts import Mounts
from logrotor.disk.trust import stranger_to
from logrotor.errors import StateError
from logrotor.model import (
    Archive,
    Config,
    KeptOut,
    LogHistories,
    LogPlan,
    PastOutcome,
    PastRun,
    PastTake,
    Problem,
    Samples,
)
from logrotor.observe.pace import Pace, paces
from logrotor.observe.rotations import Rotation, rotations
from logrotor.survey import Listings, NamedLogs, Survey, Surveyor
from logrotor.survey.asking import plan_asking

_SAMPLED = 8 * 86400.0  # seconds that are looked back on: a week, and the hours before its first day
_FEW = 10  # samples: where a run takes place once a week, there are fewer

HOUR = 3600.0


class _Past(Struct):
    path: str
    runs: list[PastRun] = []
    outcomes: list[PastOutcome] = []
    left_out: int = 0
    problem: Problem | None = None


class Deployment:
    """One configuration and what it rotates, at one moment.

    Changes nothing; its properties may raise LogrotorError or OSError.
    """

    def __init__(self, config: Config, now: datetime) -> None:
        self.config, self.now = config, now

    @property
    def histories(self) -> LogHistories:
        """What the history knows of each log; nothing where it cannot be read."""
        return self._recalled[0]

    @property
    def blind(self) -> Problem | None:
        """Why nothing, or not all, is known of past runs: unknown is never well."""
        return self._recalled[1] or self._past.problem

    @property
    def left_out(self) -> Problem | None:
        """Records of past runs that cannot be read; the others are known."""
        odd = self._past.left_out
        what = f"{text.count(odd, 'record')} of past runs cannot be read: damaged, and left out"
        advice = "nothing: no rotation depends on them, and the others are shown"
        return Problem(subject=self._past.path, problem=what, advice=advice) if odd else None

    @property
    def watch(self) -> Problem | None:
        """What is wrong with the watch that signed in here; None: nothing, or there is none."""
        return heartbeat.trouble(self.config.state_dir, self.now.timestamp())

    @cached_property
    def _recalled(self) -> tuple[LogHistories, Problem | None]:
        try:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.lstat(os.path.join(self.config.state_dir, state.HISTORY))
            found = History(self.config.state_dir).recall()
        except OSError as error:
            what = f"{error.strerror}: nothing is known of past runs"
            user = stranger_to(self.config.state_dir, self.config.run_as) or "the user who runs logrotor"
            return LogHistories({}), Problem(subject=self.config.state_dir, problem=what, advice=f"ask as {user}")
        except StateError as error:  # no run can begin, and all the more one wants to look
            return LogHistories({}), error.problem
        return found, Problem(subject="", problem=found.note) if found.note else None

    @property
    def runs(self) -> list[PastRun]:
        """The latest; empty where the history cannot be read; ``blind`` says why."""
        return self._past.runs

    @property
    def outcomes(self) -> list[PastOutcome]:
        """The newest of each log that were done or failed; empty where the history cannot be read."""
        return self._past.outcomes

    @cached_property
    def kept_out(self) -> dict[str, KeptOut]:
        """Locks and temps that the last runs could not get."""
        return History(self.config.state_dir).kept_out()

    @cached_property
    def _past(self) -> _Past:
        history = History(self.config.state_dir)
        try:
            runs, outcomes = history.runs(most=1000), history.settled_outcomes()
        except StateError as error:
            return _Past(history.path, problem=error.problem)
        return _Past(history.path, runs, outcomes, left_out=history.left_out)

    @cached_property
    def rotations(self) -> dict[str, list[Rotation]]:
        """Of each log, the oldest first, as far as ``outcomes`` go."""
        found: dict[str, list[Rotation]] = {}
        for rotation in rotations(self.outcomes):
            found.setdefault(rotation.log, []).append(rotation)
        return found

    def takes(self, days: int) -> list[PastTake]:
        """All of the last days; empty where the history cannot be read."""
        try:
            return History(self.config.state_dir).takes(self.now.timestamp() - days * 86400.0)
        except StateError:
            return []

    @cached_property
    def samples(self) -> Samples:
        """How large logs were, and what was free, in the last days; all that is known, where that are few samples."""
        now = self.now.timestamp()
        found = sampled.read(self.config.state_dir, since=now - _SAMPLED, until=now)
        if found.problem is None and len(found.times) < _FEW:
            found = sampled.read(self.config.state_dir, until=now)
        return found

    @cached_property
    def paces(self) -> dict[str, Pace]:
        """How each log grows, by its path."""
        return paces(self.samples.times, self.samples.logs)

    @cached_property
    def mounts(self) -> Mounts:
        return Mounts()

    @cached_property
    def named(self) -> NamedLogs:
        """What the rules name, and what could not be looked into for that."""
        return NamedLogs(self.config.logs, self.mounts)

    @cached_property
    def listings(self) -> Listings:
        """Directories as they are, each looked at once."""
        return Listings(self.mounts)

    @property
    def survey(self) -> Survey:
        return self._planned[0]

    @property
    def plans(self) -> dict[str, LogPlan]:
        """What a run would do now, by the path of the log."""
        return self._planned[1]

    @cached_property
    def _planned(self) -> tuple[Survey, dict[str, LogPlan]]:
        """A plan asks for more, as long as the survey is open."""
        with Surveyor(self.config, self.histories, since=self._since) as surveyor:
            found = surveyor.survey()
            found.logs = [replace(facts, writers=dict(facts.writers)) for facts in found.logs]  # proved now, or never
            plans, _ = plan_asking(self.config, found, self.now)
        return found, {plan.path: plan for plan in plans}

    @cached_property
    def listing(self) -> Survey:
        """The same for whoever reads: nobody is asked who writes."""
        if "_planned" in self.__dict__:
            return self.survey
        with Surveyor(self.config, self.histories, since=self._since) as surveyor:
            return surveyor.survey()

    @cached_property
    def processes(self) -> writers.Processes:
        return writers.Processes.look()

    @property
    def _since(self) -> float:
        last = state.known_run(self.config.state_dir)
        return self.now.timestamp() if last is None else last.since

    @property
    def last_run(self) -> float | None:
        """When the last run ended, also one that had nothing to do; None: not known."""
        return state.last_run(self.config.state_dir)

    def last_look(self, names: Collection[str]) -> float | None:
        """When the last run ended that looked at one of these rules and logs, or at all; None: not known."""
        report = state.last_report(self.config.state_dir)
        if report is None or not report.looks or report.looks[0].concerns(names):
            return self.last_run
        return max((each.at for each in report.looks if each.concerns(names)), default=None)

    @property
    def run_by(self) -> float | None:
        """When there must have been another: after so many ticks of a queue that its jobs count as stopped.

        The first one at the first tick of a worker that is there.
        """
        queue, last = self.config.queue, self.last_run
        if queue is None:
            return None
        if last is None:
            since, now = None, self.now.timestamp()
            if self.config.files:
                since = signin.serving_since(self.config.state_dir, self.config.files[0], now)
            return None if since is None else first_due(queue.schedule, since, self.now.tzinfo)
        return self.overdue_after(last)

    def overdue_after(self, moment: float) -> float | None:
        """When what happened then must have happened again: after some ticks of the queue; else nobody knows the
        schedule, and an hour is meant. None: never."""
        queue = self.config.queue
        if queue is None:
            return moment + HOUR
        return slot_after(queue.schedule, moment, queue.monitor.ticks, self.now.tzinfo)

    @cached_property
    def last_recorded(self) -> float:
        """When the last run that had something to do began or ended; 0: none is known."""
        return max((run.ended or run.started for run in self.runs[-1:]), default=0.0)

    def moment(self, when: float | None) -> datetime | None:
        """Epoch seconds in the zone of ``now``."""
        try:
            return None if when is None else datetime.fromtimestamp(when, self.now.tzinfo)
        except (OverflowError, ValueError, OSError):  # a file may have any time, of any year
            return None


def archives_of(facts: LogFacts) -> list[Archive]:
    """Beside the log and elsewhere."""
    families = [facts.family, *(d.families[facts.base] for d in facts.elsewhere if facts.base in d.families)]
    return [archive for family in families for archive in family.archives]
