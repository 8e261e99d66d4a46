"""Which queue a configuration means, and what logrotor asks of its engine: it delivers, delays and keeps; no more.

A :class:`Site` is one configuration on one host. An engine is a class that takes a site, registered under the
entry-point group ``logrotor.queue_engines``; so anybody can add one.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from shlex import quote
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from logrotor.config import load_config
from logrotor.disk import files, proc, signin, state, walk
from logrotor.disk.signin import Signed
from logrotor.errors import ConfigError, LogrotorError
from logrotor.model import Config, ConfigProblem, QueueSettings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

CONFIG_VARIABLE = "LOGROTOR_CONFIG"  # how a worker's process knows its configuration
PATIENCE = 2.0  # seconds for a server to accept, and again to answer: every command is over within five
UNRESOLVED = "does the DNS answer (getent hosts)? else correct the host, or name its address, in [queue] url in {file}"
_SILENCE = 3.0  # seconds for which a server that did not answer is not asked again


class Site(Struct, frozen=True, dict=True):
    """A loaded configuration that has a queue. ``url`` holds a password, so it is never printed: see ``shown_url``."""

    file: str
    config: Config
    settings: QueueSettings
    host: str
    environ: Mapping[str, str]

    @property
    def queue(self) -> str:
        """The queue of this host."""
        return queue_of(self.settings.name, self.host)

    @property
    def sha256(self) -> str:
        """Of the files of the configuration; empty if they cannot be read any more."""
        digest = hashlib.sha256()
        try:
            for name in self.config.files:
                digest.update(files.read(name)[0])
        except OSError:
            return ""
        return digest.hexdigest()

    @property
    def loaded(self) -> str:
        """A digest of what a worker takes from here when it starts. Raises ConfigError."""
        return hashlib.sha256(f"{self.sha256} {self.url}".encode(errors="surrogateescape")).hexdigest()

    @property
    def url(self) -> str:
        """The URL with its password. Raises ConfigError if its variable is not set, or its file cannot be read."""
        written = self.settings.url
        if written is None:
            return os.path.join(self.config.state_dir, state.QUEUE)
        if written.startswith("file:"):
            return self._url_in(written.removeprefix("file:"))
        if not written.startswith("env:"):
            return written
        name = written.removeprefix("env:")
        # A shell beside the worker rarely has its environment; the state directory is ours, so is who signs in there.
        found = self.environ.get(name) or next((v for each in self.signed if (v := _variable(each.pid, name))), "")
        if not found:
            what = f"the variable {name} is not set here, and no worker that has it can be seen"
            advice = 'set it where the worker has it, or keep the URL in a file of mode 0600: url = "file:PATH"'
            raise ConfigError((ConfigProblem(self.file, "queue.url", what, advice=advice),))
        return found

    def _url_in(self, path: str) -> str:
        try:
            found = files.read_text(path).strip()
        except OSError as error:
            what = f"{path} cannot be read by {walk.user_name(os.geteuid())}: {error.strerror}"
            advice = "ask as the user who owns it, or correct the path"
            raise ConfigError((ConfigProblem(self.file, "queue.url", what, advice=advice),)) from None
        if not found or "\n" in found:
            what = f"{path} must hold one line, the URL"
            raise ConfigError((ConfigProblem(self.file, "queue.url", what),))
        return found

    @property
    def signed(self) -> list[Signed]:
        """The workers and schedules of this configuration that have signed in and live."""
        return _signed(self.config.state_dir, self.file)

    @property
    def shown_url(self) -> str:
        """For messages: the password is ***."""
        return mask(self.url)


class QueueUnreachable(LogrotorError):
    """The queue's server or file cannot be used; the message says where and why, without a password."""


@contextmanager
def asking(site: Site) -> Iterator[None]:
    """Ask a server that kept us waiting once, not once for each question of a command. Raises QueueUnreachable."""
    began, lookup = time.monotonic(), socket.getaddrinfo
    since, known = site.__dict__.get("silent", (0.0, None))
    if known is not None and began - since < _SILENCE:
        raise QueueUnreachable(known.problem)
    bound_lookups()
    try:
        yield
    except QueueUnreachable as error:
        if time.monotonic() - began > PATIENCE / 2:
            site.__dict__["silent"] = time.monotonic(), error
        raise
    finally:
        socket.getaddrinfo = lookup


_lookup = socket.getaddrinfo


def bound_lookups() -> None:
    """From here on no lookup of a name takes longer than a server may: a DNS that is silent holds up whoever asks for
    half a minute, and TERM with them. The engines' libraries all ask by this function, and can limit none of it.
    """
    socket.getaddrinfo = _look_up


def _look_up(host: Any, *args: Any, **options: Any) -> Any:
    """``socket.getaddrinfo``; a name that nobody told is not asked for again at once. Raises socket.gaierror."""
    answer: SimpleQueue[Any] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put((_lookup(host, *args, **options), None))
        except Exception as error:
            answer.put((None, error))

    said = f"nobody has told the address of {host} within {PATIENCE:g} s"
    if time.monotonic() < _silent_until.get(host, 0.0):
        raise socket.gaierror(socket.EAI_AGAIN, said)
    Thread(target=ask, daemon=True).start()
    try:
        found, error = answer.get(timeout=PATIENCE)
    except Empty:
        _silent_until[host] = time.monotonic() + _SILENCE
        raise socket.gaierror(socket.EAI_AGAIN, said) from None
    _silent_until.pop(host, None)
    if error is not None:
        raise error
    return found


_silent_until: dict[Any, float] = {}  # by host, on the monotonic clock


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


