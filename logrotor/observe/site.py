"""What all checks and the status look at: one survey, one plan, one look at the processes, each made when asked for."""

from __future__ import annotations

import os
from datetime import datetime
from functools import cached_property

from msgspec.structs import replace

from logrotor.decide.planner import plan_logs
from logrotor.disk import state, writers
from logrotor.disk.history import History
from logrotor.errors import StateError
from logrotor.model import Config, LogHistories, LogPlan, PastOutcome, PastRun
from logrotor.survey import Survey, Surveyor


class Site:
    """One deployment at one moment. Changes nothing; its properties may raise LogrotorError or OSError."""

    def __init__(self, config: Config, now: datetime) -> None:
        self.config, self.now = config, now

    @cached_property
    def memory(self) -> LogHistories:
        """What the history knows of each log; nothing where it cannot be read, and ``notes`` says why."""
        try:
            state.refuse_odd(os.path.join(self.config.state_dir, state.HISTORY))
            return History(self.config.state_dir).recall()
        except OSError as error:
            return LogHistories({}, f"{self.config.state_dir}: {error.strerror}: nothing is known of past runs")
        except StateError as error:  # no run can begin, and all the more one wants to look
            return LogHistories({}, str(error))

    @cached_property
    def runs(self) -> list[PastRun]:
        """Empty where the history cannot be read; ``notes`` says why."""
        try:
            return History(self.config.state_dir).runs()
        except StateError:
            return []

    @cached_property
    def outcomes(self) -> list[PastOutcome]:
        """Those that were done or failed; empty where the history cannot be read, ``notes`` says why."""
        try:
            return History(self.config.state_dir).settled_outcomes()
        except StateError:
            return []

    @cached_property
    def survey(self) -> Survey:
        with Surveyor(self.config, self.memory) as surveyor:
            found = surveyor.survey()
            found.logs = [replace(facts, writers=dict(facts.writers)) for facts in found.logs]  # proved now, or never
        return found

    @cached_property
    def plans(self) -> dict[str, LogPlan]:
        """What a run would do now, by the path of the log."""
        return {plan.path: plan for plan in plan_logs(self.survey.logs, self.now)}

    @cached_property
    def processes(self) -> writers.Processes:
        return writers.Processes.look()

    @property
    def last_run(self) -> float | None:
        """When the last run ended, also one that had nothing to do; None: not known."""
        try:
            return os.stat(os.path.join(self.config.state_dir, state.LAST_RUN)).st_mtime
        except OSError:
            return None

    @cached_property
    def last_recorded(self) -> float:
        """When the last run that had something to do began or ended; 0: none is known."""
        return max((run.ended or run.started for run in self.runs[-1:]), default=0.0)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Why something may not be known."""
        return (self.memory.note,) if self.memory.note else ()

    def moment(self, when: float | None) -> datetime | None:
        """Epoch seconds in the zone of ``now``."""
        try:
            return None if when is None else datetime.fromtimestamp(when, self.now.tzinfo)
        except (OverflowError, ValueError, OSError):  # a file may have any time, of any year
            return None
