"""A configuration and a rotator that the test scripts, and what the command line made of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from logrotor.errors import StateError
from logrotor.model import Config, ConfigProblem, LogPlan, LogSpec, NotDue, Plan, Problem, Report

ZONE = timezone(timedelta(hours=1))
NOW = datetime(2026, 11, 21, 22, 30, tzinfo=ZONE)
LOGS = "/srv/app/storage/logs"


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.err.splitlines()]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def idle(name: str, **more: Any) -> LogPlan:
    facts: dict[str, Any] = {"rule": "workers", "due": NotDue("below max_size"), "size": 2048}
    return LogPlan(path=f"{LOGS}/{name}", **{**facts, **more})


@dataclass
class World:
    """What the fakes answer, and what they were asked."""

    config: Config = field(
        default_factory=lambda: Config(
            state_dir="/var/lib/logrotor",
            state_dir_origin="state_dir in /etc/logrotor.toml",
            logs=(LogSpec(name="workers", paths=(f"{LOGS}/*-queue.log", f"{LOGS}/laravel.log"), max_size=10 << 20),),
            targets={},
            files=("/etc/logrotor.toml",),
        )
    )
    broken: tuple[ConfigProblem, ...] = ()
    plan: Plan = field(default_factory=lambda: Plan(now=NOW, logs=(idle("a-queue.log"),)))
    on_run: Callable[..., Any] = lambda rotator: None
    asked: dict[str, Any] = field(default_factory=dict)

    state_problem: Problem | None = None

    def refuse_state(self) -> None:
        if self.state_problem:
            raise StateError(self.state_problem)

    def report(self, **more: Any) -> Report:
        return Report(**{"started": NOW, "duration": 0.1, "outcomes": (), "plan": self.plan, **more})
