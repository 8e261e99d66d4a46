"""How what runs for long comes to its configuration: what cannot be used yet is waited for.

A process manager gives up for ever on a program that ends at once a few times, also after the cause is gone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

import click

from logrotor.cli import helper
from logrotor.cli.options import config_path, load
from logrotor.cli.queue.control import engine_of
from logrotor.cli.session import messages
from logrotor.errors import LogrotorError

if TYPE_CHECKING:
    from logrotor.act.context import Stop, Tell
    from logrotor.jobs.engine import Site

_PAUSE = 5.0  # seconds between two tries
_LOOK = 0.1  # seconds between two looks whether we were asked to stop
_MOST = 30.0  # seconds for one try: a file system may not answer
_LONGEST = 1 << 16  # bytes of why not


def enter_to_serve(ctx: click.Context) -> Site:
    """The site, if its jobs could be done here: refused now, not at each job. Raises ConfigError, StateError."""
    from logrotor.disk import state
    from logrotor.jobs.engine import site_of

    # Root does not become the owner of the state directory: its environment, and a password in it, would be theirs.
    site = site_of(load(ctx, ours_alone=True, asks=False), os.environ)
    state.prepare(site.config.state_dir, site.config.state_dir_origin)
    site.url  # noqa: B018  # raises
    return site


def try_to_serve(ctx: click.Context) -> None:
    """Whether a worker would start: also whether its engine is there. Raises LogrotorError, OSError."""
    engine_of(enter_to_serve(ctx)).worker()


def enter_when_usable(ctx: click.Context, stop: Stop) -> Site | None:
    """The site, as soon as a worker would start; None: asked to stop before. Each reason is logged once.

    Each try is a process of its own: as root it becomes the user who does the work, for good, and who that is may be
    what is wrong.
    """
    told: list[str] = []
    while not stop():
        why = _why_not(ctx, stop)
        if not why:
            try:
                return enter_to_serve(ctx)
            except (LogrotorError, OSError) as error:  # it has changed since
                why = messages(error)
        if why != told and not stop():
            _tell(ctx, why)
        told = why
        _pause(stop)
    return None


def _why_not(ctx: click.Context, stop: Stop) -> list[str]:
    """Why a worker would not start; empty: it would, or nobody could try."""

    def work(_: Stop, tell: Tell) -> None:
        sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # what it says is said again by whoever enters
        try:
            try_to_serve(ctx)
        except Exception as error:
            tell(json.dumps(messages(error)).encode())

    trial = helper.fork(work)
    if trial is None:
        return []
    answer = trial.answer(stop, _MOST, _LONGEST)
    if answer is None:
        return [] if stop() else [f"the configuration or the state directory did not answer within {_MOST:g} s"]
    lines, broken = answer
    return [message for line in lines for message in json.loads(line)] or ([broken] if broken else [])


def _tell(ctx: click.Context, why: list[str]) -> None:
    from logrotor.jobs.task import tell

    named = config_path(ctx)
    for each in why:
        tell("worker.waiting", error=each, **({} if named is None else {"config": os.path.abspath(named)}))


def _pause(stop: Stop) -> None:
    until = time.monotonic() + _PAUSE
    while not stop() and time.monotonic() < until:
        time.sleep(_LOOK)
