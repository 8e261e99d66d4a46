"""What logrotor asks of a queue engine, and how one is found. An engine delivers, delays, and keeps; no more.

An engine is a class that takes a :class:`~logrotor.jobs.site.Site`, registered under the entry-point group
``logrotor.queue_engines``; so anybody can add one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from logrotor.errors import ConfigError, LogrotorError
from logrotor.jobs.site import Site
from logrotor.model import ConfigProblem

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "logrotor.queue_engines"


class QueueUnreachable(LogrotorError):
    """The queue's server or file cannot be used; the message says where and why, without a password."""


class QueueCount(Struct, frozen=True, kw_only=True):
    """What the engine holds for one queue. None: this engine does not know."""

    queue: str
    pending: int  # ready to be taken
    reserved: int | None  # being worked on
    scheduled: int  # wait for their time: retries
    failed: int | None
    oldest: float | None = None  # epoch seconds: when the oldest pending job was queued


class KeptJob(Struct, frozen=True, kw_only=True):
    """A job that the engine holds, and the payload's text. ``since``: epoch seconds."""

    key: str  # the engine's own name of it
    queue: str
    payload: str
    since: float | None = None
    error: str = ""


class WorkerCommand(Struct, frozen=True, kw_only=True):
    """How the engine's own worker is started: an argument list, and variables to set. Never a password."""

    argv: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """One queue engine on one site. Every method but ``worker`` raises QueueUnreachable."""

    def __init__(self, site: Site) -> None: ...

    def dispatch(self, text: str) -> None:
        """Queue the payload ``text`` on the queue of this host."""

    def worker(self) -> WorkerCommand:
        """The engine's own worker for the queue of this host: one job at a time, SIGTERM waits for the job."""

    def counts(self, prefix: str) -> list[QueueCount]:
        """All queues whose name begins with ``prefix``: those of all hosts."""

    def pending(self, queue: str) -> list[KeptJob]:
        """The jobs of one queue that nobody works on: pending and scheduled."""

    def failed(self, queue: str) -> list[KeptJob]:
        """The failed jobs of one queue that the engine has kept; none if it keeps none."""

    def forget(self, queue: str, keys: Collection[str]) -> int:
        """Remove jobs, by ``KeptJob.key``; returns how many there were."""


def open_engine(site: Site) -> Engine:
    """The engine that the configuration names. Raises ConfigError: unknown, or its extra is not installed."""
    name = site.settings.engine
    try:
        kind = find_engine(site.file, name).load()
    except ImportError as error:
        raise ConfigError((ConfigProblem(site.file, "queue.engine", f"{name!r} needs a package that is not installed "
                                   f"({error}): pip install 'logrotor[{name}]'"),)) from None  # fmt: skip
    engine: Engine = kind(site)
    return engine


def find_engine(file: str, name: str) -> EntryPoint:
    """Where the engine ``name`` is, not yet imported; ``file`` is the configuration. Raises ConfigError: unknown."""
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group=GROUP)}
    if name in found:
        return found[name]
    from logrotor.text import closest

    meant = closest(name, found)
    hint = f"; did you mean {meant!r}?" if meant else ""
    known = ", ".join(sorted(found)) or "none"
    raise ConfigError((ConfigProblem(file, "queue.engine", f"{name!r} is not known{hint}; installed: {known}"),))
