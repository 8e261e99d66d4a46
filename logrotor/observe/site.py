"""What all checks and the status look at: one survey, one plan, one look at the processes, each made when asked for."""

from __future__ import annotations

import os
from datetime import datetime
from functools import cached_property

from logrotor.decide.planner import plan_logs
from logrotor.disk import state, writers
from logrotor.disk.memory import Recollection, recall
from logrotor.model import Config, LogPlan
from logrotor.survey import Survey, Surveyor


class Site:
    """One deployment at one moment. Changes nothing; its properties may raise LogrotorError or OSError."""

    def __init__(self, config: Config, now: datetime) -> None:
        self.config, self.now = config, now

    @cached_property
    def memory(self) -> Recollection:
        """What the history knows of each log; nothing where there is none."""
        state.refuse_odd(os.path.join(self.config.state_dir, state.HISTORY))
        return recall(self.config.state_dir)

    @cached_property
    def survey(self) -> Survey:
        return Surveyor(self.config, self.memory.of).survey()

    @cached_property
    def plans(self) -> dict[str, LogPlan]:
        """What a run would do now, by the path of the log."""
        return {plan.path: plan for plan in plan_logs(self.survey.logs, self.now)}

    @cached_property
    def processes(self) -> writers.Processes:
        return writers.Processes.look()
