"""The command line in this process, with a configuration and a rotator that the test scripts."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from logrotor.cli import call
from logrotor.config.find import Found, Origin
from logrotor.errors import ConfigError
from logrotor.model import Config, Plan, Report
from tests.cli.world import Result, World


def find_config(explicit: str | None, environ: Any) -> Found:
    usual = Origin.VARIABLE if environ.get("LOGROTOR_CONFIG") else Origin.USUAL_PLACE
    return Found("/etc/logrotor.toml", Origin.OPTION if explicit else usual)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    def load_config(path: str | None, *, environ: Any = None) -> Config:
        world.asked["config"] = path
        if world.broken:
            raise ConfigError(world.broken)
        return world.config

    class Rotator:
        def __init__(
            self, config: Config, *, on_event: Any = None, on_progress: Any = None, stop: Any = None, **_: Any
        ) -> None:
            self.on_event, self.on_progress, self.stop = on_event, on_progress, stop

        def plan(self, now: Any = None, force: bool = False, only: Any = ()) -> Plan:
            world.asked.update(now=now, force=force, only=only, command="plan")
            return world.plan

        def run(self, now: Any = None, force: bool = False, only: Any = (), time_limit: float | None = None) -> Report:
            world.asked.update(now=now, force=force, only=only, command="run", time_limit=time_limit)
            return world.on_run(self) or world.report()

    def module(name: str, **names: Any) -> None:
        made = types.ModuleType(name)
        made.__dict__.update(names)
        monkeypatch.setitem(sys.modules, name, made)

    # The pretended configuration is of another machine: its user and its state directory are none of this one.
    monkeypatch.setattr("logrotor.disk.access.become", lambda user: None)
    monkeypatch.setattr("logrotor.disk.state.refuse_impossible", lambda path, origin: world.refuse_state())
    module("logrotor.config", load_config=load_config, find_config=find_config)
    module("logrotor.rotator", Rotator=Rotator)
    return world


@pytest.fixture
def logrotor(capsys: pytest.CaptureFixture[str], world: World) -> Callable[..., Result]:
    def run(*args: str) -> Result:
        code = call(args)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run
