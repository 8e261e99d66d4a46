"""What all commands of the queue begin with: the configuration, its user, the engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from logrotor.cli.options import config_path
from logrotor.cli.session import become

if TYPE_CHECKING:
    from logrotor.jobs.engine import Engine
    from logrotor.jobs.site import Site


def enter(ctx: click.Context) -> Site:
    """The site of the configuration, as the user that it names. Raises ConfigError, StateError."""
    from logrotor.jobs.site import open_site

    site = open_site(config_path(ctx), os.environ)
    become(site.config)
    return site


def engine_of(site: Site) -> Engine:
    """Raises ConfigError, QueueUnreachable."""
    from logrotor.jobs.engine import open_engine

    return open_engine(site)


def verbosity_options(command: Callable[..., object]) -> Callable[..., object]:
    """``-v`` and ``-q`` of what runs for long: info without them."""
    command = click.option("-q", "--quiet", count=True, help="Tell warnings and errors only; -qq errors only.")(command)
    return click.option("-v", "--verbose", count=True, help="Tell each step too.")(command)


def set_verbosity(verbose: int, quiet: int) -> None:
    """For this process and those that it starts."""
    from logrotor.jobs.log import VERBOSITY

    os.environ[VERBOSITY] = str(max(-1, min(2, 1 + verbose - quiet)))