class Health(Struct, frozen=True, kw_only=True):
    """How the store of the queues stands. None: it does not say, or not to this user."""

    server: str  # "Redis", "PostgreSQL", "SQLite"
    version: str | None
    latency: float  # seconds for a question and its answer, on a connection that stood
    rows: int | None  # jobs of all queues, whatever their state
    bytes: int | None  # that the queue's tables take; of a Redis, the whole of it
    connections: int | None
    most_connections: int | None


class WorkerCommand(Struct, frozen=True, kw_only=True):
    """How the engine's own worker is started: an argument list, and variables to set. Never a password."""

    argv: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """One queue engine on one site. Every method but ``worker`` raises QueueUnreachable."""

    def __init__(self, site: Site) -> None: ...

    def dispatch(self, text: str) -> None:
        """Queue the payload ``text`` on the queue of this host."""

    def health(self) -> Health:
        """How the server or the file stands."""

    def worker(self) -> WorkerCommand:
        """The engine's own worker for the queue of this host: one job at a time, SIGTERM waits for the job."""

    def counts(self, prefix: str) -> list[QueueCount]:
        """All queues whose name begins with ``prefix``: those of all hosts. Fails also where no job can be queued."""

    def pending(self, queue: str) -> list[KeptJob]:
        """The jobs of one queue that nobody works on: pending and scheduled."""

    def failed(self, queue: str) -> list[KeptJob]:
        """The failed jobs of one queue that the engine has kept; none if it keeps none."""

    def forget(self, queue: str, keys: Collection[str]) -> int:
        """Remove jobs, by ``KeptJob.key``; returns how many there were."""


def python_worker(site: Site, *args: str) -> WorkerCommand:
    """``python -m ARGS``; -P, because a folder in the working directory must not stand in for a module."""
    return WorkerCommand(argv=[sys.executable, "-P", "-m", *args], variables={CONFIG_VARIABLE: site.file})


# ---------------------------------------------------------------- opening


def open_site(file: str | None, environ: Mapping[str, str]) -> Site:
    """Load a configuration for its queue. Raises ConfigError, also if there is no usable ``[queue]``."""
    return site_of(load_config(file, environ=environ), environ)


def site_of(config: Config, environ: Mapping[str, str]) -> Site:
    """The queue of a loaded configuration. Raises ConfigError if there is no usable ``[queue]``."""
    found = config.files[0]
    if config.queue is None:
        wrong = tuple(problem for problem in config.problems if problem.is_of_queue)
        missing = ConfigProblem(found, "queue", 'there is no [queue] table; for a queue without a server add: [queue] '
                          'with engine = "huey"')  # fmt: skip
        raise ConfigError(wrong or (missing,))
    return Site(found, config, config.queue, config.queue.host or _known_host(config) or socket.gethostname(), environ)


def _known_host(config: Config) -> str:
    """What the worker calls this host, since its queue is named so: a name that is set later would part the two."""
    found = [each for each in _signed(config.state_dir, config.files[0]) if each.pid != os.getpid()]
    return next((each.host for each in sorted(found, key=lambda each: not each.works)), "")


def _signed(state_dir: str, file: str) -> list[Signed]:
    return [each for each in signin.signed(state_dir) if each.config == os.path.realpath(file)]


def _variable(pid: int, name: str) -> str:
    """A variable of a process, or of its worker: one that was root and has given that up hides its environment."""
    beside = [each.pid for each in proc.running(b"logrotor.jobs.engines.") if each.parent == pid]
    return next((value for each in (pid, *beside) if (value := (proc.environ(each) or {}).get(name))), "")


def open_engine(site: Site) -> Engine:
    """The engine that the configuration names. Raises ConfigError: unknown, or its extra is not installed."""
    return load_engine(site.file, site.settings.engine)(site)


def load_engine(file: str, name: str) -> Callable[[Site], Engine]:
    """The class of the engine ``name``; ``file`` is the configuration. Raises ConfigError, as :func:`open_engine`."""
    try:
        kind: Callable[[Site], Engine] = find_engine(file, name).load()
    except ImportError as error:
        lacking = f"{name!r} needs a package that is not installed ({error})"
        # Of this very environment: the pip that a shell finds is another one's.
        install = f"{quote(sys.executable)} -m pip install 'logrotor[{name}]'"
        raise ConfigError((ConfigProblem(file, "queue.engine", lacking, advice=install),)) from None
    return kind


def find_engine(file: str, name: str) -> EntryPoint:
    """Where the engine ``name`` is, not yet imported; ``file`` is the configuration. Raises ConfigError: unknown."""
    from logrotor.config.tables import engines, unknown_engine

    found = engines()
    if name in found:
        return found[name]
    what, advice = unknown_engine(name, found)
    raise ConfigError((ConfigProblem(file, "queue.engine", what, advice=advice),))


# ---------------------------------------------------------------- names


def queue_of(name: str, host: str) -> str:
    """``NAME-HOST`` as every engine accepts it: rq allows no dots, and procrastinate's channel has 40 characters."""
    full = f"{name}-{re.sub(r'[^A-Za-z0-9_-]', '_', host)}"
    return full if len(full) <= 40 else f"{full[:31]}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"


def one_line(error: object) -> str:
    """The words of an error of a server's, which may have a page of them."""
    said = str(error)
    return " ".join(said.split())


def mask(text: str) -> str:
    """``text`` with the passwords of its URLs as ***, those in a query or a key=value string included."""
    # Up to the last @: a password may hold, against the rules, a / or an @ of its own.
    text = re.sub(r"(?<=://)([^/?#\s:]*):(\S*)@", r"\1:***@", text)
    return re.sub(r"(?i)(\w*(?:password|passwd|pwd|secret|token))=('[^']*'|[^&\s]+)", r"\1=***", text)
